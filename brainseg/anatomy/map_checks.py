"""Is a map of regions a head's at all? Numbers a reader can check, and the limits set on them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainseg.anatomy.classes import CLASSES, TISSUE
from brainseg.anatomy.head import HeadMap, map_head
from brainseg.core.metrics import dice
from brainseg.core.volume import Volume
from brainseg.errors import DataError

VOXEL = 2.0
"""Voxel size in mm of the network's look; at 1.5 mm no region gains 0.01 Dice, and it takes twice
as long."""

LIMITS = {
    "entropy": (0.0, 0.95),
    "cerebellum": (0.05, 0.18),
    "brain_stem": (0.006, 0.035),
    "deep_grey": (0.015, 0.075),
    "ventricles": (0.001, 0.18),
    "asymmetry": (0.0, 0.3),
    "cerebellar_asymmetry": (0.0, 0.6),
}
"""Least and most of each measure in a whole head. Entropy is 0.63 to 0.84 on 32 real scans of any
contrast, 0.85 at most where they were turned, cropped or noisy, and 2.56 (ln 13: thirteen classes
alike) where nothing is known. The shares span half to twice those of adults, hydrocephalus
included. Asymmetry is 0.16 at most in whole heads turned by 15 degrees, 0.30 where a third of a
head's width is missing, and 0.40 to 0.82 of half heads; the cerebellum's is up to 0.41 in whole
heads turned so, and 1 where a half of it is lost."""
NO_HEAD = 1.05
"""Entropy above which there is no head: spheres, bottles, grid phantoms and fruits drawn with noise
have 1.07 to 1.42 (`pipelines/evaluate_network.py --table strangers`), heads with all intensities
inverted 0.97."""

COMPARED = (("deep_grey",), ("brain_stem",), ("cerebellar_grey", "cerebellar_white"))
"""Regions in which two maps of one brain are compared: all lie deep or low, where neither noise nor
the cortex' folds decide."""

LEAST_REGION_DICE = 0.65
"""Dice below which the placed atlas or the network is wrong. On 25 heads and brains where the
registration is right it is 0.698 and more; on one where it went wrong it is 0.571
(`pipelines/evaluate_atlas_check.py`)."""


def look(volume: Volume, *, refuse: bool = False, threads: int = 1) -> tuple[HeadMap | None, str]:
    """Look at a head by the network, for checks of a result.

    Parameters
    ----------
    volume : Volume
        Head or skull-stripped brain in closest-canonical axis order, finite.
    refuse : bool
        Raise where there is no head, instead of doubting that there is one.
    threads : int
        Threads at most; the result does not depend on it.

    Returns
    -------
    found : HeadMap or None
        None where the network sees no head that it could be one.
    doubt : str
        Why there is none, in words; empty otherwise.

    Raises
    ------
    DataError
    """
    try:
        found = map_head(volume, threads=threads, voxel=VOXEL, mirrored=False)
    except DataError as error:
        return None, str(error)
    measured = measure(found)
    if refuse and measured["entropy"] > NO_HEAD:
        raise DataError(
            "this is no scan of a head: the network cannot tell its parts apart (entropy "
            f"{measured['entropy']:.2f}, heads have 0.6 to 0.9). If it is one, give its brain as "
            "`mask`"
        )
    doubted = doubts(measured)
    return (None, "; ".join(doubted)) if doubted else (found, "")


def agreement(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the least Dice of two maps' regions.

    Parameters
    ----------
    one, other : ndarray of float32, shape (7, n)
        Probabilities in the order of `brainseg.anatomy.classes.TISSUE`.

    Returns
    -------
    float
        Least Dice of the deep grey matter, the brain stem and the cerebellum, 0 to 1.
    """
    names = list(TISSUE)
    first, second = one.argmax(axis=0), other.argmax(axis=0)
    scores = []
    for members in COMPARED:
        rows = [names.index(m) for m in members]
        scores.append(dice(np.isin(first, rows), np.isin(second, rows)))
    return min(scores)


def measure(found: HeadMap) -> dict[str, float]:
    """Measure a map of regions.

    Parameters
    ----------
    found : HeadMap

    Returns
    -------
    dict
        ``brain_ml``, the volume where the brain is likelier than not; ``entropy``, the mean
        entropy of the classes there, in nats (ln 13 = 2.56 where nothing is known); the shares of
        the brain that are ``cerebellum``, ``brain_stem``, ``deep_grey`` and ``ventricles``;
        ``asymmetry``, the difference of the deep grey matter left and right of the brain's middle,
        over its sum, which lies near the middle also of a head that is turned; and
        ``cerebellar_asymmetry``, the same of the cerebellum, of which two thirds are then on one
        side.
    """
    inside = found.brain > 0.5
    names = ("brain_ml", *LIMITS)
    total = int(inside.sum())
    if total == 0:
        return dict.fromkeys(names, 0.0)
    p = found.probabilities[:, inside]
    best = p.argmax(axis=0)
    count = np.bincount(best, minlength=len(CLASSES))
    entropy = float(-(p * np.log(np.maximum(p, 1e-9))).sum(axis=0).mean())
    share = dict(zip(CLASSES, (count / total).tolist(), strict=True))
    x = np.nonzero(inside)[0].astype(float)
    right = x > x.mean()

    def asymmetry(*members: str) -> float:
        sides = right[np.isin(best, [CLASSES.index(m) for m in members])]
        return abs(2 * float(sides.mean()) - 1) if len(sides) else 1.0

    return {
        "brain_ml": total * found.view.voxel**3 / 1000,
        "entropy": entropy,
        "cerebellum": share["cerebellar_grey"] + share["cerebellar_white"],
        "brain_stem": share["brain_stem"],
        "deep_grey": share["deep_grey"],
        "ventricles": share["ventricles"],
        "asymmetry": asymmetry("deep_grey"),
        "cerebellar_asymmetry": asymmetry("cerebellar_grey", "cerebellar_white"),
    }


def doubts(measures: dict[str, float]) -> tuple[str, ...]:
    """Return what makes a map implausible, in words; empty when nothing does."""
    found = []
    for name, (low, high) in LIMITS.items():
        if not low <= measures[name] <= high:
            what = name.replace("_", " ")
            found.append(f"{what} {measures[name]:.3f} is outside {low:g} to {high:g}")
    return tuple(found)
