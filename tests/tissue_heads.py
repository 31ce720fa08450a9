"""A small synthetic brain whose tissues are known, for the tests of the tissue fit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Head = tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.uint8]]

MEANS = np.array([0.0, 230.0, 530.0, 765.0])


def small_brain(
    *, noise: float = 0.03, bias: float = 0.0, size: int = 40, seed: int = 0, blur: float = 0.0
) -> Head:
    """White matter with folded grey around it, ventricles inside and CSF outside.

    Parameters
    ----------
    noise : float
        Standard deviation over the white matter's intensity.
    bias : float
        Range of a linear gain along the first axis.

    Returns
    -------
    data, mask, truth (1 CSF, 2 GM, 3 WM)
    """
    rng = np.random.default_rng(seed)
    grid = (np.indices((size,) * 3) - (size - 1) / 2) / (size / 2)
    radius = np.sqrt((grid**2).sum(axis=0))
    angle = np.arctan2(grid[1], grid[0])
    folds = 0.08 * np.sin(9 * angle) * np.cos(6 * grid[2])
    truth = np.zeros(radius.shape, np.uint8)
    truth[radius < 0.95] = 1
    truth[radius < 0.88 + folds / 2] = 2
    truth[radius < 0.66 + folds] = 3
    truth[radius < 0.22] = 1
    mask = truth > 0
    clean = MEANS[truth]
    if blur:
        clean = ndimage.gaussian_filter(clean, blur)
    gain = 1 + bias * grid[0] / 2
    sd = noise * MEANS[3]
    real = clean * gain + sd * rng.standard_normal(truth.shape)
    data = np.hypot(real, sd * rng.standard_normal(truth.shape))
    return data.astype(np.float32), mask, truth


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())
