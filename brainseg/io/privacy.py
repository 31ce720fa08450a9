"""What other programs say of a file, without the folders that it lies in.

Names of folders are the user's own affair: they often hold a person's name. Messages of libraries
carry them, whole or in pieces, and messages end up in logs and ledgers beside the results.
"""

from __future__ import annotations

import re
from pathlib import Path

GONE = "…"
# A path in a text, up to a blank or a quote; its last part is the file's own name.
_PATH = re.compile(r"(?:[A-Za-z]:)?[^\s'\"]*[/\\]([^\s'\"/\\]*)")


def scrub(text: str, *paths: Path) -> str:
    """Return a text without the words of the folders above some files.

    Parameters
    ----------
    text : str
    *paths : Path
        The files that it may speak of. Their own names stay.
    """
    names = {path.name for path in paths}
    folders = {part for path in (*paths, Path.home(), Path.cwd()) for part in path.absolute().parts}
    words = {
        w for part in folders - names for w in (part, *re.split(r"[\W_]+", part)) if len(w) > 1
    }
    # The names of the files themselves come first in the pattern, so that they are left whole.
    kept = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    gone = "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
    pattern = rf"(?i)({kept})|(?<![A-Za-z0-9])(?:{gone})(?![A-Za-z0-9])"
    text = re.sub(pattern, lambda m: m[1] or GONE, text)
    return " ".join(_PATH.sub(r"\1", text).split())
