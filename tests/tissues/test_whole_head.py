"""The tissues around the brain: what intensity and the map say, and the topology of a head."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from brainseg.anatomy.classes import AROUND, CLASSES
from brainseg.config import SegmentConfig
from brainseg.errors import UsageError
from brainseg.tissues import shells, whole_head
from brainseg.tissues.shells import WholeHead, assemble
from brainseg.tissues.tables import HEAD
from brainseg.tissues.whole_head import AIR, BONE, CSF, GAUSSIANS, SOFT, fit_around

SIDE, ZOOMS = 64, (3.0, 3.0, 3.0)
GREY, WHITE = 1, 2
NAMES = list(GAUSSIANS)


def onion() -> NDArray[np.uint8]:
    """White in grey in CSF in bone in soft tissue in air, by the labels of the table."""
    axis = np.arange(SIDE) - (SIDE - 1) / 2
    r = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    out = np.array([2, 1, 3, 4, 5, 6], np.uint8)[np.digitize(r, [12, 16, 18, 21, 25])]
    return out


def of_brain(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """GM (1), WM (2), CSF (3) inside the mask."""
    return np.array([0, 1, 2, 3, 0, 0, 0], np.uint8)[labels]


def scanned(head: NDArray[np.uint8], levels: list[list[float]], seed: int) -> list[NDArray]:
    """Scans of a head, one for each list of its tissues' intensities in parts of 1000; noise 30."""
    rng = np.random.default_rng(seed)
    return [
        np.abs(np.array(level)[head] * 1000 + 30 * rng.standard_normal(head.shape)).astype("f4")
        for level in levels
    ]


def certain(labels: NDArray[np.uint8], doubt: float = 0.1) -> NDArray[np.float32]:
    """Probability of CSF, bone, soft tissue and air outside the brain."""
    around = np.full((4, *labels.shape), doubt / 3, np.float32)
    for k in range(4):
        around[k][labels == CSF + k] = 1 - doubt
    around[:, of_brain(labels) > 0] = 0
    return around


def put_together(labels: NDArray[np.uint8], head: NDArray[np.uint8] | None = None) -> WholeHead:
    """Assemble labels; the network expects the bone of `head`."""
    expected = np.where((labels if head is None else head) == BONE, 0.9, 0.02).astype(np.float32)
    gaussians = whole_head.Gaussians(np.zeros(1, np.intp), *(np.ones(1) for _ in range(3)))
    return assemble(of_brain(labels), certain(labels), gaussians, expected=expected, zooms=ZOOMS)


def test_the_classes_around_the_brain_are_all_of_the_network() -> None:
    assert list(AROUND) == NAMES
    assert sorted(name for names in AROUND.values() for name in names) == sorted(CLASSES)


def test_a_clean_head_stays_as_it_is() -> None:
    head = onion()
    found = put_together(head)
    np.testing.assert_array_equal(found.labels, head)
    assert sum(found.moved.values()) == 0


def test_specks_and_pockets_go_and_are_counted() -> None:
    head = onion()
    spoiled = head.copy()
    spoiled[32, 32 + 23, 32] = BONE  # in the skin
    spoiled[32, 32, 32 + 23] = AIR
    spoiled[2, 2, 2] = SOFT  # beside the head
    found = put_together(spoiled, head)
    np.testing.assert_array_equal(found.labels[32, 32 + 23, 32], SOFT)
    np.testing.assert_array_equal(found.labels[2, 2, 2], AIR)
    assert found.moved["specks of bone"] == 1
    assert found.moved["air pockets"] == 1
    assert found.moved["specks around the head"] == 1


def test_a_gap_of_the_skull_is_closed_only_where_bone_is_expected() -> None:
    head = onion()
    spoiled = head.copy()
    spoiled[32, 32 + 18 : 32 + 21, 32] = SOFT
    hole = np.s_[32, 32 + 18 : 32 + 21, 32]
    assert (put_together(spoiled, head).labels[hole] == BONE).any()
    assert (put_together(spoiled).labels[hole] == SOFT).all()


def test_grey_matter_that_touches_bone_gets_fluid_around_it_and_keeps_its_volume() -> None:
    head = onion()
    head[head == CSF] = BONE
    found = put_together(head)
    np.testing.assert_array_equal(found.labels < CSF, head < CSF)
    touching = shells.ndimage.binary_dilation(found.labels < CSF) & (found.labels > CSF)
    assert not touching.any()
    assert found.moved["CSF around the brain"] > 0


def test_probabilities_follow_what_was_moved() -> None:
    head = onion()
    head[head == CSF] = BONE
    found = put_together(head)
    outside = of_brain(head) == 0
    best = found.around.argmax(axis=0) + CSF
    np.testing.assert_array_equal(best[outside], found.labels[outside])
    np.testing.assert_allclose(found.around.sum(axis=0)[outside], 1, atol=1e-5)


def test_inside_the_skull_is_brain_fluid_and_dura_but_neither_bone_nor_the_scalp() -> None:
    head = onion()
    ring = shells.ndimage.binary_dilation(head <= CSF) & (head == BONE)
    head[ring] = SOFT  # the dura
    inside = put_together(head).intracranial
    bottom = np.flatnonzero((head <= CSF).any(axis=(0, 1)))[0]
    ring[..., :bottom] = False
    np.testing.assert_array_equal(inside, (head <= CSF) | ring)


@pytest.mark.parametrize("contrasts", [1, 2])
def test_intensity_decides_where_the_map_is_blurred(contrasts: int) -> None:
    head = onion()
    levels = [[0, 0.6, 1.0, 0.25, 0.12, 0.7, 0], [0, 0.6, 0.4, 1.0, 0.05, 0.5, 0]]
    scans = scanned(head, levels[:contrasts], seed=0)
    prior = np.zeros((len(NAMES), *head.shape), np.float32)
    for label, name in ((CSF, "csf"), (BONE, "bone"), (SOFT, "soft"), (AIR, "air")):
        here = (head <= CSF) if label == CSF else head == label
        prior[NAMES.index(name)] = shells.ndimage.gaussian_filter(here.astype(np.float32), 1.0)
    mask = head <= CSF
    around, gaussians = fit_around(scans, of_brain(head), ZOOMS, prior)
    labels = around.argmax(axis=0) + CSF
    assert (labels == head)[~mask].mean() > 0.995
    assert not around[:, mask].any()
    np.testing.assert_allclose(around.sum(axis=0)[~mask], 1, atol=1e-4)
    rises = np.diff(gaussians.history)
    assert rises.min() > -1e-9


def test_a_t2w_tells_bone_from_fluid_that_is_as_dark_on_the_t1w() -> None:
    head = onion()
    levels = [[0, 0.6, 1.0, 0.2, 0.2, 0.7, 0], [0, 0.6, 0.4, 1.0, 0.05, 0.5, 0]]
    t1, t2 = scanned(head, levels, seed=2)
    prior = np.zeros((len(NAMES), *head.shape), np.float32)
    for label, name in ((CSF, "csf"), (BONE, "bone"), (SOFT, "soft"), (AIR, "air")):
        here = (head <= CSF) if label == CSF else head == label
        prior[NAMES.index(name)] = shells.ndimage.gaussian_filter(here.astype(np.float32), 1.5)
    # The mask leaves out half of the CSF around the brain, and the map is shifted by 6 mm.
    brain, prior = of_brain(head), np.roll(prior, 2, axis=1)
    brain[: SIDE // 2][head[: SIDE // 2] == CSF] = 0
    wrong = []
    for scans in ([t1], [t1, t2]):
        labels = fit_around(scans, brain, ZOOMS, prior)[0].argmax(axis=0) + CSF
        wrong.append(np.count_nonzero((labels == BONE) != (head == BONE)))
    assert wrong[1] < 0.1 * wrong[0]


def test_of_two_contrasts_csf_around_the_brain_looks_like_that_within() -> None:
    head = onion()
    levels = [[0, 0.6, 1.0, 0.2, 0.1, 0.7, 0], [0, 0.6, 0.4, 1.0, 0.05, 0.5, 0]]
    scans = scanned(head, levels, seed=4)
    # All CSF is in the mask; what the map calls CSF around it is bone and muscle.
    prior = np.full((len(NAMES), *head.shape), 0.02, np.float32)
    for label, name in ((BONE, "bone"), (SOFT, "soft"), (AIR, "air")):
        prior[NAMES.index(name)][head == label] = 0.45
        prior[NAMES.index("csf")][head == label] = 0.45 if label != AIR else 0.02
    _, gaussians = fit_around(scans, of_brain(head), ZOOMS, prior)
    # Each contrast is scaled by the brain's brightest, which has 1000 in both; the noise is 30.
    csf, spread = gaussians.means[0], np.sqrt(np.diagonal(gaussians.covariances[0]))
    np.testing.assert_allclose(csf / csf[1], (0.2, 1.0), atol=0.02)
    assert (spread / csf[1]).max() < 0.05


def test_threads_change_no_bit() -> None:
    rng = np.random.default_rng(1)
    head = onion()
    scan = (
        np.array([0, 600, 1000, 250, 120, 700, 5])[head] + rng.normal(0, 30, head.shape)
    ).astype(np.float32)
    prior = rng.dirichlet(np.ones(len(NAMES)), head.shape).transpose(3, 0, 1, 2).astype(np.float32)
    one, two = (fit_around([scan], of_brain(head), ZOOMS, prior, threads=n)[0] for n in (1, 3))
    np.testing.assert_array_equal(one, two)


def test_the_table_has_the_labels_of_bids() -> None:
    assert [t.bids for t in HEAD.tissues] == [1, 2, 3, 4, 5, None]
    assert HEAD.of_brain.name == "three"


@pytest.mark.parametrize("options", [{"mask": "none"}, {"prior": "tied"}])
def test_what_shows_no_whole_head_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="head"):
        SegmentConfig(tissues="head", **options)
