"""Ratings: nothing is lost, everything can be taken back, and raters can be compared."""

from __future__ import annotations

import json
import multiprocessing
import os

import pytest

from brainseg.errors import CannotCreateError, DataError
from brainseg.qc.review import ratings
from brainseg.qc.review.ratings import Rating, append, cohen_kappa, read, standing, undo


def test_what_is_appended_is_read_back(tmp_path):
    given = Rating("sub-01", "ann", "fail", ("motion", "mask leak"), ("mask",), "see\tthe\nneck", 4)
    kept = append(tmp_path, given)
    (row,) = read(tmp_path)
    assert row == kept.__class__(**{**kept.__dict__, "notes": "see the neck"})
    assert (row.rating, row.tags, row.flags, row.seconds) == (
        "fail", ("motion", "mask leak"), ("mask",), 4.0,
    )  # fmt: skip
    assert row.time.endswith("Z")


def test_the_table_is_bids_and_has_a_dictionary(tmp_path):
    append(tmp_path, Rating("sub-01", "ann", "pass"))
    lines = (tmp_path / "qc_ratings.tsv").read_text().splitlines()
    assert lines[0].split("\t") == list(ratings.COLUMNS)
    assert len(lines[1].split("\t")) == len(ratings.COLUMNS)
    assert set(json.loads((tmp_path / "qc_ratings.json").read_text())) == set(ratings.COLUMNS)


def test_the_last_rating_stands_and_history_is_kept(tmp_path):
    append(tmp_path, Rating("sub-01", "ann", "pass"))
    append(tmp_path, Rating("sub-01", "ann", "fail"))
    assert standing(read(tmp_path))["sub-01", "ann"].rating == "fail"
    assert len(read(tmp_path)) == 2


def test_undo_returns_to_the_rating_before_and_then_to_none(tmp_path):
    for scan, rating in (("a", "pass"), ("b", "pass"), ("a", "fail")):
        append(tmp_path, Rating(scan, "ann", rating))
    append(tmp_path, Rating("a", "bob", "uncertain"))
    assert undo(tmp_path, "ann").scan == "a"
    assert standing(read(tmp_path))["a", "ann"].rating == "pass"
    assert [undo(tmp_path, "ann").scan for _ in range(2)] == ["b", "a"]
    assert undo(tmp_path, "ann") is None
    assert list(standing(read(tmp_path))) == [("a", "bob")]


def test_a_line_cut_off_by_a_dying_machine_costs_only_itself(tmp_path):
    append(tmp_path, Rating("sub-01", "ann", "pass"))
    with (tmp_path / "qc_ratings.tsv").open("a") as table:
        table.write("2025-01-01T00:00:00Z\tsub-02\tann\tra")
    append(tmp_path, Rating("sub-03", "ann", "fail"))
    assert [r.scan for r in read(tmp_path)] == ["sub-01", "sub-03"]


def _append_many(folder, rater):
    for n in range(40):
        append(folder, Rating(f"sub-{n:02d}", rater, "pass", notes="x" * 300))


def test_several_processes_append_without_mixing_lines(tmp_path):
    workers = [
        multiprocessing.get_context("spawn").Process(target=_append_many, args=(tmp_path, rater))
        for rater in ("ann", "bob")
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    rows = read(tmp_path)
    assert len(rows) == 80
    assert len((tmp_path / "qc_ratings.tsv").read_text().splitlines()) == 81


def test_kappa_of_a_known_table():
    # Cohen's textbook case: 20 yes-yes, 15 no-no, 5 and 10 off the diagonal gives 0.4.
    a = ["y"] * 25 + ["n"] * 25
    b = ["y"] * 20 + ["n"] * 5 + ["y"] * 10 + ["n"] * 15
    assert cohen_kappa(a, b) == pytest.approx(0.4)
    assert cohen_kappa(["y", "n"], ["y", "n"]) == 1.0
    assert cohen_kappa(["y", "y"], ["y", "y"]) is None


def test_agreement_covers_scans_that_both_rated(tmp_path):
    for scan, ann, bob in (("a", "pass", "pass"), ("b", "fail", "fail"), ("c", "pass", None)):
        append(tmp_path, Rating(scan, "ann", ann))
        if bob:
            append(tmp_path, Rating(scan, "bob", bob))
    (pair,) = ratings.agreement(read(tmp_path))
    assert (pair.raters, pair.kappa, pair.scans) == (("ann", "bob"), 1.0, 2)


def test_failed_follows_the_majority_and_the_worse_of_a_tie(tmp_path):
    for scan, rater, rating in (
        ("a", "ann", "fail"), ("a", "bob", "pass"), ("a", "cy", "pass"),
        ("b", "ann", "fail"), ("b", "bob", "pass"), ("c", "ann", "uncertain"),
    ):  # fmt: skip
        append(tmp_path, Rating(scan, rater, rating))
    assert ratings.failed(tmp_path) == {"b"}
    assert ratings.failed(tmp_path / "nowhere") == set()


@pytest.mark.parametrize(
    "wrong",
    [
        {"rating": "good"},
        {"tags": ("blurry",)},
        {"rater": " "},
    ],
)
def test_ratings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(DataError):
        Rating(**{"scan": "a", "rater": "ann", "rating": "pass"} | wrong)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_said(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(CannotCreateError, match="qc_ratings"):
        append(tmp_path, Rating("a", "ann", "pass"))
