from __future__ import annotations

import numpy as np

from brainseg.tissues.model import INTENSITY, Model
from brainseg.tissues.partial_volume import component_shares, expected_fractions


def model() -> Model:
    shares = np.array([c.shares for c in INTENSITY])
    means = shares @ np.array([0.2, 0.6, 0.9])
    m = len(INTENSITY)
    return Model(
        np.full(m, 1 / m),
        means[:, None],
        np.full((m, 1, 1), 0.05**2),
        tuple(c.intensity for c in INTENSITY),
        tuple(c.parent for c in INTENSITY),
        tuple(c.parent for c in INTENSITY),
        INTENSITY,
    )


def test_a_mixed_voxel_is_split_by_its_place_between_the_pure_tissues() -> None:
    names = [c.name for c in INTENSITY]
    values = np.array([[0.7], [0.8], [0.3], [0.5]])  # thirds and quarters of the way
    shares = component_shares(values, model())
    np.testing.assert_allclose(shares[0, names.index("grey-white")], [0, 2 / 3, 1 / 3])
    np.testing.assert_allclose(shares[1, names.index("white-grey")], [0, 1 / 3, 2 / 3])
    np.testing.assert_allclose(shares[2, names.index("csf-grey")], [0.75, 0.25, 0])
    np.testing.assert_allclose(shares[3, names.index("grey-csf")], [0.25, 0.75, 0])


def test_pure_tissues_fill_their_voxel_and_shares_sum_to_one() -> None:
    values = np.linspace(0, 1.2, 25)[:, None]
    shares = component_shares(values, model())
    np.testing.assert_allclose(shares.sum(axis=2), 1)
    for k, component in enumerate(INTENSITY):
        if component.name in ("csf", "grey", "white"):
            np.testing.assert_allclose(shares[:, k], np.tile(component.shares, (25, 1)))
        # A boundary class never says less than half of the tissue it is counted as.
        assert (shares[:, k, component.parent] >= 0.5).all()


def test_fractions_are_the_shares_of_the_likely_components() -> None:
    shares = np.zeros((10, 2, 3))
    shares[:, 0, 1] = shares[:, 1, 2] = 1
    posterior = np.tile(np.array([0.75, 0.25], np.float32), (10, 1))
    np.testing.assert_allclose(expected_fractions(posterior, shares), [[0, 0.75, 0.25]] * 10)
