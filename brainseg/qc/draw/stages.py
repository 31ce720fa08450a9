"""EM at work, drawn: what it knows at the start, after its first two half-steps, and later.

In one channel over the histogram, in two as a plane of intensities with covariance ellipses.
Bishop, Pattern Recognition and Machine Learning (2006), figure 9.8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from brainseg.core.volume import Array
from brainseg.mixture import GaussianMixture, Histogram, Snapshot, expand_covariances, snapshots
from brainseg.qc.draw import pictures
from brainseg.qc.draw.charts import (
    Bins,
    Curve,
    Frame,
    Swatches,
    densities,
    parameters,
    svg,
    swatches,
    x_axis,
    y_axis,
)
from brainseg.qc.draw.pictures import Bytes
from brainseg.qc.measure.subject import Subject

# Cells of a plane, two pixels each.
ACROSS, DOWN = 150, 118
PLANE = (360, 280)
SMALL = (360, 190)
GROUND = (11, 13, 16)
# The fullest cell: grey enough for the darkest tissue's ellipse to stand out.
DIM = 118.0
# Enough to fill a plane's cells where a brain has voxels; EM on them takes a second.
PLANE_SAMPLES = 50_000
KEPT = "As kept: the fit of this scan"
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Stage:
    """One picture of EM at work.

    Attributes
    ----------
    caption : str
    mixture : GaussianMixture
    e_step : bool
        Show to whom the mixture gives the data instead of its parameters.
    """

    caption: str
    mixture: GaussianMixture
    e_step: bool = False


def walk(X: Array | Histogram, n_components: int, *, seed: int = 0) -> list[Snapshot]:
    """Run plain EM from its K-means start and keep what it was after some cycles."""
    return snapshots(X, n_components, random_state=seed)


def stages(walked: Sequence[Snapshot]) -> list[Stage]:
    """Name the pictures: each mixture, and after the first one its responsibilities."""
    out = []
    for shot in walked:
        if shot.cycle == 0:
            out.append(Stage("Start: data and clusters of K-means", shot.mixture))
            out.append(Stage("First E-step: responsibilities", shot.mixture, e_step=True))
        elif shot.cycle == 1:
            out.append(Stage("First M-step: new parameters", shot.mixture))
        else:
            told = "; ".join((f"After {shot.cycle} cycles", *shot.mixture.events_))
            out.append(Stage(told, shot.mixture))
    return out


@dataclass(frozen=True, eq=False)
class Given:
    """A mixture by its parameters, full covariances."""

    weights_: Floats
    means_: Floats
    covariances_: Floats
    covariance_type: str = "full"

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Given:
        """Take the mixture that a record documents."""
        weights, means, covariances = (
            np.asarray(record[key], dtype=np.float64) for key in ("weights", "means", "covariances")
        )
        return cls(weights, means, covariances)


def curves(mixture: GaussianMixture) -> list[Curve]:
    """Weight, mean and standard deviation of each component in the first channel."""
    cov = _full(mixture)
    return [
        (float(w), float(m[0]), float(np.sqrt(c[0, 0])))
        for w, m, c in zip(mixture.weights_, mixture.means_, cov, strict=True)
    ]


def _full(mixture: GaussianMixture | Given) -> Floats:
    k, d = mixture.means_.shape
    return expand_covariances(mixture.covariances_, mixture.covariance_type, k, d)


def over_histogram(stage: Stage, binned: Bins, keys: Swatches, *, label: str = "") -> Markup:
    """Draw a stage in one channel: weighted Gaussians, or the histogram dealt out to them."""
    shown = curves(stage.mixture)
    frame, content = densities(keys, binned, shown, *SMALL)
    if stage.e_step:
        resp = stage.mixture.predict_proba(binned.centres)
        content = stacked(frame, binned.edges, binned.density[:, None] * resp, keys)
    return svg(frame, content + x_axis(frame, label), f"EM in one channel. {stage.caption}")


def at_work(subject: Subject, binned: Bins) -> list[tuple[str, Markup]]:
    """Draw plain EM on a scan's histogram, and beside it the mixture that was kept.

    Returns
    -------
    list of (caption, chart)
        Nothing where the histogram has fewer filled bins than the mixture components.
    """
    kept, keys = parameters(subject.record), swatches(subject.table)
    filled = binned.counts > 0
    if filled.sum() < len(kept):
        return []
    h = Histogram(binned.centres[filled, None], binned.counts[filled], None, np.zeros(1))
    order = _by_mean(subject)
    charts = [
        (stage.caption, over_histogram(stage, binned, [keys[k] for k in order]))
        for stage in stages(walk(h, len(kept)))
    ]
    frame, content = densities(keys, binned, kept, *SMALL)
    return [*charts, (KEPT, svg(frame, content + x_axis(frame, ""), KEPT))]


def at_work_in_planes(subject: Subject) -> list[list[tuple[str, Markup]]]:
    """Draw plain EM on all contrasts together, in the plane of the T1w with each other one.

    Returns
    -------
    list of list of (caption, chart)
        For each further contrast the same pictures as `at_work`.
    """
    if not subject.contrasts:
        return []
    X = np.stack([subject.samples, *subject.contrasts.values()], axis=1)
    X = X[:: max(1, len(X) // PLANE_SAMPLES)].astype(np.float64)
    keys, order = swatches(subject.table), _by_mean(subject)
    names = ("T1w", *subject.contrasts)
    shown = stages(walk(X, len(keys)))
    kept = Given.of(subject.record)
    rows = []
    for other in range(1, len(names)):
        plane = Plane.of(X, (0, other), names)
        row = [(s.caption, in_plane(s, plane, [keys[k] for k in order])) for s in shown]
        content = plane.image() + ellipses(kept, plane, keys)
        rows.append([*row, (KEPT, plane.around(content, KEPT))])
    return rows


def _by_mean(subject: Subject) -> NDArray[np.intp]:
    """Order tissues as EM orders its components; those of an anatomical table may differ."""
    return np.argsort([mean for _, mean, _ in parameters(subject.record)], kind="stable")


def stacked(frame: Frame, edges: Floats, heights: Floats, keys: Swatches) -> str:
    """Draw a histogram in layers, one a component; heights have shape (bins, K)."""
    top = np.minimum(np.cumsum(heights, axis=1), frame.y1)
    base = np.zeros(len(heights))
    parts = []
    for k, (colour, name) in enumerate(keys):
        upper = frame.points(edges.repeat(2)[1:-1], top[:, k].repeat(2))
        lower = frame.points(edges.repeat(2)[1:-1][::-1], base.repeat(2)[::-1])
        parts.append(
            f'<polygon class="share" fill="{colour}" points="{upper} {lower}">'
            f"<title>{escape(name)}</title></polygon>"
        )
        base = top[:, k]
    return "".join(parts)


@dataclass(frozen=True, eq=False)
class Plane:
    """Samples in a plane of two channels, counted in cells.

    Attributes
    ----------
    X : ndarray, shape (n, D)
    pair : tuple of int
        The channels across and upwards.
    names : tuple of str
        Of all D channels.
    frame : Frame
    cell : ndarray of int64, shape (n,)
        Flat cell of each sample, row by row from the top left; -1 outside the frame.
    """

    X: Array
    pair: tuple[int, int]
    names: tuple[str, ...]
    frame: Frame
    cell: NDArray[np.int64]

    @classmethod
    def of(cls, X: Array, pair: tuple[int, int], names: tuple[str, ...]) -> Plane:
        """Lay a frame around the samples, a few outliers left out."""
        limits, cells = [], []
        for channel, n in zip(pair, (ACROSS, DOWN), strict=True):
            column = X[:, channel].astype(np.float64)
            low, high = np.percentile(column[:: max(1, len(column) // 200_000)], [0.2, 99.8])
            pad = 0.06 * max(float(high - low), 1e-9)
            low, high = float(low) - pad, float(high) + pad
            limits.append((low, high))
            cells.append(np.floor((column - low) / (high - low) * n).astype(np.int64))
        (x0, x1), (y0, y1) = limits
        frame = Frame(x0, x1, y1, y0, *PLANE)
        across, up = cells
        inside = (across >= 0) & (across < ACROSS) & (up >= 0) & (up < DOWN)
        flat = np.where(inside, (DOWN - 1 - up) * ACROSS + across, -1)
        return cls(X, pair, names, frame, flat)

    def counts(self, weights: Floats | None = None) -> Floats:
        """Sum samples, or weights of theirs, in each cell, shape (DOWN, ACROSS)."""
        inside = self.cell >= 0
        w = None if weights is None else weights[inside]
        total = np.bincount(self.cell[inside], w, DOWN * ACROSS).astype(np.float64)
        return total.reshape(DOWN, ACROSS)

    def image(self) -> str:
        """Draw the samples in grey."""
        counts = self.counts()
        return _image(self.frame, _lit(np.full((*counts.shape, 3), DIM), counts))

    def around(self, content: str, title: str) -> Markup:
        """Put axes around marks."""
        axes = x_axis(self.frame, self.names[self.pair[0]])
        axes += y_axis(self.frame, self.names[self.pair[1]])
        return svg(self.frame, content + axes, title)


def in_plane(stage: Stage, plane: Plane, keys: Swatches) -> Markup:
    """Draw a stage in two channels: ellipses over the data, or the data in their colours."""
    if stage.e_step:
        counts = plane.counts()
        resp = stage.mixture.predict_proba(plane.X)
        dealt = np.stack([plane.counts(r) for r in resp.T], axis=-1)
        share = dealt / np.maximum(counts, 1e-300)[..., None]
        hues = share @ np.array([pictures.rgb(colour) for colour, _ in keys], dtype=float)
        content = _image(plane.frame, _lit(hues, counts))
    else:
        content = plane.image() + ellipses(stage.mixture, plane, keys)
    return plane.around(content, f"EM in two channels. {stage.caption}")


def _lit(hues: Floats, counts: Floats) -> Bytes:
    """Colour cells, the fuller the brighter; by logarithm, since white matter outshines all."""
    light = np.log1p(counts) / max(float(np.log1p(counts).max()), 1e-9)
    light = np.where(counts > 0, 0.12 + 0.88 * light, 0.0)[..., None]
    picture: Bytes = np.rint(light * hues + (1 - light) * np.array(GROUND)).astype(np.uint8)
    return picture


def _image(frame: Frame, picture: Bytes) -> str:
    x, y = float(frame.x(frame.x0)), float(frame.y(frame.y1))
    width, height = float(frame.x(frame.x1)) - x, float(frame.y(frame.y0)) - y
    return (
        f'<image x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'preserveAspectRatio="none" href="{pictures.webp(picture, 92)}"/>'
    )


def ellipses(mixture: GaussianMixture | Given, plane: Plane, keys: Swatches) -> str:
    """Draw each component's one and two standard deviations in the plane."""
    frame, pair = plane.frame, list(plane.pair)
    # From intensities to pixels: y runs downwards.
    scale = np.diag([float(frame.x(1.0) - frame.x(0.0)), float(frame.y(1.0) - frame.y(0.0))])
    parts = []
    rows = zip(mixture.weights_, mixture.means_[:, pair], _full(mixture), keys, strict=True)
    for weight, mean, cov, (colour, name) in rows:
        pixels = scale @ cov[np.ix_(pair, pair)] @ scale
        values, vectors = np.linalg.eigh(pixels)
        minor, major = np.sqrt(np.maximum(values, 0.0))
        angle = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
        x, y = float(frame.x(mean[0])), float(frame.y(mean[1]))
        about = f"{name}: weight {weight:.3f}, mean {mean[0]:.4g}, {mean[1]:.4g}"
        rings = "".join(
            f'<ellipse class="ring" stroke="{colour}" rx="{n * major:.1f}" ry="{n * minor:.1f}"'
            f"{dashes}/>"
            for n, dashes in ((1, ""), (2, ' stroke-dasharray="4 3"'))
        )
        parts.append(
            f'<g transform="translate({x:.1f} {y:.1f}) rotate({angle:.1f})">{rings}'
            f'<circle r="2.5" fill="{colour}"/><title>{escape(about)}</title></g>'
        )
    return "".join(parts)


def drawn(plane: Plane, x: Floats, z: NDArray[np.int64] | None, keys: Swatches) -> str:
    """Draw samples of a mixture as dots in the plane, coloured by component where it is known."""
    at = x[:, list(plane.pair)]
    frame = plane.frame
    seen = (at > [frame.x0, frame.y0]).all(axis=1) & (at < [frame.x1, frame.y1]).all(axis=1)
    groups = [(colour, seen & (z == k)) for k, (colour, _) in enumerate(keys)]
    if z is None:
        groups = [("#b5bfca", seen)]
    return "".join(
        f'<path class="dots" stroke="{colour}" d="'
        + "".join(
            f"M{a:.1f} {b:.1f}h0"
            for a, b in zip(frame.x(at[rows, 0]), frame.y(at[rows, 1]), strict=True)
        )
        + '"/>'
        for colour, rows in groups
    )
