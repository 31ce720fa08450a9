"""One synthetic head, segmented once for all pages."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "site-work"
"""What the tutorials make; kept between builds of one checkout only where they say so."""
EXTRA = ROOT / "build" / "site-extra"
"""What is copied into the site as it is."""
(EXTRA / "reports").mkdir(parents=True, exist_ok=True)
WORK.mkdir(parents=True, exist_ok=True)


@cache
def example() -> Path:
    """Segment the synthetic head of 2 mm; return the folder of its files.

    A T2w scan of the same head goes with it, so that every kind of file is there but the lesions'.
    """
    folder = WORK / "example"
    shutil.rmtree(folder, ignore_errors=True)
    program(["phantom", "-o", str(folder), "--voxel-size", "2"])
    program(["run", str(folder / "phantom_T1w.nii.gz"), "-o", str(folder), "-q"])
    shutil.copy(folder / "phantom_report.html", EXTRA / "reports" / "example.html")
    return folder


def program(words: list[str]) -> None:
    """Run brainseg in a process of its own; its last lines are in the error if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "brainseg", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"brainseg {' '.join(words)}: {done.stderr[-2000:]}")
