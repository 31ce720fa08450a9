"""The atlas finds the brain: whatever the contrast, the pose, the grid and the threads."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from threadpoolctl import threadpool_limits

from brainseg.anatomy import registered as route
from brainseg.atlas import warping
from brainseg.atlas.carrying import carry, carry_brain
from brainseg.atlas.head_atlas import BRAIN, load_atlas
from brainseg.atlas.registration import register_atlas
from brainseg.core.metrics import dice
from brainseg.core.volume import Volume
from brainseg.evaluation.phantom import Phantom, make_phantom

ZOOMS = (3.0, 3.0, 3.0)


@pytest.fixture(scope="module")
def head() -> Phantom:
    return make_phantom(zooms=ZOOMS, noise=3, bias=30, seed=7)


def found(data: np.ndarray, zooms: tuple[float, float, float] = ZOOMS) -> np.ndarray:
    atlas = load_atlas()
    fit = register_atlas(data, atlas, zooms=zooms)
    return carry_brain(fit, atlas, shape=data.shape, zooms=zooms) > 0.5


def test_brain_of_a_phantom(head: Phantom) -> None:
    # 0.93 leaves a shell of half a voxel; the phantom bends the atlas by some mm
    assert dice(found(head.volume.data), head.mask) > 0.93


def test_inverted_contrast_and_outliers_do_not_matter(head: Phantom) -> None:
    inverted = head.volume.data.max() - head.volume.data
    inverted[40, 40, 40] = 1e9
    assert dice(found(inverted), head.mask) > 0.93


def test_tilted_head(head: Phantom) -> None:
    angle = np.radians(20)
    turn = np.array(
        [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    )
    middle = (np.array(head.mask.shape) - 1) / 2
    shift = middle - turn @ middle
    tilted = ndimage.affine_transform(head.volume.data, turn, shift, order=1)
    mask = ndimage.affine_transform(head.mask.astype(np.float32), turn, shift, order=1) > 0.5
    assert dice(found(tilted), mask) > 0.92


def test_thick_slices() -> None:
    thick = make_phantom(zooms=(2.0, 2.0, 6.0), seed=7)
    assert dice(found(thick.volume.data, (2.0, 2.0, 6.0)), thick.mask) > 0.91


def test_maps_are_carried_alike_by_voxels_and_as_a_whole(head: Phantom) -> None:
    atlas = load_atlas()
    fit = register_atlas(head.volume.data, atlas, zooms=ZOOMS)
    inside = np.zeros(head.mask.shape, bool)
    inside[10:40, 20:44, 8:30] = True
    brain = atlas.of(*BRAIN)
    part = carry(np.stack([brain, 1 - brain]), fit, inside, zooms=ZOOMS)
    whole = carry_brain(fit, atlas, shape=inside.shape, zooms=ZOOMS)
    # what is under 0.01 in a corner of the brain's box is left out of the whole
    np.testing.assert_allclose(part[0], whole[inside], atol=0.011)
    np.testing.assert_allclose(part.sum(axis=0), 1, atol=1e-5)


def test_route_gives_one_solid_mask_whatever_the_threads(head: Phantom) -> None:
    masks = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            masks.append(route.extract(head.volume, threads=threads).mask)
    np.testing.assert_array_equal(*masks)
    assert ndimage.label(masks[0])[1] == 1
    assert dice(masks[0], head.mask) > 0.93


def test_an_oblique_affine_changes_nothing(head: Phantom) -> None:
    turn = np.eye(4)
    turn[:2, :2] = [[0.96, -0.28], [0.28, 0.96]]
    oblique = Volume(head.volume.data, turn @ head.volume.affine)
    assert oblique.zooms == pytest.approx(head.volume.zooms)
    found_oblique = register_atlas(oblique.data, load_atlas(), zooms=head.volume.zooms, warp=False)
    plain = register_atlas(head.volume.data, load_atlas(), zooms=head.volume.zooms, warp=False)
    np.testing.assert_array_equal(found_oblique.matrix, plain.matrix)


def test_demons_recover_a_known_bend() -> None:
    rng = np.random.default_rng(3)
    image = ndimage.gaussian_filter(rng.standard_normal((32, 36, 28)), 2.0).astype(np.float32)
    image /= np.abs(image).max()
    bend = np.zeros((3, *image.shape), np.float32)
    bend[1] = 1.5 * np.sin(np.linspace(0, np.pi, 32))[:, None, None]
    moved = warping.pull(image, bend)
    field = warping.demons(moved[None], image[None], field=None, iterations=60, elastic=0.7)
    inner = (slice(6, -6),) * 3
    before = np.abs(moved - image)[inner].mean()
    after = np.abs(moved - warping.pull(image, field))[inner].mean()
    assert after < 0.25 * before
    assert np.abs(field - bend)[:, *inner].mean() < 0.4


def test_enlarging_a_field_keeps_its_displacement_in_mm() -> None:
    coarse = np.zeros((3, 8, 8, 8), np.float32)
    coarse[0] = np.arange(8, dtype=np.float32)[:, None, None]
    fine = warping.enlarge(coarse, (3, 16, 16, 16))
    # fine voxel 5 lies a quarter of a coarse voxel after coarse voxel 2
    assert fine[0, 5, 8, 8] == pytest.approx(2 * 2.25)


def test_shrinking_averages_blocks() -> None:
    small = warping.shrink(np.arange(10.0).reshape(5, 2, 1), [2, 2, 1])
    np.testing.assert_allclose(small[:, 0, 0], [1.5, 5.5])
