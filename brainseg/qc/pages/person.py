"""The page of one person over time: aligned visits that flicker, maps of change, and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from brainseg.core import masking
from brainseg.core.masking import Box
from brainseg.core.volume import Array
from brainseg.longitudinal.change import Change
from brainseg.longitudinal.lesions import STATES, Lesion
from brainseg.longitudinal.person import Person
from brainseg.qc.draw import lesions, pictures
from brainseg.qc.draw.charts import BOTTOM, LEFT, RIGHT, TOP, Frame, svg
from brainseg.qc.draw.mosaic import AXIAL, CORONAL, SAGITTAL, section
from brainseg.qc.measure.levels import SYMBOLS
from brainseg.qc.measure.person import PersonSummary
from brainseg.qc.measure.verdict import Verdict
from brainseg.qc.pages import citation, methods
from brainseg.qc.templating import render, styles
from brainseg.tissues.tables import THREE

HEIGHT = 300
"""Pixels of a slice: three then fit beside each other on a laptop."""
# Share of a voxel that changed its tissue, at full colour.
_FULL_CHANGE = 0.5
# Tissues with curves of their own, and their colours.
_CURVES = (("brain", "#7cc4ff"), ("GM", "#e88a1a"), ("WM", "#e7eaee"), ("CSF", "#4a66d8"))
_MARGIN_MM = 8.0
MOST_LESIONS = 12
"""Lesions that are drawn: those that changed, the largest change first, then the largest."""


@dataclass(frozen=True)
class Visit:
    """One visit in pictures: its label, its slices, and where fluid took the place of tissue."""

    label: str
    slices: str
    change: str


@dataclass(frozen=True)
class LesionStrip:
    """A lesion at every visit: what became of it, and its picture."""

    lesion: Lesion
    picture: str


@dataclass(frozen=True)
class LesionSection:
    """The lesions of a person.

    Attributes
    ----------
    total : int
        Lesions at any visit.
    counts : list of tuple of str and dict
        For each visit after the first the number of lesions by state.
    strips : list of LesionStrip
    """

    total: int
    counts: list[tuple[str, dict[str, int]]]
    strips: list[LesionStrip]


@dataclass(frozen=True)
class Page:
    """All that the page shows.

    Attributes
    ----------
    css : Markup
    name : str
        Of the person.
    visits : list of Visit
    curves : list of Markup
        A chart for each tissue.
    rows : sequence of Change
    names : dict
        Abbreviation of each tissue to its name in words.
    likeness : float
        Of the aligned visits.
    verdict : Verdict
    symbols : dict
        Level of a check to its sign.
    methods, bibtex : str
        What was done, and what to cite.
    lesions : LesionSection or None
        Where there is a FLAIR of each visit.
    """

    css: Markup
    name: str
    visits: list[Visit]
    curves: list[Markup]
    rows: Sequence[Change]
    names: dict[str, str]
    likeness: float
    verdict: Verdict
    symbols: dict[str, str]
    methods: str
    bibtex: str
    lesions: LesionSection | None


def page(
    name: str,
    measured: PersonSummary,
    person: Person,
    found: Sequence[Change],
    record: Mapping[str, Any],
) -> str:
    """Make the page.

    Parameters
    ----------
    name : str
        How files call the person.
    measured : PersonSummary
    person : Person
    found : sequence of Change
    record : Mapping
        What was estimated and how, as it is written.

    Returns
    -------
    str
        HTML that makes no network request and needs no script.
    """
    box = _box(person)
    high = float(np.percentile(person.mean.data[person.mask], 99.5))
    first = person.fit.voxels[0].fractions[:, 0]
    visits = []
    for s, label in enumerate(measured.labels):
        fluid = masking.scatter(person.fit.voxels[s].fractions[:, 0] - first, person.mask)
        visits.append(
            Visit(
                label,
                pictures.webp(_slices(person, box, person.sessions[s], None, high)),
                pictures.webp(_slices(person, box, person.mean.data, fluid, high)),
            )
        )
    curves = [_curve(tissue, colour, found) for tissue, colour in _CURVES]
    names = {t.abbreviation: t.name for t in (*THREE.tissues, *person.table.tissues)}
    names |= {"brain": "Brain (grey and white matter)", "intracranial": "Inside the dura",
              "lesions": "Lesion candidates"}  # fmt: skip
    return render(
        "person.html.j2",
        Page(
            css=styles("page.css", "report.css", "mixture.css"),
            name=name,
            visits=visits,
            curves=curves,
            rows=found,
            names=names,
            likeness=person.likeness,
            verdict=measured.verdict,
            symbols=SYMBOLS,
            methods=methods.paragraph(record),
            bibtex=citation.texts([record])[1],
            lesions=_lesions(person, measured.labels),
        ),
    )


def _lesions(person: Person, labels: Sequence[str]) -> LesionSection | None:
    """Count the lesions, and draw those that changed most."""
    found = person.lesions
    if found is None:
        return None
    flairs = person.contrasts["FLAIR"]
    high = float(np.percentile(np.stack([f[person.mask] for f in flairs]), 99.8))
    shown = sorted(
        found.found, key=lambda one: (not one.changed, -max(map(abs, one.changes_ml)), one.number)
    )[:MOST_LESIONS]
    strips = [
        LesionStrip(
            one,
            pictures.webp(lesions.strip(one, found, flairs, person.mean.zooms, high)),
        )
        for one in shown
    ]
    counts = [
        (label, {state: found.count(s, state) for state in STATES})
        for s, label in enumerate(labels)
        if s
    ]
    return LesionSection(len(found.found), counts, strips)


def _box(person: Person) -> Box:
    margin = max(1, round(_MARGIN_MM / max(person.mean.zooms)))
    return masking.bounding_box(person.mask, margin=margin)


def _slices(
    person: Person, box: Box, data: Array, change: NDArray[np.float32] | None, high: float
) -> NDArray[np.uint8]:
    """Draw three slices through the ventricles' height; a map of change in colour over them."""
    colours = pictures.colour_map(pictures.DIVERGING)
    panels = []
    for axis, share in ((AXIAL, 0.55), (CORONAL, 0.5), (SAGITTAL, 0.45)):
        at = round(box[axis].start + share * (box[axis].stop - box[axis].start))
        picture = pictures.window(section(data, axis, at, box), 0.0, high)[..., None]
        picture = np.repeat(picture, 3, axis=2)
        if change is not None:
            part = section(change, axis, at, box)
            index = pictures.window(part, -_FULL_CHANGE, _FULL_CHANGE)
            weight = np.clip(np.abs(part) / (_FULL_CHANGE / 2), 0, 1)[..., None]
            picture = (0.6 * picture * (1 - weight) + colours[index] * weight).astype(np.uint8)
        across, up = (z for a, z in enumerate(person.mean.zooms) if a != axis)
        width = round(HEIGHT * picture.shape[1] * across / (picture.shape[0] * up))
        panels.append(pictures.resized(picture, (max(width, 1), HEIGHT)))
    return np.concatenate(panels, axis=1)


def _curve(tissue: str, colour: str, found: Sequence[Change]) -> Markup:
    """Draw the change of a tissue in per cent over the visits, with its standard error."""
    rows = [change for change in found if change.tissue == tissue]
    known = all(row.years is not None for row in rows)
    xs = [float(row.years or 0.0) if known else float(i) for i, row in enumerate(rows)]
    values = [row.change_percent for row in rows]
    errors = [row.standard_error_percent or 0.0 for row in rows]
    low = min(v - e for v, e in zip(values, errors, strict=True))
    high = max(v + e for v, e in zip(values, errors, strict=True))
    room = max(0.15 * (high - low), 0.1)
    span = max(max(xs) - min(xs), 1e-3)
    frame = Frame(min(xs) - 0.08 * span, max(xs) + 0.08 * span, high + room, low - room, 440, 240)
    points = frame.points(xs, values)
    marks = [f'<polyline class="curve" stroke="{colour}" points="{points}"/>']
    for x, v, e, row in zip(frame.x(xs), values, errors, rows, strict=True):
        top, bottom = float(frame.y(v + e)), float(frame.y(v - e))
        marks.append(
            f'<line stroke="{colour}" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"/>'
            f'<circle fill="{colour}" cx="{x:.1f}" cy="{frame.y(v):.1f}" r="4"><title>'
            f"ses-{escape(row.session)}: {row.volume_ml:.1f} mL, {v:+.2f} %</title></circle>"
            f'<text class="tick" x="{x:.1f}" y="{240 - BOTTOM + 16}" text-anchor="middle">'
            f"{escape(row.session)}</text>"
        )
    base = float(frame.y(0.0))
    zero = f'<line class="axis" x1="{LEFT}" x2="{440 - RIGHT}" y1="{base:.1f}" y2="{base:.1f}"/>'
    label = f"{tissue}, change in %"
    return svg(frame, zero + "".join(marks) + _levels(frame) + _side(label), label)


def _levels(frame: Frame) -> str:
    """Draw the least and the largest value at the left."""
    return "".join(
        f'<text class="tick" x="{LEFT - 4}" y="{float(frame.y(v)) + 4:.1f}" text-anchor="end">'
        f"{v:+.1f}</text>"
        for v in np.linspace(frame.y0, frame.y1, 5)
    )


def _side(label: str) -> str:
    middle = (TOP + 240 - BOTTOM) / 2
    return (
        f'<text class="tick" transform="translate(11 {middle}) rotate(-90)" text-anchor="middle">'
        f"{escape(label)}</text>"
    )
