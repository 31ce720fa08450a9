"""Signals that end the program wait while a file is half made.

Python raises in the middle of whatever runs: between the creation of a file and the `try` that
would remove it, or within the `finally` that does. Around a few quick calls they wait instead.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM)


class Waiting:
    """Signals that arrived meanwhile, and the handlers that they will meet."""

    def __init__(self) -> None:
        self._arrived: list[int] = []
        # Only what Python handles is raised as an exception, and only in the main thread.
        here = threading.current_thread() is threading.main_thread()
        handlers = {number: signal.getsignal(number) for number in ENDING if here}
        self._handlers: dict[int, Any] = {n: h for n, h in handlers.items() if callable(h)}

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """Let signals through during the body: those that waited at once."""
        self._let_through()
        try:
            yield
        finally:
            self._hold()

    def _hold(self) -> None:
        for number in self._handlers:
            signal.signal(number, self._note)

    def _let_through(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        while self._arrived:
            signal.raise_signal(self._arrived.pop(0))

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._arrived.append(number)


@contextmanager
def waiting() -> Iterator[Waiting]:
    """Let signals that end the program wait until the body has ended.

    Give it bodies that are over in moments; what may take long goes into `Waiting.lifted`.
    """
    them = Waiting()
    try:
        them._hold()
        yield them
    finally:
        them._let_through()
