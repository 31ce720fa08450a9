"""From a start to a fit: EM, its acceleration, and what to do with singular components."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any, Generic

import numpy as np

from brainseg.mixture.engine.acceleration import WARM, Climber
from brainseg.mixture.engine.blas import one_blas_thread
from brainseg.mixture.engine.densities import normalise
from brainseg.mixture.engine.em import C, Options, State, Walk, joints
from brainseg.mixture.engine.samples import Samples

log = logging.getLogger(__name__)

# A component that holds less than this share of an equal part counts as empty.
_EMPTY = 1e-6
# "At most a few times": a component that collapses again and again is not in the data.
_MAX_RESEEDS = 3


@dataclass(frozen=True, eq=False)
class Result(Generic[C]):
    """What EM found.

    Attributes
    ----------
    state : State
    objective : float
        Log-likelihood per sample at `state` (with a prior: plus its log-density / n).
    history : tuple of float
        The objective of every mixture that was kept, the initial one first.
    converged : bool
    n_iter : int
        Sweeps over the data after the first.
    singular : int
        Components that are empty or have shrunk to a point in the end.
    events : tuple of str
        Components that were started afresh.
    climber : Climber or None
        Curvature at the optimum, for going on with other samples of the same kind.
    """

    state: State[C]
    objective: float
    history: tuple[float, ...]
    converged: bool
    n_iter: int
    singular: int = 0
    events: tuple[str, ...] = ()
    climber: Climber[C] | None = None

    @property
    def rank(self) -> tuple[int, float]:
        """What is larger is better: few singular components, which raise the likelihood in vain."""
        return -self.singular, self.objective


def run_em(
    samples: Samples,
    start: State[C],
    options: Options,
    climber: Climber[C] | None = None,
) -> Result[C]:
    """Fit to convergence; the state returned is the one that was last evaluated.

    Parameters
    ----------
    samples : Samples
    start : State
    options : Options
    climber : Climber, optional
        Of an earlier fit that ended at `start`.
    """
    if options.convergence not in ("likelihood", "parameters"):
        raise ValueError(f"convergence {options.convergence!r}; use likelihood or parameters")
    with one_blas_thread():
        result = _once(samples, start, options, climber, last=not options.reseed)
        rng = np.random.default_rng(options.seed)
        events: list[str] = []
        n_iter = result.n_iter
        while options.reseed and result.singular and len(events) < _MAX_RESEEDS:
            state, event = _reseeded(samples, result.state, rng)
            # Whoever fits finds it in the result; the log of a scan may hold many fits.
            log.debug("%s", event)
            events.append(event)
            again = _once(samples, state, options, last=len(events) == _MAX_RESEEDS)
            n_iter += again.n_iter
            result = max(result, again, key=lambda r: r.rank)
    return replace(result, n_iter=n_iter, events=tuple(events))


def _once(
    samples: Samples,
    start: State[C],
    options: Options,
    climber: Climber[C] | None = None,
    *,
    last: bool,
) -> Result[C]:
    """Walk from one start; unless it is the last one, stop where a component becomes singular."""
    walk = Walk(samples, start, options)

    def singular() -> bool:
        return bool(_singular(samples, walk.state).any())

    if options.accelerate:
        if climber is None:
            walk.run(WARM)
            climber = Climber.around(walk.state)
        if climber is not None:
            climber.climb(walk, singular)
    while not walk.done and (last or not singular()):
        walk.run(WARM)
    return Result(
        walk.state,
        walk.objective,
        tuple(walk.history),
        walk.converged,
        walk.n_iter,
        int(_singular(samples, walk.state).sum()),
        climber=climber,
    )


def _singular(samples: Samples, state: State[Any]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Tell which components are empty or have shrunk to a point."""
    singular = state.components.collapsed()
    if samples.log_mixing is None:
        singular = singular | (state.log_weights < np.log(_EMPTY / len(state.log_weights)))
    return np.asarray(singular)


def _reseeded(samples: Samples, state: State[C], rng: np.random.Generator) -> tuple[State[C], str]:
    """Start the first singular component afresh among the worst explained samples.

    Of the hundredth of samples with the lowest density one is drawn.
    """
    k = int(np.flatnonzero(_singular(samples, state))[0])
    log_prob = np.concatenate([normalise(joint) for _, joint in joints(samples, state)])
    order = np.argsort(log_prob, kind="stable")
    weight = np.ones(len(order)) if samples.weight is None else samples.weight[order]
    share = np.cumsum(weight)
    cut = max(int(np.searchsorted(share, 0.01 * share[-1])), 1)
    row = order[rng.choice(cut, p=weight[:cut] / weight[:cut].sum())]
    n = len(state.log_weights)
    weights = np.exp(state.log_weights)
    what = "is empty" if weights[k] < _EMPTY / n else "has collapsed on a point"
    weights[k] = 0.5 / n
    components = state.components.reseeded(k, np.asarray(samples.x[row], dtype=np.float64))
    event = f"component {k + 1} of {n} {what}; it starts afresh where the fit is worst"
    return State(np.log(weights / weights.sum()), components), event
