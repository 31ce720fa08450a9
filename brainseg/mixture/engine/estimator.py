"""What scikit-learn asks of an estimator beyond `fit`, without importing it.

`get_params`, `set_params` and clones as in its developer's guide; seeds with its meaning.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any, Self

import numpy as np

from brainseg.errors import BrainsegError, DataError

RandomState = int | np.random.RandomState | np.random.Generator | None


class NotFittedError(BrainsegError, ValueError, AttributeError):
    """The mixture has no parameters yet; call `fit` first."""

    exit_code = 70


def not_fitted(estimator: object) -> Exception:
    """Return the error of an estimator without parameters.

    Where scikit-learn is loaded it is its `NotFittedError` as well, which its tools look for.
    """
    text = f"this {type(estimator).__name__} is not fitted yet; call `fit` first"
    theirs = getattr(sys.modules.get("sklearn.exceptions"), "NotFittedError", None)
    if theirs is None:
        return NotFittedError(text)
    both: type[Exception] = type("NotFittedError", (NotFittedError, theirs), {})
    return both(text)


def seed_of(random_state: RandomState) -> int:
    """Return a seed by scikit-learn's meaning of ``random_state``.

    Parameters
    ----------
    random_state : int, RandomState, Generator or None
        An int is the seed; a generator is drawn from, so that each call gives another seed; None
        gives another one in each process and call.

    Raises
    ------
    DataError
        When it is none of these, or negative.
    """
    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    if isinstance(random_state, int | np.integer) and random_state >= 0:
        return int(random_state)
    raise DataError(
        f"`random_state`: {random_state!r} given; an int of 0 or more, a RandomState, a Generator "
        "or None is needed"
    )


class Estimator:
    """Parameters by name: those of the constructor, kept as they were given."""

    @classmethod
    def _names(cls) -> list[str]:
        return [name for name in inspect.signature(cls).parameters if name != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's parameters by name; none of them is an estimator to look into.

        Parameters
        ----------
        deep : bool
            Not used: a mixture given as `init` is a value, not a step.
        """
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name.

        Raises
        ------
        DataError
            When there is no such parameter.
        """
        names = self._names()
        for name, value in params.items():
            if name not in names:
                raise DataError(
                    f"{type(self).__name__} has no parameter {name!r}; it has {', '.join(names)}"
                )
            setattr(self, name, value)
        return self

    def __sklearn_clone__(self) -> Self:
        """Return an unfitted copy; a fitted mixture given as `init` stays as it is."""
        return type(self)(**self.get_params(deep=False))

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn, which alone asks, what kind of estimator this is."""
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(
            estimator_type="density_estimator",
            target_tags=TargetTags(required=False),
            input_tags=InputTags(),
        )

    def __repr__(self) -> str:
        """Name the class with the parameters that are not its defaults."""
        defaults = inspect.signature(type(self)).parameters
        changed = [
            f"{name}={value!r}"
            for name, value in self.get_params().items()
            if not _same(value, defaults[name].default)
        ]
        return f"{type(self).__name__}({', '.join(changed)})"


def _same(value: Any, default: Any) -> bool:
    return value is default or (type(value) is type(default) and bool(value == default))
