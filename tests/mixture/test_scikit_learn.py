"""The contract of scikit-learn's estimators: its own checks, and its tools at work on mixtures."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from brainseg import mixture as m
from brainseg.mixture import (
    CategoricalMixture,
    GaussianMixture,
    RicianMixture,
    StudentMixture,
)

ONE_COLUMN = "one column of samples is an intensity histogram: a 1-D array is welcome"
NO_NUMBER = "what is no number is a DataError, a ValueError, like every unusable sample"
DRAWN = (
    "K-means++ draws its start from the rows, so repeated rows start elsewhere than weighted ones, "
    "and 15 samples in 10 channels have many local maxima; from one start the two are the same: "
    "test_a_weight_is_a_number_of_repeats"
)
LEFT_OUT = {
    "check_fit1d": ONE_COLUMN,
    "check_dtype_object": NO_NUMBER,
    "check_sample_weight_equivalence_on_dense_data": DRAWN,
}


def left_out(estimator: object) -> dict[str, str]:
    return LEFT_OUT


@parametrize_with_checks(
    [GaussianMixture(2), StudentMixture(2, max_iter=50)], expected_failed_checks=left_out
)
def test_its_own_checks(estimator, check) -> None:
    check(estimator)


def samples(family: type) -> np.ndarray:
    rng = np.random.default_rng(0)
    if family is CategoricalMixture:
        return np.concatenate([rng.integers(0, 2, (200, 4)), rng.integers(1, 4, (200, 4))])
    d = 1 if family is RicianMixture else 2
    return np.abs(np.concatenate([rng.normal(20, 3, (200, d)), rng.normal(60, 5, (200, d))]))


FAMILIES = [GaussianMixture, StudentMixture, RicianMixture, CategoricalMixture]


@pytest.mark.parametrize("family", FAMILIES)
class TestEveryFamily:
    def test_parameters_are_kept_as_given_and_clones_are_unfitted(self, family) -> None:
        one = family(3, tol=1e-5, random_state=np.random.RandomState(4))
        assert one.get_params()["tol"] == 1e-5
        other = clone(one)
        assert other.get_params() == one.get_params()
        assert other.set_params(n_components=2).n_components == 2
        with pytest.raises(ValueError, match="no parameter 'colour'"):
            other.set_params(colour=1)

    def test_before_the_fit_it_says_so(self, family) -> None:
        x = samples(family)
        for call in ("predict", "predict_proba", "score_samples", "score", "bic", "aic"):
            with pytest.raises(NotFittedError, match="not fitted"):
                getattr(family(2), call)(x)
        with pytest.raises(NotFittedError):
            family(2).sample(3)

    def test_scores_and_labels_belong_together(self, family) -> None:
        x = samples(family)
        fitted = family(2).fit(x)
        assert fitted.n_features_in_ == x.shape[1]
        np.testing.assert_array_equal(family(2).fit_predict(x), fitted.predict(x))
        np.testing.assert_array_equal(fitted.predict_proba(x).argmax(axis=1), fitted.predict(x))
        assert fitted.score(x) == pytest.approx(fitted.score_samples(x).mean(), rel=1e-12)
        total, p = fitted.score_samples(x).sum(), fitted.n_parameters
        assert fitted.aic(x) == pytest.approx(2 * p - 2 * total, rel=1e-12)
        assert fitted.bic(x) == pytest.approx(p * np.log(len(x)) - 2 * total, rel=1e-12)

    def test_pickle_cross_validation_and_grid_search(self, family) -> None:
        x = samples(family)
        rng = np.random.default_rng(1)
        x = x[rng.permutation(len(x))]
        fitted = family(2).fit(x)
        again = pickle.loads(pickle.dumps(fitted))
        np.testing.assert_array_equal(again.predict_proba(x), fitted.predict_proba(x))
        scores = cross_val_score(family(2), x, cv=3)
        assert np.isfinite(scores).all()
        # Two clear clusters: two components explain held-out samples better than one.
        search = GridSearchCV(family(1), {"n_components": [1, 2]}, cv=3).fit(x)
        assert search.best_params_ == {"n_components": 2}

    def test_random_states(self, family) -> None:
        x = samples(family)
        fitted = family(2, random_state=3).fit(x)
        np.testing.assert_array_equal(fitted.sample(5)[0], fitted.sample(5)[0])
        for source in (np.random.default_rng(0), np.random.RandomState(0)):
            fitted.set_params(random_state=source)
            assert not np.array_equal(fitted.sample(50)[0], fitted.sample(50)[0])
        fitted.set_params(random_state=None)
        assert not np.array_equal(fitted.sample(50)[0], fitted.sample(50)[0])
        with pytest.raises(ValueError, match="random_state"):
            family(2, random_state=-1).fit(x)


def test_a_step_of_a_pipeline() -> None:
    x = samples(GaussianMixture)
    pipe = make_pipeline(StandardScaler(), GaussianMixture(2)).fit(x)
    assert set(pipe.predict(x)) == {0, 1}
    alone = GaussianMixture(2).fit(StandardScaler().fit_transform(x))
    assert pipe.score(x) == pytest.approx(alone.score(StandardScaler().fit_transform(x)))


def test_a_clone_keeps_the_fitted_start() -> None:
    x = samples(GaussianMixture)
    start = GaussianMixture(2).fit(x)
    again = clone(GaussianMixture(2, init=start, max_iter=0)).fit(x)
    np.testing.assert_allclose(again.means_, start.means_, rtol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_weight_is_a_number_of_repeats(family) -> None:
    x = samples(family)
    weight = np.random.default_rng(5).integers(0, 4, len(x))
    start = family(2).fit(x)
    weighted = family(2, init=start).fit(x, sample_weight=weight)
    repeated = family(2, init=start).fit(np.repeat(x, weight, axis=0))
    # Both stop within 1e-8 nats of the maximum, which leaves 1e-4 of a parameter open.
    np.testing.assert_allclose(weighted.predict_proba(x), repeated.predict_proba(x), atol=1e-3)


def test_it_is_not_imported_at_run_time() -> None:
    code = (
        "import sys, numpy as np; from brainseg.mixture import GaussianMixture as G; "
        "g = G(2).fit(np.arange(20.0)); g.predict(np.arange(3.0)); repr(g); "
        "assert not any(n.split('.')[0] == 'sklearn' for n in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_documented() -> None:
    for name in m.__all__:
        if callable(getattr(m, name)):
            assert getattr(m, name).__doc__, name
