"""Rician components: the magnitude of a signal in complex Gaussian noise, as MR scanners give it.

Gudbjartsson & Patz, Magn. Reson. Med. 34 (1995) 910-914, doi:10.1002/mrm.1910340618. EM treats
the phase that the magnitude has lost as missing: its expected cosine is I1(z) / I0(z).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import i0e, i1e

from brainseg.errors import DataError
from brainseg.mixture.engine.arrays import Floats, Ints
from brainseg.mixture.engine.em import State
from brainseg.mixture.engine.samples import Block, Samples
from brainseg.mixture.families.base import Mixture
from brainseg.mixture.families.starts import first_state, gaussian_template


@dataclass(frozen=True, eq=False)
class RicianComponents:
    """K Rician distributions in one channel.

    Attributes
    ----------
    signal : ndarray of float64, shape (K,)
        Magnitude without noise (intensity).
    sigma : ndarray of float64, shape (K,)
        Standard deviation of the noise in each of the two quadratures (intensity).
    unit, floor, zero : float
        Typical sigma, smallest sigma squared, and what stands for a magnitude of 0, whose
        density is none: half the smallest positive magnitude.
    """

    signal: Floats
    sigma: Floats
    unit: float
    floor: float
    zero: float

    @property
    def n_components(self) -> int:
        """Number of components K."""
        return len(self.signal)

    @property
    def n_features(self) -> int:
        """One channel."""
        return 1

    @property
    def n_parameters(self) -> int:
        """Signal and noise of each."""
        return 2 * len(self.signal)

    def _magnitude(self, block: Block) -> Floats:
        return np.maximum(block.x.T, self.zero)

    def log_density(self, block: Block) -> Floats:
        """Return log Rice(x_n | signal_k, sigma_k), shape (b, K)."""
        x = self._magnitude(block)
        nu, variance = self.signal[:, None], self.sigma[:, None] ** 2
        # i0e is exp(-z) I0(z): the square is completed and nothing overflows.
        out = np.log(x / variance) - 0.5 * (x - nu) ** 2 / variance
        out += np.log(i0e(x * nu / variance))
        return np.asarray(out.T)

    def statistics(self, block: Block, resp: Floats) -> Floats:
        """Return counts, expected real parts, and squares about the signal, shape (K, 3)."""
        x = self._magnitude(block)
        nu = self.signal[:, None]
        z = x * nu / self.sigma[:, None] ** 2
        scale = i0e(z)
        cosine = i1e(z) / scale
        r = resp.T
        square = (x - nu) ** 2 + 2 * x * nu * ((scale - i1e(z)) / scale)
        columns = [r.sum(axis=1), (r * x * cosine).sum(axis=1), (r * square).sum(axis=1)]
        return np.stack(columns, axis=1)

    def maximise(self, statistics: Floats) -> RicianComponents:
        """Return the distributions of maximum expected likelihood."""
        count = np.maximum(statistics[:, 0], 1e-100)
        signal = statistics[:, 1] / count
        twice = statistics[:, 2] / count - (signal - self.signal) ** 2
        sigma = np.sqrt(np.maximum(0.5 * twice, self.floor))
        some = statistics[:, 0] > 1e-100
        return replace(
            self,
            signal=np.where(some, signal, self.signal),
            sigma=np.where(some, sigma, self.sigma),
        )

    def log_prior(self) -> float:
        """Return 0: there is no prior."""
        return 0.0

    def sample(self, counts: Ints, rng: np.random.Generator) -> Floats:
        """Draw counts[k] magnitudes of each component."""
        index = np.repeat(np.arange(len(counts)), counts)
        noise = rng.standard_normal((2, len(index))) * self.sigma[index]
        return np.asarray(np.hypot(self.signal[index] + noise[0], noise[1])[:, None])

    def change(self, other: RicianComponents) -> float:
        """Largest difference of a parameter in typical sigmas."""
        moved = np.maximum(np.abs(self.signal - other.signal), np.abs(self.sigma - other.sigma))
        return float(moved.max() / self.unit)

    def frame(self) -> RicianFrame:
        """Return coordinates around these distributions for accelerated steps."""
        return RicianFrame(self)

    def sort_keys(self) -> Floats:
        """Return the signals."""
        return self.signal

    def permuted(self, order: Ints) -> RicianComponents:
        """Return the components in another order."""
        return replace(self, signal=self.signal[order], sigma=self.sigma[order])

    def collapsed(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Tell which components lie on the floor."""
        return np.asarray(self.sigma**2 <= self.floor * (1 + 1e-6))

    def reseeded(self, k: int, x: Floats) -> RicianComponents:
        """Return components of which number k starts afresh."""
        signal, sigma = self.signal.copy(), self.sigma.copy()
        signal[k], sigma[k] = x[0], self.unit
        return replace(self, signal=signal, sigma=sigma)


@dataclass(frozen=True, eq=False)
class RicianFrame:
    """Coordinates: signals in units of their noise, and logarithms of the noise."""

    reference: RicianComponents

    def at(self, vector: Floats) -> RicianComponents | None:
        """Return the components at coordinates; None below the floor or with negative signal."""
        moved, logs = np.split(vector, 2)
        signal = self.reference.signal + moved * self.reference.sigma
        with np.errstate(over="ignore"):
            sigma = self.reference.sigma * np.exp(logs)
        usable = signal.min() >= 0 and sigma.min() ** 2 >= self.reference.floor
        if not (usable and np.isfinite(sigma).all()):
            return None
        return replace(self.reference, signal=signal, sigma=sigma)

    def gradient(self, vector: Floats, statistics: Floats) -> Floats:
        """Gradient of the log-likelihood at coordinates, by Fisher's identity."""
        here = self.at(vector)
        assert here is not None
        count, real, square = statistics.T
        variance = here.sigma**2
        signal = (real - count * here.signal) / variance * self.reference.sigma
        return np.concatenate([signal, square / variance - 2 * count])

    def information(self, shares: Floats) -> Floats:
        """Diagonal of the complete-data information per sample."""
        share = np.maximum(shares, 1e-5)
        return np.concatenate([share, 4 * share])


class RicianMixture(Mixture[RicianComponents]):
    """Mixture of K Rician distributions in one channel; options as of `GaussianMixture`.

    Attributes
    ----------
    weights_, signal_, sigma_ : ndarray, shape (K,)
        Mixing weights, noise-free magnitudes and noise (intensity).
    """

    def _first(self, samples: Samples, index: Ints) -> State[RicianComponents]:
        if samples.n_features != 1 or samples.x.min() < 0:
            raise DataError(
                "Rician components need magnitudes: one channel without negative values; "
                "use Gaussian ones"
            )
        gaussian = first_state(samples, index, gaussian_template(samples, index))
        g = gaussian.components
        positive = samples.x[samples.x > 0]
        zero = 0.5 * float(positive.min()) if positive.size else 1.0
        variance = g.covariances[:, 0, 0]
        signal = np.sqrt(np.maximum(g.means[:, 0] ** 2 - variance, 0.01 * variance))
        return State(
            gaussian.log_weights,
            RicianComponents(signal, np.sqrt(variance), float(g.unit[0]), float(g.floor[0]), zero),
        )

    def _given(self, samples: Samples) -> State[RicianComponents]:
        state: Any = getattr(self.init, "_state", None)
        if state is None or not isinstance(state.components, RicianComponents):
            raise ValueError("a mixture of Rician distributions starts from another one")
        return State(state.log_weights, state.components)

    def _publish(self, components: RicianComponents) -> None:
        self.signal_: Floats = components.signal
        self.sigma_: Floats = components.sigma
