"""Comparing label maps: any two schemes, nothing silently left out, no infinities."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainseg.cli.main import main
from brainseg.errors import UsageError
from brainseg.evaluation import comparison, schemes
from brainseg.io.lookups import label_table
from brainseg.tissues.tables import INTENSITY, SIX, THREE


def write(path: Path, labels: np.ndarray) -> Path:
    nib.Nifti1Image(labels.astype(np.int16), np.diag([2.0, 2.0, 2.0, 1.0])).to_filename(path)
    return path


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Write a map of our table of six and the same as FreeSurfer would number it."""
    ours = np.zeros((12, 12, 12), int)
    numbers = {t.abbreviation: t.index for t in SIX.tissues}
    theirs = ours.copy()
    for i, (structure, code) in enumerate(
        [("CGM", 1012), ("CGM", 2030), ("WM", 2), ("SGM", 10), ("BS", 16), ("CBM", 8), ("CBM", 7)]
    ):
        ours[i + 1, 2:10, 2:10] = numbers[structure]
        theirs[i + 1, 2:10, 2:10] = code
    ours[9, 2:10, 2:10] = numbers["CSF"]
    theirs[9, 2:10, 2:10] = 24
    seg = write(tmp_path / "x_seg-six_desc-posterior_dseg.nii.gz", ours)
    (tmp_path / "x_seg-six_desc-posterior_dseg.tsv").write_text(label_table(SIX))
    return seg, write(tmp_path / "aparc+aseg.nii.gz", theirs)


def test_our_table_is_compared_with_freesurfer_by_name(pair) -> None:
    found = comparison.compare_files(*pair, schemes=(None, "freesurfer"))
    assert {r.name for r in found.rows} == {"CGM", "CWM", "SGM", "BS", "CBM"}
    assert all((r.dice, r.surface_dice, r.mean_surface_mm) == (1, 1, 0) for r in found.rows)
    # 64 voxels of 8 cubic mm.
    assert found.unmatched == {"segmentation": {1: pytest.approx(0.512)},
                               "truth": {24: pytest.approx(0.512)}}  # fmt: skip
    assert "not compared: truth 24 (0.5 mL)" in comparison.notes(found)


def test_a_map_joins_labels_and_ranges() -> None:
    assert comparison.parse_map("1+2=1000-1003,3=4") == {
        "1+2=1000-1003": ((1, 2), (1000, 1001, 1002, 1003)), "3=4": ((3,), (4,))
    }  # fmt: skip
    for wrong in ("1:2", "1=", "5-3=1", "a=b"):
        with pytest.raises(UsageError, match="`map`"):
            comparison.parse_map(wrong)


def test_a_scheme_that_nobody_knows_is_refused_with_the_known_ones(pair) -> None:
    with pytest.raises(UsageError, match="'aal' is not known; use one of freesurfer, muse"):
        comparison.compare_files(*pair, schemes=(None, "aal"))
    with pytest.raises(UsageError, match="name it with `truth_labels`"):
        comparison.compare_files(*pair, schemes=("three", None))


def test_no_number_of_a_scheme_stands_for_two_structures() -> None:
    for scheme in schemes.FOREIGN.values():
        parts = [scheme.labels[n] for n in ("CGM", "CWM", "SGM", "BS", "CBM", "VEN")]
        assert sum(map(len, parts)) == len(frozenset().union(*parts)), scheme.name
        assert scheme.labels["GM"].isdisjoint(scheme.labels["WM"])
    assert schemes.of_table(THREE).labels.keys() == {"CSF", "GM", "WM"}
    assert sum(map(len, schemes.of_table(INTENSITY).labels.values())) == len(INTENSITY.tissues)


def test_a_structure_that_one_side_lacks_gives_no_infinity(
    pair, capsys: pytest.CaptureFixture[str]
) -> None:
    seg, truth = map(str, pair)
    assert main(["evaluate", seg, truth, "--map", "1=999,2=1012+2030"]) == 0
    table = capsys.readouterr().out
    assert "inf" not in table
    assert "nan" not in table
    assert main(["evaluate", seg, truth, "--map", "1=999", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["dice"], row["surface_dice"]) == (0, 0)
    assert row["hausdorff95_mm"] is row["mean_surface_mm"] is row["difference_percent"] is None
    assert main(["evaluate", seg, truth, "--map", "1=999", "--csv"]) == 0
    (line,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (line["hausdorff95_mm"], line["name"]) == ("NA", "1=999")


def test_what_is_not_compared_is_said_and_options_that_exclude_each_other_are_refused(
    pair, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    seg, truth = map(str, pair)
    assert main(["evaluate", seg, truth, "--truth-labels", "freesurfer"]) == 0
    assert any("not compared: truth 24" in r.getMessage() for r in caplog.records)
    both = ["evaluate", seg, truth, "--truth-labels", "freesurfer", "--map", "1=1"]
    assert main(both) == 64
    assert main(["evaluate", seg, truth, "--tolerance", "0"]) == 64
