"""One person's files: names, tables and pages of visits that were segmented together."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from markupsafe import escape
from motions import motion
from scipy import ndimage

from brainseg.cli.main import main
from brainseg.config import SegmentConfig
from brainseg.errors import BrainsegError, CannotCreateError, DataError, UsageError, VerdictError
from brainseg.evaluation.phantom import make_phantom
from brainseg.longitudinal.change import REPEATABILITY, changes
from brainseg.run_person import FinishedPerson, plain_job, run_person

CONFIG = SegmentConfig(tissues="three")


@pytest.fixture(scope="module")
def visits(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two visits of a synthetic head of 3 mm, the second one moved, on other axes."""
    folder = tmp_path_factory.mktemp("visits")
    volume = make_phantom(zooms=(3.0, 3.0, 3.0), noise=3, bias=20, seed=1).volume
    index = np.linalg.inv(volume.affine) @ motion((4, 3, 0), (2, 0, -3)) @ volume.affine
    moved = ndimage.affine_transform(volume.data, index[:3, :3], index[:3, 3], order=3)
    paths = []
    for session, data in (("a", volume.data), ("b", np.maximum(moved, 0))):
        path = folder / f"sub-07_ses-{session}_T1w.nii.gz"
        image = nib.Nifti1Image(data.astype(np.float32), volume.affine)
        if session == "b":
            image = image.as_reoriented([[0, -1], [2, 1], [1, 1]])
        nib.save(image, path)
        paths.append(path)
    return paths


@pytest.fixture(scope="module")
def finished(visits: list[Path], tmp_path_factory: pytest.TempPathFactory) -> FinishedPerson:
    job = plain_job(visits, tmp_path_factory.mktemp("out"), years=(60.0, 62.0))
    return run_person(job, CONFIG, timed=False)


def test_every_visit_has_its_maps_on_both_grids(
    finished: FinishedPerson, visits: list[Path]
) -> None:
    folder = finished.files[0].parent
    mean = nib.load(folder / "sub-07_space-midspace_desc-mean_T1w.nii.gz")
    for session, path in zip("ab", visits, strict=True):
        own = nib.load(path)
        back = nib.load(folder / f"sub-07_ses-{session}_desc-long_dseg.nii.gz")
        assert back.shape == own.shape
        assert np.allclose(back.affine, own.affine)
        assert set(np.unique(np.asanyarray(back.dataobj))) == {0, 1, 2, 3}
        there = nib.load(folder / f"sub-07_ses-{session}_space-midspace_dseg.nii.gz")
        assert there.shape == mean.shape
        white = nib.load(folder / f"sub-07_ses-{session}_label-WM_desc-long_probseg.nii.gz")
        ml = float(white.get_fdata().sum()) * 27 / 1000
        measured = next(
            c.volume_ml for c in finished.changes if (c.session, c.tissue) == (session, "WM")
        )
        # linear interpolation keeps a volume but for what rounds off at 3 mm
        assert ml == pytest.approx(measured, rel=0.01)


def test_the_table_tells_change_and_rate(finished: FinishedPerson) -> None:
    text = (finished.files[0].parent / "sub-07_long.tsv").read_text()
    rows = list(csv.DictReader(io.StringIO(text), delimiter="\t"))
    assert {row["tissue"] for row in rows} == {"CSF", "GM", "WM", "brain", "intracranial"}
    first, second = (
        next(r for r in rows if r["tissue"] == "GM" and r["session"] == s) for s in "ab"
    )
    assert float(first["change_ml"]) == 0
    assert first["standard_error_percent"] == "n/a"
    change = float(second["volume_ml"]) - float(first["volume_ml"])
    # what the table holds is rounded to four decimals
    assert float(second["change_ml"]) == pytest.approx(change, abs=2e-4)
    assert float(second["percent_per_year"]) == pytest.approx(
        float(second["change_percent"]) / 2, abs=1e-4
    )
    assert float(second["standard_error_percent"]) == REPEATABILITY["GM"]


def test_the_record_and_the_page_name_no_folder(
    finished: FinishedPerson, visits: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = finished.files[0].parent
    record = json.loads((folder / "sub-07_long.json").read_text())
    assert [s["name"] for s in record["sessions"]] == [path.name for path in visits]
    assert "seconds" not in record
    page = (folder / "sub-07_long.html").read_text(encoding="utf-8")
    assert page.count("<img") == 3  # two visits that flicker, and the map of change of the second
    assert main(["report-methods", str(folder), "--markdown"]) == 0
    paragraph = capsys.readouterr().out.splitlines()[2]
    assert paragraph.startswith("2 T1-weighted scans of one person")
    assert escape(paragraph) in page
    for text in (page, json.dumps(record)):
        assert str(visits[0].parent) not in text


def test_the_person_is_judged(finished: FinishedPerson) -> None:
    folder = finished.files[0].parent
    quality = json.loads((folder / "sub-07_desc-quality_long.json").read_text())
    verdict = finished.measured.verdict
    assert quality["verdict"] == verdict.level
    assert quality["reasons"] == [c.reason for c in verdict.checks if c.level != "pass"]
    assert set(quality["visits"]) == {"ses-a", "ses-b"}
    for visit in quality["visits"].values():
        # The mask, which the visits share, and each one's tissues were compared with the map.
        assert visit["map_inward_mm"] == quality["visits"]["ses-a"]["map_inward_mm"]
        assert 0 < visit["map_gm"] <= 1
    page = (folder / "sub-07_long.html").read_text(encoding="utf-8")
    assert f'<span class="badge {verdict.level}">' in page
    for check in verdict.checks:
        assert escape(check.reason) in page


def test_a_mask_that_lost_a_part_of_the_brain_fails(
    visits: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cut = []
    for path in visits:
        image = nib.as_closest_canonical(nib.load(path))
        data = np.asarray(image.dataobj).copy()
        bare = ndimage.binary_erosion(data > 0, iterations=8)
        bare[bare.shape[0] // 2 :] = False
        cut.append(tmp_path / path.name)
        nib.save(nib.Nifti1Image(data * bare, image.affine), cut[-1])
    asked = ["long", *map(str, cut), "-o", str(tmp_path / "out"), "--mask", "none"]
    asked += ["--tissues", "three", "--no-report"]
    assert main([*asked, "--fail-on-verdict"]) == VerdictError.exit_code
    assert "sub-07: Fail: " in caplog.text
    assert main([*asked, "--force"]) == 0


def test_a_result_is_not_overwritten_unasked(finished: FinishedPerson, visits: list[Path]) -> None:
    job = plain_job(visits, finished.files[0].parent)
    with pytest.raises(CannotCreateError, match="already"):
        run_person(job, CONFIG)


def test_a_visit_that_cannot_be_read_is_left_out(visits: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "sub-07_ses-c_T1w.nii.gz"
    bad.write_bytes(b"no image")
    told: list[Path] = []

    def failed(path: Path, error: BrainsegError) -> None:
        told.append(path)

    job = plain_job([visits[0], bad, visits[1]], tmp_path / "out")
    found = run_person(job, CONFIG, report=False, failed=failed)
    assert told == [bad]
    assert {change.session for change in found.changes} == {"a", "b"}


def test_one_readable_visit_is_too_few(visits: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "sub-07_ses-c_T1w.nii.gz"
    bad.write_bytes(b"no image")
    job = plain_job([visits[0], bad], tmp_path / "out")
    with pytest.raises(BrainsegError, match="ses-c"):
        run_person(job, CONFIG, failed=lambda path, error: None)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("names", "person", "labels"),
    [
        (["sub-1_ses-x_T1w.nii", "sub-1_ses-y_T1w.nii"], "sub-1", ("x", "y")),
        (["sub-1_T1w.nii", "sub-1_run-2_T1w.nii"], "sub-1", ("1", "2")),
        (["one.nii", "two.mgz"], "sub-person", ("1", "2")),
        (["sub-1_ses-x_T1w.nii", "sub-2_ses-y_T1w.nii"], "sub-person", ("x", "y")),
    ],
)
def test_visits_are_named_by_their_files(
    names: list[str], person: str, labels: tuple[str, ...], tmp_path: Path
) -> None:
    job = plain_job([Path(name) for name in names], tmp_path)
    assert (job.name, job.labels) == (person, labels)


def test_names_are_checked(tmp_path: Path) -> None:
    two = (Path("a.nii"), Path("b.nii"))
    with pytest.raises(UsageError, match="no label"):
        plain_job(two, tmp_path, name="../x")
    with pytest.raises(UsageError, match="alike"):
        plain_job(two, tmp_path, labels=["1", "1"])
    with pytest.raises(UsageError, match="ages"):
        plain_job(two, tmp_path, years=(60.0,))


def test_a_rate_needs_time_between_the_visits() -> None:
    rows = changes(["1", "2"], [{"GM": 600.0}, {"GM": 594.0}], [0.0, 0.01])
    assert rows[1].change_percent == pytest.approx(-1.0)
    assert rows[1].percent_per_year is None


def test_the_program_refuses_different_people(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    paths = []
    for seed in (1, 2):
        path = tmp_path / f"head{seed}.nii.gz"
        volume = make_phantom(zooms=(3.0, 3.0, 3.0), noise=3, bias=20, seed=seed).volume
        nib.save(nib.Nifti1Image(volume.data, volume.affine), path)
        paths.append(str(path))
    code = main(["long", *paths, "-o", str(tmp_path / "out"), "-q"])
    assert code == DataError.exit_code
    said = capsys.readouterr().err
    assert "different people" in said
    assert said.count("\n") == 1
