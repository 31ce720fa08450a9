"""Ratings of people: appended to one table, never overwritten, and read back by replaying it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path

from brainseg.errors import CannotCreateError, DataError, NoInputError, OutputError
from brainseg.io import atomic, documents

try:
    import fcntl
except ImportError:  # no such locks on Windows; one append is one write there too
    fcntl = None  # type: ignore[assignment]

TABLE = "qc_ratings.tsv"
DICTIONARY = "qc_ratings.json"
PASS, UNCERTAIN, FAIL = "pass", "uncertain", "fail"
RATINGS = ((PASS, "1"), (UNCERTAIN, "2"), (FAIL, "3"))
TAGS = (
    "motion", "ghosting", "wrap", "bias", "mask leak", "mask cut", "wrong tissue", "other",
)  # fmt: skip
RATE, UNDO = "rate", "undo"
COLUMNS = (
    "time", "scan", "rater", "action", "rating", "tags", "flags", "notes", "seconds",
)  # fmt: skip
EMPTY = "n/a"
MAX_NOTES = 500
# A day; the page that lay open longer was not looked at all the time.
MOST_SECONDS = 86400.0
# Largest table that is read, in bytes: some million ratings.
MOST_BYTES = 256 << 20


@dataclass(frozen=True)
class Rating:
    """What a person said of a scan.

    Attributes
    ----------
    scan, rater : str
    rating : str
        ``pass``, ``uncertain`` or ``fail``.
    tags, flags : tuple of str
        Artefacts seen, and names of the report's pictures that show them.
    notes : str
    seconds : float
        Time from opening the scan to the rating.
    time : str
        UTC, ISO 8601; empty until appended.
    action : str
        ``rate``, or ``undo`` for a row that takes the rater's last rating back.
    """

    scan: str
    rater: str
    rating: str
    tags: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    notes: str = ""
    seconds: float = 0.0
    time: str = ""
    action: str = RATE

    def __post_init__(self) -> None:
        if self.action == RATE and self.rating not in {r for r, _ in RATINGS}:
            raise DataError(f"rating {self.rating!r} is not known; use pass, uncertain or fail")
        unknown = set(self.tags) - set(TAGS)
        if unknown:
            raise DataError(f"tag {min(unknown)!r} is not known; use one of {', '.join(TAGS)}")
        if self.action not in (RATE, UNDO):
            raise DataError(f"action {self.action!r} is not known; use rate or undo")
        if not 0 <= self.seconds <= MOST_SECONDS:
            raise DataError(f"{self.seconds} seconds are no time that a rating takes")
        if not self.rater.strip() or not self.scan.strip():
            raise DataError("a rating needs the name of its rater and of its scan")


def append(out: Path, rating: Rating) -> Rating:
    """Append one rating to the table; it is on the disk when this returns.

    Raises
    ------
    CannotCreateError, OutputError
        When the table cannot be written.
    """
    stamped = Rating(
        **{f: getattr(rating, f) for f in rating.__dataclass_fields__ if f != "time"},
        time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    line = ("\t".join(_cells(stamped)) + "\n").encode()
    path = out / TABLE
    try:
        describe(out)
        with _locked(path) as handle:
            size = os.fstat(handle).st_size
            if size == 0:
                line = ("\t".join(COLUMNS) + "\n").encode() + line
            elif _last_byte(handle, size) != b"\n":
                # A machine that died in mid-line left its stump: keep it apart from this one.
                line = b"\n" + line
            written = os.write(handle, line)
            os.fsync(handle)
    except PermissionError as error:
        raise CannotCreateError(f"{TABLE}: may not be written ({error.strerror})") from error
    except OSError as error:
        raise OutputError(f"{TABLE}: the rating was not kept ({error.strerror})") from error
    if written != len(line):
        raise OutputError(f"{TABLE}: the rating was not kept whole; is the disk full?")
    return stamped


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    # Windows alone has O_BINARY, and without it turns line ends into its own.
    binary: int = getattr(os, "O_BINARY", 0)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | binary, 0o644)
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)


def _last_byte(handle: int, size: int) -> bytes:
    os.lseek(handle, size - 1, os.SEEK_SET)
    return os.read(handle, 1)


def _cells(r: Rating) -> list[str]:
    texts = (
        r.time, r.scan, r.rater, r.action, r.rating, ",".join(r.tags), ",".join(r.flags),
        r.notes[:MAX_NOTES], f"{r.seconds:.0f}",
    )  # fmt: skip
    return [" ".join(t.split()) or EMPTY for t in texts]


def read(out: Path) -> list[Rating]:
    """Return every row of the table in order; lines that are no rating are left out.

    Raises
    ------
    NoInputError
        When the table cannot be read.
    """
    path = out / TABLE
    try:
        content = documents.read_bytes(path, MOST_BYTES)
    except FileNotFoundError:
        return []
    except (OSError, DataError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise NoInputError(f"{TABLE}: the ratings cannot be read ({reason})") from error
    header, *lines = content.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")
    columns = header.split("\t")
    return [r for line in lines if (r := _parse(columns, line.split("\t"), path)) is not None]


def _parse(columns: list[str], cells: list[str], path: Path) -> Rating | None:
    if len(cells) != len(columns):
        return None
    row: dict[str, object] = {
        name: "" if cell == EMPTY else cell
        for name, cell in zip(columns, cells, strict=True)
        if name in COLUMNS
    }
    for name in ("tags", "flags"):
        row[name] = _split(str(row.get(name, "")))
    seconds = _seconds(str(row.get("seconds", "")))
    try:
        return documents.convert(path, row | {"seconds": seconds}, Rating)
    except DataError:
        return None


def _seconds(text: str) -> float:
    """Read a time; one that is none, such as nan, must not cost the rating beside it."""
    try:
        value = float(text or 0)
    except ValueError:
        return 0.0
    return value if 0 <= value <= MOST_SECONDS else 0.0


def _split(text: str) -> tuple[str, ...]:
    return tuple(t for t in text.split(",") if t)


def standing(rows: Sequence[Rating]) -> dict[tuple[str, str], Rating]:
    """Replay the table: the rating that stands for each (scan, rater), undone ones taken back."""
    stacks: dict[str, list[Rating]] = {}
    for row in rows:
        stack = stacks.setdefault(row.rater, [])
        if row.action == UNDO:
            if stack:
                stack.pop()
        else:
            stack.append(row)
    return {(r.scan, r.rater): r for stack in stacks.values() for r in stack}


def undo(out: Path, rater: str) -> Rating | None:
    """Take back the rater's last rating that stands; return it, or None if there is none."""
    stack: list[Rating] = []
    for row in read(out):
        if row.rater == rater:
            if row.action == UNDO:
                stack = stack[:-1]
            else:
                stack.append(row)
    if not stack:
        return None
    append(out, Rating(stack[-1].scan, rater, "", action=UNDO))
    return stack[-1]


def consensus(rows: Sequence[Rating]) -> dict[str, str]:
    """Return one rating for each scan: that of most raters, the worse where they are even."""
    order = [FAIL, UNCERTAIN, PASS]
    votes: dict[str, list[str]] = {}
    for (scan, _), rating in standing(rows).items():
        votes.setdefault(scan, []).append(rating.rating)
    return {s: max(order, key=lambda r: (v.count(r), -order.index(r))) for s, v in votes.items()}


def failed(out: Path) -> set[str]:
    """Return the scans whose consensus is ``fail``, for ``--exclude-failed``."""
    return {scan for scan, rating in consensus(read(out)).items() if rating == FAIL}


@dataclass(frozen=True)
class Kappa:
    """Agreement of two raters over the scans that both rated; None where it is undefined."""

    raters: tuple[str, str]
    kappa: float | None
    scans: int


def agreement(rows: Sequence[Rating]) -> list[Kappa]:
    """Cohen's kappa of each pair of raters (Cohen 1960, doi:10.1177/001316446002000104)."""
    by_rater: dict[str, dict[str, str]] = {}
    for (scan, rater), rating in standing(rows).items():
        by_rater.setdefault(rater, {})[scan] = rating.rating
    out = []
    for a, b in combinations(sorted(by_rater), 2):
        both = sorted(by_rater[a].keys() & by_rater[b].keys())
        if both:
            first, second = [by_rater[a][s] for s in both], [by_rater[b][s] for s in both]
            out.append(Kappa((a, b), cohen_kappa(first, second), len(both)))
    return out


def cohen_kappa(a: Sequence[str], b: Sequence[str]) -> float | None:
    """Agreement beyond chance, (po - pe) / (1 - pe); None where chance alone agrees fully."""
    n = len(a)
    observed = sum(x == y for x, y in zip(a, b, strict=True)) / n
    expected = sum(a.count(c) * b.count(c) for c in set(a) | set(b)) / n**2
    return None if expected >= 1 else (observed - expected) / (1 - expected)


def describe(out: Path) -> None:
    """Write the data dictionary of the table once."""
    path = out / DICTIONARY
    if path.exists():
        return
    words = {
        "time": "When the row was appended (UTC)",
        "scan": "The scan, as its report is named",
        "rater": "Who rated",
        "action": "rate, or undo: takes back the last rating of this rater that stands",
        "rating": "Judgement of scan and segmentation together",
        "tags": "Artefacts seen, comma-separated",
        "flags": "Pictures of the report that show them, comma-separated",
        "notes": "Free text",
        "seconds": "Time from opening the scan to the rating",
    }
    content: dict[str, dict[str, object]] = {c: {"Description": words[c]} for c in COLUMNS}
    content["rating"]["Levels"] = {
        PASS: "usable", UNCERTAIN: "usable with doubts", FAIL: "not to be used",
    }  # fmt: skip
    content["tags"]["Levels"] = dict.fromkeys(TAGS, "")
    content["seconds"]["Units"] = "s"
    atomic.write_text(path, json.dumps(content, indent=2) + "\n")
