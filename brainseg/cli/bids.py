"""The BIDS App's part of the command line: ``bids`` and ``group``, and the form without either."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import brainseg
from brainseg.cli.engines import add_engine, check_engine, make_crew, make_engine
from brainseg.cli.options import (
    Commands,
    add_command,
    add_segment_options,
    add_uncompressed,
    path_of,
    segment_config,
)
from brainseg.cli.study_options import (
    add_cohort_model,
    add_exclude_failed,
    add_labels,
    add_running,
    add_scans,
)
from brainseg.errors import (
    BrainsegError,
    NoInputError,
    NothingMatchedError,
    UnknownLevelError,
    UsageError,
    VerdictError,
)
from brainseg.io import atomic

if TYPE_CHECKING:
    from brainseg.batch.discovery import Found
    from brainseg.batch.study import Planned
    from brainseg.batch.work import Outcome, Task

log = logging.getLogger("brainseg")

LEVELS = ("participant", "group")


def with_command(arguments: list[str], commands: frozenset[str]) -> list[str]:
    """Put ``bids`` before the arguments of the form ``brainseg BIDS_DIR OUT LEVEL``."""
    if not arguments or arguments[0] in commands or arguments[0] in ("-h", "--help", "--version"):
        return arguments
    if Path(arguments[0]).is_dir() or any(level in arguments for level in LEVELS):
        return ["bids", *arguments]
    return arguments


def add_bids(commands: Commands) -> None:
    """Add the command ``bids``."""
    parser = add_command(
        commands, "bids", "Segment a BIDS dataset (BIDS App), or gather its results.",
        "bids BIDS_DIR OUT participant --participant-label 01 02", _bids,
    )  # fmt: skip
    parser.add_argument("bids_dir", type=path_of, metavar="BIDS_DIR", help="the dataset")
    parser.add_argument("out", type=path_of, metavar="OUT", help="folder for the derivatives")
    parser.add_argument("level", metavar="LEVEL", help="participant or group")
    parser.add_argument("--version", action="version", version=f"brainseg {brainseg.__version__}")
    add_scans(parser)
    add_running(parser)
    segmentation = parser.add_argument_group("segmentation")
    segmentation.add_argument(
        "--mask",
        default="auto",
        choices=("auto", "none"),
        help="auto extracts the brain; none: the scans are stripped already",
    )
    add_segment_options(segmentation)
    add_uncompressed(segmentation)
    segmentation.add_argument(
        "--cohort-prior",
        type=path_of,
        metavar="FILE",
        help="keep intensity classes near those of a cohort, from `group --cohort-model`; "
        "replaces --prior",
    )
    add_cohort_model(parser)


def add_group(commands: Commands) -> None:
    """Add the command ``group``."""
    parser = add_command(
        commands, "group", "Gather the results of all scans into one table and one page.",
        "group OUT", _group,
    )  # fmt: skip
    parser.add_argument("out", type=path_of, metavar="OUT", help="folder of the derivatives")
    add_labels(parser)
    add_exclude_failed(parser)
    add_engine(parser)
    parser.add_argument("--dry-run", action="store_true", help="say which scans, write nothing")
    add_cohort_model(parser)


def _bids(args: argparse.Namespace) -> int:
    from brainseg.batch import discovery

    if args.level not in LEVELS:
        raise UnknownLevelError(
            f"analysis level {args.level!r} is not known; use participant or group"
        )
    if args.skip_bids_validation:
        discovery.require_folder(args.bids_dir)
    else:
        discovery.check_dataset(args.bids_dir)
    if args.level == "group":
        if args.fail_on_verdict:
            raise UsageError("--fail-on-verdict: belongs to the participant level")
        return _group(args)
    return _participant(args)


def _participant(args: argparse.Namespace) -> int:
    from brainseg.batch import discovery, study, verdicts

    check_engine(args)
    if args.cohort_model:
        raise UsageError("--cohort-model: belongs to the group level")
    others = ("report_only", "cohort_prior", "uncompressed")
    if args.longitudinal and any(getattr(args, name) for name in others):
        options = ", ".join(f"--{name.replace('_', '-')}" for name in others)
        raise UsageError(f"--longitudinal: goes with none of {options}")
    study.require_apart(args.out, args.bids_dir)
    filters = discovery.Filters(
        participants=tuple(args.participant_label),
        sessions=tuple(args.session_label),
        runs=tuple(args.run_id),
        by_contrast=(
            {} if args.bids_filter_file is None else discovery.read_filters(args.bids_filter_file)
        ),
    )
    unreadable: list[str] = []
    found = discovery.find_scans(args.bids_dir, filters, unreadable=unreadable)
    planned = _plan(args, found)
    if args.dry_run:
        for item in planned:
            state = "settled" if item.entry is None else item.entry.state
            print(f"{item.task.scan}\t{state if item.why is None else f'to do: {item.why}'}")
        return 0
    outcomes = _execute(args, planned)
    code = study.exit_code(outcomes)
    if unreadable:
        # A folder that cannot be read counts as a scan that failed.
        code = NoInputError.exit_code if code in (0, NoInputError.exit_code) else 1
    if args.fail_on_verdict and verdicts.failing((p.task for p in planned), outcomes):
        code = code or VerdictError.exit_code
    return code


def _plan(args: argparse.Namespace, found: list[Found]) -> list[Planned]:
    """Say what is to be done with each scan, and why; writes nothing."""
    from brainseg.batch import cohort, people, study
    from brainseg.config import usual_tissues

    config = segment_config(args, threads=1)
    if args.cohort_prior is not None:
        if args.contrasts:
            raise UsageError("--cohort-prior: speaks of the T1w alone; leave out --contrasts")
        config = replace(
            config,
            prior="cohort",
            cohort=cohort.read_prior(args.cohort_prior),
            tissues=args.tissues or usual_tissues("cohort"),
        )
    jobs = []
    if args.longitudinal:
        gathered = people.people(found, args.bids_dir, args.out, contrasts=args.contrasts)
        found, jobs = gathered.single, gathered.jobs
    tasks = study.make_tasks(
        found,
        args.out,
        config,
        report=not args.no_report,
        contrasts=args.contrasts,
        verify=args.verify,
        uncompressed=args.uncompressed,
    )
    tasks += people.make_tasks(jobs, config, report=not args.no_report, verify=args.verify)
    if args.exclude_failed:
        from brainseg.qc.review import ratings

        failed = ratings.failed(args.out)
        # A rating speaks of a report, which is named without the scan's suffix.
        tasks = [task for task in tasks if task.job.target.prefix not in failed]
    planned = study.plan(tasks)
    if args.report_only:
        return [replace(item, why="report asked for") for item in planned]
    return planned


def _execute(args: argparse.Namespace, planned: list[Planned]) -> dict[str, Outcome]:
    """Do what is planned, and say what became of it."""
    from brainseg.batch import citation, people, reports, study
    from brainseg.batch.work import bytes_needed

    work: Callable[[Any], Any] = reports.remake if args.report_only else people.work
    scratch = _scratch(args.work_dir)
    needs = [bytes_needed(item.task) for item in planned if item.why is not None]
    crew = make_crew(args, needs or [1])
    tasks = [
        replace(item.task, config=replace(item.task.config, threads=crew.threads))
        for item in planned
    ]
    planned = [replace(item, task=task) for item, task in zip(planned, tasks, strict=True)]
    teller = _Teller(len(planned), quiet=args.quiet)
    with study.alone_with_options(args.out, tasks, args.contrasts):
        study.describe(args.out, args.bids_dir)
        try:
            return study.run(
                planned,
                lambda: make_engine(args, crew, work, bytes_needed, scratch),
                stop_on_first_crash=args.stop_on_first_crash,
                told=teller,
            )
        finally:
            try:
                study.write_summary(args.out, teller.outcomes)
                citation.write(args.out)
            except BrainsegError as error:
                # On a full disk the table below is what remains.
                log.warning("no summary was written: %s", error)
            print(teller.table())


def _scratch(folder: Path | None) -> Path | None:
    """Make the folder of ``--work-dir`` where there is one."""
    if folder is None:
        return None
    with atomic.explained(folder, "no scan was begun"):
        folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def _group(args: argparse.Namespace) -> int:
    from brainseg.batch import citation, cohort, group, memory, norms, people
    from brainseg.qc.pages import group as page
    from brainseg.qc.review import ratings

    check_engine(args)
    written = [] if args.dry_run else people.write_table(args.out)
    over_time = people.over_time(args.out)
    if written and not group.finished_scans(args.out):
        for path in (*written, page.write(args.out, [], people=over_time)):
            log.info("wrote %s", path)
        return 0
    rows = group.collect(args.out)
    if args.exclude_failed:
        failed = ratings.failed(args.out)
        rows = [row for row in rows if row["scan"] not in failed]
    rows = group.chosen(
        rows, participants=args.participant_label, sessions=args.session_label, runs=args.run_id
    )
    if not rows:
        raise NothingMatchedError(f"{args.out.name}/: no scan satisfies the filters")
    if args.dry_run:
        print("\n".join(str(row["scan"]) for row in rows))
        return 0
    if args.cohort_model:
        kept = {str(row["scan"]) for row in rows}
        scans = [s for s in group.finished_scans(args.out) if group.scan_name(args.out, s) in kept]
        crew = make_crew(args, [memory.READING_BYTES] * len(scans))
        engine = make_engine(args, crew, cohort.histogram_of, lambda scan: memory.READING_BYTES)
        model = cohort.fit_cohort(scans, group.components(scans[0]), engine)
        written.append(cohort.write_cohort(args.out, model))
        for row in rows:
            name = str(row["scan"]).rpartition("/")[2]
            row["cohort_log_likelihood"] = model.log_likelihood.get(name)
    told = args.participants or norms.find_participants(args.out, getattr(args, "bids_dir", None))
    if told is not None:
        group.join(rows, norms.read_participants(told))
    found = group.compare(rows)
    written += [
        *group.write_table(args.out, rows, found),
        page.write(args.out, rows, adjusted=found.adjusted, people=over_time),
        *citation.write(args.out),
    ]
    for path in written:
        log.info("wrote %s", path)
    return 0


class _Teller:
    """Tells of each scan as it ends, and of all of them at the end."""

    def __init__(self, total: int, *, quiet: bool) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self._total = total
        self._quiet = quiet

    def __call__(self, task: Task, outcome: Outcome) -> None:
        self.outcomes[task.scan] = outcome
        if outcome.state == "skipped" or (self._quiet and outcome.state == "done"):
            return
        count = f"[{len(self.outcomes)}/{self._total}]"
        took = f"{sum(outcome.seconds.values()):.1f} s" if outcome.seconds else ""
        said = took if outcome.state == "done" else outcome.reason
        print(f"{count} {task.scan}: {outcome.state}  {said}", file=sys.stderr)

    def table(self) -> str:
        """Return the number of scans in each state, and each failure with its reason."""
        states = ("done", "skipped", "failed", "quarantined", "busy")
        counts = {s: sum(o.state == s for o in self.outcomes.values()) for s in states}
        counts["not begun"] = self._total - len(self.outcomes)
        lines = [f"{n:6d}  {state}" for state, n in counts.items() if n]
        bad = {n: o for n, o in self.outcomes.items() if o.state not in ("done", "skipped")}
        width = max(map(len, bad), default=0)
        lines += [f"{name:<{width}}  {bad[name].state}: {bad[name].reason}" for name in sorted(bad)]
        return "\n".join(lines)
