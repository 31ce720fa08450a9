"""A scan made ready for the fit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from brainseg.evaluation.phantom import make_phantom
from brainseg.tissues.fit import FitOptions, fit_tissues
from brainseg.tissues.scan import Scan
from brainseg.tissues.tables import THREE, volumes_ml

SIDE = 3.0


@pytest.mark.parametrize("share", [0.01, 0.05])
@pytest.mark.parametrize("prior", ["tied", "none"])
def test_bright_accidents_in_the_mask_teach_nothing(share: float, prior: str) -> None:
    head = make_phantom(zooms=(SIDE,) * 3, noise=3, bias=20, seed=0)
    data, mask = head.volume.data, head.mask
    rng = np.random.default_rng(0)
    blobs = ndimage.gaussian_filter(rng.standard_normal(data.shape), 1.5)
    hit = mask & (blobs > np.quantile(blobs[mask], 1 - share))
    bright = 1.7 * np.percentile(data[mask], 90)
    spoiled = np.where(hit, bright * (1 + 0.05 * rng.standard_normal(data.shape)), data)

    def volumes(scan: np.ndarray) -> dict[str, float]:
        fit = fit_tissues(
            scan.astype(np.float32), mask, (SIDE,) * 3, table=THREE, options=FitOptions(prior=prior)
        )
        return volumes_ml(fit.fractions, SIDE**3 / 1000)

    clean, found = volumes(data), volumes(spoiled)
    lost = share * float(mask.sum()) * SIDE**3 / 1000
    for tissue, ml in clean.items():
        # What the accidents hid is lost to its tissue, or counts as white; two per cent beside.
        assert found[tissue] == pytest.approx(ml, abs=lost + 0.02 * ml)


def test_a_scan_without_accidents_is_clipped_at_its_percentiles() -> None:
    rng = np.random.default_rng(1)
    data = rng.uniform(50, 100, (20, 20, 20)).astype(np.float32)
    scan = Scan.prepare([data], np.ones(data.shape, bool), 3)
    assert scan.accidents is None
    assert scan.zeros[0] + scan.scales[0] == pytest.approx(np.percentile(data, 99.9))
