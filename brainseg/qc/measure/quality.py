"""Quality numbers of a scan and its segmentation; `brainseg.qc.measure.numbers` explains each.

Formulas are MRIQC's (Esteban et al. 2017, doi:10.1371/journal.pone.0184661) with our tissue
fractions in place of FAST's; differences are named where they are. Head and air are taken from the
scan as it came: MRIQC divides them by the bias field too, ours is known inside the brain only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from brainseg.core.masking import bounding_box, largest_part, widened
from brainseg.core.volume import Array, BoolArray, FloatArray
from brainseg.mixture import bhattacharyya
from brainseg.qc.measure import integrity, skull
from brainseg.qc.measure.air import Surroundings
from brainseg.qc.measure.numbers import AGAINST_MAP, TISSUES
from brainseg.qc.measure.schema import number
from brainseg.qc.measure.subject import Subject
from brainseg.tissues.tables import TissueTable

MAD_TO_SD = 1.4826
# Voxels at least this pure stand for a tissue, as in MRIQC.
PURE = 0.85
# 1 / sqrt(2 / (4 - pi)): the Rayleigh noise of air seen as the Gaussian noise of tissue.
DIETRICH = 1.0 / math.sqrt(2.0 / (4.0 - math.pi))
RIM_MM = 2.0
# Bone and air are darker than this share of grey matter on T1w; CSF is brighter.
BONE = 0.25
RIM_GRID_MM = 1.6
NO_AIR = "the picture holds no air, or the background was removed"


@dataclass(frozen=True)
class Quality:
    """The numbers of one scan.

    Attributes
    ----------
    values : dict
        Key of `brainseg.qc.measure.numbers.NUMBERS` to the number; None where it cannot be given.
    reasons : dict
        Key to the reason, for those that are None.
    """

    values: dict[str, float | None]
    reasons: dict[str, str]

    def get(self, key: str) -> float | None:
        """Return the number, None where it is missing."""
        return self.values.get(key)


def measure(subject: Subject, around: Surroundings) -> Quality:
    """Compute every quality number of a scan."""
    values: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    head, air = around.head, around.air
    stats = {
        t: summary(subject.samples[subject.fractions[:, k] > PURE]) for k, t in enumerate(TISSUES)
    }
    stats["bg"] = summary(air)
    for name, numbers in stats.items():
        values |= {f"summary_{name}_{s}": v for s, v in numbers.items()}
    csf_gm_wm = [stats[t] for t in TISSUES]
    values |= {f"snr_{t}": snr(s) for t, s in zip(TISSUES, csf_gm_wm, strict=True)}
    values |= {f"snrd_{t}": snr_dietrich(s, stats["bg"]) for t, s in zip(TISSUES, csf_gm_wm,
                                                                         strict=True)}  # fmt: skip
    values["cnr"] = cnr(stats["wm"], stats["gm"], stats["bg"])
    values["cjv"] = cjv(stats["wm"], stats["gm"])
    values["efc"] = efc(subject.volume.data[::2, ::2, ::2]) if air.size else None
    values["fber"] = fber(head, air)
    values["wm2max"] = _ratio(
        stats["wm"]["median"], float(np.percentile(subject.volume.data[::2, ::2, ::2], 99.95))
    )
    values |= inu(subject)
    for k, t in enumerate(TISSUES):
        values[f"rpve_{t}"] = rpve(subject.fractions[:, k])
        values[f"icvs_{t}"] = float(subject.fractions[:, k].mean(dtype=np.float64))
    values |= smoothness(subject)
    values |= mixture_numbers(subject)
    values |= mask_numbers(subject, stats)
    values |= integrity_numbers(subject, stats)
    values |= against_map(subject)
    if subject.head is not None and subject.skull is not None:
        values |= skull.numbers(subject.skull, subject.head, subject.record["head"])
    for key, value in values.items():
        if value is None or not math.isfinite(value):
            values[key] = None
            reasons[key] = _unknown(subject) if key in AGAINST_MAP else _reason(key, air)
    return Quality(values, reasons)


def integrity_numbers(
    subject: Subject, stats: dict[str, dict[str, float | None]]
) -> dict[str, float | None]:
    """Signs of a scan that is not whole, or not as its header says."""
    volume, mask = subject.volume, subject.mask
    values = integrity.measure_planes(volume.data, mask)
    values["head_turn"] = integrity.measure_turn(subject.fractions, mask, volume.zooms)
    values["sides_gm_wm"] = integrity.measure_sides(subject.fractions, mask)
    values |= integrity.measure_proportions(mask, volume.zooms)
    values |= integrity.measure_rim(subject.fractions, mask, volume.zooms)
    values["zoom_max"] = max(volume.zooms)
    values["gm_level"] = None
    gm, wm = stats["gm"]["median"], stats["wm"]["median"]
    if gm is not None and wm is not None:
        low = float(np.percentile(volume.data[::2, ::2, ::2], 0.5))
        values["gm_level"] = _ratio(gm - low, wm - low)
    return values


def against_map(subject: Subject) -> dict[str, float | None]:
    """How far mask and tissues agree with the head network's map, as the record has it."""
    known = subject.record.get("agreement", {}).get("numbers", {})
    return {key: number(known.get(key)) for key in AGAINST_MAP}


def _unknown(subject: Subject) -> str:
    told = subject.record.get("agreement", {}).get("unknown", "")
    return str(told) or "nothing of it was seen in the scan"


def _reason(key: str, air: Array) -> str:
    if not air.size and key.startswith(("snrd", "efc", "fber", "summary_bg")):
        return NO_AIR
    if key == "fber":
        return "at least half of the air is exactly 0"
    if key.startswith("inu"):
        return "no bias field was estimated"
    return "too few voxels of this tissue, or no spread in them"


def summary(values: Array) -> dict[str, float | None]:
    """Return MRIQC's summary statistics of intensities; all None for fewer than 20 of them."""
    names = ("mean", "stdv", "median", "mad", "p05", "p95", "k")
    if values.size < 20:
        return dict.fromkeys(names) | {"n": float(values.size)}
    x = values.astype(np.float64)
    p05, median, p95 = np.percentile(x, [5, 50, 95])
    mean, sd = float(x.mean()), float(x.std())
    mad = float(np.median(np.abs(x - median))) * MAD_TO_SD
    kurtosis = float((((x - mean) / sd) ** 4).mean() - 3.0) if sd > 0 else None
    numbers = (mean, sd, float(median), mad, float(p05), float(p95), kurtosis)
    return dict(zip(names, numbers, strict=True)) | {"n": float(x.size)}


def snr(tissue: dict[str, float | None]) -> float | None:
    """Signal to noise inside a tissue: median / (sd sqrt(n / (n - 1)))."""
    n = tissue["n"]
    if tissue["stdv"] is None or n is None:
        return None
    return _ratio(tissue["median"], tissue["stdv"] * math.sqrt(n / (n - 1.0)))


def snr_dietrich(tissue: dict[str, float | None], air: dict[str, float | None]) -> float | None:
    """Signal to the noise of air (Dietrich et al. 2007, doi:10.1002/jmri.20969).

    Coarse integers can leave the air a MAD of 0; its sd stands in, as in MRIQC.
    """
    ratio = _ratio(tissue["median"], air["mad"] or air["stdv"])
    return None if ratio is None else DIETRICH * ratio


def cnr(
    wm: dict[str, float | None], gm: dict[str, float | None], air: dict[str, float | None]
) -> float | None:
    """Contrast of white and grey matter to noise (Magnotta & Friedman 2006).

    Without air its variance, small beside the tissues', is taken as 0.
    """
    if wm["median"] is None or gm["median"] is None or wm["stdv"] is None or gm["stdv"] is None:
        return None
    noise = (air["stdv"] or 0.0) ** 2 + wm["stdv"] ** 2 + gm["stdv"] ** 2
    return _ratio(abs(wm["median"] - gm["median"]), math.sqrt(noise))


def cjv(wm: dict[str, float | None], gm: dict[str, float | None]) -> float | None:
    """Coefficient of joint variation of white and grey matter (Ganzetti et al. 2016)."""
    if wm["mad"] is None or gm["mad"] is None or wm["median"] is None or gm["median"] is None:
        return None
    return _ratio(wm["mad"] + gm["mad"], abs(wm["median"] - gm["median"]))


def efc(data: Array) -> float | None:
    """Entropy focus criterion (Atkinson et al. 1997, doi:10.1109/42.650886), normalised by size."""
    x = np.abs(data.astype(np.float32, copy=False)).ravel()
    if x.size < 2 or not x.max() > 0:
        return None
    x = x / x.max()  # squares of 1e30 are beyond single precision, and only shares count
    energy = math.sqrt(float(np.dot(x, x)))
    share = x / np.float32(energy)
    share = share[share > 0]  # the smallest numbers become 0, and 0 log 0 is 0
    entropy = float((share * np.log(share)).sum(dtype=np.float64))
    n = int(x.size)
    largest = n * (1.0 / math.sqrt(n)) * math.log(1.0 / math.sqrt(n))
    return entropy / largest


def fber(head: Array, air: Array) -> float | None:
    """Ratio of the median energies of head and air."""
    if not air.size:
        return None
    return _ratio(
        float(np.median(np.abs(head.astype(np.float64)) ** 2)),
        float(np.median(np.abs(air.astype(np.float64)) ** 2)),
    )


def inu(subject: Subject) -> dict[str, float | None]:
    """Spread and median of the bias field in the brain."""
    if subject.bias is None:
        return {"inu_range": None, "inu_med": None}
    p05, median, p95 = np.percentile(subject.bias[subject.mask][::5], [5, 50, 95])
    return {"inu_range": float(p95 - p05), "inu_med": float(median)}


def rpve(fraction: Array) -> float | None:
    """Residual partial volume: fractions between their 2nd and 98th percentile over the volume.

    Fractions are rounded to 1e-3, so that a pure voxel is 1 and an empty one 0, as in FAST's maps:
    else the 98th percentile would split the pure ones by their last bit.
    """
    fraction = np.round(fraction, 3)
    present = fraction[fraction > 0]
    if present.size < 20:
        return None
    low, high = np.percentile(present, [2, 98])
    between = present[(present >= low) & (present <= high)]
    return float(between.sum(dtype=np.float64) / present.size)


def smoothness(subject: Subject) -> dict[str, float | None]:
    """Full width at half maximum of the spatial correlation in mm (Forman et al. 1995).

    MRIQC calls AFNI's 3dFWHMx, which removes a polynomial trend first; here only the mean goes.
    """
    box = bounding_box(subject.mask)
    mask, data = subject.mask[box], subject.corrected[box]
    variance = float(subject.samples.var(dtype=np.float64))
    out: dict[str, float | None] = {}
    for axis, name in enumerate("xyz"):
        ahead: list[slice] = [slice(None)] * 3
        behind: list[slice] = [slice(None)] * 3
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        pair = mask[tuple(ahead)] & mask[tuple(behind)]
        difference = data[tuple(ahead)][pair] - data[tuple(behind)][pair]
        out[f"fwhm_{name}"] = _fwhm(difference, variance, subject.volume.zooms[axis])
    widths = [v for v in out.values() if v is not None]
    out["fwhm_avg"] = float(np.mean(widths)) if len(widths) == 3 else None
    return out


def _fwhm(difference: FloatArray, variance: float, zoom: float) -> float | None:
    if difference.size < 20 or variance <= 0:
        return None
    ratio = 1.0 - float((difference.astype(np.float64) ** 2).mean()) / (2.0 * variance)
    return zoom * math.sqrt(-2.0 * math.log(2.0) / math.log(ratio)) if 0 < ratio < 1 else None


def mixture_numbers(subject: Subject) -> dict[str, float | None]:
    """How well the mixture explains the brain and tells its tissues apart."""
    record = subject.record
    k, n = len(record["weights"]), subject.samples.size
    per_voxel = float(record["log_likelihood"][-1]) if record["log_likelihood"] else None
    means = np.array([np.ravel(m)[0] for m in record["means"]], dtype=float)
    variances = np.array([np.ravel(c)[0] for c in record["covariances"]], dtype=float)
    best = subject.responsibilities.max(axis=1)
    told = told_by_intensity(subject.table)
    return {
        "loglik_per_voxel": per_voxel,
        "bic_per_voxel": None
        if per_voxel is None
        else ((3 * k - 1) * math.log(n) - 2 * n * per_voxel) / n,
        "overlap_max": float(overlaps(means[told], variances[told]).max()) if k > 1 else None,
        "uncertain_share": float((best < 0.6).mean()),
        "entropy_mean": float(subject.entropy.mean(dtype=np.float64)),
    }


def told_by_intensity(table: TissueTable) -> list[int]:
    """Return the tissues that intensity is to tell apart.

    All of a table in order of intensity. Where regions follow, which are told by place and share
    their intensities, only the first of each of CSF, grey and white matter.
    """
    if not table.regional:
        return list(range(len(table)))
    return [table.parents.index(parent) for parent in sorted(set(table.parents))]


def overlaps(means: FloatArray, variances: FloatArray) -> FloatArray:
    """Bhattacharyya coefficient of each Gaussian with the next: 0 apart, 1 identical."""
    m = means.astype(np.float64)[:, None]
    s = variances.astype(np.float64)[:, None, None]
    overlap: FloatArray = np.exp(-np.diagonal(bhattacharyya(m, s, m, s), offset=1))
    return overlap


def mask_numbers(
    subject: Subject, stats: dict[str, dict[str, float | None]]
) -> dict[str, float | None]:
    """Signs of a mask that is too large, too small, cut or in pieces."""
    mask, volume = subject.mask, subject.volume
    box = widened(bounding_box(mask), volume, (RIM_MM + 2.0,) * 6)
    inside = mask[box]
    steps = [max(1, round(RIM_MM / z)) for z in volume.zooms]
    values: dict[str, float | None] = {
        "brain_ml": int(mask.sum()) * volume.voxel_volume,
        "mask_pieces": 1.0 - largest_part(inside)[1],
        "mask_at_border": _at_border(mask),
        "mask_cut": None,
        "mask_bone": None,
        "mask_edge": None,
        "mask_leak": None,
    }
    values["rim_to_depth"] = rim_to_depth(subject)
    gm, wm = stats["gm"], stats["wm"]
    outside = ~inside
    data = subject.corrected[box]
    if gm["median"] is None or gm["p05"] is None or wm["p95"] is None or wm["median"] is None:
        return values
    outer = data[grown(inside, steps) & outside]
    inner = data[grown(outside, steps) & inside]
    if not (outer.size and inner.size):
        return values
    black = float(data.min())
    bone = black + BONE * (gm["median"] - black)
    fat = wm["median"] + 1.6 * (wm["p95"] - wm["median"])
    cut = float(((outer > gm["p05"]) & (outer < wm["p95"])).mean())
    dark = float((inner < bone).mean())
    values |= {"mask_cut": cut, "mask_bone": dark, "mask_edge": cut + dark}
    values["mask_leak"] = float((inner > fat).mean())
    return values


def rim_to_depth(subject: Subject) -> float | None:
    """Median intensity of the brain's outermost 6 mm over that beyond 18 mm of depth.

    The rim holds sulci and cortex, the depth white matter, whatever a fit calls them: below 1 on a
    T1w scan. None for a mask that is nowhere 18 mm deep.
    """
    box = bounding_box(subject.mask)
    steps = [max(1, round(RIM_GRID_MM / z)) for z in subject.volume.zooms]
    thin = tuple(slice(None, None, step) for step in steps)
    mask = np.pad(subject.mask[box][thin], 1)
    data = np.pad(subject.corrected[box][thin], 1)
    zooms = [s * z for s, z in zip(steps, subject.volume.zooms, strict=True)]
    depth = ndimage.distance_transform_edt(mask, sampling=zooms)
    rim, deep = data[mask & (depth < 6)], data[mask & (depth > 18)]
    if rim.size < 20 or deep.size < 20:
        return None
    return _ratio(float(np.median(rim)), float(np.median(deep)))


def grown(mask: BoolArray, steps: list[int]) -> BoolArray:
    """Widen a mask by a box of so many voxels to each side of each axis."""
    out = mask.copy()
    for axis, n in enumerate(steps):
        grown_once = out.copy()
        for shift in range(1, n + 1):
            ahead: list[slice] = [slice(None)] * 3
            behind: list[slice] = [slice(None)] * 3
            ahead[axis], behind[axis] = slice(shift, None), slice(None, -shift)
            grown_once[tuple(ahead)] |= out[tuple(behind)]
            grown_once[tuple(behind)] |= out[tuple(ahead)]
        out = grown_once
    return out


def _at_border(mask: BoolArray) -> float:
    """Share of the mask's faces that lie on the edge of the grid."""
    inner = border = 0
    for axis in range(3):
        inner += int(np.count_nonzero(np.diff(mask, axis=axis)))
        first, last = mask.take(0, axis=axis), mask.take(-1, axis=axis)
        border += int(np.count_nonzero(first)) + int(np.count_nonzero(last))
    return border / max(inner + border, 1)


def _ratio(above: float | None, below: float | None) -> float | None:
    if above is None or below is None or below == 0:
        return None
    return above / below
