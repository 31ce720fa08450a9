"""Quasi-Newton steps between EM steps: the same optimum in tens of sweeps instead of thousands.

Jamshidian & Jennrich, J. R. Stat. Soc. B 59 (1997) 569-587, doi:10.1111/1467-9868.00083. A line
search keeps the objective from falling; where it finds nothing, an EM step is done instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic

import numpy as np

from brainseg.mixture.engine.arrays import Floats
from brainseg.mixture.engine.components import Frame
from brainseg.mixture.engine.em import LOG_TINY, C, State, Walk
from brainseg.mixture.engine.quasi_newton import Curvature

# Plain cycles first: EM leaves a poor start fast, and stays in the basin it began in.
WARM = 10
# Share of the rise promised by the gradient that a step must reach (Armijo's condition).
_RISE = 1e-4
# Standard deviations, or a factor of e^1.5: beyond that no local model is believed.
_LONGEST = 1.5
_TRIES = 4


class Climber(Generic[C]):
    """Coordinates around a mixture, the place in them, and the curvature seen on the way."""

    def __init__(self, state: State[C], frame: Frame[C]) -> None:
        self._start_at(state, frame)

    def _start_at(self, state: State[C], frame: Frame[C]) -> None:
        """Put the origin of the coordinates at a mixture, with no curvature seen yet."""
        self._origin, self._frame = state.log_weights, frame
        self._k = len(state.log_weights)
        size = len(frame.information(np.exp(state.log_weights)))
        self._vector = np.zeros(self._k + size)
        self._curvature = Curvature()

    @classmethod
    def around(cls, state: State[C]) -> Climber[C] | None:
        """Return a climber that starts at a mixture, or None where it has no coordinates."""
        frame = state.components.frame()
        return None if frame is None else cls(state, frame)

    def _at(self, vector: Floats) -> State[C] | None:
        log_weights = self._origin + vector[: self._k]
        log_weights = log_weights - np.logaddexp.reduce(log_weights)
        components = self._frame.at(vector[self._k :])
        if components is None:
            return None
        return State(np.maximum(log_weights, LOG_TINY), components)

    def _gradient(self, walk: Walk[C], vector: Floats) -> Floats:
        """Gradient of the objective per sample."""
        total = walk.samples.total
        counts = walk.statistics[:, 0] / total
        if walk.fixed_weights:
            weights = np.zeros(self._k)
        else:
            if walk.options.dirichlet is not None:
                counts = counts + (walk.options.dirichlet.alpha - 1) / total
            weights = counts - counts.sum() * np.exp(walk.state.log_weights)
        rest = self._frame.gradient(vector[self._k :], walk.statistics) / total
        return np.concatenate([weights, rest])

    def climb(self, walk: Walk[C], lost: Callable[[], bool]) -> None:
        """Go up to the top: until two steps in a row promise and gain less than the tolerance.

        Where no step rises and `lost` says that a component has become singular, leave it.
        """
        gradient = self._gradient(walk, self._vector)
        calm = 0
        while not walk.done:
            shares = walk.statistics[:, 0] / walk.samples.total
            information = np.concatenate(
                [np.maximum(shares, 1e-5), self._frame.information(shares)]
            )
            direction = self._curvature.direction(gradient, information)
            promise = float(gradient @ direction)
            small = self._line_search(walk, direction, promise)
            if small is None and lost():
                return
            if small is None:
                # EM's step is always upwards; coordinates start afresh from there.
                small = walk.em_step()
                frame = walk.state.components.frame()
                assert frame is not None
                self._start_at(walk.state, frame)
                gradient = self._gradient(walk, self._vector)
                walk.converged = small
                continue
            before, gradient = gradient, self._gradient(walk, self._vector)
            self._curvature.learn(self._last, gradient - before)
            calm = calm + 1 if small and 0.5 * promise <= walk.options.tol else 0
            walk.converged = calm >= 2

    def _line_search(self, walk: Walk[C], direction: Floats, promise: float) -> bool | None:
        """Step along a direction; return whether the step was small, None where none rises."""
        longest = float(np.abs(direction).max())
        if not np.isfinite(longest) or promise <= 0:
            return None
        length = min(1.0, _LONGEST / longest) if longest > 0 else 1.0
        for _ in range(_TRIES):
            if walk.done:
                return None
            vector = self._vector + length * direction
            state = self._at(vector)
            rise = -np.inf
            if state is not None:
                value, statistics = walk.evaluate(state)
                rise = value - walk.objective
                if rise >= _RISE * length * promise:
                    self._last, self._vector = length * direction, vector
                    return walk.to(state, value, statistics)
            # The top of the parabola through what is known, within reason.
            bend = length * promise - rise
            best = 0.5 * length * length * promise / bend if np.isfinite(bend) else 0.0
            length = float(np.clip(best, 0.1 * length, 0.5 * length))
        return None
