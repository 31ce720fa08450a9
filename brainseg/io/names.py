"""How the outputs of a scan are called: what stands after its own prefix, without extension.

Programs of the fMRIPrep family ask a folder for the label map that has neither ``space-`` nor
``desc-``, and for probability maps without ``space-`` whose label is ``GM``, ``WM`` or ``CSF``,
whatever else is in their names. Exactly the plain maps of the three tissues answer: label maps of
other tables carry a ``desc-``, and their probability maps no label of the three.
"""

from __future__ import annotations

import re

from brainseg.tissues.tables import THREE, Tissue, TissueTable

# What the name of an output has after the prefix; a new run clears what an old one left by it.
# A phantom's truth, `seg-true*`, lies in the same folder and stays. Label maps of a table had no
# `desc-` in version 0.2.0.
ENDING = re.compile(
    r"desc-brain_mask\.(nii|nii\.gz|json)"
    r"|desc-preproc_[A-Za-z0-9]+\.(nii|nii\.gz|json)"
    r"|(seg-(?!true)[A-Za-z0-9]+_)?(desc-(posterior|prior)_)?dseg\.(nii|nii\.gz|json|tsv)"
    r"|(seg-(?!true)[A-Za-z0-9]+_)?label-[A-Za-z0-9]+_(desc-posterior_)?probseg"
    r"\.(nii|nii\.gz|json)"
    r"|desc-brainseg_mixture\.json"
    r"|desc-quality_[A-Za-z0-9]+\.json"
    r"|desc-contact_[A-Za-z0-9]+\.webp"
    r"|volumes\.(tsv|json)"
    r"|report\.html"
)
RECORD = "desc-brainseg_mixture.json"
LABELS = "dseg"
"""Label map of the three tissues."""
REGIONS = "seg-regions_desc-prior_dseg"
LESIONS = "label-L_probseg"


def fraction(tissue: Tissue) -> str:
    """Map of the share of one of the three tissues."""
    return f"label-{tissue.abbreviation}_probseg"


def table_labels(table: TissueTable) -> str:
    """Label map of the table that was asked for."""
    return f"seg-{table.name}_desc-posterior_dseg"


def responsibility(table: TissueTable, tissue: Tissue) -> str:
    """Map of the probability of a tissue of that table; `sixWM` is not the `WM` of the three."""
    taken = tissue.abbreviation in {t.abbreviation for t in THREE.tissues}
    label = (table.name if taken else "") + tissue.abbreviation
    return f"seg-{table.name}_label-{label}_desc-posterior_probseg"
