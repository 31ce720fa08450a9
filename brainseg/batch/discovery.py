"""Finding the scans of a BIDS dataset by walking its folders; no database, no file is opened."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brainseg.errors import InvalidDatasetError, NoInputError, NothingMatchedError, UsageError
from brainseg.io import bids
from brainseg.io.bids import Name, Wanted

log = logging.getLogger(__name__)

EXTENSIONS = (".nii.gz", ".nii", ".nii.zst")
# Keys of a filter file and the suffix of the scans that they choose among.
CONTRASTS = {"t1w": "T1w", "t2w": "T2w", "flair": "FLAIR", "pdw": "PDw"}


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
        Takes the folders that cannot be read, with respect to the dataset.

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
                found += _of_session(place / "anat", folder, filters)
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


def _of_session(anat: Path, folder: Path, filters: Filters) -> Iterator[Found]:
    names: dict[str, list[tuple[Name, Path]]] = {contrast: [] for contrast in CONTRASTS}
    taken: dict[str, Path] = {}
    for entry in _entries(anat):
        name = bids.parse(entry.name)
        if name is None or name.extension not in EXTENSIONS:
            continue
        for contrast, suffix in CONTRASTS.items():
            if name.suffix != suffix or not bids.selects(filters.of(contrast), name):
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
    return {
        bids.label(entry.name, key): Path(entry.path)
        for entry in _entries(parent)
        if entry.name.startswith(f"{key}-") and _is_folder(entry)
    }


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
        description = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InvalidDatasetError(f"{dataset.name}/: has no {path.name}; {hint}") from error
    except (OSError, ValueError) as error:
        raise InvalidDatasetError(f"{path.name}: is not readable JSON; {hint}") from error
    for name in ("Name", "BIDSVersion"):
        if not isinstance(description, dict) or not isinstance(description.get(name), str):
            raise InvalidDatasetError(f"{path.name}: has no {name}; {hint}")
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
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NoInputError(f"{path.name}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UsageError(f"{path.name}: not JSON ({error})") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path.name}: an object with {', '.join(CONTRASTS)} is expected")
    wanted = {}
    for contrast, wishes in content.items():
        if contrast not in CONTRASTS or not isinstance(wishes, dict):
            raise UsageError(
                f"{path.name}: {contrast!r} chooses nothing here; use {', '.join(CONTRASTS)}"
            )
        wanted[contrast] = {
            _entity(key, path): _wish(value, bids.short_key(key), path)
            for key, value in wishes.items()
            # Both say what the contrast's name says already.
            if key not in ("datatype", "suffix", "extension")
        }
    return wanted


def _entity(key: str, path: Path) -> str:
    short = bids.short_key(key)
    if short not in bids.ENTITIES:
        raise UsageError(f"{path.name}: {key!r} is no BIDS entity")
    return short


def _wish(value: object, key: str, path: Path) -> Wanted:
    if value is None or value == bids.ANY:
        return bids.ABSENT if value is None else bids.ANY
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(v, str | int) for v in values):
        raise UsageError(f"{path.name}: {key}: {value!r} is no label, list of labels or null")
    return frozenset(bids.label(str(v), key) for v in values)
