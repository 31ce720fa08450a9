"""Where EM starts: rows are given to components, and one M-step makes parameters of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from brainseg.mixture.engine.arrays import Floats, Ints, upper
from brainseg.mixture.engine.em import C, State
from brainseg.mixture.engine.histogram import Histogram
from brainseg.mixture.engine.kmeans import kmeans
from brainseg.mixture.engine.prior import ConjugatePrior
from brainseg.mixture.engine.samples import BLOCK, Samples
from brainseg.mixture.families.gaussian_components import GaussianComponents

STARTS = ("kmeans", "random", "quantile")
# No component may be narrower than a thousandth of a typical one; see `spread`.
FLOOR = 1e-6
# More distinct rows than this are first thinned or binned: the start need not be exact.
_ROWS = 50_000


def prepare(
    X: NDArray[Any] | Histogram,
    n_components: int,
    weight: Floats | None = None,
    labels: Ints | None = None,
    log_mixing: NDArray[Any] | None = None,
    metric: bool = True,
) -> tuple[Samples, Samples]:
    """Condense data where that loses nothing, and make a small stand-in for the first steps.

    Returns
    -------
    samples : Samples
        What EM runs on in the end: a histogram for one channel, distinct rows where they are
        fewer than half of all rows, the rows themselves otherwise.
    small : Samples
        The same, or a coarse joint histogram of it.
    """
    k = n_components
    coarse = None
    if isinstance(X, Histogram):
        whole = Samples(X.values, k, X.counts, X.scatter)
    elif log_mixing is not None:
        whole = Samples(X, k, weight, None, labels, log_mixing)
    elif X.shape[1] == 1:
        whole = _by_label(X, k, weight, labels, exact_limit=65536)
    else:
        whole = Samples(X, k, weight, None, labels)
        if len(X) > _ROWS:
            condensed = _by_label(X, k, weight, labels, exact_limit=len(X) // 2, fineness=8)
            if condensed.scatter is None:
                whole = condensed
            else:
                coarse = condensed
    if len(whole) <= _ROWS or whole.n_features == 1 or not metric:
        return whole, whole
    if whole.log_mixing is not None:
        return whole, whole.thinned(np.arange(0, len(whole), len(whole) // _ROWS))
    if coarse is None:
        coarse = _by_label(whole.x, k, whole.weight, whole.labels, exact_limit=0, fineness=8)
    return whole, coarse


def _by_label(
    X: NDArray[Any], k: int, weight: Floats | None, labels: Ints | None, **options: float
) -> Samples:
    """One histogram for each label (and for none), joined."""
    if labels is None:
        h = Histogram.from_samples(X, weight, **options)  # type: ignore[arg-type]
        return Samples(h.values, k, h.counts, h.scatter)
    parts, known = [], []
    for label in np.unique(labels):
        rows = labels == label
        w = None if weight is None else weight[rows]
        if w is not None and not w.any():
            continue
        parts.append(Histogram.from_samples(X[rows], w, **options))  # type: ignore[arg-type]
        known.append(np.full(len(parts[-1]), label))
    exact = all(h.exact for h in parts)
    return Samples(
        np.concatenate([h.values for h in parts]),
        k,
        np.concatenate([h.counts for h in parts]),
        None if exact else np.concatenate([h.full_scatter() for h in parts]),
        np.concatenate(known),
    )


def assign(samples: Samples, start: str, seed: int) -> Ints:
    """Give each row to a component.

    Parameters
    ----------
    samples : Samples
    start : {"kmeans", "random", "quantile", "seeds"}
        ``random`` and ``seeds`` give rows to the nearest of K samples, drawn evenly or by
        k-means++; ``quantile`` cuts the first principal axis into parts of equal weight.
    seed : int
    """
    k = samples.n_components
    x = np.asarray(samples.x, dtype=np.float64)
    weight = np.ones(len(x)) if samples.weight is None else samples.weight
    if start == "quantile":
        axis = _principal(x, weight)
        order = np.argsort(axis, kind="stable")
        share = np.cumsum(weight[order])
        index = np.empty(len(x), dtype=np.int64)
        middle = (share - 0.5 * weight[order]) / share[-1]
        index[order] = np.minimum((middle * k).astype(np.int64), k - 1)
    elif start == "random":
        rng = np.random.default_rng(seed)
        distinct = np.unique(x, axis=0, return_index=True)[1]
        drawn = rng.choice(
            distinct, k, replace=len(distinct) < k, p=weight[distinct] / weight[distinct].sum()
        )
        index = nearest(x, x[drawn])
    else:
        cycles = {"n_init": 4} if start == "kmeans" else {"n_init": 1, "max_iter": 1}
        index = kmeans(x, k, sample_weight=weight, random_state=seed, **cycles).labels
    if samples.labels is not None:
        index = _with_labels(x, weight, index, samples.labels, k)
    return index


def nearest(x: Floats, centres: Floats) -> Ints:
    """Index of the nearest centre of each row."""
    square = ((x[:, None, :] - centres) ** 2).sum(axis=2)
    index: Ints = square.argmin(axis=1)
    return index


def _principal(x: Floats, weight: Floats) -> Floats:
    centred = x - np.average(x, axis=0, weights=weight)
    if x.shape[1] == 1:
        return centred[:, 0]
    _, vectors = np.linalg.eigh((centred * weight[:, None]).T @ centred)
    axis: Floats = centred @ (vectors[:, -1] * (1 if vectors[0, -1] >= 0 else -1))
    return axis


def _with_labels(x: Floats, weight: Floats, index: Ints, labels: Ints, k: int) -> Ints:
    """Rename clusters so that they fit the labelled rows, which keep their labels."""
    centres = np.empty((k, x.shape[1]))
    for c in range(k):
        rows = index == c
        centres[c] = np.average(x[rows], axis=0, weights=weight[rows]) if rows.any() else x[0]
    named = np.unique(labels[labels >= 0])
    means = np.array(
        [np.average(x[labels == c], axis=0, weights=weight[labels == c]) for c in named]
    )
    distance = ((means[:, None] - centres) ** 2).sum(axis=2)
    row, column = linear_sum_assignment(distance)
    left = [c for c in range(k) if c not in set(column)]
    joint = np.empty_like(centres)
    joint[named[row]] = means[row]
    joint[[c for c in range(k) if c not in set(named)]] = centres[left]
    return np.where(labels >= 0, labels, nearest(x, joint))


def one_hot(index: Ints, k: int) -> Floats:
    """Responsibilities of 0 and 1, shape (n, K), Fortran-ordered."""
    out = np.zeros((k, len(index)))
    out[index, np.arange(len(index))] = 1.0
    return out.T


def gaussian_template(
    samples: Samples,
    index: Ints,
    covariance_type: str = "full",
    min_variance: float | None = None,
    prior: ConjugatePrior | None = None,
) -> GaussianComponents:
    """Return equal Gaussians of typical size amid the data, about which moments are taken."""
    k, d = samples.n_components, samples.n_features
    unit, floor = spread(samples, index)
    if min_variance is not None:
        floor = np.full(d, min_variance)
    centre = np.average(np.asarray(samples.x, dtype=np.float64), axis=0, weights=samples.weight)
    cov = np.repeat(np.diag(unit**2)[None], k, axis=0)
    means = np.repeat(centre[None], k, axis=0)
    return GaussianComponents(means, cov, covariance_type, unit, floor, centre, prior)


def first_state(samples: Samples, index: Ints, template: C) -> State[C]:
    """One M-step from rows given to components."""
    total = None
    start = 0
    for block in samples.blocks():
        resp = one_hot(index[start : start + len(block.x)], samples.n_components)
        part = template.statistics(block, resp * block.weight[:, None])
        total = part if total is None else total + part
        start += len(block.x)
    assert total is not None
    counts = total[:, 0]
    weights = np.maximum(counts, 1e-3 * counts.mean())
    return State(np.log(weights / weights.sum()), template.maximise(total))


def spread(samples: Samples, index: Ints) -> tuple[Floats, Floats]:
    """Typical standard deviation of a component in each channel, and the floor of variances.

    The floor is a millionth of the typical variance, and not less than that of a rounding step
    where data are whole multiples of one: below it the likelihood of rounded data is no measure.

    Returns
    -------
    unit : ndarray, shape (D,)
    floor : ndarray, shape (D,)
    """
    x = np.asarray(samples.x, dtype=np.float64)
    weight = np.ones(len(x)) if samples.weight is None else samples.weight
    d = x.shape[1]
    within, overall = np.zeros(d), np.empty(d)
    diagonal = np.flatnonzero(np.equal(*upper(d)))
    for c in range(d):
        for k in np.unique(index):
            rows = index == k
            if weight[rows].sum() > 0:
                mean = np.average(x[rows, c], weights=weight[rows])
                within[c] += (weight[rows] * (x[rows, c] - mean) ** 2).sum()
        overall[c] = np.average(
            (x[:, c] - np.average(x[:, c], weights=weight)) ** 2, weights=weight
        )
    within /= weight.sum()
    if samples.scatter is not None:
        within += np.average(samples.scatter[:, diagonal], axis=0, weights=weight)
    size = np.maximum(np.abs(x).max(axis=0), 1e-150)
    # Constant channels and values as few as the components leave no spread but rounding's.
    some = within > (1e-10 * size) ** 2
    unit = np.sqrt(np.where(some, within, np.maximum(1e-6 * overall, (1e-10 * size) ** 2)))
    step = (
        np.zeros(d) if samples.scatter is not None else np.array([_step(x[:, c]) for c in range(d)])
    )
    return unit, np.maximum(FLOOR * unit**2, step**2 / 12)


def _step(column: Floats) -> float:
    """Return the rounding step of data that are whole multiples of one; 0 where there is none."""
    values = np.unique(column[: BLOCK * 8])
    if len(values) < 3:
        return 0.0
    gaps = np.diff(values)
    step = float(gaps.min())
    ratio = gaps / step
    whole = np.abs(ratio - np.rint(ratio)).max() < 1e-3
    return step if whole else 0.0
