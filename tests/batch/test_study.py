"""A study with work that needs no images: what is done, what is not, and what survives."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from batch_fakes import fake_process, make, make_dataset, times_begun, tree

from brainseg.batch import study
from brainseg.batch.discovery import find_scans
from brainseg.batch.engines import Engine
from brainseg.batch.engines.local import LocalEngine
from brainseg.batch.engines.serial import SerialEngine
from brainseg.batch.ledger import Ledger
from brainseg.batch.work import Outcome, Task
from brainseg.config import CohortPrior, SegmentConfig
from brainseg.errors import TemporaryError, UsageError
from brainseg.io import atomic

NAMES = [f"sub-0{i}_T1w.nii.gz" for i in range(1, 5)]


def serial() -> Engine:
    return SerialEngine(fake_process)


def local() -> Engine:
    return LocalEngine(
        fake_process, workers=2, memory=100, idle_bytes=1, bytes_of=lambda task: 10, threads=1
    )


def go(
    tasks: list[Task], engine: Callable[[], Engine] = serial, **options: bool
) -> dict[str, Outcome]:
    return study.run(study.plan(tasks), engine, **options)  # type: ignore[arg-type]


def states(outcomes: dict[str, Outcome]) -> list[str]:
    return [outcomes[scan].state for scan in sorted(outcomes)]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "raw", NAMES)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def scan(dataset: Path, i: int) -> Path:
    return dataset / f"sub-0{i}" / "anat" / f"sub-0{i}_T1w.nii.gz"


def test_a_rerun_does_nothing_again(dataset: Path, out: Path) -> None:
    assert states(go(make(dataset, out))) == ["done"] * 4
    before = tree(out)
    again = go(make(dataset, out))
    assert states(again) == ["skipped"] * 4
    assert study.exit_code(again) == 0
    assert tree(out) == before
    assert set(times_begun(out).values()) == {1}


def test_what_changed_is_done_again(dataset: Path, out: Path) -> None:
    go(make(dataset, out))
    scan(dataset, 1).write_text("other words")
    (out / "sub-02" / "anat" / "sub-02_dseg.tsv").unlink()
    (out / "sub-03" / "anat" / "sub-03_dseg.tsv").write_text("")
    os.utime(scan(dataset, 4), (1, 1))
    outcomes = go(make(dataset, out))
    # A new time alone changes nothing: the bytes decide.
    assert states(outcomes) == ["done", "done", "done", "skipped"]
    assert outcomes["sub-01_T1w"].reason == "input changed"
    assert outcomes["sub-02_T1w"].reason == "outputs missing"
    assert outcomes["sub-03_T1w"].reason == "outputs missing"


def test_other_parameters_replace_the_former_outputs(dataset: Path, out: Path) -> None:
    go(make(dataset, out, tissues="six"))
    assert states(go(make(dataset, out, tissues="three"))) == ["done"] * 4
    assert {p.name for p in (out / "sub-01" / "anat").iterdir()} == {
        "sub-01_dseg.tsv",
        "sub-01_seg-three_desc-posterior_dseg.tsv",
    }


def test_contrasts_asked_for_are_used_and_watched(
    tmp_path: Path, out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = ["sub-01_T1w.nii.gz", "sub-01_FLAIR.nii.gz", "sub-01_T2w.nii.gz", "sub-02_T1w.nii.gz"]
    found = find_scans(make_dataset(tmp_path / "raw", names))

    def tasks(*contrasts: str) -> list[Task]:
        return study.make_tasks(found, out, SegmentConfig(), contrasts=contrasts)

    assert [task.job.contrasts for task in tasks()] == [(), ()]
    one, other = tasks("FLAIR")
    assert [(suffix, path.name) for suffix, path in one.job.contrasts] == [
        ("FLAIR", "sub-01_FLAIR.nii.gz")
    ]
    assert one.job.target.other_sources == ("bids:raw:sub-01/anat/sub-01_FLAIR.nii.gz",)
    assert other.job.contrasts == ()
    assert "1 of 2 scans have no FLAIR beside them" in caplog.text
    go(tasks("FLAIR"))
    assert states(go(tasks("FLAIR"))) == ["skipped", "skipped"]
    assert {s: o.reason for s, o in go(tasks()).items() if o.state == "done"} == {
        "sub-01_T1w": "other contrasts"
    }
    go(tasks("FLAIR"))
    one.job.contrasts[0][1].write_text("another scan")
    assert states(go(tasks("FLAIR"))) == ["done", "skipped"]


def test_planning_reads_no_scan_that_is_new(
    dataset: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brainseg.io.nifti.sha256_of", lambda paths: pytest.fail("was read"))
    assert [item.why for item in study.plan(make(dataset, out))] == ["new"] * 4


def test_workers_elsewhere_find_the_files(
    dataset: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(dataset.parent)
    tasks = make(Path("raw"), Path("out"))
    assert tasks[0].job.path == scan(dataset, 1)
    assert tasks[0].job.target.folder == out / "sub-01" / "anat"


def test_threads_are_no_parameter(dataset: Path, out: Path) -> None:
    go(make(dataset, out, threads=1))
    assert states(go(make(dataset, out, threads=2))) == ["skipped"] * 4


def test_a_cohorts_mixture_is_a_parameter(dataset: Path, out: Path) -> None:
    def options(mean: float) -> dict[str, object]:
        cohort = CohortPrior((0.5, 0.5), (0.0, mean), (0.1, 0.1), (2.0, 98.0))
        return {"tissues": "2", "prior": "cohort", "cohort": cohort}

    go(make(dataset, out, **options(1.0)))
    assert states(go(make(dataset, out, **options(1.0)))) == ["skipped"] * 4
    assert states(go(make(dataset, out, **options(0.9)))) == ["done"] * 4


def test_another_version_does_all_again(
    dataset: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go(make(dataset, out))
    monkeypatch.setattr("brainseg.__version__", "99.0")
    assert states(go(make(dataset, out))) == ["done"] * 4


def test_one_bad_scan_stops_no_other(dataset: Path, out: Path) -> None:
    scan(dataset, 2).write_text("bad")
    scan(dataset, 3).write_text("bug")
    outcomes = go(make(dataset, out))
    assert states(outcomes) == ["done", "failed", "failed", "done"]
    assert outcomes["sub-02_T1w"].reason == "sub-02_T1w.nii.gz: the text says bad"
    assert study.exit_code(outcomes) == 1
    bug = Ledger(out).read("sub-03_T1w")
    assert bug is not None
    assert bug.error is not None
    assert "KeyError: 'not foreseen'" in bug.error.traceback


def test_data_errors_wait_for_another_input_and_others_do_not(dataset: Path, out: Path) -> None:
    scan(dataset, 2).write_text("bad")
    scan(dataset, 3).write_text("bug")
    go(make(dataset, out))
    again = go(make(dataset, out))
    assert states(again) == ["skipped", "failed", "failed", "skipped"]
    assert "not tried again" in again["sub-02_T1w"].reason
    assert times_begun(out)["sub-02_T1w.nii.gz"] == 1
    assert times_begun(out)["sub-03_T1w.nii.gz"] == 2
    scan(dataset, 2).write_text("good now")
    scan(dataset, 3).unlink()
    assert states(go(make(dataset, out))) == ["skipped", "done", "skipped"]


def test_exit_code_is_that_of_the_failures_where_they_agree(dataset: Path, out: Path) -> None:
    scan(dataset, 2).write_text("bad")
    assert study.exit_code(go(make(dataset, out))) == 65


def test_a_full_disk_is_the_exit_code_whatever_else_failed() -> None:
    failed = {str(code): Outcome("failed", "", code) for code in (65, 66, 74)}
    assert study.exit_code(failed) == 74
    del failed["74"]
    assert study.exit_code(failed) == 1


def test_stop_on_first_crash_begins_no_more(dataset: Path, out: Path) -> None:
    scan(dataset, 2).write_text("bad")
    outcomes = go(make(dataset, out), stop_on_first_crash=True)
    assert states(outcomes) == ["done", "failed"]
    assert states(go(make(dataset, out))) == ["skipped", "failed", "done", "done"]


def test_a_full_disk_stops_the_run_and_a_rerun_resumes(
    dataset: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from brainseg.errors import OutputError

    monkeypatch.setattr("batch_fakes.DataError", OutputError)
    scan(dataset, 2).write_text("bad")
    outcomes = go(make(dataset, out))
    assert states(outcomes) == ["done", "failed"]
    assert study.exit_code(outcomes) == 74
    scan(dataset, 2).write_text("good")
    assert states(go(make(dataset, out))) == ["skipped", "done", "done", "done"]


def test_a_scan_that_kills_its_worker_is_quarantined_after_three_deaths(
    dataset: Path, out: Path
) -> None:
    scan(dataset, 2).write_text("deadly")
    scan(dataset, 3).write_text("deadly-once")
    outcomes = go(make(dataset, out), local)
    assert states(outcomes) == ["done", "quarantined", "done", "done"]
    assert times_begun(out)["sub-02_T1w.nii.gz"] == 3
    assert "delete logs/scans/sub-02_T1w.json" in outcomes["sub-02_T1w"].reason
    assert study.exit_code(outcomes) == 1
    again = go(make(dataset, out))
    assert states(again) == ["skipped", "quarantined", "skipped", "skipped"]
    assert times_begun(out)["sub-02_T1w.nii.gz"] == 3
    assert not list(out.rglob(".*tmp-*"))
    assert not list((out / "logs" / "locks").iterdir())


def test_what_another_run_holds_is_waited_for(
    dataset: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from brainseg.io import locks

    monkeypatch.setattr(study, "BUSY_PAUSE_S", 0.01)
    monkeypatch.setattr(study, "BUSY_PATIENCE_S", 0.05)
    tasks = make(dataset, out)
    with locks.hold(tasks[0].ledger.lock(tasks[0].scan)):
        outcomes = go(tasks)
    assert states(outcomes) == ["busy", "done", "done", "done"]
    assert study.exit_code(outcomes) == 75
    assert states(go(make(dataset, out))) == ["done", "skipped", "skipped", "skipped"]


def test_scans_that_were_interrupted_come_last(dataset: Path, out: Path) -> None:
    tasks = make(dataset, out)
    go(tasks)
    ledger = Ledger(out)
    entry = ledger.read("sub-01_T1w")
    assert entry is not None
    ledger.write(entry.but(state="running"))
    ledger.folder.joinpath("sub-03_T1w.json").unlink()
    order = [item.task.scan for item in study.plan(tasks) if item.why]
    assert order == ["sub-03_T1w", "sub-01_T1w"]


def test_a_damaged_ledger_page_makes_the_scan_new(dataset: Path, out: Path) -> None:
    go(make(dataset, out))
    (Ledger(out).folder / "sub-01_T1w.json").write_text('{"scan": 1}')
    outcomes = go(make(dataset, out))
    assert states(outcomes) == ["done", "skipped", "skipped", "skipped"]
    assert outcomes["sub-01_T1w"].reason == "new"


def test_the_summary_holds_every_scan_and_why(dataset: Path, out: Path) -> None:
    scan(dataset, 2).write_text("bad")
    study.write_summary(out, go(make(dataset, out)))
    with (out / "logs" / "summary.tsv").open() as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert [row["scan"] for row in rows] == [f"sub-0{i}_T1w" for i in range(1, 5)]
    assert [row["state"] for row in rows] == ["done", "failed", "done", "done"]
    assert rows[1]["reason"] == "sub-02_T1w.nii.gz: the text says bad"
    assert float(rows[0]["peak_memory_mb"]) > 0


def test_the_ledger_survives_json(dataset: Path, out: Path) -> None:
    scan(dataset, 1).write_text("bug")
    go(make(dataset, out))
    ledger = Ledger(out)
    for entry in ledger.entries():
        ledger.write(entry)
        assert ledger.read(entry.scan) == entry


def test_the_dataset_says_what_made_it_and_from_what(
    dataset: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    description = {
        "Name": "x", "BIDSVersion": "1.10.0", "DatasetDOI": "doi:10.1234/x.2", "DatasetVersion": "3"
    }  # fmt: skip
    (dataset / "dataset_description.json").write_text(json.dumps(description))
    monkeypatch.setenv("BRAINSEG_CONTAINER_TAG", "brainseg:1")
    study.describe(out, dataset)
    made = json.loads((out / "dataset_description.json").read_text())
    assert made["DatasetType"] == "derivative"
    assert made["GeneratedBy"][0]["Container"] == {"Type": "docker", "Tag": "brainseg:1"}
    assert made["SourceDatasets"] == [{"DOI": "doi:10.1234/x.2", "Version": "3"}]
    assert made["DatasetLinks"] == {"raw": "https://doi.org/10.1234/x.2"}
    assert "Cerebrospinal fluid" in (out / "dseg.tsv").read_text()


SCRIPT = """
import sys
from pathlib import Path
from batch_fakes import make
from brainseg.batch import study
from brainseg.batch.discovery import find_scans
from test_study import local

if __name__ == "__main__":
    tasks = make(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.exit(study.exit_code(study.run(study.plan(tasks), local)))
"""


def start(tmp_path: Path, dataset: Path, out: Path) -> subprocess.Popen[bytes]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, str(script), str(dataset), str(out)],
        env=os.environ | {"PYTHONPATH": path},
        start_new_session=True,
    )


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_after_kill_9_a_rerun_completes_with_the_same_bytes(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "raw", NAMES, content="slow 0.2")
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "out"
    go(make(dataset, undisturbed))
    process = start(tmp_path, dataset, out)
    wait_for(lambda: len(times_begun(out)) >= 3)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    outcomes = go(make(dataset, out))
    assert set(states(outcomes)) <= {"done", "skipped"}
    assert tree(out) == tree(undisturbed)
    assert not list(out.rglob(".*tmp-*"))
    assert list((out / "logs" / "locks").iterdir()) == []


def test_a_scan_done_anew_leaves_no_scratch_of_the_dead(dataset: Path, out: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    folder = out / "sub-01" / "anat"
    folder.mkdir(parents=True)
    mine = atomic.scratch_path(folder / ".sub-01.15cdfdff")
    left = mine.with_name(mine.name.replace(f"-{os.getpid()}-", f"-{process.pid}-"))
    left.touch()
    assert states(go(make(dataset, out))) == ["done"] * 4
    assert not left.exists()


def test_two_runs_share_a_folder_and_do_each_scan_once(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "raw", NAMES, content="slow 0.5")
    out = tmp_path / "out"
    processes = [start(tmp_path, dataset, out) for _ in range(2)]
    assert [p.wait(120) for p in processes] == [0, 0]
    assert times_begun(out) == dict.fromkeys(NAMES, 1)


def test_tasks_of_one_invocation_share_its_name(dataset: Path, out: Path) -> None:
    first, second = make(dataset, out), make(dataset, out)
    assert len({task.run for task in first}) == 1
    assert first[0].run != second[0].run
    assert replace(first[0], run=second[0].run) == second[0]


@pytest.mark.parametrize(
    "told",
    [{}, {"DatasetDOI": "of Jane Roe", "DatasetVersion": "1"}, {"DatasetDOI": ["10.1234/x"]},
     {"DatasetDOI": "10.1234/x", "DatasetVersion": "3 by Jane Roe"}],
)  # fmt: skip
def test_the_dataset_tells_no_folder_and_no_free_text(
    tmp_path: Path, told: dict[str, object]
) -> None:
    dataset = make_dataset(tmp_path / "Jane Roe" / "raw", NAMES)
    text = json.dumps({"Name": "Roe", "BIDSVersion": "1.10.0"} | told)
    (dataset / "dataset_description.json").write_text(text)
    study.describe(tmp_path / "out", dataset)
    assert "Roe" not in (tmp_path / "out" / "dataset_description.json").read_text()
    # From inside the dataset the way is up alone.
    study.describe(dataset / "derivatives" / "x", dataset)
    made = json.loads((dataset / "derivatives" / "x" / "dataset_description.json").read_text())
    assert made["DatasetLinks"] == {"raw": "../.."}


def test_an_entry_cannot_name_a_file_for_removal(dataset: Path, out: Path) -> None:
    go(make(dataset, out))
    canary = out.parent / "canary"
    canary.write_text("alive")
    ledger = Ledger(out)
    path = ledger.path("sub-01_T1w")
    entry = json.loads(path.read_text())
    names = ["../../../../canary", str(canary), "../../../canary", "../../sub-02/anat/x"]
    entry["outputs"] |= {name: {"size": 5, "sha256": ""} for name in names}
    path.write_text(json.dumps(entry))
    assert states(go(make(dataset, out, tissues="three")))[0] == "done"
    assert canary.read_text() == "alive"


def test_verify_finds_outputs_whose_bytes_were_changed(dataset: Path, out: Path) -> None:
    go(make(dataset, out))
    changed = out / "sub-02" / "anat" / "sub-02_dseg.tsv"
    changed.write_text(changed.read_text().replace("good", "evil"))
    tasks = make(dataset, out)
    assert states(go(tasks)) == ["skipped"] * 4
    outcomes = go([replace(task, verify=True) for task in tasks])
    assert states(outcomes) == ["skipped", "done", "skipped", "skipped"]
    assert outcomes["sub-02_T1w"].reason == "outputs changed"
    assert changed.read_text() == "good"


@pytest.mark.parametrize("where", ["", "sub-01", "sub-01/anat/out"])
def test_results_may_not_lie_among_the_scans(dataset: Path, where: str) -> None:
    with pytest.raises(UsageError, match="among the scans"):
        study.require_apart(dataset / where, dataset)


def test_results_may_lie_beside_and_under_the_dataset(dataset: Path, out: Path) -> None:
    study.require_apart(out, dataset)
    study.require_apart(dataset / "derivatives" / "sub-x", dataset)


def test_runs_with_other_options_keep_out_of_each_others_way(dataset: Path, out: Path) -> None:
    six, three = make(dataset, out), make(dataset, out, tissues="three")
    with study.alone_with_options(out, six, ()):
        with study.alone_with_options(out, make(dataset, out), ()):
            pass
        for tasks, contrasts in ((three, ()), (six, ("T2w",))):
            with (
                pytest.raises(TemporaryError, match="other options"),
                study.alone_with_options(out, tasks, contrasts),
            ):
                pass
    with study.alone_with_options(out, three, ()):
        pass
    assert list((out / "logs" / "locks").iterdir()) == []


def test_what_was_not_foreseen_is_kept_without_any_folder(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "Jane Roe" / "raw", NAMES[:1], content="path")
    out = tmp_path / "out"
    outcomes = go(make(dataset, out))
    study.write_summary(out, outcomes)
    for path in (out / "logs").rglob("*.*"):
        assert "Roe" not in path.read_text()
    assert "ValueError" in (out / "logs" / "summary.tsv").read_text()


@pytest.mark.parametrize("number", ["SIGHUP", "SIGQUIT", "SIGUSR1"])
def test_after_other_signals_a_rerun_copes(tmp_path: Path, number: str) -> None:
    dataset = make_dataset(tmp_path / "raw", NAMES[:2], content="slow 0.3")
    out = tmp_path / "out"
    process = start(tmp_path, dataset, out)
    wait_for(lambda: times_begun(out))
    os.killpg(process.pid, getattr(signal, number))
    process.wait()
    assert set(states(go(make(dataset, out)))) <= {"done", "skipped"}
    assert list((out / "logs" / "locks").iterdir()) == []


def test_a_worker_killed_by_a_real_time_signal_stops_no_other(dataset: Path, out: Path) -> None:
    scan(dataset, 2).write_text("signal 35")
    outcomes = go(make(dataset, out), local)
    assert states(outcomes) == ["done", "quarantined", "done", "done"]
