"""Pictures of EM and of model selection: what is drawn is what was computed."""

from __future__ import annotations

import base64
import io
import itertools
import logging
import re

import numpy as np
import pytest
from PIL import Image

from brainseg.mixture import CRITERIA, GaussianMixture, Histogram, converged, select_model
from brainseg.qc.draw import stages
from brainseg.qc.draw.charts import component_swatches
from brainseg.qc.draw.pictures import rgb
from brainseg.qc.draw.stages import Plane, Stage
from brainseg.qc.pages import explain, models

KEYS = component_swatches(2)


class Known:
    """Two components, one of them slanted."""

    weights_ = np.array([0.4, 0.6])
    means_ = np.array([[50.0, 900.0], [100.0, 300.0]])
    covariances_ = np.array([[[100.0, 240.0], [240.0, 900.0]], [[64.0, 0.0], [0.0, 2500.0]]])


@pytest.fixture(scope="module")
def mixture() -> GaussianMixture:
    x = np.random.default_rng(0).normal(size=(50, 2))
    return GaussianMixture(2, init=Known, max_iter=0).fit(x)


@pytest.fixture(scope="module")
def X(mixture: GaussianMixture) -> np.ndarray:
    return mixture.sample(40_000)[0].astype(np.float32)


@pytest.fixture(scope="module")
def plane(X: np.ndarray) -> Plane:
    return Plane.of(X, (0, 1), ("T1w", "T2w"))


def test_ellipses_are_one_and_two_standard_deviations(
    mixture: GaussianMixture, plane: Plane
) -> None:
    marks = stages.ellipses(mixture, plane, KEYS)
    groups = re.findall(r'translate\(([\d.-]+) ([\d.-]+)\) rotate\(([\d.-]+)\)">(.*?)</g>', marks)
    assert len(groups) == 2
    frame = plane.frame
    for (x, y, angle, rings), mean, cov in zip(
        groups, Known.means_, Known.covariances_, strict=True
    ):
        radii = re.findall(r'rx="([\d.]+)" ry="([\d.]+)"', rings)
        for sd, (rx, ry) in zip((1, 2), radii, strict=True):
            # Points of the ellipse in pixels, turned back into intensities.
            turn = np.linspace(0, 2 * np.pi, 60)
            local = np.stack([float(rx) * np.cos(turn), float(ry) * np.sin(turn)])
            a = np.radians(float(angle))
            pixels = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) @ local
            across = (float(x) + pixels[0] - frame.x(0.0)) / (frame.x(1.0) - frame.x(0.0))
            up = (float(y) + pixels[1] - frame.y(0.0)) / (frame.y(1.0) - frame.y(0.0))
            gap = np.stack([across, up]) - mean[:, None]
            distance = np.sqrt(np.einsum("dn,dn->n", gap, np.linalg.solve(cov, gap)))
            # Coordinates are written to a tenth of a pixel, some ellipses are 5 pixels wide.
            np.testing.assert_allclose(distance, sd, rtol=0.05)


def test_a_plane_counts_every_voxel_once(X: np.ndarray, plane: Plane) -> None:
    counts = plane.counts()
    assert counts.sum() == (plane.cell >= 0).sum()
    assert counts.sum() > 0.985 * len(X)
    # The fullest cell lies at the mode of the data, up being up.
    row, column = np.unravel_index(counts.argmax(), counts.shape)
    x = plane.frame.x0 + (column + 0.5) / stages.ACROSS * (plane.frame.x1 - plane.frame.x0)
    y = plane.frame.y1 - (row + 0.5) / stages.DOWN * (plane.frame.y1 - plane.frame.y0)
    assert min(np.abs(([x, y] - Known.means_) / [10, 40]).max(axis=1)) < 1.5


def test_the_e_step_colours_cells_by_their_responsibilities(
    mixture: GaussianMixture, plane: Plane
) -> None:
    chart = stages.in_plane(Stage("E", mixture, e_step=True), plane, KEYS)
    assert "<ellipse" not in chart
    uri = re.search(r'href="data:image/webp;base64,([^"]+)"', chart)
    assert uri
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri[1]))).convert("RGB"), float)
    assert picture.shape == (stages.DOWN, stages.ACROSS, 3)
    frame = plane.frame
    for mean, (colour, _) in zip(Known.means_, KEYS, strict=True):
        column = int((mean[0] - frame.x0) / (frame.x1 - frame.x0) * stages.ACROSS)
        row = int((frame.y1 - mean[1]) / (frame.y1 - frame.y0) * stages.DOWN)
        seen = picture[row - 2 : row + 3, column - 2 : column + 3].mean(axis=(0, 1))
        own = np.array(rgb(colour), float)
        # At its centre a component's hue is its own, whatever the brightness.
        assert seen @ own / np.linalg.norm(seen) / np.linalg.norm(own) > 0.99


def test_samples_are_drawn_with_z_and_without(mixture: GaussianMixture, plane: Plane) -> None:
    x, z = mixture.sample(500, 3)
    frame = plane.frame
    inside = ((x > [frame.x0, frame.y0]) & (x < [frame.x1, frame.y1])).all(axis=1)
    paths = re.findall(r'stroke="([^"]+)" d="([^"]+)"', stages.drawn(plane, x, z, KEYS))
    assert [colour for colour, _ in paths] == [colour for colour, _ in KEYS]
    assert [d.count("M") for _, d in paths] == [int((inside & (z == k)).sum()) for k in range(2)]
    alone = re.findall(r'stroke="([^"]+)" d="([^"]+)"', stages.drawn(plane, x, None, KEYS))
    assert [d.count("M") for _, d in alone] == [inside.sum()]
    assert alone[0][0] not in [colour for colour, _ in KEYS]


def test_explain_tells_the_fit_that_it_drew(X: np.ndarray) -> None:
    html = explain.page("<b>.nii.gz", ("T1w", "T2w"), X, n_components=2)
    assert "<b>.nii.gz" not in html
    together = GaussianMixture(2).fit(X)
    for mean in together.means_.ravel():
        assert f'<td class="n">{mean:.4g}</td>' in html
    assert f"{together.log_likelihood_:.5f} converged" in html
    # EM never falls, and its curve says so: pixels run downwards.
    for points in re.findall(r'class="line" points="([^"]+)"', html):
        heights = [float(p.split(",")[1]) for p in points.split()]
        # Clear clusters converge to the last bit before the twentieth cycle.
        assert 5 < len(heights) <= 21
        assert all(b <= a for a, b in itertools.pairwise(heights))


def test_a_component_keeps_its_colour_though_it_overtakes_another() -> None:
    # K-means gives the wide component the right wing of the data; EM finds it left of the third.
    rng = np.random.default_rng(4)
    kinds = ((56.6, 20), (30.7, 1), (58.6, 3))
    x = np.concatenate([rng.normal(mean, sd, 2000) for mean, sd in kinds]).astype(np.float32)
    html = explain.page("x.nii.gz", ("T1w",), x[:, None], n_components=3)
    histogram = Histogram.from_samples(x)
    end = converged(stages.walk(histogram, 3)[-1], histogram)
    assert np.argsort(end.means_[:, 0]).tolist() == [0, 2, 1]
    rows = re.findall(r'background: (#\w+)"></i>\d</th><td class="n">([\d.]+)</td>', html)
    colours = [colour for colour, _ in component_swatches(3)]
    assert [c for c, _ in rows] == colours
    assert [float(w) for _, w in rows] == pytest.approx(end.weights_, abs=6e-4)


def test_one_component_is_explained_too(X: np.ndarray) -> None:
    assert "1 Gaussian," in explain.page("one.nii.gz", ("T1w",), X[:, :1], n_components=1)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_distances_from_the_best_model_are_in_nats_per_voxel(X: np.ndarray, criterion: str) -> None:
    table = select_model(X[:4000], [1, 2, 3], covariance_types=["full", "diag"])
    gaps = models.nats_per_voxel(table, criterion, 4000)
    assert min(gaps) == 0
    one, two = gaps[0], gaps[1]
    assert one > two
    if criterion == "aic":
        gain = table[1].log_likelihood - table[0].log_likelihood
        # Six more parameters cost six nats of all 4000 voxels.
        np.testing.assert_allclose(one - two, gain - 6 / 4000, rtol=1e-9)
    keys = [("#ffffff", name) for name in ("gaussian full", "gaussian diag")]
    chart = models.chart(table, criterion, keys, 4000)
    dots = re.findall(r'cy="([\d.]+)" r="3.5"', chart)
    # The best model lies lowest, that is with the largest y.
    assert np.argmax(np.array(dots, float)) == np.argmin(gaps)


def test_a_component_that_collapses_in_a_picture_is_told_there_and_not_on_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log of a run is about the scan; its pictures show a fit of their own."""
    rng = np.random.default_rng(0)
    x = np.concatenate([np.zeros((100, 2)), rng.normal(5, 1, (200, 2))])
    with caplog.at_level(logging.INFO):
        shown = stages.stages(stages.walk(x, 3))
    assert any("collapsed on a point" in s.caption for s in shown)
    assert not caplog.records
