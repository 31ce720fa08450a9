"""The command line's part for the review of a study."""

from __future__ import annotations

import argparse
import webbrowser
from pathlib import Path

from brainseg.cli.options import Commands, add_command
from brainseg.errors import UsageError


def add_review(commands: Commands) -> None:
    """Add the command ``review``."""
    parser = add_command(
        commands, "review", "Rate the segmentations of a study in the browser, by keyboard.",
        "review OUT", _review,
    )  # fmt: skip
    parser.add_argument("out", type=Path, metavar="OUT", help="folder with the results")
    parser.add_argument("--rater", default="", metavar="NAME", help="who rates")
    parser.add_argument(
        "--port",
        type=int,
        default=0,
        metavar="N",
        help="port on this machine (default: a free one)",
    )
    parser.add_argument("--no-browser", action="store_true", help="only print the address")


def _review(args: argparse.Namespace) -> int:
    from brainseg.qc.review.server import serve

    if not 0 <= args.port < 65536:
        raise UsageError(f"--port: {args.port} is no port; use 1 to 65535, or 0 for a free one")

    def tell(url: str) -> None:
        # The address holds the secret that keeps others out: it goes to the user alone.
        print(
            f"Review of {args.out.name}: {url}\nCtrl-C ends it; every rating is kept.", flush=True
        )
        if not args.no_browser:
            webbrowser.open(url)

    serve(args.out, port=args.port, rater=args.rater, on_ready=tell)
    return 0
