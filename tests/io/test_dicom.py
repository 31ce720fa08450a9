"""DICOM: one regular volume comes in, or one line says why not and which files."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from attack_dicom import Files, classic, enhanced, write
from pydicom import config, dcmread
from pydicom.data import get_testdata_file

from brainseg.core.volume import Volume
from brainseg.errors import BrainsegError, DataError, NoInputError
from brainseg.io import nifti

# Oblique, with three different voxel sizes.
AFFINE = np.array([[1.5, -0.1, 0, -9], [0.12, 1.25, -0.3, -7], [0, 0.25, 2.0, 5], [0, 0, 0, 1]])
for column in ((0, 1), (0, 2), (1, 2)):  # Gram-Schmidt: slices are at right angles to their stack
    a, b = AFFINE[:3, column[0]], AFFINE[:3, column[1]]
    AFFINE[:3, column[1]] -= a * (a @ b) / (a @ a)
SHAPE = (12, 10, 24)


def volume() -> Volume:
    i, j, k = np.indices(SHAPE)
    return Volume((7 * i + 3 * j + 11 * k + i * j).astype(np.int16), AFFINE)


def series(tmp_path: Path, spoil: Callable[[Files], object] = lambda files: None) -> Path:
    files = classic(volume())
    spoil(files)
    config.settings.writing_validation_mode = config.IGNORE
    return write(files, tmp_path / "series")


def moved(files: Files, name: str, by: tuple[float, float, float]) -> None:
    """Move a slice by mm along a row, a column and the stack."""
    axes = (np.diag([-1, -1, 1]) @ AFFINE[:3, :3] / np.linalg.norm(AFFINE[:3, :3], axis=0)).T
    position = np.array(files[name].ImagePositionPatient, float) + np.array(by) @ axes
    files[name].ImagePositionPatient = [f"{p:.8g}" for p in position]


def test_classic_and_enhanced_are_the_same_volume(tmp_path: Path) -> None:
    one = nifti.load(series(tmp_path))
    many = nifti.load(write(enhanced(volume()), tmp_path / "enhanced"))
    single = nifti.load(tmp_path / "enhanced" / "enhanced.dcm")
    for scan in (one, many, single):
        assert np.array_equal(scan.volume.data, volume().data)
        assert np.allclose(scan.volume.affine, AFFINE, atol=1e-5)  # positions have eight digits
        assert scan.notes == ()


def test_stored_values_are_scaled_slice_by_slice(tmp_path: Path) -> None:
    def scale(files: Files) -> None:
        for k, name in enumerate(sorted(files)):
            files[name].RescaleSlope, files[name].RescaleIntercept = str(1 + k), "0.5"

    expected = volume().data * (1.0 + np.arange(SHAPE[2])) + 0.5
    assert np.array_equal(nifti.load(series(tmp_path, scale)).volume.data, expected)


def test_jpeg_lossless_is_unpacked(tmp_path: Path) -> None:
    def pack(files: Files) -> None:
        writer = sitk.ImageFileWriter()
        writer.UseCompressionOn()
        writer.SetCompressor("JPEG")
        for ds in files.values():
            ds.RescaleSlope, ds.RescaleIntercept = "2", "1"
            writer.SetFileName(str(tmp_path / "packed.dcm"))
            writer.Execute(sitk.GetImageFromArray(ds.pixel_array[None]))
            packed = dcmread(tmp_path / "packed.dcm")
            ds.file_meta.TransferSyntaxUID = packed.file_meta.TransferSyntaxUID
            ds.PixelData = packed.PixelData
            ds["PixelData"].is_undefined_length = True
            assert ds.file_meta.TransferSyntaxUID.name.startswith("JPEG Lossless")

    scan = nifti.load(series(tmp_path, pack))
    assert np.array_equal(scan.volume.data, volume().data * 2 + 1)


def test_one_missing_slice_is_interpolated_and_said(tmp_path: Path) -> None:
    scan = nifti.load(series(tmp_path, lambda files: files.pop("im007.dcm")))
    assert scan.notes == (
        "a slice is missing between im006.dcm and im008.dcm; it was interpolated",
    )
    # The ramp is linear along the stack, so the mean of two neighbours is the slice itself.
    assert np.array_equal(scan.volume.data, volume().data)
    assert np.allclose(scan.volume.affine, AFFINE, atol=1e-5)


def test_a_tilt_is_resampled_and_said(tmp_path: Path) -> None:
    def tilt(files: Files) -> None:
        for k, name in enumerate(sorted(files)):
            moved(files, name, (0.75 * k, 0, 0))  # about half a pixel each

    scan = nifti.load(series(tmp_path, tilt))
    assert "tilt of" in scan.notes[0]
    zooms = np.linalg.norm(AFFINE[:3, :3], axis=0)
    assert scan.volume.zooms == pytest.approx(zooms, rel=1e-5)
    # Each slice lies farther along i in the straight stack: read the ramp there.
    to_ramp = np.linalg.solve(AFFINE, scan.volume.affine)
    i, j, k = np.einsum("ij,j...->i...", to_ramp[:3, :3], np.indices(scan.volume.shape))
    i = i + to_ramp[0, 3] - k * 0.75 / zooms[0]
    inside = (i >= 0) & (i <= SHAPE[0] - 1)
    assert inside.sum() > 0.9 * np.prod(SHAPE)
    expected = 7 * i + 3 * j + 11 * k + i * j
    assert np.allclose(scan.volume.data[inside], expected[inside], atol=1e-2)


def lose_block(files: Files) -> None:
    for k in range(5, 9):
        del files[f"im{k:03d}.dcm"]


def every_other_at_the_top(files: Files) -> None:
    for k in range(13, 24, 2):
        del files[f"im{k:03d}.dcm"]


def another(what: str, value: object) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        setattr(files["im004.dcm"], what, value)

    return change


def gone(what: str) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        delattr(files["im004.dcm"], what)

    return change


def over_time(files: Files) -> None:
    for name in list(files):
        again = files[f"b{name}"] = files[name].copy()
        again.SOPInstanceUID = files[name].SOPInstanceUID + ".2"


def smaller(files: Files) -> None:
    ds = files["im004.dcm"]
    ds.Rows, ds.PixelData = ds.Rows - 1, ds.PixelData[: -2 * ds.Columns]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lose_block, "4 slices are missing, the first between im004.dcm and im009.dcm"),
        (every_other_at_the_top, "5 slices are missing"),
        (another("PatientID", "other"), r"2 different patients \(im004.dcm differ"),
        (another("FrameOfReferenceUID", "1.2.9"), "different frames of reference"),
        (another("EchoTime", "90"), "different echoes"),
        (another("TemporalPositionIdentifier", 2), "different time points"),
        (another("ImageType", ["ORIGINAL", "PRIMARY", "P"]), "different kinds of image"),
        (another("SeriesInstanceUID", "1.2.3"), r"2 DICOM series \(23, 1 files\)"),
        (another("ImageOrientationPatient", ["0", "1", "0", "0", "0", "-1"]), "not parallel"),
        (another("PixelSpacing", ["1", "1"]), r"different pixel spacings \(im004.dcm\)"),
        (another("PixelSpacing", ["0", "1"]), "im004.dcm: does not say where it lies"),
        (another("ImagePositionPatient", ["nan", "0", "0"]), "does not say where it lies"),
        (gone("ImagePositionPatient"), "im004.dcm: does not say where it lies"),
        (gone("ImageOrientationPatient"), "im004.dcm: does not say where it lies"),
        (gone("PixelSpacing"), "im004.dcm: does not say where it lies"),
        (gone("PixelData"), "im004.dcm: the voxels cannot be read"),
        (smaller, "different sizes"),
        (over_time, "share their places"),
        (lambda files: moved(files, "im004.dcm", (0, 0, 0.9)), "not evenly spaced"),
        (lambda files: moved(files, "im004.dcm", (4, 0, 0)), "beside each other"),
        (another("Modality", "CT"), "modality is CT"),
        (another("NumberOfFrames", 3), "3 frames in one file"),
        (another("RescaleSlope", "nan"), "not a finite number"),
        (lambda files: [files.pop(n) for n in sorted(files)[1:]], "a single slice"),
    ],
)  # fmt: skip
def test_what_is_no_single_volume_is_refused_in_one_line(
    tmp_path: Path, spoil: Callable[[Files], object], says: str
) -> None:
    with pytest.raises(DataError, match=says) as caught:
        nifti.load(series(tmp_path, spoil))
    message = str(caught.value)
    assert "\n" not in message
    assert str(tmp_path) not in message
    assert "Roe" not in message
    assert "canary" not in message


def test_acquisitions_and_counts_that_do_not_fit_are_said(tmp_path: Path) -> None:
    def spoil(files: Files) -> None:
        files["im004.dcm"].AcquisitionNumber = 2
        for ds in files.values():
            ds.ImagesInAcquisition = 30
            ds.SpacingBetweenSlices = "1.0"

    told = " ".join(nifti.load(series(tmp_path, spoil)).notes)
    assert "header tells of 30 slices, 24 are here" in told
    assert "2 acquisitions" in told
    assert "the header says 1 mm" in told


def test_a_broken_link_may_be_a_slice(tmp_path: Path) -> None:
    folder = series(tmp_path)
    (folder / "im005.dcm").unlink()
    (folder / "im005.dcm").symlink_to(tmp_path / "gone")
    with pytest.raises(NoInputError, match=r"im005.dcm lead nowhere"):
        nifti.load(folder)


def test_what_is_no_image_is_passed_over(tmp_path: Path) -> None:
    folder = series(tmp_path)
    (folder / "readme.txt").write_text("of the archive")
    (folder / "empty").touch()
    (folder / "more").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "report.dcm").write_bytes(Path(str(get_testdata_file("test-SR.dcm"))).read_bytes())
    assert np.array_equal(nifti.load(folder).volume.data, volume().data)


@pytest.mark.parametrize("size", [(65535, 65535), (4000, 4000)])
def test_a_claim_is_refused_before_memory_is_taken(tmp_path: Path, size: tuple[int, int]) -> None:
    def claim(files: Files) -> None:
        for ds in files.values():
            ds.Rows, ds.Columns = size

    folder = series(tmp_path, claim)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"claims|more than the"):
        nifti.load(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6  # the files have 1 kB each; the claim is up to 206 GB


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("MR_small_RLE.dcm", "compressed .RLE Lossless"),
        ("MR_small_jpeg_ls_lossless.dcm", "compressed .JPEG-LS"),
        ("image_dfl.dcm", "."),
        ("rtdose.dcm", "modality is RTDOSE"),
        ("rtdose_rle.dcm", "modality is RTDOSE"),
        ("CT_small.dcm", "modality is CT"),
        ("SC_rgb_small_odd.dcm", "colour image"),
        ("MR_small.dcm", "a single slice"),
        ("MR_truncated.dcm", "."),
        ("rtplan.dcm", "."),
        ("no_meta.dcm", "."),
    ],
)
def test_files_of_pydicom_are_refused_in_one_line(tmp_path: Path, name: str, says: str) -> None:
    path = Path(str(get_testdata_file(name, download=False)))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / name).symlink_to(path)
    for given in (path, tmp_path / "folder"):
        with pytest.raises(BrainsegError, match=says) as caught:
            nifti.load(given)
        assert caught.value.exit_code == 65
        assert "\n" not in str(caught.value)


def test_a_series_from_a_scanner_is_what_itk_reads(shared_data: Path) -> None:
    folder = shared_data / "dicom" / "t1w_head"
    scan = nifti.load(folder)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    expected = reader.Execute()
    back = scan.grid.to_file_order(scan.volume.data)
    assert np.array_equal(back.T, sitk.GetArrayFromImage(expected))
    assert np.allclose(scan.volume.zooms, expected.GetSpacing(), rtol=1e-6)
    again = Volume(scan.volume.data.astype(np.int16), scan.volume.affine)
    assert scan.notes == ()
    assert again.shape == (274, 384, 384)
