"""The command line's part for the review of a study."""

from __future__ import annotations

import argparse
import html
import tempfile
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from brainseg.cli.options import Commands, add_command, path_of
from brainseg.errors import UsageError


def add_review(commands: Commands) -> None:
    """Add the command ``review``."""
    parser = add_command(
        commands, "review", "Rate the segmentations of a study in the browser, by keyboard.",
        "review OUT", _review,
    )  # fmt: skip
    parser.add_argument("out", type=path_of, metavar="OUT", help="folder with the results")
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

    with ExitStack() as until_the_end:

        def tell(url: str) -> None:
            # The address holds the secret that keeps others out: it goes to the user alone.
            print(
                f"Review of {args.out.name}: {url}\nCtrl-C ends it; every rating is kept.",
                flush=True,
            )
            if not args.no_browser:
                webbrowser.open(until_the_end.enter_context(_signpost(url)).as_uri())

        serve(args.out, port=args.port, rater=args.rater, on_ready=tell)
    return 0


@contextmanager
def _signpost(url: str) -> Iterator[Path]:
    """Make a page that only the user can read and that leads to the address.

    Everybody on the machine reads the command line of a browser, and with it any address there.
    """
    with tempfile.NamedTemporaryFile("w", prefix="brainseg-", suffix=".html") as stream:
        # Such files are made with mode 0600.
        stream.write(f'<meta http-equiv="refresh" content="0; url={html.escape(url)}">\n')
        stream.flush()
        yield Path(stream.name)
