"""How unusual a volume is within its study: what is accounted for, and what is not."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from brainseg.batch import group, norms
from brainseg.errors import DataError, NoInputError, NothingMatchedError


def study(n: int = 40, seed: int = 0) -> list[dict]:
    """Return rows whose grey matter follows head size, age and sex."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        sex, age = "FM"[i % 2], float(rng.uniform(20, 80))
        tiv = 1400 + 130 * (sex == "M") + rng.normal(0, 90)
        grey = 0.45 * tiv - 2.0 * (age - 50) + rng.normal(0, 8)
        rows.append(
            {"scan": f"sub-{i:02d}", "volume_tiv": tiv, "volume_GM": grey, "age": age, "sex": sex}
        )
    return rows


def test_what_head_size_and_age_explain_is_not_unusual_and_what_they_do_not_is() -> None:
    rows = study()
    big = 7
    rows[big]["volume_tiv"] += 400  # a large head with the grey matter that belongs to it
    rows[big]["volume_GM"] += 0.45 * 400
    rows[11]["volume_GM"] -= 90  # lost, whatever the head
    found = norms.norms(rows, ["volume_tiv", "volume_GM"])
    assert found.adjusted == ("TIV", "age", "sex")
    assert abs(found.z["sub-07"]["volume_GM"]) < 3.5
    assert found.z["sub-07"]["volume_tiv"] > 3.5
    assert found.z["sub-11"]["volume_GM"] < -6
    others = [z["volume_GM"] for s, z in found.z.items() if s != "sub-11"]
    # A normal sample of 39 has its robust sd within 30 % of 1.
    assert 0.7 < np.std(others) < 1.3


def test_few_scans_are_compared_without_adjusting_and_fewer_not_at_all() -> None:
    few = norms.norms(study(7), ["volume_GM"])
    assert few.adjusted == ()
    assert any("fewer than 10" in note for note in few.notes)
    assert len(few.z["sub-00"]) == 1
    assert norms.norms(study(4), ["volume_GM"]).z["sub-00"] == {}


def test_a_covariate_that_few_scans_have_is_left_out_and_said() -> None:
    rows = study(20)
    for row in rows[:8]:
        row["age"] = None
    found = norms.norms(rows, ["volume_GM"])
    assert found.adjusted == ("TIV", "sex")
    assert found.notes == ("age is known of 12 of 20 scans: not used",)


def test_a_volume_that_is_the_same_in_all_scans_has_no_z() -> None:
    rows = [{"scan": f"s{n}", "volume_GM": 600.0} for n in range(12)]
    assert all(z == {} for z in norms.norms(rows, ["volume_GM"]).z.values())


def test_participants_are_read_and_joined_and_do_not_replace_our_columns(tmp_path: Path) -> None:
    path = tmp_path / "participants.tsv"
    path.write_text(
        "participant_id\tage\tsex\tgroup\tscan\n01\t61\tF\tpatient\tx\nsub-02\tn/a\tM\tcontrol\ty\n"
    )
    told = norms.read_participants(path)
    rows: list[dict] = [{"participant_id": f"sub-0{n}", "scan": f"sub-0{n}"} for n in (1, 2, 3)]
    group.join(rows, told)
    assert (rows[0]["age"], rows[0]["group"], rows[0]["scan"]) == (61, "patient", "sub-01")
    assert (rows[1]["age"], rows[2]["group"]) == (None, None)


def test_a_participants_file_that_is_none_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "participants.tsv"
    with pytest.raises(NoInputError, match="cannot be read"):
        norms.read_participants(path)
    path.write_text("id\tage\n1\t2\n")
    with pytest.raises(DataError, match="no column participant_id"):
        norms.read_participants(path)


def test_participants_are_found_through_the_link_of_the_derivatives(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    out.mkdir()
    (out / "dataset_description.json").write_text(json.dumps({"DatasetLinks": {"raw": "../raw"}}))
    assert norms.find_participants(out) is None
    (raw / "participants.tsv").write_text("participant_id\n")
    found = norms.find_participants(out)
    assert found is not None
    assert found.samefile(raw / "participants.tsv")


def plain_run(folder: Path, name: str, grey: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    record = {"brain": {"route": "given", "confidence": None}, "converged": True, "n_iter": 4,
              "log_likelihood": [-4.0], "warnings": []}  # fmt: skip
    (folder / f"{name}_desc-brainseg_mixture.json").write_text(json.dumps(record))
    (folder / f"{name}_desc-quality_T1w.json").write_text(json.dumps({"verdict": "pass", "cjv": 1}))
    (folder / f"{name}_volumes.tsv").write_text(
        "structure\tname\tvolume_ml\tleft_ml\ttiv_fraction\tcount\n"
        f"GM\tGrey matter\t{grey}\tn/a\t0.4\tn/a\nlesions\tLesions\t3.5\t1.0\t0.002\t7\n"
    )


def test_plain_runs_become_one_table_that_is_read_without_help(tmp_path: Path) -> None:
    plain_run(tmp_path, "head", 601.5)
    plain_run(tmp_path / "second", "head", 640.0)
    plain_run(tmp_path / "second" / ".hidden", "head", 1.0)
    rows = group.collect(tmp_path)
    assert [r["scan"] for r in rows] == ["head", "second/head"]
    assert (rows[0]["volume_GM"], rows[0]["count_lesions"], rows[0]["status"]) == (601.5, 7, "done")
    rows[1]["volume_GM"] = None
    table, dictionary = group.write_table(tmp_path, rows)
    with table.open() as stream:
        read = list(csv.DictReader(stream, delimiter="\t"))
    assert read[1]["volume_GM"] == "NA"
    told = json.loads(dictionary.read_text())
    assert list(told) == list(read[0])
    assert told["volume_GM"]["Units"] == "mL"
    assert told["count_lesions"]["Description"].startswith("lesions: Number of lesions")


def test_an_empty_folder_has_no_table(tmp_path: Path) -> None:
    with pytest.raises(NothingMatchedError, match="no finished scan"):
        group.collect(tmp_path)
