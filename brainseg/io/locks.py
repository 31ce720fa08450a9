"""Locks as files, so that any number of runs may share an output folder.

A lock of `flock` or `fcntl` vanishes with its process, but does not reach other machines on every
network file system. A file made by a hard link does; what it lacks is a sign of death. So it names
its holder (host, process, start time: a process number is used again) and is touched as long as
the holder lives.
"""

from __future__ import annotations

import json
import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from brainseg.errors import DataError, TemporaryError
from brainseg.io import atomic, documents, signals

HEARTBEAT_S = 10.0
# Longer than any library call holds the interpreter, for example a registration of a large scan.
SILENCE_S = 180.0


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes
    ----------
    place : str
        From `brainseg.io.atomic.place`.
    pid : int
    started : str
        Start time of the process in clock ticks since boot; empty where it is not known.
    token : str
        Distinguishes two locks of one process.
    purpose : str
        What the holder does, where others need to know.
    """

    place: str
    pid: Annotated[int, Meta(ge=1, lt=1 << 31)]
    started: str
    token: str
    purpose: str = ""


@contextmanager
def hold(path: Path, purpose: str = "") -> Iterator[None]:
    """Hold the lock `path` during the body.

    Parameters
    ----------
    path : Path
    purpose : str
        Kept in the lock, for `holders`.

    Raises
    ------
    TemporaryError
        When somebody who lives holds it.
    CannotCreateError, OutputError
        When the lock cannot be written.
    """
    me = _me(purpose)
    stop = threading.Event()
    with signals.waiting() as those:
        _take(path, me)
        try:
            # Where no thread can be started, the lock goes again, too.
            threading.Thread(target=_beat, args=(path, stop), daemon=True).start()
            with those.lifted():
                yield
        finally:
            stop.set()
            _release(path, me)


def _me(purpose: str = "") -> Holder:
    pid = os.getpid()
    started = atomic.start_time(pid) or ""
    return Holder(atomic.place(), pid, started, uuid.uuid4().hex, purpose)


def _take(path: Path, me: Holder) -> None:
    """Make the lock, in the place of a stale one, too; errors as of `hold`."""
    with atomic.explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        if _create(path, me):
            return
        seen = _read(path)
        if is_stale(path, seen):
            _break(path, seen)
        if not _create(path, me):
            by = "" if seen is None else f" by process {seen.pid}"
            raise TemporaryError(
                f"{path.stem.lstrip('.')}: is being segmented{by} in another run; wait for it"
            )


def _release(path: Path, me: Holder) -> None:
    with suppress(OSError):
        if _read(path) == me:
            path.unlink()


def sweep(folder: Path) -> None:
    """Remove the locks in a folder whose holders are dead.

    A scan that is done is not run again, so nobody would ask for the lock of a worker that died
    after its ledger entry was written and before its lock was released.
    """
    for path in folder.glob("*.lock"):
        with suppress(OSError):
            seen = _read(path)
            if is_stale(path, seen):
                _break(path, seen)


def holders(folder: Path, pattern: str) -> list[Holder]:
    """Return who holds locks of a folder and lives."""
    found = []
    for path in sorted(folder.glob(pattern)):
        seen = _read(path)
        if seen is not None and not is_stale(path, seen):
            found.append(seen)
    return found


def is_stale(path: Path, seen: Holder | None) -> bool:
    """Say whether the holder of a lock is dead: gone from this place, or silent elsewhere.

    A lock that is no longer there is not stale: the next one of its name is somebody else's.
    """
    if seen is not None and seen.place == atomic.place():
        now = atomic.start_time(seen.pid)
        return now is None or (bool(seen.started) and now != seen.started)
    try:
        # Both times come from the file system's clock, so clocks of hosts need not agree.
        probe = atomic.scratch_path(path.with_suffix(f".{uuid.uuid4().hex[:8]}"))
        with signals.waiting():
            try:
                probe.touch()
                now_there = probe.stat().st_mtime
            finally:
                probe.unlink(missing_ok=True)
        # A holder who lives sets the time to now; one far ahead was not set by any.
        return abs(now_there - path.stat().st_mtime) > SILENCE_S
    except FileNotFoundError:
        # Released while we looked.
        return False


def _create(path: Path, me: Holder) -> bool:
    """Make the lock with its content in one step; False when it exists."""
    return atomic.create(path, json.dumps(asdict(me)))


def _break(path: Path, seen: Holder | None) -> None:
    """Remove a stale lock, once, however many find it stale at the same time."""
    guard, me = path.with_suffix(".break"), _me()
    with signals.waiting():
        if not _create(guard, me):
            with suppress(FileNotFoundError):
                if is_stale(guard, _read(guard)):
                    guard.unlink()
            return
        try:
            if path.exists() and _read(path) == seen:
                path.unlink(missing_ok=True)
        finally:
            _release(guard, me)


def _read(path: Path) -> Holder | None:
    try:
        return documents.read(path, Holder)
    except (OSError, DataError):
        return None


def _beat(path: Path, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_S):
        with suppress(OSError):
            os.utime(path)
