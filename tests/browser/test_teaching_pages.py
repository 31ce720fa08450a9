"""The pages of `explain` and `select-model` in a real browser, from files."""

from __future__ import annotations

import numpy as np
import pytest
from qc_browser import errors_of, requests_of, sized, too_wide, violations

from brainseg.mixture import select_model
from brainseg.qc.pages import explain, models


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(m, 5, (1500, 1)) for m in (30, 60, 90)])
    X = np.hstack([x, 150 - x + rng.normal(0, 5, x.shape)])
    folder = tmp_path_factory.mktemp("mixtures")
    table = select_model(X[::10], [2, 3], covariance_types=["full", "diag"])
    out = {
        "explain": explain.page("sub-01_T1w.nii.gz", ("T1w", "FLAIR"), X, n_components=3),
        "models": models.page("sub-01_T1w.nii.gz", ("T1w", "FLAIR"), table, n=len(X)),
    }
    for name, html in out.items():
        (folder / f"{name}.html").write_text(html)
    return folder


@pytest.mark.parametrize("name", ["explain", "models"])
@pytest.mark.parametrize("width", [390, 1400])
def test_it_fits_its_window_and_has_no_serious_barrier(browser, files, axe, name, width):
    requests_of(browser)
    errors_of(browser)
    sized(browser, width, 844)
    try:
        browser.get((files / f"{name}.html").as_uri())
        assert too_wide(browser) <= 0
        assert violations(browser, axe) == []
        assert errors_of(browser) == []
        assert all(a.startswith(("file:", "data:")) for a in requests_of(browser))
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
