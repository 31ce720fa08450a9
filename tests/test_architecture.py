"""The house's arrows: every import goes one way. See the layer list below."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import brainseg

ROOT = Path(brainseg.__file__).parent

# Lowest first; a module may import from its own layer (if the layer is a package) and below.
LAYERS = [
    {"errors"},
    {"assets", "atomic", "cohort_prior", "parallel", "volume", "steps", "tissues"},
    {"config", "masking", "mixture"},
    {"metrics", "atlas", "warping"},
    {"head_scan"},
    {"bias", "neighbourhood", "registration", "coregistration", "tissue_model", "tissue_scan"},
    {"carrying"},
    {"priors", "extraction", "phantom", "partial_volume", "lesions"},
    {"tissue_em", "tissue_voxels"},
    {"tissue_fit"},
    {"seeded"},
    {"segment"},
    {"grids", "bids"},
    {"nifti"},
    {"derivatives"},
    {"qc"},
    {"evaluation", "run"},
    {"demo", "batch", "intensities"},
    {
        "cli",
        "cli_bids",
        "cli_engines",
        "cli_mixture",
        "cli_options",
        "cli_review",
        "__main__",
    },
]
# Only these may import nibabel: one edge, two files (what a file holds, and where it lies).
NIBABEL = {"nifti", "grids"}


def room(module: str) -> str:
    """``brainseg.qc.report`` lives in the room ``qc``."""
    return module.split(".")[1] if "." in module else module


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            if node.module == "brainseg":
                found |= {f"brainseg.{alias.name}" for alias in node.names}
            else:
                found.add(node.module)
        elif isinstance(node, ast.ImportFrom):
            found.add(f"relative import in {path.name}")
    return found


def layer(name: str) -> int:
    for height, names in enumerate(LAYERS):
        if name in names:
            return height
    raise AssertionError(f"brainseg/{name} is in no layer; put it where it belongs in LAYERS")


MODULES = sorted(p for p in ROOT.rglob("*.py") if p != ROOT / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_point_downwards(path: Path) -> None:
    here = path.relative_to(ROOT).with_suffix("").parts[0]
    for name in imports(path):
        assert "relative import" not in name
        if name.split(".")[0] != "brainseg" or name in ("brainseg", "brainseg.__version__"):
            continue
        there = room(name)
        same_package = here == there and (ROOT / here).is_dir()
        assert same_package or layer(there) < layer(here) or _siblings_in_top(here, there), (
            f"{here} imports {there}, which lies above or beside it"
        )


def _siblings_in_top(here: str, there: str) -> bool:
    """The entry points form one room: cli dispatches to its parts, __main__ calls cli."""
    return {here, there} <= LAYERS[-1]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_only_the_edge_reads_images(path: Path) -> None:
    uses = any(name.split(".")[0] == "nibabel" for name in imports(path))
    assert not uses or path.stem in NIBABEL


def test_every_room_has_a_layer() -> None:
    for path in ROOT.iterdir():
        if path.suffix == ".py" and path.stem != "__init__":
            layer(path.stem)
        elif path.is_dir() and (path / "__init__.py").exists():
            layer(path.name)
