"""What to cite: every article that the methods name, and one paragraph for scans done alike."""

from __future__ import annotations

import inspect
import re

import pytest
from qc_heads import head, record

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
    assert "All scans: " in citation.texts([base])[0]
