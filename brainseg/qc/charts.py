"""Charts as SVG: small, sharp on every screen and in print, and readable by screen readers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from brainseg.mixture import kmeans, log_gaussian, log_joint, maximise, responsibilities
from brainseg.qc.subject import Subject
from brainseg.tissues import TissueTable
from brainseg.volume import FloatArray

WIDTH, HEIGHT = 920, 300
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 10, 34
BINS = 240
CYCLES = (0, 1, 2, 5, 20)


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
    frame, content = _densities(subject.table, binned, parameters(subject.record), WIDTH, HEIGHT)
    tags = "".join(
        f'<text class="tag" x="{frame.x(mean):.1f}" '
        f'y="{max(float(frame.y(gaussian(np.array(mean), w, mean, sd))) - 5, 14):.1f}" '
        f'fill="{tissue.colour}">{tissue.index}</text>'
        for tissue, (w, mean, sd) in zip(
            subject.table.tissues, parameters(subject.record), strict=True
        )
        if frame.x0 < mean < frame.x1
    )
    return _svg(
        frame,
        content + tags + _x_axis(frame, "Intensity after bias correction"),
        "Histogram of the brain with the mixture's components and their sum",
    )


def cycles(subject: Subject, binned: Bins) -> list[tuple[str, Markup]]:
    """Draw plain EM from its K-means start, and beside it the mixture that was kept.

    Returns
    -------
    list of (caption, chart)
        After 0, 1, 2, 5 and 20 cycles, and the mixture of the record.
    """
    kept = parameters(subject.record)
    # Clusters come in order of their centres; tissues of an anatomical table may not.
    rank = np.argsort(np.argsort([mean for _, mean, _ in kept], kind="stable"), kind="stable")
    shown = [(_after(n), [walked[r] for r in rank]) for n, walked in _em(binned, len(kept), CYCLES)]
    shown.append(("as kept: the fit of this scan", kept))
    charts = []
    for caption, components in shown:
        frame, content = _densities(subject.table, binned, components, 360, 190)
        charts.append((caption, _svg(frame, content, f"EM {caption}")))
    return charts


def _after(n: int) -> str:
    return "start: clusters of K-means" if n == 0 else f"after {n} cycle{'s' if n > 1 else ''}"


def _em(
    binned: Bins, k: int, stops: Sequence[int]
) -> Iterator[tuple[int, list[tuple[float, float, float]]]]:
    """Yield the parameters of plain EM on the histogram after so many cycles."""
    filled = binned.counts > 0
    x, counts = binned.centres[filled, None], binned.counts[filled]
    if len(x) < k:
        return
    clusters = kmeans(x, k, sample_weight=counts)
    shares = np.eye(k)[clusters.labels]
    floor = float(np.diff(binned.edges[:2])[0]) ** 2 / 12  # variance within one bin
    for n in range(max(stops) + 1):
        weights, means, covariances = maximise(x, shares, sample_weight=counts, min_variance=floor)
        if n in stops:
            yield (
                n,
                [
                    (float(w), float(m[0]), float(np.sqrt(c[0, 0])))
                    for w, m, c in zip(weights, means, covariances, strict=True)
                ],
            )
        joint = log_joint(log_gaussian(x, means, covariances), np.log(np.maximum(weights, 1e-300)))
        shares, _ = responsibilities(joint)


def parameters(record: Mapping[str, Any]) -> list[tuple[float, float, float]]:
    """Weight, mean and standard deviation of each component, first channel."""
    return [
        (float(w), float(np.ravel(m)[0]), float(np.sqrt(np.ravel(c)[0])))
        for w, m, c in zip(record["weights"], record["means"], record["covariances"], strict=True)
    ]


def _densities(
    table: TissueTable,
    binned: Bins,
    components: Sequence[tuple[float, float, float]],
    width: int,
    height: int,
) -> tuple[Frame, str]:
    """Draw a histogram with weighted Gaussians and their sum."""
    x, edges, density = binned.centres, binned.edges, binned.density
    curves = [gaussian(x, *c) for c in components]
    total = np.sum(curves, axis=0)
    top = 1.08 * max(float(np.percentile(density, 99.5)), float(total.max()))
    frame = Frame(float(edges[0]), float(edges[-1]), top, width=width, height=height)
    bars = frame.points(edges[:-1], np.minimum(density, top))
    area = f"{bars} {frame.points([edges[-1], edges[0]], [0, 0])}"
    parts = [f'<polygon class="area" points="{area}"/>']
    for tissue, curve, (w, mean, sd) in zip(table.tissues, curves, components, strict=True):
        about = f"{tissue.name}: weight {w:.3f}, mean {mean:.4g}, sd {sd:.3g}"
        parts.append(
            f'<polyline class="curve" stroke="{tissue.colour}" points="{frame.points(x, curve)}">'
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
    span = max(high - low, 1e-9)
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
    return _svg(
        frame, line + dots + marks + _x_axis(frame, "Iteration"), "Log-likelihood by iteration"
    )


def swatches(table: TissueTable) -> list[tuple[str, str]]:
    """Colour and text of each tissue for a legend."""
    return [(t.colour, f"{t.index} {t.name}") for t in table.tissues]


def _x_axis(frame: Frame, label: str) -> str:
    base = frame.height - BOTTOM
    step = _nice((frame.x1 - frame.x0) / 8)
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


def _nice(rough: float) -> float:
    """Return the step of 1, 2 or 5 times a power of ten next above `rough`."""
    power = 10.0 ** np.floor(np.log10(rough))
    return float(next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999))


def _svg(frame: Frame, content: str, title: str) -> Markup:
    return Markup(
        f'<svg class="chart" viewBox="0 0 {frame.width} {frame.height}" role="img" '
        f'aria-label="{escape(title)}">{content}</svg>'
    )
