"""Fixtures shared by the tests."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Whole programs, networks, browsers and real heads; a quick run leaves them out: -m "not slow".
SLOW = {
    "anatomy", "atlas", "batch", "browser", "robustness", "test_again.py", "test_bias.py",
    "test_cli.py",
    "test_cli_mixture.py", "test_comparison.py", "test_dicom.py", "test_front_door.py",
    "test_front_door_on_a_head.py", "test_group.py", "test_image.py", "test_phantom.py",
    "test_lesions.py", "test_listening.py", "test_person.py", "test_ratings.py",
    "test_pipeline.py", "test_report.py", "test_review.py", "test_run_person.py",
    "test_scikit_learn.py", "test_seeds.py", "test_sessions.py",
    "test_templates.py", "test_tissue_fit.py",
}  # fmt: skip
DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real scans and truth that lies beside the project; skips where it is absent."""
    folder = Path(os.environ.get("BRAINSEG_SHARED_DATA", DEFAULT))
    if not folder.is_dir():
        pytest.skip(f"real scans are not here ({folder.name} beside the project is absent)")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what takes long."""
    for item in items:
        if SLOW & {item.path.parent.name, item.path.name}:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _fresh_logging() -> Iterator[None]:
    """Take away what a run of the program set up: its handler and its level."""
    yield
    root = logging.getLogger()
    for handler in [h for h in root.handlers if type(h) is logging.StreamHandler]:
        root.removeHandler(handler)
    logging.getLogger("brainseg").setLevel(logging.NOTSET)
