"""One process: this one. For debugging, and where processes cannot be started."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self


class SerialEngine:
    """Does one task after the other when asked for the next outcome."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self._work = work
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
        return task, self._work(task)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._waiting.clear()
