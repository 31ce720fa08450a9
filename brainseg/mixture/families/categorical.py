"""Categorical components: counts of symbols, independent between columns given the component.

With several columns this is latent class analysis: Goodman, Biometrika 61 (1974) 215-231,
doi:10.1093/biomet/61.2.215.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from brainseg.errors import DataError
from brainseg.mixture.engine.arrays import Floats, Ints
from brainseg.mixture.engine.em import State
from brainseg.mixture.engine.samples import Block, Samples
from brainseg.mixture.families.base import Mixture
from brainseg.mixture.families.starts import first_state

# Keeps the logarithm of a symbol that a component never shows finite.
_LEAST = 1e-12


@dataclass(frozen=True, eq=False)
class CategoricalComponents:
    """K products of categorical distributions over D columns.

    Attributes
    ----------
    probabilities : tuple of ndarray of float64, each of shape (K, S_d)
        For each column the probability of each of its symbols 0..S_d - 1.
    """

    probabilities: tuple[Floats, ...]

    @property
    def n_components(self) -> int:
        """Number of components K."""
        return len(self.probabilities[0])

    @property
    def n_features(self) -> int:
        """Number of columns D."""
        return len(self.probabilities)

    @property
    def n_parameters(self) -> int:
        """Free probabilities."""
        return sum(p.shape[0] * (p.shape[1] - 1) for p in self.probabilities)

    def log_density(self, block: Block) -> Floats:
        """Return the log-probability of each row, shape (b, K)."""
        out = np.zeros((self.n_components, len(block.x)))
        for column, p in zip(block.x.T, self.probabilities, strict=True):
            out += np.log(p)[:, column.astype(np.int64)]
        return out.T

    def statistics(self, block: Block, resp: Floats) -> Floats:
        """Return counts of components, and of each symbol in each, (K, 1 + sum of S_d)."""
        columns = [resp.sum(axis=0)[:, None]]
        for column, p in zip(block.x.T, self.probabilities, strict=True):
            symbol = column.astype(np.int64)
            columns.append(np.stack([np.bincount(symbol, r, p.shape[1]) for r in resp.T]))
        return np.concatenate(columns, axis=1)

    def maximise(self, statistics: Floats) -> CategoricalComponents:
        """Return the relative frequencies."""
        ends = np.cumsum([p.shape[1] for p in self.probabilities])[:-1]
        new = []
        for counts in np.split(statistics[:, 1:], ends, axis=1):
            share = np.maximum(counts, _LEAST * np.maximum(counts.sum(axis=1)[:, None], 1e-100))
            new.append(share / share.sum(axis=1, keepdims=True))
        return CategoricalComponents(tuple(new))

    def log_prior(self) -> float:
        """Return 0: there is no prior."""
        return 0.0

    def sample(self, counts: Ints, rng: np.random.Generator) -> Floats:
        """Draw counts[k] rows of each component."""
        columns = [
            np.concatenate([rng.choice(len(q), n, p=q) for q, n in zip(p, counts, strict=True)])
            for p in self.probabilities
        ]
        return np.stack(columns, axis=1).astype(np.float64)

    def change(self, other: CategoricalComponents) -> float:
        """Largest difference of a probability."""
        pairs = zip(self.probabilities, other.probabilities, strict=True)
        return max(float(np.abs(p - q).max()) for p, q in pairs)

    def frame(self) -> None:
        """Return None: plain EM."""
        return

    def sort_keys(self) -> Floats:
        """Return the mean symbol of the first column."""
        first = self.probabilities[0]
        keys: Floats = first @ np.arange(first.shape[1])
        return keys

    def permuted(self, order: Ints) -> CategoricalComponents:
        """Return the components in another order."""
        return CategoricalComponents(tuple(p[order] for p in self.probabilities))

    def collapsed(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Return no: the likelihood of symbols has a bound."""
        return np.zeros(self.n_components, dtype=bool)

    def reseeded(self, k: int, x: Floats) -> CategoricalComponents:
        """Return components of which number k prefers the symbols of a row."""
        new = []
        for p, symbol in zip(self.probabilities, x.astype(np.int64), strict=True):
            q = p.copy()
            q[k] = 0.5 / p.shape[1]
            q[k, symbol] += 0.5
            new.append(q)
        return CategoricalComponents(tuple(new))


class CategoricalMixture(Mixture[CategoricalComponents]):
    """Mixture of K categorical distributions over D columns of symbols 0, 1, 2, ...

    Options as of `GaussianMixture`.

    Attributes
    ----------
    weights_ : ndarray, shape (K,)
    probabilities_ : tuple of ndarray, each of shape (K, S_d)
        Probability of each symbol, for each column.
    """

    _metric: ClassVar[bool] = False

    def _first(self, samples: Samples, index: Ints) -> State[CategoricalComponents]:
        x = np.asarray(samples.x)
        if x.min() < 0 or (x != np.floor(x)).any():
            raise DataError("categorical components need symbols: whole numbers from 0 up")
        even = tuple(
            np.full((self.n_components, int(column.max()) + 1), 1.0 / (int(column.max()) + 1))
            for column in x.T
        )
        return first_state(samples, index, CategoricalComponents(even))

    def _given(self, samples: Samples) -> State[CategoricalComponents]:
        state: Any = getattr(self.init, "_state", None)
        if state is None or not isinstance(state.components, CategoricalComponents):
            raise ValueError("a mixture of categorical distributions starts from another one")
        return State(state.log_weights, state.components)

    def _publish(self, components: CategoricalComponents) -> None:
        self.probabilities_: tuple[Floats, ...] = components.probabilities
