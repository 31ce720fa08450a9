"""Independent parts of one job, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def each(work: Callable[[S], T], parts: Iterable[S], threads: int) -> list[T]:
    """Do every part and return the results in the order of the parts.

    The parts do not depend on the number of threads, so neither do the bits of the results.
    """
    if threads == 1:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, parts))


def parts(n: int, size: int) -> list[slice]:
    """Cut `n` rows into parts of `size`, the last one shorter."""
    return [slice(i, min(i + size, n)) for i in range(0, n, size)]


@contextmanager
def one_itk_thread() -> Iterator[None]:
    """Keep SimpleITK's filters, and those they make for themselves, from sharing out their sums.

    ITK's sums depend on the number of parts that they are split into, which is by default that of
    the machine's cores.
    """
    import SimpleITK as sitk  # a tenth of the program's start, and few paths need it

    process = sitk.ProcessObject
    before = process.GetGlobalDefaultNumberOfThreads()
    process.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        process.SetGlobalDefaultNumberOfThreads(before)
