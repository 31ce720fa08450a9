"""Engines: how tasks get done. They know nothing of scans, ledgers or what an outcome is."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol, Self


class Died:
    """Stands for the outcome of a task whose worker died before it could say anything."""

    def __init__(self, how: str) -> None:
        self.how = how


class Engine(Protocol):
    """Does tasks, in any order; used as a context manager, which stops all work on leaving.

    The contract, which one test suite holds every engine to: each task submitted comes back from
    `next` once, with what the work returned or, where its worker died, with `Died` (an engine may
    also try such a task again by itself). The death of a worker harms no other task.
    """

    @property
    def pending(self) -> int:
        """Number of tasks submitted and not yet returned."""

    def submit(self, task: Any) -> None:
        """Take a task; returns at once."""

    def next(self) -> tuple[Any, Any]:
        """Wait for a task to end and return it with its outcome; call only while pending."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
