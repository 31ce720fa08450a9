"""Finding the scans of a BIDS dataset by walking its folders; no database, no file is opened."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from brainseg.errors import (
    DataError,
    InvalidDatasetError,
    NoInputError,
    NothingMatchedError,
    UsageError,
)
from brainseg.io import bids, documents
from brainseg.io.bids import Name, Wanted

log = logging.getLogger(__name__)

EXTENSIONS = (".nii.gz", ".nii", ".nii.zst")
# Ends of file names that somebody meant to be scans of ours.
SCANS = tuple(f"_T1w{extension}" for extension in EXTENSIONS)
# Keys of a filter file and the suffix of the scans that they choose among.
CONTRASTS = {"t1w": "T1w", "t2w": "T2w", "flair": "FLAIR", "pdw": "PDw"}

# A filter file: contrast to entity to what it must be.
_Contrast = Literal["t1w", "t2w", "flair", "pdw"]
_Wish = None | str | int | Annotated[list[str | int], Meta(min_length=1)]


@dataclass(frozen=True)
class Description:
    """What is read of a ``dataset_description.json``."""

    Name: str
    BIDSVersion: str


@dataclass(frozen=True)
class Filters:
    """Which scans are wanted.

    Attributes
    ----------
    participants, sessions, runs : tuple of str
        Labels without their key; empty takes all.
    by_contrast : Mapping
        For ``t1w``, ``t2w``, ``flair``, ``pdw``: entity to what it must be
        (`brainseg.io.bids.Wanted`).
    """

    participants: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    by_contrast: Mapping[str, Mapping[str, Wanted]] = field(default_factory=dict)

    def of(self, contrast: str) -> dict[str, Wanted]:
        """Wishes for the names of one contrast."""
        wanted: dict[str, Wanted] = dict(self.by_contrast.get(contrast, {}))
        if self.sessions:
            wanted["ses"] = frozenset(self.sessions)
        if self.runs and contrast == "t1w":
            wanted["run"] = frozenset(self.runs)
        return wanted


@dataclass(frozen=True)
class Found:
    """A T1w scan of the dataset with the scans of the same session that go with it.

    Attributes
    ----------
    path : Path
    name : Name
    folder : str
        The scan's folder with respect to the dataset, ``sub-01/ses-2/anat``.
    contrasts : tuple of (suffix, Path)
        The T2w, FLAIR and PDw scans that go with it, in this order, where there are any.
    """

    path: Path
    name: Name
    folder: str
    contrasts: tuple[tuple[str, Path], ...] = ()


def find_scans(
    dataset: Path, filters: Filters | None = None, *, unreadable: list[str] | None = None
) -> list[Found]:
    """Find the T1w scans of a dataset, in order of name.

    A folder of a participant that cannot be read is told in a warning; the others are searched.

    Parameters
    ----------
    dataset : Path
        Root of the BIDS dataset.
    filters : Filters, optional
    unreadable : list of str, optional
        Takes what had to be left out, with respect to the dataset.

    Raises
    ------
    NoInputError
        When the dataset's own folder may not be read.
    NothingMatchedError
        When no T1w scan satisfies the filters.
    """
    filters = filters or Filters()
    found: list[Found] = []
    lost = [] if unreadable is None else unreadable
    subjects = _folders(dataset, "sub")
    for label in filters.participants:
        if label not in subjects:
            log.warning("sub-%s: no such participant in %s/", label, dataset.name)
    for label, subject in subjects.items():
        if filters.participants and label not in filters.participants:
            continue
        # A session may be left out of the tree even where other participants have some.
        try:
            places = [subject, *_folders(subject, "ses").values()]
        except NoInputError as error:
            _lose(lost, subject.relative_to(dataset), error)
            continue
        for place in places:
            folder = place.relative_to(dataset) / "anat"
            try:
                found += _of_session(place / "anat", folder, filters, lost)
            except NoInputError as error:
                _lose(lost, folder, error)
    if not found:
        raise NothingMatchedError(
            f"{dataset.name}/: no T1w scan among {len(subjects)} participants satisfies the "
            "filters; look at the labels given and at sub-*/[ses-*/]anat/*_T1w.nii.gz"
        )
    return found


def _lose(lost: list[str], folder: Path, error: NoInputError) -> None:
    """Go on without a folder; one participant's must not stop the others."""
    log.warning("%s: left out, %s", folder.as_posix(), error)
    lost.append(folder.as_posix())


def _of_session(anat: Path, folder: Path, filters: Filters, lost: list[str]) -> Iterator[Found]:
    names: dict[str, list[tuple[Name, Path]]] = {contrast: [] for contrast in CONTRASTS}
    taken: dict[str, Path] = {}
    for entry in _entries(anat):
        name = bids.parse(entry.name)
        if name is None:
            if entry.name.endswith(SCANS):
                log.warning("%s: left out, it is no BIDS name", entry.name)
                lost.append(f"{folder.as_posix()}/{entry.name}")
            continue
        if name.extension not in EXTENSIONS:
            continue
        for contrast, suffix in CONTRASTS.items():
            if name.suffix != suffix or not bids.selects(filters.of(contrast), name):
                continue
            if wrong := _elsewhere(name, folder):
                # Names are what scans are told apart by: two folders may hold the same one.
                log.warning("%s: left out, it lies in %s/", entry.name, wrong)
                lost.append(f"{folder.as_posix()}/{entry.name}")
                continue
            stem = f"{name.prefix}_{name.suffix}"
            if stem in taken:
                log.warning(
                    "%s: left out, %s is the same scan by its name", entry.name, taken[stem].name
                )
                continue
            taken[stem] = Path(entry.path)
            names[contrast].append((name, taken[stem]))
    for name, path in names.pop("t1w"):
        contrasts = tuple(
            (CONTRASTS[contrast], _companion(name, others))
            for contrast, others in names.items()
            if others
        )
        yield Found(path, name, folder.as_posix(), contrasts)


def _elsewhere(name: Name, folder: Path) -> str | None:
    """Return the folder, of participant or session, that a name does not belong to."""
    keys = {part.partition("-")[0]: part for part in folder.parts[:-1]}
    for key in ("sub", "ses"):
        value = name.get(key)
        said = None if value is None else f"{key}-{value}"
        if said != keys.get(key):
            return keys.get(key) or folder.parts[0]
    return None


def _companion(name: Name, others: list[tuple[Name, Path]]) -> Path:
    """Take the scan that shares most entities with the T1w one; of equals the first by name."""
    return max(others, key=lambda other: len({*name.entities} & {*other[0].entities}))[1]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise NoInputError(f"{folder.name}/: cannot be read ({error.strerror})") from error


def _folders(parent: Path, key: str) -> dict[str, Path]:
    """Return the folders ``key-LABEL`` of a folder, by label."""
    found = {}
    for entry in _entries(parent):
        if entry.name.startswith(f"{key}-") and _is_folder(entry):
            label = bids.label(entry.name, key)
            if bids.is_label(label):
                found[label] = Path(entry.path)
            else:
                log.warning(
                    "%s/: left out, %r is no label: letters and digits only", entry.name, label
                )
    return found


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        # A link that leads to itself, or a folder on a disk that has gone.
        log.warning("%s/: left out, cannot be read (%s)", entry.name, error.strerror)
        return False


def check_dataset(dataset: Path) -> None:
    """Check what a BIDS dataset must have before anything can be found in it.

    Raises
    ------
    NoInputError
        When the folder does not exist.
    InvalidDatasetError
        When it has no usable ``dataset_description.json`` or no participant.
    """
    require_folder(dataset)
    hint = "give the root of a BIDS dataset, or add `skip_bids_validation`"
    path = dataset / "dataset_description.json"
    try:
        documents.read(path, Description)
    except FileNotFoundError as error:
        raise InvalidDatasetError(f"{dataset.name}/: has no {path.name}; {hint}") from error
    except OSError as error:
        raise InvalidDatasetError(
            f"{path.name}: cannot be read ({error.strerror}); {hint}"
        ) from error
    except DataError as error:
        raise InvalidDatasetError(f"{error}; {hint}") from error
    if not _folders(dataset, "sub"):
        raise InvalidDatasetError(f"{dataset.name}/: has no folder sub-*; {hint}")


def require_folder(folder: Path) -> None:
    """Raise NoInputError when a folder is absent."""
    if not folder.is_dir():
        raise NoInputError(f"{folder.name}/: no such folder; check the path")


def read_filters(path: Path) -> dict[str, dict[str, Wanted]]:
    """Read a filter file: for each of ``t1w``, ``t2w``, ``flair``, ``pdw`` the entities.

    Keys are long or short entity names; values a label, a list of labels, null (the entity must
    be absent) or ``"*"`` (it must be present).

    Raises
    ------
    NoInputError, UsageError
    """
    try:
        content = documents.read(path, dict[_Contrast, dict[str, _Wish]])
    except OSError as error:
        raise NoInputError(f"{path.name}: cannot be read ({error.strerror})") from error
    except DataError as error:
        raise UsageError(
            f"{error}; for each of {', '.join(CONTRASTS)} entities are expected, with a label, "
            "a list of labels or null"
        ) from error
    return {
        contrast: {
            _entity(key, path): _wish(value, bids.short_key(key))
            for key, value in wishes.items()
            # Both say what the contrast's name says already.
            if key not in ("datatype", "suffix", "extension")
        }
        for contrast, wishes in content.items()
    }


def _entity(key: str, path: Path) -> str:
    short = bids.short_key(key)
    if short not in bids.ENTITIES:
        raise UsageError(f"{path.name}: {key!r} is no BIDS entity")
    return short


def _wish(value: _Wish, key: str) -> Wanted:
    if value is None or value == bids.ANY:
        return bids.ABSENT if value is None else bids.ANY
    values = value if isinstance(value, list) else [value]
    return frozenset(bids.label(str(v), key) for v in values)
