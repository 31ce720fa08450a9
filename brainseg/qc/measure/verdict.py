"""The automatic verdict: pass, look or fail, each with its reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from brainseg.qc.measure.levels import FAIL, LOOK, ORDER, PASS, WORDS
from brainseg.qc.measure.quality import Quality
from brainseg.qc.measure.subject import Subject


@dataclass(frozen=True)
class Check:
    """One automatic check: its level and the reason in words, with the value seen."""

    level: str
    reason: str


@dataclass(frozen=True)
class Verdict:
    """The worst level of all checks, and the checks, worst first."""

    level: str
    checks: tuple[Check, ...]

    @property
    def word(self) -> str:
        """The verdict as it is printed."""
        return WORDS[self.level]

    def in_words(self) -> str:
        """Return the verdict with what is wrong, in one line: ``Look: 30 % of ...``."""
        reasons = [c.reason for c in self.checks if c.level != PASS]
        return f"{self.word}: {'; '.join(reasons)}" if reasons else self.word


@dataclass(frozen=True)
class Range:
    """Where a number may lie: outside `look` a person should look, outside `fail` it failed."""

    key: str
    text: str
    look: tuple[float, float]
    fail: tuple[float, float] = (float("-inf"), float("inf"))
    low: str = ""
    high: str = ""


INF = float("inf")
RISING = 5e-3  # nats per voxel in the last iteration
RANGES = (
    Range("brain_ml", "The brain mask holds {:.0f} mL", (900, 2000), (600, 2200),
          "cut off, or a child's brain?", "leaks out of the brain?"),
    Range("mask_pieces", "{:.1%} of the mask is not connected to the rest", (-INF, 0.01),
          (-INF, 0.1)),
    Range("mask_at_border", "{:.1%} of the mask's surface lies on the edge of the picture",
          (-INF, 0.01), high="part of the brain may be missing"),
    # The limits of these three stand between right and wrong masks of
    # pipelines/calibrate_checks.py.
    Range("mask_edge", "{:.0%} of the mask's edge has brain outside it or bone inside it",
          (-INF, 0.35), (-INF, 0.45),
          high="is the mask shifted, too large, or that of another scan?"),
    Range("mask_cut", "{:.0%} of what lies just outside the mask looks like grey or white matter",
          (-INF, 0.23), (-INF, 0.45), high="is cortex cut off?"),
    Range("mask_bone", "{:.0%} of the mask's edge is as dark as bone", (-INF, 0.22), (-INF, 0.4),
          high="does the mask leak into bone?"),
    Range("mask_leak", "{:.0%} of the mask's edge is brighter than white matter", (-INF, 0.05),
          (-INF, 0.2), high="does the mask leak into fat, marrow or eyes?"),
    # Of 23 T1w scans the highest is 0.86; two T2w and two clinical FLAIR scans have 1.09 and more.
    Range("rim_to_depth", "The brain's rim is {:.2f} times as bright as its depth", (-INF, 0.97),
          high="is this a T2w, PD or CT scan instead of a T1w?"),
    Range("icvs_csf", "CSF fills {:.0%} of the mask", (0.04, 0.40), (0.005, 0.65)),
    Range("icvs_gm", "Grey matter fills {:.0%} of the mask", (0.30, 0.68), (0.1, 0.85)),
    Range("icvs_wm", "White matter fills {:.0%} of the mask", (0.18, 0.55), (0.08, 0.75)),
    Range("cjv", "Grey and white matter overlap: CJV {:.2f}", (-INF, 0.75), (-INF, 1.6),
          high="noise, motion or bias"),
    Range("cnr", "Contrast of grey and white matter to noise: CNR {:.2f}", (1.8, INF), (0.8, INF)),
    # BrainWeb's noisiest scans, 9 % of white matter, have 11; its clean ones, 3 %, have 33.
    Range("snrd_wm", "White matter is only {:.1f} times the noise of the air", (12, INF), (5, INF),
          "a noisy scan"),
    Range("overlap_max", "Two neighbouring tissues overlap by {:.2f}", (-INF, 0.97),
          high="noise, or a tissue that the scan does not tell from the next"),
    Range("uncertain_share", "{:.0%} of the voxels are uncertain", (-INF, 0.40)),
    Range("inu_range", "The bias field varies by {:.2f}", (-INF, 0.8)),
    # The limits of these stand between clean and spoiled scans of pipelines/attack_images.py.
    Range("plane_jump", "Two neighbouring slices differ {:.1f} times as much as those nearby",
          (-INF, 1.8), high="are slices missing, swapped or damaged?"),
    Range("plane_comb", "Slices differ {:.2f} times as much from the next as from the next but one",
          (-INF, 0.92), high="is every other slice shifted?"),
    Range("plane_constant", "{:.0f} slices within the brain hold one value throughout", (-INF, 0.5),
          high="are they missing?"),
    Range("mask_flat", "The brain mask ends flat over {:.0%} of its cross-section", (-INF, 0.15),
          high="was a part of the head cut off?"),
    Range("head_turn", "The head resembles the atlas better turned or mirrored (by {:.2f})",
          (-INF, 0.08), high="are the axes in the header right?"),
    Range("sides_gm_wm", "Grey or white matter differs by {:.0%} between left and right",
          (-INF, 0.15), high="is half of the head damaged?"),
    Range("zoom_max", "The voxels measure {:.1f} mm", (-INF, 5.0), (-INF, 12.0),
          high="too coarse for the cortex"),
    Range("fwhm_avg", "The scan is smooth over {:.1f} mm", (-INF, 12.0),
          high="blurred, too coarse for the cortex"),
    Range("gm_level", "Grey matter is {:.0%} as bright as white matter", (0.35, 0.79), (0.1, 0.95),
          "is this a T1w scan?", "was the contrast changed?"),
)  # fmt: skip

# Without these a verdict would rest on nothing.
ESSENTIAL = ("mask_edge", "mask_cut", "mask_bone", "mask_leak", "cjv")


def judge(subject: Subject, quality: Quality, warnings: Sequence[str] = ()) -> Verdict:
    """Judge a segmentation by its numbers, its warnings and the state of its fit."""
    checks = out_of_range(quality)
    unknown = [key for key in ESSENTIAL if quality.get(key) is None]
    if unknown:
        # A check that cannot be made is not passed.
        checks.append(
            Check(LOOK, "The mask and the contrast could not be checked: too few voxels are purely "
                  "grey or white matter, so the tissue fit may have failed")
        )  # fmt: skip
    passed = sum(quality.get(r.key) is not None for r in RANGES) - len(out_of_range(quality))
    history = subject.record["log_likelihood"]
    # A fit that is stopped early on purpose is flat by then; one that still climbs is not done.
    if not subject.record["converged"] and len(history) > 1 and history[-1] - history[-2] > RISING:
        checks.append(Check(LOOK, "EM was stopped while the likelihood was still rising"))
    checks += [Check(LOOK, warning) for warning in warnings]
    checks.sort(key=lambda c: -ORDER[c.level])
    level = checks[0].level if checks else PASS
    checks.append(Check(PASS, f"{passed} checks of mask, tissues and noise passed"))
    if subject.even and subject.bias is not None:
        checks.append(Check(PASS, "No bias field stood out; the scan was left as it came"))
    return Verdict(level, tuple(checks))


def out_of_range(quality: Quality) -> list[Check]:
    """Return a check for each number that lies where it should not."""
    return [check for r in RANGES if (check := _check(r, quality)) is not None]


def _check(r: Range, quality: Quality) -> Check | None:
    value = quality.get(r.key)
    if value is None:
        return None
    for level, (low, high) in ((FAIL, r.fail), (LOOK, r.look)):
        if not low <= value <= high:
            hint = r.low if value < low else r.high
            return Check(level, r.text.format(value) + (f": {hint}" if hint else ""))
    return None
