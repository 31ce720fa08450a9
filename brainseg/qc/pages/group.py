"""The page of a study: every number of every scan, the odd ones, and a picture of each."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

import brainseg
from brainseg.io import atomic
from brainseg.qc.measure.levels import ORDER, SYMBOLS, WORDS
from brainseg.qc.measure.numbers import BY_KEY, LOOKED_AT
from brainseg.qc.review import ratings, study
from brainseg.qc.templating import environment, styles, text

PAGE = "group_T1w.html"
CHUNK = 50
MOST_OUTLIERS = 100
VOLUMES = {
    "volume_CSF": "CSF (mL)",
    "volume_GM": "Grey matter (mL)",
    "volume_WM": "White matter (mL)",
    "volume_total": "Intracranial (mL)",
}
# Columns of the table; the strips above it show every number.
COLUMNS = (
    "volume_total", "volume_GM", "volume_WM", "volume_CSF", "cjv", "cnr", "snr_wm", "efc", "fber",
    "inu_range", "mask_edge", "mask_cut", "mask_bone", "mask_leak", "uncertain_share",
    "overlap_max",
)  # fmt: skip


def render(out: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    """Make the page of a study.

    Parameters
    ----------
    out : Path
        Output folder; reports and contact pictures are linked relative to it.
    rows : sequence of mapping
        One row a scan: ``scan``, ``verdict``, ``volume_*`` and the quality numbers; the rows of
        ``group_T1w.tsv``.

    Returns
    -------
    str
        HTML that loads nothing but the pictures beside it.
    """
    found = {e.scan: e for e in study.entries(out)}
    rated = ratings.read(out)
    agreed = ratings.consensus(rated)
    keys = [k for k in (*VOLUMES, *LOOKED_AT) if any(_number(r.get(k)) is not None for r in rows)]
    numbers = {str(r["scan"]): {k: _number(r.get(k)) for k in keys} for r in rows}
    odd = sorted(study.outliers(numbers, keys), key=lambda o: -abs(o.z))
    counted = Counter(o.scan for o in odd)
    scans = [_scan(str(r["scan"]), r, found, agreed, counted) for r in rows]
    scans.sort(key=lambda s: (-ORDER.get(s["verdict"], -1), -s["outliers"], s["scan"]))
    order = {s["scan"]: n for n, s in enumerate(scans)}
    data = {
        "scans": [
            {k: s[k] for k in ("scan", "report", "contact", "verdict", "rating")} for s in scans
        ],
        "strips": [
            {
                "key": k,
                "values": [_short(numbers[s["scan"]][k]) for s in scans],
                "odd": sorted(order[o.scan] for o in odd if o.key == k),
            }
            for k in keys
        ],
        "chunk": CHUNK,
        "signs": SYMBOLS,
    }
    return (
        environment()
        .get_template("group.html.j2")
        .render(
            css=styles("page.css", "group.css"),
            script=Markup(text("group.js")),
            version=brainseg.__version__,
            study=out.resolve().name,
            scans=scans,
            verdicts=[(v, WORDS[v], SYMBOLS[v], _count(scans, "verdict", v)) for v in WORDS],
            rated=[(r, _count(scans, "rating", r)) for r, _ in ratings.RATINGS],
            agreement=ratings.agreement(rated),
            outliers=odd[:MOST_OUTLIERS],
            n_outliers=len(odd),
            links={s["scan"]: s["report"] for s in scans},
            names={k: _name(k) for k in {*keys, *COLUMNS}},
            strips=[
                {
                    "key": k,
                    "name": _name(k),
                    "better": BY_KEY[k].better if k in BY_KEY else "–",
                    "what": BY_KEY[k].what if k in BY_KEY else "from the tissue fractions",
                }
                for k in keys
            ],
            columns=[k for k in COLUMNS if k in keys],
            numbers=numbers,
            symbols=SYMBOLS,
            words=WORDS,
            data=Markup(json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")),
        )
    )


def _scan(
    name: str,
    row: Mapping[str, Any],
    found: Mapping[str, study.Entry],
    agreed: Mapping[str, str],
    counted: Mapping[str, int],
) -> dict[str, Any]:
    entry = found.get(name)
    return {
        "scan": name,
        "report": quote(entry.report) if entry else "",
        "contact": quote(entry.contact) if entry else "",
        "verdict": str(row.get("verdict") or ""),
        "rating": agreed.get(name, ""),
        "outliers": counted.get(name, 0),
    }


def _name(key: str) -> str:
    return BY_KEY[key].name if key in BY_KEY else VOLUMES[key]


def _count(scans: Sequence[Mapping[str, Any]], field: str, value: str) -> int:
    return sum(s[field] == value for s in scans)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


def write(out: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write the page of a study into its output folder.

    Raises
    ------
    CannotCreateError, OutputError
    """
    page = out / PAGE
    atomic.write_text(page, render(out, rows))
    return page
