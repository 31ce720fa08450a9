"""Samples of what the recipes that attack the program do by the thousand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_mutated_scans_through_the_whole_program() -> None:
    """Two of each kind of mutation; the script fails with what it found."""
    command = [sys.executable, str(ROOT / "pipelines" / "fuzz_program.py"), "--count", "26"]
    done = subprocess.run([*command, "--seed", "1"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1].split()
    name, inputs, results, refused, faults = last[:5]
    assert (name, inputs, faults) == ("all", "26", "0")
    # Both ways of ending well were met.
    assert int(results) >= 5
    assert int(refused) >= 5


def test_mutated_dicom_folders() -> None:
    """Two or three of each kind; the script fails with what it found."""
    command = [sys.executable, str(ROOT / "pipelines" / "attack_dicom.py"), "--count", "42"]
    done = subprocess.run([*command, "--runs", "2"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    name, read, noted, refused, faults = done.stdout.splitlines()[-1].split()[:5]
    assert (name, faults) == ("all", "0")
    assert int(read) + int(noted) + int(refused) == 42
    # Whole volumes, borne ones and refused ones were all met.
    assert min(int(read), int(noted), int(refused)) >= 1
