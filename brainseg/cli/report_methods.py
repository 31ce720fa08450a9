"""The command line's part for the methods text and the references of a result."""

from __future__ import annotations

import argparse
import logging

from brainseg.cli.options import Commands, add_command, path_of

log = logging.getLogger("brainseg")


def add_report_methods(commands: Commands) -> None:
    """Add the command ``report-methods``."""
    parser = add_command(
        commands, "report-methods",
        "Print the methods of a result for a paper, and its references as BibTeX.",
        "report-methods OUT --bibtex > references.bib", _report_methods,
    )  # fmt: skip
    parser.add_argument(
        "result",
        type=path_of,
        metavar="RESULT",
        help="folder with results, or the record of one (*_desc-brainseg_mixture.json, "
        "*_long.json)",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="print the text alone")
    form.add_argument("--bibtex", action="store_true", help="print the BibTeX alone")


def _report_methods(args: argparse.Namespace) -> int:
    from brainseg.batch.citation import texts_of

    markdown, bibtex, faults = texts_of(args.result)
    for fault in faults:
        log.warning("left out: %s", fault)
    if args.bibtex:
        print(bibtex, end="")
    elif args.markdown:
        print(markdown, end="")
    else:
        print(f"{markdown}\n## BibTeX\n\n```bibtex\n{bibtex}```")
    return 0
