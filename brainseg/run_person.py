"""One person from the scans of several visits to the files of them all."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from brainseg.config import SegmentConfig
from brainseg.core.steps import Steps
from brainseg.errors import BrainsegError, CannotCreateError, DataError, UsageError
from brainseg.io import atomic, dataset, derivatives, locks, nifti, staging
from brainseg.io.bids import is_label, parse, split_name
from brainseg.io.derivatives import Target
from brainseg.longitudinal.change import Change, changes
from brainseg.longitudinal.person import Person, segment_person
from brainseg.person_files import SPACE, Visit, images, lesion_table, record, table, volumes
from brainseg.qc.measure.person import PersonSummary, quality_json, summarise

log = logging.getLogger(__name__)

# What the name of an output has after that of the person; a new run clears what an old one left.
ENDING = re.compile(
    rf"(ses-[A-Za-z0-9+]+_)?space-{SPACE}_[A-Za-z0-9_-]+\.(nii\.gz|json|tsv)"
    rf"|ses-[A-Za-z0-9+]+_(label-[A-Z]+_)?desc-long_[A-Za-z]+\.(nii\.gz|json|tsv)"
    rf"|ses-[A-Za-z0-9+]+_from-T1w_to-{SPACE}_mode-image_xfm\.txt"
    r"|desc-quality_long\.json|lesions\.tsv|long\.(tsv|json|html)"
)


@dataclass(frozen=True)
class PersonJob:
    """The visits of one person, and where what is found goes.

    Attributes
    ----------
    paths : tuple of Path
        The T1w scans, the first visit first.
    labels : tuple of str
        How files call the visits: ``1`` in ``ses-1``.
    target : Target
        From `person_target`.
    years : tuple of float or None
        Ages or times of the visits in years, for changes per year.
    others : tuple of tuple of (name, Path)
        For each visit its T2w, FLAIR or PDw scans; empty for none at any visit.
    """

    paths: tuple[Path, ...]
    labels: tuple[str, ...]
    target: Target
    years: tuple[float, ...] | None = None
    others: tuple[tuple[tuple[str, Path], ...], ...] = ()

    @property
    def name(self) -> str:
        """How files call the person: ``sub-01``."""
        return self.target.prefix

    @property
    def path(self) -> Path:
        """The scan of the first visit."""
        return self.paths[0]

    @property
    def contrasts(self) -> tuple[tuple[str, Path], ...]:
        """All scans but the first, each with the names of its visit and contrast."""
        pairs = zip(self.labels[1:], self.paths[1:], strict=True)
        found = [(f"ses-{label}", path) for label, path in pairs]
        for label, others in zip(self.labels, self.others, strict=False):
            found += [(f"ses-{label}_{name}", path) for name, path in others]
        return tuple(found)

    def only(self, kept: Sequence[int]) -> PersonJob:
        """Return the job of some of the visits."""
        return replace(
            self,
            paths=tuple(self.paths[i] for i in kept),
            labels=tuple(self.labels[i] for i in kept),
            years=None if self.years is None else tuple(self.years[i] for i in kept),
            others=tuple(self.others[i] for i in kept) if self.others else (),
        )

    @property
    def years_since_first(self) -> tuple[float, ...] | None:
        """Times of the visits after the first; what tells no age."""
        return None if self.years is None else tuple(y - self.years[0] for y in self.years)

    def __post_init__(self) -> None:
        if len(set(self.labels)) < len(self.labels):
            raise UsageError(f"`sessions`: two are called alike ({', '.join(self.labels)})")
        for label in (self.name.removeprefix("sub-"), *self.labels):
            if not is_label(label):
                raise UsageError(f"{label!r} is no label: letters and digits only")
        if self.years is not None and len(self.years) != len(self.paths):
            raise UsageError(
                f"`ages`: {len(self.years)} given for {len(self.paths)} scans; give one each"
            )
        if self.others and len(self.others) != len(self.paths):
            raise ValueError("`others` has as many items as there are visits, or none")


def person_target(folder: Path, root: Path, name: str, sources: Sequence[str]) -> Target:
    """Return where the files of a person go; `sources` names the scans, the first visit first."""
    return Target(
        folder, root, name, "long", sources[0], tuple(sources[1:]), record_ending="long.json"
    )


def plain_job(
    paths: Sequence[Path],
    out: Path,
    *,
    name: str | None = None,
    labels: Sequence[str] | None = None,
    years: Sequence[float] | None = None,
    others: Mapping[str, Sequence[Path]] | None = None,
) -> PersonJob:
    """Name the person and the visits of plain files, by their names where these tell.

    Parameters
    ----------
    paths : sequence of Path
    out : Path
        All files go straight into it.
    name : str, optional
        By default the ``sub`` that all names share, else ``sub-person``.
    labels : sequence of str, optional
        By default the ``ses`` of each name, else 1, 2, ...
    years : sequence of float, optional
    others : mapping of name to sequence of Path, optional
        ``T2w``, ``FLAIR`` or ``PDw`` to such a scan of each visit.
    """
    for contrast, found in (others or {}).items():
        if len(found) != len(paths):
            raise UsageError(
                f"`{contrast}`: {len(found)} scans for {len(paths)} visits; give one each, in the "
                "same order"
            )
    parsed = [parse(f"{split_name(path)[0]}_T1w.nii.gz") for path in paths]
    subjects = {n.get("sub") if n else None for n in parsed}
    sessions = [n.get("ses") if n else None for n in parsed]
    known = subjects.pop() if len(subjects) == 1 else None
    if labels is None and None not in sessions and len(set(sessions)) == len(sessions):
        labels = [str(session) for session in sessions]
    labels = labels or [str(1 + i) for i in range(len(paths))]
    if len(labels) != len(paths):
        raise UsageError(f"`sessions`: {len(labels)} names for {len(paths)} scans; give one each")
    label = (name or known or "person").removeprefix("sub-")
    sources = [path.name for group in (paths, *(others or {}).values()) for path in group]
    return PersonJob(
        tuple(paths),
        tuple(text.removeprefix("ses-") for text in labels),
        person_target(out, out, f"sub-{label}", sources),
        None if years is None else tuple(years),
        tuple(
            tuple((contrast, found[i]) for contrast, found in (others or {}).items())
            for i in range(len(paths))
        ),
    )


@dataclass(frozen=True, eq=False)
class FinishedPerson:
    """What became of a person: the joint segmentation, changes, verdict, and the files written."""

    person: Person
    changes: tuple[Change, ...]
    measured: PersonSummary
    files: tuple[Path, ...]


def run_person(
    job: PersonJob,
    config: SegmentConfig,
    *,
    force: bool = False,
    report: bool = True,
    timed: bool = True,
    steps: Steps | None = None,
    failed: Callable[[Path, BrainsegError], None] | None = None,
) -> FinishedPerson:
    """Segment the visits of one person together, and write what is found.

    Parameters
    ----------
    job : PersonJob
    config : SegmentConfig
    force : bool
        Overwrite an earlier result.
    report : bool
        Draw the page.
    timed : bool
        Tell the seconds of each step in the record.
    steps : Steps, optional
    failed : callable, optional
        Told of each scan that cannot be used, by its path; the others go on where they are two
        at least.

    Raises
    ------
    BrainsegError
        NoInputError, DataError, CannotCreateError or OutputError; nothing is left half-written.
    """
    steps = steps or Steps()
    _require_free(job, force=force)
    with steps.step("Load"):
        visits, notes = _read(job)
    target = job.target
    with locks.hold(target.lock):
        derivatives.recover(target)
        former = _require_free(job, force=force)
        person = segment_person(
            [visit.scan.volume for visit in visits.values()],
            config,
            finite=[visit.scan.finite for visit in visits.values()],
            contrasts=[visit.volumes for visit in visits.values()],
            labels=[visit.label for visit in visits.values()],
            steps=steps,
        )
        person = replace(person, notes=person.notes + tuple(str(e) for e in notes.values()))
        there = list(visits)
        notes |= {there[i]: DataError(why) for i, why in person.left_out.items()}
        _tell(job, person, notes, failed)
        kept = [there[i] for i in person.kept]
        job, seen = job.only(kept), [visits[i] for i in kept]
        found = changes(job.labels, volumes(person), job.years_since_first)
        with steps.step("Measure"):
            measured = summarise(job.labels, person, found)
        files = images(seen, person)
        files["desc-quality_long.json"] = quality_json(measured).encode
        if person.lesions is not None:
            files["lesions.tsv"] = lesion_table(job.labels, person.lesions).encode
        told = record(seen, person, config, timed=timed)
        if report:
            from brainseg.qc.pages import person as page

            with steps.step("Report"):
                html = page.page(job.name, measured, person, found, told)
            files["long.html"] = html.encode
        files["long.tsv"] = table(found).encode
        files["long.json"] = derivatives.to_json(told).encode
        with steps.step("Write"):
            describe = dataset.describe_dataset if target.is_dataset else dataset.describe_folder
            describe(target.root)
            named = {target.path(ending).name: encode for ending, encode in files.items()}
            staging.exchange(target.record, target.prefix, named, former, threads=config.threads)
    files_written = tuple(target.folder / name for name in named)
    return FinishedPerson(person, tuple(found), measured, files_written)


def _require_free(job: PersonJob, *, force: bool) -> list[str]:
    """Return the names of an earlier result's files; refuse them where `force` is not given."""
    target = job.target
    derivatives.require_inside(target)
    start = f"{job.name}_"
    with atomic.explained(target.folder):
        files = [path.name for path in target.folder.iterdir()] if target.folder.is_dir() else []
    there = [n for n in sorted(files) if n.startswith(start) and ENDING.fullmatch(n[len(start) :])]
    if there and not force:
        raise CannotCreateError(
            f"{there[0]}: the visits of {job.name} have a result in {target.root.name}/ already; "
            "add `force` to overwrite it, or choose another `out`"
        )
    return there


def _read(job: PersonJob) -> tuple[dict[int, Visit], dict[int, BrainsegError]]:
    """Read the scans of each visit; return the visits, and why others cannot be read."""
    visits: dict[int, Visit] = {}
    lost: dict[int, BrainsegError] = {}
    for i, (label, path) in enumerate(zip(job.labels, job.paths, strict=True)):
        try:
            scan = nifti.load(path)
            others = {n: nifti.load(other) for n, other in (job.others[i] if job.others else ())}
        except BrainsegError as error:
            lost[i] = error
            continue
        visits[i] = Visit(label, scan, others)
        for note in scan.notes:
            log.warning("%s: %s", path.name, note)
    if len(visits) < 2:
        if len(job.paths) > 2:
            raise DataError(
                f"{job.name}: {len(visits)} of {len(job.paths)} visits can be read; two or more "
                f"are needed ({next(iter(lost.values()))})"
            )
        raise next(iter(lost.values()))
    return visits, lost


def _tell(
    job: PersonJob,
    person: Person,
    lost: Mapping[int, BrainsegError],
    failed: Callable[[Path, BrainsegError], None] | None,
) -> None:
    """Tell what a reader should know, and of each visit that could not be used."""
    for warning in person.warnings:
        log.warning("%s: %s", job.name, warning)
    for i, error in sorted(lost.items()):
        if failed is not None:
            failed(job.paths[i], error)
