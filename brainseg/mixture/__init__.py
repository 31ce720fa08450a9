"""The mixture engine: EM for mixtures, exact, fast; arrays in, arrays out, no images.

Fit and use
-----------
>>> mixture = GaussianMixture(6).fit(X)               # X (n,) or (n, D); K-means start, EM
>>> mixture.weights_, mixture.means_, mixture.covariances_   # in order of the first mean
>>> mixture.predict_proba(X)                          # responsibilities (n, K), rows sum to 1
>>> mixture.score_samples(X)                          # log p(x_n), shape (n,)
>>> mixture.history_                                  # log-likelihood per sample, never falls

Every mixture keeps scikit-learn's contract (clone, Pipeline, GridSearchCV, cross_val_score;
`score`, `bic`, `aic`, `fit_predict`) without needing it. `StudentMixture`, `RicianMixture` (one
channel of magnitudes) and `CategoricalMixture` (columns of symbols) share the loop.
`align(reference, mixture)` renumbers one mixture's components like another's, as K! orders are the
same model.

`GaussianMixture(K, covariance_type=, init=, n_init=, tol=, convergence=, max_iter=, prior=,
accelerate=, min_variance=, random_state=)`; `fit(X, y=None, *, labels=None, sample_weight=None,
log_mixing=None)`. `X` may be a `Histogram`: `Histogram.from_samples(x)` is exact for few distinct
values, and histograms add, so that a cohort is ``sum(histograms)``. One channel always goes
through its histogram. `labels` (0..K-1, -1 unknown) clamp samples; with all known the fit is one
M-step. `log_mixing` (n, K) puts spatial priors in place of the mixture's own weights.
`ConjugatePrior.around(weights, means, covariances, mean_strength=, covariance_strength=,
weight_strength=)` or `.weak(mean, covariance, K)` as `prior` makes the fit MAP-EM.

The steps by themselves (for a Markov field, a bias field, any other E-step weights)
-----------------------------------------------------------------------------------
>>> log_density = log_gaussian(X, means, covariances)         # (n, K); covariances (K, D, D)
>>> resp, log_prob = responsibilities(log_joint(log_density, log_weights))  # (K,) or (n, K)
>>> log_likelihood(log_prob, sample_weight)
>>> weights, means, covariances = maximise(X, resp, sample_weight=w, prior=prior)
>>> clusters = kmeans(X, K, sample_weight=w)                   # .centres, .labels, .inertia
"""

from brainseg.mixture.alignment import align, bhattacharyya
from brainseg.mixture.engine.covariances import expand_covariances
from brainseg.mixture.engine.densities import (
    effective_counts,
    log_gaussian,
    log_joint,
    log_likelihood,
    responsibilities,
)
from brainseg.mixture.engine.histogram import Histogram
from brainseg.mixture.engine.kmeans import Clusters, kmeans
from brainseg.mixture.engine.prior import ConjugatePrior
from brainseg.mixture.families.categorical import CategoricalMixture
from brainseg.mixture.families.gaussian import GaussianMixture
from brainseg.mixture.families.gaussian_components import maximise
from brainseg.mixture.families.rician import RicianMixture
from brainseg.mixture.families.student import StudentMixture
from brainseg.mixture.selection import CRITERIA, Candidate, best, select_model
from brainseg.mixture.snapshots import Snapshot, converged, snapshots

__all__ = [
    "CRITERIA",
    "Candidate",
    "CategoricalMixture",
    "Clusters",
    "ConjugatePrior",
    "GaussianMixture",
    "Histogram",
    "RicianMixture",
    "Snapshot",
    "StudentMixture",
    "align",
    "best",
    "bhattacharyya",
    "converged",
    "effective_counts",
    "expand_covariances",
    "kmeans",
    "log_gaussian",
    "log_joint",
    "log_likelihood",
    "maximise",
    "responsibilities",
    "select_model",
    "snapshots",
]
