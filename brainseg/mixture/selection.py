"""Comparing mixtures by likelihood: held-out data, AIC, BIC and ICL."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainseg.config import FAMILIES
from brainseg.errors import DataError
from brainseg.mixture.engine.arrays import Floats, as_sample_weight, as_samples
from brainseg.mixture.engine.blas import one_blas_thread
from brainseg.mixture.engine.densities import normalise
from brainseg.mixture.engine.em import joints
from brainseg.mixture.engine.histogram import Histogram
from brainseg.mixture.engine.samples import Samples
from brainseg.mixture.families.base import Mixture
from brainseg.mixture.families.gaussian import GaussianMixture
from brainseg.mixture.families.rician import RicianMixture
from brainseg.mixture.families.starts import prepare
from brainseg.mixture.families.student import StudentMixture

CRITERIA = ("held_out", "aic", "bic", "icl")
# A fifth of the samples judges mixtures fitted to the others.
_FOLDS = 5
# Cells per typical spread: keeps the log-likelihood to 1e-5 per sample for components down to a
# thirtieth of it, an eighth of the work that the finest histogram is.
_FINENESS = 256
# Distinct values up to which all of them are kept: 12-bit data are exact.
_EXACT = 4096


@dataclass(frozen=True)
class Candidate:
    """One row of the table.

    Attributes
    ----------
    family, covariance_type : str
        The latter empty where there is no choice: families other than Gaussian, and Gaussians in
        one channel unless they are tied.
    n_components, n_parameters : int
    log_likelihood : float
        Per sample, of the fit to all samples (nats).
    held_out : float
        Per sample, of the fifth that the fit did not see; larger is better.
    aic, bic, icl : float
        Smaller is better. Akaike, IEEE Trans. Autom. Control 19 (1974) 716-723,
        doi:10.1109/TAC.1974.1100705; Schwarz, Ann. Statist. 6 (1978) 461-464,
        doi:10.1214/aos/1176344136; Biernacki, Celeux & Govaert, IEEE Trans. PAMI 22 (2000)
        719-725, doi:10.1109/34.865189 (BIC plus twice the entropy of the responsibilities).
    converged : bool
    """

    family: str
    covariance_type: str
    n_components: int
    n_parameters: int
    log_likelihood: float
    held_out: float
    aic: float
    bic: float
    icl: float
    converged: bool

    @property
    def name(self) -> str:
        """Family, with the covariance type where there is a choice."""
        return self.family + (f" {self.covariance_type}" if self.covariance_type else "")


def select_model(
    X: ArrayLike,
    components: Iterable[int],
    *,
    covariance_types: Iterable[str] = ("full",),
    families: Iterable[str] = ("gaussian",),
    sample_weight: ArrayLike | None = None,
    random_state: int = 0,
    tell: Callable[[Candidate], None] | None = None,
    **options: Any,
) -> list[Candidate]:
    """Fit every combination and judge it.

    Parameters
    ----------
    X : array_like, shape (n,) or (n, D)
    components : iterable of int
    covariance_types : iterable of str
        For Gaussians; in one channel all but ``tied`` are the same model.
    families : iterable of {"gaussian", "student", "rician"}
    sample_weight : array_like, shape (n,), optional
    random_state : int
        Of the split and of the starts.
    tell : callable, optional
        Is given each row once it is known.
    **options
        To the mixtures, e.g. ``n_init``, ``tol``.

    Returns
    -------
    list of Candidate
        By family, covariance type, and number of components.

    Raises
    ------
    ValueError
        When a family is unknown.
    """
    x = as_samples(X)
    weight = as_sample_weight(sample_weight, len(x))
    if len(x) < _FOLDS:
        raise DataError(f"{len(x)} samples are too few to hold some out; give {_FOLDS} or more")
    judges = np.random.default_rng(random_state).permutation(len(x)) % _FOLDS == 0
    whole = _Part.of(x, weight)
    train = _Part.of(x[~judges], None if weight is None else weight[~judges])
    held = _Part.of(x[judges], None if weight is None else weight[judges])
    table = []
    for family in families:
        if family not in FAMILIES:
            raise ValueError(f"family {family!r} is not known; use some of {FAMILIES}")
        for kind in covariance_types if family == "gaussian" else ("",):
            for k in components:
                mixture = _mixture(family, kind, k, random_state=random_state, **options)
                train.fit(mixture)
                held_out, _ = _judge(mixture, held.rows)
                whole.fit(mixture)
                fitted, entropy = _judge(mixture, whole.rows)
                p, n = mixture.n_parameters, whole.rows.total
                bic = -2 * n * fitted + p * float(np.log(n))
                table.append(
                    Candidate(
                        family=family,
                        covariance_type="" if x.shape[1] == 1 and kind == "full" else kind,
                        n_components=k,
                        n_parameters=p,
                        log_likelihood=fitted,
                        held_out=held_out,
                        aic=-2 * n * fitted + 2 * p,
                        bic=bic,
                        icl=bic + 2 * n * entropy,
                        converged=mixture.converged_,
                    )
                )
                if tell is not None:
                    tell(table[-1])
    return table


@dataclass(frozen=True, eq=False)
class _Part:
    """Samples that many mixtures are fitted to: condensed once, and no more than once."""

    X: NDArray[Any] | Histogram
    weight: Floats | None
    rows: Samples

    @classmethod
    def of(cls, x: NDArray[Any], weight: Floats | None) -> _Part:
        if x.shape[1] == 1:
            h = Histogram.from_samples(x, weight, exact_limit=_EXACT, fineness=_FINENESS)
            return cls(h, None, prepare(h, 1)[0])
        return cls(x, weight, prepare(x, 1, weight)[0])

    def fit(self, mixture: Mixture[Any]) -> None:
        mixture.fit(self.X, sample_weight=self.weight)


def best(table: list[Candidate], criterion: str) -> Candidate:
    """Return the winner by ``held_out`` (the largest) or ``aic``, ``bic``, ``icl`` (smallest)."""
    if criterion not in CRITERIA:
        raise ValueError(f"criterion {criterion!r}; use one of {CRITERIA}")
    sign = 1 if criterion == "held_out" else -1
    return max(table, key=lambda row: sign * getattr(row, criterion))


def _mixture(family: str, kind: str, k: int, **options: Any) -> Mixture[Any]:
    if family == "student":
        return StudentMixture(k, **options)
    if family == "rician":
        return RicianMixture(k, **options)
    return GaussianMixture(k, covariance_type=kind, **options)


def _judge(mixture: Mixture[Any], rows: Samples) -> tuple[float, float]:
    """Log-likelihood and entropy of the responsibilities, both per sample."""
    likelihood = entropy = 0.0
    with one_blas_thread():
        for block, joint in joints(rows, mixture.state):
            log_prob = normalise(joint)
            likelihood += float((block.weight * log_prob).sum())
            plogp = joint * np.log(np.maximum(joint, 1e-300))
            entropy -= float((block.weight * plogp.sum(axis=1)).sum())
    return likelihood / rows.total, entropy / rows.total
