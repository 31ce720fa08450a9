"""THE path of one person: what happens to the scans of several visits, in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from brainseg.alignment.likeness import likeness
from brainseg.alignment.midspace import MidSpace, mid_space
from brainseg.alignment.sessions import Session, align_sessions, canonical_order
from brainseg.anatomy import map_checks
from brainseg.anatomy.brain import Extraction
from brainseg.anatomy.prior import spatial_prior
from brainseg.anatomy.result_checks import MapAgreement
from brainseg.config import SegmentConfig
from brainseg.core.demands import require_values
from brainseg.core.masking import extract
from brainseg.core.steps import Steps
from brainseg.core.volume import BoolArray, Volume
from brainseg.errors import DataError, UsageError
from brainseg.longitudinal.joint import JointFit, JointOptions, fit_sessions
from brainseg.longitudinal.matching import (
    differential_fields,
    matched_gains,
    mean_image,
    slice_gains,
)
from brainseg.pipeline import compare, find_brain
from brainseg.tissues import tables
from brainseg.tissues.fit import ANATOMY
from brainseg.tissues.tables import TissueTable

T = TypeVar("T")

LEAST_LIKENESS = 0.65
"""Least likeness of aligned sessions, halfway between the least of one person's visits (0.85, with
a contrast agent at one of them) and the largest of different people (0.46)."""
# Rounds of removing differential bias fields: the mean that they refer to has them in it at first.
_MATCHING_ROUNDS = 2


@dataclass(frozen=True, eq=False)
class Person:
    """What came out of `segment_person`; arrays lie on the common grid.

    Attributes
    ----------
    space : MidSpace
    likeness : float
        How alike the aligned sessions are, 0 to 1.
    mean : Volume
        Mean of the sessions, gains and differential bias fields removed.
    brain : Extraction
        The one brain mask.
    sessions : tuple of ndarray of float32, shape (I, J, K)
        Each session resampled once, with its gain and differential bias field removed.
    table : TissueTable
    fit : JointFit
    agreements : tuple of MapAgreement
        How far the mask, and the tissues of each session, agree with the head network's map of
        the mean.
    seconds : Mapping
        Seconds by step.
    """

    space: MidSpace
    likeness: float
    mean: Volume
    brain: Extraction
    sessions: tuple[NDArray[np.float32], ...]
    table: TissueTable
    fit: JointFit
    agreements: tuple[MapAgreement, ...]
    seconds: Mapping[str, float]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Everything that a reader should know before trusting the result."""
        return self.brain.warnings

    @property
    def mask(self) -> BoolArray:
        """The brain mask that all sessions share, shape (I, J, K)."""
        return self.brain.mask

    def volumes_ml(self, session: int) -> dict[str, float]:
        """Volumes of one session in mL: CSF, GM, WM, and the brain (GM and WM)."""
        found = tables.volumes_ml(self.fit.voxels[session].fractions, self.mean.voxel_volume)
        return found | {"brain": found["GM"] + found["WM"]}

    def preproc(self, session: int) -> NDArray[np.float32]:
        """Return one session without its bias field, shape (I, J, K)."""
        field = self.fit.log_field
        if field is None:
            return self.sessions[session]
        return np.asarray(self.sessions[session] / np.exp(field), np.float32)

    @property
    def intracranial_ml(self) -> float:
        """Volume of the brain mask in mL; one number, as a skull does not change."""
        return float(np.count_nonzero(self.mask)) * self.mean.voxel_volume


def segment_person(
    volumes: Sequence[Volume],
    config: SegmentConfig,
    *,
    finite: Sequence[BoolArray | None] | None = None,
    steps: Steps | None = None,
) -> Person:
    """Segment the sessions of one person as one measurement.

    The sessions are aligned to a space in the middle of them; the mean image gives one brain mask
    and one spatial prior; one mixture is fitted to all sessions together. The order of the
    sessions changes no bit of any session's result.

    Parameters
    ----------
    volumes : sequence of Volume
        T1w scans of two visits or more, float32, axes in canonical order.
    config : SegmentConfig
    finite : sequence of ndarray of bool or None, optional
        Where each scan's voxels were finite numbers.
    steps : Steps, optional

    Raises
    ------
    UsageError
        When there are fewer than two sessions, or options that this path does not have.
    DataError
        When there is no brain, or the sessions seem to be of different people.
    """
    _require_options(len(volumes), config)
    steps = steps or Steps()
    finite = finite or [None] * len(volumes)
    with threadpool_limits(limits=1):
        with steps.step("Brains"):
            config_ = _rough(config)
            found = [find_brain(v, config_, None) for v in volumes]
        for volume, brain in zip(volumes, found, strict=True):
            # Before they are resampled: interpolation makes many values of a few.
            require_values(extract(volume.data, brain.mask), len(tables.table(config.tissues)))
        visits = [
            Session(volume, brain.within(measured).mask)
            for volume, brain, measured in zip(volumes, found, finite, strict=True)
        ]
        order = canonical_order(visits)
        stripped = [found[i].route == "stripped" for i in order]
        person = _segment([visits[i] for i in order], stripped, config, steps)
    return _restored(person, order)


def _segment(
    visits: Sequence[Session], stripped: Sequence[bool], config: SegmentConfig, steps: Steps
) -> Person:
    """Segment visits that stand in their canonical order, as `segment_person` has it."""
    with steps.step("Align sessions"):
        volumes = [visit.volume for visit in visits]
        space = mid_space(volumes, align_sessions(visits))
        aligned = [space.bring(i, volume) for i, volume in enumerate(volumes)]
        measured = _measured(space, visits, stripped)
        agreed = measured & _agreed(space, visits)
        alike = _require_one_person(aligned, agreed, space)
    with steps.step("Match intensities"):
        aligned = _matched(visits, aligned, space, agreed)
        mean = Volume(mean_image(aligned), space.affine)
    with steps.step("Brain mask"):
        brain = find_brain(mean, config, None).within(measured)
    if not brain.mask.any():
        raise DataError("the sessions share no brain; are their fields of view apart?")
    with steps.step("Head map"):
        seen, doubt = map_checks.look(mean, threads=config.threads)
    with steps.step("Atlas"):
        atlas, note = spatial_prior(
            mean, brain.mask, seen, doubt, start=brain.placed, threads=config.threads
        )
    if atlas is None:
        note = "the head atlas could not be placed; tissues rest on intensities alone"
    table = tables.table(config.tissues)
    if atlas is None and table.regional:
        raise DataError(f"{note}, and the six tissues need it; use `tissues` three")
    with steps.step("Tissues"):
        options = JointOptions(table, config.bias != "none", config.smooth, config.threads)
        fit = fit_sessions(aligned, brain.mask, mean.zooms, atlas, options)
    with steps.step("Compare"):
        agreements = [compare(seen, doubt, mean, brain.mask, v.fractions) for v in fit.voxels]
    return Person(
        space=space,
        likeness=alike,
        mean=mean,
        brain=brain.warned(note) if note else brain,
        sessions=tuple(aligned),
        table=table,
        fit=fit,
        agreements=tuple(agreements),
        seconds=dict(steps.seconds),
    )


def _require_one_person(
    aligned: Sequence[NDArray[np.float32]], mask: BoolArray, space: MidSpace
) -> float:
    """Return how alike the aligned sessions are; refuse what does not look like one head."""
    if not mask.any():
        raise DataError("the sessions share no brain; are all of one person and in view?")
    found = likeness(aligned, mask, space.zooms)
    if found < LEAST_LIKENESS:
        raise DataError(
            f"the sessions look like different people (likeness {found:.2f} after alignment, "
            f"{LEAST_LIKENESS:g} is the least); give scans of one person only"
        )
    return found


def _require_options(count: int, config: SegmentConfig) -> None:
    if count < 2:
        raise UsageError(f"{count} session given; a comparison over time needs two or more")
    if config.mask == "file":
        raise UsageError("`mask`: sessions share the mask of their mean; use auto or none")
    if config.bias == "n4":
        raise UsageError("`bias`: sessions are fitted together with their field; use em or none")
    if config.prior != "atlas":
        raise UsageError("`prior`: sessions share the atlas that is placed on their mean")
    if config.tissues not in ANATOMY:
        raise UsageError(
            f"`tissues`: {config.tissues!r} are not fitted over time; use {', '.join(ANATOMY)}"
        )


def _rough(config: SegmentConfig) -> SegmentConfig:
    """Return how each session's brain is found for the alignment: by the network alone."""
    return replace(config, brain_extraction="network")


def _measured(space: MidSpace, visits: Sequence[Session], stripped: Sequence[bool]) -> BoolArray:
    """Say where every session was measured: in its field of view, and not stripped away."""
    out = np.ones(space.shape, bool)
    for i, (visit, bare) in enumerate(zip(visits, stripped, strict=True)):
        out &= space.seen(i, visit.volume)
        if bare:
            out &= _brought_mask(space, i, visit)
    return out


def _agreed(space: MidSpace, visits: Sequence[Session]) -> BoolArray:
    """Return what every session's own mask holds."""
    out = np.ones(space.shape, bool)
    for i, visit in enumerate(visits):
        out &= _brought_mask(space, i, visit)
    return out


def _brought_mask(space: MidSpace, i: int, visit: Session) -> BoolArray:
    share = visit.volume.with_data(visit.mask.astype(np.float32))
    brought: BoolArray = space.bring(i, share, order=1) > 0.5
    return brought


def _matched(
    visits: Sequence[Session],
    aligned: Sequence[NDArray[np.float32]],
    space: MidSpace,
    mask: BoolArray,
) -> list[NDArray[np.float32]]:
    """Remove gains and differential bias fields, of whole sessions and of their slices."""
    factors, out = _smooth_factors(aligned, space, mask)
    mean = np.where(mask, mean_image(out), np.float32(0))
    again = []
    for i, visit in enumerate(visits):
        model, inside = space.carry_back(i, visit.volume, [mean * factors[i], mask])
        gains = slice_gains(visit.volume.data, model, inside > 0.99, visit.volume.zooms)
        if gains is None:
            again.append(aligned[i])
        else:
            again.append(space.bring(i, visit.volume.with_data(visit.volume.data / gains)))
    if all(one is other for one, other in zip(again, aligned, strict=True)):
        return out
    return _smooth_factors(again, space, mask)[1]


def _smooth_factors(
    aligned: Sequence[NDArray[np.float32]], space: MidSpace, mask: BoolArray
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """Return each session's gain times its differential field, and the sessions without them."""
    gains = matched_gains(aligned, mask)
    out = [s / np.float32(gain) for s, gain in zip(aligned, gains, strict=True)]
    factors = [np.full(space.shape, gain, np.float32) for gain in gains]
    for _ in range(_MATCHING_ROUNDS):
        fields = differential_fields(out, mask, space.zooms)
        for i, field in enumerate(fields):
            bias = np.exp(field)
            out[i] /= bias
            factors[i] *= bias
    return factors, out


def _restored(person: Person, order: Sequence[int]) -> Person:
    """Bring what there is of each session back to the order in which they were given."""
    place = [order.index(i) for i in range(len(order))]

    def back(items: Sequence[T]) -> tuple[T, ...]:
        return tuple(items[i] for i in place)

    fit, space = person.fit, person.space
    return replace(
        person,
        space=replace(space, poses=back(space.poses)),
        sessions=back(person.sessions),
        agreements=back(person.agreements),
        fit=replace(
            fit,
            voxels=back(fit.voxels),
            gains=fit.gains[place],
            offsets=fit.offsets[place],
        ),
    )
