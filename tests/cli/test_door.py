"""What goes wrong at the edge of the program is one line with the right code, never a traceback."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest

from brainseg.cli import door
from brainseg.cli.main import main


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in a folder with a small image, a map of labels and things that are neither."""
    monkeypatch.chdir(tmp_path)
    grid = np.arange(1000).reshape(10, 10, 10)
    nib.save(nib.Nifti1Image(grid.astype("i2"), np.eye(4)), "scan.nii")
    nib.save(nib.Nifti1Image((grid % 3).astype("u1"), np.eye(4)), "labels.nii")
    nib.save(nib.Nifti1Pair(grid.astype("i2"), np.eye(4)), "pair.img")
    Path("pair.img").unlink()
    os.mkfifo("pipe.nii")
    Path("file").touch()
    Path("bids/sub-01/anat").mkdir(parents=True)
    Path("bids/sub-01/anat/sub-01_T1w.nii").touch()
    yield
    logging.getLogger().handlers.clear()


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        (["run", "x" * 300 + ".nii", "-o", "out"], 73, "a name of 300 letters"),
        (["run", "x" * 190 + ".nii", "-o", "out"], 73, "at most 180"),
        (["run", "scan.nii", "-o", "y" * 300], 73, "File name too long"),
        (["run", "scan.nii", "-o", ""], 64, "the path is empty"),
        (["run", "scan.nii", "-o", "file/out"], 73, "Not a directory"),
        (["run", "pipe.nii", "-o", "out"], 66, "pipe.nii: a pipe or device"),
        (["run", "/dev/zero", "-o", "out"], 66, "zero: a pipe or device"),
        (["run", "pair.hdr", "-o", "out"], 66, "pair.hdr"),
        (["run", "scan.nii", "-o", "out", "--seed", "-1"], 64, "no whole number from 0"),
        (["select-model", "scan.nii", "--seed", "-1"], 64, "no whole number from 0"),
        (
            ["bids", "bids", "out", "participant", "--skip-bids-validation", "-w", "file"],
            73,
            "file",
        ),
        (["evaluate", "labels.nii", "labels.nii", "--map", "9=9"], 65, "9"),
        (["evaluate", "labels.nii", "labels.nii", "--map", "1=1,1=2"], 64, "1"),
        (["run", "a\x1b[31m\nb.nii", "-o", "out"], 66, r"a\x1b[31m\nb.nii: no such file"),
        (["run", "a\udcff.nii", "-o", "out"], 64, r"a\udcff.nii: this name holds bytes"),
    ],
)
def test_mistakes_are_one_line_with_a_code(
    capsys: pytest.CaptureFixture[str], command: list[str], code: int, says: str
) -> None:
    assert main(command) == code
    lines = [x for x in capsys.readouterr().err.splitlines() if " INFO " not in x]
    assert len(lines) == 1
    assert lines[0].startswith("brainseg: error: ")
    assert says in lines[0]


@pytest.mark.parametrize(
    ("fault", "code", "says"),
    [
        (MemoryError(), 75, "not enough memory"),
        (RuntimeError("can't start new thread"), 75, "no more threads"),
        (OSError(24, "Too many open files"), 75, "Too many open files"),
        (OSError(28, "No space left", "/home/jane/x"), 74, "x: No space left"),
        (PermissionError(13, "Permission denied", "/home/jane/x"), 66, "x: Permission denied"),
        (np.linalg.LinAlgError("of /home/jane"), 70, "unforeseen LinAlgError"),
    ],
)
def test_what_nobody_foresaw_has_a_code_and_keeps_its_traceback(
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    fault: Exception,
    code: int,
    says: str,
) -> None:
    with caplog.at_level(logging.DEBUG, logger="brainseg"):
        assert door.tell(fault) == code
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert says in error
    assert "jane" not in error
    assert [r.exc_info[1] for r in caplog.records if r.exc_info] == [fault]


def test_a_closed_stderr_stops_no_work() -> None:
    line = f'exec "{sys.executable}" -m brainseg evaluate labels.nii labels.nii 2>&-'
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "1.000" in done.stdout


def test_minc_that_reads_other_files_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File("other.h5", "w") as other:
        other["secret"] = np.arange(8)
    with h5py.File("scan.mnc", "w") as file:
        file.create_group("minc-2.0")["image"] = h5py.ExternalLink("other.h5", "secret")
    assert main(["run", "scan.mnc", "-o", "out"]) == 65
    assert "scan.mnc: refers to other files (minc-2.0/image)" in capsys.readouterr().err


def test_each_line_names_its_scan_where_there_are_several() -> None:
    formatter = door.Formatter("%(levelname)s %(message)s")

    def line(text: str) -> str:
        return formatter.format(logging.LogRecord("brainseg", 20, "", 0, text, (), None))

    with door.naming("a_T1w.nii.gz"):
        assert line("Tissues: 2.0 s") == "INFO a_T1w.nii.gz: Tissues: 2.0 s"
        assert line("a_T1w.nii.gz: Pass") == "INFO a_T1w.nii.gz: Pass"
    with door.naming(""):
        assert line("Tissues: 2.0 s") == "INFO Tissues: 2.0 s"
    assert line("Tissues: 2.0 s") == "INFO Tissues: 2.0 s"
