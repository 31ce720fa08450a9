"""Hundreds of mutated DICOM folders: none may give a volume whose place in space is not known.

    python pipelines/attack_dicom.py [--count 500] [--seed 0] [--runs 20] [--only 17]

Each input is a small synthetic head as classic slices or as one enhanced file, spoiled in one of
the ways of `KINDS`, and read. It must end within `MOST_SECONDS`, with one line and exit code 65 or
66, or with a volume that is the head's own on its own grid, or with notes, which make the verdict
Look. Some go through the whole program (``--runs``), to see that. Input N of a seed is the same
whatever the count. Exits 1 when any failed.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NoReturn

import numpy as np
from pydicom import config, uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite

from brainseg.cli.main import main as brainseg
from brainseg.core.volume import Volume
from brainseg.errors import BrainsegError
from brainseg.evaluation.phantom import make_phantom
from brainseg.io import nifti

MOST_SECONDS = 60
Random = np.random.Generator
Files = dict[str, Dataset]
ROOT = "1.2.826.0.1.3680043.10.999"
NONSENSE = ("nan", "inf", "0", "-1", "1e30", "", None, "1e-30", "99999999")
PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")


def classic(volume: Volume) -> Files:
    """Describe a volume (integers, RAS+ axes) as one classic MR image for each axial slice."""
    across, down, _ = _lps(volume)[:3, :3].T
    files: Files = {}
    for k in range(volume.shape[2]):
        ds = _header(uid.MRImageStorage, f"{ROOT}.1.{k + 1}")
        ds.InstanceNumber, ds.AcquisitionNumber = k + 1, 1
        ds.ImagePositionPatient = _text(_lps(volume)[:3] @ [0, 0, k, 1])
        ds.ImageOrientationPatient = _text([*_unit(across), *_unit(down)])
        ds.PixelSpacing = _text([np.linalg.norm(down), np.linalg.norm(across)])
        ds.SpacingBetweenSlices = f"{volume.zooms[2]:.6g}"
        _pixels(ds, volume.data[:, :, k].T)
        files[f"im{k:03d}.dcm"] = ds
    return files


def enhanced(volume: Volume) -> Files:
    """Describe a volume as one enhanced MR file of many frames."""
    ds = _header(uid.EnhancedMRImageStorage, f"{ROOT}.2.1")
    across, down, _ = _lps(volume)[:3, :3].T
    shared, measures, turned, values = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = _text([np.linalg.norm(down), np.linalg.norm(across)])
    turned.ImageOrientationPatient = _text([*_unit(across), *_unit(down)])
    values.RescaleSlope, values.RescaleIntercept = "1", "0"
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [turned]
    shared.PixelValueTransformationSequence = [values]
    ds.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for k in range(volume.shape[2]):
        frame, place, content = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = _text(_lps(volume)[:3] @ [0, 0, k, 1])
        content.StackID, content.InStackPositionNumber = "1", k + 1
        content.TemporalPositionIndex = 1
        frame.PlanePositionSequence, frame.FrameContentSequence = [place], [content]
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = frames
    ds.NumberOfFrames = len(frames)
    _pixels(ds, volume.data.transpose(2, 1, 0))
    return {"enhanced.dcm": ds}


def write(files: Files, folder: Path) -> Path:
    """Write the files into a folder; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, ds in files.items():
        # What pydicom cannot write whole is left as far as it came: such files exist, too.
        with contextlib.suppress(AttributeError, TypeError, ValueError, OverflowError):
            dcmwrite(folder / name, ds, implicit_vr=False, little_endian=True,
                     enforce_file_format=True)  # fmt: skip
    return folder


def _header(kind: str, instance: str) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = kind, instance
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = kind, instance, "MR"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = f"{ROOT}.3", f"{ROOT}.4"
    ds.FrameOfReferenceUID = f"{ROOT}.5"
    ds.PatientName, ds.PatientID = "Roe^Jane", "canary-7"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    ds.EchoTime = "3.5"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    return ds


def _pixels(ds: Dataset, data: np.ndarray) -> None:
    ds.Rows, ds.Columns = data.shape[-2:]
    ds.add_new("PixelData", "OW", np.ascontiguousarray(data, dtype="<i2").tobytes())


def _lps(volume: Volume) -> np.ndarray:
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _text(numbers: object) -> list[str]:
    return [f"{x:.8g}" for x in np.asarray(numbers, dtype=float)]


def _some(files: Files, rng: Random, most: int = 3) -> list[str]:
    names = sorted(files)
    return list(rng.choice(names, min(len(names), int(rng.integers(1, most + 1))), replace=False))


def _move(ds: Dataset, by: np.ndarray) -> None:
    ds.ImagePositionPatient = _text(np.array(ds.ImagePositionPatient, float) + by)


def slices_lost(files: Files, rng: Random) -> None:
    """One slice, a block, or every other one of a part is gone."""
    names = sorted(files)
    start = int(rng.integers(1, len(names) - 8))
    which = (names[start : start + 1], names[start : start + 6], names[start::2])
    for name in which[rng.integers(0, 3)]:
        del files[name]


def people_mixed(files: Files, rng: Random) -> None:
    """Another patient, study, frame of reference, series, echo, kind, time point or acquisition."""
    what, value = (
        ("PatientID", "other"), ("StudyInstanceUID", f"{ROOT}.9"),
        ("SeriesInstanceUID", f"{ROOT}.8"), ("FrameOfReferenceUID", f"{ROOT}.7"),
        ("EchoTime", "90"), ("AcquisitionNumber", 2),
        ("ImageType", ["ORIGINAL", "PRIMARY", "P", "ND"]), ("TemporalPositionIdentifier", 2),
    )[rng.integers(0, 8)]  # fmt: skip
    for name in _some(files, rng, 20):
        setattr(files[name], what, value)


def repeated(files: Files, rng: Random) -> None:
    """Slices come again: copies, or a series over time with a little motion."""
    jitter = float(rng.choice([0.0, 0.0, 0.01, 0.4]))
    for name in _some(files, rng, 60):
        again = copy.deepcopy(files[name])
        again.SOPInstanceUID += ".1"
        _move(again, rng.normal(0, jitter, 3) if jitter else np.zeros(3))
        files[f"again-{name}"] = again


def tilted(files: Files, rng: Random) -> None:
    """Slices lie beside the ones below, evenly or at random."""
    by, even = rng.uniform(-1.5, 1.5, 2), rng.random() < 0.5
    for k, name in enumerate(sorted(files)):
        step = k * by if even else rng.normal(0, 5, 2)
        _move(files[name], np.array([*step, 0.0]))


def jittered(files: Files, rng: Random) -> None:
    """Slices lie above or below their places."""
    for name in _some(files, rng, 20):
        _move(files[name], np.array([0, 0, rng.normal(0, 3)]))


def place_unknown(files: Files, rng: Random) -> None:
    """Position, orientation or spacing is gone, or nonsense, in some files or all."""
    what = str(rng.choice(PLACE))
    for name in files if rng.random() < 0.3 else _some(files, rng):
        value = NONSENSE[rng.integers(0, len(NONSENSE))]
        if value is None or rng.random() < 0.3:
            delattr(files[name], what)
        else:
            numbers = list(files[name][what].value)
            numbers[rng.integers(0, len(numbers))] = value
            files[name][what]._value = numbers


def other_shape(files: Files, rng: Random) -> None:
    """Give a slice another size, spacing or direction."""
    for name in _some(files, rng):
        ds = files[name]
        which = rng.integers(0, 3)
        if which == 0:
            ds.Rows, ds.Columns = ds.Columns, ds.Rows + 1
        elif which == 1:
            ds.PixelSpacing = [2 * float(s) for s in ds.PixelSpacing]
        else:
            ds.ImageOrientationPatient = ["0", "1", "0", "0", "0", "-1"]


def claims(files: Files, rng: Random) -> None:
    """Sizes, bits, frames, colours, encodings and modalities that are not so."""
    value: object
    for name in files if rng.random() < 0.5 else _some(files, rng):
        ds = files[name]
        what, value = (
            ("Rows", 65535), ("Columns", 65535), ("Rows", 0), ("BitsAllocated", 64),
            ("BitsAllocated", 1), ("NumberOfFrames", 100000), ("NumberOfFrames", 2),
            ("SamplesPerPixel", 3), ("PhotometricInterpretation", "PALETTE COLOR"),
            ("Modality", "RTDOSE"), ("Modality", "CT"), ("PixelRepresentation", 7),
            ("RescaleSlope", "nan"), ("SOPClassUID", uid.RTDoseStorage),
        )[rng.integers(0, 14)]  # fmt: skip
        setattr(ds, what, value)
        if rng.random() < 0.2:
            kind = rng.choice([uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless,
                               uid.JPEGLosslessSV1])  # fmt: skip
            ds.file_meta.TransferSyntaxUID = uid.UID(str(kind))
            ds.PixelData = encapsulate([ds.PixelData])
            ds["PixelData"].is_undefined_length = True


def any_element(files: Files, rng: Random) -> None:
    """Make an element anywhere nonsense, or remove it."""
    for name in _some(files, rng):
        ds = files[name]
        while True:
            elements = [e for e in ds if e.keyword and e.keyword != "PixelData"]
            element = elements[rng.integers(0, len(elements))]
            if element.VR != "SQ" or rng.random() < 0.2:
                break
            ds = element.value[rng.integers(0, len(element.value))]
        del ds[element.tag]
        if rng.random() < 0.5 and element.VR in ("DS", "IS", "US", "UI", "LO", "PN", "CS"):
            wrong = int(rng.choice([0, 1, 65535])) if element.VR == "US" else str(rng.choice(
                ["nan", "1\\2\\3\\4\\5\\6\\7", "x", "-1e400", "\xe9\x1b[31m"]))  # fmt: skip
            with contextlib.suppress(ValueError, OverflowError):
                ds.add_new(element.tag, element.VR, wrong)


KINDS: tuple[Callable[[Files, Random], None], ...] = (
    slices_lost, people_mixed, repeated, tilted, jittered, place_unknown, other_shape, claims,
    any_element,
)  # fmt: skip
OF_FILES = ("cut", "flipped", "links", "strangers", "as it is")


def spoil_files(kind: str, folder: Path, rng: Random) -> None:
    """Spoil what is written: bytes, links and things that are no images."""
    paths = sorted(folder.iterdir())
    some = sorted({paths[n] for n in rng.integers(0, len(paths), int(rng.integers(1, 4)))})
    for n, path in enumerate(some):
        raw = bytearray(path.read_bytes())
        if kind == "cut":
            path.write_bytes(raw[: int(rng.integers(0, len(raw)))])
        elif kind == "flipped":
            # Headers only, and not the numbers themselves: those may become other valid ones.
            for _ in range(int(rng.integers(1, 10))):
                at = int(rng.integers(128, 400))
                raw[at] = int(rng.integers(0, 256))
            path.write_bytes(raw)
        elif kind == "links":
            path.unlink()
            path.symlink_to(folder / "nowhere" if rng.random() < 0.7 else folder)
        elif kind == "strangers":
            (folder / f"readme{n}.txt").write_bytes(rng.bytes(int(rng.integers(0, 900))))
            (folder / f"empty{n}").touch()
            (folder / f"sub{n}").mkdir(exist_ok=True)


@lru_cache(maxsize=1)
def head() -> Volume:
    """Make the head that all inputs come from."""
    volume = make_phantom(zooms=(5.0, 5.0, 5.0), seed=2).volume
    return volume.with_data(np.rint(volume.data).astype(np.int16))


def make_input(seed: int, number: int, folder: Path) -> tuple[Path, str]:
    """Write one input; return its path and what was done to it."""
    rng = np.random.default_rng([seed, number])
    # One in six is an enhanced file.
    many = number % 4 == 3 and rng.random() < 0.7
    files = (enhanced if many else classic)(head())
    names = [k.__name__ for k in KINDS] + list(OF_FILES)
    what = names[number % len(names)]
    if what in OF_FILES:
        write(files, folder)
        spoil_files(what, folder, rng)
    else:
        # The others speak of files, an enhanced one is spoiled inside.
        (any_element if many else KINDS[names.index(what)])(files, rng)
        what = "any_element" if many else what
        write(files, folder)
    return folder / "enhanced.dcm" if many and rng.random() < 0.5 else folder, what


def faults(path: Path) -> tuple[str, str]:
    """Read an input; return how that ended, and what is wrong with it."""
    try:
        scan = nifti.load(path)
    except BrainsegError as error:
        said = str(error)
        if error.exit_code not in (65, 66):
            return "refused", f"exit code {error.exit_code}"
        if "\n" in said or "canary" in said or "Roe" in said or str(path.parent) in said:
            return "refused", f"says {said!r}"
        return "refused", ""
    if scan.notes:
        return "noted", ""
    whole = head()
    if scan.volume.shape != whole.shape or not np.allclose(
        scan.volume.affine, whole.affine, atol=1e-3
    ):
        return "read", f"a volume that is another: {scan.volume.shape}, {scan.volume.zooms}"
    return "read", ""


def verdict_of(path: Path, out: Path) -> tuple[int, str]:
    """Run the whole program; return its exit code and the verdict."""
    with contextlib.redirect_stderr(io.StringIO()):
        options = ["-q", "--threads", "1", "--prior", "tied", "--mask", "none"]
        code = brainseg(["run", str(path), "-o", str(out), *options])
    found = list(out.glob("*_desc-quality_*.json"))
    return code, json.loads(found[0].read_text())["verdict"] if found else ""


def _too_long(signum: int, frame: object) -> NoReturn:
    raise TimeoutError(f"not done after {MOST_SECONDS} s")


def main() -> int:
    """Attack, print, and say whether all held."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=20, help="so many through the whole program")
    parser.add_argument("--only", type=int, nargs="+", metavar="N", help="these inputs alone")
    args = parser.parse_args()
    # Nonsense is written on purpose, without pydicom's word about it.
    config.settings.writing_validation_mode = config.IGNORE
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGPROF, _too_long)
    ends: dict[str, Counter[str]] = {}
    failed = runs = 0
    for number in args.only or range(args.count):
        with tempfile.TemporaryDirectory() as scratch:
            path, what = make_input(args.seed, number, Path(scratch) / "series")
            # Of the processor: other work on the machine is no fault of the program.
            signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
            try:
                end, wrong = faults(path)
                if end == "noted" and runs < args.runs:
                    runs += 1
                    code, verdict = verdict_of(path, Path(scratch) / "out")
                    if code not in (0, 65) or verdict == "pass":
                        wrong = f"the program ends with {code}, {verdict}"
            except Exception:
                end, wrong = "traceback", traceback.format_exc().splitlines()[-1]
            signal.setitimer(signal.ITIMER_PROF, 0)
        ends.setdefault(what, Counter())[end] += 1
        if wrong:
            failed += 1
            ends[what]["faults"] += 1
            print(f"input {number} ({what}): {wrong}", flush=True)
    columns = ("read", "noted", "refused", "faults")
    print(f"\n{'mutation':<16}" + "".join(f"{c:>9}" for c in columns))
    total = Counter[str]()
    for what, counts in sorted(ends.items()):
        total += counts
        print(f"{what:<16}" + "".join(f"{counts[c]:>9}" for c in columns))
    print(f"{'all':<16}" + "".join(f"{total[c]:>9}" for c in columns) + f"{runs:>6} runs")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
