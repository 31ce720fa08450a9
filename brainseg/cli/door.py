"""The door between the program and its terminal: what goes out, and how a fault ends."""

from __future__ import annotations

import errno
import logging
import os
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from brainseg.cli.flags import FlagFormatter, in_flags
from brainseg.errors import (
    BrainsegError,
    InternalError,
    NoInputError,
    OutputError,
    TemporaryError,
    UsageError,
    VerdictError,
)
from brainseg.qc.measure.levels import FAIL, PASS

if TYPE_CHECKING:
    from brainseg.qc.measure.verdict import Verdict

log = logging.getLogger("brainseg")

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)


def open_streams() -> None:
    """Give a process whose standard streams were closed ones that lead nowhere.

    Else the first file that is opened takes the place of stderr, and messages end up in it. What a
    terminal cannot show is written as an escape.
    """
    while (spare := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(spare)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123
        if hasattr(stream := getattr(sys, name), "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def require_names(arguments: Sequence[str]) -> None:
    """Refuse names that are no text before any work is done: no output could be named by them.

    Raises
    ------
    UsageError
    """
    for argument in arguments:
        if any("\ud800" <= letter <= "\udfff" for letter in argument):
            raise UsageError(
                f"{printable(Path(argument).name)}: this name holds bytes that are no text; rename "
                "the file, or set a UTF-8 locale"
            )


def printable(text: str) -> str:
    r"""Return a text whose control characters are written as escapes, as in ``\n``.

    A file name may hold line feeds and codes that move a terminal's cursor.
    """
    return "".join(
        letter.encode("unicode_escape").decode()
        if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        else letter
        for letter in text
    )


def require_memory() -> None:
    """Refuse a limit in which not even the libraries fit.

    Some of them end the process with words of their own then, or try again without end.

    Raises
    ------
    TemporaryError
    """
    try:
        import resource
    except ImportError:  # Windows knows no such limits
        return

    from brainseg.batch import memory

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < memory.IDLE_BYTES:
        raise TemporaryError(
            f"memory is limited to {limit / 1e9:.2f} GB (ulimit -v), and the program itself takes "
            f"{memory.IDLE_BYTES / 1e9:.2f} GB; raise the limit"
        )


class Formatter(FlagFormatter):
    """Log lines that stay one line, whatever names they hold; a traceback follows as it is."""

    scan = ""
    """Name of the scan that the lines are about, where there are several."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Format the line itself."""
        if self.scan and not record.message.startswith(self.scan):
            record.message = f"{self.scan}: {record.message}"
        return printable(super().formatMessage(record))


@contextmanager
def naming(scan: str) -> Iterator[None]:
    """Let each log line name a scan while it is worked on; an empty name changes nothing."""
    Formatter.scan = scan
    try:
        yield
    finally:
        Formatter.scan = ""


def tell(error: Exception) -> int:
    """Print the one line of an error; return its exit code. The traceback goes to the debug log."""
    log.debug("where it happened:", exc_info=error)
    explained = explain(error)
    print(f"brainseg: error: {printable(in_flags(str(explained)))}", file=sys.stderr)
    return explained.exit_code


def explain(error: Exception) -> BrainsegError:
    """Turn what nobody foresaw into an error with a code of its own."""
    if isinstance(error, BrainsegError):
        return error
    if isinstance(error, MemoryError) or (
        isinstance(error, ImportError) and "failed to map segment" in str(error)
    ):
        return TemporaryError("not enough memory; close other programs or use a larger machine")
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return TemporaryError("no more threads may be started; use --threads 1 or raise ulimit -u")
    if isinstance(error, OSError):
        name = f"{Path(os.fsdecode(error.filename)).name}: " if error.filename else ""
        reason = f"{name}{error.strerror or type(error).__name__}"
        if error.errno in EXHAUSTED:
            return TemporaryError(f"{reason}; raise the limit (ulimit -a) or run less at once")
        if error.errno in FULL:
            return OutputError(f"{reason}; make room and run again")
        return NoInputError(f"{reason}; check the path and its permissions")
    return InternalError(
        f"unforeseen {type(error).__name__}; this is a fault of brainseg. Run it again with "
        "--verbose and report what that prints"
    )


def conclude(name: str, verdict: Verdict, out: Path) -> int:
    """Say how a scan ended, its verdict included; return the exit code that the verdict has."""
    level = logging.INFO if verdict.level == PASS else logging.WARNING
    log.log(level, "%s: %s (see %s)", name, verdict.in_words(), out)
    return VerdictError.exit_code if verdict.level == FAIL else 0
