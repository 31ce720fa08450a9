"""Fixtures of the browser tests; helpers are in tests/qc_browser.py."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from qc_browser import AXE, start
from qc_heads import head, page_of

from brainseg.qc.pages import report


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    driver = start(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def pages(tmp_path_factory) -> dict[str, Path]:
    """Reports of a head, with and without NiiVue, as files."""
    folder = tmp_path_factory.mktemp("reports")
    out = {}
    with pytest.MonkeyPatch.context() as patch:
        for name, text in (("plain", ""), ("niivue", None)):
            if text is not None:
                patch.setattr(report, "vendored", lambda _: "")
            else:
                patch.undo()
                if not report.vendored("niivue.b64"):
                    continue
            scan, result = head()
            out[name] = folder / f"{name}.html"
            out[name].write_text(page_of(scan, result))
    return out


@pytest.fixture(scope="session")
def axe(tmp_path_factory) -> str:
    """The script of axe-core, from npm at a pinned hash; skips where npm cannot give it."""
    path = Path(__file__).parents[2] / "pipelines" / "fetch_niivue.py"
    spec = importlib.util.spec_from_file_location("fetch_niivue", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        files = module.fetch(*AXE, ["axe.min.js"])
    except (module.FetchError, OSError) as error:
        pytest.skip(f"axe-core cannot be had: {error}")
    return files["axe.min.js"].decode()
