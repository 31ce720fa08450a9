"""The network's arithmetic and its resampling, against plain definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from brainseg.anatomy import convnet, views
from brainseg.anatomy.network import load_weights, tame
from brainseg.anatomy.refine import solid
from brainseg.anatomy.views import Grid
from brainseg.core import assets
from brainseg.errors import DataError


def weights(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Random weights of a network with two stages of 8 and 16 channels."""

    def kernel(size: int, inputs: int, outputs: int) -> np.ndarray:
        return rng.normal(0, 0.1, (size, size, size, inputs, outputs)).astype("f4")

    out = {"lift.0.weight": kernel(1, 16, 8), "lift.0.bias": rng.normal(size=8).astype("f4")}
    for name, inputs, outputs in (
        ("down.0.0", 8, 8),
        ("down.0.1", 8, 8),
        ("down.1.0", 8, 16),
        ("down.1.1", 16, 16),
        ("up.0", 8, 8),
    ):
        out[f"{name}.conv.weight"] = kernel(3, inputs, outputs)
        out[f"{name}.norm.weight"] = rng.uniform(0.5, 1.5, outputs).astype("f4")
        out[f"{name}.norm.bias"] = rng.normal(0, 0.1, outputs).astype("f4")
    out["head.weight"], out["head.bias"] = kernel(3, 8, 16), np.zeros(16, "f4")
    return out


@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_is_correlation_with_zeros_around(stride: int) -> None:
    from concurrent.futures import ThreadPoolExecutor

    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 8, 4, 3)).astype("f4")
    kernel = rng.normal(size=(3, 3, 3, 3, 2)).astype("f4")
    with ThreadPoolExecutor(1) as pool:
        got = convnet._convolve(x, kernel, pool, stride)
    for o in range(2):
        want = sum(
            ndimage.correlate(x[..., i], kernel[..., i, o], mode="constant") for i in range(3)
        )
        # sums of 81 float32 products
        assert np.allclose(got[..., o], want[::stride, ::stride, ::stride], atol=1e-4)


def test_threads_do_not_change_a_bit() -> None:
    rng = np.random.default_rng(1)
    w, image = weights(rng), rng.normal(size=(48, 64, 80)).astype("f4")
    one = convnet.forward(image, w, threads=1)
    assert one.shape == (2, 48, 64, 80)
    assert np.array_equal(one, convnet.forward(image, w, threads=3))


def test_brightness_and_contrast_hardly_matter_inside() -> None:
    """Group norm takes scale away; only the zeros around the picture notice an offset."""
    rng = np.random.default_rng(2)
    w, image = weights(rng), rng.normal(size=(32, 32, 32)).astype("f4")
    assert np.allclose(convnet.forward(image, w), convnet.forward(3 * image, w), atol=2e-3)


def test_the_shipped_weights_fit_in_five_megabytes() -> None:
    assert assets.path("brain_extraction.npz").stat().st_size <= 5_000_000
    assert all(np.isfinite(v).all() for v in load_weights().values())


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(8, 60),
    zoom=st.floats(0.5, 6),
    voxel=st.floats(2, 4),
    shift=st.floats(-20, 20),
)
def test_averaging_keeps_a_constant_and_a_ramp(
    n: int, zoom: float, voxel: float, shift: float
) -> None:
    view = Grid((n * zoom / 2 + shift,) * 3, voxel, (32, 32, 32))
    operator, coverage = views.averaging(n, zoom, view, 0)
    place = view.start(0) + np.arange(32) * voxel
    assert np.allclose(operator.sum(axis=1)[coverage > 0], 1, atol=1e-5)
    assert np.all(operator[coverage == 0] == 0)
    inner = (place - voxel / 2 >= 0) & (place + voxel / 2 <= (n - 1) * zoom)
    ramp = operator @ (np.arange(n) * zoom)
    assert np.allclose(ramp[inner], place[inner], atol=1e-3)


def test_interpolation_passes_through_the_grid_and_follows_a_ramp() -> None:
    view = Grid((31.5, 31.5, 31.5), 3.0, (22, 22, 22))  # from 0 to 63 mm
    operator = views.interpolating(slice(0, 64), 1.0, view, 0)
    values = np.random.default_rng(0).normal(size=22)
    assert np.allclose((operator @ values)[::3], values, atol=1e-5)
    ramp = operator @ (np.arange(22) * 3.0)
    assert np.allclose(ramp[3:61], np.arange(3, 61), atol=1e-4)


def test_sampling_a_ball_keeps_its_volume_and_place() -> None:
    axes = [np.arange(n) * z for n, z in zip((120, 80, 40), (1.0, 1.5, 3.0), strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    inside = ((x - 60) ** 2 + (y - 55) ** 2 + (z - 57) ** 2 < 40**2).astype("f4")
    values, seen = views.sample(inside, (1.0, 1.5, 3.0), Grid((60, 60, 60), 2.5, (48, 48, 48)))
    assert seen.mean() > 0.9
    # The sphere's own voxels are 4.5 mm3: the volume is good to a per cent.
    assert values.sum() * 2.5**3 == pytest.approx(4 / 3 * np.pi * 40**3, rel=0.01)
    centre = (np.indices(values.shape) * values).sum(axis=(1, 2, 3)) / values.sum()
    assert np.allclose((centre - 23.5) * 2.5 + 60, (60, 55, 57), atol=0.3)


def test_a_hot_voxel_does_not_set_the_scale() -> None:
    data = np.random.default_rng(0).uniform(0, 100, (40, 40, 40)).astype("f4")
    hot = data.copy()
    hot[3, 5, 5] = 1e5  # among the voxels that the scale is taken from, or not
    hot[4, 6, 6] = 1e5
    assert tame(hot).max() < 140
    rest = hot < 1e5
    assert np.allclose(tame(hot)[rest], tame(data)[rest], atol=0.1)


def test_a_constant_volume_is_refused() -> None:
    with pytest.raises(DataError, match="all voxels have the value 7"):
        tame(np.full((8, 8, 8), 7, "f4"))


def test_solid_keeps_the_largest_part_and_fills_it() -> None:
    mask = np.zeros((20, 20, 20), bool)
    mask[2:12, 2:12, 2:12] = True
    mask[5, 5, 5] = False
    mask[15:17, 15:17, 15:17] = True
    out = solid(mask)
    assert out.sum() == 1000
    assert not out[15, 15, 15]
