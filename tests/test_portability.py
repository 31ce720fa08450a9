"""Nothing in the package takes Linux for granted: macOS and Windows have no CI run here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "brainseg"
MODULES = sorted(PACKAGE.rglob("*.py"))
# Not on Windows; `fcntl` is imported in one place, inside a `try`.
ABSENT_MODULES = {"resource", "fcntl", "pwd", "grp", "termios", "pty", "posix", "crypt"}
# Of `os`, not on Windows; `os.kill` is, and ends the process whatever the signal.
ABSENT_FUNCTIONS = {
    "chown", "fork", "forkpty", "getegid", "geteuid", "getgid", "getloadavg", "getuid", "kill",
    "killpg", "pread", "pwrite", "setsid", "sysconf", "uname", "wait",
}  # fmt: skip


def guarded(tree: ast.AST) -> set[ast.AST]:
    """Return what stands in a `try` or under `with suppress(...)`."""
    inside: set[ast.AST] = set()
    for node in ast.walk(tree):
        suppresses = isinstance(node, ast.With) and "suppress" in ast.dump(node.items[0])
        if isinstance(node, ast.Try) or suppresses:
            inside |= {child for part in node.body for child in ast.walk(part)}
    return inside


def assumptions(source: str) -> Iterator[str]:
    """Yield what would break elsewhere than on Linux, in words."""
    tree = ast.parse(source)
    safe = guarded(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names) if node not in safe:
                for name in {n.name for n in names} & ABSENT_MODULES:
                    yield f"imports {name}, unguarded"
            case ast.ImportFrom(module=str(module)) if module in ABSENT_MODULES:
                yield f"imports from {module}"
            case ast.Attribute(value=ast.Name(id="os"), attr=name) if name in ABSENT_FUNCTIONS:
                yield f"uses os.{name}"
            case ast.Constant(value=str(text)) if text.startswith(("/tmp", "/dev/", "/var/")):
                yield f"names {text}"
            case ast.Call(func=ast.Attribute(attr="get_context"), args=[ast.Constant(value=how)]):
                if how != "spawn":
                    yield f"starts processes by {how}"
            case ast.Call(func=ast.Attribute(attr="read_text"), args=[], keywords=[]):
                yield "reads text without saying its encoding"
            case ast.keyword(arg="shell", value=ast.Constant(value=True)):
                yield "asks for a shell"
            case _:
                pass


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_a_module_assumes_nothing_of_the_system(path: Path) -> None:
    assert list(assumptions(path.read_text("utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import resource",
        "from pwd import getpwuid",
        "import os\nos.kill(1, 0)",
        "import os\nos.geteuid()",
        "x = '/tmp/x'",
        "import multiprocessing as m\nm.get_context('fork')",
        "p.read_text()",
        "run('ls', shell=True)",
    ],
)
def test_an_assumption_is_noticed(source: str) -> None:
    assert list(assumptions(source))


def test_a_guarded_import_is_allowed() -> None:
    assert not list(assumptions("try:\n    import fcntl\nexcept ImportError:\n    fcntl = None"))
