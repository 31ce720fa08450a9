"""`select-model` and `explain` as a user meets them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from brainseg.cli.main import main
from brainseg.cli.mixture import parse_components
from brainseg.errors import UsageError
from brainseg.evaluation import demo
from brainseg.evaluation.phantom import make_phantom


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secret")
    for contrast in ("T1w", "T2w"):
        head = make_phantom(zooms=(4.0, 4.0, 4.0), seed=1, contrast=contrast)
        demo.write_head(head, folder, contrast=contrast, force=True)
    return folder


def call(command: str, files: Path, out: Path, *options: str) -> int:
    mask = files / "phantom_desc-truth_mask.nii.gz"
    scan = files / "phantom_T1w.nii.gz"
    return main([command, str(scan), "--mask", str(mask), "-q", "-o", str(out), *options])


def test_select_model_prints_the_table_and_draws_it(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("select-model", files, tmp_path, "--components", "2-4") == 0
    printed = capsys.readouterr().out
    header, *rows = printed.splitlines()
    assert header.split() == [
        "model", "K", "params", "loglik/voxel", "held-out", "AIC", "BIC", "ICL",
    ]  # fmt: skip
    assert [row.split()[:2] for row in rows[:9]] == [
        [family, str(k)] for family in ("gaussian", "student", "rician") for k in (2, 3, 4)
    ]
    assert printed.count("*") == 4  # one winner for each criterion
    # The star stands at the smallest BIC, and the last lines name it.
    bic = {tuple(row.split()[:2]): float(row.split()[6].rstrip("*")) for row in rows[:9]}
    winner = min(bic, key=lambda model: bic[model])
    assert f"best by bic: {winner[0]}, K = {winner[1]}" in rows
    html = (tmp_path / "phantom_models.html").read_text(encoding="utf-8")
    assert html.count("<svg") == 4
    assert html.count("<polyline") == 4 * 3
    assert html.count('class="ring"') == 4
    for value in bic.values():
        assert f"{value:.0f}" in html
    assert "bias field removed by N4" in html
    assert [p.name for p in tmp_path.iterdir()] == ["phantom_models.html"]


def test_select_model_compares_covariance_types_in_several_channels(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    t2 = str(files / "phantom_T2w.nii.gz")
    options = ("--components", "2", "--t2", t2, "--bias", "none")
    assert call("select-model", files, tmp_path, *options) == 0
    rows = capsys.readouterr().out.splitlines()[1:6]
    kinds = ["gaussian full", "gaussian tied", "gaussian diag", "gaussian spherical", "student"]
    assert [row[:18].strip() for row in rows] == kinds
    assert "T1w, T2w" in (tmp_path / "phantom_models.html").read_text(encoding="utf-8")


def test_explain_shows_em_in_one_channel(files: Path, tmp_path: Path) -> None:
    assert call("explain", files, tmp_path, "--components", "3", "--bias", "none") == 0
    html = (tmp_path / "phantom_explain.html").read_text(encoding="utf-8")
    captions = re.findall(r"<figcaption>([^<]+)</figcaption>", html)
    assert captions == [
        "Start: data and clusters of K-means", "First E-step: responsibilities",
        "First M-step: new parameters", "After 2 cycles", "After 5 cycles", "After 20 cycles",
        "Converged", "The data", "Ancestral: z, then x given z", "From p(x) alone, without z",
    ]  # fmt: skip
    # Three curves in each of the six pictures of parameters; three layers in the E-step and in
    # the ancestral samples, one in the data and in the marginal samples.
    assert html.count('class="curve"') == 6 * 3
    assert html.count('class="share"') == 3 + 3 + 1 + 1
    assert "secret" not in html
    assert "//" not in html.replace("https://doi.org/", "")


def test_explain_shows_ellipses_with_a_second_contrast(files: Path, tmp_path: Path) -> None:
    options = ("--components", "3", "--t2", str(files / "phantom_T2w.nii.gz"), "--bias", "none")
    assert call("explain", files, tmp_path, *options) == 0
    html = (tmp_path / "phantom_explain.html").read_text(encoding="utf-8")
    assert html.count("<ellipse") == 6 * 3 * 2
    assert html.count("<image") == 7
    # The data and the marginal samples have no colours, the ancestral ones three.
    assert html.count('class="dots"') == 1 + 3 + 1
    assert "intensities as they came" in html


def test_a_page_is_not_overwritten_unasked(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "phantom_explain.html"
    page.write_text("mine")
    assert call("explain", files, tmp_path) == 73
    assert "--force" in capsys.readouterr().err
    assert page.read_text() == "mine"
    assert call("explain", files, tmp_path, "--components", "2", "--bias", "none", "--force") == 0
    assert page.read_text() != "mine"


@pytest.mark.parametrize(
    ("command", "options", "word"),
    [
        ("select-model", ("--components", "9-2"), "9-2"),
        ("select-model", ("--components", "two"), "two"),
        ("select-model", ("--components", "0-3"), "0-3"),
        ("select-model", ("--families", "gauss"), "gauss"),
        ("select-model", ("--covariances", "round"), "round"),
        ("select-model", ("--families", "rician", "--t2", "T2w.nii.gz"), "rician"),
        ("explain", ("--components", "0"), "0"),
        ("explain", ("--components", "13"), "13"),
    ],
)
def test_wrong_options_are_named(
    files: Path, tmp_path: Path, command: str, options: tuple[str, ...], word: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert call(command, files, tmp_path, *options) == 64
    assert word in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_ranges_of_components() -> None:
    assert parse_components("2-9") == [2, 3, 4, 5, 6, 7, 8, 9]
    assert parse_components("4") == [4]
    assert parse_components("6-7, 3,6") == [3, 6, 7]
    with pytest.raises(UsageError, match="13"):
        parse_components("2-13")
