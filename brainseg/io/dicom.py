"""DICOM: a folder of slices, or one file of many frames, as a volume.

pydicom reads the headers; `brainseg.io.slices` decides whether the slices form a volume. Voxels are
taken as they are stored, or as JPEG Lossless, which archives like to hand out (SimpleITK unpacks
it). Other compressions are refused: their decoders are more code and more ways to be attacked than
a scan that any archive can export plainly is worth.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset

from brainseg.core.volume import Array
from brainseg.errors import DataError, NoInputError
from brainseg.io.slices import Slice, arrange, assemble, named

log = logging.getLogger(__name__)
# pydicom tells of odd headers aloud; what matters of them is in our messages.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)

PLAIN = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian)
JPEG_LOSSLESS = (uid.JPEGLossless, uid.JPEGLosslessSV1)
ENHANCED = (uid.EnhancedMRImageStorage, uid.LegacyConvertedEnhancedMRImageStorage)
# A converted scan may say that it is of no modality in particular.
MODALITIES = ("MR", "OT", "")
# Objects that lie beside images without being any; all else without voxels is a damaged image.
NO_IMAGES = ("Presentation State", "Structured Report", "SR Storage", "Directory", "Key Object",
             "Raw Data", "Registration", "Spectroscopy", "Encapsulated")  # fmt: skip
TAGS = (
    "SOPClassUID", "SOPInstanceUID", "Modality", "ImageType", "StudyInstanceUID",
    "SeriesInstanceUID", "FrameOfReferenceUID", "PatientName", "PatientID", "PatientBirthDate",
    "AcquisitionNumber", "EchoNumbers", "EchoTime", "InversionTime", "TemporalPositionIdentifier",
    "ImagesInAcquisition", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
    "SpacingBetweenSlices", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel",
    "PhotometricInterpretation", "BitsAllocated", "RescaleSlope", "RescaleIntercept",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
# What all slices of a volume share, and what messages call it.
SHARED = {
    "patients": ("PatientName", "PatientID", "PatientBirthDate"),
    "studies": ("StudyInstanceUID",),
    "frames of reference": ("FrameOfReferenceUID",),
    "kinds of image": ("ImageType",),
    "echoes": ("EchoNumbers", "EchoTime"),
    "inversion times": ("InversionTime",),
    "time points": ("TemporalPositionIdentifier",),
}
# Where enhanced files keep the same for each frame: functional group, and names in it.
FRAME_SHARED = {
    "frame types": ("MRImageFrameTypeSequence", ("FrameType", "ComplexImageComponent")),
    "effective echo times": ("MREchoSequence", ("EffectiveEchoTime",)),
    "temporal positions": ("FrameContentSequence", ("TemporalPositionIndex",)),
    "stacks": ("FrameContentSequence", ("StackID",)),
}


@dataclass(frozen=True, eq=False)
class Series:
    """A volume read from DICOM.

    Attributes
    ----------
    data : ndarray, shape (columns, rows, planes)
        Integers as they are stored, float32 where they were scaled or resampled.
    affine : ndarray, shape (4, 4)
        To world coordinates (RAS+, mm).
    files : tuple of Path
        In the order of their slices.
    notes : tuple of str
        What a reader should know of the volume.
    """

    data: Array
    affine: NDArray[np.float64]
    files: tuple[Path, ...]
    notes: tuple[str, ...]


def is_dicom(path: Path) -> bool:
    """Tell whether a file begins as DICOM does, with its preamble or without."""
    with path.open("rb") as stream:
        head = stream.read(132)
    return head[128:] == b"DICM" or (
        head[:2] in (b"\x02\x00", b"\x08\x00") and head[3:4] == b"\x00"
    )


def read_series(path: Path, *, most_voxels: int) -> Series:
    """Read the one series of a folder, or a file of many frames.

    Parameters
    ----------
    path : Path
        Folders in it are not looked into.
    most_voxels : int
        More are refused before any is read.

    Raises
    ------
    NoInputError
        When a file may not be read.
    DataError
        When there is no series, or more than one, or it is no single regular volume.
    """
    files = _files(path)
    headers = {file: header for file in files if (header := _header(file)) is not None}
    if not headers:
        raise DataError(f"{path.name}: no DICOM series in it; give an image or a series")
    _require_one_series(headers, path.name)
    slices, sources, acquisitions = [], [], set()
    claimed = 0
    for file, header in headers.items():
        _require_scan(file, header)
        claimed += header.Rows * header.Columns * _frames(header)
        if claimed > most_voxels:
            raise DataError(f"{path.name}: more than the {most_voxels:,} voxels that are taken")
        _require_bytes(file, header)
        found = _slices(file, header)
        slices += found
        sources += [file] * len(found)
        acquisitions.add(str(header.get("AcquisitionNumber", "")))
    stack = arrange(slices, path.name)
    notes = [*stack.notes, *_doubts(headers, len(slices), len(acquisitions))]
    stored = {file: _voxels(file, header) for file, header in headers.items()}
    images = [_scaled(stored[sources[n]][slices[n].frame], slices[n]) for n in stack.order]
    stored.clear()
    data, affine = assemble(images, stack)
    ordered = tuple(dict.fromkeys(sources[n] for n in stack.order))
    return Series(data, affine, ordered, tuple(notes))


def _files(path: Path) -> list[Path]:
    """List the DICOM files; whatever is there but cannot be read might be a slice."""
    if not path.is_dir():
        return [path]
    lost = [p for p in sorted(path.iterdir()) if p.is_symlink() and not p.exists()]
    if lost:
        raise NoInputError(
            f"{path.name}: {named([p.name for p in lost])} lead nowhere (broken links); each may "
            "be a slice, so mend or remove them"
        )
    return [p for p in sorted(path.iterdir()) if p.is_file() and is_dicom(p)]


def _header(file: Path) -> Dataset | None:
    """Read what says where an image lies; None for objects that are none, such as DICOMDIR."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(
                file, stop_before_pixels=True, force=True, specific_tags=list(TAGS)
            )
            kind = uid.UID(header.get("SOPClassUID") or header.file_meta.MediaStorageSOPClassUID)
            if any(word in kind.name for word in NO_IMAGES):
                log.info("%s: no image (%s)", file.name, kind.name)
                return None
            # Values are decoded when they are asked for; here is where that may fail.
            for element in header.iterall():
                _ = element.value
    except OSError:
        raise
    except Exception as error:
        log.debug("%s: its header cannot be read", file.name, exc_info=True)
        raise DataError(
            f"{file.name}: its DICOM header cannot be read ({type(error).__name__}); "
            "is the file complete?"
        ) from error
    return header


def _require_one_series(headers: dict[Path, Dataset], name: str) -> None:
    series: dict[str, list[str]] = {}
    for file, header in headers.items():
        series.setdefault(str(header.get("SeriesInstanceUID", "")), []).append(file.name)
    if len(series) > 1:
        counts = ", ".join(str(len(files)) for files in series.values())
        raise DataError(
            f"{name}: {len(series)} DICOM series ({counts} files) in one folder; "
            "put the one to segment into a folder of its own"
        )


def _require_scan(file: Path, header: Dataset) -> None:
    """Refuse what is no grey-value image of magnetic resonance with voxels that can be read."""
    modality = str(header.get("Modality") or "")
    if modality not in MODALITIES:
        raise DataError(f"{file.name}: its modality is {modality[:16]}; an MR scan is needed")
    if not _whole(header, "Rows") or not _whole(header, "Columns"):
        raise DataError(f"{file.name}: holds no image; is the file complete?")
    colour = str(header.get("PhotometricInterpretation") or "")
    if header.get("SamplesPerPixel") != 1 or colour not in ("MONOCHROME1", "MONOCHROME2"):
        raise DataError(f"{file.name}: a colour image; a grey-value scan is needed")
    if header.get("BitsAllocated") not in (8, 16, 32):
        raise DataError(
            f"{file.name}: {header.get('BitsAllocated')} bits a voxel; 8, 16 or 32 are read"
        )
    syntax = uid.UID(header.file_meta.get("TransferSyntaxUID") or "")
    if syntax not in (*PLAIN, *JPEG_LOSSLESS):
        raise DataError(
            f"{file.name}: its voxels are compressed ({syntax.name[:60] or 'it is not said how'}); "
            "export it uncompressed, for example by gdcmconv --raw"
        )
    enhanced = header.get("SOPClassUID") in ENHANCED
    if not enhanced and (_frames(header) != 1 or "PerFrameFunctionalGroupsSequence" in header):
        raise DataError(
            f"{file.name}: {_frames(header)} frames in one file that is no enhanced MR image"
        )
    if enhanced and syntax in JPEG_LOSSLESS:
        raise DataError(
            f"{file.name}: frames compressed in one file; export it uncompressed, for example by "
            "gdcmconv --raw"
        )


def _require_bytes(file: Path, header: Dataset) -> None:
    """Refuse a header that claims more than its file holds, before memory is taken for it."""
    size = file.stat().st_size
    claimed = header.Rows * header.Columns * _frames(header) * header.BitsAllocated // 8
    if header.file_meta.TransferSyntaxUID in PLAIN and claimed > size:
        raise DataError(
            f"{file.name}: the voxels cannot be read (the header claims {claimed:,} bytes of them, "
            f"the file has {size:,}); is the file complete?"
        )


def _slices(file: Path, header: Dataset) -> list[Slice]:
    try:
        if "PerFrameFunctionalGroupsSequence" not in header:
            # ITK scales what it unpacks.
            packed = header.file_meta.TransferSyntaxUID in JPEG_LOSSLESS
            values = Dataset() if packed else header
            return [_slice(file.name, 0, header, header, header, values, _belongs(header))]
        frames = header.PerFrameFunctionalGroupsSequence
        if len(frames) != _frames(header):
            raise DataError(
                f"{file.name}: tells of {len(frames)} of its {_frames(header)} frames where they "
                "lie"
            )
        shared = Dataset()
        if header.get("SharedFunctionalGroupsSequence"):
            shared = header.SharedFunctionalGroupsSequence[0]
        return [_frame(file.name, n, header, f, shared) for n, f in enumerate(frames)]
    except DataError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
        log.debug("%s: its place is not known", file.name, exc_info=True)
        raise DataError(
            f"{file.name}: does not say where it lies (position, orientation and pixel spacing are "
            "needed)"
        ) from error


def _frame(file: str, n: int, header: Dataset, frame: Dataset, shared: Dataset) -> Slice:
    """Gather what an enhanced file says of a frame, there or for all frames together."""

    def group(name: str) -> Dataset:
        for place in (frame, shared):
            if place.get(name):
                item: Dataset = place[name].value[0]
                return item
        return Dataset()

    plane = Dataset()
    plane.update(group("PlanePositionSequence"))
    plane.update(group("PlaneOrientationSequence"))
    belongs = [(what, _text(group(name), keys)) for what, (name, keys) in FRAME_SHARED.items()]
    return _slice(
        file,
        n,
        header,
        plane,
        group("PixelMeasuresSequence"),
        group("PixelValueTransformationSequence"),
        (*_belongs(header), *belongs),
    )


def _slice(
    file: str,
    n: int,
    header: Dataset,
    plane: Dataset,
    measures: Dataset,
    values: Dataset,
    belongs: Sequence[tuple[str, str]],
) -> Slice:
    """Make a slice of the places where its numbers stand."""
    position = _numbers(plane.ImagePositionPatient, 3)
    directions = _numbers(plane.ImageOrientationPatient, 6).reshape(2, 3)
    down, across = _numbers(measures.PixelSpacing, 2)
    # Cosines of four digits are off by 1e-4; a matrix that is further from a rotation is damaged.
    if np.abs(directions @ directions.T - np.eye(2)).max() > 1e-3 or min(down, across) <= 0:
        raise ValueError("no directions in space")
    gap = measures.get("SpacingBetweenSlices")
    slope = float(values.get("RescaleSlope", 1) or 1)
    intercept = float(values.get("RescaleIntercept", 0) or 0)
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise DataError(f"{file}: its rescale slope or intercept is not a finite number")
    return Slice(
        file,
        n,
        (int(header.Rows), int(header.Columns)),
        position,
        directions,
        (float(across), float(down)),
        abs(float(gap)) if gap else None,
        (slope, intercept),
        tuple(belongs),
    )


def _numbers(values: Any, count: int) -> NDArray[np.float64]:
    numbers = np.array([float(v) for v in values], dtype=np.float64)
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise ValueError(f"{count} finite numbers are needed")
    # Farther from the origin single precision no longer tells neighbouring voxels apart.
    if np.abs(numbers).max() > 1e7:
        raise ValueError("out of the world")
    return numbers


def _belongs(header: Dataset) -> list[tuple[str, str]]:
    return [(what, _text(header, keys)) for what, keys in SHARED.items()]


def _text(group: Dataset, keys: Sequence[str]) -> str:
    return "|".join(str(group.get(key, "")) for key in keys)


def _doubts(headers: dict[Path, Dataset], found: int, acquisitions: int) -> list[str]:
    """Say what speaks against a whole series though its geometry is regular."""
    notes = []
    told = [n for h in headers.values() if (n := _whole(h, "ImagesInAcquisition"))]
    if told and max(told) > found:
        notes.append(f"the header tells of {max(told)} slices, {found} are here")
    if acquisitions > 1:
        notes.append(
            f"the slices are of {acquisitions} acquisitions; the head may have moved between them"
        )
    return notes


def _voxels(file: Path, header: Dataset) -> Array:
    """Return the stored values of a file, shape (frames, rows, columns)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if header.file_meta.TransferSyntaxUID in JPEG_LOSSLESS:
                data = _unpacked(file)
            else:
                data = pydicom.dcmread(file, force=True).pixel_array
        return np.reshape(data, (_frames(header), int(header.Rows), int(header.Columns)))
    except MemoryError:
        raise
    except Exception as error:
        log.debug("%s: its voxels cannot be read", file.name, exc_info=True)
        raise DataError(
            f"{file.name}: the voxels cannot be read ({type(error).__name__}); is the file "
            "complete?"
        ) from error


def _unpacked(file: Path) -> Array:
    """Unpack JPEG Lossless; ITK's reader has scaled the values already."""
    import SimpleITK as sitk

    return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(file))))


def _scaled(stored: Array, of: Slice) -> Array:
    slope, intercept = of.scaling
    if (slope, intercept) == (1.0, 0.0):
        return stored
    return np.asarray(stored * slope + intercept, dtype=np.float32)


def _frames(header: Dataset) -> int:
    return _whole(header, "NumberOfFrames") or 1


def _whole(header: Dataset, name: str) -> int:
    """Return a whole number of the header above 0; 0 where there is none."""
    value = header.get(name)
    return int(value) if isinstance(value, int) and value > 0 else 0
