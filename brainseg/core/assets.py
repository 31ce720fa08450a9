"""Where the files that ship with brainseg (atlas, weights, small baselines) are found."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from brainseg.errors import BrainsegError


def path(name: str) -> Path:
    """Return the path of an asset of the installed package.

    In the repository the assets live in ``data/`` at the top; the build maps that folder to the
    package ``brainseg.data``, so a wheel and an editable install both find them here.

    Raises
    ------
    BrainsegError
        When the installation lacks the asset.
    """
    for folder in (Path(str(files("brainseg"))) / "data", Path(__file__).parents[2] / "data"):
        if (folder / name).is_file():
            return folder / name
    raise BrainsegError(
        f"the asset {name} is missing from this installation of brainseg; install it again"
    )
