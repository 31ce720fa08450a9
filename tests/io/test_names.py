"""Names of outputs: programs that ask a folder for three tissues find those and nothing else."""

from __future__ import annotations

import re

import pytest

from brainseg.io import names
from brainseg.tissues import tables

# What sMRIPrep 0.19 asks for (its io_spec.json, "baseline"): None is an entity that must be absent,
# one that is not named may be anything.
DSEG = {"space": None, "desc": None, "suffix": "dseg"}
TPMS = {"space": None, "label": ["GM", "WM", "CSF"], "suffix": "probseg"}


def answers(name: str, query: dict[str, object]) -> bool:
    *pairs, suffix = f"sub-01_{name}".split("_")
    entities: dict[str, str] = dict(p.split("-") for p in pairs) | {"suffix": suffix}
    return all(
        entities.get(key) in asked if isinstance(asked, list) else entities.get(key) == asked
        for key, asked in query.items()
    )


def written(table: tables.TissueTable) -> list[str]:
    """Return the stems of all maps of a scan that was segmented by this table."""
    return [
        names.LABELS,
        names.REGIONS,
        names.LESIONS,
        names.table_labels(table),
        *(names.responsibility(table, t) for t in table.tissues),
        *(names.fraction(t) for t in tables.THREE.tissues),
    ]


@pytest.mark.parametrize("name", ["six", "three", "intensity", "2", "12"])
def test_queries_for_three_tissues_find_one_label_map_and_three_maps(name: str) -> None:
    made = written(tables.table(name))
    assert len(set(made)) == len(made)
    assert [n for n in made if answers(n, DSEG)] == ["dseg"]
    found = {n for n in made if answers(n, TPMS)}
    assert found == {f"label-{t}_probseg" for t in ("GM", "WM", "CSF")}


@pytest.mark.parametrize("name", ["six", "three", "intensity", "4"])
def test_a_new_run_clears_every_name_also_those_of_earlier_versions(name: str) -> None:
    table = tables.table(name)
    endings = [f"{stem}.nii.gz" for stem in written(table)]
    endings += [re.sub("_desc-(posterior|prior)", "", e) for e in endings]
    endings += [f"seg-{name}_label-{t.abbreviation}_probseg.json" for t in table.tissues]
    assert [e for e in endings if not names.ENDING.fullmatch(e)] == []


def test_what_is_not_ours_stays() -> None:
    for ending in (
        "seg-true_dseg.nii.gz",
        "desc-manual_dseg.nii.gz",
        "label-GM_desc-my_probseg.nii",
    ):
        assert not names.ENDING.fullmatch(ending)
