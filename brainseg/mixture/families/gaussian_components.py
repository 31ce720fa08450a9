"""Gaussian components: log-density, and the update in closed form for each covariance type."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from brainseg.config import COVARIANCE_TYPES
from brainseg.mixture.engine.arrays import Floats, Ints, upper
from brainseg.mixture.engine.covariances import on_floor, raised
from brainseg.mixture.engine.densities import LOG_2PI, log_gaussian
from brainseg.mixture.engine.prior import ConjugatePrior
from brainseg.mixture.engine.samples import Block
from brainseg.mixture.families.frames import GaussianFrame

# A component with fewer samples than this has no moments worth computing; it keeps its own.
_NO_COUNT = 1e-100
# Squared distance of a mean from the centre, in its own covariance, up to which a common centre
# costs four digits of float64's sixteen at most.
_WELL_CONDITIONED = 1e4


@dataclass(frozen=True, eq=False)
class GaussianComponents:
    """K Gaussians.

    Attributes
    ----------
    means : ndarray of float64, shape (K, D)
        Intensity.
    covariances : ndarray of float64, shape (K, D, D)
        Intensity squared; full matrices whatever the type, equal to each other for ``tied``.
    covariance_type : {"full", "tied", "diag", "spherical"}
    unit : ndarray of float64, shape (D,)
        Typical standard deviation of a component (intensity): the scale of steps, and the size
        of a component that starts afresh.
    floor : ndarray of float64, shape (D,)
        Smallest variance allowed in each channel (intensity squared).
    centre : ndarray of float64, shape (D,)
        A point amid the data (intensity), about which squares are taken where that is safe.
    prior : ConjugatePrior or None
    """

    means: Floats
    covariances: Floats
    covariance_type: str
    unit: Floats
    floor: Floats
    centre: Floats
    prior: ConjugatePrior | None = None

    def __post_init__(self) -> None:
        if self.covariance_type not in COVARIANCE_TYPES:
            raise ValueError(
                f"covariance_type {self.covariance_type!r}; use one of {COVARIANCE_TYPES}"
            )

    @property
    def n_components(self) -> int:
        """Number of components K."""
        return len(self.means)

    @property
    def n_features(self) -> int:
        """Number of channels D."""
        return int(self.means.shape[1])

    @property
    def n_parameters(self) -> int:
        """Means and distinct entries of the covariances."""
        k, d = self.means.shape
        full = d * (d + 1) // 2
        shape = {"full": k * full, "tied": full, "diag": k * d, "spherical": k}
        return int(k * d + shape[self.covariance_type])

    @cached_property
    def _linear(self) -> Floats | None:
        """Log-densities as coefficients of a block's features, (K, 1 + D + P).

        None in one channel, and where squares about the common centre would lose digits that
        squares about each mean keep.
        """
        d = self.means.shape[1]
        if d == 1:
            return None
        precision = np.linalg.inv(self.covariances)
        means = self.means - self.centre
        pull = np.einsum("kde,ke->kd", precision, means)
        square = np.einsum("kd,kd->k", pull, means)
        if square.max() > _WELL_CONDITIONED:
            return None
        i, j = upper(d)
        _, log_det = np.linalg.slogdet(self.covariances)
        constant = -0.5 * (square + log_det + d * LOG_2PI)
        quadratic = precision[:, i, j] * np.where(i == j, -0.5, -1.0)
        return np.concatenate([constant[:, None], pull, quadratic], axis=1)

    def log_density(self, block: Block) -> Floats:
        """Return log N(x_n | mu_k, Sigma_k), shape (b, K).

        Where a row stands for many samples it is the mean of their log-densities, which makes
        EM maximise a lower bound of the likelihood: Verbeek, Nunnink & Vlassis, Data Mining and
        Knowledge Discovery 13 (2006) 291-307, doi:10.1007/s10618-005-0033-3.
        """
        if self._linear is not None:
            return (self._linear @ block.features(self.centre)).T
        out = log_gaussian(block.x, self.means, self.covariances)
        if block.scatter is not None:
            i, j = upper(self.means.shape[1])
            precision = np.linalg.inv(self.covariances)[:, i, j] * np.where(i == j, -0.5, -1.0)
            out += (precision @ block.scatter.T).T
        return out

    def statistics(self, block: Block, resp: Floats) -> Floats:
        """Return N_k, and first and second moments about the present means, (K, 1 + D + P)."""
        d, k = self.means.shape[1], len(self.means)
        i, j = upper(d)
        r = resp.T
        if self._linear is not None:
            raw = r @ block.features(self.centre).T
            count, first = raw[:, :1], raw[:, 1 : 1 + d]
            m = self.means - self.centre
            raw[:, 1 + d :] -= first[:, i] * m[:, j] + m[:, i] * first[:, j]
            raw[:, 1 + d :] += count * m[:, i] * m[:, j]
            raw[:, 1 : 1 + d] -= count * m
            return raw
        x = block.x.T
        out = np.empty((k, 1 + d + len(i)))
        out[:, 0] = r.sum(axis=1)
        for c in range(k):
            residual = x - self.means[c][:, None]
            weighted = residual * r[c]
            out[c, 1 : 1 + d] = weighted.sum(axis=1)
            if d == 1:
                weighted *= residual
                out[c, 2] = weighted.sum()
            else:
                out[c, 1 + d :] = (weighted @ residual.T)[i, j]
        if block.scatter is not None:
            out[:, 1 + d :] += r @ block.scatter
        return out

    def posterior_moments(self, statistics: Floats) -> tuple[Floats, Floats, Floats]:
        """First and second moments about the present means, with the prior's pseudo-samples.

        Returns
        -------
        first : ndarray, shape (K, D)
        second : ndarray, shape (K, D, D)
        count : ndarray, shape (K,)
            What divides the second moments.
        """
        k, d = self.means.shape
        count, first = statistics[:, 0], statistics[:, 1 : 1 + d]
        second = np.empty((k, d, d))
        i, j = upper(d)
        second[:, i, j] = second[:, j, i] = statistics[:, 1 + d :]
        p = self.prior
        if p is None:
            return first, second, count
        gap = p.means - self.means
        pull = p.kappa[:, None] * gap
        second = second + p.scale + pull[:, :, None] * gap[:, None, :]
        return first + pull, second, count + p.dof + d + 2

    def maximise(self, statistics: Floats) -> GaussianComponents:
        """Return the Gaussians of maximum likelihood, or of maximum posterior under the prior."""
        first, second, divisor = self.posterior_moments(statistics)
        located = statistics[:, 0] if self.prior is None else statistics[:, 0] + self.prior.kappa
        return self.moved(first, second, located, divisor)

    def moved(
        self, first: Floats, second: Floats, located: Floats, divisor: Floats
    ) -> GaussianComponents:
        """Return Gaussians from moments about the present means.

        Parameters
        ----------
        first : ndarray, shape (K, D)
        second : ndarray, shape (K, D, D)
        located, divisor : ndarray, shape (K,)
            What divides the first and the second moments.
        """
        located = np.maximum(located, _NO_COUNT)
        shift = first / located[:, None]
        scatter = second - located[:, None, None] * shift[:, :, None] * shift[:, None, :]
        means = self.means + shift
        covariances = self._constrained(scatter, np.maximum(divisor, _NO_COUNT))
        empty = divisor <= _NO_COUNT
        means[empty] = self.means[empty]
        if self.covariance_type != "tied":
            covariances[empty] = self.covariances[empty]
        return replace(self, means=means, covariances=covariances)

    def _constrained(self, scatter: Floats, divisor: Floats) -> Floats:
        """Return the best covariances of the type that are nowhere below the floor."""
        k, d = self.means.shape
        if self.covariance_type == "tied":
            pooled = scatter.sum(axis=0) / divisor.sum()
            return np.repeat(raised(pooled[None], self.floor), k, axis=0)
        cov = scatter / divisor[:, None, None]
        if self.covariance_type == "full":
            return raised(cov, self.floor)
        variance = np.diagonal(cov, axis1=1, axis2=2)
        if self.covariance_type == "diag":
            variance = np.maximum(variance, self.floor)
        else:
            variance = np.maximum(variance.mean(axis=1), self.floor.max())[:, None].repeat(d, 1)
        return variance[:, :, None] * np.eye(d)

    def log_prior(self) -> float:
        """Return the prior's log-density of means and covariances."""
        return (
            0.0 if self.prior is None else self.prior.log_components(self.means, self.covariances)
        )

    def sample(self, counts: Ints, rng: np.random.Generator) -> Floats:
        """Draw counts[k] samples of each Gaussian, in order of the components."""
        factors = np.linalg.cholesky(self.covariances)
        noise = rng.standard_normal((int(counts.sum()), self.means.shape[1]))
        index = np.repeat(np.arange(len(counts)), counts)
        draws: Floats = self.means[index] + np.einsum("nde,ne->nd", factors[index], noise)
        return draws

    def change(self, other: GaussianComponents) -> float:
        """Largest difference of a parameter, in typical standard deviations."""
        means = np.abs(self.means - other.means) / self.unit
        cov = np.abs(self.covariances - other.covariances) / (self.unit[:, None] * self.unit)
        return float(max(means.max(), cov.max()))

    def with_parameters(self, means: Floats, covariances: Floats) -> GaussianComponents:
        """Return the same Gaussians with other means and covariances."""
        return replace(self, means=means, covariances=covariances)

    def frame(self) -> GaussianFrame[GaussianComponents]:
        """Return coordinates around these Gaussians for accelerated steps."""
        return GaussianFrame(self)

    def sort_keys(self) -> Floats:
        """Return the means of the first channel."""
        return self.means[:, 0]

    def permuted(self, order: Ints) -> GaussianComponents:
        """Return the Gaussians in another order, with their priors."""
        prior = None if self.prior is None else self.prior.permuted(order)
        return replace(
            self, means=self.means[order], covariances=self.covariances[order], prior=prior
        )

    def collapsed(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Tell which Gaussians lie on the floor in some direction."""
        return on_floor(self.covariances, self.floor)

    def reseeded(self, k: int, x: Floats) -> GaussianComponents:
        """Return Gaussians of which number k starts afresh at `x` with the typical size."""
        means, covariances = self.means.copy(), self.covariances.copy()
        means[k] = x
        if self.covariance_type != "tied":
            covariances[k] = np.diag(self.unit**2)
            if self.covariance_type == "spherical":
                covariances[k] = np.eye(len(self.unit)) * (self.unit**2).mean()
        return replace(self, means=means, covariances=covariances)


def maximise(
    X: Floats,
    resp: Floats,
    *,
    sample_weight: Floats | None = None,
    covariance_type: str = "full",
    prior: ConjugatePrior | None = None,
    min_variance: float = 1e-12,
) -> tuple[Floats, Floats, Floats]:
    """M-step: weights, means and covariances from weighted responsibilities.

    Moments are taken about the weighted mean of all data and then of each component, so that
    data at a large offset lose no digits. Bishop (2006), eqs. 9.24 to 9.26.

    Parameters
    ----------
    X : ndarray, shape (n, D)
    resp : ndarray, shape (n, K)
        Responsibilities; hard labels as 0 and 1.
    sample_weight : ndarray, shape (n,), optional
    covariance_type : {"full", "tied", "diag", "spherical"}
    prior : ConjugatePrior, optional
        Return the maximum of the posterior instead.
    min_variance : float
        Floor of variances (intensity squared).

    Returns
    -------
    weights : ndarray, shape (K,)
    means : ndarray, shape (K, D)
    covariances : ndarray, shape (K, D, D)
    """
    x = np.array(np.asarray(X).T, dtype=np.float64, order="C").T
    weighted = resp if sample_weight is None else resp * sample_weight[:, None]
    counts = np.maximum(weighted.sum(axis=0), _NO_COUNT)
    k, d = weighted.shape[1], x.shape[1]
    shift = x.mean(axis=0)
    means = shift + ((x - shift).T @ weighted).T / counts[:, None]
    unit = np.ones(d)
    about = GaussianComponents(
        means,
        np.repeat(np.eye(d)[None], k, axis=0),
        covariance_type,
        unit,
        np.full(d, min_variance),
        shift,
        prior,
    )
    weight = np.ones(len(x)) if sample_weight is None else sample_weight
    new = about.maximise(about.statistics(Block(x, weight), weighted))
    if prior is not None:
        counts = counts + prior.alpha - 1
    return counts / counts.sum(), new.means, new.covariances
