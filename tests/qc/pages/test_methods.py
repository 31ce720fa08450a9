"""The methods text tells of this scan what was done to it, for every combination of options."""

from __future__ import annotations

import itertools

import pytest
from qc_heads import head, record

from brainseg.anatomy import prior as spatial
from brainseg.qc.pages import methods

CONTRASTS = ((), ("T2w",), ("T2w", "FLAIR"))
COMBINATIONS = list(
    itertools.product(
        ("six", "three", "intensity", "4", "6"), ("em", "n4", "none"),
        ("atlas", "tied", "none", "cohort"), (None, 0.0, 2.5), CONTRASTS, (False, True),
        (False, True),
    )
)  # fmt: skip


@pytest.fixture(scope="module")
def base() -> dict:
    return record(*head())


def is_named(table: str, prior: str) -> bool:
    return prior in ("atlas", "tied") and table != "4"


def told(base: dict, table, bias, prior, smooth, contrasts, seeded, placed) -> str:
    options = {"tissues": table, "bias": bias, "prior": prior, "smooth": smooth}
    content = base | {"options": options, "contrasts": list(contrasts), "seeded": seeded}
    content["warnings"] = [] if placed else [f"{methods.NOT_PLACED}; tissues rest on intensities"]
    if "FLAIR" in contrasts and is_named(table, prior):
        content["lesion_candidates_ml"] = 3.0
    return methods.paragraph(content)


def test_every_combination_is_told_as_it_is(base: dict) -> None:
    for table, bias, prior, smooth, contrasts, seeded, placed in COMBINATIONS:
        text = told(base, table, bias, prior, smooth, contrasts, seeded, placed)
        where = (table, bias, prior, smooth, contrasts, seeded, placed)
        named = is_named(table, prior)
        unnamed_seeds = seeded and not named
        assert ("labelled; these kept" in text) == unnamed_seeds, where
        assert ("the user had labelled" in text) == seeded, where
        found = not (seeded or named) and prior != "cohort"
        assert ("one start, found by K-means" in text) == found, where
        assert ("from one start" in text) == (not named), where
        assert ("K-means on the histogram with three, four and five" in text) == named, where
        assert ("tied to their tissues (the mean" in text) == named, where
        regional = table in ("six", "6") and named
        assert ("parted grey and white matter by region" in text) == regional, where
        pool = "head atlas, pooled with a network's map of the head, as spatial prior"
        assert (pool in text) == (named and prior == "atlas" and placed), where
        assert ("cohort" in text) == (prior == "cohort" and not seeded), where
        n4 = bias == "n4" or (unnamed_seeds and bias == "em")
        assert ("with N4" in text) == n4, where
        assert ("estimated together with the mixture" in text) == (bias == "em" and named), where
        assert ("No bias field was corrected" in text) == (bias == "none"), where
        assert ("Markov" in text) == (smooth != 0 and not unnamed_seeds), where
        assert ("strength 2.5" in text) == (smooth == 2.5 and not unnamed_seeds), where
        assert ("scan's noise" in text) == (named and smooth is None), where
        assert ("mutual information" in text) == bool(contrasts), where
        assert ("T2w" in text, "FLAIR" in text) == ("T2w" in contrasts, "FLAIR" in contrasts)
        assert ("lesion candidates" in text) == ("FLAIR" in contrasts and named), where
        assert "maximum likelihood" in text or "MAP" in text, where


def test_an_atlas_alone_is_told_as_such(base: dict) -> None:
    options = {"tissues": "six", "bias": "em", "prior": "atlas", "smooth": None}
    warnings = [spatial.UNCHECKED.format("brain stem 0.000 of the brain")]
    text = methods.paragraph(base | {"options": options, "warnings": warnings})
    assert "a registered head atlas as spatial prior" in text
    assert "pooled" not in text


def test_a_map_that_stands_in_for_the_atlas_is_told(base: dict) -> None:
    options = {"tissues": "six", "bias": "em", "prior": "atlas", "smooth": None}
    text = methods.paragraph(base | {"options": options, "warnings": [spatial.STAND_IN]})
    assert "and a network's map of the head as spatial prior" in text
    assert "registered head atlas as" not in text


def test_every_input_is_named_with_its_hash(base: dict) -> None:
    others = [
        {"role": "FLAIR", "name": "sub-01_FLAIR.nii.gz", "sha256": "a" * 64},
        {"role": "mask", "name": "mine.nii.gz", "sha256": "b" * 64},
    ]
    told = dict(methods.provenance(base | {"other_inputs": others}))
    assert told["FLAIR"] == f"sub-01_FLAIR.nii.gz, SHA-256 {'a' * 64}"
    assert told["mask"] == f"mine.nii.gz, SHA-256 {'b' * 64}"
    assert "mask" not in dict(methods.provenance(base))


def test_the_record_says_what_the_text_needs(base: dict) -> None:
    assert base["seeded"] is False
    assert base["contrasts"] == []
