"""One scan from its file to its files: read, segment, report, write."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from brainseg.config import SegmentConfig
from brainseg.core.known import Known
from brainseg.core.steps import Steps
from brainseg.core.volume import Volume
from brainseg.errors import CannotCreateError
from brainseg.io import atomic, derivatives, locks, nifti
from brainseg.io.bids import split_name
from brainseg.io.derivatives import Target
from brainseg.io.inputs import Source, read_known, source_of
from brainseg.io.nifti import Scan
from brainseg.io.sidecar import read_acquisition
from brainseg.pipeline import SegmentedVolume, segment_volume
from brainseg.qc.measure import summary
from brainseg.qc.measure.subject import from_result
from brainseg.qc.measure.summary import Summary, summarise

log = logging.getLogger(__name__)

LONGEST_NAME = 180
"""Bytes of a scan's name: file systems take 255, and the ending of an output up to 60."""


@dataclass(frozen=True)
class Job:
    """One scan to be segmented.

    Attributes
    ----------
    path : Path
        The T1w scan.
    target : Target
        Where its outputs go.
    mask : Path or None
        The user's brain mask.
    index : int or None
        Which volume of a 4-D file.
    contrasts : tuple of (name, Path)
        T2w, FLAIR or PDw scans of the same person.
    seeds : Path or None
        Label map of voxels whose tissue is known, on the scan's grid.
    lesions : Path or None
        The user's mask of lesions of white matter, on the scan's grid.
    """

    path: Path
    target: Target
    mask: Path | None = None
    index: int | None = None
    contrasts: tuple[tuple[str, Path], ...] = ()
    seeds: Path | None = None
    lesions: Path | None = None


@dataclass(frozen=True, eq=False)
class Inputs:
    """What the files of a job hold.

    Attributes
    ----------
    scan : Scan
    known : Known
    contrasts : mapping of name to Volume
        Each on its own grid.
    others : tuple of Source
        Names and hashes of all but the scan.
    """

    scan: Scan
    known: Known
    contrasts: Mapping[str, Volume]
    others: tuple[Source, ...] = ()


@dataclass(frozen=True, eq=False)
class Finished:
    """What became of a scan: its segmentation, what was measured, and the files written."""

    result: SegmentedVolume
    measured: Summary
    files: tuple[Path, ...]


def read(job: Job) -> Inputs:
    """Read the files of a job, and log what a reader should know of the scan."""
    scan = nifti.load(job.path, index=job.index)
    scan = replace(scan, acquisition=read_acquisition(job.path))
    known = read_known(scan, mask=job.mask, seeds=job.seeds, lesions=job.lesions)
    scans = {name: nifti.load(path) for name, path in job.contrasts}
    others = [source_of(contrast, name) for name, contrast in scans.items()]
    for role, path in (("mask", job.mask), ("seeds", job.seeds), ("lesions", job.lesions)):
        if path is not None:
            others.append(source_of(path, role))
    for note in scan.notes:
        log.warning("%s: %s", scan.path.name, note)
    contrasts = {name: contrast.volume for name, contrast in scans.items()}
    return Inputs(scan, known, contrasts, tuple(others))


def plain_target(path: Path, out: Path, *, uncompressed: bool = False) -> Target:
    """Return where the outputs of a plain file go: straight into `out`, named by its stem."""
    prefix, suffix = split_name(path)
    return Target(out, out, prefix, suffix, path.name, compressed=not uncompressed)


def run_scan(
    job: Job,
    config: SegmentConfig,
    *,
    force: bool = False,
    report: bool = True,
    timed: bool = True,
    steps: Steps | None = None,
) -> Finished:
    """Segment one scan and write its outputs.

    Parameters
    ----------
    job : Job
    config : SegmentConfig
    force : bool
        Overwrite an earlier result.
    report : bool
        Draw the QC page; numbers, verdict and volumes are written without it, too.
    timed : bool
        Tell the seconds of each step in the record.
    steps : Steps, optional

    Returns
    -------
    Finished

    Raises
    ------
    BrainsegError
        NoInputError, DataError, CannotCreateError or OutputError; nothing is left half-written.
        TemporaryError when another run is at this scan.
    """
    steps = steps or Steps()
    _require_room(job.target)
    with atomic.explained(job.target.folder):
        if job.target.record.exists():
            derivatives.require_free(job.target, force=force)
    with steps.step("Load"):
        inputs = read(job)
    with _alone(job.target):
        derivatives.require_free(job.target, force=force)
        return _segment(job, inputs, config, report=report, timed=timed, steps=steps)


@contextmanager
def _alone(target: Target) -> Iterator[None]:
    """Hold the lock of a scan's files, with what an earlier run left half-done put in order."""
    new = [f for f in (target.folder, *target.folder.parents) if not f.exists()]
    try:
        with locks.hold(target.lock):
            derivatives.recover(target)
            yield
    finally:
        # Folders made for the lock go again where nothing came of it.
        with suppress(OSError):
            for folder in new:
                folder.rmdir()


def _segment(
    job: Job, inputs: Inputs, config: SegmentConfig, *, report: bool, timed: bool, steps: Steps
) -> Finished:
    """Segment what was read and write the outputs, as `run_scan` has it."""
    scan = inputs.scan
    result = segment_volume(
        scan.volume,
        config,
        known=inputs.known,
        finite=scan.finite,
        contrasts=inputs.contrasts,
        steps=steps,
    )
    for warning in result.warnings:
        log.warning("%s: %s", scan.path.name, warning)
    return _write(job.target, scan, result, inputs.others, report=report, timed=timed, steps=steps)


def save_result(
    target: Target,
    scan: Scan,
    result: SegmentedVolume,
    *,
    others: Sequence[Source] = (),
    force: bool = False,
    report: bool = True,
) -> list[Path]:
    """Write the outputs of a scan that was segmented already.

    Parameters
    ----------
    target : Target
    scan : Scan
        What was segmented.
    result : SegmentedVolume
    others : sequence of Source
        The inputs beside the scan.
    force, report : bool
        As for `run_scan`.

    Returns
    -------
    list of Path
        The files that were written.

    Raises
    ------
    CannotCreateError, OutputError, TemporaryError
    """
    with _alone(target):
        derivatives.require_free(target, force=force)
        written = _write(target, scan, result, others, report=report, timed=True, steps=Steps())
        return list(written.files)


def _write(
    target: Target,
    scan: Scan,
    result: SegmentedVolume,
    others: Sequence[Source],
    *,
    report: bool,
    timed: bool,
    steps: Steps,
) -> Finished:
    """Measure, make the QC page where it is wanted, and write all files; the lock is held."""
    with steps.step("Measure"):
        record = derivatives.record(scan, result, others=others, timed=timed)
        subject = from_result(scan, result, record)
        measured = summarise(subject)
        quality = summary.files(measured, target.suffix)
    if report:
        from brainseg.qc.pages.report import outputs

        with steps.step("Report"):
            quality |= outputs(subject, measured, threads=result.config.threads)
    with steps.step("Write"):
        files = derivatives.write(target, scan, result, quality=quality, others=others, timed=timed)
    return Finished(result, measured, tuple(files))


def _require_room(target: Target) -> None:
    """Refuse a name that is too long for the names of its outputs, before minutes are spent."""
    if len(os.fsencode(target.prefix)) > LONGEST_NAME:
        raise CannotCreateError(
            f"{target.prefix[:40]}...: a name of {len(target.prefix)} letters; the outputs' names "
            f"need one of at most {LONGEST_NAME}, so rename the scan"
        )


def report_again(job: Job, *, threads: int = 1, steps: Steps | None = None) -> list[Path]:
    """Make the QC page of a finished scan again; its segmentation is read back, not repeated.

    Parameters
    ----------
    job : Job
    threads : int
    steps : Steps, optional

    Returns
    -------
    list of Path
        The files that were written.

    Raises
    ------
    BrainsegError
        NoInputError where there is no finished result, DataError where it belongs to another
        scan, or OutputError; the earlier page then stays.
    """
    from brainseg.qc.measure.finished import read_subject
    from brainseg.qc.pages import report

    steps = steps or Steps()
    if not job.target.folder.exists():
        # The reader says what is missing; a lock would make the folder.
        read_subject(job.target, nifti.load(job.path, index=job.index))
    with _alone(job.target):
        with steps.step("Load"):
            subject = read_subject(job.target, nifti.load(job.path, index=job.index))
        with steps.step("Measure"):
            measured = summarise(subject)
            files = {
                ending: content
                for ending, content in summary.files(measured, job.target.suffix).items()
                # Volumes were counted on maps that their files hold rounded: the table stays.
                if not ending.startswith("volumes") or not job.target.path(ending).exists()
            }
        with steps.step("Report"):
            files |= report.outputs(subject, measured, threads=threads)
        named = {ending: content.__bytes__ for ending, content in files.items()}
        return derivatives.write_files(job.target, named, update=True)
