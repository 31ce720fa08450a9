"""What every command opens to others: nothing, or a port of 127.0.0.1 where that is its job."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainseg.cli import main as main_module
from brainseg.evaluation.phantom import make_phantom

LOCAL = "127.0.0.1"
# Each process of a command, children too, loads this first and writes down what it does with
# sockets: no look at the process from outside can miss one that is open for a moment.
HOOK = """
import os, sys
def note(event, args):
    if event in ("socket.bind", "socket.connect"):
        with open(os.environ["SOCKETS_SEEN"], "a") as seen:
            print(event.rpartition(".")[2], repr(args[1]), file=seen)
sys.addaudithook(note)
"""
QUICK = "--mask none --prior none --bias none -q"
SCAN = "raw/sub-01/anat/sub-01_T1w.nii.gz"
# Lines of one row build on each other.
COMMANDS = {
    "run": (
        f"run {SCAN} -o out {QUICK} --no-report",
        f"run {SCAN} -o out --report-only -q",
        "evaluate out/sub-01_dseg.nii.gz out/sub-01_dseg.nii.gz",
        "report-methods out -q",
    ),
    "long": (f"long {SCAN} {SCAN} -o visits --mask none --tissues three -q",),
    "explain": (f"explain {SCAN} -o page --mask none -q",),
    "select-model": (f"select-model {SCAN} -o page --mask none -q --components 2",),
    "demo": ("demo --prior none --bias none --no-report -q",),
    "phantom": ("phantom -o head --voxel-size 8 -q",),
    "certificates": ("certificates dask.yaml",),
    "bids": (
        f"raw study participant --engine serial {QUICK}",
        f"bids raw other participant --engine local --n-cpus 2 --no-report {QUICK}",
        "raw study group -q",
        "group study --cohort-model -q",
    ),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study of one small head, and the hook."""
    place = tmp_path_factory.mktemp("place")
    head = make_phantom(zooms=(5.0, 5.0, 5.0), seed=0)
    scan = place / "raw" / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    scan.parent.mkdir(parents=True)
    data = np.where(head.mask, head.volume.data, 0).astype(np.float32)
    nib.save(nib.Nifti1Image(data, head.volume.affine), scan)
    (place / "raw" / "dataset_description.json").write_text(
        '{"Name": "x", "BIDSVersion": "1.10.0"}'
    )
    (place / "hook").mkdir()
    (place / "hook" / "sitecustomize.py").write_text(HOOK)
    return place


@contextmanager
def started(process: subprocess.Popen[str]) -> Iterator[str]:
    """Yield the address of a review that answers; end it after."""
    try:
        assert process.stdout is not None
        yield process.stdout.readline().rpartition(" ")[2].strip()
    finally:
        process.terminate()
        process.communicate(timeout=60)


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(place: Path, tmp_path: Path) -> Start:
    """Start the program under the hook."""
    paths = os.pathsep.join([str(place / "hook"), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths, "SOCKETS_SEEN": str(tmp_path / "seen")}

    def start(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "brainseg", *arguments],
            cwd=place,
            env=environment | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )

    return start


def seen(tmp_path: Path, what: str) -> list[object]:
    """Return the addresses that were bound or connected to."""
    if not (tmp_path / "seen").exists():
        return []
    rows = (line.partition(" ") for line in (tmp_path / "seen").read_text().splitlines())
    return [ast.literal_eval(address) for did, _, address in rows if did == what]


def test_every_command_is_among_them() -> None:
    """One that is new has to be looked at, too."""
    here = {line.split()[0] for lines in COMMANDS.values() for line in lines} | {"review"}
    assert here >= main_module._parser()[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_open_no_port_and_call_nobody(tmp_path: Path, start: Start, name: str) -> None:
    for line in COMMANDS[name]:
        process = start(*line.split())
        process.communicate(timeout=600)
        assert process.returncode == 0, line
        for what in ("bind", "connect"):
            assert seen(tmp_path, what) == [], line


def test_the_review_opens_one_port_of_this_machine(
    place: Path, tmp_path: Path, start: Start
) -> None:
    reports = place / "reviewed"
    reports.mkdir()
    (reports / "sub-01_report.html").write_text("<p>report</p>")
    with started(start("review", "reviewed", "--no-browser")) as url:
        assert urllib.request.urlopen(url, timeout=60).status == 200
        assert seen(tmp_path, "bind") == [(LOCAL, 0)]
        assert seen(tmp_path, "connect") == []


def test_a_cluster_of_our_own_opens_ports_of_this_machine_alone(
    tmp_path: Path, start: Start
) -> None:
    pytest.importorskip("distributed", reason="brainseg-em[dask] is not installed")
    line = f"raw clustered participant --engine dask --n-cpus 1 --no-report {QUICK}"
    process = start(*line.split())
    process.communicate(timeout=600)
    assert process.returncode == 0
    bound = {address[0] for address in seen(tmp_path, "bind") if isinstance(address, tuple)}
    assert bound == {LOCAL}
    called = {address[0] for address in seen(tmp_path, "connect") if isinstance(address, tuple)}
    assert called == {LOCAL}
