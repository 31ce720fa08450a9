"""The container image: built, and run as strictly as hospitals and clusters run images.

Building takes minutes, so this is asked for: BRAINSEG_TEST_IMAGE=1, as .ci/run does.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT.parent / "shared" / "container" / "build-image"
TAG = "localhost/brainseg:test"
USER = "1234:5678"
# What was measured plus a twentieth: a library that comes in unnoticed is larger.
LARGEST_BYTES = 630_000_000
# No network, nothing to write to but what is mounted (not even /tmp), no rights, nobody's user.
STRICT = (
    "--network", "none", "--read-only", "--read-only-tmpfs=false", "--cap-drop", "ALL",
    "--security-opt", "no-new-privileges", "--user", USER,
)  # fmt: skip


@dataclass(frozen=True)
class Image:
    """The built image in a store of its own."""

    environment: dict[str, str]

    def podman(self, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["podman", *map(str, arguments)],
            env=self.environment,
            capture_output=True,
            text=True,
            check=check,
        )

    def run(self, *arguments: object, mounts: dict[Path, str]) -> subprocess.CompletedProcess[str]:
        """Run the image strictly; the first mount is read-only."""
        return self.podman(
            "run", "--rm", "--no-healthcheck", *STRICT, *volumes(mounts), TAG, *arguments,
            check=False,
        )  # fmt: skip


def volumes(mounts: dict[Path, str]) -> list[str]:
    ends = [":ro", *[""] * (len(mounts) - 1)]
    pairs = zip(mounts.items(), ends, strict=True)
    return [word for (here, there), end in pairs for word in ("-v", f"{here}:{there}{end}")]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    if not os.environ.get("BRAINSEG_TEST_IMAGE"):
        pytest.skip("building the image takes minutes; BRAINSEG_TEST_IMAGE=1 asks for it")
    if not BUILD.exists():
        pytest.skip("the recipe for building without a container engine is not here")
    if os.getuid() != 0:
        pytest.skip("building without a container engine needs root")
    scratch = tmp_path_factory.mktemp("image")
    built = subprocess.run(
        [BUILD, ROOT],
        env=os.environ | {"W": str(scratch), "TAG": TAG},
        capture_output=True,
        text=True,
        check=False,
    )
    environment = os.environ | {
        "CONTAINERS_STORAGE_CONF": str(scratch / "storage.conf"),
        "CONTAINERS_CONF": str(scratch / "containers.conf"),
    }
    try:
        if built.returncode != 0 and "==> podman build" not in built.stdout:
            last = (built.stdout + built.stderr).strip().splitlines()[-1:]
            pytest.skip(f"the tools for building could not be had: {last}")
        assert built.returncode == 0, built.stdout + built.stderr
        yield Image(environment)
    finally:
        subprocess.run(["podman", "rm", "-af"], env=environment, capture_output=True, check=False)
        # The store mounts itself.
        overlay = str(scratch / "store" / "overlay")
        subprocess.run(["umount", overlay], capture_output=True, check=False)
        shutil.rmtree(scratch, ignore_errors=True)


@pytest.fixture
def out(tmp_path: Path) -> Callable[[str], Path]:
    """Make a folder that the container's user may write."""

    def make(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        os.chown(folder, *map(int, USER.split(":")))
        return folder

    return make


@pytest.fixture
def study(tmp_path: Path, shared_data: Path) -> Path:
    """A dataset of a real scan, and a few more of it under other names."""
    head = shared_data / "heads" / "mni_head_T1w_2mm.nii.gz"
    root = tmp_path / "study"
    for i in range(1, 5):
        path = root / f"sub-{i}" / "anat" / f"sub-{i}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        shutil.copy(head, path)
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    # Umask or not, anybody may read it.
    for path in (root, *root.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return root


def test_the_image_is_small_and_says_what_it_is(image: Image) -> None:
    facts = json.loads(image.podman("image", "inspect", TAG).stdout)[0]
    assert facts["Size"] < LARGEST_BYTES
    assert facts["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert facts["Config"]["Entrypoint"] == ["brainseg"]
    assert facts["Config"]["User"] not in ("", "0", "root")
    version = image.podman("run", "--rm", "--network", "none", TAG, "--version").stdout
    assert facts["Labels"]["org.opencontainers.image.version"] == version.split()[-1]


def test_both_forms_segment_a_real_scan(
    image: Image, study: Path, out: Callable[[str], Path]
) -> None:
    one, many = out("one"), out("many")
    scan = "/data/sub-1/anat/sub-1_T1w.nii.gz"
    plain = image.run("run", scan, "-o", "/out", mounts={study: "/data", one: "/out"})
    assert plain.returncode == 0, plain.stderr
    arguments = ("/data", "/out", "participant", "--participant-label", "1")
    app = image.run(*arguments, mounts={study: "/data", many: "/out"})
    assert app.returncode == 0, app.stderr
    name = "sub-1_seg-six_desc-posterior_dseg.nii.gz"
    assert (one / name).read_bytes() == (many / "sub-1" / "anat" / name).read_bytes()
    assert (many / "sub-1" / "anat" / "sub-1_report.html").exists()
    for path in (*one.rglob("*"), *many.rglob("*")):
        assert f"{path.stat().st_uid}:{path.stat().st_gid}" == USER
    gathered = image.run("/data", "/out", "group", mounts={study: "/data", many: "/out"})
    assert gathered.returncode == 0, gathered.stderr
    assert (many / "group_T1w.tsv").exists()
    made_by = json.loads((many / "dataset_description.json").read_text())["GeneratedBy"][0]
    assert made_by["Container"]["Type"] == "docker"
    absent = image.run("run", "/data/none.nii.gz", "-o", "/out", mounts={study: "/data"})
    assert absent.returncode == 66


def test_the_visits_of_a_participant_are_compared(
    image: Image, tmp_path: Path, shared_data: Path, out: Callable[[str], Path]
) -> None:
    folder, root = out("out"), tmp_path / "visits"
    for session in ("1", "2"):
        path = root / "sub-1" / f"ses-{session}" / "anat" / f"sub-1_ses-{session}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        shutil.copy(shared_data / "heads" / "mni_head_T1w_2mm.nii.gz", path)
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    for path in (root, *root.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    arguments = ("/data", "/out", "participant", "--longitudinal")
    done = image.run(*arguments, mounts={root: "/data", folder: "/out"})
    assert done.returncode == 0, done.stderr
    (table,) = folder.rglob("*_long.tsv")
    rows = list(csv.DictReader(table.read_text().splitlines(), delimiter="\t"))
    assert {row["session"] for row in rows} == {"1", "2"}
    # The same scan twice.
    assert {float(row["change_ml"]) for row in rows} == {0.0}
    assert list(folder.rglob("*_long.html"))
    for path in folder.rglob("*"):
        assert f"{path.stat().st_uid}:{path.stat().st_gid}" == USER


def test_sigterm_ends_it_in_time_and_the_study_resumes(
    image: Image, study: Path, out: Callable[[str], Path]
) -> None:
    folder = out("out")
    mounts = volumes({study: "/data", folder: "/out"})
    options = ("--no-report", "--n-cpus", "2", "-q")
    started = image.podman(
        "run", "-d", "--no-healthcheck", *STRICT, *mounts, TAG,
        "/data", "/out", "participant", *options,
    )  # fmt: skip
    container = started.stdout.strip()
    entries = folder / "logs" / "scans"
    deadline = time.monotonic() + 120
    while not list(entries.glob("[!.]*.json")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    # Whoever is still there after ten seconds is killed, and ends with 137.
    image.podman("stop", "--time", "10", container)
    code = image.podman("inspect", "--format", "{{.State.ExitCode}}", container).stdout
    assert int(code) == 128 + signal.SIGTERM
    states = {json.loads(path.read_text())["state"] for path in entries.glob("[!.]*.json")}
    assert "interrupted" in states
    assert states <= {"interrupted", "done"}
    assert not [*folder.rglob(".*tmp-*"), *(folder / "logs" / "locks").iterdir()]
    again = image.run(
        "/data", "/out", "participant", *options, mounts={study: "/data", folder: "/out"}
    )
    assert again.returncode == 0, again.stderr
    assert len(list(folder.rglob("*_mixture.json"))) == 4
