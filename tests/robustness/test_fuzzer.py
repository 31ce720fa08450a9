"""A sample of what `pipelines/fuzz_program.py` does by the thousand."""

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
