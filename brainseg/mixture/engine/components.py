"""What EM asks of a family of components, and nothing more."""

from __future__ import annotations

from typing import Protocol, Self, TypeVar

import numpy as np

from brainseg.mixture.engine.arrays import Floats, Ints
from brainseg.mixture.engine.samples import Block

C_co = TypeVar("C_co", covariant=True)


class Frame(Protocol[C_co]):
    """Unconstrained coordinates around some components, which lie at 0."""

    def at(self, vector: Floats) -> C_co | None:
        """Return the components at coordinates, or None where there are none."""
        ...

    def gradient(self, vector: Floats, statistics: Floats) -> Floats:
        """Return the gradient of the log-likelihood (plus log-prior) from statistics there."""
        ...

    def information(self, shares: Floats) -> Floats:
        """Return the diagonal of the complete-data information per sample."""
        ...


class Components(Protocol):
    """The K components of a mixture: an immutable value with parameters inside.

    The update is split in two, so that EM never holds an N x K array: `statistics` are additive
    over blocks (and over machines), `maximise` turns their sum into new parameters.
    """

    @property
    def n_components(self) -> int:
        """Number of components K."""
        ...

    @property
    def n_features(self) -> int:
        """Number of channels D."""
        ...

    @property
    def n_parameters(self) -> int:
        """Number of free parameters, mixing weights not counted."""
        ...

    def log_density(self, block: Block) -> Floats:
        """Return log p(x_n | k), shape (b, K), a new array."""
        ...

    def statistics(self, block: Block, resp: Floats) -> Floats:
        """Return additive statistics, shape (K, S); column 0 is the sum of `resp` (b, K)."""
        ...

    def maximise(self, statistics: Floats) -> Self:
        """Return the components of maximum expected likelihood (or posterior)."""
        ...

    def log_prior(self) -> float:
        """Return the logarithm of the parameters' prior density; 0 without a prior."""
        ...

    def sample(self, counts: Ints, rng: np.random.Generator) -> Floats:
        """Draw counts[k] samples of each component, in order, shape (counts.sum(), D)."""
        ...

    def change(self, other: Self) -> float:
        """Return the largest difference of a parameter, in units that make 1 a large one."""
        ...

    def frame(self) -> Frame[Self] | None:
        """Return coordinates for accelerated steps, or None where there are none."""
        ...

    def sort_keys(self) -> Floats:
        """Return the numbers, shape (K,), by which components are put in order."""
        ...

    def permuted(self, order: Ints) -> Self:
        """Return the components in another order."""
        ...

    def collapsed(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Tell which components have shrunk to a point."""
        ...

    def reseeded(self, k: int, x: Floats) -> Self:
        """Return components of which number k starts afresh at the sample `x`, shape (D,)."""
        ...
