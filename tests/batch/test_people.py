"""Participants over time: who is gathered, in which order, and what the ledger keeps."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from batch_fakes import make_dataset, tree

from brainseg.batch.discovery import Filters, find_scans
from brainseg.batch.ledger import Ledger
from brainseg.batch.people import over_time, people, read_times
from brainseg.cli.main import main
from brainseg.errors import UsageError, VerdictError

NAMES = [
    "sub-01_ses-a_T1w.nii.gz",
    "sub-01_ses-b_run-1_T1w.nii.gz",
    "sub-01_ses-b_run-2_T1w.nii.gz",
    "sub-02_ses-a_T1w.nii.gz",
    "sub-03_T1w.nii.gz",
]

OVER_TIME = (
    "participant", "--participant-label", "02", "--longitudinal", "--mask", "none",
    "--tissues", "three", "--no-report", "-q",
)  # fmt: skip


def write_sessions(root: Path, subject: str, text: str) -> Path:
    path = root / f"sub-{subject}" / f"sub-{subject}_sessions.tsv"
    path.write_text(text.replace(" ", "\t"), encoding="utf-8")
    return path


def test_sessions_of_a_participant_are_one_job(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "raw", NAMES)
    gathered = people(find_scans(root, Filters()), root, tmp_path / "out")
    (job,) = gathered.jobs
    assert (job.name, job.labels) == ("sub-01", ("a", "b"))
    # of a session with two scans the first counts
    assert [path.name for path in job.paths] == [NAMES[0], NAMES[1]]
    assert job.years is None
    assert job.target.folder == tmp_path / "out" / "sub-01"
    assert job.target.source.startswith("bids:raw:sub-01/ses-a")
    assert sorted(scan.path.name for scan in gathered.single) == NAMES[3:]


def test_contrasts_of_each_session_are_used_where_asked_for(tmp_path: Path) -> None:
    others = [
        f"sub-01_ses-{s}_{c}.nii.gz" for s, c in (("a", "FLAIR"), ("b", "FLAIR"), ("b", "T2w"))
    ]
    root = make_dataset(tmp_path / "raw", [*NAMES[:3], *others])
    found = find_scans(root, Filters())
    (job,) = people(found, root, tmp_path / "out", contrasts=("FLAIR",)).jobs
    assert [[name for name, _ in visit] for visit in job.others] == [["FLAIR"], ["FLAIR"]]
    assert [name for name, _ in job.contrasts] == ["ses-b", "ses-a_FLAIR", "ses-b_FLAIR"]
    assert f"bids:raw:sub-01/ses-b/anat/{others[1]}" in job.target.other_sources
    (plain,) = people(found, root, tmp_path / "out").jobs
    assert plain.others == ((), ())
    # without the first visit, what belongs to the second stays with it
    assert job.only([1]).others == (job.others[1],)


def test_sessions_stand_in_the_order_of_their_dates(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "raw", NAMES)
    write_sessions(
        root, "01", "session_id acq_time\nses-a 2021-07-01T10:00:00\nses-b 2020-07-01T10:00:00\n"
    )
    (job,) = people(find_scans(root, Filters()), root, tmp_path / "out").jobs
    assert job.labels == ("b", "a")
    assert job.years_since_first == pytest.approx((0.0, 365 / 365.25))


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("session_id age\nses-a 61.5\nses-b 63\n", {"a": 61.5, "b": 63.0}),
        ("session_id age\nses-a 61.5\nses-b n/a\n", {}),
        ("session_id age\nses-a -3\n", {}),
        ("session_id acq_time age\nses-a n/a 50\nses-b n/a 51\n", {"a": 50.0, "b": 51.0}),
        ("nothing of this kind\n", {}),
    ],
)
def test_times_are_read_where_all_are_known(
    tmp_path: Path, text: str, times: dict[str, float]
) -> None:
    root = make_dataset(tmp_path / "raw", NAMES)
    assert read_times(write_sessions(root, "01", text)) == times
    assert read_times(tmp_path / "none.tsv") == {}


def test_a_study_over_time_is_done_and_resumed(heads: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = [str(heads), str(out), *OVER_TIME, "--engine", "serial"]
    assert main(asked) == 0
    with (out / "sub-02" / "sub-02_long.tsv").open() as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    # both sessions of this dataset are the same file
    assert {float(row["change_ml"]) for row in rows} == {0.0}
    entry = Ledger(out).read("sub-02_long")
    assert entry is not None
    assert entry.state == "done"
    assert set(entry.contrasts) == {"ses-b"}
    written = (out / "sub-02" / "sub-02_long.json").stat().st_mtime_ns
    assert main(asked) == 0
    assert (out / "sub-02" / "sub-02_long.json").stat().st_mtime_ns == written
    # no single scan was segmented: the group level has the table of changes alone
    assert main([str(heads), str(out), "group", "-q"]) == 0
    with (out / "group_long.tsv").open() as stream:
        gathered = list(csv.DictReader(stream, delimiter="\t"))
    assert [row["participant_id"] for row in gathered] == ["sub-02"] * len(rows)
    quality = json.loads((out / "sub-02" / "sub-02_desc-quality_long.json").read_text())
    assert {row["verdict"] for row in gathered} == {quality["verdict"]}
    # a person's verdict is read as a scan's is
    failed = VerdictError.exit_code if quality["verdict"] == "fail" else 0
    assert main([*asked, "--fail-on-verdict"]) == failed
    assert not (out / "group_T1w.tsv").exists()
    page = (out / "group_T1w.html").read_text(encoding="utf-8")
    assert ">People over time</h2>" in page
    assert 'id="strips"' not in page  # no single scan, nothing to draw
    (row,) = over_time(out)
    assert (row.name, row.visits, row.percent["brain"]) == ("sub-02", 2, 0.0)
    assert row.verdict == quality["verdict"]


@pytest.mark.parametrize("engine", [["--engine", "local"], ["--engine", "dask"]])
def test_engines_write_the_same_bytes_for_a_participant(
    heads: Path, tmp_path: Path, engine: list[str]
) -> None:
    if "dask" in engine:
        pytest.importorskip("distributed", reason="brainseg-em[dask] is not installed")
    trees = []
    for name, how in (("serial", ["--engine", "serial"]), ("other", [*engine, "--nprocs", "2"])):
        assert main([str(heads), str(tmp_path / name), *OVER_TIME, *how]) == 0
        trees.append(tree(tmp_path / name / "sub-02"))
    assert trees[0] == trees[1]
    assert "sub-02_long.tsv" in trees[0]


def test_a_participant_that_was_interrupted_is_done_again(heads: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = [str(heads), str(out), *OVER_TIME, "--engine", "serial"]
    assert main(asked) == 0
    before = tree(out / "sub-02")
    ledger = Ledger(out)
    entry = ledger.read("sub-02_long")
    assert entry is not None
    ledger.write(entry.but(state="interrupted"))
    (out / "sub-02" / "sub-02_long.tsv").unlink()
    assert main(asked) == 0
    again = ledger.read("sub-02_long")
    assert again is not None
    assert (again.state, again.attempts) == ("done", 2)
    assert tree(out / "sub-02") == before


def test_visits_together_are_no_scan_of_the_group_table(heads: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    quick = ("--mask", "none", "--tissues", "three", "--no-report", "-q", "--engine", "serial")
    assert main([str(heads), str(out), "participant", "--longitudinal", *quick]) == 0
    assert main([str(heads), str(out), "group", "-q"]) == 0
    with (out / "group_T1w.tsv").open() as stream:
        # sub-01 has one session and is a single scan; sub-02 has its changes in the other table
        assert [row["scan"] for row in csv.DictReader(stream, delimiter="\t")] == ["sub-01"]
    assert (out / "group_long.tsv").exists()


def test_options_that_do_not_go_together_are_refused(heads: Path, tmp_path: Path) -> None:
    asked = [str(heads), str(tmp_path / "out"), "participant", "--longitudinal"]
    assert main([*asked, "--report-only"]) == UsageError.exit_code
