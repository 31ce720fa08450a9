"""A scan that is run again: nothing of the former result vouches for the new one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainseg.cli.main import main
from brainseg.evaluation.phantom import make_phantom
from brainseg.io import locks
from brainseg.run import plain_target

QUICK = ("--mask", "none", "--prior", "none", "--bias", "none", "-q")


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    head = make_phantom(zooms=(5.0, 5.0, 5.0), seed=0)
    data = np.where(head.mask, head.volume.data, 0).astype(np.float32)
    nib.save(nib.Nifti1Image(data, head.volume.affine), tmp_path / "x_T1w.nii")
    return tmp_path / "x_T1w.nii"


def test_a_forced_run_leaves_nothing_of_the_one_before(scan: Path, tmp_path: Path) -> None:
    out, alone = tmp_path / "out", tmp_path / "alone"
    line = ["run", str(scan), *QUICK, "--tissues", "intensity"]
    assert main([*line, "-o", str(out)]) == 0
    assert (out / "x_report.html").exists()
    # Another scan of this name, other tissues, no page.
    image = nib.load(scan)
    nib.save(nib.Nifti1Image(image.get_fdata()[:, ::-1], image.affine), scan)
    other = ["run", str(scan), *QUICK, "--tissues", "three", "--no-report"]
    assert main([*other, "-o", str(out)]) == 73
    assert (out / "x_report.html").exists()
    assert main([*other, "-o", str(out), "--force"]) == 0
    assert main([*other, "-o", str(alone)]) == 0
    assert {p.name for p in out.iterdir()} == {p.name for p in alone.iterdir()}


def test_two_runs_of_one_scan_do_not_both_succeed(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with locks.hold(plain_target(scan, out).lock):
        assert main(["run", str(scan), *QUICK, "--no-report", "-o", str(out)]) == 75
    assert "is being segmented" in capsys.readouterr().err
    assert not list(out.glob("*"))


def test_a_working_folder_that_is_gone_is_one_line(scan: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    line = (
        f'cd "{gone}" && rmdir "{gone}" && exec "{sys.executable}" -m brainseg run s.nii -q -o out'
    )
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, env=os.environ, check=False
    )
    assert done.returncode in (66, 73)
    assert [x.split(":")[0] for x in done.stderr.splitlines()] == ["brainseg"]
