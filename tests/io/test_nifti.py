"""Every file comes in as one canonical volume and every result returns to the file's own grid."""

from __future__ import annotations

import gzip
import itertools
import os
import shutil
import struct
import tracemalloc
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from brainseg.errors import DataError, NoInputError
from brainseg.io import nifti

SHAPE = (7, 9, 11)
AFFINE = np.array([[1.0, 0, 0, -3], [0, 1.5, 0, -20], [0, 0, 2.0, 5], [0, 0, 0, 1]])


def ramp(shape: tuple[int, ...] = SHAPE, dtype: str = "int16") -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def save(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


ORIENTATIONS = [
    (axes, flips)
    for axes in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]


@pytest.mark.parametrize(("axes", "flips"), ORIENTATIONS)
def test_all_48_orientations_are_one_volume(
    tmp_path: Path, axes: tuple[int, ...], flips: tuple[int, ...]
) -> None:
    canonical = nib.Nifti1Image(ramp(), AFFINE)
    turned = canonical.as_reoriented(np.column_stack([axes, flips]))
    path = tmp_path / "turned.nii.gz"
    nib.save(turned, path)
    scan = nifti.load(path)
    assert np.array_equal(scan.volume.data, ramp())
    assert np.allclose(scan.volume.affine, AFFINE)
    written = nib.Nifti1Image.from_bytes(nifti.image_bytes(scan.volume.data, scan.grid))
    assert np.array_equal(written.get_fdata(), turned.get_fdata())
    assert np.allclose(written.affine, turned.affine)


def test_forms_codes_and_units_are_kept(tmp_path: Path) -> None:
    image = nib.Nifti1Image(ramp(), None)
    turn = AFFINE @ nib.affines.from_matvec(nib.eulerangles.euler2mat(0.1, 0.2, 0.05))
    image.set_sform(turn, code="talairach")
    image.set_qform(turn, code="aligned")
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"John Doe, born 1970"
    path = tmp_path / "scan.nii"
    nib.save(image, path)
    scan = nifti.load(path)
    out = nib.Nifti1Image.from_bytes(nifti.image_bytes(scan.volume.data, scan.grid))
    for form in ("get_sform", "get_qform"):
        matrix, code = getattr(out, form)(coded=True)
        expected, expected_code = getattr(image, form)(coded=True)
        assert code == expected_code
        assert np.allclose(matrix, expected, atol=1e-5)  # quaternions are float32
    assert out.header.get_xyzt_units()[0] == "mm"
    assert b"John" not in out.to_bytes()


def test_disagreeing_forms_are_said(tmp_path: Path) -> None:
    image = nib.Nifti1Image(ramp(), AFFINE)
    moved = AFFINE.copy()
    moved[0, 3] += 10
    image.set_qform(moved, code="scanner")
    image.set_sform(AFFINE, code="aligned")
    path = tmp_path / "scan.nii"
    nib.save(image, path)
    scan = nifti.load(path)
    assert np.allclose(scan.volume.affine, AFFINE)
    assert any("disagree" in note and "sform is used" in note for note in scan.notes)


@pytest.mark.parametrize("unit", ["meter", "micron"])
def test_other_units_of_length_become_mm(tmp_path: Path, unit: str) -> None:
    factor = {"meter": 1e-3, "micron": 1e3}[unit]
    image = nib.Nifti1Image(ramp(), np.diag([factor] * 3 + [1]) @ AFFINE)
    image.header.set_xyzt_units(unit)
    path = tmp_path / "scan.nii"
    nib.save(image, path)
    assert nifti.load(path).volume.zooms == pytest.approx((1.0, 1.5, 2.0), rel=1e-5)


@pytest.mark.parametrize(
    "name", ["s.nii", "s.nii.gz", "s.nii.zst", "s.img", "s.mgz", "n2.nii", "big.nii"]
)
def test_formats_hold_the_same_scan(tmp_path: Path, name: str) -> None:
    data, path = ramp(dtype="float32"), tmp_path / name
    if name == "s.mgz":
        nib.save(nib.MGHImage(data, AFFINE), path)
    elif name == "n2.nii":
        nib.save(nib.Nifti2Image(data, AFFINE), path)
    elif name == "s.img":
        nib.save(nib.Nifti1Pair(data, AFFINE), path)
    elif name == "big.nii":
        header = nib.Nifti1Header(endianness=">")
        nib.save(nib.Nifti1Image(data.astype(">f4"), AFFINE, header=header), path)
    else:
        save(path, data)
    scan = nifti.load(path)
    assert np.array_equal(scan.volume.data, data)
    assert np.allclose(scan.volume.affine, AFFINE, atol=1e-4)


def test_dicom_folder(tmp_path: Path) -> None:
    data = ramp((12, 10, 6))
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in range(data.shape[2]):
        image = sitk.GetImageFromArray(data[:, :, k].T[None])
        image.SetSpacing((1.5, 1.5, 3.0))
        for tag, value in {
            "0008|0060": "MR", "0020|000e": "1.2.3", "0020|000d": "1.2", "0008|0018": f"1.2.3.{k}",
            "0020|0013": str(k), "0020|0032": f"-10\\-20\\{3.0 * k}",
            "0020|0037": "1\\0\\0\\0\\1\\0", "0010|0010": "Doe^John",
        }.items():  # fmt: skip
            image.SetMetaData(tag, value)
        writer.SetFileName(str(tmp_path / f"{k}.dcm"))
        writer.Execute(image)
    scan = nifti.load(tmp_path)
    # DICOM's axes run left and posterior; canonical ones right and anterior.
    assert np.array_equal(scan.volume.data, data[::-1, ::-1])
    assert scan.volume.zooms == pytest.approx((1.5, 1.5, 3.0))
    assert np.allclose(scan.volume.affine[:3, 3], [10 - 11 * 1.5, 20 - 9 * 1.5, 0])


def test_all_real_formats_are_read_or_explained(shared_data: Path) -> None:
    refused = {"4d.nii.gz": "`index`", "5D_small.nii": "at least 5", "rgb.nii.gz": "colour"}
    for path in sorted((shared_data / "formats").iterdir()):
        if path.name in refused:
            with pytest.raises(DataError, match=refused[path.name]):
                nifti.load(path)
        else:
            scan = nifti.load(path)
            stored = np.asanyarray(nib.load(path).dataobj)
            back = scan.grid.to_file_order(scan.volume.data)
            # Scaled integers may be rounded once more on their way to float32.
            assert np.allclose(back, stored.reshape(back.shape), rtol=1e-6, atol=0), path.name


def test_minc_that_is_compressed_inside_is_read(shared_data: Path, tmp_path: Path) -> None:
    source, path = shared_data / "formats" / "small.mnc", tmp_path / "packed.mnc"
    shutil.copy(source, path)
    with h5py.File(path, "r+") as file:
        group = file["minc-2.0/image/0"]
        stored = group["image"]
        values, attributes = np.zeros_like(stored[()]), dict(stored.attrs)
        values[2] = stored[2]  # mostly one value, so that the file is smaller than its voxels
        del group["image"]
        group.create_dataset("image", data=values, compression="gzip", chunks=True)
        group["image"].attrs.update(attributes)
    whole = tmp_path / "repacked.mnc"
    with h5py.File(path) as file, h5py.File(whole, "w") as anew:
        file.copy("minc-2.0", anew)  # gives back the room of what was deleted
    assert whole.stat().st_size < values.nbytes
    assert nifti.load(whole).volume.data.any()


def test_one_volume_of_a_4d_file(tmp_path: Path) -> None:
    single = save(tmp_path / "one.nii", ramp((*SHAPE, 1)))
    assert np.array_equal(nifti.load(single).volume.data, ramp())
    series = save(tmp_path / "many.nii", ramp((*SHAPE, 3)))
    assert np.array_equal(nifti.load(series, index=2).volume.data, ramp((*SHAPE, 3))[..., 2])
    with pytest.raises(DataError, match="no volume 3"):
        nifti.load(series, index=3)


def test_values_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    data = ramp(dtype="float32")
    data[0, 0, :3] = np.nan, np.inf, -np.inf
    scan = nifti.load(save(tmp_path / "holes.nii", data))
    assert np.isfinite(scan.volume.data).all()
    assert scan.finite is not None
    assert (~scan.finite).sum() == 3
    assert any(note.startswith("3 voxels") for note in scan.notes)


def broken(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / f"{kind}.nii"
    data = ramp()
    if kind == "text":
        path.write_text("no image at all")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        path = save(tmp_path / "truncated.nii.gz", np.random.default_rng(0).random(SHAPE))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "nan":
        save(path, np.full(SHAPE, np.nan, "float32"))
    elif kind == "constant":
        save(path, np.full(SHAPE, 7, "int16"))
    elif kind == "complex":
        save(path, data.astype("complex64"))
    elif kind == "flat":
        save(path, ramp((9, 9)))
    elif kind == "singular":
        save(path, data)
        raw = bytearray(path.read_bytes())
        raw[254:256] = struct.pack("<h", 1)  # sform_code
        raw[280:328] = bytes(48)  # srow_*
        path.write_bytes(raw)
    elif kind == "huge":
        save(path, data)
        raw = bytearray(path.read_bytes())
        raw[40:56] = struct.pack("<8h", 3, 30000, 30000, 30000, 1, 1, 1, 1)
        path.write_bytes(raw)
    return path


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("text", "not an image"), ("empty", "not an image"), ("truncated", "cannot be read"),
        ("nan", "none of its"), ("constant", "value 7"), ("complex", "complex"),
        ("flat", "9x9 voxels"), ("singular", "singular"), ("huge", "30000x30000x30000"),
    ],
)  # fmt: skip
def test_bad_files_are_explained_in_one_line(tmp_path: Path, kind: str, says: str) -> None:
    path = broken(tmp_path, kind)
    with pytest.raises(DataError, match=says) as caught:
        nifti.load(path)
    message = str(caught.value)
    assert message.startswith(path.name)
    assert "\n" not in message
    assert str(tmp_path) not in message


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = save(tmp_path / "bomb.nii", ramp())
    bomb = tmp_path / "bomb.nii.gz"
    with gzip.open(bomb, "wb", compresslevel=1) as stream:
        stream.write(path.read_bytes())
        for _ in range(200):
            stream.write(bytes(1 << 20))
    assert np.array_equal(nifti.load(bomb).volume.data, ramp())


def test_a_zstandard_bomb_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "bomb.nii.zst"
    nib.save(nib.Nifti1Image(np.zeros((300, 300, 300), np.int16), AFFINE), path)
    # 54 MB of zeros.
    assert path.stat().st_size < 20_000
    tracemalloc.start()
    with pytest.raises(DataError, match="the header claims 54,000,000 bytes"):
        nifti.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6


@pytest.mark.parametrize("ending", [".hdr", ".img"])
def test_a_pair_is_hashed_with_its_voxels(tmp_path: Path, ending: str) -> None:
    for kind in (nib.Nifti1Pair, nib.AnalyzeImage):
        hashes = []
        for data in (ramp(), ramp()[::-1]):
            nib.save(kind(data, AFFINE), tmp_path / "pair.img")
            hashes.append(nifti.load(tmp_path / f"pair{ending}").sha256)
        header = (tmp_path / "pair.hdr").read_bytes()
        assert hashes[0] != hashes[1]
        # The header counts, too.
        (tmp_path / "pair.hdr").write_bytes(header[:148] + b"other" + header[153:])
        assert nifti.load(tmp_path / f"pair{ending}").sha256 not in hashes


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match="no such file"):
        nifti.load(tmp_path / "absent.nii")
    if os.geteuid() != 0:
        path = save(tmp_path / "locked.nii", ramp())
        path.chmod(0)
        with pytest.raises(NoInputError, match="permissions"):
            nifti.load(path)


def test_labels_read_back_as_nearly_whole_numbers(tmp_path: Path) -> None:
    path = save(tmp_path / "labels.nii", (ramp() % 4).astype("uint8"))
    raw = bytearray(path.read_bytes())
    raw[112:116] = struct.pack("<f", 0.9999)  # scl_slope: 3 reads back as 2.9997
    path.write_bytes(raw)
    labels, _ = nifti.load_labels(path)
    assert labels.data.dtype == np.int32
    assert np.array_equal(labels.data, ramp() % 4)
    with pytest.raises(DataError, match="between whole numbers"):
        nifti.load_labels(save(tmp_path / "soft.nii", ramp().astype("float32") + 0.5))


def test_a_mask_of_another_grid_is_refused(tmp_path: Path) -> None:
    scan = nifti.load(save(tmp_path / "scan.nii", ramp()))
    nearly = AFFINE * (1 + 1e-7)
    nifti.load_labels(save(tmp_path / "near.nii", ramp() % 2, nearly), reference=scan)
    with pytest.raises(DataError, match="6x9x11"):
        nifti.load_labels(save(tmp_path / "small.nii", ramp((6, 9, 11)) % 2), reference=scan)
    moved = AFFINE.copy()
    moved[1, 3] += 5
    with pytest.raises(DataError, match="5 mm away"):
        nifti.load_labels(save(tmp_path / "moved.nii", ramp() % 2, moved), reference=scan)
