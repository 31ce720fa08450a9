"""QC pages of a study's finished scans made again, without segmenting them."""

from __future__ import annotations

from brainseg import run
from brainseg.batch.work import Outcome, Task, described
from brainseg.errors import BrainsegError, TemporaryError
from brainseg.io import locks
from brainseg.run_person import PersonJob


def remake(task: Task) -> Outcome:
    """Make the QC page of a finished scan again; the segmentation stays as it is."""
    if isinstance(task.job, PersonJob):
        return Outcome("skipped", "a page of several sessions comes with their segmentation")
    try:
        with locks.hold(task.ledger.lock(task.scan)):
            entry = task.ledger.read(task.scan)
            if entry is None or entry.state != "done":
                return Outcome("skipped", "no finished result")
            written = run.report_again(task.job, threads=task.config.threads)
            new = {path.name: described(path) for path in written}
            parameters = entry.parameters | {"report": True}
            task.ledger.write(entry.but(outputs=entry.outputs | new, parameters=parameters))
            return Outcome("done", "report made again")
    except TemporaryError as error:
        return Outcome("busy", str(error), error.exit_code)
    except BrainsegError as error:
        return Outcome("failed", str(error), error.exit_code)
