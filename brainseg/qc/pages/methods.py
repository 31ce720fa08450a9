"""The methods paragraph: what was done to this scan, in words ready for a paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ROUTES = {
    "fused": "the mean of a convolutional network trained on synthetic images of any contrast and "
    "of a registered head atlas",
    "network": "a convolutional network trained on synthetic images of any contrast",
    "atlas": "registration of a head atlas (affine, then deformable)",
    "deepbet": "deepbet (Fisch et al. 2024, doi:10.1016/j.compbiomed.2024.108845)",
    "given": "a mask given by the user",
    "file": "a mask given by the user",
    "stripped": "the scan itself, which was already stripped (what is not background)",
}
BIAS = {
    "em": "A smooth bias field was estimated together with the mixture "
    "(Ashburner & Friston 2005, doi:10.1016/j.neuroimage.2005.02.018).",
    "n4": "The bias field was corrected with N4 inside the mask "
    "(Tustison et al. 2010, doi:10.1109/TMI.2010.2046908).",
    "none": "No bias field was corrected.",
}


PRIORS = {
    "atlas": "It was fitted by MAP expectation-maximisation (Dempster et al. 1977, "
    "doi:10.1111/j.2517-6161.1977.tb01600.x) with classes tied to their tissues (the mean of a "
    "boundary class lies between those of its neighbours) and a registered head atlas as spatial "
    "prior",
    "tied": "It was fitted by MAP expectation-maximisation (Dempster et al. 1977, "
    "doi:10.1111/j.2517-6161.1977.tb01600.x) with classes tied to their tissues (the mean of a "
    "boundary class lies between those of its neighbours)",
    "cohort": "It was fitted by MAP expectation-maximisation (Dempster et al. 1977, "
    "doi:10.1111/j.2517-6161.1977.tb01600.x), started from the mixture of a cohort and kept near "
    "it",
    "none": "It was fitted by maximum likelihood with expectation-maximisation (Dempster et al. "
    "1977, doi:10.1111/j.2517-6161.1977.tb01600.x), started from K-means",
}


def paragraph(record: Mapping[str, Any], *, even: bool = False) -> str:
    """Describe the segmentation that a record documents.

    Parameters
    ----------
    record : Mapping
        From `brainseg.io.derivatives.record`.
    even : bool
        The bias field that was looked for is flat.
    """
    versions, options = record["versions"], record["options"]
    libraries = ", ".join(f"{k} {v}" for k, v in versions.items() if k != "brainseg")
    route = record["brain"]["route"]
    tissues = ", ".join(t["name"][0].lower() + t["name"][1:] for t in record["tissues"])
    ended = "converged" if record["converged"] else "was stopped"
    smooth = options.get("smooth")
    if smooth is None:
        neighbours = "A mean-field Markov prior, its strength set by the scan's noise, joined"
    else:
        neighbours = f"A mean-field Markov prior of strength {smooth:g} joined"
    field = BIAS[options["bias"]]
    if even and options["bias"] != "none":
        field += " None stood out against anatomy, and the scan was left as it came."
    joined = "" if smooth == 0 else f" {neighbours} neighbouring voxels."
    return (
        f"The T1-weighted scan was segmented with brainseg {versions['brainseg']} ({libraries}). "
        f"The brain mask came from {ROUTES.get(route, route)}. {field} A Gaussian "
        f"mixture described the intensities inside the mask with {len(record['tissues'])} tissues "
        f"({tissues}). {PRIORS[options.get('prior', 'none')]}; it {ended} after "
        f"{record['n_iter']} iterations.{joined} Each voxel was labelled with the tissue of the "
        "largest posterior probability; volumes are sums of tissue fractions. Random seed "
        f"{record['seed']}."
    )


def provenance(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what identifies input, options and software; no free text of the header, no paths."""
    options = {k: v for k, v in record["options"].items() if v is not None}
    return [
        ("Input", record["input"]["name"]),
        ("SHA-256 of the input", record["input"]["sha256"]),
        ("Options", ", ".join(f"{k} {v}" for k, v in options.items())),
        ("Versions", ", ".join(f"{k} {v}" for k, v in record["versions"].items())),
    ]
