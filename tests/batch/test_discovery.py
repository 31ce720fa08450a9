"""Which scans of a dataset are found, by names alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from batch_fakes import make_dataset
from hypothesis import given
from hypothesis import strategies as st

from brainseg.batch.discovery import Filters, check_dataset, find_scans, read_filters
from brainseg.errors import InvalidDatasetError, NoInputError, NothingMatchedError, UsageError
from brainseg.io import bids

NAMES = [
    "sub-01_T1w.nii.gz",
    "sub-02_ses-a_T1w.nii.gz",
    "sub-02_ses-a_T2w.nii.gz",
    "sub-02_ses-a_FLAIR.nii.gz",
    "sub-02_ses-b_acq-hi_run-01_T1w.nii.gz",
    "sub-02_ses-b_acq-hi_run-02_T1w.nii.gz",
    "sub-02_ses-b_acq-lo_T2w.nii.gz",
    "sub-02_ses-b_acq-hi_T2w.nii.gz",
    "sub-03_rec-norm_T1w.nii",
    "sub-03_desc-defaced_mask.nii.gz",
    "sub-03_T1w.json",
    "sub-03_inplaneT2.nii.gz",
]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "raw", NAMES)


def names(dataset: Path, **filters: object) -> list[str]:
    return [str(f.name) for f in find_scans(dataset, Filters(**filters))]  # type: ignore[arg-type]


def test_all_t1w_scans_are_found_in_order(dataset: Path) -> None:
    assert names(dataset) == [
        "sub-01_T1w.nii.gz",
        "sub-02_ses-a_T1w.nii.gz",
        "sub-02_ses-b_acq-hi_run-01_T1w.nii.gz",
        "sub-02_ses-b_acq-hi_run-02_T1w.nii.gz",
        "sub-03_rec-norm_T1w.nii",
    ]
    assert find_scans(dataset)[1].folder == "sub-02/ses-a/anat"


def test_filters_choose(dataset: Path) -> None:
    assert names(dataset, participants=("01", "03")) == [
        "sub-01_T1w.nii.gz",
        "sub-03_rec-norm_T1w.nii",
    ]
    assert names(dataset, sessions=("a",)) == ["sub-02_ses-a_T1w.nii.gz"]
    # A run is an index: 1 and 01 are the same one.
    assert names(dataset, runs=("1",)) == ["sub-02_ses-b_acq-hi_run-01_T1w.nii.gz"]
    absent = {"t1w": {"acq": bids.ABSENT, "rec": bids.ABSENT}}
    assert names(dataset, by_contrast=absent) == ["sub-01_T1w.nii.gz", "sub-02_ses-a_T1w.nii.gz"]
    assert len(names(dataset, by_contrast={"t1w": {"acq": bids.ANY}})) == 2


def test_other_contrasts_of_the_same_session_go_with_a_scan(dataset: Path) -> None:
    (dataset / "sub-02" / "ses-b" / "anat" / "sub-02_ses-b_PDw.nii.gz").touch()
    scans = {
        str(f.name): {suffix: path.name for suffix, path in f.contrasts}
        for f in find_scans(dataset)
    }
    assert scans["sub-02_ses-a_T1w.nii.gz"] == {
        "T2w": "sub-02_ses-a_T2w.nii.gz",
        "FLAIR": "sub-02_ses-a_FLAIR.nii.gz",
    }
    # Of two the one whose entities agree best.
    assert scans["sub-02_ses-b_acq-hi_run-01_T1w.nii.gz"] == {
        "T2w": "sub-02_ses-b_acq-hi_T2w.nii.gz",
        "PDw": "sub-02_ses-b_PDw.nii.gz",
    }
    assert scans["sub-01_T1w.nii.gz"] == {}


def test_the_same_scan_in_two_formats_is_one(
    dataset: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (dataset / "sub-01" / "anat" / "sub-01_T1w.nii").touch()
    assert names(dataset).count("sub-01_T1w.nii.gz") + names(dataset).count("sub-01_T1w.nii") == 1
    assert "is the same scan by its name" in caplog.text


def test_a_scan_in_a_folder_of_another_session_is_left_out_and_told(
    dataset: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two scans of one name would share one place in the ledger."""
    for session in ("1", "2"):
        folder = dataset / "sub-04" / f"ses-{session}" / "anat"
        folder.mkdir(parents=True)
        (folder / "sub-04_T1w.nii.gz").touch()
    (dataset / "sub-01" / "anat" / "sub-02_T1w.nii.gz").touch()
    lost: list[str] = []
    found = find_scans(dataset, unreadable=lost)
    assert len(found) == 5
    assert lost == [
        "sub-01/anat/sub-02_T1w.nii.gz",
        "sub-04/ses-1/anat/sub-04_T1w.nii.gz",
        "sub-04/ses-2/anat/sub-04_T1w.nii.gz",
    ]
    assert "sub-04_T1w.nii.gz: left out, it lies in ses-1/" in caplog.text


@pytest.mark.parametrize("label", ["x_1", "01-02", "é", ""])
def test_a_folder_whose_label_is_none_is_told(
    dataset: Path, caplog: pytest.LogCaptureFixture, label: str
) -> None:
    (dataset / f"sub-{label}" / "anat").mkdir(parents=True)
    (dataset / f"sub-{label}" / "anat" / f"sub-{label}_T1w.nii.gz").touch()
    assert len(find_scans(dataset)) == 5
    assert f"sub-{label}/: left out" in caplog.text


def test_a_name_that_is_none_is_told(dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    (dataset / "sub-01" / "anat" / "sub-01_run_T1w.nii.gz").touch()
    lost: list[str] = []
    find_scans(dataset, unreadable=lost)
    assert lost == ["sub-01/anat/sub-01_run_T1w.nii.gz"]
    assert "it is no BIDS name" in caplog.text


def test_broken_links_are_found_so_that_they_can_be_reported(dataset: Path) -> None:
    (dataset / "sub-01" / "anat" / "sub-01_run-9_T1w.nii.gz").symlink_to("gone")
    assert "sub-01_run-9_T1w.nii.gz" in names(dataset)


def test_a_scan_costs_two_looks_at_folders_and_no_open_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a thousand participants are found in a moment, also over a network."""
    root = make_dataset(tmp_path / "raw", [f"sub-{i:02d}_T1w.nii.gz" for i in range(50)])
    scandir, looked = os.scandir, []
    monkeypatch.setattr(os, "scandir", lambda path: looked.append(path) or scandir(path))
    monkeypatch.setattr("builtins.open", lambda *args, **kwargs: pytest.fail("opened a file"))
    assert len(find_scans(root)) == 50
    assert len(looked) <= 1 + 2 * 50


def test_nothing_found_says_so(dataset: Path) -> None:
    with pytest.raises(NothingMatchedError, match="no T1w scan among 3 participants"):
        names(dataset, participants=("99",))
    with pytest.raises(NothingMatchedError):
        names(dataset, sessions=("zz",))


@pytest.mark.parametrize("content", [None, "{", "[]", '{"Name": "x"}'])
def test_an_invalid_dataset_is_told(dataset: Path, content: str | None) -> None:
    path = dataset / "dataset_description.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidDatasetError, match="`skip_bids_validation`"):
        check_dataset(dataset)


def test_an_absent_dataset_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match="no such folder"):
        check_dataset(tmp_path / "nowhere")


def test_a_filter_file_takes_long_and_short_names(tmp_path: Path) -> None:
    path = tmp_path / "filter.json"
    content = {
        "t1w": {"datatype": "anat", "session": ["ses-1", 2], "acquisition": None, "rec": "*"},
        "flair": {"suffix": "FLAIR", "run": 3},
    }
    path.write_text(json.dumps(content))
    assert read_filters(path) == {
        "t1w": {"ses": frozenset({"1", "2"}), "acq": None, "rec": "*"},
        "flair": {"run": frozenset({"3"})},
    }


@pytest.mark.parametrize(
    "content",
    ["nonsense", "[]", '{"bold": {}}', '{"t1w": {"colour": "red"}}', '{"t1w": {"run": {}}}'],
)
def test_a_wrong_filter_file_is_told(tmp_path: Path, content: str) -> None:
    path = tmp_path / "filter.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"filter\.json"):
        read_filters(path)


LABELS = st.text("abcXYZ0123456789", min_size=1, max_size=6)
PAIRS = st.tuples(st.sampled_from(bids.ENTITIES[1:]), LABELS)


@given(
    sub=LABELS,
    others=st.lists(PAIRS, unique_by=lambda pair: pair[0]),
    suffix=st.sampled_from(["T1w", "T2w", "FLAIR", "dseg"]),
    extension=st.sampled_from([".nii", ".nii.gz", ".json"]),
)
def test_a_name_taken_apart_goes_together_again(
    sub: str, others: list[tuple[str, str]], suffix: str, extension: str
) -> None:
    pairs = (("sub", sub), *others)
    text = "_".join(f"{k}-{v}" for k, v in pairs) + f"_{suffix}{extension}"
    name = bids.parse(text)
    assert name == bids.Name(pairs, suffix, extension)
    assert str(name) == text


@pytest.mark.parametrize(
    "text",
    ["T1w.nii.gz", "sub-01.nii.gz", "sub-_T1w.nii.gz", "sub-01_sub-02_T1w.nii", ".sub-01_T1w.nii"],
)
def test_what_is_no_name_is_not_taken_for_one(text: str) -> None:
    assert bids.parse(text) is None


def test_one_unreadable_folder_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for sub in ("01", "02", "03"):
        anat = tmp_path / f"sub-{sub}" / "anat"
        anat.mkdir(parents=True)
        (anat / f"sub-{sub}_T1w.nii").touch()
    (tmp_path / "sub-04").symlink_to(tmp_path / "sub-04")  # leads to itself
    scandir = os.scandir

    def refusing(folder: Path) -> object:
        if str(folder).endswith(("sub-01/anat", "sub-03")):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    lost: list[str] = []
    assert [f.folder for f in find_scans(tmp_path, unreadable=lost)] == ["sub-02/anat"]
    assert lost == ["sub-01/anat", "sub-03"]
    assert "sub-01/anat: left out" in caplog.text
