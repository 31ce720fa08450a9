"""What pyproject.toml cannot say: where the assets lie, and that a wheel holds NiiVue."""

from __future__ import annotations

import logging
import runpy
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

RECIPE = Path(__file__).parent / "pipelines" / "fetch_niivue.py"


class BuildWithNiiVue(build_py):
    """Copy the package, then put NiiVue beside it; never into the source tree."""

    def run(self) -> None:
        """Build."""
        super().run()
        vendor = Path(self.build_lib) / "brainseg" / "qc" / "vendor"
        if self.editable_mode or (vendor / "niivue.b64").exists() or not RECIPE.exists():
            return
        recipe = runpy.run_path(str(RECIPE))
        try:
            recipe["put_into"](vendor)
        except recipe["FetchError"] as error:
            logging.warning("reports will be made without NiiVue: %s", error)


setup(
    # The assets stay at the top of the repository and travel as package data.
    packages=[*find_packages(include=["brainseg", "brainseg.*"]), "brainseg.data"],
    package_dir={"brainseg.data": "data"},
    cmdclass={"build_py": BuildWithNiiVue},
)
