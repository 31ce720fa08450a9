"""The BIDS App as a user meets it, on small heads and on broken files."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from batch_fakes import tree
from conftest import Run

from brainseg.cli.bids import with_command
from brainseg.cli.main import main
from brainseg.qc.review import ratings

QUICK = ("--mask", "none", "--prior", "none", "--bias", "none", "--no-report", "-q")
BIDS_VALIDATOR = shutil.which("bids-validator-deno", path=str(Path(sys.executable).parent))


def summary(out: Path) -> dict[str, dict[str, str]]:
    with (out / "logs" / "summary.tsv").open() as stream:
        return {row["scan"]: row for row in csv.DictReader(stream, delimiter="\t")}


def test_both_forms_do_the_study_and_give_the_same_bytes(
    heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert main([str(heads), str(first), "participant", *QUICK, "--engine", "serial"]) == 0
    assert main(["bids", str(heads), str(second), "participant", *QUICK, "--n-cpus", "2"]) == 0
    assert (first / "sub-02/ses-a/anat/sub-02_ses-a_run-1_dseg.nii.gz").exists()
    assert (
        first / "sub-01/anat/sub-01_seg-intensity_label-CSFGM_desc-posterior_probseg.nii.gz"
    ).exists()
    assert tree(first) == tree(second)
    # No bias field and no prior were asked for: one article is named.
    assert (first / "logs/CITATION.bib").read_text().count("@article{") == 1
    assert "All scans: " in (first / "logs/CITATION.md").read_text()
    capsys.readouterr()
    assert main(["report-methods", str(first), "--markdown"]) == 0
    assert capsys.readouterr().out == (first / "logs/CITATION.md").read_text()
    assert main([str(heads), str(first), "group", *QUICK]) == 0
    with (first / "group_T1w.tsv").open() as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert [(r["participant_id"], r["session_id"]) for r in rows] == [
        ("sub-01", "NA"), ("sub-02", "ses-a"), ("sub-02", "ses-b")
    ]  # fmt: skip
    for row in rows:
        parts = sum(float(row[f"volume_{t}"]) for t in ("CSF", "GM", "WM"))
        assert parts == pytest.approx(float(row["volume_mask"]), rel=1e-5)
    chosen = ["group", "--session-id", "ses-b", "--dry-run"]
    before = tree(first)
    assert main([str(heads), str(first), *chosen]) == 0
    assert capsys.readouterr().out.splitlines()[-1:] == ["sub-02_ses-b"]
    assert tree(first) == before
    assert main(["group", str(first), "--participant-label", "99"]) == 18
    dictionary = json.loads((first / "group_T1w.json").read_text())
    assert set(dictionary) == set(rows[0])
    assert dictionary["volume_GM"]["Units"] == "mL"
    assert main(["group", str(first), "--cohort-model", "-q"]) == 0
    # The cohort's mixture serves as a prior, also for scans that were not in it.
    third, model = tmp_path / "third", first / "group_desc-cohort_mixture.json"
    one = (str(heads), str(third), "participant", "--participant-label", "01", "-q", "--no-report")
    options = ("--mask", "none", "--bias", "none", "--engine", "serial")
    assert main([*one, *options, "--cohort-prior", str(model)]) == 0
    record = json.loads((third / "sub-01/anat/sub-01_desc-brainseg_mixture.json").read_text())
    assert record["options"]["prior"] == "cohort"
    assert main([*one, *options, "--cohort-prior", str(model), "--tissues", "4"]) == 64
    assert main([*one, "--cohort-prior", str(model), "--contrasts", "T2w"]) == 64


def test_a_verdict_of_fail_has_its_own_exit_code(
    heads: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    one = [str(heads), str(out), "participant", *QUICK, "--engine", "serial"]
    one += ["--participant-label", "01"]
    asked = [*one, "--fail-on-verdict"]
    assert main(one) == 0
    quality = out / "sub-01" / "anat" / "sub-01_desc-quality_T1w.json"
    text = quality.read_text()
    verdict = json.loads(text)["verdict"]
    told = f'"verdict": "{verdict}"'
    # Words of one length: a file of another size counts as missing, and the scan is done again.
    quality.write_text(text.replace(told, '"verdict": "look"'))
    assert main(asked) == 0
    # Done before counts, too: the code says what lies there, not what was done.
    quality.write_text(text.replace(told, '"verdict": "fail"'))
    assert main(one) == 0
    assert main(asked) == 19
    assert "sub-01_T1w: Fail: " in caplog.text
    # What cannot be read vouches for nothing.
    quality.write_text("[" + text[1:])
    assert main(asked) == 19
    assert "Fail: sub-01_desc-quality_T1w.json: " in caplog.text
    # A scan that failed outright comes first.
    scan = heads / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    scan.write_bytes(b"no image")
    assert main(asked) == 65


def test_scans_that_reviewers_rated_fail_are_left_out(
    heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for scan, rating in (("sub-01", "fail"), ("sub-02_ses-a_run-1", "pass")):
        ratings.append(out, ratings.Rating(scan, "ann", rating))
    options = [str(heads), str(out), "participant", *QUICK, "--engine", "serial"]
    assert main([*options, "--exclude-failed", "--dry-run"]) == 0
    listed = [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()]
    assert sorted(listed) == ["sub-02_ses-a_run-1_T1w", "sub-02_ses-b_T1w"]
    assert main([*options, "--exclude-failed"]) == 0
    assert set(summary(out)) == set(listed)
    assert not (out / "sub-01").exists()
    # Whoever takes the rating back gets the scan.
    ratings.append(out, ratings.Rating("sub-01", "ann", "pass"))
    assert main([*options, "--exclude-failed"]) == 0
    assert (out / "sub-01" / "anat" / "sub-01_dseg.nii.gz").exists()


def test_reports_are_made_again_without_segmenting(heads: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    one = [str(heads), str(out), "participant", "-q", "--engine", "serial", "--mask", "none"]
    one += ["--participant-label", "sub-01"]
    assert main([*one, "--no-report"]) == 0
    folder = out / "sub-01" / "anat"
    before = tree(out)
    assert not (folder / "sub-01_report.html").exists()
    assert main([*one, "--report-only"]) == 0
    assert "<html" in (folder / "sub-01_report.html").read_text(encoding="utf-8")
    # Quality numbers are measured again, on maps that their files hold rounded.
    kept = {name: content for name, content in before.items() if "desc-quality" not in str(name)}
    assert kept.items() <= tree(out).items()
    # It now is what a run with reports would have left; nothing more is to be done.
    assert main([*one, "--dry-run"]) == 0
    assert json.loads((out / "logs/scans/sub-01_T1w.json").read_text())["attempts"] == 1


@pytest.mark.skipif(BIDS_VALIDATOR is None, reason="bids-validator-deno is not installed")
def test_the_derivatives_pass_the_bids_validator(heads: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--mask", "none", "-q", "--engine", "serial", "--participant-label", "02")
    assert main([str(heads), str(out), "participant", *options]) == 0
    assert main([str(heads), str(out), "group", "-q"]) == 0
    assert BIDS_VALIDATOR is not None
    validated = subprocess.run(
        [BIDS_VALIDATOR, "--format", "json", str(out)],
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": f"{Path(BIDS_VALIDATOR).parent}:{os.environ['PATH']}"},
        check=False,
    )
    issues = json.loads(validated.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert validated.returncode == 0
    about = json.loads((out / "dataset_description.json").read_text())
    assert about["BIDSVersion"] == "1.11.0"
    (mask,) = out.glob("sub-02/ses-a/anat/*_desc-brain_mask.json")
    assert json.loads(mask.read_text())["Sources"] == [
        "bids:raw:sub-02/ses-a/anat/sub-02_ses-a_run-1_T1w.nii.gz"
    ]
    described = (out / "descriptions.tsv").read_text().splitlines()
    assert described[0] == "desc_id\tdescription"
    used = {d for p in out.rglob("*_desc-*") for d in re.findall(r"_(desc-\w+?)_", p.name)}
    assert {line.split("\t")[0] for line in described[1:]} >= used > set()
    assert "Tissue maps" in (out / "README.md").read_text()


def test_a_study_is_done_again_where_its_images_are_to_be_uncompressed(
    heads: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = (*QUICK, "--engine", "serial", "--participant-label", "01")
    assert main([str(heads), str(out), "participant", *options]) == 0
    assert main([str(heads), str(out), "participant", *options, "--uncompressed"]) == 0
    assert not list(out.rglob("*.nii.gz"))
    assert (out / "sub-01/anat/sub-01_dseg.nii").exists()
    assert summary(out)["sub-01_T1w"]["this_run"] == "done"
    assert main([str(heads), str(out), "participant", *options, "--uncompressed"]) == 0
    assert summary(out)["sub-01_T1w"]["this_run"] == "skipped"
    assert main([str(heads), str(out), "participant", *options, "--uncompressed", "--verify"]) == 0
    assert main([str(heads), str(out), "group", "-q", "--cohort-model", "--engine", "serial"]) == 0
    assert main([str(heads), str(out), "participant", *options]) == 0
    assert not list(out.rglob("*.nii"))


def break_some(heads: Path, head: bytes) -> None:
    """Add a scan for each way in which a study's scans are broken."""
    raw = gzip.decompress(head)
    header, voxels = bytearray(raw[:352]), raw[352:]
    nan = bytes(header) + np.full(len(voxels) // 4, np.nan, "<f4").tobytes()
    four = bytearray(header)
    four[40:42], four[48:50] = (4).to_bytes(2, "little"), (2).to_bytes(2, "little")
    broken = {
        "cut": gzip.compress(raw)[:5000],
        "nan": gzip.compress(nan),
        "4d": gzip.compress(bytes(four) + 2 * voxels),
        "text": b"no image at all",
        "secret": head,
    }
    for label, content in broken.items():
        path = heads / f"sub-{label}" / "anat" / f"sub-{label}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    path.chmod(0)
    link = heads / "sub-link" / "anat" / "sub-link_T1w.nii.gz"
    link.parent.mkdir(parents=True)
    link.symlink_to("annexed-and-absent")


def test_bad_scans_are_reported_each_with_its_reason(
    heads: Path, small_head: bytes, tmp_path: Path, run_as_anyone: Run
) -> None:
    break_some(heads, small_head)
    out = tmp_path / "out"
    done = run_as_anyone(heads, out, "participant", *QUICK, "--engine", "serial")
    assert done.returncode == 1
    rows = summary(out)
    assert {s for s, row in rows.items() if row["state"] == "done"} == {
        "sub-01_T1w", "sub-02_ses-a_run-1_T1w", "sub-02_ses-b_T1w"
    }  # fmt: skip
    for label, says in {
        "cut": "is the file complete?",
        "nan": "is a finite number",
        "4d": "holds 2 volumes",
        "text": "not an image",
        "secret": "may not be read",
        "link": "no such file",
    }.items():
        row = rows[f"sub-{label}_T1w"]
        assert row["state"] == "failed"
        assert says in row["reason"]
        assert says in done.stdout
    assert "Traceback" not in done.stderr
    # Links and permissions mend themselves; what is wrong inside a file does not.
    (heads / "sub-secret" / "anat" / "sub-secret_T1w.nii.gz").chmod(0o644)
    again = run_as_anyone(heads, out, "participant", *QUICK, "--engine", "serial")
    assert again.returncode == 1
    rows = summary(out)
    assert rows["sub-secret_T1w"]["this_run"] == "done"
    assert rows["sub-01_T1w"]["this_run"] == "skipped"
    assert rows["sub-nan_T1w"]["attempts"] == "1"
    assert rows["sub-link_T1w"]["attempts"] == "2"


def test_an_output_folder_that_may_not_be_written(
    heads: Path, tmp_path: Path, run_as_anyone: Run
) -> None:
    out = tmp_path / "out"
    out.mkdir(mode=0o555)
    done = run_as_anyone(heads, out, "participant", *QUICK)
    assert done.returncode == 73
    assert "cannot be written (Permission denied); choose another output folder" in done.stderr
    assert list(out.iterdir()) == []


def test_a_full_disk_is_told_and_a_rerun_resumes(
    heads: Path, tmp_path: Path, run_as_anyone: Run
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    # Room for one scan of this size, and a piece of the next.
    mount = ["mount", "-t", "tmpfs", "-o", "size=640k", "tmpfs", str(out)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        options = (*QUICK, "--engine", "serial")
        full = run_as_anyone(heads, out, "participant", *options)
        assert full.returncode == 74, full.stderr
        assert "No space left on device" in full.stdout
        assert "make room and run again" in full.stdout
        assert not list(out.rglob(".*tmp-*"))
        kept = tree(out)
        resize = ["mount", "-o", "remount,size=8m", str(out)]
        subprocess.run(resize, check=True)
        assert run_as_anyone(heads, out, "participant", *options).returncode == 0
        assert kept.items() <= tree(out).items()
        assert {row["state"] for row in summary(out).values()} == {"done"}
    finally:
        subprocess.run(["umount", "-l", str(out)], check=True)


def test_sigterm_ends_cleanly_and_a_rerun_resumes(heads: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "brainseg", str(heads), str(out), "participant", *QUICK]
    process = subprocess.Popen(command, start_new_session=True)
    deadline = time.monotonic() + 300
    while not list((out / "logs" / "scans").glob("[!.]*.json")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    # As container engines do: to the first process alone. The seconds that it takes are shown by
    # pipelines/faults_batch.py; here the machine may be busy.
    process.send_signal(signal.SIGTERM)
    assert process.wait(300) == 143
    states = {json.loads(p.read_text())["state"] for p in (out / "logs" / "scans").glob("*.json")}
    assert states <= {"interrupted", "done"}
    assert not list(out.rglob(".*tmp-*"))
    assert list((out / "logs" / "locks").iterdir()) == []
    assert main([str(heads), str(out), "participant", *QUICK]) == 0


def test_dry_run_says_what_and_why_and_writes_nothing(
    heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([str(heads), str(out), "participant", "--dry-run"]) == 0
    assert "sub-02_ses-b_T1w\tto do: new" in capsys.readouterr().out
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("participant", "--participant-label", "99"), 18),
        (("subject",), 17),
        (("participant", "--mem", "much"), 64),
        (("participant", "--n-cpus", "0"), 64),
        (("participant", "--scheduler", "tcp://127.0.0.1:1"), 64),
        (("participant", "--cohort-model"), 64),
        (("group", "--fail-on-verdict"), 64),
        (("participant", "--contrasts", "bold"), 64),
        (("group",), 18),
    ],
)
def test_exit_codes(heads: Path, tmp_path: Path, arguments: tuple[str, ...], code: int) -> None:
    assert main([str(heads), str(tmp_path / "out"), *arguments]) == code


def test_a_folder_that_is_no_dataset_is_refused_unless_told(heads: Path, tmp_path: Path) -> None:
    (heads / "dataset_description.json").unlink()
    out = str(tmp_path / "out")
    assert main([str(heads), out, "participant", "--dry-run"]) == 16
    assert main([str(heads), out, "participant", "--dry-run", "--skip-bids-validation"]) == 0
    assert main(["bids", str(tmp_path / "nowhere"), out, "participant"]) == 66


def test_the_form_without_a_command_is_recognised(tmp_path: Path) -> None:
    commands = frozenset({"run", "bids"})
    folder = str(tmp_path)
    for form in ([folder, "o", "participant"], ["--mem", "8G", "raw", "o", "group"], [folder]):
        assert with_command(form, commands) == ["bids", *form]
    for other in (["run", folder], ["rnu", "x"], ["--version"], []):
        assert with_command(other, commands) == other
