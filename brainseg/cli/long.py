"""The command line's part for one person over time."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from brainseg.cli import door
from brainseg.cli.options import (
    Commands,
    Progress,
    add_command,
    add_segment_options,
    add_threads,
    path_of,
    segment_config,
)
from brainseg.errors import BrainsegError

log = logging.getLogger("brainseg")

TISSUES = (
    "six: CSF, cortical grey, white, deep grey, brain stem, cerebellum; three: CSF, grey, white "
    "(default: six)"
)
"""The tables that are fitted over time."""


def add_long(commands: Commands) -> None:
    """Add the command ``long``."""
    parser = add_command(
        commands, "long", "Segment the visits of one person together, and tell what changed.",
        "long T1_visit1.nii.gz T1_visit2.nii.gz -o OUT", _long,
    )  # fmt: skip
    parser.add_argument(
        "scans", nargs="+", type=path_of, metavar="T1", help="T1w scans, the first visit first"
    )
    parser.add_argument("-o", "--out", type=path_of, required=True, help="folder for the results")
    parser.add_argument(
        "--person", metavar="LABEL", help="how files call the person (default: the sub- of names)"
    )
    parser.add_argument(
        "--sessions",
        nargs="+",
        metavar="LABEL",
        help="how files call the visits (default: the ses- of names, else 1, 2, ...)",
    )
    parser.add_argument(
        "--ages",
        nargs="+",
        type=float,
        metavar="YEARS",
        help="age at each visit, for changes per year",
    )
    for option, suffix in (("--t2", "T2w"), ("--flair", "FLAIR"), ("--pd", "PDw")):
        parser.add_argument(
            option,
            nargs="+",
            default=[],
            type=path_of,
            metavar="FILE",
            help=f"{suffix} scan of each visit, in the same order",
        )
    parser.add_argument(
        "--mask",
        default="auto",
        choices=("auto", "none"),
        help="auto extracts the brain; none: the scans are stripped already",
    )
    parser.add_argument("--force", action="store_true", help="overwrite earlier results")
    parser.add_argument(
        "--fail-on-verdict",
        action="store_true",
        help="end with exit code 19 where the automatic checks say Fail",
    )
    add_segment_options(parser, tissues=TISSUES)
    add_threads(parser)


def _long(args: argparse.Namespace) -> int:
    from brainseg.longitudinal.lesions import STATES
    from brainseg.run_person import plain_job, run_person

    config = segment_config(args, threads=args.threads)
    named = (("T2w", args.t2), ("FLAIR", args.flair), ("PDw", args.pd))
    job = plain_job(
        args.scans,
        args.out,
        name=args.person,
        labels=args.sessions,
        years=args.ages,
        others={suffix: paths for suffix, paths in named if paths},
    )
    codes: list[int] = []

    def failed(path: Path, error: BrainsegError) -> None:
        # One bad visit must not keep the others from being compared.
        codes.append(door.tell(error))

    with Progress(quiet=args.quiet) as steps:
        finished = run_person(
            job, config, force=args.force, report=not args.no_report, steps=steps, failed=failed
        )
    for change in finished.changes:
        if change.tissue in ("GM", "WM", "brain") and change.session != finished.changes[0].session:
            log.info(
                "%s, ses-%s: %s %.1f mL, %+.2f %%",
                job.name, change.session, change.tissue, change.volume_ml, change.change_percent,
            )  # fmt: skip
    lesions = finished.person.lesions
    for s, label in enumerate(finished.measured.labels):
        if lesions is not None and s:
            counts = ", ".join(f"{lesions.count(s, state)} {state}" for state in STATES[:5])
            log.info("%s, ses-%s: lesion candidates: %s", job.name, label, counts)
    code = door.conclude(job.name, finished.measured.verdict, args.out)
    if args.fail_on_verdict:
        codes.append(code)
    return codes[0] if codes else 0
