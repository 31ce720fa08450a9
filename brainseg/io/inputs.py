"""An image in whatever form Python holds it: a path, a nibabel image or an array."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from brainseg.core.known import Known
from brainseg.core.volume import Array, BoolArray, Volume
from brainseg.errors import DataError, UsageError
from brainseg.io import nifti
from brainseg.io.grids import Grid
from brainseg.io.nifti import Scan

Image: TypeAlias = Any
"""A path (str or os.PathLike), a nibabel image or an ndarray; a scan also as Volume or Scan."""

_NO_AFFINE = (
    "no affine was given; the axes are taken to run to the right, to the front and up, so left "
    "and right cannot be known"
)


@dataclass(frozen=True)
class Source:
    """An input beside the scan, as the record names it.

    Attributes
    ----------
    role : str
        ``mask``, ``seeds``, ``lesions``, or the contrast: ``T2w``, ``FLAIR``, ``PDw``.
    name : str
        Of its file, without folders.
    sha256 : str
        Of the file's bytes, or of the voxels where it came from no file.
    """

    role: str
    name: str
    sha256: str


def source_of(image: Image, role: str) -> Source:
    """Name and hash an image that was read in whatever form.

    Parameters
    ----------
    image : Image
    role : str
    """
    if isinstance(image, Scan):
        return Source(role, image.path.name, image.sha256)
    if isinstance(image, str | os.PathLike):
        path = Path(image)
        files = sorted(f for f in path.iterdir() if f.is_file()) if path.is_dir() else None
        return Source(role, path.name, nifti.sha256_of(files or nifti.files_of(path)))
    if isinstance(image, np.ndarray):
        digest = hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()
        return Source(role, role, digest)
    return Source(role, nifti.name_of(image, role).name, nifti.hash_of(image))


def read_scan(
    image: Image,
    *,
    affine: Array | None = None,
    zooms: Sequence[float] | None = None,
    index: int | None = None,
    name: str = "image",
) -> Scan:
    """Read a scan in any form; parameters as of `brainseg.load`.

    Parameters
    ----------
    image : Image
    affine, zooms, index
        As of `brainseg.load`.
    name : str
        The argument, for errors.

    Raises
    ------
    NoInputError, DataError, UsageError
    """
    if isinstance(image, Scan):
        return image
    if isinstance(image, Volume):
        image, affine = image.data, image.affine
    if not isinstance(image, np.ndarray) and (affine is not None or zooms is not None):
        raise UsageError(
            f"`{name}`: has its place in its header; leave `affine` and `zooms` to arrays"
        )
    if isinstance(image, str | os.PathLike):
        return nifti.load(_path(image, name), index=index)
    if isinstance(image, np.ndarray):
        opened = nifti.image_of(_numbers(image, name), _place(name, affine, zooms))
        scan = nifti.scan_of(opened, nifti.hash_of(opened), Path(name), index=index)
        return scan if affine is not None else replace(scan, notes=(*scan.notes, _NO_AFFINE))
    _require_image(image, name)
    return nifti.scan_of(image, nifti.hash_of(image), nifti.name_of(image, name), index=index)


def read_labels(
    image: Image, name: str, *, reference: Scan | None = None, place: Array | None = None
) -> tuple[Volume, Grid]:
    """Read a mask or label map in any form.

    Parameters
    ----------
    image : Image
        An array lies on the grid of `reference`, in the axis order of its file; without one,
        at `place`.
    name : str
        The argument, for errors.
    reference : Scan, optional
        The scan whose grid it must share.
    place : ndarray, shape (4, 4), optional

    Raises
    ------
    NoInputError, DataError, UsageError
    """
    if isinstance(image, str | os.PathLike):
        return nifti.load_labels(_path(image, name), reference=reference)
    if isinstance(image, np.ndarray):
        affine = place if reference is None else reference.grid.affine
        opened = nifti.image_of(_numbers(image, name), _place(name, affine, None))
        return nifti.labels_of(opened, Path(name), reference=reference)
    _require_image(image, name)
    return nifti.labels_of(image, nifti.name_of(image, name), reference=reference)


def read_mask(image: Image, scan: Scan, name: str = "mask") -> BoolArray:
    """Read a brain mask on a scan's grid, canonical order; every label above 0 is brain.

    Raises
    ------
    NoInputError, DataError, UsageError
        Also when no voxel is above 0.
    """
    labels = read_labels(image, name, reference=scan)[0].data
    mask: BoolArray = labels > 0
    if not mask.any():
        values = ", ".join(f"{v}" for v in np.unique(labels)[:5])
        called = Path(image).name if isinstance(image, str | os.PathLike) else f"`{name}`"
        raise DataError(
            f"{called}: the mask is empty (its values: {values}); brain is what is above 0"
        )
    return mask


def read_known(
    scan: Scan,
    *,
    mask: Image | None = None,
    seeds: Image | None = None,
    lesions: Image | None = None,
) -> Known:
    """Read what the user knows of a scan, on its grid.

    Raises
    ------
    NoInputError, DataError, UsageError
    """
    return Known(
        None if mask is None else read_mask(mask, scan),
        None if seeds is None else read_labels(seeds, "seeds", reference=scan)[0].data,
        # A scan without lesions is a finding, so this mask may be empty.
        None if lesions is None else read_labels(lesions, "lesions", reference=scan)[0].data > 0,
    )


def _path(image: str | os.PathLike[str], name: str) -> Path:
    if not os.fspath(image):
        raise UsageError(f"`{name}`: the path is empty")
    return Path(image)


def _numbers(data: Array, name: str) -> Array:
    if data.dtype.kind not in "biuf":
        raise UsageError(f"`{name}`: has dtype {data.dtype}; real numbers are needed")
    return data


def _place(name: str, affine: Array | None, zooms: Sequence[float] | None) -> NDArray[np.float64]:
    """Return the affine of an array."""
    if affine is not None and zooms is not None:
        raise UsageError("`affine` holds voxel sizes; give it or `zooms`, not both")
    if affine is not None:
        matrix = np.asarray(affine, dtype=np.float64)
        if matrix.shape != (4, 4):
            raise UsageError(f"`affine`: has shape {matrix.shape}; (4, 4) is needed")
        if not np.isfinite(matrix).all() or not np.linalg.det(matrix[:3, :3]):
            raise UsageError("`affine`: is singular or not finite; give voxels a size and a place")
        return matrix
    if zooms is None:
        raise UsageError(f"`{name}`: an array needs its `affine`, or its `zooms`, beside it")
    sizes = np.asarray(zooms, dtype=np.float64)
    if sizes.shape != (3,) or not (np.isfinite(sizes) & (sizes > 0)).all():
        raise UsageError(f"`zooms`: {zooms} given; three sizes above 0 mm are needed")
    return np.diag([*sizes, 1.0])


def _require_image(image: Any, name: str) -> None:
    if not (hasattr(image, "dataobj") and hasattr(image, "affine")):
        raise UsageError(
            f"`{name}`: a {type(image).__name__} was given; a path, a nibabel image or an array "
            "is needed"
        )
