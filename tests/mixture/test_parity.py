"""The same optimum as scikit-learn's from the same start, where the optimum is clear."""

from __future__ import annotations

import numpy as np
import pytest

from brainseg.mixture import GaussianMixture

sklearn_mixture = pytest.importorskip("sklearn.mixture", reason="scikit-learn is not installed")
KINDS = ["full", "tied", "diag", "spherical"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("accelerate", [False, True])
def test_parameters_agree_to_a_millionth(kind: str, d: int, accelerate: bool) -> None:
    rng = np.random.default_rng(d)
    x = np.concatenate([rng.normal(m, s, (300, d)) for m, s in ((0, 1), (5, 1.2), (11, 0.8))])
    means = np.array([[0.5] * d, [4.0] * d, [10.0] * d])
    eye = {
        "full": np.repeat(np.eye(d)[None], 3, 0),
        "tied": np.eye(d),
        "diag": np.ones((3, d)),
        "spherical": np.ones(3),
    }[kind]

    class Start:
        weights_, means_, covariances_ = np.ones(3) / 3, means, eye

    ours = GaussianMixture(
        3, covariance_type=kind, init=Start, tol=1e-14, accelerate=accelerate
    ).fit(x)
    theirs = sklearn_mixture.GaussianMixture(
        3, covariance_type=kind, tol=1e-14, max_iter=2000, reg_covar=0,
        weights_init=np.ones(3) / 3, means_init=means,
        precisions_init=np.linalg.inv(eye) if eye.ndim > 1 and kind != "diag" else 1 / eye,
    ).fit(x)  # fmt: skip
    np.testing.assert_allclose(ours.weights_, theirs.weights_, atol=1e-6)
    np.testing.assert_allclose(ours.means_, theirs.means_, atol=1e-6)
    np.testing.assert_allclose(ours.covariances_, theirs.covariances_, atol=1e-6)
    np.testing.assert_allclose(ours.score(x), theirs.score(x), atol=1e-9)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=1e-6)
