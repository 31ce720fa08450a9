"""Locks: one holder at a time, the dead recognised, the living respected."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest

from brainseg.errors import CannotCreateError, TemporaryError
from brainseg.io import atomic, locks
from brainseg.io.locks import Holder, hold


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "locks" / "sub-01_T1w.lock"


def plant(path: Path, holder: Holder) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(asdict(holder)))


def me(**changes: object) -> Holder:
    started = atomic.start_time(os.getpid())
    fields = {"place": atomic.place(), "pid": os.getpid(), "started": started, "token": "x"}
    return Holder(**(fields | changes))  # type: ignore[arg-type]


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_who_has_closed_its_files_is_dead_to_those_who_see_it() -> None:
    # A cluster sees the closed connection of a killed worker before the worker is a zombie.
    for _ in range(30):
        process = subprocess.Popen(
            [sys.executable, "-c", "held = bytearray(30_000_000); print(flush=True); input()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with process:
            assert process.stdout is not None
            process.stdout.readline()
            process.kill()
            assert process.stdout.read() == b""
            assert atomic.start_time(process.pid) is None


def test_a_lock_is_held_and_let_go_without_litter(path: Path) -> None:
    with hold(path):
        assert path.exists()
        with pytest.raises(TemporaryError, match="sub-01_T1w: is being segmented"), hold(path):
            pass
    assert list(path.parent.iterdir()) == []
    with hold(path):
        pass


def test_the_lock_of_a_dead_process_is_taken(path: Path) -> None:
    plant(path, me(pid=dead_pid()))
    with hold(path):
        pass
    assert list(path.parent.iterdir()) == []


def test_a_process_number_used_again_is_not_the_holder(path: Path) -> None:
    """The number lives, but it began at another time."""
    plant(path, me(started="1"))
    with hold(path):
        pass


def test_a_zombie_is_dead(path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    while atomic.start_time(process.pid) is not None:
        time.sleep(0.01)
    plant(path, me(pid=process.pid, started="1"))
    with hold(path):
        pass
    process.wait()


def test_what_a_zombie_left_half_written_is_litter(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    while atomic.start_time(process.pid) is not None:
        time.sleep(0.01)
    mine = atomic.scratch_path(tmp_path / "entry.json")
    other = mine.with_name(mine.name.replace(str(os.getpid()), str(process.pid)))
    for path in (mine, other):
        path.touch()
    atomic.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [mine]
    process.wait()


def test_locks_of_the_dead_are_swept_and_those_of_the_living_stay(path: Path) -> None:
    plant(path, me(pid=dead_pid()))
    living = path.with_name("sub-02_T1w.lock")
    plant(living, me())
    locks.sweep(path.parent)
    assert list(path.parent.iterdir()) == [living]


@pytest.mark.parametrize("content", ["elsewhere", "damaged"])
def test_a_holder_elsewhere_is_dead_when_silent(path: Path, content: str) -> None:
    """Its processes cannot be looked at; a lock that is not touched for long tells."""
    if content == "elsewhere":
        plant(path, me(place="another host"))
    else:
        path.parent.mkdir()
        path.write_text("{")
    with pytest.raises(TemporaryError), hold(path):
        pass
    long_ago = time.time() - locks.SILENCE_S - 60
    os.utime(path, (long_ago, long_ago))
    with hold(path):
        pass


def test_a_time_in_the_future_is_no_sign_of_life(path: Path) -> None:
    plant(path, me(place="another host"))
    later = time.time() + 24 * 3600
    os.utime(path, (later, later))
    with hold(path):
        pass


@pytest.mark.parametrize(
    "content",
    ['{"pid": -1}', '{"place": "x", "pid": -1, "started": "", "token": ""}', "[]", "null", "{}",
     '{"place": 1, "pid": "one", "started": [], "token": {}}', "[" * 100_000],
)  # fmt: skip
def test_a_lock_of_the_wrong_shape_is_respected_until_it_is_old(path: Path, content: str) -> None:
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(TemporaryError), hold(path):
        pass
    long_ago = time.time() - locks.SILENCE_S - 60
    os.utime(path, (long_ago, long_ago))
    with hold(path):
        pass


def test_a_process_number_that_no_process_has_is_dead() -> None:
    for number in (-1, 0, 1 << 31, 1 << 80):
        assert atomic.start_time(number) is None


def test_a_pipe_in_the_place_of_a_lock_is_not_waited_for(path: Path) -> None:
    path.parent.mkdir()
    os.mkfifo(path)
    with pytest.raises(TemporaryError), hold(path):
        pass


def test_the_holder_shows_that_it_lives(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "HEARTBEAT_S", 0.02)
    with hold(path):
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 10
        while path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert path.stat().st_mtime > 0


def test_a_lock_taken_over_is_not_removed_by_its_former_holder(path: Path) -> None:
    with hold(path):
        plant(path, me(token="somebody else"))
    assert path.exists()


def test_of_many_who_find_a_stale_lock_one_gets_it(tmp_path: Path) -> None:
    """Thirty times: a guard that was let go and made anew was once in seventy taken for stale."""
    pid = dead_pid()
    inside: list[int] = []

    def attempt(lock: Path, i: int) -> bool:
        try:
            with hold(lock):
                inside.append(i)
                assert len(inside) == 1
                time.sleep(0.01)
                inside.remove(i)
                return True
        except TemporaryError:
            return False

    with ThreadPoolExecutor(8) as pool:
        for round_ in range(30):
            lock = tmp_path / f"{round_}" / "sub-01_T1w.lock"
            plant(lock, me(pid=pid))
            assert any(list(pool.map(partial(attempt, lock), range(8))))
            assert not lock.exists()


def test_a_lock_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "locks").write_text("a file in the way")
    with pytest.raises(CannotCreateError), hold(tmp_path / "locks" / "x.lock"):
        pass


def test_a_signal_while_the_lock_is_written_leaves_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_text

    def ended(self: Path, *args: str, **options: str) -> int:
        write(self, *args, **options)
        raise SystemExit(143)

    monkeypatch.setattr(Path, "write_text", ended)
    with pytest.raises(SystemExit), hold(path):
        pass
    assert list(path.parent.iterdir()) == []
