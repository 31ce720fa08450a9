"""Options of the commands that work on a study: which scans, and how they are run."""

from __future__ import annotations

import argparse
import functools

from brainseg.cli.engines import add_engine
from brainseg.cli.options import path_of
from brainseg.config import CONTRASTS
from brainseg.io import bids as bids_names


def add_scans(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose scans."""
    which = parser.add_argument_group("which scans")
    add_labels(which)
    add_exclude_failed(which)
    which.add_argument("--bids-filter-file", type=path_of, metavar="FILE", help="JSON of entities")
    which.add_argument(
        "--contrasts",
        nargs="+",
        default=[],
        choices=CONTRASTS,
        help="use these scans of the same session too, where there are any",
    )
    which.add_argument(
        "--longitudinal",
        action="store_true",
        help="segment all sessions of a participant together, and tell what changed",
    )
    which.add_argument(
        "--skip-bids-validation", action="store_true", help="take the folder as it is"
    )


def add_running(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how a study is run."""
    how = add_engine(parser)
    how.add_argument(
        "-w",
        "--work-dir",
        type=path_of,
        metavar="DIR",
        help="scratch of libraries (default: TMPDIR)",
    )
    how.add_argument("--stop-on-first-crash", action="store_true", help="begin no more after it")
    how.add_argument("--dry-run", action="store_true", help="say what would be done, and why")
    how.add_argument(
        "--verify",
        action="store_true",
        help="look at the bytes of what was done before, not at sizes alone",
    )
    how.add_argument(
        "--report-only",
        "--reports-only",
        action="store_true",
        help="make the QC pages of finished scans again",
    )
    how.add_argument(
        "--fail-on-verdict",
        action="store_true",
        help="end with exit code 19 where no scan failed, but the automatic checks say Fail of one",
    )


def add_labels(parser: argparse._ActionsContainer) -> None:
    """Add the options that choose participants, sessions and runs by label."""
    for option, key, others in (
        ("--participant-label", "sub", ("--participant_label",)),
        ("--session-label", "ses", ("--session-id", "--session_label")),
        ("--run-id", "run", ("--run-label", "--run_id")),
    ):
        parser.add_argument(
            option,
            *others,
            nargs="+",
            default=[],
            type=functools.partial(_label, key=key),
            metavar="LABEL",
            help=f"only these, with or without {key}-",
        )


def add_exclude_failed(parser: argparse._ActionsContainer) -> None:
    """Add the option that leaves out what reviewers rejected."""
    parser.add_argument(
        "--exclude-failed", action="store_true", help="leave out scans that reviewers rated fail"
    )


def add_cohort_model(parser: argparse.ArgumentParser) -> None:
    """Add the options of the group level."""
    parser.add_argument(
        "--cohort-model",
        action="store_true",
        help="at the group level, fit one mixture to all scans together",
    )
    parser.add_argument(
        "--participants",
        type=path_of,
        metavar="FILE",
        help="at the group level, the participants.tsv with age, sex and groups (default: the "
        "dataset's)",
    )


def _label(text: str, *, key: str) -> str:
    value = text.removeprefix(f"{key}-")
    if not bids_names.is_label(value):
        raise argparse.ArgumentTypeError(f"{text!r} is no label: letters and digits only")
    return value
