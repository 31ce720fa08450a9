"""What each output file of a scan means; the page shows it beside what a run really wrote."""

from __future__ import annotations

import re
from pathlib import Path

ALWAYS, REPORT = "", "not with `--no-report`"
MEANINGS = (
    (r"desc-brain_mask\.nii\.gz", "desc-brain_mask.nii.gz",
     "Brain mask: 1 is brain and the CSF inside the dura", ALWAYS),
    (r"desc-preproc_T1w\.nii\.gz", "desc-preproc_T1w.nii.gz",
     "The scan, bias field removed (an offset of all intensities stays); the skull is kept",
     ALWAYS),
    (r"dseg\.nii\.gz", "dseg.nii.gz",
     "Label map of grey matter (1), white matter (2) and CSF (3): the set that other tools read",
     ALWAYS),
    (r"label-(CSF|GM|WM)_probseg\.nii\.gz", "label-{CSF,GM,WM}_probseg.nii.gz",
     "Share of each of the three in every voxel, partial volume counted. **The volume of grey "
     "matter is the sum of `label-GM`**, times the voxel's volume", ALWAYS),
    (r"seg-regions_desc-prior_dseg\.nii\.gz", "seg-regions_desc-prior_dseg.nii.gz",
     "Where the spatial prior expects each part of the brain: to check that atlas and network lie "
     "on this head, not a parcellation", "with `--prior atlas`"),
    (r"seg-[a-z0-9]+_desc-posterior_dseg\.nii\.gz", "seg-six_desc-posterior_dseg.nii.gz",
     "Label map of the table of `--tissues`; see [Tissues](tissues.md)", ALWAYS),
    (r"seg-[a-z0-9]+_label-[A-Za-z0-9]+_desc-posterior_probseg\.nii\.gz",
     "seg-six_label-*_desc-posterior_probseg.nii.gz",
     "Probability of each tissue of that table: the responsibilities. A tissue that is called as "
     "one of the three bears the table's name: `label-sixWM` is the white matter of the cerebrum",
     ALWAYS),
    (r"(seg-[a-z0-9]+_desc-[a-z]+_)?dseg\.tsv", "dseg.tsv, seg-*_dseg.tsv",
     "What the label values mean: index, name, abbreviation, colour, BIDS common label", ALWAYS),
    (r"label-L_probseg\.nii\.gz", "label-L_probseg.nii.gz",
     "Probability of a lesion of white matter (candidates)", "with `--flair`"),
    (r"volumes\.tsv", "volumes.tsv",
     "**Volumes to take home**, one row a structure: mL, halves, asymmetry, share of the "
     "intracranial volume, mean intensity, lesion count", ALWAYS),
    (r"volumes\.json", "volumes.json", "What each column of `volumes.tsv` is", ALWAYS),
    (r"desc-quality_T1w\.json", "desc-quality_T1w.json",
     "Verdict, its reasons, and every [quality number](quality.md)", ALWAYS),
    (r"desc-brainseg_mixture\.json", "desc-brainseg_mixture.json",
     "Everything that was estimated, options, versions, warnings, hash of the input; written last, "
     "it stands for a complete result", ALWAYS),
    (r"report\.html", "report.html", "The page to judge the result by; one file, works offline",
     REPORT),
    (r"desc-contact_T1w\.webp", "desc-contact_T1w.webp",
     "Small picture that stands for the scan on the study's page", REPORT),
    (r".*_(mask|dseg|probseg|T1w)\.json|dseg\.json", "*.json beside an image",
     "BIDS sidecar: which scan it was made from, whether it is stripped, what it is", ALWAYS),
)  # fmt: skip
"""Pattern of the name after the prefix; how it is shown; meaning; when, if not always."""
INPUT = (r"T1w\.nii\.gz",)
"""The scan of the example lies in the folder of its results."""


def rows(folder: Path) -> list[list[str]]:
    """Return the rows of the page; a file that no meaning covers has a row that says so."""
    names = [p.name for p in sorted(folder.iterdir()) if p.name.startswith("phantom_")]
    # The synthetic head itself and its truth are the input here.
    written = [n.removeprefix("phantom_") for n in names if "tru" not in n]
    out = [
        [f"`{shown}`", f"{meaning} ({when})" if when else meaning]
        for _, shown, meaning, when in MEANINGS
    ]
    unknown = [n for n in written if not any(re.fullmatch(m[0], n) for m in (*MEANINGS, INPUT))]
    return out + [[f"`{name}`", "see the sidecar beside it"] for name in unknown]
