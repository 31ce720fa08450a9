"""What all mixtures share: the fit from start to end, responsibilities, likelihood, sampling."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from typing import Any, ClassVar, Generic, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainseg.errors import DataError
from brainseg.mixture.engine.arrays import Floats, Ints, as_labels, as_sample_weight, as_samples
from brainseg.mixture.engine.blas import one_blas_thread
from brainseg.mixture.engine.densities import normalise
from brainseg.mixture.engine.em import C, Options, State, Walk, joints
from brainseg.mixture.engine.estimator import Estimator, RandomState, not_fitted, seed_of
from brainseg.mixture.engine.fitting import Result, run_em
from brainseg.mixture.engine.histogram import Histogram
from brainseg.mixture.engine.prior import ConjugatePrior
from brainseg.mixture.engine.samples import Samples
from brainseg.mixture.families.starts import STARTS, assign, prepare

CONVERGENCE = ("likelihood", "parameters")


class Mixture(Estimator, ABC, Generic[C]):
    """A mixture of K components of any family; see `GaussianMixture` for all that it does.

    It keeps scikit-learn's contract for density estimators. A family says how its components start
    (`_first`, `_given`) and under which names its fitted parameters appear (`_publish`); the rest,
    the EM loop above all, is the same for all.
    """

    prior: ConjugatePrior | None = None
    # Whether values have a distance, so that near ones may share a cell of a histogram.
    _metric: ClassVar[bool] = True

    def __init__(
        self,
        n_components: int = 6,
        *,
        init: Any = "kmeans",
        n_init: int = 1,
        tol: float = 1e-8,
        convergence: str = "likelihood",
        max_iter: int = 10_000,
        accelerate: bool = True,
        random_state: RandomState = 0,
    ) -> None:
        self.n_components = n_components
        self.init = init
        self.n_init = n_init
        self.tol = tol
        self.convergence = convergence
        self.max_iter = max_iter
        self.accelerate = accelerate
        self.random_state = random_state

    def _check_params(self) -> None:
        """Raise DataError where a parameter of the constructor is out of range."""
        if self.n_components < 1:
            raise DataError(f"`n_components`: {self.n_components} given; use 1 or more")
        if isinstance(self.init, str) and self.init not in STARTS:
            raise DataError(f"`init`: {self.init!r} given; use one of {STARTS} or a mixture")
        if self.convergence not in CONVERGENCE:
            raise DataError(f"`convergence`: {self.convergence!r} given; use one of {CONVERGENCE}")
        if self.n_init < 1:
            raise DataError(f"`n_init`: {self.n_init} given; use 1 or more")

    @abstractmethod
    def _first(self, samples: Samples, index: Ints) -> State[C]:
        """Return the mixture of rows that were given to components."""

    @abstractmethod
    def _given(self, samples: Samples) -> State[C]:
        """Return the mixture that `init` is."""

    @abstractmethod
    def _publish(self, components: C) -> None:
        """Set the attributes that carry the parameters."""

    def fit(
        self,
        X: ArrayLike | Histogram,
        y: object = None,
        *,
        labels: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        log_mixing: NDArray[Any] | None = None,
    ) -> Self:
        """Estimate the parameters.

        Parameters
        ----------
        X : array_like, shape (n,) or (n, D), or Histogram
            Intensities. One channel goes through its histogram, exactly where the values are few.
        y : object
            Not used; scikit-learn's tools pass it.
        labels : array_like of int, shape (n,), optional
            Known component of each sample, -1 where unknown. With all known this is one M-step
            (maximum likelihood with labels); otherwise the known ones stay clamped. Component k
            is label k; nothing is sorted.
        sample_weight : array_like, shape (n,), optional
        log_mixing : ndarray, shape (n, K), optional
            Logarithms of mixing weights of each sample (spatial priors) in place of the
            mixture's own; columns are components, nothing is sorted.

        Raises
        ------
        DataError
            When samples, weights or labels are unusable, or fewer than the components.
        """
        self._check_params()
        k, seed = self.n_components, seed_of(self.random_state)
        if isinstance(X, Histogram):
            if labels is not None or sample_weight is not None or log_mixing is not None:
                raise DataError("a histogram has lost which sample is which: fit the samples")
            samples, small = prepare(X, k, metric=self._metric)
        else:
            x = as_samples(X)
            known = as_labels(labels, len(x), k)
            weight = as_sample_weight(sample_weight, len(x))
            if weight is not None and not weight.all():
                # A sample of weight 0 is none: it may not draw a start to itself either.
                rows = weight > 0
                x, weight = x[rows], weight[rows]
                known = None if known is None else known[rows]
                log_mixing = None if log_mixing is None else log_mixing[rows]
            samples, small = prepare(x, k, weight, known, log_mixing, metric=self._metric)
        options = Options(
            tol=self.tol,
            convergence=self.convergence,
            max_iter=self.max_iter,
            accelerate=self.accelerate,
            dirichlet=self.prior,
            reseed=self.prior is None,
            seed=seed,
        )
        if samples.labels is not None and (samples.labels >= 0).all():
            return self._keep(self._supervised(samples, options), sort=False)
        if isinstance(self.init, str):
            best: Result[C] | None = None
            for attempt in range(self.n_init):
                result = run_em(small, self._start(small, attempt, seed), options)
                if best is None or result.rank > best.rank:
                    best = result
            assert best is not None
            if small is not samples:
                best = run_em(samples, best.state, options, best.climber)
        else:
            best = run_em(samples, self._given(small), options)
        return self._keep(best, sort=samples.labels is None and samples.log_mixing is None)

    def _start(self, samples: Samples, attempt: int, seed: int) -> State[C]:
        start = self.init if attempt == 0 or self.init == "random" else "seeds"
        index = assign(samples, start, seed + attempt)
        if samples.labels is None:
            index = _in_order(samples, index, self.n_components)
        return self._first(samples, index)

    def _supervised(self, samples: Samples, options: Options) -> Result[C]:
        assert samples.labels is not None
        missing = np.setdiff1d(np.arange(self.n_components), samples.labels)
        if missing.size and self.prior is None:
            raise DataError(f"no sample is labelled {missing.tolist()}; every component needs some")
        state = self._first(samples, samples.labels)
        with one_blas_thread():
            objective = Walk(samples, state, options).objective
        return Result(state, objective, (objective,), True, 0)

    def _keep(self, result: Result[C], *, sort: bool) -> Self:
        state = result.state
        self.order_ = np.arange(self.n_components)
        if sort:
            self.order_ = np.argsort(state.components.sort_keys(), kind="stable")
            state = state.permuted(self.order_)
        self._set(state)
        self.converged_ = result.converged
        self.n_iter_ = result.n_iter
        self.history_ = result.history
        self.log_likelihood_ = result.objective
        self.events_ = result.events
        return self

    def _set(self, state: State[C]) -> None:
        self._state = state
        self.n_features_in_ = state.components.n_features
        self.weights_: Floats = np.exp(state.log_weights)
        self._publish(state.components)

    def _rows(self, X: ArrayLike, log_mixing: NDArray[Any] | None = None) -> Samples:
        d = self.state.components.n_features
        x = as_samples(X)
        if np.ndim(X) == 1 and d > 1:
            raise DataError(
                f"Reshape your data: a 1-D array of {len(x)} values was given, and the mixture has "
                f"{d} channels; use X.reshape(1, -1) for one sample"
            )
        if x.shape[1] != d:
            raise DataError(
                f"X has {x.shape[1]} features, but {type(self).__name__} is expecting {d} "
                "features as input: give the channels that it was fitted to"
            )
        return Samples(x, self.n_components, log_mixing=log_mixing)

    def predict_proba(self, X: ArrayLike, log_mixing: NDArray[Any] | None = None) -> Floats:
        """Responsibilities of the components for each sample, shape (n, K); rows sum to 1."""
        samples = self._rows(X, log_mixing)
        out = np.empty((len(samples), self.n_components))
        start = 0
        with one_blas_thread():
            for _, joint in joints(samples, self.state):
                normalise(joint)
                out[start : start + len(joint)] = joint
                start += len(joint)
        return out

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """Component of the largest responsibility of each sample, shape (n,), from 0."""
        with one_blas_thread():
            parts = [joint.argmax(axis=1) for _, joint in joints(self._rows(X), self.state)]
        return np.concatenate(parts)

    def fit_predict(self, X: ArrayLike, y: object = None) -> NDArray[np.int64]:
        """Fit, and return the component of the largest responsibility of each sample."""
        return self.fit(X).predict(X)

    def score_samples(self, X: ArrayLike, log_mixing: NDArray[Any] | None = None) -> Floats:
        """Marginal log-density log p(x_n) of each sample, shape (n,), nats."""
        with one_blas_thread():
            rows = self._rows(X, log_mixing)
            parts = [normalise(joint) for _, joint in joints(rows, self.state)]
        return np.concatenate(parts)

    log_prob = score_samples

    def score(
        self, X: ArrayLike, y: object = None, *, sample_weight: ArrayLike | None = None
    ) -> float:
        """Mean log-density per sample, nats."""
        log_p = self.score_samples(X)
        return float(np.average(log_p, weights=as_sample_weight(sample_weight, len(log_p))))

    def bic(self, X: ArrayLike) -> float:
        """Bayesian information criterion of the mixture on samples; lower is better.

        Schwarz, Ann. Stat. 6 (1978) 461-464, doi:10.1214/aos/1176344136.
        """
        log_p = self.score_samples(X)
        return float(-2 * log_p.sum() + self.n_parameters * np.log(len(log_p)))

    def aic(self, X: ArrayLike) -> float:
        """Akaike's information criterion of the mixture on samples; lower is better.

        Akaike, IEEE Trans. Autom. Control 19 (1974) 716-723, doi:10.1109/TAC.1974.1100705.
        """
        return float(-2 * self.score_samples(X).sum() + 2 * self.n_parameters)

    def sample(self, n_samples: int = 1, random_state: RandomState = None) -> tuple[Floats, Ints]:
        """Ancestral sampling: draw z from p(z), then x from p(x | z). Bishop (2006), section 8.1.2.

        Parameters
        ----------
        n_samples : int
        random_state : int, RandomState, Generator or None
            None takes the mixture's own: an int there gives the same samples at each call, a
            generator new ones.

        Returns
        -------
        x : ndarray of float64, shape (n, D)
        z : ndarray of int64, shape (n,)
            The component that each sample came from, from 0.
        """
        components = self.state.components
        rng = self._generator(random_state)
        z = rng.choice(self.n_components, size=n_samples, p=self.weights_ / self.weights_.sum())
        by_component = components.sample(np.bincount(z, minlength=self.n_components), rng)
        x = np.empty_like(by_component)
        x[np.argsort(z, kind="stable")] = by_component
        return x, z.astype(np.int64)

    def _generator(self, random_state: RandomState) -> np.random.Generator:
        """Return a generator: that of the caller, else of the mixture."""
        chosen = self.random_state if random_state is None else random_state
        return np.random.default_rng(seed_of(chosen))

    def reordered(self, order: ArrayLike) -> Self:
        """Return the same mixture with all its parameters in another order, see `align`."""
        index = np.asarray(order, dtype=np.int64)
        if not np.array_equal(np.sort(index), np.arange(self.n_components)):
            raise ValueError(f"{order!r} is not a permutation of {self.n_components} components")
        other = copy(self)
        other._set(self.state.permuted(index))
        return other

    @property
    def state(self) -> State[C]:
        """The fitted weights and components as one immutable value.

        Raises
        ------
        NotFittedError
        """
        if not hasattr(self, "_state"):
            raise not_fitted(self)
        return self._state

    @property
    def n_parameters(self) -> int:
        """Number of free parameters, for information criteria."""
        return self.state.components.n_parameters + self.n_components - 1


def _in_order(samples: Samples, index: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Renumber groups of rows by their mean in the first channel."""
    x = np.asarray(samples.x[:, 0], dtype=np.float64)
    weight = np.ones(len(x)) if samples.weight is None else samples.weight
    counts = np.bincount(index, weight, k)
    total = np.bincount(index, weight * x, k)
    means = np.where(counts > 0, total / np.maximum(counts, 1e-300), np.inf)
    rank = np.empty(k, dtype=np.int64)
    rank[np.argsort(means, kind="stable")] = np.arange(k)
    return rank[index]
