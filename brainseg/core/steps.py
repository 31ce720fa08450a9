"""Names and seconds of the steps of a run, told to a listener while they happen."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

log = logging.getLogger(__name__)


@dataclass
class Steps:
    """Records how long each step took.

    Attributes
    ----------
    on_start, on_end : callable
        Told the name of a step when it begins, its name and seconds when it ends.
    seconds : dict
        Seconds of wall-clock time by step, in order.
    """

    on_start: Callable[[str], None] = lambda name: None
    on_end: Callable[[str, float], None] = lambda name, seconds: log.info(
        "%s: %.1f s", name, seconds
    )
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time the body as the step `name`; a step entered twice adds up."""
        self.on_start(name)
        start = time.perf_counter()
        try:
            yield
        finally:
            took = time.perf_counter() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + took
            self.on_end(name, took)
