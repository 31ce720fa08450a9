"""What is known of each scan of a study: one small JSON per scan, written whole, kept on disk."""

from __future__ import annotations

import dataclasses
import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from brainseg.errors import DataError
from brainseg.io import atomic, documents

log = logging.getLogger(__name__)

State = Literal["running", "done", "failed", "interrupted", "quarantined"]
# Entries are read back, perhaps after somebody edited them: the types below are their schema.
Count = Annotated[int, Meta(ge=0, lt=1 << 62)]


@dataclass(frozen=True)
class Fingerprint:
    """What tells whether an input is still the same.

    Attributes
    ----------
    size, modified : int
        Bytes and time (ns): enough to see that nothing changed without reading the file.
    sha256 : str
        Decides where these differ, for example after a copy.
    """

    size: Count
    modified: int
    sha256: str


@dataclass(frozen=True)
class Output:
    """What was written: bytes and their hash."""

    size: Count
    sha256: str


@dataclass(frozen=True)
class Failure:
    """Why a scan failed: exit code, one line, and the traceback of what was not foreseen."""

    code: int
    reason: str
    traceback: str = ""


@dataclass(frozen=True)
class Entry:
    """The ledger's page for one scan.

    Attributes
    ----------
    scan : str
        For example ``sub-01_ses-2_T1w``.
    state : str
        ``running`` may also be what a dead process left; the lock tells.
    input : Fingerprint or None
        None when the input could not be read.
    contrasts : dict
        Suffix of each further scan that was used, for example ``FLAIR``, to its fingerprint.
    parameters : dict
        Options that the result depends on.
    version : str
        Of brainseg.
    run : str
        Which invocation wrote this.
    attempts : int
        How often the scan was started.
    deaths : int
        How often its worker died within a run that lived on.
    seconds : dict
        By step.
    peak_memory_mb : float or None
        Largest resident memory of the worker during the scan.
    outputs : dict
        File name to what was written. Names here are compared, never acted on: a ledger that
        somebody edited can remove nothing.
    error : Failure or None
    started, ended : str
        UTC times, ISO 8601.
    """

    scan: str
    state: State
    input: Fingerprint | None
    parameters: dict[str, Any]
    version: str
    run: str
    attempts: Count = 1
    deaths: Count = 0
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_mb: float | None = None
    outputs: dict[str, Output] = field(default_factory=dict)
    contrasts: dict[str, Fingerprint | None] = field(default_factory=dict)
    error: Failure | None = None
    started: str = ""
    ended: str = ""

    def but(self, **changes: Any) -> Entry:
        """Return the entry with some fields changed."""
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True)
class Ledger:
    """The ledger of an output folder.

    Attributes
    ----------
    root : Path
        The output folder; the ledger lies under its ``logs/``.
    """

    root: Path

    @property
    def folder(self) -> Path:
        """Where the entries are."""
        return self.root / "logs" / "scans"

    def lock(self, scan: str) -> Path:
        """Path of the scan's lock."""
        return self.root / "logs" / "locks" / f"{scan}.lock"

    def path(self, scan: str) -> Path:
        """Path of the scan's entry."""
        return self.folder / f"{scan}.json"

    def read(self, scan: str) -> Entry | None:
        """Return the entry of a scan; None when there is none that can be understood."""
        path = self.path(scan)
        try:
            entry = documents.read(path, Entry)
            if entry.scan != scan:
                raise DataError(f"{path.name}: speaks of another scan")
            return entry
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning(
                "%s: cannot be read (%s); the scan counts as new", path.name, error.strerror
            )
        except DataError as error:
            log.warning("%s; the scan counts as new", error)
        return None

    def write(self, entry: Entry) -> None:
        """Write an entry; call this with the scan's lock held.

        Raises
        ------
        CannotCreateError, OutputError
        """
        text = json.dumps(dataclasses.asdict(entry), indent=1) + "\n"
        atomic.write_text(self.path(entry.scan), text)

    def entries(self) -> list[Entry]:
        """Return all entries in order of scan."""
        names = sorted(path.stem for path in self.folder.glob("[!.]*.json"))
        return [entry for name in names if (entry := self.read(name)) is not None]


def reason_to_run(
    entry: Entry | None,
    *,
    input_: Fingerprint | None,
    contrasts: dict[str, Fingerprint | None],
    parameters: dict[str, Any],
    version: str,
    outputs: dict[str, int],
) -> str | None:
    """Say why a scan must be run, or None when its entry settles it.

    Parameters
    ----------
    entry : Entry or None
    input_ : Fingerprint or None
        Of the input as it is now; None when it cannot be read.
    contrasts : dict
        The same of the further scans that are to be used, by suffix.
    parameters : dict
    version : str
    outputs : dict
        Names and sizes in bytes of the files that are in the target folder now.
    """
    if entry is None:
        return "new"
    if entry.input is None or input_ is None or entry.input.sha256 != input_.sha256:
        return "input changed" if entry.input and input_ else "input was not readable"
    if _hashes(entry.contrasts) != _hashes(contrasts) or None in contrasts.values():
        return "other contrasts"
    if entry.parameters != parameters:
        return "parameters changed"
    if entry.version != version:
        return f"made by version {entry.version}"
    if entry.state in ("running", "interrupted"):
        return "interrupted before"
    if entry.state == "failed":
        permanent = entry.error is not None and entry.error.code == DataError.exit_code
        return None if permanent else "failed before, perhaps for a passing reason"
    if entry.state == "done":
        sizes = {name: output.size for name, output in entry.outputs.items()}
        if not sizes or any(outputs.get(name) != size for name, size in sizes.items()):
            return "outputs missing"
    return None


def _hashes(inputs: dict[str, Fingerprint | None]) -> dict[str, str | None]:
    return {suffix: None if print_ is None else print_.sha256 for suffix, print_ in inputs.items()}
