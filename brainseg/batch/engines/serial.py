"""One process: this one. For debugging, and where processes cannot be started."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class SerialEngine:
    """Does one task after the other when asked for the next outcome.

    Parameters
    ----------
    work : callable
        As for `LocalEngine`.
    scratch : Path or None
        Where libraries put temporary files while a task is done.
    """

    def __init__(self, work: Callable[[Any], Any], scratch: Path | None = None) -> None:
        self._work = work
        self._scratch = scratch
        self._waiting: deque[Any] = deque()

    @property
    def pending(self) -> int:
        """Number of tasks submitted and not yet returned."""
        return len(self._waiting)

    def submit(self, task: Any) -> None:
        """Take a task."""
        self._waiting.append(task)

    def next(self) -> tuple[Any, Any]:
        """Do the next task."""
        task = self._waiting.popleft()
        before = tempfile.tempdir
        tempfile.tempdir = before if self._scratch is None else str(self._scratch)
        try:
            return task, self._work(task)
        finally:
            tempfile.tempdir = before

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._waiting.clear()
