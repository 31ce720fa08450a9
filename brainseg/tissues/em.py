"""EM for the tissue mixture and the bias field together, on a sample of the voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from brainseg.mixture import log_gaussian, log_joint, responsibilities
from brainseg.tissues.bias import LogField
from brainseg.tissues.lesions import LEARNING_RARE, LesionModel
from brainseg.tissues.model import (
    NEVER,
    Component,
    Floats,
    log_mixing,
    noisier,
    place,
    usual_weights,
)
from brainseg.tissues.start import first_anchors
from brainseg.tissues.ties import (
    CSF_STEP,
    MIN_VARIANCE,
    Moments,
    common_weights,
    expected_covariances,
    local_weights,
    tied_anchors,
    tied_covariances,
    tied_means,
    usual_sizes,
)
from brainseg.tissues.unmixing import Unmixing

# All steps are always made: where a threshold ended them, rounding alone could take a step more
# or less and change 0.3 % of the labels. Forty or eighty steps gain nothing in Dice.
_STEPS, _STEPS_WITHOUT_FIELD = 25, 12
# Gain of log-likelihood per voxel and step below which the fit has converged.
_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Fitted:
    """Parameters of the components, and the history of the log-likelihood per voxel."""

    weights: Floats
    means: Floats
    covariances: Floats
    history: tuple[float, ...]
    converged: bool


def fit(
    values: Floats,
    components: tuple[Component, ...],
    *,
    atlas: NDArray[np.float32] | None = None,
    fields: Sequence[LogField] = (),
    lesions: LesionModel | None = None,
    allowed: NDArray[np.bool_] | None = None,
    noise: Floats | None = None,
) -> Fitted:
    """Estimate components and bias fields together by MAP-EM.

    The prior keeps every component near its tie: means between the pure neighbours, covariances
    near their common one, weights off zero. It is normal-inverse-Wishart and Dirichlet, recentred
    on the ties at each step. Only pure grey and white drive the fields. Where a field ends too weak
    to be a coil's (`brainseg.tissues.bias.LEAST_SD`), it is anatomy, tissue that is brighter here
    than there, and the fit goes on without it.

    Parameters
    ----------
    values : ndarray, shape (n, D)
        Positive intensities scaled to about 0..1; the first channel is T1-like.
    components : tuple of Component
    atlas : ndarray of float32, shape (7, n), optional
        Probabilities of `brainseg.atlas.head_atlas.BRAIN` at each sample.
    fields : sequence of LogField
        One for each channel, moved in place; none for data without a bias field.
    lesions : LesionModel, optional
        With a FLAIR scan: what no tissue explains there teaches nothing about tissues.
    allowed : ndarray of bool, shape (n, M), optional
        Components that each sample may come from; the user knows the tissue of some.
    noise : ndarray, shape (S, D), optional
        The samples are those of S scans, one after the other and equally many of each; so much more
        variance of noise has each than all together. The sum over the scans is 0, so covariances
        are estimated as of one scan.
    """
    places = None if atlas is None else place(components, atlas)
    unmixing = None if atlas is None else Unmixing.of(atlas)
    start = _State.of(_corrected(values, fields), components, places)
    evidence = _Evidence(places, unmixing, lesions, allowed, noise)
    found, state = _climb(values, start, evidence, fields, _STEPS)
    weak = [field for field in fields if field.is_weak]
    if not weak:
        return found
    for field in weak:
        field.flatten()
    return _climb(values, state, evidence, fields, _STEPS_WITHOUT_FIELD)[0]


@dataclass(frozen=True, eq=False)
class _Evidence:
    """What is known of the samples beside their intensities."""

    places: NDArray[np.float32] | None
    unmixing: Unmixing | None
    lesions: LesionModel | None
    allowed: NDArray[np.bool_] | None
    noise: Floats | None

    def joint(self, values: Floats, state: _State, mixing: Floats) -> Floats:
        """Log joint density of values and components, and of what no tissue explains, if any."""
        if self.noise is None:
            joint = self._of_scan(values, mixing, state.means, state.covariances)
        else:
            scans = np.split(values, len(self.noise))
            local = [mixing] * len(scans) if mixing.ndim == 1 else np.split(mixing, len(scans))
            joint = np.concatenate([
                self._of_scan(x, m, state.means, noisier(state.covariances, extra))
                for x, m, extra in zip(scans, local, self.noise, strict=True)
            ])  # fmt: skip
        if self.allowed is not None:
            joint[:, : len(state.means)][~self.allowed] = NEVER
        return joint

    def _of_scan(self, values: Floats, mixing: Floats, means: Floats, covs: Floats) -> Floats:
        joint = log_joint(log_gaussian(values, means, covs), mixing)
        if self.lesions is None:
            return joint
        other = self.lesions.log_joint(values, mixing, means, covs, rare=LEARNING_RARE)
        return np.column_stack([joint, other])

    def csf_step(self, values: Floats) -> float:
        """Return how far CSF is expected below grey, in steps from grey to white."""
        return CSF_STEP if self.unmixing is None else self.unmixing.csf_step(values[:, 0])


def _climb(
    values: Floats,
    state: _State,
    evidence: _Evidence,
    fields: Sequence[LogField],
    steps: int,
) -> tuple[Fitted, _State]:
    """EM from a state, and the fields from where they are."""
    components, places = state.components, evidence.places
    usual = None if places is None else usual_sizes(components, places)
    corrected = _corrected(values, fields)
    history: list[float] = []
    for step in range(steps):
        mixing = log_mixing(state.weights, places)
        resp, log_prob = responsibilities(evidence.joint(corrected, state, mixing))
        resp = resp[:, : len(components)]
        shift = sum(float(f.at_samples().mean()) for f in fields)
        history.append(float(log_prob.mean()) - shift)
        if step == steps - 1:
            break
        csf_step = evidence.csf_step(corrected)
        state = state.maximise(corrected, resp, mixing, usual, csf_step)
        for channel, field in enumerate(fields):
            _move(field, channel, corrected, resp, state)
        corrected = _corrected(values, fields)
    converged = abs(history[-1] - history[-2]) < _TOLERANCE
    found = Fitted(state.weights, state.means, state.covariances, tuple(history), converged)
    return found, state


def _corrected(values: Floats, fields: Sequence[LogField]) -> Floats:
    """Divide each channel by its field."""
    if not fields:
        return values
    gains: Floats = np.stack([np.exp(f.at_samples()) for f in fields], axis=1)
    out: Floats = values / gains
    return out


def _move(field: LogField, channel: int, values: Floats, resp: Floats, state: _State) -> None:
    """One Gauss-Newton step of a field, driven by the residuals of the pure tissues."""
    pure = [k for k, c in enumerate(state.components) if c.pure]
    mean, variance = state.means[pure, channel], state.covariances[pure, channel, channel]
    gap = max(float(np.ptp(mean)), 1e-3)
    # What a field must not follow is anatomy, which grows with contrast, not with noise: so the
    # residuals are measured in units of the gap between grey and white.
    r = resp[:, pure] * (variance.max() / gap**2)
    x = values[:, channel]
    # the sum over the pure tissues of r (x (x - mean) / variance - 1), and of r x^2 / variance
    curvature = x**2 * (r @ (1 / variance))
    gradient = curvature - x * (r @ (mean / variance)) - r.sum(axis=1)
    field.step(gradient, curvature)


@dataclass(frozen=True, eq=False)
class _State:
    """The parameters on their way through EM, with the three anchors that tie them."""

    components: tuple[Component, ...]
    shares: Floats
    anchors: Floats
    weights: Floats
    means: Floats
    covariances: Floats

    @classmethod
    def of(
        cls, values: Floats, components: tuple[Component, ...], places: NDArray[np.float32] | None
    ) -> _State:
        """Start from the first channel's histogram; other channels follow its tissues."""
        n, d = values.shape
        m = len(components)
        shares = np.array([c.shares for c in components])
        first = first_anchors(values[:, 0])
        sd = 0.2 * (first[2] - first[1])
        variance = np.full(m, sd**2)
        weights = np.full(m, 1 / m) if places is None else usual_weights(components)
        density = log_gaussian(values[:, :1], (shares @ first)[:, None], variance[:, None, None])
        resp, _ = responsibilities(log_joint(density, log_mixing(weights, places)))
        anchors = np.empty((3, d))
        anchors[:, 0] = first
        for channel in range(1, d):
            size = resp.sum(axis=0) + 1e-9
            centres = values[:, channel] @ resp / size
            normal = (shares.T * size) @ shares + 1e-3 * n * np.eye(3)
            pull = 1e-3 * n * values[:, channel].mean()
            anchors[:, channel] = np.linalg.solve(normal, shares.T @ (size * centres) + pull)
        means = shares @ anchors
        covariances = np.zeros((m, d, d))
        covariances[:, 0, 0] = variance
        for channel in range(1, d):
            residual = (resp * (values[:, channel, None] - means[:, channel]) ** 2).sum() / n
            covariances[:, channel, channel] = max(residual, MIN_VARIANCE)
        return cls(components, shares, anchors, weights, means, covariances)

    def maximise(
        self, x: Floats, resp: Floats, mixing: Floats, usual: Floats | None, csf_step: float
    ) -> _State:
        """M-step: the mode of each parameter's posterior, one after the other.

        `usual` are the components' expected sizes on a map of places; None without one.
        """
        # What learns nothing is told of no sample; its ties alone say what it is.
        found = Moments.of(x, resp * [c.learns for c in self.components])
        anchors = tied_anchors(found, self.components, self.anchors, self.covariances, csf_step)
        means = tied_means(found, self.components, self.shares @ anchors)
        scatter = found.scatter_about(means)
        common = expected_covariances(scatter, found.size, self.components, anchors)
        covariances = tied_covariances(found, scatter, self.components, common)
        if usual is None:
            weights = common_weights(found)
        else:
            weights = local_weights(self.weights, found.size, mixing, usual, self.components)
        return replace(self, anchors=anchors, weights=weights, means=means, covariances=covariances)
