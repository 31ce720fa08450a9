"""One scan of a study, as a worker does it: lock, look, segment, write down."""

from __future__ import annotations

import json
import logging
import os
import stat
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import brainseg
from brainseg.batch import memory
from brainseg.batch.ledger import Entry, Failure, Fingerprint, Ledger, Output, reason_to_run
from brainseg.config import SegmentConfig
from brainseg.core.steps import Steps
from brainseg.errors import BrainsegError, TemporaryError
from brainseg.io import atomic, derivatives, locks, nifti, privacy
from brainseg.run import Job, run_scan
from brainseg.run_person import PersonJob

log = logging.getLogger(__name__)

# A scan that took its worker down this often is not tried again.
MAX_DEATHS = 3


@dataclass(frozen=True)
class Task:
    """A scan to be done, with everything that a worker elsewhere needs to know.

    Attributes
    ----------
    job : Job or PersonJob
        The scan, or all sessions of a participant, and where the outputs go.
    config : SegmentConfig
    report : bool
        Make the QC page.
    run : str
        Names the invocation that this task belongs to.
    verify : bool
        Hash the outputs of a scan that was done before, instead of comparing sizes alone.
    """

    job: Job | PersonJob
    config: SegmentConfig
    report: bool
    run: str
    verify: bool = False

    @property
    def scan(self) -> str:
        """Name of the scan, for example ``sub-01_T1w``."""
        return f"{self.job.target.prefix}_{self.job.target.suffix}"

    @property
    def ledger(self) -> Ledger:
        """The ledger of the output folder."""
        return Ledger(self.job.target.root)

    @property
    def parameters(self) -> dict[str, Any]:
        """Options that the outputs depend on; threads are none of them."""
        options = asdict(self.config) | {"report": self.report}
        del options["threads"]
        if not self.job.target.compressed:
            # Absent where it is not asked for, as in the ledgers of earlier versions.
            options["uncompressed"] = True
        if isinstance(self.job, PersonJob):
            options["years"] = self.job.years_since_first
        # As the ledger reads them back: JSON has no tuples.
        content: dict[str, Any] = json.loads(json.dumps(options))
        return content


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes
    ----------
    state : str
        ``skipped`` means done before; ``busy`` that another run is at it.
    reason : str
        Why, in one line.
    code : int
        Exit code that stands for a failure.
    """

    state: Literal["done", "skipped", "failed", "quarantined", "busy", "interrupted"]
    reason: str = ""
    code: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_mb: float | None = None


def process(task: Task, segment: Callable[..., Any] = run_scan) -> Outcome:
    """Do one scan unless the ledger says that it is settled; never raises for a scan's fault.

    Parameters
    ----------
    task : Task
    segment : callable
        Does the scan; `brainseg.run.run_scan` outside of tests.
    """
    try:
        with locks.hold(task.ledger.lock(task.scan)):
            return _process(task, segment)
    except TemporaryError as error:
        return Outcome("busy", str(error), error.exit_code)
    except BrainsegError as error:
        # The ledger itself could not be written; it still says what it said before.
        return Outcome("failed", str(error), error.exit_code)


def look(task: Task) -> tuple[Entry | None, str | None]:
    """Return the ledger's entry of a task and the reason why it must be run, if it must."""
    entry = task.ledger.read(task.scan)
    if entry is None:
        # Its input need not be hashed yet, which for a whole study would be to read all of it.
        return None, "new"
    why = reason_to_run(
        entry,
        input_=fingerprint(task.job.path, entry.input),
        contrasts=_contrasts(task, entry.contrasts),
        parameters=task.parameters,
        version=brainseg.__version__,
        outputs=_sizes(task.job.target.folder),
    )
    if why is None and task.verify and entry.state == "done" and _changed(task, entry):
        why = "outputs changed"
    return entry, why


def bytes_needed(task: Task) -> int:
    """Estimate the memory of a task from the headers of its scans."""
    voxels = nifti.voxel_count(task.job.path)
    # Each contrast is held on its own grid and on that of the T1w scan.
    others = [voxels + nifti.voxel_count(path) for _, path in task.job.contrasts]
    return memory.needed(voxels, sum(others), whole_head=task.config.tissues == "head")


def settled(entry: Entry) -> Outcome:
    """Outcome of a scan that is not run again."""
    if entry.state == "quarantined" or entry.error is not None:
        reason = "" if entry.error is None else entry.error.reason
        code = 1 if entry.error is None else entry.error.code
        state: Literal["quarantined", "failed"] = (
            "quarantined" if entry.state == "quarantined" else "failed"
        )
        return Outcome(state, f"{reason} (not tried again: the input is unchanged)", code)
    return Outcome("skipped", "done before", 0, entry.seconds, entry.peak_memory_mb)


def settle(task: Task) -> None:
    """Tidy up after a worker that died or was stopped: its lock, its scratch, its entry."""
    try:
        with locks.hold(task.ledger.lock(task.scan)):
            _clear(task)
            entry = task.ledger.read(task.scan)
            if entry is not None and entry.state == "running":
                task.ledger.write(entry.but(state="interrupted", ended=_now()))
    except BrainsegError as error:
        # Somebody lives and holds it, or nothing can be written: the next run will tidy up.
        log.debug("%s: left as it is (%s)", task.scan, error)


def fingerprint(path: Path, known: Fingerprint | None = None) -> Fingerprint | None:
    """Return what a file is now; it is read only when size or time differ from what is known."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return None
        if known and (status.st_size, status.st_mtime_ns) == (known.size, known.modified):
            return known
        return Fingerprint(status.st_size, status.st_mtime_ns, nifti.sha256_of([path]))
    except OSError:
        return None


def _contrasts(
    task: Task, known: Mapping[str, Fingerprint | None]
) -> dict[str, Fingerprint | None]:
    return {suffix: fingerprint(path, known.get(suffix)) for suffix, path in task.job.contrasts}


def _process(task: Task, segment: Callable[..., Any]) -> Outcome:
    _clear(task)
    before, why = look(task)
    if why is None and before is not None:
        return settled(before)
    entry = _begin(task, before)
    if entry.deaths >= MAX_DEATHS:
        reason = (
            f"took its worker down {entry.deaths} times (out of memory?); to try again, delete "
            f"logs/scans/{task.scan}.json"
        )
        task.ledger.write(
            entry.but(state="quarantined", error=Failure(1, reason), attempts=entry.attempts - 1)
        )
        return Outcome("quarantined", reason, 1)
    task.ledger.write(entry)
    # Nobody listens to the steps of one scan among hundreds; the ledger keeps their seconds.
    steps = Steps(on_end=lambda name, seconds: log.debug("%s: %s %.1f s", task.scan, name, seconds))
    memory.reset_peak()
    try:
        finished = segment(
            task.job, task.config, force=True, report=task.report, timed=False, steps=steps
        )
    except Exception as error:
        failure = _failure(task, error)
        entry = _end(entry.but(state="failed", error=failure), steps)
        task.ledger.write(entry)
        return Outcome("failed", failure.reason, failure.code, entry.seconds, entry.peak_memory_mb)
    except BaseException:
        # Told to stop: what was complete is kept, this scan is begun anew next time.
        task.ledger.write(_end(entry.but(state="interrupted"), steps))
        raise
    outputs = {path.name: described(path) for path in finished.files}
    entry = _end(entry.but(state="done", outputs=outputs), steps)
    task.ledger.write(entry)
    return Outcome("done", why or "", 0, entry.seconds, entry.peak_memory_mb)


def _begin(task: Task, before: Entry | None) -> Entry:
    """Entry of a scan that starts now; knows whether its last worker died in this very run."""
    died = before is not None and before.state == "running" and before.run == task.run
    return Entry(
        scan=task.scan,
        state="running",
        input=fingerprint(task.job.path),
        contrasts=_contrasts(task, {}),
        parameters=task.parameters,
        version=brainseg.__version__,
        run=task.run,
        attempts=1 if before is None else before.attempts + 1,
        deaths=before.deaths + 1 if before is not None and died else 0,
        started=_now(),
    )


def _end(entry: Entry, steps: Steps) -> Entry:
    seconds = {name: round(value, 3) for name, value in steps.seconds.items()}
    return entry.but(seconds=seconds, peak_memory_mb=memory.peak_mb(), ended=_now())


def _failure(task: Task, error: Exception) -> Failure:
    if isinstance(error, BrainsegError):
        return Failure(error.exit_code, str(error))
    if isinstance(error, MemoryError):
        needed = f"segmenting it takes about {bytes_needed(task) / 1e9:.1f} GB"
        return Failure(TemporaryError.exit_code, f"not enough memory; {needed}")
    # Frames by file name alone: folders are the user's affair, of the program's files, too.
    frames = [
        f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    said = error.strerror if isinstance(error, OSError) else str(error)
    paths = (task.job.path, task.job.target.record)
    last = f"{type(error).__name__}: {privacy.scrub(said or '', *paths)}"
    return Failure(1, f"unforeseen {last}", "\n".join([*frames, last]) + "\n")


def _clear(task: Task) -> None:
    """Put in order what a dead worker left of this scan; the caller holds the scan's lock."""
    derivatives.recover(task.job.target)
    locks.sweep(task.job.target.folder)
    atomic.sweep(task.job.target.folder)
    record = task.ledger.path(task.scan)
    for path in record.parent.glob(f".{record.name}.tmp-*"):
        atomic.remove(path)


def described(path: Path) -> Output:
    """Return the bytes and the hash of a file that was written."""
    return Output(path.stat().st_size, nifti.sha256_of([path]))


def _changed(task: Task, entry: Entry) -> bool:
    """Say whether an output has other bytes than those that were written."""
    try:
        return any(
            described(task.job.target.folder / name) != output
            for name, output in entry.outputs.items()
        )
    except OSError:
        return True


def _sizes(folder: Path) -> dict[str, int]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.stat().st_size for entry in entries}
    except OSError:
        return {}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
