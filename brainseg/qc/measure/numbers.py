"""The table of quality numbers: what each is, where it comes from, and which way is better."""

from __future__ import annotations

from dataclasses import dataclass

from brainseg.tissues.shells import INTRACRANIAL

LOWER, HIGHER, NEITHER = "lower", "higher", "–"
MAGNOTTA = "10.1007/s10278-006-0264-x"
MRIQC = "10.1371/journal.pone.0184661"


@dataclass(frozen=True)
class Number:
    """One quality number.

    Attributes
    ----------
    key : str
        Name in JSON and TSV.
    name : str
        Name in the page.
    better : str
        ``lower``, ``higher``, or a dash where neither end is good.
    what : str
        Formula in words.
    doi : str
        Source, empty for our own.
    group : str
        Heading under which it is shown.
    """

    key: str
    name: str
    better: str
    what: str
    doi: str
    group: str


_SIGNAL = "Signal and noise (formulas of MRIQC, doi:10.1371/journal.pone.0184661)"
_ARTEFACT = "Artefacts (formulas of MRIQC)"
_FIT = "Mask and mixture (our own)"
_MAP = "Result against the head network's map (our own)"
_HEAD = "The whole head (our own)"
_STATS = "Intensity of each tissue, corrected for bias (formulas of MRIQC)"

TISSUES = ("csf", "gm", "wm")
PARTS = {"cerebellum": "cerebellum", "brain_stem": "brain stem", "deep_grey": "deep grey matter"}

SUMMARISED = {"csf": "CSF", "gm": "GM", "wm": "WM", "bg": "Air"}
STATISTICS = {
    "mean": "mean", "stdv": "sd", "median": "median", "mad": "MAD × 1.4826", "p05": "5 %",
    "p95": "95 %", "k": "kurtosis", "n": "voxels",
}  # fmt: skip

NUMBERS: tuple[Number, ...] = (
    *(
        Number(
            f"snr_{t}", f"SNR of {t.upper()}", HIGHER,
            "median / (sd · √(n/(n−1))) of voxels at least 85 % this tissue", MAGNOTTA, _SIGNAL,
        )
        for t in TISSUES
    ),
    *(
        Number(
            f"snrd_{t}", f"SNR of {t.upper()}, Dietrich", HIGHER,
            "median / MAD of air · √(2/(4−π))⁻¹", "10.1002/jmri.20969", _SIGNAL,
        )
        for t in TISSUES
    ),
    Number("cnr", "CNR", HIGHER, "|median WM − median GM| / √(var air + var WM + var GM)",
           MAGNOTTA, _SIGNAL),
    Number("cjv", "CJV", LOWER, "(MAD WM + MAD GM) / |median WM − median GM|",
           "10.3389/fninf.2016.00010", _SIGNAL),
    Number("efc", "EFC", LOWER, "Shannon entropy of the voxels over its maximum; grows with "
           "ghosting and motion", "10.1109/42.650886", _ARTEFACT),
    Number("fber", "FBER", HIGHER, "median energy in the head / median energy in the air",
           "10.3389/conf.fnins.2015.91.00047", _ARTEFACT),
    Number("wm2max", "WM2MAX", NEITHER, "median WM / 99.95th percentile of the scan; 0.6 to 0.8 "
           "is usual, less with bright fat or vessels", MRIQC, _ARTEFACT),
    Number("inu_range", "INU, range", LOWER, "95th − 5th percentile of the bias field in the brain",
           "10.1109/TMI.2010.2046908", _ARTEFACT),
    Number("inu_med", "INU, median", NEITHER, "median of the bias field in the brain; near 1",
           "10.1109/TMI.2010.2046908", _ARTEFACT),
    *(
        Number(f"rpve_{t}", f"rPVE of {t.upper()}", LOWER, "sum of fractions between the 2nd and "
               "98th percentile / volume in which the tissue occurs", MRIQC, _ARTEFACT)
        for t in TISSUES
    ),
    *(
        Number(f"icvs_{t}", f"ICV share of {t.upper()}", NEITHER,
               "volume of the tissue / volume of all three", MRIQC, _ARTEFACT)
        for t in TISSUES
    ),
    *(
        Number(f"fwhm_{a}", f"FWHM along {a} (mm)", LOWER,
               "smoothness from the variance of differences of neighbours; voxels, noise and "
               "anatomy together", "10.1002/mrm.1910330508", _ARTEFACT)
        for a in ("x", "y", "z")
    ),
    Number("fwhm_avg", "FWHM, mean (mm)", LOWER, "mean of the three", "10.1002/mrm.1910330508",
           _ARTEFACT),
    Number("loglik_per_voxel", "Log-likelihood per voxel", HIGHER,
           "of the fitted mixture; compares fits of the same scan only", "", _FIT),
    Number("bic_per_voxel", "BIC per voxel", LOWER,
           "(p ln n − 2 n · log-likelihood per voxel) / n, p = 3K − 1 (more than a fit with "
           "tied classes has)",
           "10.1214/aos/1176344136", _FIT),
    Number("overlap_max", "Largest overlap of neighbours", LOWER,
           "Bhattacharyya coefficient of neighbouring tissues' Gaussians: 0 apart, 1 the same", "",
           _FIT),
    Number("uncertain_share", "Share of uncertain voxels", LOWER,
           "voxels whose most probable tissue has less than 0.6", "", _FIT),
    Number("entropy_mean", "Mean entropy", LOWER,
           "entropy of the responsibilities / log K, mean over the brain", "", _FIT),
    Number("brain_ml", "Volume of the brain mask (mL)", NEITHER,
           "600 to 2200 is possible, 1100 to 1800 usual in adults", "", _FIT),
    Number("rim_to_depth", "Rim over depth of the brain", NEITHER,
           "median intensity of the outermost 6 mm of the mask / that beyond 18 mm of depth: 0.5 "
           "to 0.86 on T1w scans, above 1 on T2w", "", _FIT),
    Number("mask_cut", "Tissue just outside the mask", LOWER,
           "share of the 2 mm outside the mask with the intensities of grey or white matter: "
           "high where cortex was cut off", "", _FIT),
    Number("mask_bone", "Bone-dark edge of the mask", LOWER,
           "share of the 2 mm inside the mask that is darker than a quarter of grey matter: "
           "high where the mask leaks into bone or air", "", _FIT),
    Number("mask_edge", "Wrong edge of the mask", LOWER,
           "the two above together: high where the mask is shifted against the brain", "", _FIT),
    Number("mask_leak", "Fat-bright edge of the mask", LOWER,
           "share of the 2 mm inside the mask that is brighter than nearly all white matter: "
           "high where the mask leaks into fat, marrow or eyes", "", _FIT),
    Number("mask_at_border", "Mask at the edge of the picture", LOWER,
           "share of the mask's surface that lies on the edge of the field of view", "", _FIT),
    Number("mask_pieces", "Mask outside its largest piece", LOWER,
           "share of the mask that is not connected to the rest", "", _FIT),
    Number("plane_jump", "Largest step between two planes", LOWER,
           "mean difference of neighbouring planes over the running median of it; high where "
           "slices are missing or swapped", "", _FIT),
    Number("plane_comb", "Next plane against next but one", LOWER,
           "median difference to the next plane over that to the next but one; above 1 where every "
           "other slice is shifted", "", _FIT),
    Number("plane_constant", "Planes of one value", LOWER,
           "planes across the mask that hold one value throughout", "", _FIT),
    Number("mask_flat", "Flat end of the mask", LOWER,
           "largest share of a cross-section at which the mask ends in one plane", "", _FIT),
    Number("head_turn", "Likeness to the turned atlas", LOWER,
           "correlation with the atlas, turned or mirrored at best, less that of the head as it "
           "lies; above 0 where axes may be wrong", "", _FIT),
    Number("sides_gm_wm", "Difference of the sides", LOWER,
           "|left − right| / (left + right) of grey or white matter, the larger", "", _FIT),
    Number("brain_width", "Width over length of the brain", NEITHER,
           "standard deviation of the mask's voxels left-right over that front-back; 0.72 to 0.89 "
           "is usual", "", _FIT),
    Number("brain_height", "Height over width and length of the brain", NEITHER,
           "standard deviation of the mask's voxels up-down over the geometric mean of the other "
           "two; 0.80 to 1.01 is usual", "", _FIT),
    Number("rim_white", "White matter at the mask's surface", LOWER,
           "mean share of white matter in the outermost 3 mm of the mask on the left, on the "
           "right, in front or on top, the largest; high where the mask cuts into the brain", "",
           _FIT),
    Number("rim_white_back", "White matter at the mask's back", LOWER,
           "the same at the back, where white matter lies nearer to the surface", "", _FIT),
    Number("zoom_max", "Largest voxel size (mm)", LOWER, "from the header", "", _FIT),
    Number("gm_level", "Grey over white matter", NEITHER,
           "median of grey over that of white matter, from the darkest of the scan on; near 1 "
           "where intensities were compressed", "", _FIT),
    Number("map_inward_mm", "Mask's border inside the map's (mm)", NEITHER,
           "mean distance of the mask's border from that of the network's brain, positive inside: "
           "high where the mask is eroded, low where it is too wide", "", _MAP),
    Number("map_distance_mm", "Mask's border from the map's (mm)", LOWER,
           "the same without sign: high where the mask is shifted or another head's", "", _MAP),
    Number("map_missing", "Brain that the mask leaves out", LOWER,
           "largest share of the 6 mm around one place that is grey or white matter outside the "
           "mask: high where a pole, the vertex or the cerebellum is cut off", "", _MAP),
    Number("map_missing_mm", "Depth of the brain left out (mm)", LOWER,
           "how far from the mask the 1 mL of grey or white matter lies that is furthest outside "
           "it: high where a cap is cut off, however thin", "", _MAP),
    Number("map_foreign", "No brain in the mask", LOWER,
           "largest share of the 6 mm around one place that is mask and surely no brain", "", _MAP),
    Number("map_foreign_mm", "Distance of what is no brain (mm)", LOWER,
           "how far from the brain the 1 mL of the mask lies that is surely no brain and furthest "
           "away: high where a neck or the base of the skull is taken in", "", _MAP),
    Number("map_eyes_ml", "Eyes in the mask (mL)", LOWER, "volume of eyes inside the mask", "",
           _MAP),
    *(
        Number(f"map_missing_{part}", f"Share of the {name} left out", LOWER,
               f"share of the {name} outside the mask", "", _MAP)
        for part, name in PARTS.items()
    ),
    *(
        Number(f"map_{t}", f"{t.upper()} where the map has it", HIGHER,
               f"share of {t.upper()} where the network is sure of it: low where tissues are "
               "swapped or the fit failed", "", _MAP)
        for t in TISSUES
    ),
    Number("skull_open_cm2", "Holes of the skull (cm²)", LOWER,
           "area of the openings of 10 mm² and more in the upper third of the skull, through which "
           "one comes from outside to the inside without passing bone", "", _HEAD),
    Number("skull_holes", "Holes of the skull", LOWER, "the number of these openings", "", _HEAD),
    Number("skull_mm", "Thickness of the skull (mm)", NEITHER,
           "median distance from the outer surface of the bone to the inside of the skull, in its "
           "upper third; marrow counts as bone", "", _HEAD),
    Number("brain_touching", "Brain that touched no CSF", LOWER,
           "share of the voxels around grey and white matter that were bone, soft tissue or air "
           "before the clean-up made them CSF", "", _HEAD),
    Number("total_intracranial_volume_ml", "Total intracranial volume (mL)", NEITHER,
           INTRACRANIAL, "", _HEAD),
    *(
        Number(f"summary_{t}_{s}", f"{name}: {words}", NEITHER, words, MRIQC, _STATS)
        for t, name in SUMMARISED.items()
        for s, words in STATISTICS.items()
    ),
)  # fmt: skip

# Those whose outliers point at odd scans; the summary statistics depend on the scanner's scale.
LOOKED_AT = tuple(n.key for n in NUMBERS if not n.key.startswith("summary_"))
BY_KEY = {n.key: n for n in NUMBERS}
OF_HEAD = tuple(n.key for n in NUMBERS if n.group == _HEAD)
"""With the table `brainseg.tissues.tables.HEAD` only."""
AGAINST_MAP = tuple(n.key for n in NUMBERS if n.group == _MAP)
