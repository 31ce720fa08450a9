"""THE path: what happens to a volume, in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from brainseg.alignment.contrasts import align_contrast
from brainseg.anatomy import map_checks, result_checks
from brainseg.anatomy.brain import Extraction, extract_brain, given_mask, stripped_mask
from brainseg.anatomy.head import HeadMap
from brainseg.anatomy.missing import find_missing
from brainseg.anatomy.prior import spatial_prior
from brainseg.anatomy.result_checks import MapAgreement
from brainseg.config import SegmentConfig
from brainseg.core import demands, masking
from brainseg.core.known import NOTHING, Known
from brainseg.core.steps import Steps
from brainseg.core.volume import Array, BoolArray, Volume
from brainseg.errors import DataError, UsageError
from brainseg.tissues import tables
from brainseg.tissues.bias import divide
from brainseg.tissues.fit import ANATOMY, FitOptions, TissueFit, fit_tissues
from brainseg.tissues.seeds import fit_seeded, known_tissues
from brainseg.tissues.shells import WholeHead, segment_head
from brainseg.tissues.tables import HEAD, TissueTable, volumes_ml
from brainseg.tissues.whole_head import CSF

NO_MAP = MapAgreement({}, unknown="no map of the head was made")


@dataclass(frozen=True, eq=False)
class SegmentedVolume:
    """What came out of `segment_volume`, all on the grid of `volume`.

    Attributes
    ----------
    volume : Volume
        The scan as it went in, float32.
    brain : Extraction
        The mask with its route, confidence, checks and warnings.
    table : TissueTable
        The tissues inside the mask.
    fit : TissueFit
        Responsibilities, labels, fractions, bias field and mixture inside the mask.
    config : SegmentConfig
    seconds : Mapping
        Seconds by step.
    flair : ndarray of float32, shape (I, J, K), or None
        The FLAIR scan, aligned, where there is one.
    known : Known
        What the user knew.
    agreement : MapAgreement
        How far mask and tissues agree with the head network's map.
    regions : ndarray of uint8, shape (n_mask,), or None
        Where the spatial prior expects each part of the brain, by the labels of `SIX`; None
        without one.
    head : WholeHead or None
        The tissues of the whole head, for ``config.tissues == "head"``.
    """

    volume: Volume
    brain: Extraction
    table: TissueTable
    fit: TissueFit
    config: SegmentConfig
    seconds: Mapping[str, float]
    flair: NDArray[np.float32] | None = None
    known: Known = NOTHING
    agreement: MapAgreement = NO_MAP
    regions: NDArray[np.uint8] | None = None
    head: WholeHead | None = None

    @property
    def asked(self) -> TissueTable:
        """The table that was asked for; that of the label map."""
        return self.table if self.head is None else HEAD

    @property
    def mask(self) -> BoolArray:
        """Brain mask, shape (I, J, K)."""
        return self.brain.mask

    @property
    def labels(self) -> NDArray[np.uint8]:
        """Label map of the table asked for, shape (I, J, K); 0 is background."""
        if self.head is not None:
            return self.head.labels
        return masking.scatter(self.fit.labels, self.mask)

    @property
    def three_labels(self) -> NDArray[np.uint8]:
        """Label map of CSF, GM, WM: the most probable class of each voxel."""
        return masking.scatter(self.fit.three_labels, self.mask)

    def probability(self, k: int) -> NDArray[np.float32]:
        """Responsibility of tissue `k` (0-based) of that table, shape (I, J, K).

        Of the whole head the share of each voxel: volumes are the same whatever the table.
        """
        if self.head is None:
            return masking.scatter(self.fit.responsibilities[:, k], self.mask)
        out = np.zeros(self.mask.shape, np.float32)
        if HEAD.tissues[k].parent:
            out = self.fraction(HEAD.parents[k])
        return out if k < CSF - 1 else out + self.head.around[k + 1 - CSF]

    def fraction(self, k: int) -> NDArray[np.float32]:
        """Share of CSF, GM or WM (0, 1, 2) in each voxel, shape (I, J, K)."""
        return masking.scatter(self.fit.fractions[:, k], self.mask)

    @property
    def preproc(self) -> Volume:
        """The scan divided by its bias field; an offset of all intensities stays."""
        if self.fit.bias is None:
            return self.volume
        return self.volume.with_data(divide(self.volume.data, self.fit.bias, self.fit.zero))

    @property
    def volumes_ml(self) -> dict[str, float]:
        """Volume of CSF, GM and WM in mL, from the fractions."""
        return volumes_ml(self.fit.fractions, self.volume.voxel_volume)

    @property
    def lesions_ml(self) -> float:
        """Volume of the lesions in mL, known or candidates; 0 where none were looked for."""
        if self.fit.lesions is None:
            return 0.0
        return float(self.fit.lesions.sum(dtype=np.float64)) * self.volume.voxel_volume

    @property
    def warnings(self) -> tuple[str, ...]:
        """Everything that a reader should know before trusting the result."""
        return self.brain.warnings + self.fit.warnings


def segment_volume(
    volume: Volume,
    config: SegmentConfig,
    *,
    known: Known = NOTHING,
    finite: BoolArray | None = None,
    contrasts: Mapping[str, Volume] | None = None,
    steps: Steps | None = None,
) -> SegmentedVolume:
    """Segment one head.

    Parameters
    ----------
    volume : Volume
        T1w scan, float32, axes in canonical order.
    config : SegmentConfig
    known : Known, optional
        What the user knows; a brain mask for ``config.mask == "file"``.
    finite : ndarray of bool, optional
        Where the scan's voxels were finite numbers; others are left out of the brain.
    contrasts : mapping of name to Volume, optional
        T2w, FLAIR or PDw of the same person, each on its own grid.
    steps : Steps, optional
        Is told of each step and its seconds.

    Raises
    ------
    DataError
        When there is no brain to be found, or too little of it to fit.
    """
    steps = steps or Steps()
    table = tables.table(config.tissues).of_brain
    demands.require_canonical(volume)
    demands.require_head_size(volume)
    # BLAS sums in an order that depends on its threads; one keeps the bits the same.
    with threadpool_limits(limits=1):
        with steps.step("Brain mask"):
            brain = _without_missing(find_brain(volume, config, known.mask).within(finite), volume)
        demands.require_brain_size(volume, brain.mask)
        _require_whole_head(config, brain, known.seeds)
        demands.require_values(masking.extract(volume.data, brain.mask), len(table))
        if known.lesions is not None:
            demands.require_lesions(known.lesions, brain.mask)
        channels = {}
        for name, contrast in (contrasts or {}).items():
            with steps.step(f"Align {name}"):
                channels[name] = align_contrast(contrast, volume, mask=brain.mask, name=name)
        with steps.step("Head map"):
            seen, doubt = map_checks.look(
                volume, refuse=config.mask == "auto", threads=config.threads
            )
        atlas = None
        if config.prior == "atlas" and table.name in ANATOMY:
            with steps.step("Atlas"):
                atlas, note = spatial_prior(volume, brain.mask, seen, doubt, threads=config.threads)
            if atlas is None:
                note = _without_atlas(table)
            if note:
                brain = brain.warned(note)
        with steps.step("Tissues"):
            fit = _fit(volume, brain.mask, config, channels=channels, atlas=atlas, known=known)
        with steps.step("Compare"):
            agreement = compare(seen, doubt, volume, brain.mask, fit.fractions)
        head = _around(volume, channels, brain.mask, fit, config, steps)
    return SegmentedVolume(
        volume,
        brain,
        table,
        fit,
        config,
        dict(steps.seconds),
        channels.get("FLAIR"),
        known,
        agreement,
        _most_probable(atlas),
        head,
    )


def _require_whole_head(config: SegmentConfig, brain: Extraction, seeds: Array | None) -> None:
    """Refuse what the tissues around the brain cannot be made from, where they are asked for."""
    if tables.table(config.tissues) is not HEAD:
        return
    if brain.route == "stripped":
        raise DataError(
            "the scan is skull-stripped: it holds no bone, soft tissue or air, which `tissues` "
            "head need; use the scan as it was before, or `tissues` six or three"
        )
    if seeds is not None:
        raise UsageError("`seeds`: `tissues` head take none; use `tissues` six or three")


def _around(
    volume: Volume,
    channels: Mapping[str, Array],
    mask: BoolArray,
    fit: TissueFit,
    config: SegmentConfig,
    steps: Steps,
) -> WholeHead | None:
    """Find the tissues around the brain, where they were asked for."""
    if tables.table(config.tissues) is not HEAD:
        return None
    scans = [volume, *(volume.with_data(c) for c in channels.values())]
    brain = masking.scatter(fit.three_labels, mask)
    with steps.step("Whole head"):
        return segment_head(scans, brain, smooth=config.smooth, threads=config.threads)


def _fit(
    volume: Volume,
    mask: BoolArray,
    config: SegmentConfig,
    *,
    channels: Mapping[str, Array],
    atlas: NDArray[np.float32] | None,
    known: Known,
) -> TissueFit:
    """Fit the tissues; classes that have no other name are named by their seeds alone."""
    table = tables.table(config.tissues).of_brain
    named = config.prior in ("atlas", "tied") and table.name in ANATOMY
    if known.lesions is not None and not named:
        raise UsageError(
            f"`lesions`: classes without names (`tissues` {config.tissues}, `prior` "
            f"{config.prior}) know no white matter; use `tissues` six or three"
        )
    if known.seeds is not None and not named:
        return fit_seeded(
            volume.data,
            mask,
            known.seeds,
            zooms=volume.zooms,
            table=table,
            bias=config.bias,
            channels=channels,
        )
    return fit_tissues(
        volume.data,
        mask,
        volume.zooms,
        table=table,
        options=_fit_options(config, known, mask),
        channels=channels,
        spatial_prior=atlas,
    )


def compare(
    seen: HeadMap | None, doubt: str, volume: Volume, mask: BoolArray, fractions: Array
) -> MapAgreement:
    """Compare mask and tissues with the network's map of the head, or say why that cannot be.

    Parameters
    ----------
    seen : HeadMap or None
    doubt : str
        Why there is no map.
    volume : Volume
        The scan that was looked at.
    mask : ndarray of bool, shape (I, J, K)
    fractions : ndarray, shape (n_mask, 3)
        Share of CSF, GM and WM in each voxel.
    """
    if seen is None:
        return MapAgreement({}, unknown=doubt)
    agreement = result_checks.compare_mask(seen, mask, volume.zooms)
    return agreement.with_tissues(
        result_checks.compare_tissues(seen, mask, fractions, volume.zooms)
    )


def _most_probable(prior: NDArray[np.float32] | None) -> NDArray[np.uint8] | None:
    """Return the most probable part of the brain; grey and white of the cerebellum are one."""
    if prior is None:
        return None
    parts = np.concatenate([prior[:5], prior[5:].sum(axis=0, keepdims=True)])
    regions: NDArray[np.uint8] = (parts.argmax(axis=0) + 1).astype(np.uint8)
    return regions


def _fit_options(config: SegmentConfig, known: Known, mask: BoolArray) -> FitOptions:
    """Return what the fit is to know; the atlas comes in as a map of its own."""
    table = tables.table(config.tissues).of_brain
    lesions = None if known.lesions is None else masking.extract(known.lesions, mask)
    seeds = None if known.seeds is None else known_tissues(known.seeds, mask, table)
    if seeds is not None and lesions is not None:
        seeds[lesions] = 0
    return FitOptions(
        bias=config.bias,
        smooth=config.smooth,
        prior="tied" if config.prior == "atlas" else config.prior,
        cohort=config.cohort,
        seed=config.seed,
        seeds=seeds,
        lesions=lesions,
        threads=config.threads,
    )


def find_brain(volume: Volume, config: SegmentConfig, mask: BoolArray | None) -> Extraction:
    """Find the brain by the way that the configuration names; `mask` is the user's own."""
    if config.mask == "file":
        if mask is None:
            raise ValueError("config.mask is 'file' but no mask was given")
        return given_mask(volume, mask)
    if config.mask == "none":
        return stripped_mask(volume)
    return extract_brain(volume, route=config.brain_extraction, threads=config.threads)


def _without_missing(brain: Extraction, volume: Volume) -> Extraction:
    """Leave out of the mask what holds no measurement, and say so."""
    missing = find_missing(volume.data, brain.mask) if brain.mask.any() else None
    if missing is None:
        return brain
    lost = int(np.count_nonzero(missing))
    share = lost / np.count_nonzero(brain.mask)
    return brain.within(~missing).warned(
        f"{lost:,} voxels ({share:.1%} of the brain) are empty inside tissue; they are left out"
    )


def _without_atlas(table: TissueTable) -> str:
    """Say that the tissues rest on intensities alone, or refuse where they cannot."""
    if table.regional:
        raise DataError(
            "the head atlas could not be placed on this scan, and the six tissues rest on it; is "
            "the whole head in view? Otherwise use `tissues` three or intensity"
        )
    return "the head atlas could not be placed; tissues rest on intensities alone"
