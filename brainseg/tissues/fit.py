"""The fit of tissues to a masked scan: bias field, mixture, neighbourhood, partial volume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from brainseg.config import CohortPrior
from brainseg.core.volume import Array, BoolArray
from brainseg.errors import UsageError
from brainseg.mixture import ConjugatePrior, GaussianMixture, Histogram
from brainseg.tissues import em
from brainseg.tissues.bias import LogField, n4_log_field
from brainseg.tissues.cohort import in_intensities
from brainseg.tissues.lesions import LesionModel
from brainseg.tissues.model import (
    Component,
    Floats,
    Model,
    allowed_by,
    anchors_of,
    components_for,
)
from brainseg.tissues.neighbourhood import usual_strength
from brainseg.tissues.regions import by_region
from brainseg.tissues.scan import Scan
from brainseg.tissues.tables import THREE, TissueTable
from brainseg.tissues.voxels import Neighbours, decide, moments

ANATOMY = ("three", "six", "intensity")
"""Tables whose tissues the model knows; others are fitted as unnamed intensity classes."""

SAMPLES = 60_000
"""Voxels that parameters are estimated on; more change no Dice in the third digit."""

_UNNAMED_STEPS = 10


@dataclass(frozen=True, eq=False)
class FitOptions:
    """How tissues are fitted.

    Attributes
    ----------
    bias : {"em", "n4", "none"}
        Field estimated together with the mixture, before it by N4, or not at all.
    smooth : float or None
        Strength of the neighbourhood; 0 is the pure mixture, None follows the
        noise (`brainseg.tissues.neighbourhood.usual_strength`).
    prior : {"tied", "none", "cohort"}
        ``none`` is plain maximum likelihood from a K-means start, without ties; ``cohort`` starts
        from `cohort` and stays near it, without ties.
    cohort : CohortPrior or None
        With as many components as the table has tissues.
    seed : int
        Of the K-means start.
    seeds : ndarray of int, shape (n_mask,), or None
        Tissue of the table (1..K) in the voxels where the user knows it, 0 elsewhere; these keep
        it. For tables of `ANATOMY` and the prior ``tied``.
    lesions : ndarray of bool, shape (n_mask,), or None
        Lesions of white matter that the user knows: they teach nothing, count as white matter, and
        no others are looked for. For the same tables and prior; none of them is a seed.
    threads : int
        Threads at most; bits do not depend on them.
    """

    bias: str = "em"
    smooth: float | None = None
    prior: str = "tied"
    cohort: CohortPrior | None = None
    seed: int = 0
    seeds: NDArray[np.integer] | None = None
    lesions: BoolArray | None = None
    threads: int = 1


@dataclass(frozen=True, eq=False)
class TissueMixture:
    """The Gaussians by tissue, in intensities of the (bias-corrected) scan.

    Attributes
    ----------
    weights_, means_, covariances_ : ndarray, shapes (K,), (K, D), (K, D, D)
        In order of the table. A tissue that the model makes of several components has their
        common moments.
    history_ : tuple of float
        Log-likelihood per voxel of the sample, by step.
    converged_ : bool
    n_iter_ : int
    """

    weights_: Floats
    means_: Floats
    covariances_: Floats
    history_: tuple[float, ...]
    converged_: bool
    n_iter_: int


@dataclass(frozen=True, eq=False)
class TissueFit:
    """What the fit says of every voxel inside the mask.

    Attributes
    ----------
    responsibilities : ndarray of float32, shape (n_mask, K)
        Probability of each tissue of the table; rows sum to 1.
    labels : ndarray of uint8, shape (n_mask,)
        Value in the label map of the tissue of maximum responsibility.
    fractions : ndarray of float32, shape (n_mask, 3)
        Shares of CSF, GM and WM; rows sum to 1.
    three_labels : ndarray of uint8, shape (n_mask,)
        The most probable of the three, by the values of `THREE`.
    log_bias : ndarray of float32, shape (I, J, K), or None
        Natural logarithm of the bias field of the T1w; None where none was estimated.
    zero : float
        Intensity of the T1w that its field leaves as it is, from `brainseg.tissues.bias`.
    mixture : TissueMixture
    converged : bool
    warnings : tuple of str
        What the user should know before trusting the result.
    lesions : ndarray of float32, shape (n_mask,), or None
        Probability that the voxel is of a lesion of white matter: known, or bright on FLAIR and
        explained by no healthy tissue. In all else it counts as white matter.
    """

    responsibilities: NDArray[np.float32]
    labels: NDArray[np.uint8]
    fractions: NDArray[np.float32]
    three_labels: NDArray[np.uint8]
    log_bias: NDArray[np.float32] | None
    zero: float
    mixture: TissueMixture
    converged: bool
    warnings: tuple[str, ...]
    lesions: NDArray[np.float32] | None = None
    contrasts: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def bias(self) -> NDArray[np.float32] | None:
        """The bias field itself, shape (I, J, K); 1 far from the brain."""
        return None if self.log_bias is None else np.exp(self.log_bias)


def fit_tissues(
    data: Array,
    mask: BoolArray,
    zooms: tuple[float, float, float],
    *,
    table: TissueTable,
    options: FitOptions | None = None,
    channels: Mapping[str, Array] | None = None,
    spatial_prior: NDArray[np.float32] | None = None,
) -> TissueFit:
    """Fit the tissues of a table to a scan inside its brain mask.

    Parameters
    ----------
    data : ndarray, shape (I, J, K)
        T1w scan; neither the scale nor the offset of its intensities matters.
    mask : ndarray of bool, shape (I, J, K)
    zooms : tuple of float
        Voxel sizes in mm.
    table : TissueTable
    options : FitOptions, optional
    channels : mapping of name to ndarray, shape (I, J, K), optional
        Further contrasts on the same grid. With one called ``FLAIR``, lesion candidates are
        looked for, and are kept out of what is learnt of the tissues.
    spatial_prior : ndarray of float32, shape (7, n_mask), optional
        Probabilities of `brainseg.atlas.head_atlas.BRAIN` in the voxels of the mask.

    Raises
    ------
    DataError
        When the mask is empty or holds too few distinct values.
    UsageError
        When ``six`` are asked for without a spatial prior.
    """
    if table.regional and spatial_prior is None:
        raise UsageError("`tissues` six need a map of the head; use three or intensity without")
    options = options or FitOptions()
    others = channels or {}
    scan = Scan.prepare([data, *others.values()], mask, len(table))
    if options.lesions is not None:
        scan = scan.without(options.lesions)
    learnt = _learn(scan, zooms, table, options, tuple(others), spatial_prior)
    model = learnt.model
    strength = usual_strength(relative_noise(model)) if options.smooth is None else options.smooth
    allowed = _allowed(model.components, table, options.seeds)
    voxels = decide(
        scan,
        model,
        neighbours=Neighbours(zooms, strength),
        atlas=spatial_prior if model.components else None,
        lesions=learnt.lesions if options.lesions is None else options.lesions,
        allowed=allowed,
        threads=options.threads,
    )
    responsibilities = voxels.responsibilities
    if table.regional and spatial_prior is not None:
        responsibilities = by_region(responsibilities, spatial_prior)
    if options.seeds is not None:
        at = np.flatnonzero(options.seeds)
        responsibilities[at] = np.eye(len(table), dtype=np.float32)[options.seeds[at] - 1]
    return TissueFit(
        responsibilities=responsibilities,
        labels=table.values[responsibilities.argmax(axis=1)],
        fractions=voxels.fractions,
        three_labels=voxels.three,
        log_bias=None if learnt.log_field is None else scan.on_grid(learnt.log_field, data.shape),
        zero=scan.zeros[0],
        mixture=_in_units(
            _tissue_moments(scan, model, responsibilities, voxels.lesions, options.threads),
            scan,
            learnt.found,
        ),
        converged=learnt.found.converged,
        warnings=_warnings(responsibilities, table),
        lesions=voxels.lesions,
        contrasts={name: scan.intensities(1 + c) for c, name in enumerate(others)},
    )


@dataclass(frozen=True, eq=False)
class _Learnt:
    """What a sample of the voxels taught: the model, and the T1w's log field in the box."""

    model: Model
    found: em.Fitted
    log_field: NDArray[np.float32] | None
    lesions: LesionModel | None = None


def _learn(
    scan: Scan,
    zooms: tuple[float, float, float],
    table: TissueTable,
    options: FitOptions,
    others: tuple[str, ...],
    atlas: NDArray[np.float32] | None,
) -> _Learnt:
    """Fit bias fields and mixture, and correct the scan; `others` names its further channels."""
    log_fields: list[NDArray[np.float32]] = []
    if options.bias == "n4":
        log_fields = [n4_log_field(c, scan.inside, zooms) for c in scan.channels]
        scan.correct(log_fields)
    named = options.prior == "tied" and table.name in ANATOMY
    lesions = None
    if named or options.bias == "em":
        anatomy = table if named else THREE
        components = components_for(placed=atlas is not None)
        if named and "FLAIR" in others:
            lesions = LesionModel(1 + others.index("FLAIR"), components)
        with_field = options.bias == "em"
        seeds = options.seeds if named else None
        model, found, fields = _fit_named(
            scan, zooms, anatomy, atlas, lesions, seeds=seeds, with_field=with_field
        )
        if fields:
            log_fields = [field.on_grid() for field in fields]
            scan.correct(log_fields)
    if not named:
        model, found = _fit_unnamed(scan, table, options)
    return _Learnt(model, found, log_fields[0] if log_fields else None, lesions)


def _fit_named(
    scan: Scan,
    zooms: tuple[float, float, float],
    table: TissueTable,
    atlas: NDArray[np.float32] | None,
    lesions: LesionModel | None,
    *,
    seeds: NDArray[np.integer] | None,
    with_field: bool,
) -> tuple[Model, em.Fitted, list[LogField]]:
    """Fit the tied components, and the bias fields if wanted, to a sample of the voxels."""
    components = components_for(placed=atlas is not None)
    at = scan.sample(SAMPLES)
    seen = None if atlas is None else atlas[:, scan.rows(at)]
    fields: list[LogField] = []
    if with_field:
        fields = [LogField(scan.inside.shape, zooms, at) for _ in scan.channels]
    values = np.stack([c[at] for c in scan.channels], axis=1).astype(np.float64)
    allowed = _allowed(components, table, None if seeds is None else seeds[scan.rows(at)])
    found = em.fit(values, components, atlas=seen, fields=fields, lesions=lesions, allowed=allowed)
    return named_model(found, components, table), found, fields


def named_model(found: em.Fitted, components: tuple[Component, ...], table: TissueTable) -> Model:
    """Say which tissue of the table each fitted component stands for."""
    parents = tuple(c.parent for c in components)
    tissues = tuple(c.tissue(table) for c in components)
    return Model(
        found.weights, found.means, found.covariances, tissues, parents, parents, components
    )


def _allowed(
    components: tuple[Component, ...], table: TissueTable, seeds: NDArray[np.integer] | None
) -> NDArray[np.bool_] | None:
    return None if seeds is None else allowed_by(components, table, seeds)


def _fit_unnamed(scan: Scan, table: TissueTable, options: FitOptions) -> tuple[Model, em.Fitted]:
    """Fit classes without names: EM, kept near its start unless `prior` is none.

    The start is that of K-means, or the mixture of the cohort.
    """
    k = len(table)
    x = scan.values(np.flatnonzero(scan.tissue))
    data = Histogram.from_samples(x) if x.shape[1] == 1 else x
    if options.prior == "none":
        mixture = GaussianMixture(k, random_state=options.seed).fit(data)
    else:
        start: GaussianMixture | TissueMixture
        if options.cohort is None:
            start = GaussianMixture(k, max_iter=0, random_state=options.seed).fit(data)
        else:
            start = TissueMixture(*in_intensities(options.cohort, x[:, 0]), (), True, 0)
        near = ConjugatePrior.around(
            start.weights_,
            start.means_,
            start.covariances_,
            mean_strength=0.5 * len(x) / k,
            covariance_strength=0.3 * len(x) / k,
        )
        mixture = GaussianMixture(
            k, init=start, prior=near, max_iter=_UNNAMED_STEPS, accelerate=False
        ).fit(data)
    order = tuple(range(k))
    model = Model(
        mixture.weights_, mixture.means_, mixture.covariances_, order, table.parents, order
    )
    found = em.Fitted(
        model.weights,
        model.means,
        model.covariances,
        tuple(mixture.history_),
        bool(mixture.converged_),
    )
    return model, found


def _tissue_moments(
    scan: Scan,
    model: Model,
    responsibilities: NDArray[np.float32],
    lesions: NDArray[np.float32] | None,
    threads: int,
) -> tuple[Floats, Floats, Floats]:
    """Weights, means and covariances by tissue of the table."""
    if not model.components:
        return model.weights, model.means, model.covariances
    if lesions is not None:
        responsibilities = responsibilities * (1 - lesions[:, None])
    return moments(scan, responsibilities, threads)


def relative_noise(model: Model) -> float | None:
    """Return white matter's deviation over its distance from grey; None for unnamed classes."""
    if not model.components:
        return None
    _, grey, white = anchors_of(model.components)
    gap = max(float(model.means[white, 0] - model.means[grey, 0]), 1e-3)
    return float(np.sqrt(model.covariances[white, 0, 0])) / gap


def _in_units(
    moments: tuple[Floats, Floats, Floats], scan: Scan, found: em.Fitted
) -> TissueMixture:
    """Undo the scaling of the channels."""
    weights, means, covariances = moments
    scale = np.array(scan.scales)
    return TissueMixture(
        weights,
        means * scale + np.array(scan.zeros),
        covariances * scale[:, None] * scale,
        found.history,
        found.converged,
        max(len(found.history) - 1, 0),
    )


def _warnings(responsibilities: NDArray[np.float32], table: TissueTable) -> tuple[str, ...]:
    share = responsibilities.mean(axis=0, dtype=np.float64)
    return tuple(
        f"the tissue '{tissue.name}' fills only {100 * part:.2f} % of the brain mask"
        for tissue, part in zip(table.tissues, share, strict=True)
        if part < 1e-3
    )
