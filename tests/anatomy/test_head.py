"""The head network's map: order of channels, regions, prior, and whether it is a head's at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from brainseg.anatomy import convnet, head, map_checks, prior
from brainseg.anatomy.classes import CLASSES, N_BRAIN, TISSUE
from brainseg.anatomy.head import HeadMap
from brainseg.anatomy.views import Grid
from brainseg.atlas.head_atlas import BRAIN
from brainseg.core import assets
from brainseg.core.volume import Volume
from brainseg.errors import DataError

SIDE = 32


def blocks(stem: bool = True) -> HeadMap:
    """A box of a brain with the usual shares of its regions, left and right alike."""
    best = np.full((SIDE,) * 3, CLASSES.index("nothing"))
    best[4:28, 4:28, 4:28] = CLASSES.index("white")
    best[4:28, 4:28, 20:28] = CLASSES.index("cortical_grey")
    best[4:28, 4:12, 4:10] = CLASSES.index("cerebellar_grey")
    best[12:20, 14:22, 14:20] = CLASSES.index("deep_grey")
    best[14:18, 20:22, 14:20] = CLASSES.index("ventricles")
    if stem:
        best[14:18, 14:18, 4:14] = CLASSES.index("brain_stem")
    p = np.full((len(CLASSES), *best.shape), 0.01, np.float32)
    np.put_along_axis(p, best[None], 1 - 0.01 * (len(CLASSES) - 1), axis=0)
    return HeadMap(p, Grid((31.0, 31.0, 31.0), 2.0, (SIDE,) * 3))


def scan() -> Volume:
    return Volume(np.zeros((64, 64, 64), np.float32), np.eye(4))


def test_the_tissues_are_those_of_the_atlas() -> None:
    assert tuple(TISSUE) == BRAIN
    assert {c for classes in TISSUE.values() for c in classes} == set(CLASSES[:N_BRAIN])


def test_the_shipped_weights_read_one_class_for_each_corner_of_a_cube() -> None:
    weights = dict(head.load_weights())
    assert assets.path(head.WEIGHTS).stat().st_size <= 8_000_000
    assert all(np.isfinite(v).all() for v in weights.values())
    weights["head.weight"] = np.zeros_like(weights["head.weight"])
    weights["head.bias"] = np.arange(8 * len(CLASSES), dtype=np.float32)
    logits = convnet.forward(np.zeros((16, 16, 16), np.float32), weights)
    assert logits.shape == (len(CLASSES), 16, 16, 16)
    for i, j, k in np.ndindex(2, 2, 2):
        corner = logits[:, i::2, j::2, k::2]
        want = (4 * i + 2 * j + k) * len(CLASSES) + np.arange(len(CLASSES))
        assert np.array_equal(corner, np.broadcast_to(want[:, None, None, None], corner.shape))


def test_regions_land_where_the_map_has_them() -> None:
    found, mask = blocks(), np.zeros((64, 64, 64), bool)
    mask[10:54, 10:54, 10:54] = True
    p = head.regions(found, scan(), mask)
    assert p.shape == (len(TISSUE), mask.sum())
    assert np.allclose(p.sum(axis=0), 1, atol=1e-5)
    best = np.full(mask.shape, -1)
    best[mask] = p.argmax(axis=0)
    # The middle of the box of deep grey matter, and of the stem, in mm.
    assert best[32, 34, 34] == list(TISSUE).index("deep_grey")
    assert best[32, 32, 18] == list(TISSUE).index("brain_stem")


def test_a_plausible_map_raises_no_doubt_and_one_without_a_stem_does() -> None:
    assert map_checks.doubts(map_checks.measure(blocks())) == ()
    doubts = map_checks.doubts(map_checks.measure(blocks(stem=False)))
    assert len(doubts) == 1
    assert doubts[0].startswith("brain stem 0.000")


def test_a_turned_head_raises_no_doubt_and_half_a_head_does() -> None:
    whole = blocks()
    turned = ndimage.rotate(whole.probabilities, 25, axes=(1, 3), reshape=False, order=0)
    turned[CLASSES.index("nothing")] += turned.sum(axis=0) == 0
    assert map_checks.doubts(map_checks.measure(replace(whole, probabilities=turned))) == ()
    half = whole.probabilities.copy()
    half[:, : SIDE // 2] = np.eye(len(CLASSES))[CLASSES.index("nothing")][:, None, None, None]
    doubts = map_checks.doubts(map_checks.measure(replace(whole, probabilities=half)))
    assert any(d.startswith("asymmetry 1.000") for d in doubts)


def test_a_map_that_lost_half_of_the_cerebellum_is_doubted() -> None:
    found = blocks()
    cerebellum = found.probabilities.argmax(axis=0) == CLASSES.index("cerebellar_grey")
    cerebellum[SIDE // 2 :] = False
    found.probabilities[:, cerebellum] = np.eye(len(CLASSES))[CLASSES.index("white")][:, None]
    doubts = map_checks.doubts(map_checks.measure(found))
    assert any(d.startswith("cerebellar asymmetry 1.000") for d in doubts)


def test_a_map_of_nothing_is_doubted() -> None:
    p = np.full((len(CLASSES), 16, 16, 16), 1 / len(CLASSES), np.float32)
    found = HeadMap(p, Grid((0.0, 0.0, 0.0), 2.0, (16, 16, 16)))
    measures = map_checks.measure(found)
    assert measures["entropy"] == pytest.approx(np.log(len(CLASSES)), abs=1e-4)
    assert any("entropy" in d for d in map_checks.doubts(measures))


def test_an_atlas_in_the_wrong_place_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mask = np.zeros((64, 64, 64), bool)
    mask[10:54, 10:54, 10:54] = True
    right = head.regions(blocks(), scan(), mask)
    wrong = np.zeros((*mask.shape, len(TISSUE)), np.float32)
    wrong[mask] = right.T
    wrong = np.roll(wrong, 12, axis=1)[mask].T  # 12 mm forwards
    wrong /= np.maximum(wrong.sum(axis=0), 1e-6)
    monkeypatch.setattr(prior, "place_atlas", lambda *_, **__: right)
    kept, note = prior.spatial_prior(scan(), mask, blocks())
    # The pool of a map with itself is that map, but for what is added to each of seven classes.
    np.testing.assert_allclose(kept, right, atol=7 * prior.FAINT)
    assert note == ""
    monkeypatch.setattr(prior, "place_atlas", lambda *_, **__: wrong)
    kept, note = prior.spatial_prior(scan(), mask, blocks())
    assert kept is not None
    np.testing.assert_allclose(kept.sum(axis=0), 1, atol=1e-5)
    assert kept.min() > 0
    assert "the head atlas may lie wrongly" in note


def test_a_check_that_cannot_be_made_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.ones((64, 64, 64), bool)
    atlas = head.regions(blocks(), scan(), mask)
    monkeypatch.setattr(prior, "place_atlas", lambda *_, **__: atlas)
    monkeypatch.setattr(map_checks, "map_head", lambda *_, **__: blocks(stem=False))
    seen, doubt = map_checks.look(scan())
    assert seen is None
    kept, note = prior.spatial_prior(scan(), mask, seen, doubt)
    assert kept is atlas
    assert "could not be checked" in note
    assert "brain stem 0.000" in note

    def lost(*_: object, **__: object) -> HeadMap:
        raise DataError("the network sees no brain in this scan")

    monkeypatch.setattr(map_checks, "map_head", lost)
    seen, doubt = map_checks.look(scan())
    assert seen is None
    assert "sees no brain" in prior.spatial_prior(scan(), mask, seen, doubt)[1]
