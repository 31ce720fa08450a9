"""What every end of a run must be: a valid result, or one line, the right code and no result."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np


def valid_result(folder: Path, scan: nib.Nifti1Image, prefix: str = "x") -> None:
    """Check what a run that ended with code 0 left."""
    # six, or intensity where there is no map of the head
    (path,) = folder.glob(f"{prefix}_seg-*_desc-posterior_dseg.nii.gz")
    labels = nib.load(path)
    assert labels.shape == scan.shape[:3]
    values = np.asanyarray(labels.dataobj)
    assert set(np.unique(values)) <= set(range(7))
    assert values.any()
    for path in folder.glob("*_probseg.nii.gz"):
        data = nib.load(path).get_fdata()
        assert np.isfinite(data).all()
        assert data.min() >= 0
        assert data.max() <= 1 + 1e-6
    assert np.isfinite(nib.load(folder / f"{prefix}_desc-preproc_T1w.nii.gz").get_fdata()).all()


def refused(folder: Path, code: int, stderr: str) -> None:
    """Check how a run that did not end with code 0 said so."""
    assert code in (65, 66)
    lines = [line for line in stderr.splitlines() if "error" in line]
    assert len(lines) == 1
    assert "Traceback" not in stderr
    assert not folder.exists() or not list(folder.glob("*_*"))
