"""Small files written whole or not at all, and the litter of those who died while writing."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import psutil

from brainseg.errors import BrainsegError, CannotCreateError, OutputError
from brainseg.io import signals

# No write between temporary name and final name takes this long; who left it has died.
LITTER_AGE_S = 600.0
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)
# What a file system answers that has no such call: FUSE and some network file systems.
_EXITING = 0x4  # PF_EXITING of Linux's include/linux/sched.h
NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


def scratch_path(path: Path) -> Path:
    """Return a hidden name beside `path` that nobody else has and that tells who made it.

    Host and process number are no name by themselves: in containers every process is number 1, on
    hosts that are often called the same. The place, the number and the start of the process tell
    whether its owner still lives; the last part makes the name unique.
    """
    owner = f"{_place_hash()}-{os.getpid()}-{start_time(os.getpid()) or ''}"
    return path.parent / f".{path.name}.tmp-{owner}-{uuid.uuid4().hex[:8]}"


def write_text(path: Path, text: str) -> None:
    """Write a file under a temporary name, flush it to the disk, then rename it.

    Raises
    ------
    CannotCreateError, OutputError
        When the folder cannot be written or the disk is full.
    """
    with explained(path.parent), signals.waiting():
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = scratch_path(path)
        try:
            write_bytes(scratch, text.encode())
            scratch.replace(path)
        except BaseException:
            with suppress(OSError):
                scratch.unlink(missing_ok=True)
            raise


def create(path: Path, text: str, *, mode: int = 0o666) -> bool:
    """Make a small file with its content in one step; False when something has its name.

    Parameters
    ----------
    path : Path
    text : str
    mode : int
        Permissions, of which the umask takes its part.

    Raises
    ------
    OSError
        When it cannot be written; nothing of it is left then.
    """
    with signals.waiting():
        scratch = scratch_path(path)
        try:
            scratch.touch(mode, exist_ok=False)
            scratch.write_text(text, encoding="utf-8")
            return _link(scratch, path, text, mode)
        finally:
            scratch.unlink(missing_ok=True)


def _link(scratch: Path, path: Path, text: str, mode: int) -> bool:
    try:
        os.link(scratch, path)
    except FileExistsError:
        return False
    except OSError:
        # No hard links on this file system; exclusive creation is the next best thing.
        try:
            path.touch(mode, exist_ok=False)
        except FileExistsError:
            return False
        try:
            path.write_text(text, encoding="utf-8")
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return True


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file and flush it to the disk, where the file system can do that."""
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        try:
            os.fsync(stream.fileno())
        except OSError as error:
            if error.errno not in NO_SYNC:
                raise


def sweep(folder: Path) -> None:
    """Remove files that dead processes left half-written in a folder.

    A file of this place goes when its process is gone; one of another place when it is too old
    to belong to a write in progress. Folders stay: `brainseg.io.staging` puts those in order.
    """
    for path in folder.glob(".*.tmp-*"):
        with suppress(OSError):
            if not path.is_dir() and owner_is_dead(path):
                path.unlink()


def owner_is_dead(scratch: Path) -> bool:
    """Say whether the process that made a scratch name is gone, or silent in another place.

    Raises
    ------
    OSError
        When the scratch is gone.
    """
    parts = scratch.name.rpartition(".tmp-")[2].split("-")
    if len(parts) == 4 and parts[0] == _place_hash() and parts[1].isdecimal():
        now = start_time(int(parts[1]))
        return now is None or (bool(parts[2]) and now != parts[2])
    # A time in the future is no sign of life: clocks of hosts differ by less than this.
    return abs(time.time() - scratch.stat().st_mtime) > LITTER_AGE_S


def remove(path: Path) -> None:
    """Remove a file or a whole folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@cache
def place() -> str:
    """Host, boot and process namespace: within one place process numbers can be compared."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip())
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


@cache
def _place_hash() -> str:
    return hashlib.sha256(place().encode()).hexdigest()[:8]


def start_time(pid: int) -> str | None:
    """Start time of a living process; None when there is none; empty when it is not known."""
    if not 0 < pid < 1 << 31:
        return None
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None if Path("/proc/self/stat").exists() else _start_time_elsewhere(pid)
    except ProcessLookupError:
        # It ended between opening and reading.
        return None
    except OSError:
        return ""
    # The name of the program, in brackets, may hold spaces and brackets itself.
    fields = status.rpartition(")")[2].split()
    # A zombie has died; nobody has looked at it yet. One that is exiting has closed its files, so
    # others know that it is gone, and runs no more of its program.
    gone = fields[0] in ("Z", "X") or int(fields[6]) & _EXITING
    return None if gone else fields[19]


def _start_time_elsewhere(pid: int) -> str | None:
    # macOS and Windows have no /proc; signal 0 would end the process on Windows.
    try:
        process = psutil.Process(pid)
        dead = process.status() == psutil.STATUS_ZOMBIE
        return None if dead else str(process.create_time())
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied:
        return ""


@contextmanager
def explained(folder: Path, kept: str = "nothing of this scan was kept") -> Iterator[None]:
    """Turn the system's refusal to write into an error that says where and what to do."""
    try:
        yield
    except BrainsegError:
        raise
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if error.errno in FULL:
            raise OutputError(
                f"{folder.name}/: writing failed ({reason}); {kept}, make room and run again"
            ) from error
        raise CannotCreateError(
            f"{folder.name}/: cannot be written ({reason}); choose another output folder"
        ) from error
