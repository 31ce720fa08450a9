"""Expectation maximisation: one loop for every family of components.

Dempster, Laird & Rubin, J. R. Stat. Soc. B 39 (1977) 1-38, doi:10.1111/j.2517-6161.1977.tb01600.x.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from brainseg.mixture.engine.arrays import Floats, Ints
from brainseg.mixture.engine.components import Components
from brainseg.mixture.engine.densities import normalise
from brainseg.mixture.engine.prior import ConjugatePrior
from brainseg.mixture.engine.samples import Block, Samples

C = TypeVar("C", bound=Components)

# The logarithm of a weight of zero would be -inf and could never grow again.
LOG_TINY = -700.0


@dataclass(frozen=True, eq=False)
class State(Generic[C]):
    """A mixture: logarithms of the mixing weights, shape (K,), and the components."""

    log_weights: Floats
    components: C

    def permuted(self, order: Ints) -> State[C]:
        """Return the mixture with its components in another order."""
        return State(self.log_weights[order], self.components.permuted(order))


@dataclass(frozen=True)
class Options:
    """How EM runs.

    Attributes
    ----------
    tol : float
        Stop when a cycle gains less than this per sample (``likelihood``, nats), or moves no
        parameter by more (``parameters``: weights absolutely, the rest in typical standard
        deviations).
    convergence : {"likelihood", "parameters"}
    max_iter : int
        Sweeps over the data at most, the first one not counted.
    accelerate : bool
        Go on with quasi-Newton steps, safeguarded, where the components offer coordinates.
    dirichlet : ConjugatePrior or None
        Its `alpha` acts on the weights; its other parts act inside the components.
    fixed_weights : bool
        Leave the weights as they are.
    reseed : bool
        Let collapsed and empty components start afresh.
    seed : int
    """

    tol: float = 1e-8
    convergence: str = "likelihood"
    max_iter: int = 10_000
    accelerate: bool = True
    dirichlet: ConjugatePrior | None = None
    fixed_weights: bool = False
    reseed: bool = True
    seed: int = 0


def joints(samples: Samples, state: State[C]) -> Iterator[tuple[Block, Floats]]:
    """Yield each block of rows with its joint log-densities, shape (b, K)."""
    for block in samples.blocks():
        joint = state.components.log_density(block)
        if samples.log_mixing is None:
            joint += state.log_weights
        if block.offset is not None:
            joint += block.offset
        yield block, joint


def sweep(samples: Samples, state: State[C]) -> tuple[float, Floats]:
    """E-step over all rows, summed block by block in a fixed order.

    Returns
    -------
    log_likelihood : float
        Sum over samples, nats.
    statistics : ndarray, shape (K, S)
        What the M-step needs.
    """
    total, likelihood = None, 0.0
    for block, joint in joints(samples, state):
        log_prob = normalise(joint)
        likelihood += float((log_prob * block.weight).sum())
        joint *= block.weight[:, None]
        part = state.components.statistics(block, joint)
        total = part if total is None else total + part
    assert total is not None
    return likelihood, total


def m_step(state: State[C], statistics: Floats, options: Options) -> State[C]:
    """Return the mixture that maximises the expected complete log-likelihood (or posterior)."""
    log_weights = state.log_weights
    if not options.fixed_weights:
        counts = statistics[:, 0]
        if options.dirichlet is not None:
            counts = counts + options.dirichlet.alpha - 1
        with np.errstate(divide="ignore"):
            log_weights = np.maximum(np.log(counts / counts.sum()), LOG_TINY)
    return State(log_weights, state.components.maximise(statistics))


def objective(samples: Samples, state: State[C], likelihood: float, options: Options) -> float:
    """Return log-likelihood plus log-prior, per sample."""
    prior = state.components.log_prior()
    if options.dirichlet is not None:
        prior += options.dirichlet.log_weights(state.log_weights)
    return (likelihood + prior) / samples.total


class Walk(Generic[C]):
    """The way of a mixture through its parameters: where it stands, and what it has seen.

    Attributes
    ----------
    state : State
    objective : float
        Log-likelihood per sample at `state` (with a prior: plus its log-density / n).
    statistics : ndarray
        Of the E-step at `state`; the M-step and gradients follow from them.
    history : list of float
        The objective of every mixture that was kept, the initial one first.
    n_iter : int
        Sweeps over the data after the first, those included whose step was thrown away.
    """

    def __init__(self, samples: Samples, start: State[C], options: Options) -> None:
        self.samples, self.options = samples, options
        self.n_iter, self.converged = -1, False
        self.state = start
        self.objective, self.statistics = self.evaluate(start)
        self.history = [self.objective]

    @property
    def fixed_weights(self) -> bool:
        """Whether the mixture's own weights play no part."""
        return self.options.fixed_weights or self.samples.log_mixing is not None

    @property
    def done(self) -> bool:
        """Whether to stop."""
        return self.converged or self.n_iter >= self.options.max_iter

    def evaluate(self, state: State[C]) -> tuple[float, Floats]:
        """Return the objective at a mixture and the statistics of its E-step."""
        self.n_iter += 1
        likelihood, statistics = sweep(self.samples, state)
        return objective(self.samples, state, likelihood, self.options), statistics

    def to(self, state: State[C], value: float, statistics: Floats) -> bool:
        """Step to a mixture; return whether that gained (or moved) less than the tolerance."""
        if self.options.convergence == "likelihood":
            small = value - self.objective <= self.options.tol
        else:
            weights = np.abs(np.exp(state.log_weights) - np.exp(self.state.log_weights)).max()
            moved = max(float(weights), state.components.change(self.state.components))
            small = moved <= self.options.tol
        self.state, self.objective, self.statistics = state, value, statistics
        self.history.append(value)
        return small

    def em_step(self) -> bool:
        """Do one M-step and the E-step after it; return as `to` does."""
        after = m_step(self.state, self.statistics, self.options)
        return self.to(after, *self.evaluate(after))

    def run(self, steps: int) -> None:
        """Do up to `steps` plain EM cycles."""
        for _ in range(steps):
            if self.done:
                break
            self.converged = self.em_step()
