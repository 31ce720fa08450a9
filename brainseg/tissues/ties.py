"""Priors of the tissue components: what each M-step draws means, covariances and weights to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainseg.tissues.model import (
    CSF,
    GREY,
    INTENSITY,
    WHITE,
    Component,
    Floats,
    anchors_of,
    log_mixing,
    usual_weights,
)

CSF_STEP = 1.2
"""Pure CSF may be too little to be found: it is expected 1.2 times as far below grey as white
lies above it (1.0 to 1.5 on T1w, by sequence), where no map says more."""

# How firmly grey-to-CSF follows grey-to-white (a share of the samples), and the standard deviation
# of their ratio.
_CSF_TIE = 0.05
_CSF_STEP_SD = 0.3
# Pseudo-samples of the priors of means and covariances, as shares of a component's equal part of
# the samples. Regions have few voxels, and their intensity is what the atlas cannot know.
_MEAN_TIE, _REGIONAL_MEAN_TIE = 0.5, 0.1
_COVARIANCE_TIE, _REGIONAL_COVARIANCE_TIE = 0.3, 0.05
# Pseudo-samples of each component's weight, as a share of the samples over the components.
_WEIGHT_TIE = 0.02
# With a map of places each sample brings two pseudo-samples that have the usual weights. Free
# weights follow whatever moves a mean, and move it on: with noise of 9 %, voxels of 2 mm or bent
# intensities CSF changed by 5 to 22 %, with the clean scan's weights by 3 to 5 %.
_PLACED_WEIGHT_TIE = 2.0
# Pulls the anchors of further channels to where they are, as a share of the evidence.
_ANCHOR_RIDGE = 1e-3
_LEAST_SPREAD = 0.02
MIN_VARIANCE = 1e-5
"""Added to every variance, lest a component shrink to a point (intensities are about 0..1)."""


def tie_line(
    shares: Floats,
    precision: Floats,
    centres: Floats,
    anchors: Floats,
    n: float,
    step: float = CSF_STEP,
) -> tuple[Floats, float]:
    """Least squares of the pure intensities given the centres of all components.

    The step from grey to CSF is expected to be `step` times that from white to grey.
    Returns the anchors and the penalty that this expectation costs.
    """
    row = np.array([1.0, -(1 + step), step])
    spread = _CSF_STEP_SD * max(abs(anchors[2] - anchors[1]), 1e-3)
    weight = _CSF_TIE * n / spread**2
    normal = (shares.T * precision) @ shares + weight * np.outer(row, row)
    found: Floats = np.linalg.solve(normal + 1e-9 * np.eye(3), shares.T @ (precision * centres))
    return found, float(weight * (row @ found) ** 2)


def apart(anchors: Floats, before: Floats) -> Floats:
    """Keep the order dark to bright: where a step would lose it, stay or spread."""
    if np.diff(anchors).min() > 0.02:
        return anchors
    if np.diff(before).min() > 0.02:
        return before
    return np.array([before[1] - 0.2, before[1], max(before[2], before[1] + 0.1)])


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over the samples by component: of responsibilities, values and squares.

    Attributes
    ----------
    n : int
        Number of samples.
    size, sums, squares : ndarray, shapes (M,), (M, D), (M, D, D)
    """

    n: int
    size: Floats
    sums: Floats
    squares: Floats

    @classmethod
    def of(cls, x: Floats, resp: Floats) -> Moments:
        """Add up values (n, D) by their responsibilities (n, M)."""
        n, d = x.shape
        size = resp.sum(axis=0) + 1e-9
        squares = (resp.T @ (x[:, :, None] * x[:, None]).reshape(n, d * d)).reshape(-1, d, d)
        return cls(n, size, resp.T @ x, squares)

    @property
    def centres(self) -> Floats:
        """Means by component, shape (M, D)."""
        out: Floats = self.sums / self.size[:, None]
        return out

    def scatter_about(self, means: Floats) -> Floats:
        """Return the sums of squares about given means, shape (M, D, D)."""
        # intensities are about 0..1, so that squares lose nothing
        cross = means[:, :, None] * self.sums[:, None]
        scatter = self.squares - cross - cross.transpose(0, 2, 1)
        scatter += self.size[:, None, None] * means[:, :, None] * means[:, None]
        return scatter


def _everywhere(components: tuple[Component, ...]) -> NDArray[np.bool_]:
    return np.array([c.everywhere for c in components])


def tied_anchors(
    found: Moments,
    components: tuple[Component, ...],
    before: Floats,
    covariances: Floats,
    step: float = CSF_STEP,
) -> Floats:
    """Find the pure intensities by channel, shape (3, D), from all components of the cerebrum.

    `before` are the present ones; `covariances` (M, D, D) weigh the components. On the first
    channel CSF is expected `step` times as far below grey as white lies above it.
    """
    everywhere = _everywhere(components)
    shares = np.array([c.shares for c in components])
    anchors, centres = before.copy(), found.centres
    for channel in range(anchors.shape[1]):
        precision = np.where(everywhere, found.size / covariances[:, channel, channel], 0)
        if channel == 0:
            best, _ = tie_line(shares, precision, centres[:, 0], before[:, 0], found.n, step)
            anchors[:, 0] = apart(best, before[:, 0])
        else:
            normal = (shares.T * precision) @ shares
            ridge = _ANCHOR_RIDGE * np.trace(normal)
            pull = shares.T @ (precision * centres[:, channel])
            pull += ridge * before[:, channel]
            anchors[:, channel] = np.linalg.solve(normal + ridge * np.eye(3), pull)
    return anchors


def tied_means(found: Moments, components: tuple[Component, ...], expected: Floats) -> Floats:
    """Means by component, drawn to their expected ones, shape (M, D)."""
    ties = np.where(_everywhere(components), _MEAN_TIE, _REGIONAL_MEAN_TIE)
    kappa = ties * found.n / len(INTENSITY)
    means = found.size[:, None] * found.centres + kappa[:, None] * expected
    means /= (found.size + kappa)[:, None]
    return means


def expected_covariances(
    scatter: Floats, size: Floats, components: tuple[Component, ...], anchors: Floats
) -> Floats:
    """Covariance that each component is expected to have, shape (M, D, D).

    The noise is that of the scanner, the same in every tissue; CSF, which flows and borders on
    everything, is not asked about it.
    """
    solid = np.array([c.parent != CSF for c in components]) & _everywhere(components)
    common = np.empty_like(scatter)
    common[:] = scatter[solid].sum(axis=0) / size[solid].sum()
    for k, component in enumerate(components):
        if component.spread is not None:
            step = np.abs(anchors[WHITE] - anchors[CSF if component.wall else GREY])
            common[k] = np.diag(np.maximum(component.spread * step, _LEAST_SPREAD) ** 2)
    return common


def tied_covariances(
    found: Moments, scatter: Floats, components: tuple[Component, ...], expected: Floats
) -> Floats:
    """Covariances by component, drawn to their expected ones, shape (M, D, D)."""
    ties = np.where(_everywhere(components), _COVARIANCE_TIE, _REGIONAL_COVARIANCE_TIE)
    nu = ties * found.n / len(INTENSITY)
    covariances = scatter + nu[:, None, None] * expected
    covariances /= (found.size + nu)[:, None, None]
    covariances += MIN_VARIANCE * np.eye(scatter.shape[-1])
    return covariances


def common_weights(found: Moments) -> Floats:
    """Weights that all voxels share, kept off zero, shape (M,)."""
    weights = found.size + _WEIGHT_TIE * found.n / len(found.size)
    weights /= weights.sum()
    return weights


def usual_sizes(components: tuple[Component, ...], places: NDArray[np.float32]) -> Floats:
    """Count the samples that each component has where weights are the usual ones, shape (M,)."""
    sizes: Floats = np.exp(log_mixing(usual_weights(components), places)).sum(axis=0)
    return sizes


def local_weights(
    before: Floats, size: Floats, mixing: Floats, usual: Floats, components: tuple[Component, ...]
) -> Floats:
    """Weights that scale each component's map until its total is what was found, shape (M,).

    Found are the samples' responsibilities (`size`) and pseudo-samples, a multiple of the `usual`
    sizes: a prior on the weights, whose mode the steps of generalised iterative scaling climb to
    (Darroch & Ratcliff 1972, doi:10.1214/aoms/1177692379).
    """
    counted = (size + _PLACED_WEIGHT_TIE * usual) / (1 + _PLACED_WEIGHT_TIE)
    weights: Floats = before * counted / np.exp(mixing).sum(axis=0)
    white = weights[anchors_of(components)[WHITE]]
    for k, component in enumerate(components):
        if component.of_white is not None:
            weights[k] = component.of_white * white
    weights /= weights.sum()
    return weights
