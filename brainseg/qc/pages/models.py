"""The page of `brainseg select-model`: how many components, of which kind, by likelihood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from brainseg.mixture import CRITERIA, Candidate, best
from brainseg.qc.draw.charts import (
    BOTTOM,
    COLOURS,
    LEFT,
    RIGHT,
    TOP,
    Frame,
    Swatches,
    svg,
    x_axis,
)
from brainseg.qc.templating import MIXTURE_STYLES, render, styles

TITLES = {
    "held_out": "Log-likelihood of held-out voxels",
    "aic": "AIC",
    "bic": "BIC",
    "icl": "ICL",
}
# Nats per voxel. Models closer to the best one than this are equally good for any purpose.
LEAST = 1e-5
SIZE = (460, 250)


@dataclass(frozen=True)
class Chart:
    """One criterion: its name, the model that it prefers, and how far the others are."""

    title: str
    winner: Candidate
    drawing: Markup


@dataclass(frozen=True)
class Page:
    """Everything that the page shows.

    Attributes
    ----------
    name : str
    css : Markup
    channels : tuple of str
    n : int
        Voxels that the models were fitted to.
    corrected : bool
    warnings : tuple of str
    seed : int
    keys : sequence of (colour, text)
        One for each kind of model.
    charts : tuple of Chart
    table : sequence of Candidate
    winners : mapping of criterion to Candidate
    """

    name: str
    css: Markup
    channels: tuple[str, ...]
    n: int
    corrected: bool
    warnings: tuple[str, ...]
    seed: int
    keys: Swatches
    charts: tuple[Chart, ...]
    table: Sequence[Candidate]
    winners: Mapping[str, Candidate]


def nats_per_voxel(table: Sequence[Candidate], criterion: str, n: int) -> list[float]:
    """How far each model is from the best one, in nats per voxel, by one criterion.

    AIC, BIC and ICL are minus twice a log-likelihood of all voxels (with a penalty), so that
    halved and shared out they have the same unit as the held-out log-likelihood.
    """
    values = np.array([getattr(row, criterion) for row in table])
    loss = -values if criterion == "held_out" else values / (2 * n)
    return [float(g) for g in loss - loss.min()]


def page(
    name: str,
    channels: tuple[str, ...],
    table: list[Candidate],
    *,
    n: int,
    seed: int = 0,
    corrected: bool = False,
    warnings: tuple[str, ...] = (),
) -> str:
    """Make the page.

    Parameters
    ----------
    name : str
        The scan's file name.
    channels : tuple of str
    table : list of Candidate
    n : int
        Voxels that the models were fitted to.
    seed : int
    corrected : bool
        Whether a bias field was removed.
    warnings : tuple of str

    Returns
    -------
    str
        HTML that makes no network request.
    """
    names = list(dict.fromkeys(row.name for row in table))
    keys = [(COLOURS[i % len(COLOURS)], text) for i, text in enumerate(names)]
    winners = {c: best(table, c) for c in CRITERIA}
    shown = Page(
        name=name,
        css=styles(*MIXTURE_STYLES),
        channels=channels,
        n=n,
        corrected=corrected,
        warnings=warnings,
        seed=seed,
        keys=keys,
        charts=tuple(Chart(TITLES[c], winners[c], chart(table, c, keys, n)) for c in CRITERIA),
        table=table,
        winners=winners,
    )
    return render("models.html.j2", shown)


def chart(
    table: Sequence[Candidate], criterion: str, keys: Sequence[tuple[str, str]], n: int
) -> Markup:
    """Draw the distance from the best model over the number of components, by logarithm."""
    gaps = nats_per_voxel(table, criterion, n)
    ks = [row.n_components for row in table]
    height = np.log10(np.maximum(gaps, LEAST))
    top = max(float(height.max()), np.log10(LEAST) + 1)
    frame = Frame(min(ks) - 0.4, max(ks) + 0.4, top + 0.15, float(np.log10(LEAST)) - 0.15, *SIZE)
    parts = [_decades(frame)]
    for colour, name in keys:
        rows = [i for i, row in enumerate(table) if row.name == name]
        line = frame.points([ks[i] for i in rows], [height[i] for i in rows])
        parts.append(f'<polyline class="path" stroke="{colour}" points="{line}"/>')
        for i in rows:
            x, y = float(frame.x(ks[i])), float(frame.y(height[i]))
            value = getattr(table[i], criterion)
            about = f"{name}, K = {ks[i]}: {value:.7g}, {gaps[i]:.2g} nats per voxel from the best"
            ring = f'<circle class="ring" stroke="#fff" cx="{x:.1f}" cy="{y:.1f}" r="7"/>'
            parts.append(
                f'<circle fill="{colour}" cx="{x:.1f}" cy="{y:.1f}" r="3.5">'
                f"<title>{escape(about)}</title></circle>{ring if gaps[i] == 0 else ''}"
            )
    return svg(frame, "".join(parts) + x_axis(frame, "Components K"), TITLES[criterion])


def _decades(frame: Frame) -> str:
    """Lines at powers of ten with their labels; the lowest stands for the best model."""
    first = round(float(np.log10(LEAST)))
    marks = []
    for power in range(first, int(np.floor(frame.y1)) + 1):
        y = float(frame.y(power))
        label = "best" if power == first else f"1e{power}" if power else "1"
        marks.append(
            f'<line class="grid" x1="{LEFT}" x2="{frame.width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
        )
    base = frame.height - BOTTOM
    marks.append(f'<line class="axis" x1="{LEFT}" x2="{LEFT}" y1="{TOP}" y2="{base}"/>')
    return "".join(marks)
