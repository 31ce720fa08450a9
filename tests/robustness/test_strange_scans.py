"""Strange scans through the whole program: a valid result, or one line and the right exit code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from outcomes import refused, valid_result

from brainseg.cli.main import main
from brainseg.evaluation.phantom import Phantom, make_phantom

Array = np.ndarray
ZOOMS = (4.0, 4.0, 4.0)


@pytest.fixture(scope="module")
def head() -> Phantom:
    return make_phantom(zooms=ZOOMS, seed=2)


def noise(shape: tuple[int, ...]) -> Array:
    return np.random.default_rng(0).normal(100, 20, shape)


def bottle(data: Array) -> Array:
    grid = np.indices(data.shape) - np.array(data.shape)[:, None, None, None] / 2
    inside = (grid[0] ** 2 + grid[1] ** 2) * 16 < 70**2
    return np.where(inside, 800.0, 0.0) + np.abs(noise(data.shape)) / 20


def ball(data: Array) -> Array:
    grid = (np.indices(data.shape).T - np.array(data.shape) / 2).T
    inside = (grid**2).sum(axis=0) * 16 < 75**2
    return np.where(inside, 800.0, 0.0) + np.abs(noise(data.shape)) / 5


def squares(data: Array) -> Array:
    """Draw a phantom with a grid inside, as scanners are calibrated with."""
    x, y, z = np.indices(data.shape)
    middle = np.array(data.shape) / 2
    inside = ((x - middle[0]) ** 2 + (y - middle[1]) ** 2) * 16 < 70**2
    grid = (x // 3 + y // 3 + z // 3) % 2
    return np.where(inside, 200.0 + 600 * grid, 0.0) + np.abs(noise(data.shape)) / 5


def outliers(data: Array, value: float) -> Array:
    out = data.astype(np.float64)
    out[tuple(np.random.default_rng(0).integers(0, n, 20) for n in data.shape)] = value
    return out


STRANGE: dict[str, Callable[[Array], Array]] = {
    "all noise": lambda d: noise(d.shape),
    "water bottle": bottle,
    "ball": ball,
    "grid phantom": squares,
    "two-valued": lambda d: (d > d.mean()).astype(np.int16),
    "three-valued": lambda d: np.digitize(d, np.percentile(d, [50, 80])).astype(np.int16),
    "inverted": lambda d: d.max() - d,
    "negative": lambda d: d - 5000.0,
    "outliers of 1e30": lambda d: outliers(d, 1e30),
    "outliers of -1e30": lambda d: outliers(d, -1e30),
    "tiny": lambda d: d * 1e-20,
    "huge": lambda d: d * 1e25,
    "NaN face": lambda d: np.where(np.indices(d.shape)[1] > d.shape[1] * 0.9, np.nan, d),
    "one slab": lambda d: d[:, :, d.shape[2] // 2 : d.shape[2] // 2 + 5],
    "eight-bit": lambda d: (d / d.max() * 255).astype(np.uint8),
    "mostly padding": lambda d: np.pad(d, 25),
}
# Finding the brain is where most can go wrong; the fit behind a given mask meets the rest.
CASES = [
    *((kind, "auto") for kind in STRANGE),
    *((kind, "none") for kind in ("all noise", "water bottle", "outliers of 1e30", "one slab")),
    *((kind, "file") for kind in ("three-valued", "NaN face", "outliers of -1e30", "huge")),
]
NO_HEAD = {"all noise", "water bottle", "ball", "grid phantom"}
HEAD_LIKE = {"negative", "eight-bit", "tiny", "huge", "NaN face", "mostly padding"}


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(("kind", "mask"), CASES)
def test_strange_scans_end_well(
    head: Phantom, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, mask: str
) -> None:
    data = STRANGE[kind](head.volume.data)
    scan = nib.Nifti1Image(
        data.astype(np.float64) if data.dtype.kind == "f" else data, head.volume.affine
    )
    path, out = tmp_path / "x_T1w.nii.gz", tmp_path / "out"
    nib.save(scan, path)
    if mask == "file":
        own = tmp_path / "mask.nii.gz"
        nib.save(nib.Nifti1Image(head.mask.astype(np.uint8), head.volume.affine), own)
        mask = str(own)
    code = main(["run", str(path), "-o", str(out), "--mask", mask, "--no-report", "-q"])
    said = capsys.readouterr().err
    if code:
        refused(out, code, said)
    else:
        assert "error" not in said
        valid_result(out, scan)
    if kind in NO_HEAD and mask == "auto":
        assert code == 65
    if kind in HEAD_LIKE and mask == "auto":
        assert code == 0
    assert not list(tmp_path.rglob(".*tmp*"))
