"""The page of `brainseg explain`: EM at work on the intensities of one brain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from brainseg.config import MOST_SAMPLES
from brainseg.core.volume import Array
from brainseg.mixture import GaussianMixture, Histogram, Snapshot, converged
from brainseg.qc.draw import charts, stages
from brainseg.qc.draw.charts import Swatches, component_swatches
from brainseg.qc.draw.stages import Plane, in_plane, over_histogram
from brainseg.qc.templating import MIXTURE_STYLES, render, styles

# Several channels: so many voxels draw a plane as well as all of them, and EM takes seconds.
DRAWN = 2_500
DRAWN_1D = 50_000
Picture = tuple[str, Markup]


@dataclass(frozen=True)
class Part:
    """One run of EM in pictures.

    Attributes
    ----------
    title : str
    rows : list of list of (caption, chart)
        One row for each pair of channels.
    samples : list of list of (caption, chart)
        Drawn from the mixture both ways, beside the data.
    likelihood : Markup
        Log-likelihood by cycle.
    table : list of dict
        The components once EM has converged.
    facts : str
        How far EM came, in numbers.
    """

    title: str
    rows: list[list[Picture]]
    samples: list[list[Picture]]
    likelihood: Markup
    table: list[dict[str, Any]]
    facts: str


@dataclass(frozen=True)
class Page:
    """Everything that the page shows.

    Attributes
    ----------
    name : str
    css : Markup
    channels : tuple of str
    n, k : int
        Voxels and components.
    corrected : bool
    warnings : tuple of str
    seed : int
    keys : sequence of (colour, text)
        One for each component.
    parts : tuple of Part
    """

    name: str
    css: Markup
    channels: tuple[str, ...]
    n: int
    k: int
    corrected: bool
    warnings: tuple[str, ...]
    seed: int
    keys: Swatches
    parts: tuple[Part, ...]


def page(
    name: str,
    channels: tuple[str, ...],
    X: Array,
    *,
    n_components: int = 6,
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
        Names of the D contrasts.
    X : ndarray, shape (n, D)
        Intensities of the brain.
    n_components : int
    seed : int
        Of K-means and of the samples drawn.
    corrected : bool
        Whether a bias field was removed.
    warnings : tuple of str

    Returns
    -------
    str
        HTML that makes no network request.
    """
    keys = component_swatches(n_components)
    parts = [one_channel(X[:, 0], channels[0], keys, seed)]
    if len(channels) > 1:
        parts.append(several_channels(X, channels, keys, seed))
    shown = Page(
        name=name,
        css=styles(*MIXTURE_STYLES),
        channels=channels,
        n=len(X),
        k=n_components,
        corrected=corrected,
        warnings=warnings,
        seed=seed,
        keys=keys,
        parts=tuple(parts),
    )
    return render("explain.html.j2", shown)


def one_channel(x: Array, channel: str, keys: Swatches, seed: int) -> Part:
    """Draw EM on one channel over its histogram."""
    binned = charts.bins(x)
    h = Histogram.from_samples(x)
    walked = stages.walk(h, len(keys), seed=seed)
    label = f"{channel} intensity"
    row = [(s.caption, over_histogram(s, binned, keys, label=label)) for s in stages.stages(walked)]
    end = converged(walked[-1], h)
    frame, marks = charts.densities(keys, binned, stages.curves(end), *stages.SMALL)
    axis = charts.x_axis(frame, label)
    row.append(("Converged", charts.svg(frame, marks + axis, "EM in one channel, converged")))

    x_z, z = end.sample(DRAWN_1D, seed)
    alone = end.sample_marginal(DRAWN_1D, seed)
    width = np.diff(binned.edges)[:, None] * DRAWN_1D
    dealt = np.stack(
        [np.histogram(x_z[z == k, 0], binned.edges)[0] for k in range(len(keys))], axis=1
    )
    total = np.histogram(alone[:, 0], binned.edges)[0][:, None]
    plain = [("#8b96a2", "p(x)")]
    pictures = [
        ("The data", stages.stacked(frame, binned.edges, binned.density[:, None], plain)),
        ("Ancestral: z, then x given z", stages.stacked(frame, binned.edges, dealt / width, keys)),
        ("From p(x) alone, without z", stages.stacked(frame, binned.edges, total / width, plain)),
    ]
    drawn = [(caption, charts.svg(frame, m + axis, caption)) for caption, m in pictures]
    return _part(f"One channel: {channel}", [row], [drawn], walked, end)


def several_channels(X: Array, channels: tuple[str, ...], keys: Swatches, seed: int) -> Part:
    """Draw EM on all channels together, in the plane of the first with each other one."""
    some = np.ascontiguousarray(X[:: max(1, len(X) // MOST_SAMPLES)])
    walked = stages.walk(some, len(keys), seed=seed)
    end = converged(walked[-1], some)
    x_z, z = end.sample(DRAWN, seed)
    alone = end.sample_marginal(DRAWN, seed)
    data = some[:: max(1, len(some) // DRAWN)]
    shown = [*stages.stages(walked), stages.Stage("Converged", end)]
    rows, samples = [], []
    for other in range(1, len(channels)):
        plane = Plane.of(some, (0, other), channels)
        rows.append([(s.caption, in_plane(s, plane, keys)) for s in shown])
        pictures = [
            ("The data", stages.drawn(plane, data, None, keys)),
            ("Ancestral: z, then x given z", stages.drawn(plane, x_z, z, keys)),
            ("From p(x) alone, without z", stages.drawn(plane, alone, None, keys)),
        ]
        samples.append([(caption, plane.around(marks, caption)) for caption, marks in pictures])
    return _part(f"Together: {', '.join(channels)}", rows, samples, walked, end)


def _part(
    title: str,
    rows: list[list[Picture]],
    samples: list[list[Picture]],
    walked: list[Snapshot],
    end: GaussianMixture,
) -> Part:
    history = [walked[0].log_likelihood]
    for shot in walked[1:]:
        history += shot.mixture.history_[1:]
    last = walked[-1]
    facts = (
        f"Log-likelihood per voxel: {walked[0].log_likelihood:.5f} at the start, "
        f"{last.log_likelihood:.5f} after {last.cycle} cycles, {end.log_likelihood_:.5f} "
        f"{'converged' if end.converged_ else 'when stopped'} ({end.n_iter_} accelerated "
        "sweeps more)."
    )
    return Part(title, rows, samples, charts.likelihood(history), _table(end), facts)


def _table(mixture: GaussianMixture) -> list[dict[str, Any]]:
    variances = np.diagonal(mixture.covariances_, axis1=1, axis2=2)
    return [
        {
            "weight": float(w),
            "moments": [(float(m), float(v) ** 0.5) for m, v in zip(mean, variance, strict=True)],
        }
        for w, mean, variance in zip(mixture.weights_, mixture.means_, variances, strict=True)
    ]
