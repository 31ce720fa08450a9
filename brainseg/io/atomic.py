"""Small files written whole or not at all, and the litter of those who died while writing."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brainseg.errors import BrainsegError, CannotCreateError, OutputError

# No write between temporary name and final name takes this long; who left it has died.
LITTER_AGE_S = 600.0
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)


def scratch_path(path: Path) -> Path:
    """Return a hidden name beside `path` that tells which process on which host made it."""
    host = socket.gethostname().replace("-", "_")
    return path.parent / f".{path.name}.tmp-{host}-{os.getpid()}"


def write_text(path: Path, text: str) -> None:
    """Write a file under a temporary name, flush it to the disk, then rename it.

    Raises
    ------
    CannotCreateError, OutputError
        When the folder cannot be written or the disk is full.
    """
    with explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = scratch_path(path)
        try:
            with scratch.open("w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            scratch.replace(path)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise


def sweep(folder: Path, name: str = "*") -> None:
    """Remove what dead processes left half-written beside `name`.

    A file of this host goes when its process is gone; one of another host when it is too old
    to belong to a write in progress.
    """
    host = socket.gethostname().replace("-", "_")
    for path in folder.glob(f".{name}.tmp-*"):
        owner, _, pid = path.name.rpartition(".tmp-")[2].rpartition("-")
        here = owner == host and pid.isdecimal()
        try:
            if here and start_time(int(pid)) is not None:
                continue
            if not here and time.time() - path.stat().st_mtime < LITTER_AGE_S:
                continue
            remove(path)
        except OSError:
            # Somebody else swept it, or it is not ours to remove.
            continue


def remove(path: Path) -> None:
    """Remove a file or a whole folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def start_time(pid: int) -> str | None:
    """Start time of a living process; None when there is none; empty when it is not known."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            return ""
        return ""
    except OSError:
        return ""
    # The name of the program, in brackets, may hold spaces and brackets itself.
    fields = status.rpartition(")")[2].split()
    # A zombie has died; nobody has looked at it yet.
    return None if fields[0] in ("Z", "X") else fields[19]


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn the system's refusal to write into an error that says where and what to do."""
    try:
        yield
    except BrainsegError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in FULL:
            raise OutputError(
                f"{folder.name}/: writing failed ({reason}); nothing of this scan was kept, "
                "make room and run again"
            ) from error
        raise CannotCreateError(
            f"{folder.name}/: cannot be written ({reason}); choose another output folder"
        ) from error
