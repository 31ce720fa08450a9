"""EM at work, step by step, for pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from brainseg.mixture.engine.histogram import Histogram
from brainseg.mixture.families.gaussian import GaussianMixture

CYCLES = (0, 1, 2, 5, 20)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The mixture after some cycles of plain EM.

    Attributes
    ----------
    cycle : int
        0 is the start.
    mixture : GaussianMixture
    log_likelihood : float
        Per sample (nats).
    """

    cycle: int
    mixture: GaussianMixture
    log_likelihood: float


def snapshots(
    X: ArrayLike | Histogram,
    n_components: int,
    *,
    cycles: tuple[int, ...] = CYCLES,
    init: Any = "kmeans",
    random_state: int = 0,
    **options: Any,
) -> list[Snapshot]:
    """Run plain EM and look at it after given numbers of cycles.

    Components keep the places that they have at the start, even where their means overtake each
    other: a picture can give each one colour throughout.

    Parameters
    ----------
    X : array_like, shape (n,) or (n, D), or Histogram
    n_components : int
    cycles : tuple of int
        In increasing order.
    init, random_state, **options
        As of `GaussianMixture`.
    """
    out: list[Snapshot] = []
    start, done = init, 0
    for cycle in cycles:
        mixture = GaussianMixture(
            n_components,
            init=start,
            max_iter=cycle - done,
            tol=0.0,
            accelerate=False,
            random_state=random_state,
            **options,
        ).fit(X)
        if not isinstance(start, str):
            mixture = unsorted(mixture)
        out.append(Snapshot(cycle, mixture, mixture.log_likelihood_))
        start, done = mixture, cycle
    return out


def converged(last: Snapshot, X: ArrayLike | Histogram) -> GaussianMixture:
    """Run EM on from a snapshot until it converges; components keep their places."""
    start = last.mixture
    mixture = GaussianMixture(
        start.n_components, covariance_type=start.covariance_type, init=start, prior=start.prior
    )
    return unsorted(mixture.fit(X))


def unsorted(mixture: GaussianMixture) -> GaussianMixture:
    """Return a mixture with its components in the order of the start that it was given."""
    return mixture.reordered(np.argsort(mixture.order_))
