"""EM for the tissue mixture and the bias field together, on a sample of the voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainseg.mixture import log_gaussian, log_joint, responsibilities
from brainseg.tissues.bias import LEAST_SD, LogField
from brainseg.tissues.lesions import log_unexplained
from brainseg.tissues.model import INTENSITY, Component, Floats, log_mixing

CSF_STEP = 1.2
"""Pure CSF may be too little to be found: it is expected 1.2 times as far below grey as white
lies above it (1.0 to 1.5 on T1w, by sequence)."""

# Expected weights of `INTENSITY` in a head, for the choice among starts only.
_USUAL = np.array([0.08, 0.05, 0.08, 0.3, 0.1, 0.1, 0.29])
_CSF_TIE = 0.05
_CSF_STEP_SD = 0.3
_MEAN_TIE, _COVARIANCE_TIE, _WEIGHT_TIE = 0.5, 0.3, 0.02
_DEEP_SD = 0.25
_MIN_VARIANCE = 1e-5
# All steps are always made: where a threshold ended them, rounding alone could take a step more
# or less and change 0.3 % of the labels. Forty or eighty steps gain nothing in Dice.
_STEPS, _STEPS_WITHOUT_FIELD = 25, 12
_CEREBRUM = frozenset(c.name for c in INTENSITY)
# Of the likelihood per voxel and step, under which the fit is said to have converged.
_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Fitted:
    """Parameters of the components, and the history of the log-likelihood per voxel."""

    weights: Floats
    means: Floats
    covariances: Floats
    history: tuple[float, ...]
    converged: bool


def first_anchors(values: Floats) -> Floats:
    """Find the intensities of pure CSF, grey and white on the histogram of a T1-like scan.

    Short EM with strictly tied components runs from several guesses; the one that explains the
    histogram best, with weights as usual in a head, is kept.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Intensities scaled to about 0..1.

    Returns
    -------
    ndarray, shape (3,)
    """
    x, share = _histogram(values, 400)
    at = np.interp(np.linspace(0, 1, 101), np.cumsum(share), x)
    best, anchors = -np.inf, np.array([at[5], at[45], at[90]])
    for grey in (20, 30, 40, 50, 60):
        for white in (75, 85, 93):
            if at[white] - at[grey] < 1e-3:
                continue
            score, found = _tied_em(x, share, at[grey], at[white])
            if score > best:
                best, anchors = score, found
    return _apart(anchors, anchors)


def _histogram(values: Floats, bins: int) -> tuple[Floats, Floats]:
    """Bins and the share of the values in each; a value between two belongs to both.

    With sharp edges the whole numbers of a scanner that lie on one would fall to either side by
    rounding alone.
    """
    low, high = float(values.min()), float(values.max())
    at = (values - low) * ((bins - 1) / max(high - low, 1e-12))
    below = np.minimum(at.astype(np.intp), bins - 2)
    part = at - below
    counts = np.bincount(below, 1 - part, bins) + np.bincount(below + 1, part, bins)
    return np.linspace(low, high, bins), counts / len(values)


def _tied_em(x: Floats, share: Floats, grey: float, white: float) -> tuple[float, Floats]:
    """Forty steps of EM for three anchors, two variances and seven weights."""
    shares = np.array([c.shares for c in INTENSITY])
    anchors = np.array([grey - CSF_STEP * (white - grey), grey, white])
    weights = _USUAL
    variances = np.full(len(shares), (0.25 * (white - grey)) ** 2)
    for _ in range(40):
        means = shares @ anchors
        log = np.log(weights) - 0.5 * np.log(variances)
        log = log - 0.5 * (x[:, None] - means) ** 2 / variances
        top = log.max(axis=1, keepdims=True)
        resp = np.exp(log - top)
        total = resp.sum(axis=1, keepdims=True)
        resp *= share[:, None] / total
        size = resp.sum(axis=0) + 1e-9
        anchors, pull = _tie(shares, size / variances, x @ resp / size, anchors, 1.0)
        if not (anchors[0] < anchors[1] < anchors[2]):
            return -np.inf, anchors
        scatter = (resp * (x[:, None] - shares @ anchors) ** 2).sum(axis=0)
        common = scatter[2:].sum() / size[2:].sum()
        fluid = (scatter[:2].sum() + 0.05 * common) / (size[:2].sum() + 0.05)
        variances = np.maximum(np.r_[fluid, fluid, [common] * 5], _MIN_VARIANCE)
        weights = (size + 0.3 * _USUAL) / 1.3
    score = share @ (np.log(total) + top)[:, 0] + 0.3 * _USUAL @ np.log(weights) - 0.5 * pull
    return float(score), anchors


def _tie(
    shares: Floats, precision: Floats, centres: Floats, anchors: Floats, n: float
) -> tuple[Floats, float]:
    """Least squares of the pure intensities given the centres of all components.

    The step from grey to CSF is expected to be `CSF_STEP` times that from white to grey.
    Returns the anchors and the penalty that this expectation costs.
    """
    row = np.array([1.0, -(1 + CSF_STEP), CSF_STEP])
    spread = _CSF_STEP_SD * max(abs(anchors[2] - anchors[1]), 1e-3)
    weight = _CSF_TIE * n / spread**2
    normal = (shares.T * precision) @ shares + weight * np.outer(row, row)
    found: Floats = np.linalg.solve(normal + 1e-9 * np.eye(3), shares.T @ (precision * centres))
    return found, float(weight * (row @ found) ** 2)


def _apart(anchors: Floats, before: Floats) -> Floats:
    """Keep the order dark to bright: where a step would lose it, stay or spread."""
    if np.diff(anchors).min() > 0.02:
        return anchors
    if np.diff(before).min() > 0.02:
        return before
    return np.array([before[1] - 0.2, before[1], max(before[2], before[1] + 0.1)])


def fit(
    values: Floats,
    components: tuple[Component, ...],
    *,
    places: NDArray[np.float32] | None = None,
    fields: Sequence[LogField] = (),
    flair: int | None = None,
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
    places : ndarray, shape (n, M), optional
        Spatial prior of each sample.
    fields : sequence of LogField
        One for each channel, moved in place; none for data without a bias field.
    flair : int, optional
        Channel of a FLAIR scan: what no tissue explains there teaches nothing about tissues.
    """
    start = _State.of(_corrected(values, fields), components, places)
    found, state = _climb(values, start, places, fields, flair, _STEPS)
    weak = [field for field in fields if field.at_samples().std() < LEAST_SD]
    if not weak:
        return found
    for field in weak:
        field.flatten()
    return _climb(values, state, places, fields, flair, _STEPS_WITHOUT_FIELD)[0]


def _climb(
    values: Floats,
    state: _State,
    places: NDArray[np.float32] | None,
    fields: Sequence[LogField],
    flair: int | None,
    steps: int,
) -> tuple[Fitted, _State]:
    """EM from a state, and the fields from where they are."""
    components = state.components
    corrected = _corrected(values, fields)
    history: list[float] = []
    for step in range(steps):
        mixing = log_mixing(state.weights, places)
        density = log_gaussian(corrected, state.means, state.covariances)
        joint = log_joint(density, mixing)
        if flair is not None:
            other = log_unexplained(
                corrected, mixing, state.means, state.covariances,
                flair=flair, components=components,
            )  # fmt: skip
            joint = np.column_stack([joint, other])
        resp, log_prob = responsibilities(joint)
        resp = resp[:, : len(components)]
        shift = sum(float(f.at_samples().mean()) for f in fields)
        history.append(float(log_prob.mean()) - shift)
        if step == steps - 1:
            break
        state = state.maximise(corrected, resp, mixing if places is not None else None)
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
        weights = np.full(m, 1 / m)
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
            covariances[:, channel, channel] = max(residual, _MIN_VARIANCE)
        return cls(components, shares, anchors, weights, means, covariances)

    def maximise(self, x: Floats, resp: Floats, mixing: Floats | None) -> _State:
        """M-step: moments, ties of means and covariances, mixing weights."""
        n, d = x.shape
        m = len(self.components)
        tied = np.array([c.name in _CEREBRUM for c in self.components])
        size = resp.sum(axis=0) + 1e-9
        sums = resp.T @ x
        squares = (resp.T @ (x[:, :, None] * x[:, None]).reshape(n, d * d)).reshape(m, d, d)
        centres = sums / size[:, None]
        anchors = self.anchors.copy()
        for channel in range(d):
            precision = np.where(tied, size / self.covariances[:, channel, channel], 0)
            if channel == 0:
                found, _ = _tie(self.shares, precision, centres[:, 0], self.anchors[:, 0], n)
                anchors[:, 0] = _apart(found, self.anchors[:, 0])
            else:
                normal = (self.shares.T * precision) @ self.shares
                ridge = 1e-3 * np.trace(normal)
                pull = self.shares.T @ (precision * centres[:, channel])
                pull += ridge * self.anchors[:, channel]
                anchors[:, channel] = np.linalg.solve(normal + ridge * np.eye(3), pull)
        expected = self.shares @ anchors
        # Places have few voxels, and their intensity is what the atlas cannot know.
        kappa = np.where(tied, _MEAN_TIE, 0.1) * n / len(INTENSITY)
        nu = np.where(tied, _COVARIANCE_TIE, 0.05) * n / len(INTENSITY)
        means = (size[:, None] * centres + kappa[:, None] * expected) / (size + kappa)[:, None]
        # about the new means; intensities are about 0..1, so that squares lose nothing
        cross = means[:, :, None] * sums[:, None]
        scatter = squares - cross - cross.transpose(0, 2, 1)
        scatter += size[:, None, None] * means[:, :, None] * means[:, None]
        common = self._common(scatter, size, tied, anchors)
        covariances = (scatter + nu[:, None, None] * common) / (size + nu)[:, None, None]
        covariances += _MIN_VARIANCE * np.eye(d)
        if mixing is None:
            weights = size + _WEIGHT_TIE * n / m
            weights /= weights.sum()
        else:
            # Each weight scales its map until the map's total is what was found.
            weights = self.weights * size / np.exp(mixing).sum(axis=0)
            # The wall of the ventricles is too thin to say how much of it there is, and free to
            # grow it swallows cortex.
            wall = np.array([c.shares[0] > 0 and c.shares[2] > 0 for c in self.components])
            weights[wall] = 0.3 * weights[self._of("white")]
            weights /= weights.sum()
        return _State(self.components, self.shares, anchors, weights, means, covariances)

    def _of(self, name: str) -> int:
        return [c.name for c in self.components].index(name)

    def _common(
        self, scatter: Floats, size: Floats, tied: NDArray[np.bool_], anchors: Floats
    ) -> Floats:
        """Return the covariance that each component is expected to have."""
        # The noise is that of the scanner, the same in every tissue; CSF, which flows and borders
        # on everything, is not asked about it.
        solid = np.array([c.parent != 0 for c in self.components]) & tied
        common = np.empty_like(scatter)
        common[:] = scatter[solid].sum(axis=0) / size[solid].sum()
        gap = np.abs(anchors[2] - anchors[1])
        for k, component in enumerate(self.components):
            if component.name == "deep grey":
                common[k] = np.diag(np.maximum(_DEEP_SD * gap, 0.02) ** 2)
            elif component.shares[0] and component.shares[2]:
                common[k] = np.diag(np.maximum(0.2 * np.abs(anchors[2] - anchors[0]), 0.02) ** 2)
        return common
