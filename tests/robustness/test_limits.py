"""Memory, threads and open files run out: one line that says so, exit code 75, and no litter."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainseg.evaluation.phantom import make_phantom

resource = pytest.importorskip("resource", reason="this system has no such limits")

QUICK = ("--mask", "none", "--prior", "none", "--bias", "none", "--no-report", "-q")
# The libraries fit in 0.4 GB; the scan takes more beside them than 0.6 GB leave.
TAKES = "segmenting it takes about 0.8 GB"
# A user of whom no process runs, so that the limit counts ours alone; it may read what root may.
READ_ALL = "+dac_override,+dac_read_search"
LONELY = (
    "setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups",
    "--inh-caps", READ_ALL, "--ambient-caps", READ_ALL,
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study of one small head, and that head in 64 times as many voxels."""
    place = tmp_path_factory.mktemp("place")
    head = make_phantom(zooms=(5.0, 5.0, 5.0), seed=0)
    data = np.where(head.mask, head.volume.data, 0).astype(np.float32)
    for name, n in (("large_T1w.nii", 4), ("raw/sub-01/anat/sub-01_T1w.nii", 1)):
        fine = data.repeat(n, axis=0).repeat(n, axis=1).repeat(n, axis=2)
        affine = head.volume.affine @ np.diag([1 / n, 1 / n, 1 / n, 1])
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(fine, affine), place / name)
    (place / "raw" / "dataset_description.json").write_text(
        '{"Name": "x", "BIDSVersion": "1.10.0"}'
    )
    return place


def run(
    place: Path, limit: int, most: int, *arguments: str, before: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run the program with a limit of its own."""
    return subprocess.run(
        [*before, sys.executable, "-m", "brainseg", *arguments],
        preexec_fn=lambda: resource.setrlimit(limit, (most, most)),
        cwd=place,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HOME": str(place)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def told(done: subprocess.CompletedProcess[str], out: Path) -> str:
    """Return the one line of a run that came to a limit, which left nothing."""
    assert done.returncode == 75, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("brainseg: error: ")
    # A study has said what it is by then; nothing is left of scans and locks.
    assert not [path for path in out.rglob("*") if "sub-" in path.name or ".lock" in path.name]
    return line


@pytest.mark.parametrize(
    ("scan", "megabytes", "says"),
    [
        # What numpy and scipy take; below it OpenBLAS ends the process itself.
        ("raw/sub-01/anat/sub-01_T1w.nii", 200, "the program itself takes 0.37 GB"),
        ("large_T1w.nii", 600, TAKES),
    ],
)
def test_memory(place: Path, tmp_path: Path, scan: str, megabytes: int, says: str) -> None:
    arguments = ("run", scan, "-o", str(tmp_path), "--threads", "1", "--mask", "none", "-q")
    done = run(place, resource.RLIMIT_AS, megabytes * 10**6, *arguments, "--no-report")
    assert says in told(done, tmp_path)


def test_memory_of_a_study(place: Path, tmp_path: Path) -> None:
    scan = tmp_path / "raw" / "sub-02" / "anat" / "sub-02_T1w.nii"
    scan.parent.mkdir(parents=True)
    shutil.copy(place / "large_T1w.nii", scan)
    out = str(tmp_path / "out")
    options = ("participant", "--skip-bids-validation", "--engine", "serial", "--mask", "none")
    line = (str(tmp_path / "raw"), out, *options, "--no-report", "-q", "--n-cpus", "1")
    done = run(place, resource.RLIMIT_AS, 600 * 10**6, *line)
    assert done.returncode == 75
    assert "Traceback" not in done.stderr
    summary = (tmp_path / "out" / "logs" / "summary.tsv").read_text()
    assert f"not enough memory; {TAKES}" in summary
    assert not [p for p in (tmp_path / "out").rglob("*") if ".tmp-" in p.name or ".lock" in p.name]


@pytest.mark.parametrize("engine", ["serial", "local"])
def test_threads_and_processes(place: Path, tmp_path: Path, engine: str) -> None:
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("root is not limited, and becomes another user by setpriv alone")
    os.chown(tmp_path, 54321, 54321)
    arguments = ("raw", str(tmp_path / "out"), "participant", "--engine", engine, *QUICK)
    done = run(place, resource.RLIMIT_NPROC, 1, *arguments, before=LONELY)
    assert "no more threads may be started" in told(done, tmp_path)


@pytest.mark.parametrize(
    ("engine", "says"),
    [("local", "Too many open files"), ("dask", "takes about 42 open files, and 10 are allowed")],
)
def test_open_files(place: Path, tmp_path: Path, engine: str, says: str) -> None:
    if engine == "dask":
        pytest.importorskip("distributed", reason="brainseg-em[dask] is not installed")
    arguments = ("raw", str(tmp_path), "participant", "--engine", engine, "--n-cpus", "2", *QUICK)
    assert says in told(run(place, resource.RLIMIT_NOFILE, 10, *arguments), tmp_path)
