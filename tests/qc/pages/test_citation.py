"""What to cite: every article that the methods name, and one paragraph for scans done alike."""

from __future__ import annotations

import inspect
import re

import pytest
from markupsafe import escape
from qc_heads import head, page_of, record

from brainseg.qc.pages import citation, methods


@pytest.fixture(scope="module")
def base() -> dict:
    return record(*head())


def test_every_article_that_a_paragraph_can_name_has_its_reference() -> None:
    named = set(re.findall(r"doi:(10\.[^\s,)\"]+)", inspect.getsource(methods)))
    assert {r.doi for r in citation.REFERENCES} == named


def test_scans_done_alike_share_a_paragraph(base: dict) -> None:
    n4 = base | {"options": base["options"] | {"bias": "n4"}}
    markdown, bibtex = citation.texts([base, base | {"n_iter": 99}, n4])
    assert "2 of 3 scans: The T1-weighted scan was segmented" in markdown
    assert "1 of 3 scans: " in markdown
    assert "iterations" not in markdown
    for key in ("dempster1977", "ashburner2005", "tustison2010"):
        assert f"@article{{{key}," in bibtex
    assert "fisch2024" not in bibtex
    assert f"version = {{{base['versions']['brainseg']}}}" in bibtex
    assert bibtex.count("{") == bibtex.count("}")
    assert "All scans: The T1" in citation.texts([base, base])[0]


def test_one_scan_has_the_paragraph_of_its_report(base: dict) -> None:
    markdown, bibtex = citation.texts([base])
    assert methods.paragraph(base) in markdown
    page = page_of(*head())
    assert escape(methods.paragraph(base)) in page
    assert escape(bibtex) in page


def test_a_flat_bias_field_is_told_from_the_record(base: dict) -> None:
    assert base["bias_flat"] is False
    assert "None stood out" not in methods.paragraph(base)
    assert "None stood out" in methods.paragraph(base | {"bias_flat": True})


def test_the_paragraph_says_how_well_volumes_repeat(base: dict) -> None:
    assert "volumes of one T1w scan repeated to 12 % (CSF), 6.2 % (grey" in methods.paragraph(base)


PERSON = {
    "sessions": [{"label": "1"}, {"label": "2"}], "brain": {"route": "fused"}, "converged": True,
    "warnings": [], "versions": {"brainseg": "0.2.0", "numpy": "2"},
    "options": {"tissues": "six", "bias": "em", "prior": "atlas", "smooth": None, "seed": 3},
}  # fmt: skip


def test_visits_of_a_person_are_told_as_they_were_done(base: dict) -> None:
    text = methods.paragraph(PERSON)
    assert text.startswith("2 T1-weighted scans of one person were segmented together with")
    assert "cerebellum" in text
    assert "each scan had a gain, an offset and a noise of its own" in text
    assert "registered head atlas, pooled" in text
    assert text.endswith("Random seed 3.")
    bibtex = citation.texts([PERSON])[1]
    for key in ("reuter2010", "lewis2004", "dempster1977", "ashburner2005"):
        assert f"@article{{{key}," in bibtex
    assert "1 of 2 results: 2 T1-weighted" in citation.texts([PERSON, base])[0]
    assert "All people: 2 T1-weighted" in citation.texts([PERSON, PERSON])[0]
