"""The contract of `brainseg.batch.engines.Engine`, which every engine is held to."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest
from batch_words import echo

from brainseg.batch.engines import Died, Engine
from brainseg.batch.engines.local import LocalEngine
from brainseg.batch.engines.serial import SerialEngine

Make = Callable[[], Engine]


def local(work: Callable[[Any], Any] = echo, **options: Any) -> LocalEngine:
    defaults: dict[str, Any] = {
        "workers": 2, "memory": 100, "idle_bytes": 1, "bytes_of": lambda task: 10, "threads": 1
    }  # fmt: skip
    return LocalEngine(work, **(defaults | options))


def dask() -> Engine:
    from brainseg.batch.engines.cluster import DaskEngine

    return DaskEngine(echo, scheduler=None, workers=2, memory=4 << 30)


MISSING = importlib.util.find_spec("distributed") is None
ENGINES = [
    pytest.param(lambda: SerialEngine(echo), id="serial"),
    pytest.param(local, id="local"),
    pytest.param(
        dask,
        id="dask",
        marks=pytest.mark.skipif(MISSING, reason="brainseg-em[dask] is not installed"),
    ),
]


@pytest.mark.parametrize("make", ENGINES)
def test_each_task_comes_back_once_also_those_added_on_the_way(make: Make) -> None:
    words = [f"word{i}" for i in range(5)]
    with make() as engine:
        for word in words:
            engine.submit(word)
        came = {}
        while engine.pending:
            task, outcome = engine.next()
            assert task not in came
            came[task] = outcome
            if len(came) == 3:
                engine.submit("late")
        assert engine.pending == 0
    assert came == {word: word.upper() for word in [*words, "late"]}


@pytest.mark.parametrize("make", ENGINES[1:])
def test_a_worker_killed_takes_no_other_task_with_it(make: Make) -> None:
    with make() as engine:
        for word in ("a", "deadly", "b", "c"):
            engine.submit(word)
        came = {}
        while engine.pending:
            task, outcome = engine.next()
            came[task] = outcome
    assert isinstance(came.pop("deadly"), Died)
    assert came == {word: word.upper() for word in "abc"}


def test_memory_bounds_the_tasks_at_work() -> None:
    """Of tasks that need 60 of 100 bytes one runs at a time; a larger one than all runs alone."""
    engine = local(workers=4, bytes_of=lambda task: 200 if task == "large" else 60)
    with engine:
        for word in ("slow 0.1", "slow 0.1", "large", "x"):
            engine.submit(word)
        while engine.pending:
            engine.next()
            assert sum(w.task is not None for w in engine._workers) <= 1


def test_leaving_stops_work_at_once() -> None:
    with local() as engine:
        engine.submit("slow 60")
        engine.submit("quick")
        engine.next()
        processes = [w.process for w in engine._workers]
        assert any(p.is_alive() for p in processes)
    # Closed processes raise ValueError when asked; these were waited for, and have ended.
    assert not any(p.is_alive() for p in processes)


def test_processes_are_replaced_before_they_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brainseg.batch.engines.local.TASKS_PER_WORKER", 2)
    seen = set()
    with local(workers=1) as engine:
        for i in range(5):
            engine.submit(f"word{i}")
        while engine.pending:
            seen |= {w.process.pid for w in engine._workers}
            engine.next()
    assert len(seen) >= 2
