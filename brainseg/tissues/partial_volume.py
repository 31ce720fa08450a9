"""Partial volume: how much of a voxel is CSF, grey and white matter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainseg.tissues.model import Floats, Model, anchors_of


def component_shares(values: Floats, model: Model) -> Floats:
    """Shares of CSF, GM and WM in a voxel, if it were of each component.

    A pure tissue fills its voxel. In a boundary class the position of the voxel's intensity on
    the line between its two pure neighbours (in the metric of the class' covariance) is the share
    of the brighter one, on the side of the half where the class lies: a class that says "mostly
    grey" has at least half of grey. Santago & Gage, IEEE Trans. Medical Imaging 12 (1993) 566-574,
    doi:10.1109/42.241885.

    Parameters
    ----------
    values : ndarray, shape (n, D)
        Bias-corrected intensities.
    model : Model

    Returns
    -------
    ndarray, shape (n, M, 3)
    """
    n, m = len(values), len(model.means)
    out = np.zeros((n, m, 3))
    pure = anchors_of(model.components) if model.components else ()
    for k, parent in enumerate(model.parents):
        ends = _ends(model, k)
        if ends is None:
            out[:, k, parent] = 1
            continue
        other = ends[0] if ends[1] == parent else ends[1]
        start, end = model.means[pure[other]], model.means[pure[parent]]
        whiten = np.linalg.inv(model.covariances[k])
        along = whiten @ (end - start)
        share = (values - start) @ along / max(float((end - start) @ along), 1e-12)
        share = np.clip(share, 0.5, 1.0)
        out[:, k, parent] = share
        out[:, k, other] = 1 - share
    return out


def _ends(model: Model, k: int) -> tuple[int, int] | None:
    """Return the two tissues of a boundary class, or None for a class that is one tissue."""
    if not model.components:
        return None
    component = model.components[k]
    if component.blend:
        return None
    tissues = [t for t in range(3) if component.shares[t] > 0]
    return (tissues[0], tissues[1]) if len(tissues) == 2 else None


def expected_fractions(posterior: NDArray[np.float32], shares: Floats) -> NDArray[np.float32]:
    """Average the shares of CSF, GM and WM in each voxel.

    Parameters
    ----------
    posterior : ndarray, shape (n, M)
    shares : ndarray, shape (n, M, 3)

    Returns
    -------
    ndarray of float32, shape (n, 3)
        Rows sum to 1.
    """
    mean = np.einsum("nm,nmt->nt", posterior, shares)
    mean /= np.maximum(mean.sum(axis=1, keepdims=True), 1e-12)
    return np.asarray(mean, np.float32)
