"""Limited-memory BFGS: what past gradients tell of the curvature.

Nocedal, Mathematics of Computation 35 (1980) 773-782, doi:10.1090/S0025-5718-1980-0572855-7; with
EM's own information as first guess it is the QN2 acceleration of Jamshidian & Jennrich,
J. R. Stat. Soc. B 59 (1997) 569-587, doi:10.1111/1467-9868.00083.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from brainseg.mixture.engine.arrays import Floats

# Pairs remembered: the parameters of brain mixtures number some tens.
_MEMORY = 30


class Curvature:
    """Pairs of steps and changes of gradient of a function that is maximised."""

    def __init__(self) -> None:
        self._pairs: deque[tuple[Floats, Floats, float]] = deque(maxlen=_MEMORY)

    def learn(self, step: Floats, change: Floats) -> None:
        """Add a step and the change of the gradient along it, unless the function curves up."""
        y = -change
        product = float(step @ y)
        if product > 1e-10 * float(np.sqrt((step @ step) * (y @ y))):
            self._pairs.append((step, y, product))

    def direction(self, gradient: Floats, information: Floats) -> Floats:
        """Return the ascent direction; `information` is the first guess of the curvature."""
        q = gradient.copy()
        used = []
        for step, y, product in reversed(self._pairs):
            a = float(step @ q) / product
            q -= a * y
            used.append(a)
        q /= information
        for (step, y, product), a in zip(self._pairs, reversed(used), strict=True):
            q += (a - float(y @ q) / product) * step
        return q
