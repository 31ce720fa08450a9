"""Arguments in messages become options of the command line."""

from __future__ import annotations

import logging
import re

OTHER_NAMES = {
    "index": "--volume",
    "out": "-o",
    "folder": "-o",
    "cohort": "--cohort-prior",
    "T2w": "--t2",
    "FLAIR": "--flair",
    "PDw": "--pd",
}
"""Arguments whose option is not their own name with dashes."""

_ARGUMENT = re.compile(r"`([A-Za-z][A-Za-z0-9_]*)`")


def in_flags(message: str) -> str:
    """Return a message whose arguments in backticks are written as options.

    >>> in_flags("`brain_extraction`: 'x' is not known")
    "--brain-extraction: 'x' is not known"
    """
    return _ARGUMENT.sub(lambda found: _flag(found[1]), message)


def _flag(argument: str) -> str:
    return OTHER_NAMES.get(argument) or "--" + argument.replace("_", "-")


class FlagFormatter(logging.Formatter):
    """A log line of the program, its arguments written as options."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return in_flags(super().format(record))
