"""What a segmentation is asked to do; validated once, knows no argparse and no environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from brainseg.errors import UsageError

MASKS = ("auto", "none", "file")
ROUTES = ("fused", "network", "atlas", "deepbet")
BIAS = ("em", "n4", "none")
PRIORS = ("atlas", "tied", "none", "cohort")
TABLES = ("six", "three", "head", "intensity")
CONTRASTS = ("T2w", "FLAIR", "PDw")
FAMILIES = ("gaussian", "student", "rician")
COVARIANCE_TYPES = ("full", "tied", "diag", "spherical")
MOST_SAMPLES = 200_000
"""Beyond so many samples of several channels every n-th is taken: each fit then takes seconds."""
MOST_CLASSES = 12
"""Largest number of unnamed intensity classes."""


@dataclass(frozen=True)
class CohortPrior:
    """A mixture of one channel; 0 and 1 are two percentiles of the brain's intensities.

    Attributes
    ----------
    weights, means, variances : tuple of float
        By component, from dark to bright; normalised intensity, and its square.
    percentiles : tuple of float
        Which percentiles of a brain are 0 and 1.
    """

    weights: tuple[float, ...]
    means: tuple[float, ...]
    variances: tuple[float, ...]
    percentiles: tuple[float, float]


@dataclass(frozen=True)
class SegmentConfig:
    """Options of `brainseg.pipeline.segment_volume`.

    Attributes
    ----------
    mask : str
        ``auto`` extracts the brain, ``none`` takes what is not background, ``file`` expects a mask.
    brain_extraction : str
        Route of ``auto``: ``fused``, ``network``, ``atlas`` or ``deepbet``.
    tissues : str
        Name of a tissue table or a number of classes. ``six`` and ``head`` rest on
        ``prior="atlas"``.
    bias : str
        ``em`` estimates the field together with the mixture, ``n4`` before it, ``none`` not at all.
    prior : str
        ``atlas`` places the head atlas on the scan and ties classes to their tissues, ``tied`` does
        only the latter, ``none`` is plain maximum likelihood; ``cohort`` keeps classes of intensity
        near those of `cohort`.
    smooth : float or None
        Strength of the Markov prior; 0 is the pure mixture, None the measured default.
    seed : int
        Seed of everything random.
    threads : int
        Threads at most; the result does not depend on it.
    cohort : CohortPrior or None
        For ``prior="cohort"``.
    """

    mask: str = "auto"
    brain_extraction: str = "fused"
    tissues: str = "six"
    bias: str = "em"
    prior: str = "atlas"
    smooth: float | None = None
    seed: int = 0
    threads: int = 1
    cohort: CohortPrior | None = None

    def __post_init__(self) -> None:
        _one_of("mask", self.mask, MASKS)
        _one_of("brain_extraction", self.brain_extraction, ROUTES)
        _one_of("bias", self.bias, BIAS)
        _one_of("prior", self.prior, PRIORS)
        n_classes = count_classes(self.tissues)
        if self.smooth is not None and not 0 <= self.smooth <= 10:
            raise UsageError(f"`smooth`: {self.smooth} is outside 0 to 10; 0 switches it off")
        if self.tissues in ("six", "6", "head") and self.prior != "atlas":
            raise UsageError(
                f"`prior`: {self.prior} knows no anatomy, which `tissues` {self.tissues} rest on; "
                "use `tissues` intensity or three, or leave `prior` at atlas"
            )
        if self.tissues == "head" and self.mask == "none":
            raise UsageError(
                "`mask`: none says that the scan is skull-stripped, and `tissues` head need the "
                "whole head; use `tissues` six or three"
            )
        if (self.cohort is None) != (self.prior != "cohort"):
            raise UsageError("`prior`: a cohort's mixture and no other prior belong together")
        if self.cohort is not None and len(self.cohort.means) != n_classes:
            raise UsageError(
                f"`cohort`: the cohort's mixture has {len(self.cohort.means)} classes, "
                f"`tissues` {self.tissues} another number"
            )
        if self.seed < 0:
            raise UsageError(f"`seed`: {self.seed} is negative; use 0 or more")
        if self.threads < 1:
            raise UsageError(f"`threads`: {self.threads} is too few; use 1 or more")


def usual_tissues(prior: str) -> str:
    """Return the table where none is named: six rest on a map of the head."""
    return "six" if prior == "atlas" else "intensity"


def count_classes(tissues: str) -> int:
    """Return the number of classes of a tissue table.

    Parameters
    ----------
    tissues : str
        A name of `TABLES`, or a number of intensity classes from 2 to `MOST_CLASSES`.

    Raises
    ------
    UsageError
        When there is no such table.
    """
    if tissues in TABLES:
        return 3 if tissues == "three" else 6
    if tissues.isdecimal() and 2 <= int(tissues) <= MOST_CLASSES:
        return int(tissues)
    raise UsageError(
        f"`tissues`: {tissues!r} is not known; use {', '.join(TABLES)} "
        f"or a number from 2 to {MOST_CLASSES}"
    )


def _one_of(option: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"`{option}`: {value!r} is not known; use one of {', '.join(allowed)}")
