"""NiiVue comes from npm at one hash, or not at all, and a build goes on without it."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
RECIPE = runpy.run_path(str(ROOT / "pipelines" / "fetch_niivue.py"))


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """Let `npm pack` be a script of the test's."""

    def put(script: str) -> None:
        path = tmp_path / "bin" / "npm"
        path.parent.mkdir()
        path.write_text(f"#!{sys.executable}\n{script}")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", str(path.parent))

    return put


def test_without_npm_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RECIPE["FetchError"], match="npm is not installed"):
        RECIPE["put_into"](tmp_path / "vendor")
    assert not (tmp_path / "vendor").exists()


def test_an_archive_with_another_hash_is_refused(tmp_path, npm):
    npm("open('niivue.tgz', 'wb').write(b'something else')")
    with pytest.raises(RECIPE["FetchError"], match="has the hash"):
        RECIPE["put_into"](tmp_path / "vendor")
    assert not (tmp_path / "vendor").exists()


def test_a_registry_that_does_not_answer_is_no_end_of_a_build(tmp_path, npm):
    npm("import sys; sys.exit('ENOTFOUND')")
    with pytest.raises(RECIPE["FetchError"], match="ENOTFOUND"):
        RECIPE["put_into"](tmp_path / "vendor")
