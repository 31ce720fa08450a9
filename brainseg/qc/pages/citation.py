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
        "fisch2024", "Fisch, Lukas and others",
        "deepbet: Fast brain extraction of T1-weighted MRI using Convolutional Neural Networks",
        "Computers in Biology and Medicine", 2024, "10.1016/j.compbiomed.2024.108845",
    ),
)  # fmt: skip
"""Every article that a methods paragraph can name."""


def texts(records: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Return what to cite for some scans, as Markdown and as BibTeX.

    Scans that were done alike share a paragraph, whatever the number of iterations.

    Parameters
    ----------
    records : sequence of Mapping
        From `brainseg.io.derivatives.record`, at least one.
    """
    alike = Counter(_without_counts(methods.paragraph(record)) for record in records)
    versions = sorted({record["versions"]["brainseg"] for record in records})
    named = [r for r in REFERENCES if any(r.doi in paragraph for paragraph in alike)]
    lines = ["# Methods", ""]
    for paragraph, n in alike.most_common():
        told = "All scans" if len(alike) == 1 else f"{n} of {len(records)} scans"
        lines += [f"{told}: {paragraph}", ""]
    lines += ["# References", "", f"- brainseg {', '.join(versions)} (software)"]
    lines += [f"- {reference.words()}" for reference in named]
    software = "".join(
        f"@software{{brainseg_{v},\n  author = {{{{The brainseg maintainers}}}},\n"
        f"  title = {{brainseg}},\n  version = {{{v}}}\n}}\n"
        for v in versions
    )
    return "\n".join(lines) + "\n", software + "".join(r.bibtex() for r in named)


def _without_counts(paragraph: str) -> str:
    return re.sub(r"; it (converged|was stopped) after \d+ iterations", r"; it \1", paragraph)
