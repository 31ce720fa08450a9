"""A signal that ends the program may come at any line; what it finds half made is put in order."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import pytest

import brainseg.io
from brainseg.io import atomic, locks, signals, staging

HERE = str(Path(brainseg.io.__file__).parent)


def end(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


@pytest.fixture(autouse=True)
def _as_the_program() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, end)
    yield
    signal.signal(signal.SIGTERM, before)


@contextmanager
def signal_at(line: int) -> Iterator[list[int]]:
    """Send SIGTERM to this process before the n-th line that runs in `brainseg.io`."""
    lines = [0]

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(HERE):
            return None
        if event == "line":
            lines[0] += 1
            if lines[0] == line + 1:
                signal.raise_signal(signal.SIGTERM)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield lines
    finally:
        sys.settrace(before)


def write_text(folder: Path) -> None:
    atomic.write_text(folder / "entry.json", "text")


def create(folder: Path) -> None:
    assert atomic.create(folder / "key", "text", mode=0o600)
    (folder / "key").unlink()


def lock(folder: Path) -> None:
    with locks.hold(folder / "x.lock"):
        pass


def lock_of_the_dead(folder: Path) -> None:
    if not (folder / "x.lock").exists():
        (folder / "x.lock").write_text('{"place": "%s", "pid": 1, "started": "-1", "token": ""}')
        (folder / "x.lock").write_text(
            (folder / "x.lock").read_text().replace("%s", atomic.place())
        )
    lock(folder)


OLD = {"head_record.json": b"old", "head_six.nii": b"old"}
NEW = {"head_record.json": b"new", "head_three.nii": b"new"}


def exchange(folder: Path) -> None:
    files = {name: content.__bytes__ for name, content in NEW.items()}
    staging.exchange(folder / "head_record.json", "head", files, OLD)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("work", "before", "ends"),
    [
        (write_text, {"entry.json": b"old"}, [{"entry.json": b"old"}, {"entry.json": b"text"}]),
        (create, {}, [{}, {"key": b"text"}]),
        (lock, {}, [{}]),
        (lock_of_the_dead, {}, [{}]),
        (exchange, OLD, [OLD, NEW]),
    ],
)
def test_a_signal_at_any_line_leaves_nothing_half_made(
    tmp_path: Path,
    work: Callable[[Path], None],
    before: dict[str, bytes],
    ends: list[dict[str, bytes]],
) -> None:
    line, ended = 0, 0
    while True:
        folder = tmp_path / str(line)
        folder.mkdir()
        for name, old in before.items():
            (folder / name).write_bytes(old)
        try:
            with signal_at(line) as lines:
                work(folder)
        except SystemExit:
            ended += 1
        left = content(folder)
        if work is lock_of_the_dead and "x.lock" in left:
            # The one that lay there before; not yet taken over.
            assert '"pid": 1' in left.pop("x.lock").decode()
        assert left in ends, f"line {line}: {left}"
        if lines[0] <= line:
            break
        line += 1
    # Every signal ended the work, whatever it waited for.
    assert ended == line > 10
    assert signal.getsignal(signal.SIGTERM) is end


def test_what_waits_is_met_by_the_handler_that_was_there() -> None:
    told = []
    signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
    with signals.waiting() as those:
        signal.raise_signal(signal.SIGTERM)
        with signals.waiting():
            signal.raise_signal(signal.SIGTERM)
        assert told == []
        with those.lifted():
            assert told == [signal.SIGTERM] * 2
            signal.raise_signal(signal.SIGTERM)
            assert len(told) == 3
        signal.raise_signal(signal.SIGTERM)
        assert len(told) == 3
    assert len(told) == 4


def test_signals_that_are_ignored_or_end_the_process_at_once_stay_so() -> None:
    for handler in (signal.SIG_IGN, signal.SIG_DFL):
        signal.signal(signal.SIGTERM, handler)
        with signals.waiting():
            assert signal.getsignal(signal.SIGTERM) is handler
