"""Charts as SVG: small, sharp on every screen and in print, and readable by screen readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from brainseg.core.volume import FloatArray
from brainseg.qc.measure.subject import Subject
from brainseg.tissues.tables import TissueTable

WIDTH, HEIGHT = 920, 300
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 10, 34
BINS = 240
# Colours for components and models that stand for no tissue. They are bright because the page is
# dark, and colours that follow one another differ in more than red against green.
COLOURS = (
    "#5b8ff0", "#e88a1a", "#3fc49a", "#f3e15a", "#d06bb0", "#86cbf0", "#d9633a", "#ffffff",
    "#9aa6ff", "#a8d86b", "#c09a68", "#8f9aa6",
)  # fmt: skip
Swatches = Sequence[tuple[str, str]]
"""Colour and text of each component."""
Curve = tuple[float, float, float]
"""Weight, mean and standard deviation of a component in one channel."""


@dataclass(frozen=True)
class Frame:
    """The mapping from values to pixels of one chart."""

    x0: float
    x1: float
    y1: float
    y0: float = 0.0
    width: int = WIDTH
    height: int = HEIGHT

    def x(self, value: Any) -> Any:
        """Pixels from the left."""
        room = self.width - LEFT - RIGHT
        return LEFT + (np.asarray(value) - self.x0) / (self.x1 - self.x0) * room

    def y(self, value: Any) -> Any:
        """Pixels from the top."""
        room = self.height - TOP - BOTTOM
        return TOP + room * (1 - (np.asarray(value) - self.y0) / (self.y1 - self.y0))

    def points(self, xs: Any, ys: Any) -> str:
        """Coordinates of a polyline."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(self.x(xs), self.y(ys), strict=True))


@dataclass(frozen=True, eq=False)
class Bins:
    """Histogram of the brain's corrected intensities."""

    edges: NDArray[np.float64]
    counts: NDArray[np.float64]
    total: int

    @property
    def centres(self) -> NDArray[np.float64]:
        """Middle of each bin."""
        middle: NDArray[np.float64] = (self.edges[1:] + self.edges[:-1]) / 2
        return middle

    @property
    def density(self) -> NDArray[np.float64]:
        """Share of the brain per unit of intensity."""
        share: NDArray[np.float64] = self.counts / (self.total * np.diff(self.edges))
        return share


def bins(samples: FloatArray) -> Bins:
    """Count intensities between their extremes, a few outliers left out."""
    some = samples[::5]
    low, high = np.percentile(some, [0.2, 99.8])
    pad = 0.04 * max(high - low, 1e-9)
    low, high, n = low - pad, high + pad, BINS
    step = _step(some)
    if step > (high - low) / BINS / 30:
        # Bins that hold now two steps, now three, would draw a comb: each holds as many.
        width = step * np.ceil((high - low) / BINS / step)
        low = step * np.floor(low / step) - step / 2
        n = int(np.ceil((high - low) / width))
        high = low + n * width
    counts, edges = np.histogram(samples, n, range=(low, high))
    return Bins(edges.astype(np.float64), counts.astype(np.float64), samples.size)


def _step(values: FloatArray) -> float:
    """Return the step between the intensities of a scan of integers, 0 for a continuous one."""
    distinct = np.unique(values)
    # A scan divided by a bias field has as many values as voxels; integers come in thousands.
    if distinct.size < 2 or distinct.size > values.size / 20:
        return 0.0
    return float(np.median(np.diff(distinct)))


def histogram(subject: Subject, binned: Bins) -> Markup:
    """Draw the histogram of the brain with the weighted Gaussians of the mixture and their sum."""
    curves = parameters(subject.record)
    frame, content = densities(swatches(subject.table), binned, curves, WIDTH, HEIGHT)
    tags = "".join(
        f'<text class="tag" x="{frame.x(mean):.1f}" '
        f'y="{max(float(frame.y(gaussian(np.array(mean), w, mean, sd))) - 5, 14):.1f}" '
        f'fill="{tissue.colour}">{tissue.index}</text>'
        for tissue, (w, mean, sd) in zip(subject.table.tissues, curves, strict=True)
        if frame.x0 < mean < frame.x1
    )
    return svg(
        frame,
        content + tags + x_axis(frame, "Intensity after bias correction"),
        "Histogram of the brain with the mixture's components and their sum",
    )


def parameters(record: Mapping[str, Any]) -> list[Curve]:
    """Weight, mean and standard deviation of each component, first channel."""
    return [
        (float(w), float(np.ravel(m)[0]), float(np.sqrt(np.ravel(c)[0])))
        for w, m, c in zip(record["weights"], record["means"], record["covariances"], strict=True)
    ]


def densities(
    keys: Swatches, binned: Bins, components: Sequence[Curve], width: int, height: int
) -> tuple[Frame, str]:
    """Draw a histogram with weighted Gaussians and their sum; return the frame and the marks."""
    x, edges, density = binned.centres, binned.edges, binned.density
    curves = [gaussian(x, *c) for c in components]
    total = np.sum(curves, axis=0)
    # all in one bin, and every component too narrow to be seen between two: then that bin's
    usual = max(float(np.percentile(density, 99.5)), float(total.max()))
    top = 1.08 * (usual or float(density.max()) or 1.0)
    frame = Frame(float(edges[0]), float(edges[-1]), top, width=width, height=height)
    bars = frame.points(edges[:-1], np.minimum(density, top))
    area = f"{bars} {frame.points([edges[-1], edges[0]], [0, 0])}"
    parts = [f'<polygon class="area" points="{area}"/>']
    for (colour, name), curve, (w, mean, sd) in zip(keys, curves, components, strict=True):
        about = f"{name}: weight {w:.3f}, mean {mean:.4g}, sd {sd:.3g}"
        parts.append(
            f'<polyline class="curve" stroke="{colour}" points="{frame.points(x, curve)}">'
            f"<title>{escape(about)}</title></polyline>"
        )
    parts.append(f'<polyline class="sum" points="{frame.points(x, total)}"/>')
    return frame, "".join(parts)


def gaussian(x: FloatArray, weight: float, mean: float, sd: float) -> FloatArray:
    """Weighted normal density."""
    z = (x - mean) / sd
    density: FloatArray = weight * np.exp(-0.5 * z * z) / (sd * np.sqrt(2 * np.pi))
    return density


def likelihood(history: Sequence[float]) -> Markup:
    """Draw the log-likelihood over the iterations of EM."""
    values = np.asarray(history, dtype=float)
    if values.size < 2:
        return Markup("")
    low, high = float(values.min()), float(values.max())
    # Below a millionth of a nat per voxel the curve would draw rounding.
    span = max(high - low, 1e-6)
    frame = Frame(0, values.size - 1, high + 0.08 * span, low - 0.08 * span, 460, 260)
    steps = np.arange(values.size)
    dots = "".join(
        f'<circle class="dot" cx="{frame.x(i):.1f}" cy="{frame.y(v):.1f}" r="2.5">'
        f"<title>iteration {i}: {v:.6g}</title></circle>"
        for i, v in zip(steps, values, strict=True)
        if values.size <= 60
    )
    marks = "".join(
        f'<text class="tick" x="{LEFT - 4}" y="{frame.y(v) + 4:.1f}" text-anchor="end">'
        f"{v:.3g}</text>"
        for v in dict.fromkeys((low, high))
    )
    line = f'<polyline class="line" points="{frame.points(steps, values)}"/>'
    return svg(
        frame, line + dots + marks + x_axis(frame, "Iteration"), "Log-likelihood by iteration"
    )


def swatches(table: TissueTable) -> list[tuple[str, str]]:
    """Colour and text of each tissue for a legend."""
    return [(t.colour, f"{t.index} {t.name}") for t in table.tissues]


def component_swatches(n_components: int) -> list[tuple[str, str]]:
    """Colour and name of components that stand for no tissue."""
    return [(COLOURS[k % len(COLOURS)], f"component {k + 1}") for k in range(n_components)]


def x_axis(frame: Frame, label: str) -> str:
    """Draw the lower axis with its ticks and label."""
    base = frame.height - BOTTOM
    step = nice((frame.x1 - frame.x0) / 8)
    if frame.x1 - frame.x0 < 8 and float(frame.x0).is_integer():
        step = max(1.0, step)
    ticks = (
        np.arange(np.ceil(frame.x0 / step), np.floor(frame.x1 / step) + 1) * step + 0.0
    )  # no "-0"
    marks = "".join(
        f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 4}"/>'
        f'<text class="tick" x="{x:.1f}" y="{base + 16}" text-anchor="middle">{t:g}</text>'
        for t, x in zip(ticks, frame.x(ticks), strict=True)
    )
    middle = (LEFT + frame.width - RIGHT) / 2
    return (
        f'<line class="axis" x1="{LEFT}" x2="{frame.width - RIGHT}" y1="{base}" y2="{base}"/>'
        f"{marks}"
        f'<text class="tick" x="{middle}" y="{frame.height - 3}" text-anchor="middle">'
        f"{escape(label)}</text>"
    )


def y_axis(frame: Frame, label: str) -> str:
    """Draw the left axis with its ticks, and its label along it."""
    step = nice((frame.y1 - frame.y0) / 5)
    ticks = np.arange(np.ceil(frame.y0 / step), np.floor(frame.y1 / step) + 1) * step
    marks = "".join(
        f'<line class="axis" x1="{LEFT - 4}" x2="{LEFT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{t:g}</text>'
        for t, y in zip(ticks, frame.y(ticks), strict=True)
    )
    base, middle = frame.height - BOTTOM, (TOP + frame.height - BOTTOM) / 2
    return (
        f'<line class="axis" x1="{LEFT}" x2="{LEFT}" y1="{TOP}" y2="{base}"/>{marks}'
        f'<text class="tick" transform="translate(11 {middle}) rotate(-90)" text-anchor="middle">'
        f"{escape(label)}</text>"
    )


def nice(rough: float) -> float:
    """Return the step of 1, 2 or 5 times a power of ten next above `rough`."""
    power = 10.0 ** np.floor(np.log10(rough))
    return float(next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999))


def svg(frame: Frame, content: str, title: str) -> Markup:
    """Wrap marks as a chart that screen readers can name."""
    return Markup(
        f'<svg class="chart" viewBox="0 0 {frame.width} {frame.height}" role="img" '
        f'aria-label="{escape(title)}">{content}</svg>'
    )
