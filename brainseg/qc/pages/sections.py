"""The sections of a scan's report below its pictures, each with all that it shows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from brainseg.io import names
from brainseg.io.bids import split_name
from brainseg.qc.draw import charts, stages
from brainseg.qc.draw.charts import Swatches
from brainseg.qc.draw.panels import MASK_COLOUR, Panel
from brainseg.qc.draw.pictures import rgb
from brainseg.qc.draw.sprites import Sprites
from brainseg.qc.measure.numbers import NUMBERS, STATISTICS, SUMMARISED, Number
from brainseg.qc.measure.quality import Quality
from brainseg.qc.measure.subject import Subject
from brainseg.qc.pages import citation, methods
from brainseg.qc.review.ratings import COLUMNS, RATINGS, TAGS
from brainseg.tissues.tables import TissueTable


@dataclass(frozen=True)
class Picture:
    """A panel, its name in the bar, and where each of its slices lies (JSON, for clicks)."""

    panel: Panel
    short: str
    map: Markup


@dataclass(frozen=True)
class Slices:
    """The slice browser.

    Attributes
    ----------
    sprites : Sprites
    facts : Markup
        What the script knows of the sheets, as JSON.
    niivue : Markup
        The packed viewer; empty where it is not part of this installation.
    """

    sprites: Sprites
    facts: Markup
    niivue: Markup


@dataclass(frozen=True)
class Component:
    """One row of the mixture's table."""

    name: str
    weight: float
    mean: float
    sd: float
    ml: float


@dataclass(frozen=True)
class Mixture:
    """The fit in charts and numbers.

    Attributes
    ----------
    histogram, likelihood : Markup
        Charts.
    note : str
        What the curve of the likelihood shows.
    swatches : sequence of (colour, text)
    components : tuple of Component
    cycles : list of (caption, chart)
        EM on the histogram, step by step.
    planes : list of list of (caption, chart)
        EM on all contrasts, one row for each further contrast.
    """

    histogram: Markup
    likelihood: Markup
    note: str
    swatches: Swatches
    components: tuple[Component, ...]
    cycles: list[tuple[str, Markup]]
    planes: list[list[tuple[str, Markup]]]


@dataclass(frozen=True)
class Measured:
    """A quality number of this scan: what it is, its value in words, why it is missing."""

    number: Number
    text: str
    missing: str


@dataclass(frozen=True)
class Group:
    """Quality numbers under one heading."""

    title: str
    rows: tuple[Measured, ...]


@dataclass(frozen=True)
class Numbers:
    """All quality numbers.

    Attributes
    ----------
    groups : tuple of Group
    statistics : tuple of str
        Headings of the table of intensities.
    summary : tuple of (tissue, cells)
    """

    groups: tuple[Group, ...]
    statistics: tuple[str, ...]
    summary: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Methods:
    """What was done, ready to paste, and what identifies input, options and software."""

    paragraph: str
    bibtex: str
    provenance: list[tuple[str, str]]


@dataclass(frozen=True)
class RatingForm:
    """The form that fills in one line of ``qc_ratings.tsv``."""

    scan: str
    ratings: tuple[tuple[str, str], ...] = RATINGS
    tags: tuple[str, ...] = TAGS
    columns: tuple[str, ...] = COLUMNS


def picture(panel: Panel, short: str) -> Picture:
    """Add to a panel where each of its slices lies."""
    m = panel.mosaic
    where = {
        "width": m.width,
        "height": m.height,
        "box": [[s.start, s.stop] for s in m.box],
        "cells": [[c.axis, c.index, c.x, c.y, c.width, c.height] for c in m.cells],
    }
    return Picture(panel, short, Markup(json.dumps(where, separators=(",", ":"))))


def slices(subject: Subject, sheets: Sprites, niivue: str) -> Slices:
    """Prepare the slice browser."""
    table = subject.table
    facts = sheets.facts | {
        "mask": MASK_COLOUR,
        "colours": [[0, 0, 0], *(rgb(t.colour) for t in table.by_value)],
        "names": ["outside the mask", *(t.name for t in table.by_value)],
        "files": _files(subject.name, table),
    }
    text = json.dumps(facts).replace("<", "\u003c")
    return Slices(sheets, Markup(text), Markup(niivue))


ALONE = "Log-likelihood per voxel over the iterations. It rises, and should end level."
WITH_PRIOR = (
    "Log-likelihood per voxel over the iterations, without the prior. The fit maximises likelihood "
    "and prior together, so this part may fall; it should end level."
)


def mixture(subject: Subject) -> Mixture:
    """Draw the fit."""
    binned = charts.bins(subject.samples)
    sums = subject.responsibilities.sum(axis=0, dtype=float) * subject.volume.voxel_volume
    parameters = charts.parameters(subject.record)
    return Mixture(
        histogram=charts.histogram(subject, binned),
        likelihood=charts.likelihood(subject.record["log_likelihood"]),
        note=WITH_PRIOR if methods.has_prior(subject.record) else ALONE,
        swatches=charts.swatches(subject.table),
        components=tuple(
            Component(f"{t.index} {t.name}", w, m, s, float(ml))
            for t, (w, m, s), ml in zip(subject.table.tissues, parameters, sums, strict=True)
        ),
        cycles=stages.at_work(subject, binned),
        planes=stages.at_work_in_planes(subject),
    )


def numbers(quality: Quality) -> Numbers:
    """Arrange the quality numbers under their headings, each with its text."""
    groups: dict[str, list[Measured]] = {}
    for number in NUMBERS:
        if number.key in quality.values and not number.key.startswith("summary_"):
            row = Measured(
                number, shown(quality.get(number.key)), quality.reasons.get(number.key, "")
            )
            groups.setdefault(number.group, []).append(row)
    summary = tuple(
        (name, tuple(shown(quality.get(f"summary_{key}_{s}")) for s in STATISTICS))
        for key, name in SUMMARISED.items()
    )
    return Numbers(
        tuple(Group(title, tuple(rows)) for title, rows in groups.items()),
        tuple(STATISTICS.values()),
        summary,
    )


def describe(subject: Subject) -> Methods:
    """Say what was done to the scan."""
    return Methods(
        methods.paragraph(subject.record),
        citation.texts([subject.record])[1],
        methods.provenance(subject.record),
    )


def shown(value: float | None) -> str:
    """Write a number with four digits, whole where it is large, a dash where it is missing."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def _files(name: str, table: TissueTable) -> dict[str, str]:
    """Names, without extension, of the files beside the report that the server can give NiiVue."""
    prefix, suffix = split_name(Path(name))
    return {
        "scan": f"{prefix}_desc-preproc_{suffix}",
        "labels": f"{prefix}_{names.table_labels(table)}",
    }
