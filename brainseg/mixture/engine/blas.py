"""Sums in one order: linear algebra on one thread while a mixture is fitted."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

from threadpoolctl import ThreadpoolController


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def one_blas_thread() -> AbstractContextManager[Any]:
    """Return a context in which sums of products have one order whatever the thread count."""
    context: AbstractContextManager[Any] = _controller().limit(limits=1, user_api="blas")
    return context
