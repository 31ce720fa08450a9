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
    "longitudinal",
    "io",
    "qc",
    "run",
    "person_files",
    "run_person",
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


# Many parameters, each with its reason.
WIDE = {
    # scikit-learn's contract: every parameter of an estimator stands in its constructor.
    "brainseg.mixture.families.base.__init__",
    "brainseg.mixture.families.gaussian.__init__",
    # Each input of a scan by its own name, as a notebook wants them.
    "brainseg.api.segment",
}


def functions(module: str) -> list[ast.FunctionDef]:
    """Return all functions and methods of a module."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def lines(function: ast.FunctionDef) -> int:
    """Count the lines of a function without its docstring."""
    first = function.body[0]
    documented = ast.get_docstring(function) is not None
    text = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return (function.end_lineno or 0) - function.lineno + 1 - text


@pytest.mark.parametrize("module", MODULES)
def test_modules_and_functions_are_small(module: str) -> None:
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= 400
    # The command line's functions are tables of options, and go through them one by one.
    if room(module) != "cli":
        long = {f.name: lines(f) for f in functions(module) if lines(f) > 60}
        assert not long, f"functions over 60 lines: {long}"


@pytest.mark.parametrize("module", [m for m in MODULES if room(m) != "cli"])
def test_functions_take_few_parameters(module: str) -> None:
    for f in functions(module):
        names = [a.arg for a in (*f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs)]
        count = len(names) - (names[:1] in (["self"], ["cls"]))
        assert count <= 7 or f"{module}.{f.name}" in WIDE, f"{f.name} takes {count}"
