"""The page of a study: every number of every scan, the odd ones, and a picture of each."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from brainseg.io import atomic
from brainseg.qc import templating
from brainseg.qc.measure.levels import ORDER, SYMBOLS, WORDS
from brainseg.qc.measure.numbers import BY_KEY, LOOKED_AT
from brainseg.qc.review import ratings, study
from brainseg.qc.review.study import Outlier
from brainseg.qc.templating import GROUP_SCRIPTS, script, styles

PAGE = "group_T1w.html"
CHUNK = 50
MOST_OUTLIERS = 100
UNUSUAL = 3.5
"""Robust z within the study beyond which a volume is listed (Iglewicz & Hoaglin 1993)."""
VOLUMES = {
    "volume_tiv": "Intracranial, estimate (mL)",
    "volume_brain": "Brain (mL)",
    "fraction_brain": "Brain / intracranial",
    "volume_GM": "Grey matter (mL)",
    "volume_WM": "White matter (mL)",
    "volume_CSF": "CSF (mL)",
    "volume_lesions": "Lesion candidates (mL)",
    "asymmetry_GM": "Asymmetry of grey matter",
    "asymmetry_WM": "Asymmetry of white matter",
}
# Columns of the table; the strips above it show every number.
COLUMNS = (
    "volume_tiv", "fraction_brain", "volume_GM", "volume_WM", "volume_CSF", "volume_lesions",
    "cjv", "cnr", "snr_wm", "efc", "fber", "inu_range", "map_distance_mm", "map_missing",
    "map_foreign", "uncertain_share", "overlap_max",
)  # fmt: skip


PERSON_TISSUES = ("brain", "GM", "WM")
"""Tissues whose change over a person's visits the page shows."""


@dataclass(frozen=True)
class PersonRow:
    """One person over time, from the first visit to the last.

    Attributes
    ----------
    name, report, verdict : str
        As of `Scan`.
    visits : int
    years : float or None
        Between the first visit and the last.
    percent : mapping of tissue to float or None
        Change of each of `PERSON_TISSUES`.
    lesions_ml : float or None
        Change of the lesion candidates; None without a FLAIR of each visit.
    """

    name: str
    report: str
    verdict: str
    visits: int
    years: float | None
    percent: Mapping[str, float | None]
    lesions_ml: float | None


@dataclass(frozen=True)
class Scan:
    """One scan of the study: its links, what was said of it, and its odd numbers."""

    scan: str
    report: str
    contact: str
    verdict: str
    rating: str
    outliers: int
    status: str
    reason: str


@dataclass(frozen=True)
class Strip:
    """One number of every scan, in the order of the scans; `odd` are positions of outliers."""

    key: str
    name: str
    better: str
    what: str
    values: tuple[float | None, ...]
    odd: tuple[int, ...]


@dataclass(frozen=True)
class Study:
    """Everything that the page shows.

    Attributes
    ----------
    name : str
        Of the output folder.
    scans : tuple of Scan
        Those with a result; the worst first.
    without : tuple of Scan
        Those without one, with the reason.
    outliers : tuple of Outlier
        The farthest first.
    strips : tuple of Strip
    numbers : mapping
        Scan to key to number.
    adjusted : str
        What volumes are compared within the study after: "TIV, age", or empty.
    agreement : sequence
        Cohen's kappa of each pair of raters.
    people : tuple of PersonRow
        Participants whose visits were segmented together; the worst first.
    """

    name: str
    scans: tuple[Scan, ...]
    without: tuple[Scan, ...]
    outliers: tuple[Outlier, ...]
    strips: tuple[Strip, ...]
    numbers: Mapping[str, Mapping[str, float | None]]
    adjusted: str
    agreement: Sequence[Any]
    people: tuple[PersonRow, ...] = ()


@dataclass(frozen=True)
class Level:
    """A verdict of the checks: its name, words and sign, and how many scans have it."""

    level: str
    word: str
    sign: str
    scans: int


@dataclass(frozen=True)
class Page:
    """A study as the page shows it.

    Attributes
    ----------
    study : Study
    css, script : Markup
    data : Markup
        What the script draws from, as JSON.
    verdicts : tuple of Level
    rated : tuple of (rating, scans)
    most : int
        Outliers that are listed.
    links : mapping of scan to report
    names : mapping of key to name
    columns : tuple of str
        Keys of the table.
    symbols : mapping of level to sign
    """

    study: Study
    css: Markup
    script: Markup
    data: Markup
    verdicts: tuple[Level, ...]
    rated: tuple[tuple[str, int], ...]
    most: int
    links: Mapping[str, str]
    names: Mapping[str, str]
    columns: tuple[str, ...]
    symbols: Mapping[str, str]


def gather(
    out: Path,
    rows: Sequence[Mapping[str, Any]],
    *,
    adjusted: Sequence[str] = (),
    people: Sequence[PersonRow] = (),
) -> Study:
    """Arrange the rows of a study for its page.

    Parameters
    ----------
    out : Path
        Output folder; reports and contact pictures are linked relative to it.
    rows : sequence of mapping
        One row a scan: ``scan``, ``status``, ``verdict``, ``volume_*``, the quality numbers and
        ``z_*`` where the study was compared with itself; the rows of ``group_T1w.tsv``.
    adjusted : sequence of str
        What volumes were adjusted for in their ``z_*``.
    people : sequence of PersonRow
    """
    entries = study.entries(out)
    found = {e.scan: e for e in entries} | {_folded(e): e for e in entries}
    rated = ratings.read(out)
    keys = [k for k in (*VOLUMES, *LOOKED_AT) if any(_number(r.get(k)) is not None for r in rows)]
    numbers = {str(r["scan"]): {k: _number(r.get(k)) for k in keys} for r in rows}
    odd = sorted(_odd(rows, numbers, keys), key=lambda o: -abs(o.z))
    counted = Counter(o.scan for o in odd)
    agreed = ratings.consensus(rated)
    scans = [_scan(r, found, agreed, counted) for r in rows]
    scans.sort(key=lambda s: (-ORDER.get(s.verdict, -1), -s.outliers, s.scan))
    done = [s for s in scans if s.status == "done"]
    order = {s.scan: n for n, s in enumerate(done)}
    strips = tuple(
        Strip(
            key=k,
            name=_name(k),
            better=BY_KEY[k].better if k in BY_KEY else "–",
            what=BY_KEY[k].what if k in BY_KEY else "from the table of volumes",
            values=tuple(_short(numbers[s.scan][k]) for s in done),
            odd=tuple(sorted(order[o.scan] for o in odd if o.key == k and o.scan in order)),
        )
        for k in keys
    )
    return Study(
        name=out.resolve().name,
        scans=tuple(done),
        without=tuple(s for s in scans if s.status != "done"),
        outliers=tuple(odd),
        strips=strips,
        numbers=numbers,
        adjusted=", ".join(adjusted),
        agreement=ratings.agreement(rated),
        people=tuple(
            replace(p, report=quote(p.report))
            for p in sorted(people, key=lambda p: (-ORDER.get(p.verdict, -1), p.name))
        ),
    )


def render(found: Study) -> str:
    """Return the page as HTML that loads nothing but the pictures beside it."""
    keys = [s.key for s in found.strips]
    data = {
        "scans": [
            {k: getattr(s, k) for k in ("scan", "report", "contact", "verdict", "rating")}
            for s in found.scans
        ],
        "strips": [{"key": s.key, "values": s.values, "odd": s.odd} for s in found.strips],
        "chunk": CHUNK,
        "signs": SYMBOLS,
    }
    page = Page(
        study=found,
        css=styles("page.css", "group.css"),
        script=script(*GROUP_SCRIPTS),
        data=Markup(json.dumps(data, separators=(",", ":")).replace("<", "\u003c")),
        verdicts=tuple(Level(v, WORDS[v], SYMBOLS[v], _count(found, "verdict", v)) for v in WORDS),
        rated=tuple((r, _count(found, "rating", r)) for r, _ in ratings.RATINGS),
        most=MOST_OUTLIERS,
        links={s.scan: s.report for s in found.scans},
        names={k: _name(k) for k in {*keys, *COLUMNS}},
        columns=tuple(k for k in COLUMNS if k in keys),
        symbols=SYMBOLS,
    )
    return templating.render("group.html.j2", page)


def write(
    out: Path,
    rows: Sequence[Mapping[str, Any]],
    *,
    adjusted: Sequence[str] = (),
    people: Sequence[PersonRow] = (),
) -> Path:
    """Write the page of a study into its output folder.

    Raises
    ------
    CannotCreateError, OutputError
    """
    page = out / PAGE
    atomic.write_text(page, render(gather(out, rows, adjusted=adjusted, people=people)))
    return page


def _odd(
    rows: Sequence[Mapping[str, Any]],
    numbers: Mapping[str, Mapping[str, float | None]],
    keys: Sequence[str],
) -> list[Outlier]:
    """Find odd volumes by their z within the study, other numbers by the quartiles."""
    compared = [k for k in keys if any(_number(r.get(f"z_{k}")) is not None for r in rows)]
    odd = study.outliers(numbers, [k for k in keys if k not in compared])
    for row in rows:
        for key in compared:
            z, value = _number(row.get(f"z_{key}")), _number(row.get(key))
            if z is not None and value is not None and abs(z) > UNUSUAL:
                odd.append(Outlier(str(row["scan"]), key, value, z))
    return odd


def _folded(entry: study.Entry) -> str:
    """Name of a plain run's scan in the table: with its folder."""
    folder, slash, _ = entry.report.rpartition("/")
    return f"{folder}{slash}{entry.scan}"


def _scan(
    row: Mapping[str, Any],
    found: Mapping[str, study.Entry],
    agreed: Mapping[str, str],
    counted: Mapping[str, int],
) -> Scan:
    name = str(row["scan"])
    entry = found.get(name)
    return Scan(
        scan=name,
        report=quote(entry.report) if entry else "",
        contact=quote(entry.contact) if entry else "",
        verdict=str(row.get("verdict") or ""),
        rating=agreed.get(name, ""),
        outliers=counted.get(name, 0),
        status=str(row.get("status") or "done"),
        reason=str(row.get("reason") or ""),
    )


def _name(key: str) -> str:
    return BY_KEY[key].name if key in BY_KEY else VOLUMES[key]


def _count(found: Study, field: str, value: str) -> int:
    return sum(getattr(s, field) == value for s in found.scans)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")
