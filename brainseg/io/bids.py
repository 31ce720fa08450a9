"""Names as data: what a file is called, taken apart and put together; touches no disk."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

EXTENSIONS = (
    ".nii.gz", ".nii.zst", ".nii", ".hdr.gz", ".img.gz", ".hdr", ".img",
    ".mgh.gz", ".mgz", ".mgh", ".mnc.gz", ".mnc",
)  # fmt: skip
SUFFIXES = {s.lower(): s for s in ("T1w", "T2w", "FLAIR", "PDw", "T2starw", "T1map")}
# Entities in the order of the BIDS specification 1.10, which file names follow.
ENTITIES = (
    "sub", "ses", "sample", "task", "tracksys", "acq", "nuc", "voi", "ce", "trc", "stain", "rec",
    "dir", "run", "mod", "echo", "flip", "inv", "mt", "part", "proc", "hemi", "space", "split",
    "recording", "chunk", "seg", "res", "den", "label", "from", "to", "mode", "desc",
)  # fmt: skip
# The long names that filter files use.
LONG_NAMES = {
    "subject": "sub", "participant": "sub", "session": "ses", "acquisition": "acq",
    "ceagent": "ce", "reconstruction": "rec", "direction": "dir", "modality": "mod",
    "inversion": "inv", "mtransfer": "mt", "processing": "proc", "resolution": "res",
    "density": "den", "description": "desc", "segmentation": "seg",
}  # fmt: skip
_NAME = re.compile(
    r"(?P<entities>sub-[A-Za-z0-9+]+(?:_[a-z]+-[A-Za-z0-9+]+)*)_(?P<suffix>[A-Za-z0-9]+)"
    r"(?P<extension>\.[A-Za-z0-9.]+)"
)
# What an entity must be: one of some values; `ABSENT`; or `ANY` value, but present.
ABSENT: Final = None
ANY: Final = "*"
Wanted = frozenset[str] | str | None


def split_name(path: PurePath) -> tuple[str, str]:
    """Take a scan's file name apart.

    Parameters
    ----------
    path : PurePath
        For example ``sub-01_ses-2_T1w.nii.gz`` or ``head.mgz``.

    Returns
    -------
    prefix, suffix : str
        ``("sub-01_ses-2", "T1w")`` and ``("head", "T1w")``: a name without a known suffix
        is taken for a T1w scan. Characters that BIDS file names do not carry become ``-``.
    """
    stem = path.name
    for extension in EXTENSIONS:
        if stem.lower().endswith(extension):
            stem = stem[: -len(extension)]
            break
    head, _, last = stem.rpartition("_")
    suffix = SUFFIXES.get(last.lower())
    if suffix is None or not head:
        head, suffix = stem, SUFFIXES.get(stem.lower(), "T1w")
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", head).strip("-.") or "scan", suffix


@dataclass(frozen=True)
class Name:
    """A BIDS file name.

    Attributes
    ----------
    entities : tuple of (str, str)
        Key and value, in the order in which they stand.
    suffix : str
        For example ``T1w``.
    extension : str
        With its dot.
    """

    entities: tuple[tuple[str, str], ...]
    suffix: str
    extension: str

    @property
    def prefix(self) -> str:
        """The entities as they stand in the name: ``sub-01_ses-2``."""
        return "_".join(f"{key}-{value}" for key, value in self.entities)

    def get(self, key: str) -> str | None:
        """Value of an entity by its short key, or None."""
        return dict(self.entities).get(key)

    def __str__(self) -> str:
        return f"{self.prefix}_{self.suffix}{self.extension}"


def parse(name: str) -> Name | None:
    """Take a BIDS file name apart; None when it is not one, or names an entity twice."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    pairs = tuple(part.partition("-")[::2] for part in match["entities"].split("_"))
    if len({key for key, _ in pairs}) < len(pairs):
        return None
    return Name(pairs, match["suffix"], match["extension"])


def short_key(key: str) -> str:
    """Return the short key of an entity given by either of its names."""
    return LONG_NAMES.get(key, key)


def label(value: str, key: str) -> str:
    """Return a label without the key it may carry: ``sub-01`` and ``01`` are both ``01``."""
    return value.removeprefix(f"{key}-")


def is_label(text: str) -> bool:
    """Say whether a text is a label as BIDS has it: letters of ASCII, digits and plus."""
    return bool(re.fullmatch(r"[A-Za-z0-9+]+", text))


def selects(wanted: Mapping[str, Wanted], name: Name) -> bool:
    """Say whether a name satisfies every wish; runs are compared as numbers (``1`` is ``01``)."""
    for key, wish in wanted.items():
        value = name.get(key)
        if wish is ABSENT:
            if value is not None:
                return False
        elif value is None or (wish != ANY and not _among(value, wish, key)):
            return False
    return True


def _among(value: str, wish: frozenset[str] | str, key: str) -> bool:
    values = {wish} if isinstance(wish, str) else wish
    if value in values:
        return True
    # An index may be padded with zeros; a label may not.
    return (
        key in ("run", "echo", "inv", "split")
        and value.isdecimal()
        and (int(value) in {int(v) for v in values if v.isdecimal()})
    )
