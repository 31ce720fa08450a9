"""The templates for clusters, run with stand-ins for Slurm and Apptainer."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from brainseg.cli.bids import with_command
from brainseg.cli.main import _parser

PIPELINES = Path(__file__).parents[1] / "pipelines"
# Runs what it is given on this machine, with the paths that the container would see.
APPTAINER = f"""#!{sys.executable}
import os, sys
words = sys.argv[1:]
def after(option):
    return [words[i + 1] for i, word in enumerate(words) if word == option]
binds = [bind.split(":") for bind in after("--bind")]
def outside(word):
    for here, there, *_ in binds:
        if word == there or word.startswith(there + "/"):
            return here + word[len(there):]
    return word
for name, value in (setting.split("=") for setting in after("--env")):
    os.environ[name] = outside(value)
at = words.index(os.environ["IMAGE"])
inside = words[at + 1 :] if words[0] == "exec" else ["brainseg", *words[at + 1 :]]
inside = [outside(word) for word in inside]
os.execv(sys.executable, [sys.executable, "-m", *inside])
"""
# Two tasks.
SRUN = '#!/bin/bash\nshift\n"$@" &\n"$@" &\nwait\n'


@pytest.fixture
def cluster(tmp_path: Path) -> dict[str, str]:
    """Environment of a job."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in {"apptainer": APPTAINER, "srun": SRUN}.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    return os.environ | {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "BIDS": str(tmp_path / "raw"),
        "OUT": str(tmp_path / "derivatives"),
        "IMAGE": "brainseg.sif",
        "SLURM_CPUS_PER_TASK": "1",
        "SLURM_MEM_PER_NODE": "8192",
    }


def make_participants(root: Path, number: int, content: bytes = b"no image") -> None:
    for i in range(number):
        path = root / f"sub-{i}" / "anat" / f"sub-{i}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')


def test_the_elements_of_the_array_share_the_participants(cluster: dict[str, str]) -> None:
    make_participants(Path(cluster["BIDS"]), 7)
    planned = []
    # Numbers may begin anywhere; more elements than participants leave some idle.
    for first, count in ((0, 3), (5, 9)):
        lines = []
        for element in range(first, first + count):
            job = {"SLURM_ARRAY_TASK_ID": str(element), "SLURM_ARRAY_TASK_MIN": str(first)}
            done = subprocess.run(
                ["bash", PIPELINES / "slurm_array.sbatch", "--dry-run"],
                env=cluster | job | {"SLURM_ARRAY_TASK_COUNT": str(count)},
                capture_output=True,
                text=True,
                check=True,
            )
            lines += done.stdout.splitlines()
        planned.append(sorted(lines))
    assert planned[0] == planned[1] == [f"sub-{i}_T1w\tto do: new" for i in range(7)]


def test_the_dask_job_does_the_study_and_ends(cluster: dict[str, str]) -> None:
    pytest.importorskip("distributed")
    make_participants(Path(cluster["BIDS"]), 3)
    with socket.socket() as free:
        free.bind(("", 0))
        port = str(free.getsockname()[1])
    done = subprocess.run(
        ["bash", PIPELINES / "slurm_dask.sbatch"],
        env=cluster | {"DASK_PORT": port},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    # No scan is an image: what the workers said of each is the study's own exit code and table.
    assert done.returncode == 65, done.stderr
    assert "3  failed" in done.stdout
    # The certificates went with the job.
    assert not list(Path(cluster["OUT"]).glob(".dask-*"))


def test_the_compose_file_gives_commands_that_are_understood() -> None:
    yaml = pytest.importorskip("yaml")
    services = yaml.safe_load((PIPELINES / "compose.yaml").read_text())["services"]
    parser, commands = _parser()
    parsed = parser.parse_args(with_command(services["study"]["command"], commands))
    assert (parsed.level, parsed.engine) == ("participant", "dask")
    address = parsed.scheduler.removeprefix("tls://")
    assert address in " ".join(services["worker"]["entrypoint"])
    host, port = address.split(":")
    assert host in services
    assert port in services["scheduler"]["entrypoint"]
    for service in services.values():
        assert service["read_only"]
