"""What must not matter does not: orientation, format, type, unit of intensity; left is left."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainseg.cli.main import main
from brainseg.config import SegmentConfig
from brainseg.core.volume import Volume
from brainseg.evaluation.phantom import Phantom, make_phantom
from brainseg.io import nifti
from brainseg.pipeline import SegmentedVolume, segment_volume

ORIENTATIONS = [
    np.column_stack([axes, flips])
    for axes in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]
# One of each order of the axes, no two flipped alike.
SIX = ORIENTATIONS[::9]
SAME = 0.999


@pytest.fixture(scope="module")
def real_head(shared_data: Path) -> Volume:
    """A real head thinned to about 2.7 mm, in whole numbers as scanners write them."""
    volume = nifti.load(shared_data / "heads" / "lhdata_sub-01_T1w.nii.gz").volume
    i, j, k = (n // 2 * 2 for n in volume.shape)
    blocks = volume.data[:i, :j, :k].reshape(i // 2, 2, j // 2, 2, k // 2, 2).mean(axis=(1, 3, 5))
    return Volume(np.rint(blocks), volume.affine @ np.diag([2.0, 2.0, 2.0, 1.0]))


@pytest.fixture(scope="module")
def usual(real_head: Volume) -> SegmentedVolume:
    return segment_volume(real_head, SegmentConfig())


@pytest.mark.parametrize("turn", ORIENTATIONS)
def test_a_real_head_is_the_same_scan_in_every_orientation_format_and_type(
    real_head: Volume, tmp_path: Path, turn: np.ndarray
) -> None:
    """Bit for bit what the path starts from; its determinism carries that to the labels."""
    number = next(i for i, t in enumerate(ORIENTATIONS) if np.array_equal(t, turn))
    ending = (".nii", ".nii.gz", ".nii.zst")[number % 3]
    dtype = ("int16", "float64", "float32", "uint16")[number % 4]
    image = nib.Nifti1Image(real_head.data.astype(dtype), real_head.affine)
    nib.save(image.as_reoriented(turn), tmp_path / f"head{ending}")
    scan = nifti.load(tmp_path / f"head{ending}")
    assert np.array_equal(scan.volume.data, real_head.data)
    assert scan.volume.data.flags.c_contiguous
    # The affine is float32 in the file, so that voxel sizes keep 7 digits.
    assert np.allclose(scan.volume.zooms, real_head.zooms, rtol=1e-6)


@pytest.mark.parametrize(("factor", "offset"), [(1000.0, 0.0), (1.0, 500.0)])
def test_the_unit_of_intensity_does_not_matter(
    real_head: Volume, usual: SegmentedVolume, factor: float, offset: float
) -> None:
    changed = real_head.with_data(real_head.data * np.float32(factor) + np.float32(offset))
    result = segment_volume(changed, SegmentConfig())
    either = usual.mask | result.mask
    assert (usual.labels == result.labels)[either].mean() >= SAME


@pytest.fixture(scope="module")
def marked() -> tuple[Phantom, Volume, tuple[int, ...], tuple[int, ...]]:
    """A head with a dark ball in the left white matter and a hole in the left of the scan."""
    head = make_phantom(zooms=(3.0, 3.0, 3.0), seed=4)
    data = head.volume.data.copy()
    grid = np.indices(data.shape)
    middle = data.shape[0] // 2
    white = head.three == 2
    # The place in the left half that has white matter all around it, on both sides of the head.
    inner = white & white[::-1]
    for axis, shift in itertools.product(range(3), (-2, -1, 1, 2)):
        inner &= np.roll(white, shift, axis) & np.roll(white[::-1], shift, axis)
    ball = tuple(np.argwhere(inner[: middle - 3])[0])
    csf = float(np.median(data[head.three == 3]))
    near = sum((g - b) ** 2 for g, b in zip(grid, ball, strict=True)) <= 2
    data[near] = csf
    hole = tuple(int(v) for v in (ball[0], ball[1] + 6, ball[2]))
    data[hole] = np.nan
    return head, Volume(data, head.volume.affine), ball, hole


@pytest.mark.parametrize("turn", SIX)
def test_left_stays_left_in_every_output(
    marked: tuple[Phantom, Volume, tuple[int, ...], tuple[int, ...]],
    tmp_path: Path,
    turn: np.ndarray,
) -> None:
    head, volume, ball, hole = marked
    for name, data in (("scan", volume.data), ("mask", head.mask.astype(np.uint8))):
        image = nib.Nifti1Image(data, volume.affine).as_reoriented(turn)
        nib.save(image, tmp_path / f"{name}.nii")
    options = ["--mask", str(tmp_path / "mask.nii"), "--prior", "tied", "--no-report", "-q"]
    assert main(["run", str(tmp_path / "scan.nii"), "-o", str(tmp_path / "out"), *options]) == 0

    def at(ending: str, voxel: tuple[int, ...], *, mirrored: bool = False) -> float:
        """Value at a place in the world; `mirrored`: at the same place right of the midline."""
        place = volume.affine @ [*voxel, 1]
        if mirrored:
            place[0] = (volume.affine @ [volume.shape[0] - 1 - voxel[0], 0, 0, 1])[0]
        image = nib.load(tmp_path / "out" / f"scan_{ending}.nii.gz")
        index = np.rint(np.linalg.inv(image.affine) @ place)[:3].astype(int)
        return float(np.asanyarray(image.dataobj)[tuple(index)])

    assert (volume.affine @ [*ball, 1])[0] < 0  # x runs to the right, so this is left
    assert at("dseg", ball) == 3
    assert at("dseg", ball, mirrored=True) == 2
    own = "seg-intensity_desc-posterior_dseg"
    assert at(own, ball) < 4 < at(own, ball, mirrored=True)
    for maps in ("label-{}_probseg", "seg-intensity_label-intensity{}_desc-posterior_probseg"):
        for label, on_the_left in (("CSF", True), ("WM", False)):
            ending = maps.format(label)
            here, there = at(ending, ball), at(ending, ball, mirrored=True)
            assert (here > there + 0.5) if on_the_left else (there > here + 0.5), ending
    assert at("desc-preproc_T1w", ball) < 0.7 * at("desc-preproc_T1w", ball, mirrored=True)
    assert at("desc-brain_mask", hole) == 0
    assert at("desc-brain_mask", hole, mirrored=True) == 1
