"""One person from the scans of several visits to the files of them all."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg.config import SegmentConfig
from brainseg.core import masking
from brainseg.core.steps import Steps
from brainseg.core.volume import Array
from brainseg.errors import BrainsegError, CannotCreateError, DataError, UsageError
from brainseg.io import atomic, dataset, derivatives, locks, names, nifti, staging
from brainseg.io.bids import is_label, parse, split_name
from brainseg.io.derivatives import Target
from brainseg.io.grids import Grid, grid_of
from brainseg.io.nifti import Scan
from brainseg.io.staging import Encoder
from brainseg.longitudinal.change import Change, changes
from brainseg.longitudinal.person import Person, segment_person
from brainseg.qc.measure.person import PersonSummary, quality_json, summarise
from brainseg.tissues.tables import THREE

log = logging.getLogger(__name__)

SPACE = "midspace"
"""How file names call the space in the middle of the visits."""
# What the name of an output has after that of the person; a new run clears what an old one left.
ENDING = re.compile(
    rf"(ses-[A-Za-z0-9+]+_)?space-{SPACE}_[A-Za-z0-9_-]+\.(nii\.gz|json|tsv)"
    rf"|ses-[A-Za-z0-9+]+_(label-[A-Z]+_)?desc-long_[A-Za-z]+\.(nii\.gz|json|tsv)"
    rf"|ses-[A-Za-z0-9+]+_from-T1w_to-{SPACE}_mode-image_xfm\.txt"
    r"|desc-quality_long\.json|long\.(tsv|json|html)"
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
    """

    paths: tuple[Path, ...]
    labels: tuple[str, ...]
    target: Target
    years: tuple[float, ...] | None = None

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
        """The scans of the further visits, each with the name of its visit."""
        pairs = zip(self.labels[1:], self.paths[1:], strict=True)
        return tuple((f"ses-{label}", path) for label, path in pairs)

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
    """
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
    return PersonJob(
        tuple(paths),
        tuple(text.removeprefix("ses-") for text in labels),
        person_target(out, out, f"sub-{label}", [path.name for path in paths]),
        None if years is None else tuple(years),
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
        Told of each scan that cannot be read; the others go on. Without it the first such scan
        is an error.

    Raises
    ------
    BrainsegError
        NoInputError, DataError, CannotCreateError or OutputError; nothing is left half-written.
    """
    steps = steps or Steps()
    _require_free(job, force=force)
    with steps.step("Load"):
        job, scans = _read(job, failed)
    target = job.target
    with locks.hold(target.lock):
        derivatives.recover(target)
        former = _require_free(job, force=force)
        person = segment_person(
            [scan.volume for scan in scans],
            config,
            finite=[scan.finite for scan in scans],
            steps=steps,
        )
        for warning in person.warnings:
            log.warning("%s: %s", job.name, warning)
        found = changes(job.labels, _volumes(person, len(scans)), job.years_since_first)
        with steps.step("Measure"):
            measured = summarise(job.labels, person, found)
        files = _outputs(job, scans, person)
        files["desc-quality_long.json"] = quality_json(measured).encode
        record = _record(job, scans, person, config, timed=timed)
        if report:
            from brainseg.qc.pages import person as page

            with steps.step("Report"):
                html = page.page(job.name, measured, person, found, record)
            files["long.html"] = html.encode
        files["long.tsv"] = _table(found).encode
        files["long.json"] = derivatives.to_json(record).encode
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


def _read(
    job: PersonJob, failed: Callable[[Path, BrainsegError], None] | None
) -> tuple[PersonJob, list[Scan]]:
    """Read the scans; those that cannot be read are told and left out."""
    scans, kept = [], []
    for i, path in enumerate(job.paths):
        try:
            scans.append(nifti.load(path))
        except BrainsegError as error:
            if failed is None:
                raise
            failed(path, error)
            continue
        kept.append(i)
        for note in scans[-1].notes:
            log.warning("%s: %s", path.name, note)
    if len(kept) == len(job.paths):
        return job, scans
    if len(kept) < 2:
        raise DataError(
            f"{job.name}: {len(kept)} of {len(job.paths)} scans can be read; two or more are needed"
        )
    years = None if job.years is None else tuple(job.years[i] for i in kept)
    left = replace(
        job,
        paths=tuple(job.paths[i] for i in kept),
        labels=tuple(job.labels[i] for i in kept),
        years=years,
    )
    return left, scans


def _volumes(person: Person, count: int) -> list[dict[str, float]]:
    """Return for each visit the mL of CSF, GM, WM, brain and skull, and of further tissues."""
    out = []
    for s in range(count):
        found = person.volumes_ml(s) | {"intracranial": person.intracranial_ml}
        sums = person.fit.voxels[s].responsibilities.sum(axis=0, dtype=np.float64)
        for tissue, total in zip(person.table.tissues, sums, strict=True):
            found.setdefault(tissue.abbreviation, float(total) * person.mean.voxel_volume)
        out.append(found)
    return out


def _table(found: Sequence[Change]) -> str:
    columns = list(asdict(found[0]))
    rows = ["\t".join(columns)]
    for change in found:
        cells = [
            "n/a" if value is None else value if isinstance(value, str) else f"{value:.4f}"
            for value in asdict(change).values()
        ]
        rows.append("\t".join(cells))
    return "\n".join(rows) + "\n"


def _outputs(job: PersonJob, scans: Sequence[Scan], person: Person) -> dict[str, Encoder]:
    """Return the images of all visits, in the common space and on their own grids."""
    space = grid_of(person.mean)
    here = f"space-{SPACE}"
    files: dict[str, Encoder] = {
        f"{here}_desc-mean_T1w.nii.gz": partial(_image, person.mean.data, space),
        f"{here}_desc-brain_mask.nii.gz": partial(_labels, person.mask.astype(np.uint8), space),
    }
    for s, (label, scan) in enumerate(zip(job.labels, scans, strict=True)):
        ses = f"ses-{label}"
        voxels = person.fit.voxels[s]
        own = names.table_labels(person.table)
        files[f"{ses}_{here}_desc-preproc_T1w.nii.gz"] = partial(_image, person.preproc(s), space)
        files[f"{ses}_{here}_dseg.nii.gz"] = partial(
            _labels, masking.scatter(voxels.three, person.mask), space
        )
        best = person.table.values[voxels.responsibilities.argmax(axis=1)]
        files[f"{ses}_{here}_{own}.nii.gz"] = partial(
            _labels, masking.scatter(best, person.mask), space
        )
        shares = [masking.scatter(voxels.fractions[:, k], person.mask) for k in range(3)]
        back = person.space.carry_back(s, scan.volume, shares)
        for k, tissue in enumerate(THREE.tissues):
            name = names.fraction(tissue).removesuffix("_probseg")
            files[f"{ses}_{here}_{name}_probseg.nii.gz"] = partial(_shares, shares[k], space)
            files[f"{ses}_{name}_desc-long_probseg.nii.gz"] = partial(_shares, back[k], scan.grid)
        files[f"{ses}_desc-long_dseg.nii.gz"] = partial(_labels, _largest(back), scan.grid)
        pose = "\n".join(" ".join(f"{x:.10g}" for x in row) for row in person.space.poses[s])
        files[f"{ses}_from-T1w_to-{SPACE}_mode-image_xfm.txt"] = f"{pose}\n".encode
    return files


def _largest(shares: Sequence[NDArray[np.float32]]) -> NDArray[np.uint8]:
    """Return the label of the largest share; 0 where less than half of a voxel is brain."""
    stacked = np.stack(shares)
    out: NDArray[np.uint8] = THREE.values[stacked.argmax(axis=0)]
    out[stacked.sum(axis=0) < 0.5] = 0
    return out


def _image(data: Array, grid: Grid) -> bytes:
    return nifti.compress(nifti.image_bytes(np.asarray(data, np.float32), grid))


def _labels(data: Array, grid: Grid) -> bytes:
    return nifti.compress(nifti.image_bytes(data, grid, intent="label"))


def _shares(data: Array, grid: Grid) -> bytes:
    parts = np.rint(np.clip(data, 0, 1) * np.float32(derivatives.PARTS)).astype(np.uint16)
    raw = nifti.image_bytes(parts, grid, intent="estimate", slope=1 / derivatives.PARTS)
    return nifti.compress(raw)


def _record(
    job: PersonJob, scans: Sequence[Scan], person: Person, config: SegmentConfig, *, timed: bool
) -> dict[str, Any]:
    """Return what was estimated and how, as it is written to the JSON."""
    model = person.fit.model
    options = {name: value for name, value in asdict(config).items() if name != "threads"}
    content: dict[str, Any] = {
        "sessions": [
            {
                "label": label,
                "name": scan.path.name,
                "sha256": scan.sha256,
                "to_midspace": person.space.poses[s].tolist(),
                "gain": float(person.fit.gains[s]),
                "offset": float(person.fit.offsets[s]),
            }
            for s, (label, scan) in enumerate(zip(job.labels, scans, strict=True))
        ],
        "likeness": person.likeness,
        "brain": {
            "route": person.brain.route,
            "confidence": person.brain.confidence,
            "checks": dict(person.brain.checks),
        },
        "weights": model.weights.tolist(),
        "means": model.means.tolist(),
        "covariances": model.covariances.tolist(),
        "log_likelihood": [float(h) for h in person.fit.found.history],
        "converged": person.fit.found.converged,
        "warnings": list(person.warnings),
        "standard_error": "root mean square change between visits of people who hardly changed, "
        "in per cent (brainseg.longitudinal.change.REPEATABILITY)",
        "options": options,
        "versions": derivatives.versions(),
    }
    if timed:
        content["seconds"] = {name: round(s, 3) for name, s in person.seconds.items()}
    return content
