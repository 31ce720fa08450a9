"""A study from its dataset to its derivatives: plan, hand out, survive, sum up."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import brainseg
from brainseg.batch.discovery import Found
from brainseg.batch.engines import Died, Engine
from brainseg.batch.ledger import Entry, Ledger
from brainseg.batch.work import MAX_DEATHS, Outcome, Task, look, settle, settled
from brainseg.config import SegmentConfig
from brainseg.errors import (
    CannotCreateError,
    DataError,
    OutputError,
    TemporaryError,
    UsageError,
)
from brainseg.io import atomic, documents, locks
from brainseg.io.dataset import describe_dataset
from brainseg.io.derivatives import Target
from brainseg.run import Job

log = logging.getLogger(__name__)

# How a study names its input in BIDS URIs.
SOURCE = "raw"
# A scan held by another run is looked at this often, and given up after this long.
BUSY_PAUSE_S = 5.0
BUSY_PATIENCE_S = 900.0
# What of a source's description is passed on; a DOI and a version hold no name of a person.
DOI = re.compile(r"(?:doi:|https://doi\.org/)?10\.\d{4,9}/[\w.()/:;-]{1,100}")
VERSION = re.compile(r"v?\d[\w.+-]{0,30}")

Told = Callable[[Task, Outcome], None]


@dataclass(frozen=True)
class Planned:
    """A task with what the ledger says of it.

    Attributes
    ----------
    task : Task
    entry : Entry or None
    why : str or None
        Why it must be run; None when it is settled.
    """

    task: Task
    entry: Entry | None
    why: str | None


def make_tasks(
    found: Sequence[Found],
    out: Path,
    config: SegmentConfig,
    *,
    report: bool = True,
    contrasts: Collection[str] = (),
    verify: bool = False,
    uncompressed: bool = False,
) -> list[Task]:
    """Make the tasks of one run; outputs keep the entities and folders of their sources.

    Parameters
    ----------
    found : sequence of Found
    out : Path
    config : SegmentConfig
    report : bool
        Make the QC pages.
    contrasts : collection of str
        Suffixes of the scans of the same session that are used too: ``T2w``, ``FLAIR``, ``PDw``.
        A scan without them is segmented without them.
    verify : bool
        Hash the outputs of scans that were done before.
    uncompressed : bool
        Write images as ``.nii``.
    """
    run = uuid.uuid4().hex
    # Workers may have another working directory, and run on other machines.
    out = out.absolute()
    for suffix in contrasts:
        without = sum(suffix not in dict(scan.contrasts) for scan in found)
        if without:
            log.warning("%d of %d scans have no %s beside them", without, len(found), suffix)
    tasks = []
    for scan in found:
        others = tuple((s, path.absolute()) for s, path in scan.contrasts if s in contrasts)
        target = Target(
            folder=out / scan.folder,
            root=out,
            prefix=scan.name.prefix,
            suffix=scan.name.suffix,
            source=uri(scan, scan.path),
            other_sources=tuple(uri(scan, path) for _, path in others),
            compressed=not uncompressed,
        )
        job = Job(scan.path.absolute(), target, contrasts=others)
        tasks.append(Task(job, config, report, run, verify))
    return tasks


def uri(scan: Found, path: Path) -> str:
    """Return how sidecars name a scan of the dataset."""
    return f"bids:{SOURCE}:{scan.folder}/{path.name}"


def require_apart(out: Path, dataset: Path) -> None:
    """Refuse an output folder whose files would be taken for scans of the dataset.

    Raises
    ------
    UsageError
    """
    inside = out.resolve()
    root = dataset.resolve()
    among_scans = inside.is_relative_to(root) and any(
        part.startswith("sub-") for part in inside.relative_to(root).parts[:1]
    )
    if inside == root or among_scans:
        raise UsageError(
            f"{out.name}/: the results would lie among the scans of the dataset; choose another "
            "folder for them, for example BIDS_DIR/derivatives/brainseg"
        )


@contextmanager
def alone_with_options(
    out: Path, tasks: Sequence[Task], contrasts: Collection[str]
) -> Iterator[None]:
    """Keep runs with other options out of an output folder: together they would leave a mixture.

    Raises
    ------
    TemporaryError
        When a run with other options is at work there.
    CannotCreateError, OutputError
    """
    told = json.dumps([tasks[0].parameters, sorted(contrasts)] if tasks else [], sort_keys=True)
    purpose = hashlib.sha256(told.encode()).hexdigest()
    folder = out / "logs" / "locks"
    with locks.hold(folder / f"{uuid.uuid4().hex}.run.lock", purpose):
        if any(holder.purpose != purpose for holder in locks.holders(folder, "*.run.lock")):
            raise TemporaryError(
                f"{out.name}/: another run with other options is at work there; wait for it, or "
                "choose another output folder"
            )
        yield


def plan(tasks: Sequence[Task]) -> list[Planned]:
    """Look every task up in the ledger; those that were interrupted most come last.

    A scan that takes the whole run down with it thus keeps no other from being done.
    """
    planned = [Planned(task, *look(task)) for task in tasks]

    def interruptions(item: Planned) -> int:
        entry = item.entry
        return 0 if entry is None or entry.state == "done" else entry.attempts

    return sorted(planned, key=interruptions)


def run(
    planned: Sequence[Planned],
    make_engine: Callable[[], Engine],
    *,
    stop_on_first_crash: bool = False,
    told: Told = lambda task, outcome: None,
) -> dict[str, Outcome]:
    """Do what is to be done.

    Parameters
    ----------
    planned : sequence of Planned
    make_engine : callable
        Makes the engine; not called when nothing is to be done.
    stop_on_first_crash : bool
        Begin no other scan once one has failed.
    told : callable
        Told each task and its outcome.

    Returns
    -------
    dict
        Name of each scan to its outcome; scans not begun are absent.
    """
    outcomes: dict[str, Outcome] = {}

    def settle_as(task: Task, outcome: Outcome) -> None:
        outcomes[task.scan] = outcome
        told(task, outcome)

    to_do = []
    for item in planned:
        if item.why is None and item.entry is not None:
            settle_as(item.task, settled(item.entry))
        else:
            to_do.append(item.task)
    roots = {item.task.job.target.root for item in planned}
    _tidy(roots)
    if not to_do:
        return outcomes
    open_: dict[str, Task] = {}
    try:
        with make_engine() as engine:
            _drive(engine, to_do, open_, settle_as, stop_on_first_crash)
    finally:
        for task in open_.values():
            settle(task)
    # Once more: who was killed just before may have been dying still.
    _tidy(roots)
    return outcomes


def _tidy(roots: Iterable[Path]) -> None:
    """Remove what the dead left in output folders: half-written files and locks."""
    for root in roots:
        for folder in (root, root / "logs", root / "logs" / "scans", root / "logs" / "locks"):
            atomic.sweep(folder)
        locks.sweep(root / "logs" / "locks")


def _drive(
    engine: Engine,
    tasks: list[Task],
    open_: dict[str, Task],
    settle_as: Told,
    stop_on_first_crash: bool,
) -> None:
    """Hand tasks to the engine until each has an outcome; `open_` holds those without."""
    deaths: Counter[str] = Counter()
    busy: list[Task] = []
    patience = time.monotonic() + BUSY_PATIENCE_S
    for task in tasks:
        open_[task.scan] = task
        engine.submit(task)
    while engine.pending or busy:
        if not engine.pending:
            # Only scans that another run is at remain.
            time.sleep(BUSY_PAUSE_S)
            for task in busy:
                engine.submit(task)
            busy.clear()
        task, outcome = engine.next()
        if isinstance(outcome, Died):
            deaths[task.scan] += 1
            # The ledger counts deaths too and ends this sooner, unless it cannot be written.
            if deaths[task.scan] <= MAX_DEATHS:
                log.warning("%s: its worker died (%s); it is tried again", task.scan, outcome.how)
                engine.submit(task)
                continue
            outcome = Outcome("failed", f"its worker died each time ({outcome.how})", 1)
        if outcome.state == "busy" and time.monotonic() < patience:
            busy.append(task)
            continue
        open_.pop(task.scan, None)
        settle_as(task, outcome)
        if outcome.state in ("failed", "quarantined") and stop_on_first_crash:
            log.warning("stopping at the first failure, as asked; what was complete is kept")
            return
        if outcome.code == OutputError.exit_code:
            log.error("the disk is full or broken; stopping: make room and run again to resume")
            return


def exit_code(outcomes: dict[str, Outcome]) -> int:
    """Exit code of a run: that of its failures where they agree, else 1; 0 without any.

    Failures to write come first: they are the run's, whatever else is wrong with single scans.
    """
    codes = {o.code for o in outcomes.values() if o.state in ("failed", "quarantined")}
    if not codes:
        busy = any(o.state == "busy" for o in outcomes.values())
        return TemporaryError.exit_code if busy else 0
    for error in (OutputError, CannotCreateError):
        if error.exit_code in codes:
            return error.exit_code
    return codes.pop() if len(codes) == 1 else 1


def describe(out: Path, dataset: Path) -> None:
    """Write what the derivative dataset is, where it came from and what made it.

    Raises
    ------
    CannotCreateError, OutputError
    """
    made_by: dict[str, object] = {"Name": "brainseg", "Version": brainseg.__version__}
    # Set when the image is built.
    tag = os.environ.get("BRAINSEG_CONTAINER_TAG")
    if tag:
        kind = "apptainer" if "APPTAINER_NAME" in os.environ else "docker"
        made_by["Container"] = {"Type": kind, "Tag": tag}
    source = _source(dataset)
    links = _link(out, dataset, source)
    describe_dataset(
        out,
        {"GeneratedBy": [made_by]}
        | ({"DatasetLinks": {SOURCE: links}} if links else {})
        | ({"SourceDatasets": [source]} if source else {}),
    )


def _link(out: Path, dataset: Path, source: dict[str, str]) -> str | None:
    """Return how to get from the derivatives to their source, without the name of any folder.

    Up from a folder inside the dataset, or its DOI. Elsewhere the way would tell folders, which
    often hold a person's name: whoever passes the derivatives on says where the source is.
    """
    way = Path(os.path.relpath(dataset.resolve(), out.resolve()))
    if set(way.parts) == {".."}:
        return way.as_posix()
    doi = source.get("DOI")
    return doi and f"https://doi.org/{doi[doi.index('10.') :]}"


def write_summary(out: Path, outcomes: dict[str, Outcome]) -> None:
    """Write ``logs/summary.tsv``: every scan of the ledger, and what this run did with it.

    Raises
    ------
    CannotCreateError, OutputError
    """
    ledger = Ledger(out)
    rows = ["scan\tstate\tthis_run\treason\tattempts\tseconds\tpeak_memory_mb"]
    entries = {entry.scan: entry for entry in ledger.entries()}
    for scan in sorted(entries.keys() | outcomes.keys()):
        entry, outcome = entries.get(scan), outcomes.get(scan)
        reason = "" if outcome is None or outcome.state == "done" else outcome.reason
        if not reason and entry is not None and entry.error is not None:
            reason = entry.error.reason
        cells = [
            scan,
            "n/a" if entry is None else entry.state,
            "n/a" if outcome is None else outcome.state,
            " ".join(reason.split()) or "n/a",
            "n/a" if entry is None else str(entry.attempts),
            "n/a" if entry is None else f"{sum(entry.seconds.values()):.1f}",
            "n/a" if entry is None or entry.peak_memory_mb is None else f"{entry.peak_memory_mb}",
        ]
        rows.append("\t".join(cells))
    atomic.write_text(out / "logs" / "summary.tsv", "\n".join(rows) + "\n")


@dataclass(frozen=True)
class _Description:
    """What is read of the source's ``dataset_description.json``."""

    DatasetDOI: str = ""
    DatasetVersion: str = ""


def _source(dataset: Path) -> dict[str, str]:
    """Return DOI and version of the source dataset, where it tells them in their usual form."""
    try:
        told = documents.read(dataset / "dataset_description.json", _Description)
    except (OSError, DataError):
        return {}
    if not DOI.fullmatch(told.DatasetDOI):
        return {}
    version = told.DatasetVersion
    return {"DOI": told.DatasetDOI} | ({"Version": version} if VERSION.fullmatch(version) else {})
