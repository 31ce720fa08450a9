"""THE path of one person: what happens to the scans of several visits, in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from brainseg.alignment.midspace import MidSpace
from brainseg.alignment.sessions import Session, canonical_order
from brainseg.anatomy import map_checks
from brainseg.anatomy.brain import Extraction
from brainseg.anatomy.prior import spatial_prior
from brainseg.anatomy.result_checks import MapAgreement
from brainseg.config import CONTRASTS, SegmentConfig
from brainseg.core.demands import require_values
from brainseg.core.masking import extract, scatter
from brainseg.core.steps import Steps
from brainseg.core.volume import BoolArray, Volume
from brainseg.errors import DataError, UsageError
from brainseg.longitudinal.gathering import gather
from brainseg.longitudinal.joint import JointFit, JointOptions, fit_sessions
from brainseg.longitudinal.lesions import Lesions, compare_lesions
from brainseg.longitudinal.levelling import level, level_contrast
from brainseg.longitudinal.matching import robust_mean
from brainseg.pipeline import compare, find_brain
from brainseg.tissues import tables
from brainseg.tissues.fit import ANATOMY
from brainseg.tissues.tables import THREE, TissueTable

T = TypeVar("T")

# Its value in label maps.
WM = THREE.tissues[2].index


@dataclass(frozen=True, eq=False)
class Person:
    """What came out of `segment_person`; arrays lie on the common grid.

    Attributes
    ----------
    space : MidSpace
    likeness : float
        How alike the aligned sessions are, 0 to 1.
    mean : Volume
        Mean (median of three or more) of the sessions, gains and differential bias fields removed.
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
    kept : tuple of int
        Which of the sessions that were given these are.
    left_out : Mapping of int to str
        The others, and why each one is none of them.
    contrasts : Mapping of str to tuple of ndarray of float32, shape (I, J, K)
        T2w, FLAIR or PDw of each session, as `sessions`.
    lesions : Lesions or None
        Lesion candidates at all sessions, where there is a FLAIR of each.
    notes : tuple of str
        Warnings beside those of the brain mask.
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
    kept: tuple[int, ...]
    left_out: Mapping[int, str]
    contrasts: Mapping[str, tuple[NDArray[np.float32], ...]] = field(default_factory=dict)
    lesions: Lesions | None = None
    notes: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Everything that a reader should know before trusting the result."""
        return self.brain.warnings + self.notes

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
        shade = self.fit.log_field
        if shade is None:
            return self.sessions[session]
        return np.asarray(self.sessions[session] / np.exp(shade), np.float32)

    @property
    def intracranial_ml(self) -> float:
        """Volume of the brain mask in mL; one number, as a skull does not change."""
        return float(np.count_nonzero(self.mask)) * self.mean.voxel_volume


def segment_person(
    volumes: Sequence[Volume],
    config: SegmentConfig,
    *,
    finite: Sequence[BoolArray | None] | None = None,
    contrasts: Sequence[Mapping[str, Volume]] | None = None,
    labels: Sequence[str] | None = None,
    steps: Steps | None = None,
) -> Person:
    """Segment the sessions of one person as one measurement.

    The sessions are aligned to a space in the middle of them; the mean image gives one brain mask
    and one spatial prior; one mixture is fitted to all sessions together. The order of the
    sessions changes no bit of any session's result. Of three sessions or more, one that cannot be
    used, or that does not look like the others, is left out.

    Parameters
    ----------
    volumes : sequence of Volume
        T1w scans of two visits or more, float32, axes in canonical order.
    config : SegmentConfig
    finite : sequence of ndarray of bool or None, optional
        Where each scan's voxels were finite numbers.
    contrasts : sequence of mapping of name to Volume, optional
        T2w, FLAIR or PDw of each visit, each on its own grid. Those that every visit has are used.
    labels : sequence of str, optional
        How messages call the visits; by default 1, 2, ...
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
    labels = labels or [str(1 + i) for i in range(len(volumes))]
    with threadpool_limits(limits=1):
        with steps.step("Brains"):
            visits, lost = _look_at(volumes, config, finite, contrasts, labels)
        there = sorted(visits)
        order = [there[i] for i in canonical_order([visits[i] for i in there])]
        person = _segment([visits[i] for i in order], config, steps)
        person = _restored(person, order, lost)
        if "FLAIR" in person.contrasts:
            with steps.step("Lesions"):
                person = replace(person, lesions=_lesions(person))
    told = tuple(f"ses-{labels[i]}: {why}" for i, why in sorted(person.left_out.items()))
    return replace(person, notes=person.notes + told, seconds=dict(steps.seconds))


def _look_at(
    volumes: Sequence[Volume],
    config: SegmentConfig,
    finite: Sequence[BoolArray | None] | None,
    contrasts: Sequence[Mapping[str, Volume]] | None,
    labels: Sequence[str],
) -> tuple[dict[int, Session], dict[int, str]]:
    """Find each session's brain; return the sessions that have one, and why others have not."""
    visits: dict[int, Session] = {}
    lost: dict[int, str] = {}
    needed = len(tables.table(config.tissues))
    for i, volume in enumerate(volumes):
        try:
            brain = find_brain(volume, _rough(config), None)
            # Before it is resampled: interpolation makes many values of a few.
            require_values(extract(volume.data, brain.mask), needed)
        except DataError as error:
            lost[i] = str(error)
            continue
        visits[i] = Session(
            volume,
            brain.within(None if finite is None else finite[i]).mask,
            brain.route == "stripped",
            {} if contrasts is None else contrasts[i],
        )
    if len(visits) < 2:
        first = min(lost)
        raise DataError(f"ses-{labels[first]}: {lost[first]}")
    return visits, lost


def _segment(visits: Sequence[Session], config: SegmentConfig, steps: Steps) -> Person:
    """Segment visits that stand in their canonical order, as `segment_person` has it."""
    with steps.step("Align sessions"):
        found = gather(visits, threads=config.threads)
        visits, space = [visits[i] for i in found.kept], found.space
    with steps.step("Match intensities"):
        aligned = level(visits, found.aligned, space, found.agreed, threads=config.threads)
        mean = Volume(robust_mean(aligned), space.affine)
    with steps.step("Brain mask"):
        brain = find_brain(mean, config, None).within(found.measured)
    if not brain.mask.any():
        raise DataError("the sessions share no brain; are their fields of view apart?")
    names, notes = _shared_contrasts(visits)
    channels = {}
    for name in names:
        with steps.step(f"Align {name}"):
            channels[name] = tuple(level_contrast(visits, space, mean, brain.mask, name))
    with steps.step("Head map"):
        seen, doubt = map_checks.look(mean, refuse=config.mask == "auto", threads=config.threads)
    with steps.step("Atlas"):
        atlas, note = spatial_prior(mean, brain.mask, seen, doubt, threads=config.threads)
    if atlas is None:
        note = "the head atlas could not be placed; tissues rest on intensities alone"
    table = tables.table(config.tissues)
    if atlas is None and table.regional:
        raise DataError(f"{note}, and the six tissues need it; use `tissues` three")
    with steps.step("Tissues"):
        options = JointOptions(table, config.bias != "none", config.smooth, config.threads, names)
        together = list(zip(aligned, *channels.values(), strict=True))
        fit = fit_sessions(together, brain.mask, mean.zooms, atlas, options)
    with steps.step("Compare"):
        agreements = [compare(seen, doubt, mean, brain.mask, v.fractions) for v in fit.voxels]
    return Person(
        space=space,
        likeness=found.likeness,
        mean=mean,
        brain=brain.warned(note) if note else brain,
        sessions=tuple(aligned),
        table=table,
        fit=fit,
        agreements=tuple(agreements),
        seconds={},
        kept=found.kept,
        left_out=found.left_out,
        contrasts=channels,
        notes=notes,
    )


def _shared_contrasts(visits: Sequence[Session]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the contrasts that every visit has, and a warning for each that only some have."""
    count = {name: sum(name in visit.contrasts for visit in visits) for name in CONTRASTS}
    names = tuple(name for name, n in count.items() if n == len(visits))
    notes = tuple(
        f"{name}: {n} of {len(visits)} visits have it; it is not used"
        for name, n in count.items()
        if 0 < n < len(visits)
    )
    return names, notes


def _lesions(person: Person) -> Lesions:
    """Follow the lesion candidates over the visits, in the order in which these were given."""
    voxels = person.fit.voxels
    maps = [scatter(v.lesions, person.mask) for v in voxels if v.lesions is not None]
    white = scatter(np.all([v.three == WM for v in voxels], axis=0), person.mask)
    white &= np.max(maps, axis=0) == 0
    return compare_lesions(maps, person.contrasts["FLAIR"], white, person.space.affine)


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


def _restored(person: Person, order: Sequence[int], lost: Mapping[int, str]) -> Person:
    """Bring what there is of each session back to the order in which they were given.

    `order` tells for each session of the canonical order which one of those given it is; `lost`
    those that are none of them, and why.
    """
    kept = [order[i] for i in person.kept]
    place = sorted(range(len(kept)), key=kept.__getitem__)

    def back(items: Sequence[T]) -> tuple[T, ...]:
        return tuple(items[i] for i in place)

    fit, space = person.fit, person.space
    return replace(
        person,
        kept=tuple(sorted(kept)),
        left_out={**lost, **{order[i]: why for i, why in person.left_out.items()}},
        space=replace(space, poses=back(space.poses)),
        sessions=back(person.sessions),
        contrasts={name: back(scans) for name, scans in person.contrasts.items()},
        agreements=back(person.agreements),
        fit=replace(
            fit,
            voxels=back(fit.voxels),
            gains=fit.gains[place],
            offsets=fit.offsets[place],
        ),
    )
