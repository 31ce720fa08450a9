"""Tables, pictures and sentences made from the figures that `evaluate_all.py` gathered."""

from __future__ import annotations

import csv
import html
import json
import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NOT_MEASURED = "not measured"
COLOURS = ("#2563c9", "#d9700a", "#0f8a72", "#a8246a")
MARK = re.compile(r"(<!-- evidence -->\n).*?(<!-- end of evidence -->)", re.DOTALL)
# Names stand above their dots, so that a picture fits a phone with its words readable.
SIDE, WIDTH, ROW, TOP = 16, 420, 42, 6


@dataclass(frozen=True)
class Figure:
    """One figure; `value` is None where it was not measured, `date` says when it was."""

    area: str
    data: str
    subject: str
    tool: str
    measure: str
    value: float | None
    date: str = ""

    @property
    def place(self) -> tuple[str, ...]:
        """What tells it from other figures."""
        return (self.area, self.data, self.subject, self.tool, self.measure)


def read(folder: Path) -> list[Figure]:
    """Read every figure."""
    with (folder / "figures.csv").open(newline="") as stream:
        return [
            Figure(*(row[c] for c in ("area", "data", "subject", "tool", "measure")),
                   None if row["value"] == NOT_MEASURED else float(row["value"]),
                   row["date"])
            for row in csv.DictReader(stream)
        ]  # fmt: skip


def about(folder: Path) -> dict[str, Any]:
    """Read on what, when and with which versions they were measured."""
    told: dict[str, Any] = json.loads((folder / "about.json").read_text())
    return told


def area(figures: Sequence[Figure], name: str, data: str | None = None) -> list[Figure]:
    """Return the figures of an area, of one data set where that is named."""
    return [f for f in figures if f.area == name and data in (None, f.data)]


def better_high(measure: str) -> bool:
    """Say whether more of it is better."""
    return measure.startswith("Dice")


def values(figures: Sequence[Figure], tool: str, measure: str) -> list[float]:
    """Return what was measured of a tool, by subject."""
    chosen = [f for f in figures if f.tool == tool and f.measure == measure]
    return [f.value for f in chosen if f.value is not None]


def unique(figures: Sequence[Figure], column: str) -> list[str]:
    """Return the values of a column, in order of appearance."""
    return list(dict.fromkeys(getattr(f, column) for f in figures))


def worst(found: Sequence[float], measure: str) -> float:
    """Return the least favourable of some values."""
    return min(found) if better_high(measure) else max(found)


def table(figures: Sequence[Figure]) -> str:
    """Median and worst by tool and measure, as a Markdown table."""
    measures = unique(figures, "measure")
    lines = ["| | " + " | ".join(measures) + " |", "|---" * (len(measures) + 1) + "|"]
    for tool in unique(figures, "tool"):
        cells = []
        for measure in measures:
            found = values(figures, tool, measure)
            asked = sum(f.tool == tool and f.measure == measure for f in figures)
            # A narrow column breaks after the stroke, not on both sides of it.
            cells.append(cell(found, asked, measure).replace(" /", "\N{NO-BREAK SPACE}/"))
        lines.append(f"| {tool} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n\n"


def cell(found: Sequence[float], asked: int, measure: str) -> str:
    """Median / worst, with the number of scans where some are missing."""
    if not found:
        return NOT_MEASURED if asked else ""
    said = shown(statistics.median(found), measure)
    if len(found) > 1:
        said += f" / {shown(worst(found, measure), measure)}"
    return said if len(found) == asked else f"{said} ({len(found)} of {asked} scans)"


def shown(value: float, measure: str) -> str:
    """Write a figure with the digits that mean something."""
    if "seconds" in measure:
        return f"{value:.0f} s"
    if "GB" in measure:
        return f"{value:.2f} GB"
    return f"{value:.1f} %" if "%" in measure else f"{value:.3f}"


def dots(figures: Sequence[Figure], measure: str) -> str:
    """Draw a row a tool and a dot a scan, coloured by data set, the median as a stroke."""
    chosen = [f for f in figures if f.measure == measure]
    tools = [t for t in unique(chosen, "tool") if values(chosen, t, measure)]
    measured = [f.value for f in chosen if f.value is not None]
    if not measured:
        return ""
    low, high, step = axis(min(measured), max(measured), capped=better_high(measure))
    sets = unique([f for f in chosen if f.value is not None], "data")
    height = TOP + ROW * len(tools) + 34

    def x(value: float) -> float:
        return SIDE + (value - low) / (high - low) * (WIDTH - 2 * SIDE)

    parts = []
    for n in range(round((high - low) / step) + 1):
        at = x(low + n * step)
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{height - 30}" '
                     'stroke="currentColor" stroke-opacity=".15"/>')  # fmt: skip
        parts.append(text(at, height - 14, f"{low + n * step:.6g}", "middle"))
    for row, tool in enumerate(tools):
        y = TOP + ROW * row + 28
        parts.append(text(0, y - 15, tool, "start"))
        middle = x(statistics.median(values(chosen, tool, measure)))
        parts.append(f'<line x1="{middle:.1f}" x2="{middle:.1f}" y1="{y - 9:.1f}" y2="{y + 9:.1f}" '
                     'stroke="currentColor" stroke-width="2"/>')  # fmt: skip
        for f in chosen:
            if f.tool == tool and f.value is not None:
                colour = COLOURS[sets.index(f.data) % len(COLOURS)]
                label = html.escape(f"{f.data}, {f.subject}: {shown(f.value, measure)}")
                parts.append(f'<circle cx="{x(f.value):.1f}" cy="{y:.1f}" r="4.5" fill="{colour}" '
                             f'fill-opacity=".75"><title>{label}</title></circle>')  # fmt: skip
    keys = "".join(
        f'<span style="color:{COLOURS[i % len(COLOURS)]}">●</span> {html.escape(name)}&ensp;'
        for i, name in enumerate(sets)
    )
    what = html.escape(f"{measure}, a dot a scan; the stroke is the median. ")
    return (
        f'<figure class="dots"><svg viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{what}">{"".join(parts)}</svg><figcaption>{what}{keys}</figcaption></figure>'
    )


def text(x: float, y: float, words: str, anchor: str) -> str:
    """Write words in a picture."""
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="13" '
            f'fill="currentColor">{html.escape(words)}</text>')  # fmt: skip


def axis(least: float, most: float, *, capped: bool) -> tuple[float, float, float]:
    """Choose round ends and a step of some five parts; Dice ends at 1."""
    top = 1.0 if capped else most
    rough = max((top - least) / 5, 1e-3 if capped else most / 50 + 1e-9)
    power = 10 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    low = math.floor(least / step + 1e-9) * step
    high = top if capped else math.ceil(top / step - 1e-9) * step
    if capped:
        low = top - math.ceil((top - least) / step - 1e-9) * step
    return low, max(high, low + step), step


def section(figures: Sequence[Figure], *measures: str) -> str:
    """Return the table of some figures, and pictures of the measures that are named."""
    drawn = "".join(f"```{{raw}} html\n{d}\n```\n\n" for m in measures if (d := dots(figures, m)))
    return table(figures) + drawn


def readme(figures: Sequence[Figure]) -> str:
    """Return the README's sentences."""
    oasis = area(figures, "tissues", "OASIS")
    lines = ["| masks given, four adults with manual labels | grey matter | white matter |",
             "|---|---|---|"]  # fmt: skip
    for tool in unique(oasis, "tool"):
        cells = [
            cell(
                values(oasis, tool, measure),
                sum(f.tool == tool and f.measure == measure for f in oasis),
                measure,
            )
            for measure in ("Dice GM+sulci", "Dice WM")
        ]
        lines.append(f"| {tool} | {' | '.join(cells)} |")
    cost = area(figures, "cost", "OpenfMRI ds011")
    spent = [values(cost, t, m) for t in unique(cost, "tool") for m in unique(cost, "measure")]
    said = "\n".join(lines) + "\n\nMedian / worst Dice."
    if all(spent):
        seconds, memory = (found[0] for found in spent)
        said += (f" A whole head, from the file to the report, took {seconds:.0f} s of one "
                 f"processor and {memory:.1f} GB.")  # fmt: skip
    return said + "\n"


def renew_readme(path: Path, figures: Sequence[Figure]) -> None:
    """Write the README's sentences anew, between their marks."""
    old = path.read_text("utf-8")
    path.write_text(MARK.sub(lambda m: m[1] + readme(figures) + m[2], old), "utf-8")
