"""The front door for Python: from an image in any form to its tissues, and their score."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from brainseg.config import CONTRASTS, SegmentConfig, usual_tissues
from brainseg.core.metrics import Agreement, compare
from brainseg.core.volume import Array
from brainseg.errors import DataError, UsageError
from brainseg.io.grids import require_same_grid
from brainseg.io.inputs import Image, read_known, read_labels, read_scan, source_of
from brainseg.io.nifti import Scan
from brainseg.pipeline import segment_volume
from brainseg.segmentation import Segmentation

Pairs = Mapping[str, tuple[Sequence[int], Sequence[int]]]


def load(
    image: Image,
    *,
    affine: Array | None = None,
    zooms: Sequence[float] | None = None,
    index: int | None = None,
) -> Scan:
    """Read a scan, for example to segment it more than once.

    Parameters
    ----------
    image : str, Path, nibabel image or ndarray
        A file (NIfTI-1/2, Analyze, MGZ, MINC, DICOM), a folder of DICOM slices, an open image,
        or an array of shape (I, J, K), in any axis order.
    affine : ndarray, shape (4, 4), optional
        For an array: voxel indices to world coordinates (RAS+, mm).
    zooms : sequence of three float, optional
        For an array without affine, whose axes run to the right, to the front and up: voxel
        sizes in mm.
    index : int, optional
        Which volume of a 4-D image, counted from 0.

    Returns
    -------
    Scan
        ``.volume`` is the image in canonical (RAS+) order, float32.

    Raises
    ------
    NoInputError, DataError, UsageError
    """
    return read_scan(image, affine=affine, zooms=zooms, index=index)


def segment(
    image: Image,
    *,
    affine: Array | None = None,
    zooms: Sequence[float] | None = None,
    mask: Image | None = None,
    contrasts: Mapping[str, Image] | None = None,
    seeds: Image | None = None,
    lesions: Image | None = None,
    config: SegmentConfig | None = None,
    **options: Any,
) -> Segmentation:
    """Segment a T1w scan of a head.

    Parameters
    ----------
    image : str, Path, nibabel image, ndarray or Scan
        As of `load`; a 4-D image goes through `load` first.
    affine, zooms
        Of an array, as of `load`.
    mask : str, Path, nibabel image or ndarray, optional
        Your own brain mask on the scan's grid (above 0 is brain); ``"auto"`` extracts the brain
        (the default), ``"none"`` says that the scan is skull-stripped already.
    contrasts : mapping, optional
        ``T2w``, ``FLAIR`` or ``PDw`` to scans of the same person, each on its own grid; an array
        lies on the scan's.
    seeds : str, Path, nibabel image or ndarray, optional
        Label map on the scan's grid: voxels whose tissue is known, 0 elsewhere.
    lesions : str, Path, nibabel image or ndarray, optional
        Your own mask of lesions of white matter on the scan's grid (above 0 is lesion).
    config : SegmentConfig, optional
    **options
        Fields of `SegmentConfig`, for example ``tissues="three"``; they go before `config`.

    Returns
    -------
    Segmentation
        On the input's own grid.

    Raises
    ------
    NoInputError, DataError, UsageError
        Each names the file or the argument that is wrong.
    """
    scan = read_scan(image, affine=affine, zooms=zooms)
    if isinstance(mask, str) and mask in ("auto", "none"):
        options["mask"], mask = mask, None
    elif mask is not None:
        options["mask"] = "file"
    known = read_known(scan, mask=mask, seeds=seeds, lesions=lesions)
    further = {n: _contrast(n, c, scan) for n, c in (contrasts or {}).items()}
    others = [source_of(contrast, name) for name, contrast in further.items()]
    for role, given in (("mask", mask), ("seeds", seeds), ("lesions", lesions)):
        if given is not None:
            others.append(source_of(given, role))
    result = segment_volume(
        scan.volume,
        _config(config, options),
        known=known,
        finite=scan.finite,
        contrasts={name: contrast.volume for name, contrast in further.items()},
    )
    return Segmentation(scan, result, tuple(others))


def save(
    segmentation: Segmentation,
    folder: str | os.PathLike[str],
    *,
    report: bool = True,
    force: bool = False,
) -> list[Path]:
    """Write what ``brainseg run`` writes; parameters and errors as of `Segmentation.save`."""
    return segmentation.save(folder, report=report, force=force)


def evaluate(
    segmentation: Segmentation | Image, truth: Image, *, pairs: Pairs | None = None
) -> list[Agreement]:
    """Score a label map against a true one on the same grid.

    Parameters
    ----------
    segmentation : Segmentation, str, Path, nibabel image or ndarray
    truth : str, Path, nibabel image or ndarray
        An array lies on the segmentation's grid.
    pairs : mapping, optional
        Name of a row to (labels of the segmentation, labels of the truth); without it equal
        numbers are paired.

    Returns
    -------
    list of Agreement
        Dice, volumes and distances of each pair.

    Raises
    ------
    NoInputError, DataError, UsageError
    """
    names: dict[int, str] = {}
    if isinstance(segmentation, Segmentation):
        names = {t.index: t.abbreviation for t in segmentation.table.tissues}
        segmentation = segmentation.to_nifti("labels")
    ours, grid = read_labels(segmentation, "segmentation")
    theirs, other = read_labels(truth, "truth", place=grid.affine)
    require_same_grid(other, grid, Path("truth"), Path("segmentation"))
    if pairs is None:
        shared = np.intersect1d(np.unique(ours.data), np.unique(theirs.data)).tolist()
        pairs = {names.get(n, f"label {n}"): ((n,), (n,)) for n in shared if n != 0}
    if not pairs:
        raise DataError("`truth`: shares no label above 0 with the segmentation; give `pairs`")
    return compare(ours.data, theirs.data, pairs, zooms=ours.zooms)


def _config(config: SegmentConfig | None, options: dict[str, Any]) -> SegmentConfig:
    """Return the configuration with the options put into it."""
    known = [field.name for field in fields(SegmentConfig)]
    for name in options:
        if name not in known:
            raise UsageError(f"`{name}`: no such option; there are {', '.join(known)}")
    if isinstance(options.get("tissues"), int):
        options["tissues"] = str(options["tissues"])
    if config is None and "prior" in options:
        options.setdefault("tissues", usual_tissues(options["prior"]))
    return replace(config or SegmentConfig(), **options)


def _contrast(name: str, image: Image, scan: Scan) -> Scan:
    """Read a further contrast; an array lies on the grid of the scan."""
    if name not in CONTRASTS:
        raise UsageError(f"`contrasts`: {name!r} is not known; use {', '.join(CONTRASTS)}")
    affine = scan.grid.affine if isinstance(image, np.ndarray) else None
    return read_scan(image, affine=affine, name=name)
