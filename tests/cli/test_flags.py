"""Errors name arguments; the command line turns them into its options."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import brainseg
from brainseg.cli.flags import in_flags
from brainseg.cli.main import main

ROOT = Path(brainseg.__file__).parent
BELOW = [p for p in sorted(ROOT.rglob("*.py")) if "cli" not in p.relative_to(ROOT).parts]
# Of another program.
FOREIGN = {"--raw"}


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("`tissues`: 'x' is not known", "--tissues: 'x' is not known"),
        ("`brain_extraction` deepbet", "--brain-extraction deepbet"),
        ("choose one by `index`, 0 to 3", "choose one by --volume, 0 to 3"),
        ("choose another `out`", "choose another -o"),
        ("`FLAIR`: is empty", "--flair: is empty"),
        (
            "it`s.nii is no image, not even `two words`",
            "it`s.nii is no image, not even `two words`",
        ),
    ],
)
def test_arguments_become_options(message: str, told: str) -> None:
    assert in_flags(message) == told


@pytest.mark.parametrize("path", BELOW, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_message_below_the_command_line_speaks_of_options(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and node.exc is not None:
            said = ast.unparse(node.exc)
            options = set(re.findall(r"--[a-z][a-z-]+", said)) - FOREIGN
            assert not options, f"{path.name}:{node.lineno} names {options}"


def test_the_program_tells_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "absent.nii", "-o", "x", "--tissues", "seven"]) == 64
    assert "error: --tissues: 'seven' is not known" in capsys.readouterr().err
