"""The table of a study answers what a study asks, a line of pandas each: the lines of the docs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from brainseg.batch import group, norms
from brainseg.batch.ledger import Entry, Failure, Ledger
from brainseg.qc.measure import volumes
from brainseg.qc.measure.volumes import Row

pandas = pytest.importorskip("pandas")
DOCS = Path(__file__).parents[2] / "docs" / "start" / "first-study.md"
N = 30


def write_scan(out: Path, name: str, rows: list[Row], distance: float) -> None:
    folder = out / name / "anat"
    folder.mkdir(parents=True)
    (folder / f"{name}_volumes.tsv").write_text(volumes.as_tsv(rows))
    quality = {"verdict": "fail" if distance > 3 else "pass", "map_distance_mm": distance}
    (folder / f"{name}_desc-quality_T1w.json").write_text(json.dumps(quality))
    record = {"converged": True, "brain": {"route": "fused"}, "warnings": []}
    (folder / f"{name}_desc-brainseg_mixture.json").write_text(json.dumps(record))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Thirty scans: patients have less grey matter, five bad masks, one large head, one failure."""
    out = tmp_path / "out"
    rng = np.random.default_rng(30)
    told = ["participant_id\tage\tsex\tgroup"]
    for n in range(1, N + 1):
        name, patient = f"sub-{n:02d}", n > N // 2
        told.append(f"{name}\t{30 + n}\t{'FM'[n % 2]}\t{'patient' if patient else 'control'}")
        if n == N:
            failed = Failure(65, "the voxels cannot be read")
            Ledger(out).write(Entry(f"{name}_T1w", "failed", None, {}, "0", "r", error=failed))
            continue
        tiv = 1500 + rng.normal(0, 60) + 900 * (n == 4)
        share = 0.42 if patient else 0.47
        rows = [
            Row("GM", "Grey matter", share * tiv, tiv_fraction=share),
            Row("WM", "White matter", 0.35 * tiv, tiv_fraction=0.35),
            Row("tiv", "Total intracranial volume (estimate)", tiv, tiv_fraction=1.0),
        ]
        if patient:
            rows.append(Row("lesions", "Lesion candidates", float(n), count=n))
        write_scan(out, name, rows, 5.0 + n if 7 <= n <= 11 else 1.0 + 0.01 * n)
    (out / "participants.tsv").write_text("\n".join(told) + "\n")
    rows = group.collect(out)
    group.join(rows, norms.read_participants(out / "participants.tsv"))
    group.write_table(out, rows, group.compare(rows))
    return out


def test_the_lines_of_the_docs_answer(study: Path) -> None:
    block = re.search(r"## Read the table.*?```python\n(.*?)```", DOCS.read_text(), re.S)
    assert block
    code = (line.partition("#")[0].strip() for line in block[1].splitlines())
    lines = [line for line in code if line]
    assert lines[0] == "import pandas"
    names: dict = {}
    exec("\n".join(lines[:2]).replace("OUT/", f"{study.as_posix()}/"), names)
    grey, masks, lesions, large = (eval(line, names) for line in lines[2:])
    assert len(names["t"]) == N
    assert grey.to_dict() == pytest.approx({"control": 0.47, "patient": 0.42})
    assert masks.scan.tolist() == ["sub-11", "sub-10", "sub-09", "sub-08", "sub-07"]
    assert set(masks.verdict) == {"fail"}
    # Controls had no FLAIR: nothing was measured, which is not 0 mL.
    assert lesions["mean"].to_dict() == pytest.approx(
        {"control": float("nan"), "patient": np.mean(range(16, 30))}, nan_ok=True
    )
    assert lesions["count"].to_dict() == {"control": 0, "patient": 14}
    assert large.tolist() == ["sub-04"]
