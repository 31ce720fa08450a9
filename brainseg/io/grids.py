"""The grid of a file: where its voxels lie, and the way to canonical axes and back."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, io_orientation, ornt_transform
from numpy.typing import NDArray

from brainseg.core.volume import Array, Volume
from brainseg.errors import DataError

log = logging.getLogger(__name__)

MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}


@dataclass(frozen=True, eq=False)
class Grid:
    """The input's own grid, to which every output returns.

    Attributes
    ----------
    shape : tuple of int
        Voxels along the file's axes.
    affine : ndarray, shape (4, 4)
        File's voxel indices to world coordinates, in the file's own unit.
    orientation : ndarray, shape (3, 2)
        nibabel's orientation of the file's axes with respect to RAS+.
    header : nibabel.Nifti1Header
        Geometry fields only: q/sform with codes, pixdim, units; never the free text.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    orientation: NDArray[np.float64]
    header: nib.Nifti1Header

    def to_file_order(self, data: Array) -> Array:
        """Bring canonical data (axes 0-2) back to the file's axis order."""
        back = ornt_transform(np.array([[0, 1], [1, 1], [2, 1]]), self.orientation)
        return np.asarray(apply_orientation(data, back))


def grid_of(volume: Volume) -> Grid:
    """Make the grid of a volume that came from no file, for example a phantom."""
    header = nib.Nifti1Header()
    header.set_data_shape(volume.shape)
    header.set_sform(volume.affine, code="scanner")
    header.set_qform(volume.affine, code="scanner", strip_shears=True)
    header.set_xyzt_units("mm")
    return Grid(volume.shape, volume.affine, io_orientation(volume.affine), header)


FARTHEST_MM = 1e7
"""Farther from the origin, single precision no longer tells neighbouring voxels apart."""
FORM_FIELDS = ("qform_code", "sform_code", "srow_x", "srow_y", "srow_z", "xyzt_units")
QFORM_FIELDS = ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")


def read_geometry(
    image: Any, path: Path, notes: list[str]
) -> tuple[nib.Nifti1Header, NDArray[np.float64]]:
    """Return a clean header with the image's geometry, and the affine that is used."""
    header = nib.Nifti1Header()
    affine = image.affine
    if affine is None:
        raise DataError(f"{path.name}: has no position in space (no affine)")
    affine = np.array(affine, dtype=np.float64)
    with np.errstate(all="ignore"):
        columns = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
        determinant = float(np.linalg.det(affine[:3, :3] / columns)) if columns.all() else 0.0
    if not np.isfinite(affine).all() or not abs(determinant) > 1e-3:
        raise DataError(
            f"{path.name}: its affine is singular or not finite "
            f"(voxel sizes {', '.join(f'{c:g}' for c in columns)} mm); mend the header"
        )
    if np.abs(affine).max() > FARTHEST_MM:
        raise DataError(
            f"{path.name}: its affine puts it {np.abs(affine).max():.3g} mm away; mend the header"
        )
    source = image.header
    if isinstance(source, nib.Nifti1Header):
        # The fields of a NIfTI-2 header are wider; what overflows is of no use, see below.
        with np.errstate(over="ignore"):
            for name in (*FORM_FIELDS, *QFORM_FIELDS):
                header[name] = source[name]
            pixdim = header["pixdim"]
            pixdim[0:4] = np.asarray(source["pixdim"])[0:4]
        header["pixdim"] = pixdim
        usable = all(np.isfinite(header[name]) for name in QFORM_FIELDS)
        if not int(header["qform_code"]) or not (usable and np.isfinite(pixdim[:4]).all()):
            header["qform_code"] = 0
            pixdim[0:4] = 1.0, *columns
            header["pixdim"] = pixdim
        if int(header["xyzt_units"]) & 7 not in MM_PER_UNIT:
            header["xyzt_units"] = 2
            notes.append("the header's unit of length is not known; millimetres are assumed")
        if int(header["qform_code"]) and int(header["sform_code"]):
            _compare_forms(source, columns, notes)
        if not int(header["qform_code"]) and not int(header["sform_code"]):
            notes.append("the header gives no orientation; left and right cannot be known from it")
            # Written as an sform of unknown code 0 the affine would be lost on reading.
            header.set_sform(affine, code="scanner")
    else:
        header.set_sform(affine, code="scanner")
        header.set_qform(affine, code="scanner", strip_shears=True)
        header.set_xyzt_units("mm")
    return header, affine


def _compare_forms(source: Any, columns: NDArray[np.float64], notes: list[str]) -> None:
    try:
        difference = np.abs(source.get_qform() - source.get_sform())
    except Exception:
        log.debug("the qform cannot be read", exc_info=True)
        notes.append("the qform cannot be read; the sform is used")
        return
    # A tenth of a voxel in direction, or a millimetre in position, is more than rounding.
    if difference[:3, :3].max() > 0.1 * columns.min() or difference[:3, 3].max() > 1.0:
        notes.append("qform and sform disagree; the sform is used")


def to_canonical(
    data: Array, affine: NDArray[np.float64], header: nib.Nifti1Header, path: Path
) -> tuple[Array, Grid]:
    """Bring voxels into canonical order; return them with the grid that leads back.

    Raises
    ------
    DataError
        When the affine does not span three dimensions.
    """
    orientation = io_orientation(affine)
    if np.isnan(orientation).any():
        raise DataError(f"{path.name}: its affine does not span three dimensions; mend the header")
    i, j, k = data.shape
    header = header.copy()
    header.set_data_shape(data.shape)
    grid = Grid((i, j, k), affine, orientation, header)
    return np.asarray(apply_orientation(data, orientation)), grid


def canonical_affine(grid: Grid) -> NDArray[np.float64]:
    """Affine of the canonical voxel order, in the file's own unit."""
    flip = nib.orientations.inv_ornt_aff(grid.orientation, grid.shape)
    return np.asarray(grid.affine @ flip, dtype=np.float64)


def require_same_grid(grid: Grid, other: Grid, path: Path, other_path: Path) -> None:
    """Check that two files lie on one grid.

    Raises
    ------
    DataError
        When shapes differ or the affines put a corner a tenth of a voxel apart.
    """
    if grid.shape != other.shape:
        raise DataError(
            f"{path.name}: {times(grid.shape)} voxels, but {other_path.name} has "
            f"{times(other.shape)}; both must lie on one grid"
        )
    # Corners may differ by a tenth of the smallest voxel: headers are rounded.
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=float)
    corners[:, :3] *= np.array(grid.shape) - 1
    off = float(np.abs(corners @ (grid.affine - other.affine).T).max())
    if off > 0.1 * float(np.sqrt((grid.affine[:3, :3] ** 2).sum(axis=0)).min()):
        raise DataError(
            f"{path.name}: its affine puts it up to {off:.3g} mm away from {other_path.name}; "
            "resample it onto that grid"
        )


def times(shape: tuple[int, ...]) -> str:
    """Write a shape as ``256x256x176``."""
    return "x".join(str(n) for n in shape)
