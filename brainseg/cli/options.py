"""What the parts of the command line share: the parser, and options common to commands."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from brainseg.errors import UsageError

if TYPE_CHECKING:
    from brainseg.config import SegmentConfig
    from brainseg.core.steps import Steps

Command = Callable[[argparse.Namespace], int]
Commands: TypeAlias = "argparse._SubParsersAction[Any]"


class Parser(argparse.ArgumentParser):
    """argparse, but a usage error is a `UsageError` (exit code 64, as sysexits has it)."""

    def error(self, message: str) -> NoReturn:
        """Raise a usage error instead of ending the program here."""
        raise UsageError(f"{message}; see {self.prog} --help")


def path_of(text: str) -> Path:
    """Read a path; an empty one would be the working folder, which nobody means by it."""
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError("the path is empty; name a file or folder")
    return Path(text)


def whole(text: str) -> int:
    """Read a whole number of 0 or more that a random generator takes as its seed."""
    if not text.isdecimal() or int(text) >= 1 << 32:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 to {(1 << 32) - 1}")
    return int(text)


def add_command(
    commands: Commands, name: str, does: str, example: str, run: Command
) -> argparse.ArgumentParser:
    """Add a command to the program, with what all commands have."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=does, description=does, epilog=f"Example: brainseg {example}"
    )
    parser.set_defaults(command=run)
    talk = parser.add_mutually_exclusive_group()
    talk.add_argument("-q", "--quiet", action="store_true", help="say only what went wrong")
    talk.add_argument("-v", "--verbose", action="store_true", help="say more, with tracebacks")
    return parser


def add_person(parser: argparse.ArgumentParser) -> None:
    """Add options that say what belongs to the one scan: its mask, its volume, other contrasts."""
    parser.add_argument(
        "--mask",
        default="auto",
        metavar="auto|none|FILE",
        help="auto extracts the brain; none: the scan is stripped already; or your own mask",
    )
    parser.add_argument(
        "--volume", type=int, metavar="N", help="which volume of a 4-D file, from 0"
    )
    parser.add_argument("--t2", type=path_of, metavar="FILE", help="T2w scan of the same person")
    parser.add_argument(
        "--flair", type=path_of, metavar="FILE", help="FLAIR scan of the same person"
    )
    parser.add_argument("--pd", type=path_of, metavar="FILE", help="PDw scan of the same person")


TISSUES = (
    "six: CSF, cortical grey, white, deep grey, brain stem, cerebellum; three: CSF, grey, "
    "white; head: grey, white, CSF, bone, soft tissue and air of the whole head; intensity: "
    "six classes of intensity; or a number of such classes (default: six; "
    "intensity with another prior than the atlas)"
)


def add_segment_options(parser: argparse._ActionsContainer, *, tissues: str = TISSUES) -> None:
    """Add options that say how a scan is segmented; `tissues` says which tables there are."""
    parser.add_argument(
        "--brain-extraction",
        default="fused",
        choices=("fused", "network", "atlas", "deepbet"),
        help="how the brain is found (default: fused, the mean of network and atlas)",
    )
    parser.add_argument(
        "--tissues",
        metavar="N|NAME",
        help=tissues,
    )
    parser.add_argument(
        "--bias",
        default="em",
        choices=("em", "n4", "none"),
        help="bias field: inside EM, N4 before it, or not at all (default: em)",
    )
    parser.add_argument(
        "--prior",
        default="atlas",
        choices=("atlas", "tied", "none"),
        help="atlas: classes tied to their tissues and to the head atlas; tied: without the "
        "atlas; none: plain maximum likelihood (default: atlas)",
    )
    parser.add_argument(
        "--smooth",
        type=float,
        metavar="BETA",
        help="strength of the neighbourhood prior; 0 is the pure mixture",
    )
    parser.add_argument(
        "--seed", type=whole, default=0, help="seed of everything random (default 0)"
    )
    parser.add_argument("--no-report", action="store_true", help="skip the QC page")


def add_uncompressed(parser: argparse._ActionsContainer) -> None:
    """Add the option of commands that write the images of scans."""
    parser.add_argument(
        "--uncompressed", action="store_true", help="write images as .nii instead of .nii.gz"
    )


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add the option of commands that do one scan at a time."""
    parser.add_argument(
        "--threads",
        type=int,
        default=usable_cores(),
        help="threads at most; the result is the same (default: the cores that may be used)",
    )


def segment_config(args: argparse.Namespace, *, threads: int) -> SegmentConfig:
    """Make the configuration that the options of `add_segment_options` ask for."""
    from brainseg.config import SegmentConfig, usual_tissues

    mask = getattr(args, "mask", "auto")
    return SegmentConfig(
        mask=mask if mask in ("auto", "none") else "file",
        brain_extraction=args.brain_extraction,
        tissues=args.tissues or usual_tissues(args.prior),
        bias=args.bias,
        prior=args.prior,
        smooth=args.smooth,
        seed=args.seed,
        threads=threads,
    )


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Progress:
    """Tells of the steps: a spinner with seconds on a terminal, log lines elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        self._status: Any = None
        self._console: Any = None
        if not quiet and sys.stderr.isatty():
            from rich.console import Console

            self._console = Console(stderr=True)

    def __enter__(self) -> Steps:
        from brainseg.core.steps import Steps

        if self._console is None:
            return Steps()
        self._status = self._console.status("")
        self._status.start()
        return Steps(
            on_start=lambda name: self._status.update(f"{name} ..."),
            on_end=lambda name, seconds: self._console.print(f"  {name:<20} {seconds:6.1f} s"),
        )

    def __exit__(self, *exc: object) -> None:
        if self._status is not None:
            self._status.stop()
