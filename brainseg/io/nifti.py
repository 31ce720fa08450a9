"""Reading scans and writing images: the only importer of nibabel and SimpleITK's readers.

Inside brainseg every volume has its axes in the closest-canonical (RAS+) order. This module turns
a file into that order and turns results back onto the grid of the file they came from, so that all
orientations of one scan meet the same numbers.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from isal import igzip
from numpy.typing import NDArray

from brainseg.core.volume import Array, Volume
from brainseg.errors import DataError, NoInputError
from brainseg.io import hdf5, privacy
from brainseg.io.grids import (
    MM_PER_UNIT,
    Grid,
    canonical_affine,
    read_geometry,
    require_same_grid,
    times,
    to_canonical,
)
from brainseg.io.sidecar import UNTOLD, Acquisition

MAX_VOXELS = 640**3  # more than any head scan (0.4 mm isotropic), and 1 GB as float32
MIN_SIDE = 5
# Beyond this a value is no measurement, and float32 sums over 10^8 voxels would overflow.
LARGEST = 1e30
# Where the voxels of a single-file NIfTI-1 begin: after 348 bytes of header and four that say that
# no extension follows.
DATA_OFFSET = 352
log = logging.getLogger(__name__)
# nibabel mends small faults of headers aloud, on stderr; what matters of them is in our notes.
logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)


@dataclass(frozen=True, eq=False)
class Scan:
    """A volume read from a file, with what is needed to write beside it.

    Attributes
    ----------
    volume : Volume
        float32, axes in closest-canonical order; voxels that were not finite, or beyond
        `LARGEST`, are replaced.
    grid : Grid
    path : Path
    sha256 : str
        Hash of the file's bytes (of a DICOM folder: of its files in order).
    finite : ndarray of bool or None
        Where the voxels were finite; None when all were.
    notes : tuple of str
        What a reader should know of the input, for example a q/sform disagreement.
    acquisition : Acquisition
        What its sidecar tells, where that was read.
    """

    volume: Volume
    grid: Grid
    path: Path
    sha256: str
    finite: NDArray[np.bool_] | None
    notes: tuple[str, ...]
    acquisition: Acquisition = UNTOLD


def load(path: Path, *, index: int | None = None) -> Scan:
    """Read one scan: NIfTI-1/2, Analyze, MGZ, MINC, a folder of DICOM slices or a DICOM file.

    Parameters
    ----------
    path : Path
    index : int, optional
        Which volume of a 4-D file, counted from 0.

    Raises
    ------
    NoInputError
        When the path does not exist or may not be read.
    DataError
        When it is not an image that can be segmented.
    """
    return scan_of(*_open(path), path, index=index)


def scan_of(image: Any, sha256: str, path: Path, *, index: int | None = None) -> Scan:
    """Make a scan of an open nibabel image, errors as of `load`; they call it `path`."""
    canonical, grid, notes = _canonical(image, path, index)
    # One order in memory, too: sums then run alike over all orientations of one scan.
    with np.errstate(over="ignore"):
        values = canonical.astype(np.float32, order="C")
    finite = None
    if np.issubdtype(canonical.dtype, np.floating):
        finite = _replace_nonfinite(values, path, notes)
    if values.min() == values.max():
        raise DataError(
            f"{path.name}: every voxel has the value {values.flat[0]:g}; a scan has contrast"
        )
    scale = MM_PER_UNIT[int(grid.header["xyzt_units"]) & 7]
    world = np.diag([scale, scale, scale, 1.0]) @ canonical_affine(grid)
    return Scan(Volume(values, world), grid, path, sha256, finite, tuple(notes))


def voxel_count(path: Path) -> int:
    """Voxels that a file's header claims for one volume; 0 when it cannot be read."""
    try:
        image: Any = nib.load(path)
        return int(np.prod(image.shape[:3]))
    except Exception:
        # Whatever is wrong with it, `load` explains it when its turn comes.
        log.debug("%s: its header cannot be read", path.name, exc_info=True)
        return 0


def load_labels(path: Path, *, reference: Scan | None = None) -> tuple[Volume, Grid]:
    """Read a mask or label map as integers, in canonical order.

    Parameters
    ----------
    path : Path
    reference : Scan, optional
        The scan whose grid it must share.

    Raises
    ------
    NoInputError, DataError
        As `load`; also when values are not whole numbers or the grid is another.
    """
    return labels_of(_open(path)[0], path, reference=reference)


def labels_of(image: Any, path: Path, *, reference: Scan | None = None) -> tuple[Volume, Grid]:
    """Make a label map of an open nibabel image; parameters and errors as of `load_labels`."""
    canonical, grid, _ = _canonical(image, path)
    if not np.isfinite(canonical).all():
        raise DataError(f"{path.name}: some values are not finite; a label map holds whole numbers")
    # Scaled storage reads 3 back as 2.9999; anything further off is no label map.
    labels = canonical if canonical.dtype.kind in "iub" else np.rint(canonical)
    worst = float(np.abs(canonical - labels).max()) if labels is not canonical else 0.0
    if worst > 1e-2:
        raise DataError(
            f"{path.name}: holds values between whole numbers (off by {worst:.2g}); "
            "a mask or label map is needed here"
        )
    largest = max(float(labels.max()), -float(labels.min()))
    if largest > np.iinfo(np.int32).max:
        raise DataError(f"{path.name}: holds the value {largest:g}; no label is that large")
    volume = Volume(labels.astype(np.int32, order="C"), canonical_affine(grid))
    if reference is not None:
        require_same_grid(grid, reference.grid, path, reference.path)
    return volume, grid


def load_map(path: Path, *, reference: Scan) -> Array:
    """Read a map that belongs to a scan, for example a probability, as float32 in canonical order.

    Raises
    ------
    NoInputError, DataError
        As `load`, but a map may be constant; also when it lies on another grid.
    """
    canonical, grid, _ = _canonical(_open(path)[0], path)
    require_same_grid(grid, reference.grid, path, reference.path)
    return np.asarray(canonical, dtype=np.float32, order="C")


def image_of(data: Array, affine: NDArray[np.float64]) -> Any:
    """Make a nibabel image of an array and its affine (mm)."""
    # NIfTI holds neither truth values nor half precision.
    stored = {"bool": "uint8", "float16": "float32"}.get(data.dtype.name)
    values = data if stored is None else data.astype(stored)
    image = nib.Nifti1Image(values, affine, dtype=values.dtype)
    image.header.set_xyzt_units("mm")
    return image


def name_of(image: Any, other: str) -> Path:
    """Return what an open image is called: its file's name, or `other` where it has none."""
    file = image.get_filename()
    return Path(Path(file).name if file else other)


def hash_of(image: Any) -> str:
    """Return the hash of an open image: of its file where it was read from one, else its voxels."""
    file = image.get_filename()
    if file and nib.is_proxy(image.dataobj) and Path(file).is_file():
        return sha256_of([Path(file)])
    return hashlib.sha256(np.ascontiguousarray(np.asanyarray(image.dataobj)).tobytes()).hexdigest()


def decoded(raw: bytes) -> Any:
    """Return the nibabel image that `image_bytes` encoded."""
    return nib.Nifti1Image.from_bytes(raw)


def image_bytes(
    data: Array, grid: Grid, *, intent: str = "none", slope: float | None = None
) -> bytes:
    """Encode canonical data as an uncompressed NIfTI-1 image on the file's own grid.

    Parameters
    ----------
    data : ndarray, shape (I, J, K)
        In canonical order, of the dtype to be stored.
    grid : Grid
    intent : str
        NIfTI intent, for example ``label`` or ``estimate``.
    slope : float, optional
        Stored integers times slope are the values.
    """
    stored = np.ascontiguousarray(grid.to_file_order(data).T).T
    image = nib.Nifti1Image(stored, None, header=grid.header)
    header = image.header
    header.set_data_dtype(stored.dtype)
    header.set_intent(intent)
    # nibabel would rescale integers of its own accord; the numbers are already final.
    header.set_slope_inter(1.0 if slope is None else slope, 0.0)
    header["vox_offset"] = DATA_OFFSET
    head = bytes(header.binaryblock)
    return head.ljust(DATA_OFFSET, b"\0") + stored.tobytes(order="F")


def compress(raw: bytes) -> bytes:
    """Return the gzip of the bytes; equal bytes in, equal bytes out."""
    # igzip takes a tenth of zlib's time for the same size; no time stamp, so that runs compare.
    return bytes(igzip.compress(raw, 2, mtime=0))


def _open(path: Path) -> tuple[Any, str]:
    try:
        if not path.exists():
            raise NoInputError(f"{path.name}: no such file or folder; check the path")
        if path.is_dir():
            return _open_dicom(path)
        if not path.is_file():
            # A pipe may never end, and the image is read more than once.
            raise NoInputError(f"{path.name}: a pipe or device; give a file or folder")
        digest = sha256_of(files_of(path))
    except PermissionError as error:
        raise NoInputError(f"{path.name}: may not be read; check its permissions") from error
    except OSError as error:
        raise NoInputError(f"{path.name}: cannot be read ({error.strerror or error})") from error
    try:
        hdf5.require_self_contained(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return nib.load(path), digest
    except DataError:
        raise
    except FileNotFoundError as error:
        missing = Path(str(error.filename)).name if error.filename else "its other half"
        raise NoInputError(f"{path.name}: {missing} is missing beside it") from error
    except Exception as error:
        if (series := _open_dicom_file(path)) is not None:
            return series
        raise DataError(
            f"{path.name}: not an image that can be read ({_brief(error, path)}); "
            "NIfTI, Analyze, MGZ, MINC or a DICOM folder is expected"
        ) from error


def files_of(path: Path) -> list[Path]:
    """Return the files of an image: of a pair the header and the voxels, else the one file."""
    try:
        parts = nib.load(path).file_map
    except Exception:
        # Whatever is wrong with it is told when it is read.
        log.debug("%s: its parts cannot be listed", path.name, exc_info=True)
        return [path]
    names = (parts[kind].filename for kind in ("header", "image") if kind in parts)
    return list(dict.fromkeys(Path(name) for name in names if name)) or [path]


def _open_dicom(path: Path) -> tuple[Any, str]:
    # pydicom takes a third of a second to import, and few scans are DICOM.
    from brainseg.io import dicom

    series = dicom.read_series(path, most_voxels=MAX_VOXELS)
    made = nib.Nifti1Image(series.data, series.affine, extra={"notes": series.notes})
    made.header.set_xyzt_units("mm")
    return made, sha256_of(list(series.files))


def _open_dicom_file(path: Path) -> tuple[Any, str] | None:
    """Read a DICOM file of many frames; None where it is no DICOM file."""
    from brainseg.io import dicom

    return _open_dicom(path) if dicom.is_dicom(path) else None


def sha256_of(paths: list[Path]) -> str:
    """Return the hash of the files' bytes, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _canonical(image: Any, path: Path, index: int | None = None) -> tuple[Array, Grid, list[str]]:
    """Return the one 3-D array of an image in canonical order, its grid, and notes on both."""
    data = _voxels(image, path, index)
    notes = list(image.extra.get("notes", ()))
    header, affine = read_geometry(image, path, notes)
    return *to_canonical(data, affine, header, path), notes


def _voxels(image: Any, path: Path, index: int | None) -> Array:
    """Return the one 3-D array of an image, checked before any voxel is read."""
    shape = tuple(int(n) for n in image.shape)
    dtype = np.dtype(image.get_data_dtype())
    if dtype.fields is not None or dtype.kind not in "iufb":
        kind = "complex" if dtype.kind == "c" else "colour (RGB)"
        raise DataError(f"{path.name}: {kind} voxels; a scan with one real value a voxel is needed")
    if any(n < 1 for n in shape) or np.prod(shape, dtype=float) > 50 * MAX_VOXELS:
        raise DataError(f"{path.name}: its header claims {times(shape)} voxels; is it damaged?")
    spatial, rest = shape[:3], shape[3:]
    if len(spatial) < 3 or min(spatial) < MIN_SIDE:
        raise DataError(
            f"{path.name}: {times(shape)} voxels; a volume of at least "
            f"{MIN_SIDE} voxels a side is needed"
        )
    if np.prod(spatial, dtype=float) > MAX_VOXELS:
        raise DataError(
            f"{path.name}: {times(shape)} voxels, more than the {MAX_VOXELS:,} that are taken"
        )
    _require_bytes(image, path, np.prod(shape, dtype=float) * dtype.itemsize)
    volumes = int(np.prod(rest, dtype=float))
    if volumes > 1 and index is None:
        raise DataError(
            f"{path.name}: holds {volumes} volumes ({times(shape)}); "
            f"choose one by `index`, 0 to {volumes - 1}"
        )
    if index is not None and not 0 <= index < volumes:
        raise DataError(f"{path.name}: has no volume {index}; it holds {volumes}, counted from 0")
    which = np.unravel_index(index or 0, rest, order="F") if rest else ()
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return np.asanyarray(image.dataobj[(..., *(int(i) for i in which))])
    except MemoryError as error:
        raise DataError(f"{path.name}: {times(shape)} voxels do not fit in memory") from error
    except Exception as error:
        raise DataError(
            f"{path.name}: the voxels cannot be read ({_brief(error, path)}); is the file complete?"
        ) from error


def _require_bytes(image: Any, path: Path, claimed: float) -> None:
    """Refuse a header that claims more than its file can hold, before memory is taken for it."""
    holder = image.file_map.get("image") if image.file_map else None
    if holder is None or holder.filename is None:
        return
    stored = Path(holder.filename)
    # Deflate, inside MINC-2 too, shrinks to a thousandth at the very most. Zstandard knows no such
    # bound, but no scan of a head shrinks further; a bomb does.
    most = {".gz": 1100, ".mgz": 1100, ".mnc": 1100, ".zst": 1100}.get(stored.suffix, 1)
    size = stored.stat().st_size
    if claimed > size * most:
        raise DataError(
            f"{path.name}: the voxels cannot be read (the header claims {claimed:,.0f} bytes of "
            f"them, the file has {size:,}); is the file complete?"
        )


def _replace_nonfinite(
    values: NDArray[np.float32], path: Path, notes: list[str]
) -> NDArray[np.bool_] | None:
    """Overwrite what is no measurement by the least that is one; say where the others are."""
    # One pass without a temporary of the volume's size settles it for nearly every scan.
    if values.min() >= -LARGEST and values.max() <= LARGEST:
        return None
    finite: NDArray[np.bool_] = np.abs(values) <= LARGEST
    bad = int(values.size - np.count_nonzero(finite))
    if bad == values.size:
        raise DataError(f"{path.name}: none of its {bad:,} voxels is a finite number")
    share = 100 * bad / values.size
    notes.append(
        f"{bad:,} voxels ({share:.2g} %) are not finite numbers or beyond {LARGEST:g}; "
        "they are left out"
    )
    values[~finite] = values[finite].min()
    return finite


def _brief(error: Exception, path: Path) -> str:
    """Return what a library says of a file, without the folders that it lies in."""
    return privacy.scrub(str(error), path)[:120] or type(error).__name__
