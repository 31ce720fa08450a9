"""Fixtures shared by the tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real scans and truth that lies beside the project; skips where it is absent."""
    folder = Path(os.environ.get("BRAINSEG_SHARED_DATA", DEFAULT))
    if not folder.is_dir():
        pytest.skip(f"real scans are not here ({folder.name} beside the project is absent)")
    return folder
