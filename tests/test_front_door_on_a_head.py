"""Whatever form a real head comes in, Python finds the labels that the program finds."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from axis_orders import turned
from scipy.spatial.transform import Rotation

import brainseg
from brainseg.cli.main import main

Case = tuple[nib.Nifti1Image, Path, np.ndarray]


@pytest.fixture(scope="module")
def program(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Every second voxel of a head, its file, and the labels of `brainseg run`."""
    folder = tmp_path_factory.mktemp("head")
    whole = nib.load(shared_data / "heads" / "lhdata_sub-01_T1w.nii.gz")
    image = whole.slicer[::2, ::2, ::2]
    path = folder / "head_T1w.nii.gz"
    image.to_filename(path)
    assert main(["run", str(path), "-o", str(folder), "--no-report"]) == 0
    labels = np.asanyarray(nib.load(folder / "head_seg-six_desc-posterior_dseg.nii.gz").dataobj)
    return nib.load(path), path, labels


def test_a_path_and_an_image(program: Case) -> None:
    image, path, labels = program
    np.testing.assert_array_equal(brainseg.segment(path).labels, labels)
    np.testing.assert_array_equal(brainseg.segment(image).labels, labels)


@pytest.mark.parametrize("codes", ["RAI", "PIR"])
def test_an_array_in_another_order_of_axes(program: Case, codes: str) -> None:
    image, _, labels = program
    data, affine = turned(np.asanyarray(image.dataobj), image.affine, codes)
    expected, _ = turned(labels, image.affine, codes)
    np.testing.assert_array_equal(brainseg.segment(data, affine=affine).labels, expected)


def test_an_array_with_an_oblique_affine(program: Case) -> None:
    image, _, labels = program
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", [12, -17, 9], degrees=True).as_matrix()
    oblique = turn @ image.affine
    found = brainseg.segment(np.asanyarray(image.dataobj), affine=oblique)
    np.testing.assert_array_equal(found.labels, labels)
