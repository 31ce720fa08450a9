"""Work without images, for what is about processes and files; importable by fresh processes."""

from __future__ import annotations

import errno
import functools
import os
import signal
import time
from pathlib import Path
from typing import Any

from brainseg.batch.discovery import find_scans
from brainseg.batch.study import make_tasks
from brainseg.batch.work import Task, process
from brainseg.config import SegmentConfig
from brainseg.core.steps import Steps
from brainseg.errors import DataError
from brainseg.io import derivatives
from brainseg.run import Finished, Job


def make_dataset(root: Path, names: list[str], content: str = "good") -> Path:
    """Write a BIDS dataset of text files; what a scan does is what its file says."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset_description.json").write_text('{"Name": "test", "BIDSVersion": "1.10.0"}')
    for name in names:
        entities = name.split("_")
        folders = [e for e in entities if e.startswith(("sub-", "ses-"))]
        path = root.joinpath(*folders, "anat", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def make(dataset: Path, out: Path, **options: Any) -> list[Task]:
    return make_tasks(find_scans(dataset), out, SegmentConfig(**options))


def fake_segment(
    job: Job, config: SegmentConfig, *, force: bool, report: bool, timed: bool, steps: Steps
) -> Finished:
    """Do what the scan's text says, then write two files whose bytes depend on it alone."""
    said = job.path.read_text()
    word, _, number = said.partition(" ")
    note = job.target.root / "notes" / job.path.name
    note.parent.mkdir(parents=True, exist_ok=True)
    with note.open("a") as stream:
        stream.write("begun\n")
    if word == "bad":
        raise DataError(f"{job.path.name}: the text says bad")
    if word == "bug":
        raise KeyError("not foreseen")
    if word == "full":
        raise OSError(errno.ENOSPC, "No space left on device")
    if word == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "deadly-once" and note.read_text().count("begun") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "path":
        raise ValueError(f"cannot read {job.path}, of {job.path.parents[2]}")
    if word == "signal":
        os.kill(os.getpid(), int(number))
    if word == "slow":
        time.sleep(float(number))
    with steps.step("Write"):
        files = derivatives.write_files(
            job.target,
            {
                "dseg.tsv": said.encode,
                f"seg-{config.tissues}_desc-posterior_dseg.tsv": said.upper().encode,
            },
        )
    return Finished(None, None, tuple(files))  # type: ignore[arg-type]


fake_process = functools.partial(process, segment=fake_segment)


def times_begun(out: Path) -> dict[str, int]:
    return {p.name: p.read_text().count("begun") for p in (out / "notes").glob("*")}


def tree(out: Path) -> dict[str, bytes]:
    """Every file of the results, without the ledger and what the fake work notes."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.relative_to(out).parts[0] not in ("logs", "notes")
    }
