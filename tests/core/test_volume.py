"""What a volume says of its own place."""

from __future__ import annotations

import numpy as np
import pytest
from nibabel import aff2axcodes
from nibabel.orientations import inv_ornt_aff, io_orientation
from scipy.spatial.transform import Rotation

from brainseg.core.volume import Volume

DATA = np.zeros((5, 6, 7), np.float32)


def turned(seed: int) -> np.ndarray:
    """A random rotation with anisotropic voxels."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.random(random_state=seed).as_matrix() * [1.0, 1.3, 2.0]
    return affine


@pytest.mark.parametrize("seed", range(50))
def test_axis_codes_are_those_of_nibabel(seed: int) -> None:
    affine = turned(seed)
    assert Volume(DATA, affine).axis_codes == "".join(aff2axcodes(affine))


@pytest.mark.parametrize("seed", range(50))
def test_what_nibabel_made_canonical_is_ras(seed: int) -> None:
    affine = turned(seed)
    canonical = affine @ inv_ornt_aff(io_orientation(affine), DATA.shape)
    assert Volume(DATA, canonical).axis_codes == "RAS"


@pytest.mark.parametrize("sign", [1, -1])
def test_an_axis_half_way_between_two_keeps_its_place(sign: int) -> None:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("z", sign * 45, degrees=True).as_matrix()
    assert Volume(DATA, affine).axis_codes == "RAS"
