"""What lies at the root of an output folder: what it is, what its names mean, how to begin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import brainseg
from brainseg.io import atomic
from brainseg.io.lookups import label_table
from brainseg.tissues.tables import THREE

BIDS_VERSION = "1.11.0"
# Ours beside what BIDS knows.
IGNORE = (
    "*_mixture.json\n*_report.html\n*_explain.html\n*_models.html\n*_desc-quality_*\n"
    "*_desc-contact_*\n*_volumes.*\n*_long.*\n*_lesions.*\n*_xfm.txt\ngroup_*\nqc_*\nlogs/\nlookup\n"
)
DESCRIPTIONS = {
    "brain": "Brain mask: the brain and the CSF inside the dura",
    "preproc": "The scan divided by its bias field, where one was found; the skull is kept",
    "brainseg": "Everything that was estimated: mixture, volumes, options, versions, warnings",
    "posterior": "Tissues of the table that was asked for, by their posterior probability",
    "prior": "Where head atlas and head network expected each part of the brain",
    "quality": "Verdict of the automatic checks and the numbers that they rest on",
    "long": "Carried back from the space in the middle of a person's visits",
    "mean": "Mean of a person's aligned visits",
    "lesions": "Lesion candidates of a person at any visit, by number",
    "contact": "Small picture that stands for the scan on the page of the study",
}
README = """\
# Tissue maps by brainseg {version}

Begin with `*_report.html`: one page a scan, to judge the result by. It opens in any browser and
needs no network.

- `*_volumes.tsv`: volumes in mL, left and right halves, intensities; `*_volumes.json` explains it
- `*_desc-brain_mask`: brain mask
- `*_desc-preproc_T1w`: the scan, bias field removed
- `*_dseg` without `desc-`: label map of grey matter (1), white matter (2) and CSF (3)
- `*_label-GM_probseg`, `-WM`, `-CSF`: share of each in every voxel
- `*_label-L_probseg`: probability of a lesion, where there was a FLAIR scan or a mask of lesions
- `*_seg-six_desc-posterior_dseg`, `*_seg-six_label-*_desc-posterior_probseg`: the tissues of the
  table that was asked for; its `WM` is `sixWM` there, so that nobody takes it for all white matter
- `*_seg-regions_desc-prior_dseg`: where head atlas and head network expected each part of the brain
- `*_desc-quality_T1w.json`: verdict, its reasons, quality numbers
- `*_desc-brainseg_mixture.json`: all that was estimated, options, versions, hash of the input
- `*_long.html`, `*_long.tsv`, `*_lesions.tsv`: what changed between the visits of one person

`lookup/` has names and colours of the label values for other programs, a file for each table:

- ITK-SNAP: `itksnap -g SCAN -s DSEG -l lookup/six_itksnap.label`
- 3D Slicer: drag `lookup/six_slicer.ctbl` in, then choose it as the colours of the label map
- FreeSurfer: `freeview -v SCAN DSEG:colormap=lut:lut=lookup/six_freesurfer.txt`

Images lie on the grid of their scan. Research software, not a medical device.
"""


def describe_folder(root: Path) -> None:
    """Write the README of an output folder, once.

    Raises
    ------
    CannotCreateError, OutputError
    """
    _write_new(root / "README.md", README.format(version=brainseg.__version__))


def describe_dataset(root: Path, extra: dict[str, Any] | None = None) -> None:
    """Write the files at the root of a derivative dataset, once: what it is and what names mean.

    Raises
    ------
    CannotCreateError, OutputError
    """
    description = {
        "Name": "brainseg tissue maps",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "brainseg", "Version": brainseg.__version__}],
    } | (extra or {})
    rows = ["desc_id\tdescription", *(f"desc-{k}\t{v}" for k, v in DESCRIPTIONS.items())]
    _write_new(root / "dataset_description.json", json.dumps(description, indent=2) + "\n")
    _write_new(root / ".bidsignore", IGNORE)
    _write_new(root / "descriptions.tsv", "\n".join(rows) + "\n")
    _write_new(root / "dseg.tsv", label_table(THREE))
    describe_folder(root)


def _write_new(path: Path, text: str) -> None:
    if not path.exists():
        atomic.write_text(path, text)
