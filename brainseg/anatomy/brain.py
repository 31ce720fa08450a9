"""Brain extraction: every route is ``(Volume) -> mask`` and ends in an `Extraction`.

The target of every route is the whole brain with the CSF inside the dura, down to about the
foramen magnum. A route is a module with ``extract(volume, *, threads) -> Extraction``.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
from scipy import ndimage

from brainseg.anatomy import deepbet, fused, network, plausibility, registered
from brainseg.anatomy.result import Extraction
from brainseg.anatomy.stripped import find_body
from brainseg.config import ROUTES
from brainseg.core.metrics import dice
from brainseg.core.volume import BoolArray, Volume
from brainseg.errors import DataError, UsageError

__all__ = ["Extraction", "extract_brain", "given_mask", "stripped_mask"]

log = logging.getLogger(__name__)

_EXTRACTORS = {
    "fused": fused.extract,
    "network": network.extract,
    "atlas": registered.extract,
    "deepbet": deepbet.extract,
}
BRAIN_THROUGHOUT = 0.85
"""Dice of the network's mask with the only body in a scan above which the body is a brain; a
whole head's brain has less than 0.75 of it."""
FALLBACK = {"fused": "atlas", "network": "atlas", "atlas": "network", "deepbet": "network"}


def given_mask(volume: Volume, mask: BoolArray) -> Extraction:
    """Take the user's mask."""
    return Extraction(mask, "given", checks=plausibility.measure(volume, mask))


def stripped_mask(volume: Volume) -> Extraction:
    """Take what is not background for brain: the user says that the scan is stripped already."""
    background = volume.data.min() if volume.data.min() < 0 else np.float32(0)
    mask: BoolArray = ndimage.binary_fill_holes(volume.data != background)
    return Extraction(mask, "stripped", checks=plausibility.measure(volume, mask))


def extract_brain(volume: Volume, *, route: str = "fused", threads: int = 1) -> Extraction:
    """Find the brain in a head.

    A scan that is stripped already keeps what is there. A mask that fails the plausibility check
    gives way to the fallback route's where that one passes, and a warning says so.

    Parameters
    ----------
    volume : Volume
        A head in closest-canonical axis order, any contrast; finite values.
    route : str
        ``fused``, ``network``, ``atlas`` or ``deepbet``.
    threads : int
        Threads at most; the result does not depend on it.

    Raises
    ------
    UsageError
        When there is no such route.
    DataError
        When no route finds anything that could be a brain.
    """
    if route not in ROUTES:
        raise UsageError(f"`brain_extraction`: {route!r} is not known; use {', '.join(ROUTES)}")
    stripped = _if_stripped(volume, threads)
    if stripped is not None:
        return stripped
    first, doubts = _judged(volume, route, threads)
    if first is not None and not doubts:
        return first
    other = FALLBACK[route]
    # What comes of it is a warning of the extraction, or an error.
    log.debug("the %s route's mask is implausible (%s); trying %s", route, doubts, other)
    second, second_doubts = _judged(volume, other, threads)
    if second is not None and not second_doubts:
        note = f"the {route} route's mask was implausible ({doubts}); the {other} route's is used"
        checks = dict(second.checks)
        if first is not None:
            checks["agreement"] = dice(first.mask, second.mask)
        return replace(second, warnings=(*second.warnings, note), checks=checks)
    return _less_bad(first, doubts, second, second_doubts)


def _if_stripped(volume: Volume, threads: int) -> Extraction | None:
    """Return the only body in the scan where the network takes it for a brain throughout."""
    body = find_body(volume)
    if body is None:
        return None
    seen, _ = _judged(volume, "network", threads)
    checks = plausibility.measure(volume, body)
    if seen is not None and dice(seen.mask, body) <= BRAIN_THROUGHOUT:
        return None
    if plausibility.doubts(checks, None):
        return None
    note = "the scan is skull-stripped already: its mask is what is there"
    return Extraction(body, "stripped", warnings=(note,), checks=checks)


def _judged(volume: Volume, route: str, threads: int) -> tuple[Extraction | None, str]:
    """Run one route; return its answer with its checks, and what makes it implausible."""
    try:
        found: Extraction = _EXTRACTORS[route](volume, threads=threads)
    except DataError as error:
        return None, str(error)
    checks = {**plausibility.measure(volume, found.mask), **found.checks}
    doubts = plausibility.doubts(checks, found.confidence)
    return replace(found, checks=checks), "; ".join(doubts)


def _less_bad(
    first: Extraction | None, doubts: str, second: Extraction | None, second_doubts: str
) -> Extraction:
    """Both masks are implausible: where they agree there is a brain, else there is none.

    Two routes that know nothing of each other do not find the same wrong place.
    """
    if first is not None and second is not None:
        agreement = dice(first.mask, second.mask)
        if agreement > 0.8 and first.checks["volume_ml"] > plausibility.SMALLEST_ML:
            note = (
                f"the brain mask is unusual ({doubts}), but two routes agree on it "
                f"(Dice {agreement:.2f}); look at it before trusting the result"
            )
            checks = {**first.checks, "agreement": agreement}
            return replace(first, warnings=(*first.warnings, note), checks=checks)
    raise DataError(
        f"no brain was found: {doubts}; the other route: {second_doubts}. "
        "If this is a head, give its brain as `mask`"
    )
