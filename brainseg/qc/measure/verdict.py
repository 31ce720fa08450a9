"""The automatic verdict: pass, look or fail, each with its reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """Where a number may lie: outside `look` a person should look, outside `fail` it failed.

    `where` names the place in the record's ``agreement`` that the number belongs to.
    """

    key: str
    text: str
    look: tuple[float, float]
    fail: tuple[float, float] = (float("-inf"), float("inf"))
    low: str = ""
    high: str = ""
    where: str = ""


INF = float("inf")
LEVEL = 5e-3  # nats per voxel by which the last iteration may still change the likelihood
RANGES = (
    Range("brain_ml", "The brain mask holds {:.0f} mL", (900, 2000), (600, 2200),
          "cut off, or a child's brain?", "leaks out of the brain?"),
    Range("mask_pieces", "{:.1%} of the mask is not connected to the rest", (-INF, 0.01),
          (-INF, 0.1)),
    Range("mask_at_border", "{:.1%} of the mask's surface lies on the edge of the picture",
          (-INF, 0.01), high="part of the brain may be missing"),
    # The limits of these stand between good and spoiled results of pipelines/calibrate_checks.py,
    # on heads that are not held out. Good masks have -1.8 to 0.0 mm inward, up to 2.1 mm distance,
    # 0.31 missing, 3.5 mm of depth missing (automatic masks of one patient, which lack frontal
    # poles, 4.5 to 6.0), 0.56 foreign, 8.2 mm away at most (automatic masks of another patient,
    # which leak into the skull's base, 12.8) and 0.03 mL of eyes. Masks eroded by 3 mm have 0.7 mm
    # inward and more, dilated ones -2.2 and less, all shifted ones but two 2.4 mm distance and
    # more, those without poles 0.45 missing and more, those without 15 mm of vertex lack what is
    # 4.0 mm away and more, those with a neck hold what is 9.4 mm away. Good tissues have 0.57 and
    # more.
    Range("map_inward_mm", "The mask's border lies {:.1f} mm inside the brain's", (-2.0, 0.5),
          (-4.5, 2.5), "is it too wide?", "is cortex cut off?"),
    Range("map_distance_mm", "The mask's border is {:.1f} mm away from the brain's",
          (-INF, 2.35), (-INF, 3.6), high="is the mask shifted, or that of another scan?"),
    Range("map_missing", "The mask leaves out brain ({:.0%} of the space around one place)",
          (-INF, 0.34), (-INF, 0.6), high="was it cut off?", where="missing_at"),
    Range("map_missing_mm", "The mask leaves out brain that lies {:.1f} mm outside it",
          (-INF, 3.75), (-INF, 12.0), high="was it cut off?", where="missing_at"),
    Range("map_foreign", "The mask holds what is no brain ({:.0%} of the space around one place)",
          (-INF, 0.6), (-INF, 0.8), high="does it leak?", where="foreign_at"),
    Range("map_foreign_mm", "The mask holds what lies {:.1f} mm outside the brain",
          (-INF, 9.0), (-INF, 20.0), high="does it leak?", where="foreign_at"),
    Range("map_eyes_ml", "The mask holds {:.1f} mL of the eyes", (-INF, 0.5), (-INF, 4.0)),
    Range("map_missing_cerebellum", "{:.0%} of the cerebellum is left out", (-INF, 0.15),
          (-INF, 0.5)),
    Range("map_missing_brain_stem", "{:.0%} of the brain stem is left out", (-INF, 0.15),
          (-INF, 0.5)),
    Range("map_missing_deep_grey", "{:.0%} of the deep grey matter is left out", (-INF, 0.06),
          (-INF, 0.3)),
    Range("map_csf", "Only {:.0%} of what the head network calls CSF is CSF", (0.45, INF),
          (0.3, INF), "swapped tissues, or no T1w scan?"),
    Range("map_gm", "Only {:.0%} of what the head network calls grey matter is grey matter",
          (0.45, INF), (0.3, INF), "swapped tissues, or no T1w scan?"),
    Range("map_wm", "Only {:.0%} of what the head network calls white matter is white matter",
          (0.5, INF), (0.35, INF), "swapped tissues, or no T1w scan?"),
    # 23 T1w scans have 0.86 at most; two T2w and two clinical FLAIR scans have 1.09 at least.
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
    # 34 scans of 22 people have 0.72 to 0.89, and 0.80 to 1.01; half a brain has 0.36 and 1.61.
    Range("brain_width", "The brain is {:.2f} times as wide as it is long", (0.63, 1.0),
          (0.45, 1.45),
          low="are the voxel sizes in the header right?",
          high="are the voxel sizes in the header right?"),
    Range("brain_height", "The brain's height is {:.2f} of its width and length", (0.74, 1.13),
          (0.5, 1.55),
          low="are the voxel sizes in the header right, is all of it in view?",
          high="are the voxel sizes in the header right?"),
    Range("sides_gm_wm", "Grey or white matter differs by {:.0%} between left and right",
          (-INF, 0.15), high="is half of the head damaged?"),
    # 18 clean heads and brains have at most 0.07 on any side and 0.16 at the back. Moving their
    # masks by 8 mm gives at least 0.13 and 0.26. Left out are three heads that are Look for other
    # reasons: the field of view cuts two brains (up to 0.31 at the back), and on the third the
    # atlas registration fails (0.28).
    Range("rim_white", "{:.0%} of the mask's surface on one side is white matter",
          (-INF, 0.11), high="does the mask lie beside the brain?"),
    Range("rim_white_back", "{:.0%} of the mask's surface at the back is white matter",
          (-INF, 0.22), high="does the mask lie beside the brain?"),
    Range("zoom_max", "The voxels measure {:.1f} mm", (-INF, 5.0), (-INF, 12.0),
          high="too coarse for the cortex"),
    Range("fwhm_avg", "The scan is smooth over {:.1f} mm", (-INF, 12.0),
          high="blurred, too coarse for the cortex"),
    # With the table of the whole head only. Seven of twelve heads have holes of less than 5 cm2 in
    # all; four have 6 to 13, where thin bone is missed; where the mask takes in the bone of the
    # vertex (fs001) it is 264. There 20 % of the brain's surface touched bone, elsewhere 7 to 19 %.
    # Limits of the volume are those of adults.
    Range("skull_open_cm2", "The skull has holes of {:.1f} cm² above its base", (-INF, 5.0),
          high="was bone called something else, or removed?"),
    Range("brain_touching", "{:.0%} of the brain's surface touched bone or skin before the "
          "clean-up", (-INF, 0.18), high="is the mask too wide, or the skull misplaced?"),
    Range("total_intracranial_volume_ml", "The skull holds {:.0f} mL", (1000, 2100), (700, 2500),
          "is all of the head in view?", "does it leak?"),
    Range("gm_level", "Grey matter is {:.0%} as bright as white matter", (0.35, 0.79), (0.1, 0.95),
          "is this a T1w scan?", "was the contrast changed?"),
)  # fmt: skip

# Without these a verdict would rest on nothing.
OF_MASK = ("map_inward_mm", "map_distance_mm", "map_missing", "map_foreign")
OF_CONTRAST = ("cjv",)
OF_TISSUES = (*OF_CONTRAST, "map_gm", "map_wm")
ESSENTIAL = (*OF_MASK, *OF_TISSUES)


def judge(subject: Subject, quality: Quality, warnings: Sequence[str] = ()) -> Verdict:
    """Judge a segmentation by its numbers, its warnings and the state of its fit."""
    places = subject.record.get("agreement", {})
    checks = out_of_range(quality, places)
    passed = sum(quality.get(r.key) is not None for r in RANGES) - len(checks)
    checks += _not_made(quality)
    history = subject.record["log_likelihood"]
    # A fit that is stopped early on purpose is level by then; one that still moves is not done. A
    # fit with a prior may fall, too.
    change = history[-1] - history[-2] if len(history) > 1 else 0.0
    if abs(change) > LEVEL:
        way = "rising" if change > 0 else "falling"
        checks.append(Check(LOOK, f"EM was stopped while the likelihood was still {way}"))
    checks += [Check(LOOK, warning) for warning in warnings]
    checks.sort(key=lambda c: -ORDER[c.level])
    level = checks[0].level if checks else PASS
    checks.append(Check(PASS, f"{passed} checks of mask, tissues and noise passed"))
    if subject.even and subject.bias is not None:
        checks.append(Check(PASS, "No bias field stood out; the scan was left as it came"))
    return Verdict(level, tuple(checks))


def _not_made(quality: Quality) -> list[Check]:
    """Return a check for what could not be measured: that is not passed."""
    found = []
    unknown = [key for key in OF_MASK if quality.get(key) is None]
    if unknown:
        reason = quality.reasons.get(unknown[0], "it was not measured")
        told = f"The mask could not be compared with the head network's map: {reason}"
        found.append(Check(LOOK, told))
    if any(quality.get(key) is None for key in (OF_CONTRAST if unknown else OF_TISSUES)):
        found.append(
            Check(LOOK, "The tissues could not be checked: too few voxels are purely grey or white "
                  "matter, so the tissue fit may have failed")
        )  # fmt: skip
    return found


def out_of_range(quality: Quality, places: Mapping[str, str] | None = None) -> list[Check]:
    """Return a check for each number that lies where it should not.

    Parameters
    ----------
    quality : Quality
    places : mapping of str to str, optional
        The record's ``agreement``: where in the head a number was found.
    """
    known = places or {}
    found = [_check(r, quality, str(known.get(r.where, ""))) for r in RANGES]
    return [check for check in found if check is not None]


def _check(r: Range, quality: Quality, place: str) -> Check | None:
    value = quality.get(r.key)
    if value is None:
        return None
    for level, (low, high) in ((FAIL, r.fail), (LOOK, r.look)):
        if not low <= value <= high:
            hint = ", ".join(h for h in (place, r.low if value < low else r.high) if h)
            return Check(level, r.text.format(value) + (f": {hint}" if hint else ""))
    return None
