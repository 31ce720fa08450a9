"""What is published: versions that agree, descriptors that are valid, a wheel that works alone.

Building takes minutes and wants the extra ``release``: BRAINSEG_TEST_PACKAGE=1 asks for it, as
.ci/run does.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import brainseg
from brainseg.cli import main

ROOT = Path(__file__).resolve().parents[1]
VERSION = brainseg.__version__
TOLD = {
    "CITATION.cff": r"^version: (\S+)$",
    "Dockerfile": r"^ARG VERSION=(\S+)$",
    "packaging/boutiques.json": r'"tool-version": "([^"]+)"',
    "packaging/brainseg.def": r"image\.version (\S+)",
    "pipelines/compose.yaml": r"brainseg:(\d[\w.]+\w)",
}

wants_building = pytest.mark.skipif(
    not os.environ.get("BRAINSEG_TEST_PACKAGE"),
    reason="building takes minutes; BRAINSEG_TEST_PACKAGE=1 asks for it",
)


def call(*command: object, where: Path = ROOT, **variables: str) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=where,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", sorted(TOLD))
def test_every_file_tells_the_version_of_the_package(name: str) -> None:
    found = re.findall(TOLD[name], (ROOT / name).read_text("utf-8"), re.MULTILINE)
    assert set(found) == {VERSION}


def test_the_changelog_dates_the_release() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.search(rf"^## {re.escape(VERSION)} - \d{{4}}-\d\d-\d\d$", text, re.MULTILINE)


def test_the_boutiques_descriptor_names_options_that_exist() -> None:
    descriptor = json.loads((ROOT / "packaging" / "boutiques.json").read_text("utf-8"))
    flags = {i["command-line-flag"] for i in descriptor["inputs"] if "command-line-flag" in i}
    parser, _ = main._parser()
    run = parser._subparsers._group_actions[0].choices["run"]  # type: ignore[union-attr]
    assert flags <= set(run._option_string_actions)


@wants_building
def test_descriptors_are_valid() -> None:
    tools = Path(sys.executable).parent
    call(tools / "bosh", "validate", "packaging/boutiques.json")
    call(tools / "cffconvert", "--validate")


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


@wants_building
def test_the_wheel_works_alone_and_the_sdist_builds_the_same(tmp_path: Path) -> None:
    dist, straight = tmp_path / "dist", tmp_path / "straight"
    # `build` makes the wheel from the sdist; a second wheel comes straight from the checkout.
    call(sys.executable, "-m", "build", "--outdir", dist)
    call(sys.executable, "-m", "build", "--wheel", "--outdir", straight)
    call(sys.executable, "-m", "twine", "check", "--strict", *dist.iterdir())
    (wheel,) = dist.glob("*.whl")
    assert wheel.name.startswith(f"brainseg_em-{VERSION}-py3-none-any")
    assert contents(wheel) == contents(next(straight.glob("*.whl")))

    call(sys.executable, "-m", "venv", tmp_path / "venv")
    programs = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    call(programs / "python", "-m", "pip", "install", "-q", wheel, PYTHONPATH="")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    table = call(programs / "brainseg", "demo", "-o", "out", where=elsewhere, PYTHONPATH="")
    assert "brain" in table
    assert (elsewhere / "out" / "phantom_report.html").stat().st_size > 0
