"""Small stripped heads in a BIDS dataset: seconds a scan, so that whole runs can be tested."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batch_fakes import make_dataset

from brainseg.evaluation.phantom import make_phantom
from brainseg.io import grids, nifti

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def small_head() -> bytes:
    """A stripped head of 5 mm voxels, as a compressed file."""
    head = make_phantom(zooms=(5.0, 5.0, 5.0), noise=3.0, bias=10.0, contrast="T1w", seed=0)
    data = np.where(head.mask, head.volume.data, 0).astype(np.float32)
    return nifti.compress(nifti.image_bytes(data, grids.grid_of(head.volume)))


@pytest.fixture
def heads(tmp_path: Path, small_head: bytes) -> Path:
    """A dataset of two participants, one with two sessions."""
    names = ["sub-01_T1w.nii.gz", "sub-02_ses-a_run-1_T1w.nii.gz", "sub-02_ses-b_T1w.nii.gz"]
    root = make_dataset(tmp_path / "raw", names)
    for path in root.rglob("*.nii.gz"):
        path.write_bytes(small_head)
    return root


@pytest.fixture
def run_as_anyone() -> Run:
    """Run brainseg in a process that permissions hold for, also where the tests run as root."""

    def forget_root() -> None:
        libc = ctypes.CDLL(None)
        # prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH)
        for capability in (1, 2):
            libc.prctl(24, capability, 0, 0, 0)

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        options: dict[str, Any] = {"preexec_fn": forget_root} if os.getuid() == 0 else {}
        return subprocess.run(
            [sys.executable, "-m", "brainseg", *map(str, arguments)],
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
            timeout=300,
            check=False,
            **options,
        )

    return run
