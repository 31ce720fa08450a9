"""The house's arrows: every import goes one way, between the rooms and inside each of them."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import brainseg

ROOT = Path(brainseg.__file__).parent

# Lowest first: a room may import from the rooms before it.
ROOMS = (
    "errors",
    "config",
    "core",
    "mixture",
    "atlas",
    "anatomy",
    "alignment",
    "tissues",
    "pipeline",
    "io",
    "qc",
    "run",
    "segmentation",
    "api",
    "evaluation",
    "batch",
    "cli",
    "__main__",
)
# Only these may import nibabel: what a file holds, and where it lies.
NIBABEL = {"brainseg.io.nifti", "brainseg.io.grids"}
MODULES = {
    ".".join(p.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): p
    for p in sorted(ROOT.rglob("*.py"))
    if p != ROOT / "__init__.py"
}


@cache
def imports(module: str) -> frozenset[str]:
    """Return the modules that a module imports, also inside its functions."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            submodules = names & MODULES.keys()
            found |= submodules if len(submodules) == len(names) else submodules | {node.module}
    return frozenset(found - {module, "brainseg"})


def room(module: str) -> str:
    """``brainseg.qc.pages.report`` lives in the room ``qc``."""
    return module.split(".")[1]


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downwards(module: str) -> None:
    above = ROOMS[ROOMS.index(room(module)) + 1 :]
    wrong = {n for n in imports(module) if n.startswith("brainseg.") and room(n) in above}
    assert not wrong, f"{module} imports {wrong} from above"


@pytest.mark.parametrize("name", [r for r in ROOMS if (ROOT / r).is_dir()])
def test_imports_inside_a_room_go_one_way(name: str) -> None:
    inside = {m for m in MODULES if room(m) == name}
    graph = {m: {n for n in imports(m) if n in inside} for m in inside}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")


@pytest.mark.parametrize("name", [r for r in ROOMS if (ROOT / r).is_dir()])
def test_the_folders_of_a_room_import_one_way(name: str) -> None:
    graph: dict[str, set[str]] = {}
    for module in (m for m in MODULES if room(m) == name and len(m.split(".")) > 3):
        here = module.split(".")[2]
        there = {
            n.split(".")[2] for n in imports(module) if room(n + ".") == name and n.count(".") > 2
        }
        graph.setdefault(here, set()).update(there - {here})
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of folders: {' <- '.join(error.args[1])}")


@pytest.mark.parametrize("module", MODULES)
def test_only_the_edge_reads_images(module: str) -> None:
    uses = any(name.split(".")[0] == "nibabel" for name in imports(module))
    assert not uses or module in NIBABEL


def test_every_room_has_its_place() -> None:
    found = {room(m) for m in MODULES}
    assert found == set(ROOMS)
