"""One contract, every route."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from brainseg.anatomy import brain
from brainseg.anatomy.result import Extraction
from brainseg.config import ROUTES
from brainseg.core.metrics import dice
from brainseg.core.volume import Volume
from brainseg.errors import DataError
from brainseg.evaluation.phantom import Phantom, make_phantom

# deepbet was trained on T1w only.
CONTRAST_BLIND = ("fused", "network", "atlas")


@pytest.fixture(scope="module")
def head() -> Phantom:
    return make_phantom(zooms=(2.5, 2.5, 2.5), noise=2, bias=10, seed=3)


@pytest.fixture(scope="module", params=ROUTES)
def route(request: pytest.FixtureRequest) -> str:
    if request.param == "deepbet" and find_spec("deepbet") is None:
        pytest.skip("deepbet, an optional extra, is not installed")
    return str(request.param)


def run(route: str, volume: Volume, threads: int = 1) -> Extraction:
    extract = brain._EXTRACTORS[route]
    found: Extraction = extract(volume, threads=threads)
    return found


@pytest.fixture(scope="module")
def found(route: str, head: Phantom) -> Extraction:
    return run(route, head.volume)


def test_the_mask_is_one_solid_piece_on_the_scans_grid(found: Extraction, head: Phantom) -> None:
    from scipy import ndimage

    assert found.mask.shape == head.volume.shape
    assert found.mask.dtype == bool
    assert ndimage.label(found.mask)[1] == 1
    assert np.array_equal(ndimage.binary_fill_holes(found.mask), found.mask)


def test_it_covers_the_brain(found: Extraction, head: Phantom) -> None:
    # A synthetic head with 2.5 mm voxels: half a voxel all round costs 0.05.
    assert dice(found.mask, head.mask) > 0.90


def test_it_names_its_route_and_its_confidence(found: Extraction, route: str) -> None:
    assert found.route == route
    assert found.confidence is None or 0.8 <= found.confidence <= 1


def test_threads_do_not_change_a_voxel(found: Extraction, route: str, head: Phantom) -> None:
    assert np.array_equal(run(route, head.volume, threads=2).mask, found.mask)


def test_the_scan_is_left_alone(route: str, head: Phantom) -> None:
    before = head.volume.data.copy()
    run(route, head.volume)
    assert np.array_equal(head.volume.data, before)


def test_an_oblique_header_changes_nothing(found: Extraction, route: str, head: Phantom) -> None:
    c, s = np.cos(0.4), np.sin(0.4)
    turn = np.array([[1, 0, 0, 5], [0, c, -s, -20], [0, s, c, 9], [0, 0, 0, 1.0]])
    oblique = Volume(head.volume.data, turn @ head.volume.affine)
    # Zooms come back from the affine with rounding errors of 1e-16.
    assert dice(run(route, oblique).mask, found.mask) > 0.9999


def test_units_of_intensity_do_not_matter(found: Extraction, route: str, head: Phantom) -> None:
    other = head.volume.with_data(head.volume.data * np.float32(0.004) - np.float32(1))
    assert dice(run(route, other).mask, found.mask) > 0.99


@pytest.mark.parametrize("contrast", ["T2w", "FLAIR"])
def test_other_contrasts(route: str, contrast: str) -> None:
    if route not in CONTRAST_BLIND:
        pytest.skip(f"{route} is for T1w")
    other = make_phantom(zooms=(2.5, 2.5, 2.5), contrast=contrast, noise=2, bias=10, seed=3)
    assert dice(run(route, other.volume).mask, other.mask) > 0.88


def test_a_volume_without_a_brain_is_refused_or_doubted(route: str) -> None:
    """Noise has no brain: an error, or a mask that the plausibility check turns down."""
    from brainseg.anatomy import plausibility

    rng = np.random.default_rng(0)
    volume = Volume(rng.normal(100, 10, (64, 64, 64)).astype("f4"), np.diag([3, 3, 3, 1.0]))
    try:
        answer = run(route, volume)
    except DataError:
        return
    checks = {**plausibility.measure(volume, answer.mask), **answer.checks}
    assert plausibility.doubts(checks, answer.confidence)
