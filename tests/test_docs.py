"""The site's parts that are made from the code, and the check of its links; nothing is built."""

from __future__ import annotations

import json
import re
import shutil
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS / "_ext"))

import check_site  # noqa: E402
import evaluate_all  # noqa: E402
import evaluation_peers  # noqa: E402
import evidence_page  # noqa: E402
import numpy as np  # noqa: E402
import parts  # noqa: E402

from brainseg import errors  # noqa: E402
from brainseg.cli.main import _parser  # noqa: E402
from brainseg.config import TABLES  # noqa: E402
from brainseg.qc.measure.numbers import NUMBERS  # noqa: E402
from brainseg.qc.measure.verdict import RANGES  # noqa: E402


def test_every_option_of_every_command_has_a_row() -> None:
    text = parts.commands()
    parser, names = _parser()
    for name in names:
        assert f"## {name}\n" in text
        command = parser._subparsers._group_actions[0].choices[name]  # type: ignore[union-attr]
        for option in command._option_string_actions:
            assert option in ("-h", "--help", "--version") or f"`{option}`" in text


def test_an_option_says_its_default_once_and_an_example_can_be_pasted() -> None:
    text = parts.commands()
    assert "| `-o`, `--out` `OUT` | folder for the results (**required**) |" in text
    assert "| how the brain is found (default: fused, the mean of network and atlas) |" in text
    assert "| one or three sizes (default: 1.5) |" in text
    assert "from `group --cohort-model`; replaces `--prior` |" in text
    assert "```bash\nbrainseg phantom -o OUT --noise 5 --bias 40\n```" in text


def test_every_table_of_tissues_is_told_with_its_colours() -> None:
    text = parts.tissue_tables()
    assert all(f"## {name}\n" in text for name in TABLES)
    assert (
        '<span class="swatch" style="background: #e88a1a"></span>&nbsp;Grey matter | `GM`' in text
    )


def test_every_number_rule_and_code_has_a_row() -> None:
    numbers, rules, codes = parts.quality_numbers(), parts.verdict_rules(), parts.exit_codes()
    assert all(f"`{n.key}`" in numbers for n in NUMBERS)
    assert all(f"| `{r.key}` |" in rules for r in RANGES)
    assert f"| `{errors.InternalError.__name__}` |" in codes
    for error in errors.BrainsegError.__subclasses__():
        assert f"| {error.exit_code} |" in codes


def test_a_limit_is_told_on_its_own_side() -> None:
    assert parts._range((float("-inf"), 0.5)) == "above 0.5"
    assert parts._range((2, float("inf"))) == "below 2"
    assert parts._range((2, 3)) == "2 to 3"
    assert parts._words("CJV {:.2f} of {:.0%}") == "CJV … of …"


def test_a_table_keeps_its_columns() -> None:
    assert parts.table(["a", "b"], [["x|y", "two\nlines"]]).count("\n| x\\|y | two lines |") == 1


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda p: p.name)
def test_links_between_sources_lead_to_a_source(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        if re.match(r"https?:", link) or "_made/" in link or "reports/" in link:
            continue
        # Tutorials are pages made from scripts.
        source = (page.parent / link.replace("learn/", "tutorials/")).with_suffix("")
        found = [source.with_suffix(s) for s in (".md", ".py")]
        assert any(f.exists() for f in found) or source.name == "index", link


def test_the_parts_that_pages_ask_for_exist() -> None:
    for page in DOCS.rglob("*.md"):
        for name in re.findall(
            r"^\s*```\{generated\} (\S+)$", page.read_text("utf-8"), re.MULTILINE
        ):
            assert callable(getattr(parts, name.replace("-", "_"))), name


def test_dead_links_and_fetched_things_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here">ok</a><a href="b.html#there">x</a><a href="c.html">y</a>'
        '<a href="https://example.org">away</a><script src="https://cdn.example.org/x.js"></script>'
    )
    (tmp_path / "b.html").write_text('<p id="here">')
    (tmp_path / "s.css").write_text("@import 'x';")
    assert check_site.faults(tmp_path) == [
        "a.html: fetches https://cdn.example.org/x.js",
        "a.html: b.html#there: no such place in that page",
        "a.html: c.html: no such file",
        "s.css: fetches from elsewhere",
    ]


def test_the_figures_of_the_readme_are_those_of_the_evidence_page() -> None:
    figures = evidence_page.read(DOCS / "evidence")
    block = evidence_page.MARK.search((ROOT / "README.md").read_text("utf-8"))
    assert block is not None
    assert block[0] == block[1] + evidence_page.readme(figures) + block[2]


def test_what_was_not_measured_says_so() -> None:
    row = evidence_page.Figure("a", "d", "s", "t", "Dice", None)
    assert "not measured" in evidence_page.table([row])
    assert evidence_page.dots([row], "Dice") == ""
    seen = [replace(row, value=0.9), replace(row, subject="s2", value=0.8), row]
    assert "0.850\u00a0/ 0.800 (2 of 3 scans)" in evidence_page.table(seen)
    assert evidence_page.dots(seen, "Dice").count("<circle") == 2


def test_an_axis_holds_every_dot() -> None:
    for least, most in ((0.81, 0.97), (0.994, 0.998), (0.2, 1.0)):
        low, high, step = evidence_page.axis(least, most, capped=True)
        assert low <= least
        assert high == 1.0
        assert 1 <= (high - low) / step <= 6
    low, high, _ = evidence_page.axis(3.0, 88.0, capped=False)
    assert low <= 3.0 < 88.0 <= high


def test_classes_of_other_tools_are_numbered_from_dark_to_bright() -> None:
    labels = np.array([3, 3, 1, 7, 0], np.uint8)
    data = np.array([5.0, 7.0, 1.0, 9.0, 0.0])
    assert evaluation_peers.in_order(labels, data).tolist() == [2, 2, 1, 3, 0]


def test_every_step_of_the_evaluation_has_a_file_of_its_own_and_a_row() -> None:
    steps = list(evaluate_all.plan())
    assert len({step.file for step in steps}) == len(steps)
    told = {(f.area, f.data, f.subject, f.tool) for f in evidence_page.read(DOCS / "evidence")}
    assert told == {(s.area, s.data, s.subject, s.tool) for s in steps}


def test_a_figure_that_was_not_measured_anew_keeps_its_value_and_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, steps = tmp_path / "evidence", tmp_path / "steps"
    shutil.copytree(DOCS / "evidence", page)
    shutil.copy(ROOT / "README.md", tmp_path)
    steps.mkdir()
    for name, path in (("PAGE", page), ("STEPS", steps), ("ROOT", tmp_path)):
        monkeypatch.setattr(evaluate_all, name, path)
    before = evidence_page.read(page)
    evaluate_all.gather(Namespace(peers=[]))
    assert evidence_page.read(page) == before
    step = next(s for s in evaluate_all.plan() if s.area == "cost")
    step.file.write_text(json.dumps({"processor seconds": 7, "peak memory (GB)": 0.5}))
    evaluate_all.gather(Namespace(peers=[]))
    changed = {f.place: f.value for f in evidence_page.read(page) if f not in before}
    assert {place[-1]: value for place, value in changed.items()} == {
        "processor seconds": 7.0, "peak memory (GB)": 0.5,
    }  # fmt: skip
    assert "took 7 s of one processor" in (tmp_path / "README.md").read_text("utf-8")
