"""What is read back of the files that brainseg wrote, perhaps after somebody edited them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta

from brainseg.io import documents


class _Brain(TypedDict):
    route: str
    confidence: NotRequired[float | None]


class _Agreement(TypedDict):
    numbers: dict[str, float]
    missing_at: str
    foreign_at: str
    unknown: str


class _Input(TypedDict):
    name: str
    sha256: str


class _Other(TypedDict):
    role: str
    name: str
    sha256: str


class _Options(TypedDict):
    tissues: str
    bias: str
    prior: NotRequired[str]
    smooth: NotRequired[float | None]


class _Tissue(TypedDict):
    name: Annotated[str, Meta(min_length=1)]


class _Versions(TypedDict):
    brainseg: str


class _Head(TypedDict):
    volumes_ml: dict[str, float]
    total_intracranial_volume_ml: float
    moved_voxels: dict[str, int]


class Record(TypedDict):
    """The record of a scan, `brainseg.io.derivatives.record`, as far as it is read back."""

    tissues: Annotated[list[_Tissue], Meta(min_length=1)]
    weights: list[float]
    means: list[list[float]]
    covariances: list[list[list[float]]]
    converged: bool
    n_iter: int
    log_likelihood: list[float]
    volumes_ml: dict[str, float]
    brain: _Brain
    agreement: NotRequired[_Agreement]
    warnings: list[str]
    options: _Options
    seed: int
    zero: NotRequired[float]
    bias_flat: NotRequired[bool]
    input: _Input
    acquisition: NotRequired[dict[str, float]]
    head: NotRequired[_Head]
    other_inputs: NotRequired[list[_Other]]
    seeded: NotRequired[bool]
    lesion_candidates_ml: NotRequired[float]
    lesion_mask_ml: NotRequired[float]
    contrasts: NotRequired[list[str]]
    versions: _Versions
    seconds: NotRequired[dict[str, float]]


class _Session(TypedDict):
    label: str


class _PersonOptions(_Options):
    seed: int


class PersonRecord(TypedDict):
    """The record of a person's visits, `brainseg.run_person`, as far as it is read back."""

    sessions: Annotated[list[_Session], Meta(min_length=2)]
    brain: _Brain
    converged: bool
    warnings: list[str]
    options: _PersonOptions
    versions: _Versions


class Fit(TypedDict, total=False):
    """The part of a record that group tables need; an older version may have written less."""

    weights: list[float]
    converged: bool
    n_iter: int
    log_likelihood: list[float]
    brain: _Brain
    warnings: list[str]
    options: _Options


class Quality(TypedDict):
    """The quality numbers of a scan; the numbers themselves are further keys."""

    verdict: Literal["pass", "look", "fail"]
    reasons: NotRequired[list[str]]


def read_quality(path: Path) -> dict[str, Any]:
    """Read verdict, reasons and numbers; of the latter only finite ones and None.

    Raises
    ------
    OSError, DataError
        As `brainseg.io.documents.read`.
    """
    return documents.read_checked(path, Quality)


def numbers(quality: Mapping[str, Any]) -> dict[str, float | None]:
    """Return what of a quality file is a number, or None for one that could not be measured."""
    return {k: number(v) for k, v in quality.items() if v is None or is_number(v)}


def is_number(value: object) -> bool:
    """Say whether a value of JSON is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(value: object) -> float | None:
    """Return a value as a float, None where it is no finite number."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None
