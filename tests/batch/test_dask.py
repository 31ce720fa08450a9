"""A study on a cluster that loses machines: real processes, really killed."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from batch_fakes import fake_process, make, make_dataset, times_begun

from brainseg.batch import study
from brainseg.errors import NoInputError

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("distributed") is None, reason="brainseg[dask] is not installed"
)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and three workers without nannies: who is killed stays dead."""
    address_file = tmp_path / "scheduler.json"
    here = str(Path(__file__).parent)
    options = {
        "env": os.environ | {"PYTHONPATH": here, "OMP_NUM_THREADS": "1"},
        "cwd": tmp_path,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }

    def start(program: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{program}", *arguments]
        return subprocess.Popen(command, **options)  # type: ignore[call-overload]

    common = ("--scheduler-file", str(address_file), "--no-dashboard")
    local = ("--host", "127.0.0.1", "--port", "0")
    scheduler = start("scheduler", *common, *local)
    workers = [start("worker", *common, "--no-nanny", "--nthreads", "1") for _ in range(3)]
    try:
        deadline = time.monotonic() + 300
        while not address_file.exists():
            assert time.monotonic() < deadline
            assert scheduler.poll() is None
            time.sleep(0.05)
        yield json.loads(address_file.read_text())["address"], workers
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()


def test_two_of_three_workers_die_and_every_scan_is_done_once(
    tmp_path: Path, cluster: tuple[str, list[subprocess.Popen[bytes]]]
) -> None:
    from distributed import Client

    from brainseg.batch.engines.cluster import DaskEngine

    address, workers = cluster
    with Client(address, timeout=300) as client:
        client.wait_for_workers(3, timeout=300)
    names = [f"sub-{i:02d}_T1w.nii.gz" for i in range(12)]
    dataset = make_dataset(tmp_path / "raw", names, content="slow 0.3")
    out = tmp_path / "out"
    done: list[str] = []

    def told(task: object, outcome: object) -> None:
        done.append(str(task))
        # Two die in the middle of the run, each with a scan in its hands.
        if len(done) in (3, 5):
            workers.pop().send_signal(signal.SIGKILL)

    killed = list(workers)
    outcomes = study.run(
        study.plan(make(dataset, out)),
        lambda: DaskEngine(fake_process, scheduler=address, workers=3, memory=1 << 30),
        told=told,
    )
    for process in killed[1:]:
        process.wait(10)
    assert len(done) == 12
    assert {o.state for o in outcomes.values()} == {"done"}
    begun = times_begun(out)
    assert set(begun) == set(names)
    # Begun twice is only what a killed worker held.
    assert sum(begun.values()) <= 12 + 2


def test_an_absent_scheduler_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from brainseg.batch.engines import cluster as engine

    monkeypatch.setattr(engine, "CONNECT_S", 1)
    with pytest.raises(NoInputError, match="no Dask scheduler answers there"):
        engine.DaskEngine(fake_process, scheduler="tcp://127.0.0.1:9", workers=1, memory=1)
