"""The asset: a head's probabilities, symmetric, small, with its provenance."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from brainseg.atlas.head_atlas import ASSET, BRAIN, CLASSES, load_atlas, read_atlas, write_atlas
from brainseg.core import assets


def test_probabilities_sum_to_one() -> None:
    total = load_atlas().probabilities.sum(axis=0)
    np.testing.assert_allclose(total, 1, atol=1e-5)


def test_left_and_right_are_alike() -> None:
    atlas = load_atlas()
    np.testing.assert_array_equal(atlas.probabilities, atlas.probabilities[:, ::-1])


def test_volumes_are_those_of_adults() -> None:
    atlas = load_atlas()
    ml = {n: float(atlas.of(n).sum()) * atlas.zoom**3 / 1000 for n in CLASSES}
    assert 1300 < sum(ml[n] for n in BRAIN) < 1700
    assert 35 < ml["deep_grey"] < 70
    assert 15 < ml["brain_stem"] < 30
    assert 100 < ml["cerebellar_grey"] + ml["cerebellar_white"] < 170


def test_brain_lies_inside_the_grid_and_cerebellum_behind_and_below() -> None:
    atlas = load_atlas()
    brain = atlas.of(*BRAIN) > 0.5
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        assert not brain.any(axis=others)[[0, -1]].any()
    where = np.argwhere(atlas.of("cerebellar_grey") > 0.5).mean(axis=0)
    middle = np.argwhere(brain).mean(axis=0)
    assert where[1] < middle[1]
    assert where[2] < middle[2]


def test_template_is_t1_like() -> None:
    atlas = load_atlas()
    mean = {n: np.average(atlas.template, weights=atlas.of(n)) for n in ("csf", "white", "air")}
    assert mean["air"] < mean["csf"] < mean["white"]


def test_shared_arrays_cannot_be_spoilt() -> None:
    with pytest.raises(ValueError, match="read-only"):
        load_atlas().template[0, 0, 0] = 1


def test_asset_is_small_and_its_provenance_belongs_to_it() -> None:
    path = assets.path(ASSET)
    assert path.stat().st_size <= 2_000_000
    note = json.loads(assets.path("head_atlas.json").read_text())
    assert note["License"] == "Apache-2.0"
    assert note["SHA256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(note["SourceFiles"]) == 20


def test_an_atlas_is_written_where_it_is_asked_for(tmp_path: Path) -> None:
    atlas = load_atlas()
    path = tmp_path / "no-ending"
    write_atlas(path, atlas.probabilities, atlas.template, atlas.zoom)
    again = read_atlas(path)
    # Probabilities are kept in steps of 1/255.
    np.testing.assert_allclose(again.probabilities, atlas.probabilities, atol=0.5 / 255 + 1e-6)
