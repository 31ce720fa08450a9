"""What the automatic checks said of the scans of a study, read from their quality files."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from brainseg.batch.work import Outcome, Task
from brainseg.errors import DataError
from brainseg.qc.measure import schema
from brainseg.qc.measure.levels import FAIL

log = logging.getLogger(__name__)


def failing(tasks: Iterable[Task], outcomes: Mapping[str, Outcome]) -> list[str]:
    """Name the scans that the automatic checks call a failure, and log why.

    Parameters
    ----------
    tasks : iterable of Task
    outcomes : mapping of str to Outcome
        Those of the tasks by scan. Scans without a result have no verdict; scans that were done
        before have one.

    Returns
    -------
    list of str
        In the order of the tasks. A verdict that cannot be read counts: it vouches for nothing.
    """
    found = []
    for task in tasks:
        outcome = outcomes.get(task.scan)
        if outcome is None or outcome.state not in ("done", "skipped"):
            continue
        quality = _quality(task)
        if quality["verdict"] == FAIL:
            found.append(task.scan)
            log.warning("%s: Fail: %s", task.scan, "; ".join(quality.get("reasons", [])))
    return found


def _quality(task: Task) -> dict[str, Any]:
    path = task.job.target.path(f"desc-quality_{task.job.target.suffix}.json")
    try:
        return schema.read_quality(path)
    except OSError as error:
        reason = f"{path.name}: cannot be read ({error.strerror})"
    except DataError as error:
        reason = str(error)
    return {"verdict": FAIL, "reasons": [reason]}
