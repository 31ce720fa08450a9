"""The verdict of one person over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import pytest

from brainseg.longitudinal.change import changes
from brainseg.longitudinal.person import Person
from brainseg.qc.measure import person
from brainseg.qc.measure.levels import LOOK, PASS
from brainseg.qc.measure.verdict import Check, Verdict


@dataclass(frozen=True)
class Aligned:
    """What the checks of change look at."""

    likeness: float


def doubts(likeness: float, before: dict[str, float], after: dict[str, float]) -> list[str]:
    found = changes(["1", "2"], [before, after])
    checks = person._changes(cast(Person, Aligned(likeness)), found)
    assert {check.level for check in checks} <= {LOOK}
    return [check.reason for check in checks]


def test_what_disease_can_change_is_not_doubted() -> None:
    assert doubts(0.97, {"brain": 1000, "GM": 600, "WM": 400}, {"brain": 970, "GM": 570,
                                                               "WM": 400}) == []  # fmt: skip


@pytest.mark.parametrize(("tissue", "percent"), [("brain", -5.1), ("GM", 12.1), ("WM", -13.0)])
def test_a_change_beyond_disease_is_doubted(tissue: str, percent: float) -> None:
    (reason,) = doubts(0.97, {tissue: 1000.0}, {tissue: 1000.0 + 10 * percent})
    assert f"{percent:+.1f} %" in reason
    assert reason.startswith("ses-2")


def test_visits_that_are_little_alike_are_doubted() -> None:
    (reason,) = doubts(0.7, {"brain": 1000.0}, {"brain": 1000.0})
    assert "0.70" in reason


def test_what_all_visits_share_is_told_once() -> None:
    mask, noise, fine = Check(LOOK, "mask"), Check(LOOK, "noise"), Check(PASS, "9 passed")
    one, two = Verdict(LOOK, (mask, fine)), Verdict(LOOK, (mask, noise, fine))
    assert person._common(["1", "2"], [one, two]) == [mask, fine, Check(LOOK, "ses-2: noise")]
