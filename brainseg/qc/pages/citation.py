"""What to cite for a study: the methods of its scans as text, and the references as BibTeX."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from brainseg.qc.pages import methods


@dataclass(frozen=True)
class Reference:
    """An article: its key and entry in BibTeX, in words, and the DOI by which texts name it."""

    key: str
    authors: str
    title: str
    journal: str
    year: int
    doi: str

    def words(self) -> str:
        """Return the reference as a line of text."""
        authors = self.authors.replace(" and ", "; ")
        return f"{authors} ({self.year}). {self.title}. {self.journal}. doi:{self.doi}"

    def bibtex(self) -> str:
        """Return the entry; capitals of the title are kept."""
        return (
            f"@article{{{self.key},\n  author = {{{self.authors}}},\n"
            f"  title = {{{{{self.title}}}}},\n  journal = {{{self.journal}}},\n"
            f"  year = {{{self.year}}},\n  doi = {{{self.doi}}}\n}}\n"
        )


REFERENCES = (
    Reference(
        "dempster1977", "Dempster, A. P. and Laird, N. M. and Rubin, D. B.",
        "Maximum Likelihood from Incomplete Data via the EM Algorithm",
        "Journal of the Royal Statistical Society B", 1977, "10.1111/j.2517-6161.1977.tb01600.x",
    ),
    Reference(
        "ashburner2005", "Ashburner, John and Friston, Karl J.", "Unified segmentation",
        "NeuroImage", 2005, "10.1016/j.neuroimage.2005.02.018",
    ),
    Reference(
        "tustison2010", "Tustison, Nicholas J. and others", "N4ITK: Improved N3 Bias Correction",
        "IEEE Transactions on Medical Imaging", 2010, "10.1109/TMI.2010.2046908",
    ),
    Reference(
        "reuter2010", "Reuter, Martin and Rosas, H. Diana and Fischl, Bruce",
        "Highly accurate inverse consistent registration: A robust approach",
        "NeuroImage", 2010, "10.1016/j.neuroimage.2010.07.020",
    ),
    Reference(
        "lewis2004", "Lewis, Emma B. and Fox, Nick C.",
        "Correction of differential intensity inhomogeneity in longitudinal MR images",
        "NeuroImage", 2004, "10.1016/j.neuroimage.2004.07.055",
    ),
    Reference(
        "fisch2024", "Fisch, Lukas and others",
        "deepbet: Fast brain extraction of T1-weighted MRI using Convolutional Neural Networks",
        "Computers in Biology and Medicine", 2024, "10.1016/j.compbiomed.2024.108845",
    ),
)  # fmt: skip
"""Every article that a methods paragraph can name."""


def texts(records: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Return what to cite for some scans, as Markdown and as BibTeX.

    Scans that were done alike share a paragraph, whatever the number of iterations. One scan has
    the paragraph of its report.

    Parameters
    ----------
    records : sequence of Mapping
        As `brainseg.qc.pages.methods.paragraph` takes them, at least one.
    """
    paragraphs = [methods.paragraph(record) for record in records]
    alone = len(records) == 1
    alike = Counter(paragraphs if alone else map(_without_counts, paragraphs))
    versions = sorted({record["versions"]["brainseg"] for record in records})
    named = [r for r in REFERENCES if any(r.doi in paragraph for paragraph in alike)]
    lines = ["# Methods", ""]
    what = _called(records)
    for paragraph, n in alike.most_common():
        told = f"All {what}: " if len(alike) == 1 else f"{n} of {len(records)} {what}: "
        lines += [paragraph if alone else told + paragraph, ""]
    lines += ["# References", "", f"- brainseg {', '.join(versions)} (software)"]
    lines += [f"- {reference.words()}" for reference in named]
    software = "".join(
        f"@software{{brainseg_{v},\n  author = {{{{The brainseg maintainers}}}},\n"
        f"  title = {{brainseg}},\n  version = {{{v}}}\n}}\n"
        for v in versions
    )
    return "\n".join(lines) + "\n", software + "".join(r.bibtex() for r in named)


def _called(records: Sequence[Mapping[str, Any]]) -> str:
    people = sum(map(methods.is_person, records))
    if people in (0, len(records)):
        return "people" if people else "scans"
    return "results"


def _without_counts(paragraph: str) -> str:
    return re.sub(r"; it (converged|was stopped) after \d+ iterations", r"; it \1", paragraph)
