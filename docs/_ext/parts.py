"""Parts of pages that are made from the code: options, numbers, limits, codes, files.

Each function returns Markdown for the directive ``{generated}``. What a person has to write (what a
file means) stands in `files`; what the code knows is asked of the code.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import evidence_page
import files
import prepare

from brainseg import errors
from brainseg.batch import group
from brainseg.cli.main import _parser
from brainseg.config import TABLES
from brainseg.qc.measure import quality, verdict, volumes
from brainseg.qc.measure.numbers import NUMBERS
from brainseg.qc.pages import citation, methods
from brainseg.qc.review import ratings
from brainseg.tissues import tables

EVIDENCE = prepare.ROOT / "docs" / "evidence"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay rows out as a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell(c) for c in line) + " |" for line in lines) + "\n\n"


def cell(text: str) -> str:
    """Keep a text within its cell."""
    return " ".join(str(text).replace("|", "\\|").split())


def code(text: object) -> str:
    """Write a word as code."""
    return f"`{text}`"


# Commands -------------------------------------------------------------------------------------


def commands() -> str:
    """Every command with its options, as the parser knows them."""
    parser, _ = _parser()
    choices = parser._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    return "".join(_command(name, command) for name, command in choices.items())


def _command(name: str, parser: argparse.ArgumentParser) -> str:
    usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
    text = f"({'command-' + name})=\n## {name}\n\n{parser.description}\n\n"
    text += f"```text\n{_wrapped(usage)}\n```\n\n"
    if parser.epilog:
        text += f"```bash\n{parser.epilog.removeprefix('Example: ')}\n```\n\n"
    for part in parser._action_groups:
        actions = [a for a in part._group_actions if a.help != argparse.SUPPRESS]
        rows = [_option(a) for a in actions if a.dest not in ("help", "version")]
        if rows:
            title = (part.title or "").replace("positional arguments", "arguments")
            text += f"**{title[:1].upper()}{title[1:]}**\n\n"
            text += table(["option", "what it does"], rows)
    return text


def _option(action: argparse.Action) -> list[str]:
    metavar = action.metavar
    shown = "" if isinstance(metavar, tuple) else str(metavar or "")
    if not action.option_strings:
        return [code(shown or action.dest), action.help or ""]
    if action.choices is not None:
        shown = "{" + ", ".join(map(str, action.choices)) + "}"
    elif not shown and action.nargs != 0:
        shown = action.dest.upper()
    names = ", ".join(code(o) for o in action.option_strings)
    value = f" {code(shown)}" if shown else ""
    told = (action.help or "") % {"default": action.default}
    if action.required:
        told += " (**required**)"
    elif "default" not in told:
        told += _default(action.default)
    return [names + value, _options_as_code(told)]


def _options_as_code(text: str) -> str:
    """Write the options that a text names as code: elsewhere two hyphens become a dash."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"--[a-z-]+", lambda found: code(found[0]), part) for part in parts[::2]]
    return "`".join(parts)


def _default(value: object) -> str:
    if value in (None, False, [], argparse.SUPPRESS, ""):
        return ""
    shown = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f" (default: {shown})"


def _wrapped(usage: str, width: int = 78) -> str:
    lines, line = [], ""
    for word in usage.split(" "):
        if len(line) + len(word) >= width:
            lines.append(line)
            line = "   "
        line = f"{line} {word}" if line else word
    return "\n".join([*lines, line])


# Exit codes, quality numbers, verdicts, tissues -----------------------------------------------


def exit_codes() -> str:
    """The codes that the program ends with."""
    found = {0: ("", "Done. The verdict may still be Look or Fail: read it, or give "
                 "`--fail-on-verdict`.")}  # fmt: skip
    found[1] = (errors.BrainsegError.__name__, "A study whose failures have several reasons.")
    for error in vars(errors).values():
        if isinstance(error, type) and error.__base__ is errors.BrainsegError:
            found[error.exit_code] = (error.__name__, (error.__doc__ or "").splitlines()[0])
    found[130] = ("", "Interrupted by Ctrl-C; what was complete is kept.")
    found[143] = ("", "Ended by SIGTERM; what was complete is kept.")
    rows = [[str(n), says, code(e) if e else ""] for n, (e, says) in sorted(found.items())]
    return table(["code", "what it means", "in Python"], rows)


def quality_numbers() -> str:
    """Every quality number: key, formula, direction, source."""
    limits = {r.key for r in verdict.RANGES}
    groups: dict[str, list[list[str]]] = {}
    for n in NUMBERS:
        source = f" ([doi:{n.doi}](https://doi.org/{n.doi}))" if n.doi else ""
        judged = "[yes](verdicts.md)" if n.key in limits else ""
        groups.setdefault(n.group, []).append(
            [f"{n.name}<br>{code(n.key)}", n.what + source, n.better, judged]
        )
    head = ["number", "formula", "better", "judged"]
    return "".join(
        f"## {title.partition(' (')[0]}\n\n{table(head, rows)}" for title, rows in groups.items()
    )


def constants() -> str:
    """Constants that the formulas use."""
    return table(
        ["constant", "value", "used for"],
        [
            ["pure voxel", f"{quality.PURE:g}", "share from which a voxel stands for a tissue"],
            ["MAD to SD", f"{quality.MAD_TO_SD:g}", "every median absolute deviation"],
            ["Dietrich's factor", f"{quality.DIETRICH:.4f}", "noise of air as noise of tissue"],
            ["rim", f"{quality.RIM_MM:g} mm", "the numbers of the mask's edge"],
            ["bone", f"{quality.BONE:g} of grey matter", "below it an edge is as dark as bone"],
        ],
    )  # fmt: skip


def verdict_rules() -> str:
    """Every automatic check with its limits."""
    rows = []
    for r in verdict.RANGES:
        hints = r.low or r.high
        if r.low and r.high and r.low != r.high:
            hints = f"below: {r.low}<br>above: {r.high}"
        rows.append([code(r.key), _words(r.text), _range(r.look), _range(r.fail), hints])
    return table(["number", "says", "Look outside", "Fail outside", "asks"], rows)


def essential() -> str:
    """The numbers without which nothing is judged."""
    return ", ".join(code(k) for k in verdict.ESSENTIAL) + "\n\n"


def _words(text: str) -> str:
    """Show a sentence with its number left open."""
    out, inside = "", False
    for letter in text:
        if letter == "{":
            inside, out = True, out + "…"
        elif letter == "}":
            inside = False
        elif not inside:
            out += letter
    return out


def _range(limits: tuple[float, float]) -> str:
    low, high = limits
    if math.isinf(low) and math.isinf(high):
        return ""
    if math.isinf(low):
        return f"above {high:g}"
    if math.isinf(high):
        return f"below {low:g}"
    return f"{low:g} to {high:g}"


def tissue_tables() -> str:
    """The label values of every table."""
    text = ""
    for name in TABLES:
        text += f"## {name}\n\n"
        rows = [
            [str(t.index), f"{_swatch(t.colour)}&nbsp;{t.name}", code(t.abbreviation),
             t.parent or "n/a", "n/a" if t.bids is None else str(t.bids), t.colour]
            for t in tables.table(name).by_value
        ]  # fmt: skip
        head = ["value", "tissue", "abbreviation", "merges into", "BIDS common label", "colour"]
        text += table(head, rows)
    return text


def _swatch(colour: str) -> str:
    """Show a colour."""
    return f'<span class="swatch" style="background: {colour}"></span>'


# Files ----------------------------------------------------------------------------------------


def outputs() -> str:
    """The files of one scan: what the table says, and whether the example's run wrote them."""
    return table(["file", "what it is"], files.rows(prepare.example()))


def volume_columns() -> str:
    """The columns of the table of volumes."""
    return table(
        ["column", "what it is", "unit"],
        [[code(k), what, unit] for k, (what, unit) in volumes.COLUMNS.items()],
    )


def group_columns() -> str:
    """The columns of a study's table."""
    rows = [[code(k), what, unit] for k, (what, unit) in group.COLUMNS.items()]
    for column, first in group.STRUCTURE.items():
        structure = "lesions" if column == "count" else "GM"
        told = f"{code(column)} in the row {code(structure)} of the scan's {code('volumes.tsv')}"
        rows.append([code(f"{first}_{structure}"), told, volumes.COLUMNS[column][1]])
    rows.append([code("z_volume_GM"), "Robust z of that volume within a study of five or more", ""])
    rows.append([code("cjv"), "and every other [quality number](quality.md), by its key", ""])
    return table(["column", "what it is", "unit"], rows)


def rating_columns() -> str:
    """The columns of the table of ratings, and the words it may hold."""
    words = ", ".join(code(r) for r, _ in ratings.RATINGS)
    tags = ", ".join(code(t) for t in ratings.TAGS)
    columns = ", ".join(code(c) for c in ratings.COLUMNS)
    return f"Columns: {columns}.\n\nRatings: {words}.\n\nTags: {tags}.\n\n"


def sample_volumes() -> str:
    """The example's table of volumes, in part."""
    lines = (prepare.example() / "phantom_volumes.tsv").read_text().splitlines()
    head, *rows = [line.split("\t")[:3] for line in lines]
    return table(head, [row for row in rows if "_" not in row[0]])


def report_pictures() -> str:
    """The parts of a report, and what to look for in each, as the report itself says."""
    from bs4 import BeautifulSoup  # tests, which have it not, import this module

    page = BeautifulSoup((prepare.example() / "phantom_report.html").read_text(), "html.parser")
    rows = []
    for part in page.select("section"):
        title, look = part.find("h2"), part.find(class_="look-for")
        if title is not None and look is not None:
            rows.append([f"**{title.get_text()}**", look.get_text()])
    if not rows:
        raise LookupError("the report says nowhere what to look for: has its page changed?")
    return table(["picture", "what to look for"], rows)


def study_picture() -> str:
    """The top of the page of the tutorial's study; nothing where no browser drew it."""
    if not (prepare.ROOT / "docs" / "_made" / "study.png").exists():
        return ""
    return (
        "![The page of a study of four scans: verdicts, the odd numbers, and every number of every "
        "scan](../_made/study.png)\n\n"
    )


def sample_quality() -> str:
    """The beginning of the example's quality file."""
    content = json.loads((prepare.example() / "phantom_desc-quality_T1w.json").read_text())
    kept = {
        k: content[k] for k in ("verdict", "reasons", "cnr", "cjv", "map_distance_mm", "brain_ml")
    }
    return "```json\n" + json.dumps(kept, indent=2) + "\n```\n\n"


def sample_record() -> str:
    """The example's record, its long lists left out."""
    content = _record()
    short = ("converged", "n_iter", "volumes_ml", "volume_errors_ml", "brain", "warnings",
             "options", "seed", "input")  # fmt: skip
    kept = {k: content[k] for k in short if k in content}
    return "```json\n" + json.dumps(kept, indent=2) + "\n```\n\n"


# Texts to take along --------------------------------------------------------------------------


def methods_text() -> str:
    """The paragraph that the example's report offers for a paper."""
    return "> " + methods.paragraph(_record()) + "\n\n"


def bibtex() -> str:
    """What to cite for the example, as a study's CITATION.bib has it."""
    return "```bibtex\n" + citation.texts([_record()])[1] + "```\n\n"


def _record() -> dict[str, Any]:
    text = (prepare.example() / "phantom_desc-brainseg_mixture.json").read_text()
    record: dict[str, Any] = json.loads(text)
    return record


# Evidence -------------------------------------------------------------------------------------


def evidence_about() -> str:
    """On what the figures were measured."""
    told = evidence_page.about(EVIDENCE)
    peers = ", ".join(f"{name} {v}" for name, v in told["peers"].items())
    dates = sorted({f.date for f in evidence_page.read(EVIDENCE)} - {""})
    when = f"on {dates[0]}" if len(dates) == 1 else f"from {dates[0]} to {dates[-1]}"
    return (
        f"Measured {when} with brainseg {told['brainseg']}, Python {told['python']}"
        f"{', ' + peers if peers else ''}, on one thread of: {told['processor']}.\n\n"
    )


def evidence_oasis() -> str:
    """Tissues beside manual labels."""
    return _evidence("tissues", "OASIS", "Dice GM+sulci", "Dice WM")


def evidence_simulated() -> str:
    """Tissues beside truths that come with an image."""
    figures = evidence_page.read(EVIDENCE)
    chosen = [f for f in evidence_page.area(figures, "tissues") if f.data != "OASIS"]
    return evidence_page.section(chosen, "Dice GM")


def evidence_mask() -> str:
    """Brain masks."""
    figures = evidence_page.area(evidence_page.read(EVIDENCE), "brain mask")
    turned = [
        replace(f, measure="Dice, T1w" if "T1" in f.subject else "Dice, T2w and FLAIR")
        for f in figures
    ]
    return evidence_page.section(turned, *evidence_page.unique(turned, "measure"))


def evidence_anatomy() -> str:
    """Regions of the table of six."""
    figures = evidence_page.area(evidence_page.read(EVIDENCE), "anatomy")
    names = {t.abbreviation: t.name for t in tables.SIX.tissues}
    names["CWM"] = "White matter of the cerebrum"
    # A row a region reads better than a tool with many columns.
    turned = [
        replace(f, tool=names[f.measure.removeprefix("Dice ")], measure=f"Dice, {f.tool}")
        for f in figures
    ]
    return evidence_page.section(turned, *evidence_page.unique(turned, "measure"))


def evidence_head() -> str:
    """The tissues of the whole head: a row a tissue, a column a set of scans."""
    figures = evidence_page.area(evidence_page.read(EVIDENCE), "whole head")
    names = {t.abbreviation: t.name for t in tables.HEAD.tissues}
    turned = []
    for f in figures:
        tissue, _, how = f.measure.removeprefix("Dice ").partition(" ")
        named = f"{names[tissue]}, {how}" if how else names[tissue]
        turned.append(replace(f, tool=named, measure=f"Dice, {f.data}"))
    return evidence_page.section(turned, *evidence_page.unique(turned, "measure"))


def evidence_visits() -> str:
    """Two scans of one person."""
    return _evidence("two visits", None)


def evidence_cost() -> str:
    """Time and memory."""
    return _evidence("cost", None)


def evidence_robustness() -> str:
    """Masks of spoiled scans."""
    figures = evidence_page.area(evidence_page.read(EVIDENCE), "robustness")
    turned = [
        replace(
            f,
            subject=f.subject.partition(", ")[0],
            tool=_spoiling(f.subject.partition(", ")[2]),
            measure=f"Dice, {f.tool}",
        )
        for f in figures
    ]
    return evidence_page.section(turned, *evidence_page.unique(turned, "measure"))


def _spoiling(name: str) -> str:
    """Say what was done to a scan; a turn has its unit."""
    turned, _, axis = name.partition(" about ")
    return f"{turned}° about {axis}" if axis else name


def _evidence(area: str, data: str | None, *measures: str) -> str:
    figures = evidence_page.area(evidence_page.read(EVIDENCE), area, data)
    return evidence_page.section(figures, *measures)
