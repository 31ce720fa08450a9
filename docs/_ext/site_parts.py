"""What Sphinx does not bring: parts made from the code, the report's picture, MathML."""

from __future__ import annotations

import shutil
from typing import Any

import draw_report
import parts
import prepare
from docutils import nodes
from docutils.utils.math import latex2mathml
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Generated(SphinxDirective):
    """``{generated} NAME``: Markdown that the function NAME of `parts` returns."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Parse the part as if it stood in the page."""
        # What the code says may have changed though the page has not.
        self.env.note_reread()
        text = getattr(parts, self.arguments[0].replace("-", "_"))()
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def inline_math(self: Any, node: nodes.math) -> None:
    """Write a formula within a line."""
    self.body.append(mathml(node.astext(), block=False))
    raise nodes.SkipNode


def block_math(self: Any, node: nodes.math_block) -> None:
    """Write a formula of its own."""
    self.body.append(f'<div class="math">{mathml(node.astext(), block=True)}</div>')
    raise nodes.SkipNode


def mathml(formula: str, *, block: bool) -> str:
    """Turn TeX into MathML, which browsers draw without a script or a font from elsewhere."""
    tree = latex2mathml.tex2mathml(formula, as_block=block)
    return "".join(tree) if isinstance(tree, list) else str(tree)


def mark_options(app: Sphinx, doctree: nodes.document) -> None:
    """Mark what is an option of the program, which is not to be broken into two lines."""
    for literal in doctree.findall(nodes.literal):
        words = literal.astext()
        if words.startswith("-") and (" " not in words or len(words) <= 24):
            literal["classes"].append("option")


def draw_example(app: Sphinx) -> None:
    """Put the picture of the example's report where pages can show it."""
    made = app.srcdir / "_made"
    made.mkdir(exist_ok=True)
    report = prepare.example() / "phantom_report.html"
    if not draw_report.draw(report, made / "report.png"):
        shutil.copy(app.srcdir / "report.png", made / "report.png")


def show_results(app: Sphinx) -> None:
    """Show what the tutorials made: the study's page as a picture, the visits' page as it is."""
    visits = app.srcdir / "tutorials" / "visits" / "out" / "sub-01_long.html"
    shutil.copy(visits, prepare.EXTRA / "reports" / "two-visits.html")
    # The picture is left out where there is no browser.
    page = app.srcdir / "tutorials" / "study" / "derivatives" / "group_T1w.html"
    draw_report.draw(page, app.srcdir / "_made" / "study.png")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_directive("generated", Generated)
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    app.connect("doctree-read", mark_options)
    app.connect("builder-inited", draw_example, priority=100)
    # The tutorials run at 500, where nothing else is said.
    app.connect("builder-inited", show_results, priority=900)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
