"""Where the fit of tissues starts: pure intensities found on the histogram of a T1-like scan."""

from __future__ import annotations

import numpy as np

from brainseg.tissues.model import CSF, INTENSITY, Floats
from brainseg.tissues.ties import CSF_STEP, MIN_VARIANCE, apart, tie_line

# Guesses of pure grey and white, in percentiles of the intensities.
_GREY, _WHITE = (20, 30, 40, 50, 60), (75, 85, 93)
N_STARTS = len(_GREY) * len(_WHITE)
"""Short fits, one from each pair of guesses, of which the best is kept."""
# Expected weights of `INTENSITY` in a head, for the choice among starts only.
_USUAL = np.array([0.08, 0.05, 0.08, 0.3, 0.1, 0.1, 0.29])
# The search on the histogram changes no more after forty steps. Its priors count as so many samples
# more, as shares of the real ones: `_USUAL` for the weights, the variance of grey and white for
# that of CSF.
_SEARCH_STEPS, _SEARCH_WEIGHT_TIE, _SEARCH_FLUID_TIE = 40, 0.3, 0.05


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
    for grey in _GREY:
        for white in _WHITE:
            if at[white] - at[grey] < 1e-3:
                continue
            score, found = _tied_em(x, share, at[grey], at[white])
            if score > best:
                best, anchors = score, found
    return apart(anchors, anchors)


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
    """EM for three anchors, two variances and the weights of `INTENSITY`; score and anchors."""
    shares = np.array([c.shares for c in INTENSITY])
    fluid = np.array([c.parent == CSF for c in INTENSITY])
    anchors = np.array([grey - CSF_STEP * (white - grey), grey, white])
    weights = _USUAL
    variances = np.full(len(shares), (0.25 * (white - grey)) ** 2)
    for _ in range(_SEARCH_STEPS):
        means = shares @ anchors
        log = np.log(weights) - 0.5 * np.log(variances)
        log = log - 0.5 * (x[:, None] - means) ** 2 / variances
        top = log.max(axis=1, keepdims=True)
        resp = np.exp(log - top)
        total = resp.sum(axis=1, keepdims=True)
        resp *= share[:, None] / total
        size = resp.sum(axis=0) + 1e-9
        anchors, pull = tie_line(shares, size / variances, x @ resp / size, anchors, 1.0)
        if not (anchors[0] < anchors[1] < anchors[2]):
            return -np.inf, anchors
        scatter = (resp * (x[:, None] - shares @ anchors) ** 2).sum(axis=0)
        solid = scatter[~fluid].sum() / size[~fluid].sum()
        watery = scatter[fluid].sum() + _SEARCH_FLUID_TIE * solid
        watery /= size[fluid].sum() + _SEARCH_FLUID_TIE
        variances = np.maximum(np.where(fluid, watery, solid), MIN_VARIANCE)
        weights = (size + _SEARCH_WEIGHT_TIE * _USUAL) / (1 + _SEARCH_WEIGHT_TIE)
    usual = _SEARCH_WEIGHT_TIE * _USUAL @ np.log(weights)
    score = share @ (np.log(total) + top)[:, 0] + usual - 0.5 * pull
    return float(score), anchors
