"""The participants of a study over time: all sessions of one are a unit of work."""

from __future__ import annotations

import csv
import logging
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from brainseg.batch.discovery import Found
from brainseg.batch.study import uri
from brainseg.batch.work import Outcome, Task, process
from brainseg.config import SegmentConfig
from brainseg.errors import DataError
from brainseg.io import atomic
from brainseg.qc.measure import schema
from brainseg.qc.pages.group import PERSON_TISSUES, PersonRow
from brainseg.run_person import PersonJob, person_target, run_person

log = logging.getLogger(__name__)

_DAYS_PER_YEAR = 365.25


@dataclass(frozen=True)
class People:
    """Participants with several sessions, and the scans of those with one.

    Attributes
    ----------
    jobs : list of PersonJob
    single : list of Found
        Scans that have nothing to be compared with.
    """

    jobs: list[PersonJob]
    single: list[Found]


def people(
    found: Sequence[Found], dataset: Path, out: Path, *, contrasts: Collection[str] = ()
) -> People:
    """Gather the sessions of each participant.

    Of a session with several T1w scans the first one by name counts. Sessions stand in the order
    of their dates or ages in ``sessions.tsv``, else of their labels.

    Parameters
    ----------
    found : sequence of Found
    dataset, out : Path
    contrasts : collection of str
        Suffixes of the scans of each session that are used too.
    """
    out = out.absolute()
    by_person: dict[str, dict[str, Found]] = {}
    single = []
    for scan in sorted(found, key=lambda scan: str(scan.path)):
        subject, session = scan.name.get("sub"), scan.name.get("ses")
        if subject is None or session is None:
            single.append(scan)
        elif session in by_person.setdefault(subject, {}):
            log.warning("sub-%s, ses-%s: has several T1w scans; the first counts", subject, session)
        else:
            by_person[subject][session] = scan
    jobs = []
    for subject, sessions in by_person.items():
        if len(sessions) < 2:
            log.warning("sub-%s: has one session; it is segmented as a single scan", subject)
            single += sessions.values()
            continue
        folder = f"sub-{subject}"
        times = read_times(dataset / folder / f"{folder}_sessions.tsv")
        known = times if all(label in times for label in sessions) else {}
        labels = sorted(sessions, key=lambda label: (known.get(label, 0.0), label))
        scans = [sessions[label] for label in labels]
        others = tuple(
            tuple((name, path.absolute()) for name, path in scan.contrasts if name in contrasts)
            for scan in scans
        )
        sources = [uri(s, s.path) for s in scans]
        sources += [
            uri(s, path) for s, found_ in zip(scans, others, strict=True) for _, path in found_
        ]
        target = person_target(out / folder, out, folder, sources)
        years = tuple(known[label] for label in labels) if known else None
        paths = tuple(scan.path.absolute() for scan in scans)
        jobs.append(PersonJob(paths, tuple(labels), target, years, others))
    return People(jobs, single)


def read_times(path: Path) -> dict[str, float]:
    """Read when each session was, in years from some point, from a ``sessions.tsv``.

    Parameters
    ----------
    path : Path
        With ``session_id`` and ``acq_time`` (ISO 8601) or ``age`` (years).

    Returns
    -------
    dict
        Label of each session whose time is known; empty where there is no such file.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return {}
    rows = list(csv.DictReader(text.splitlines(), delimiter="\t"))
    for read in (_from_date, _from_age):
        times = {}
        for row in rows:
            label = (row.get("session_id") or "").removeprefix("ses-")
            time = read(row)
            if label and time is not None:
                times[label] = time
        if len(times) == len(rows):
            return times
    return {}


def _from_date(row: dict[str, str]) -> float | None:
    try:
        when = datetime.fromisoformat(row.get("acq_time") or "")
    except ValueError:
        return None
    return when.toordinal() / _DAYS_PER_YEAR


def _from_age(row: dict[str, str]) -> float | None:
    try:
        age = float(row.get("age") or "")
    except ValueError:
        return None
    return age if 0 <= age <= 150 else None


def make_tasks(
    jobs: Sequence[PersonJob], config: SegmentConfig, *, report: bool = True, verify: bool = False
) -> list[Task]:
    """Make the tasks of one run, a participant each; parameters as of `study.make_tasks`."""
    run = uuid.uuid4().hex
    return [Task(job, config, report, run, verify) for job in jobs]


def write_table(out: Path) -> list[Path]:
    """Gather the changes of all participants into ``group_long.tsv``.

    Returns
    -------
    list of Path
        The table, or nothing where no participant has visits that were segmented together.

    Raises
    ------
    CannotCreateError, OutputError
    """
    lines: list[str] = []
    for path in _tables(out):
        header, *rows = path.read_text(encoding="utf-8").splitlines()
        lines = lines or [f"participant_id\t{header}\tverdict"]
        lines += [f"{path.parent.name}\t{row}\t{_verdict(path)}" for row in rows]
    if not lines:
        return []
    table = out / "group_long.tsv"
    atomic.write_text(table, "\n".join(lines) + "\n")
    return [table]


def over_time(out: Path) -> list[PersonRow]:
    """Return what changed between the first and the last visit of each participant."""
    return [_person(path) for path in _tables(out)]


def _tables(out: Path) -> list[Path]:
    return sorted(out.glob("sub-*/sub-*_long.tsv"))


def _person(path: Path) -> PersonRow:
    """Read one participant's table, for the page of the study."""
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines(), delimiter="\t"))
    # Visits stand in their order: the last row of a tissue is that of the last visit.
    last = {row["tissue"]: row for row in rows}
    page = path.with_suffix(".html")

    def number(tissue: str, column: str) -> float | None:
        try:
            return float(last[tissue][column])
        except (KeyError, ValueError):
            return None

    verdict = _verdict(path)
    return PersonRow(
        name=path.parent.name,
        report=f"{path.parent.name}/{page.name}" if page.exists() else "",
        verdict="" if verdict == "n/a" else verdict,
        visits=len({row["session"] for row in rows}),
        years=number("brain", "years"),
        percent={tissue: number(tissue, "change_percent") for tissue in PERSON_TISSUES},
        lesions_ml=number("lesions", "change_ml"),
    )


def _verdict(table: Path) -> str:
    """Return the verdict that lies beside a participant's table."""
    path = table.with_name(table.name.replace("_long.tsv", "_desc-quality_long.json"))
    try:
        return str(schema.read_quality(path)["verdict"])
    except (OSError, DataError) as error:
        log.debug("%s: has no verdict (%s)", path.name, error)
        return "n/a"


def work(task: Task) -> Outcome:
    """Do a task, of a participant or of a single scan."""
    if isinstance(task.job, PersonJob):
        return process(task, run_person)
    return process(task)
