"""The methods paragraph: what was done to a scan or a person, in words ready for a paper.

The one template of it: reports, citation files and ``brainseg report-methods`` print what it
returns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainseg.tissues import tables

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
ASHBURNER = "Ashburner & Friston 2005, doi:10.1016/j.neuroimage.2005.02.018"
TUSTISON = "Tustison et al. 2010, doi:10.1109/TMI.2010.2046908"
DEMPSTER = "Dempster et al. 1977, doi:10.1111/j.2517-6161.1977.tb01600.x"
REUTER = "Reuter, Rosas & Fischl 2010, doi:10.1016/j.neuroimage.2010.07.020"
LEWIS = "Lewis & Fox 2004, doi:10.1016/j.neuroimage.2004.07.055"
NOT_PLACED = "the head atlas could not be placed"
STAND_IN = "the network's map of the head stands in"
NOT_CHECKED = "the head atlas could not be checked"
"""In the warning of a scan whose tissues rest on intensities alone."""


def paragraph(record: Mapping[str, Any]) -> str:
    """Describe the segmentation that a record documents.

    Parameters
    ----------
    record : Mapping
        Of a scan, from `brainseg.io.derivatives.record`, or of a person's visits, from
        `brainseg.run_person`.
    """
    if is_person(record):
        return _over_time(record)
    return (
        f"The T1-weighted scan was segmented with {_software(record)}. "
        f"The brain mask came from {_route(record)}. {_contrasts(record)}"
        f"{_bias(record)} {_mixture(record)} {_fit(record)}; it {_ended(record)} after "
        f"{record['n_iter']} iterations.{_neighbours(record)} "
        f"{_around(record)}{_labels(record['seed'])} {_repeats()}"
    )


def is_person(record: Mapping[str, Any]) -> bool:
    """Say whether a record tells of the visits of a person, not of one scan."""
    return "sessions" in record


def _over_time(record: Mapping[str, Any]) -> str:
    options = record["options"]
    # What the sentences about one scan ask for beyond what this record holds.
    told = {"tissues": [{"name": t.name} for t in tables.table(options["tissues"]).tissues]}
    record = {**record, **told}
    return (
        f"{len(record['sessions'])} T1-weighted scans of one person were segmented together with "
        f"{_software(record)}. They were aligned rigidly to a space in the middle of them "
        f"({REUTER}), and gains and the smooth and fine shades in which they differed were removed "
        f"({LEWIS}). The brain mask, which all share, came from their mean and "
        f"{_route(record)}. {_contrasts_over_time(record)}{_bias(record)} "
        f"{_mixture(record)} Classes were shared by all scans; "
        f"each scan had a gain, an offset and a noise of its own. {_fit(record)}; "
        f"it {_ended(record)}.{_neighbours(record)} {_labels(options['seed'])}"
    )


def _contrasts_over_time(record: Mapping[str, Any]) -> str:
    names = list(record.get("contrasts", ()))
    if not names:
        return ""
    told = (
        f"{' and '.join(names)} of each visit entered the mixture too, aligned to the mean of the "
        "T1w scans rigidly by mutual information and resampled once, linearly. "
    )
    if "lesion_candidates_ml" in record:
        told += (
            "With the FLAIR, voxels of white matter that are bright and explained by no healthy "
            "tissue were mapped as lesion candidates in all visits together; they count as white "
            "matter. "
        )
    return told


def _software(record: Mapping[str, Any]) -> str:
    versions = record["versions"]
    libraries = ", ".join(f"{k} {v}" for k, v in versions.items() if k != "brainseg")
    return f"brainseg {versions['brainseg']} ({libraries})"


def _route(record: Mapping[str, Any]) -> str:
    route: str = record["brain"]["route"]
    return ROUTES.get(route, route)


def _ended(record: Mapping[str, Any]) -> str:
    return "converged" if record["converged"] else "was stopped"


def _labels(seed: int) -> str:
    return (
        "Each voxel was labelled with the tissue of the largest posterior probability; volumes are "
        f"sums of tissue fractions. Random seed {seed}."
    )


def _repeats() -> str:
    csf, grey, white = (f"{tables.REPEATABILITY_ALONE[t]:.2g}" for t in ("CSF", "GM", "WM"))
    return (
        f"In three people scanned twice volumes of one T1w scan repeated to {csf} % (CSF), "
        f"{grey} % (grey matter) and {white} % (white matter); this is not the difference from a "
        "rater."
    )


def _kind(record: Mapping[str, Any]) -> str:
    """Name the fit that was made: ``seeds``, ``named``, ``none``, ``cohort`` or ``unnamed``."""
    options = record["options"]
    prior, table = options.get("prior", "none"), str(options.get("tissues", ""))
    # A number of classes other than those of a table has no anatomy to be tied to.
    named = not table.isdecimal() or table in ("3", "6")
    if named and prior not in ("none", "cohort"):
        return "named"
    if record.get("seeded"):
        return "seeds"
    return str(prior) if prior in ("none", "cohort") else "unnamed"


def has_prior(record: Mapping[str, Any]) -> bool:
    """Say whether the fit maximised likelihood and prior together, not the likelihood alone."""
    return _kind(record) not in ("seeds", "none")


def _contrasts(record: Mapping[str, Any]) -> str:
    names = list(record.get("contrasts", ()))
    if not names:
        return ""
    listed = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    each = "Each" if len(names) > 1 else "It"
    told = (
        f"{listed} of the same person entered the mixture beside it. {each} was aligned to the T1w "
        "scan rigidly by mutual information and resampled once, linearly. "
    )
    if "lesion_candidates_ml" in record:
        told += (
            "With the FLAIR, voxels of white matter that are bright and explained by no healthy "
            "tissue were mapped as lesion candidates; they count as white matter. "
        )
    return told


def _bias(record: Mapping[str, Any]) -> str:
    bias, kind = record["options"]["bias"], _kind(record)
    each = " of each contrast" if record.get("contrasts") else ""
    if bias == "none":
        return "No bias field was corrected."
    if bias == "n4" or kind == "seeds":
        told = f"The bias field{each} was corrected with N4 inside the mask ({TUSTISON})."
    elif kind == "named":
        told = f"A smooth bias field{each} was estimated together with the mixture ({ASHBURNER})."
    else:
        told = (
            f"A smooth bias field{each} was estimated beforehand together with a mixture of "
            f"classes tied to their tissues ({ASHBURNER}) and divided out."
        )
    if record.get("bias_flat"):
        told += " None stood out against anatomy, and the scan was left as it came."
    return told


def _mixture(record: Mapping[str, Any]) -> str:
    tissues = [t["name"][0].lower() + t["name"][1:] for t in record["tissues"]]
    what = "classes of intensity" if _kind(record) == "unnamed" else "tissues"
    if record["options"].get("tissues") in ("six", "6") and _kind(record) == "named":
        return (
            "A Gaussian mixture described the intensities inside the mask with CSF, grey and white "
            "matter; the spatial prior then parted grey and white matter by region "
            f"({', '.join(tissues[1:])})."
        )
    return (
        f"A Gaussian mixture described the intensities inside the mask with {len(tissues)} {what} "
        f"({', '.join(tissues)})."
    )


def _around(record: Mapping[str, Any]) -> str:
    """Tell of the tissues around the brain."""
    if "head" not in record:
        return ""
    return (
        "Around the brain mask a second Gaussian mixture, with several components a tissue, told "
        "CSF, bone, soft tissue and air apart; its mixing weights in each voxel were a network's "
        f"map of the head. It was fitted by expectation-maximisation ({DEMPSTER}) from K-means, a "
        "Markov prior joined neighbours, and a clean-up gave the labels the topology of a head. "
    )


def _fit(record: Mapping[str, Any]) -> str:
    kind = _kind(record)
    if kind == "seeds":
        return (
            f"It was fitted by maximum likelihood with expectation-maximisation ({DEMPSTER}), one "
            "Gaussian a tissue, from one start, the voxels that the user had labelled; these kept "
            "their label throughout"
        )
    if kind == "none":
        return (
            f"It was fitted by maximum likelihood with expectation-maximisation ({DEMPSTER}), "
            "from one start, found by K-means"
        )
    told = f"It was fitted by MAP expectation-maximisation ({DEMPSTER})"
    if kind == "cohort":
        return f"{told}, from one start, the mixture of a cohort, and kept near it"
    if kind == "unnamed":
        return f"{told}, from one start, found by K-means, and kept near it"
    told += (
        ", started from K-means on the histogram with three, four and five clusters, of which "
        "short fits chose the best, with classes tied to their tissues (the mean of a boundary "
        "class lies between those of its neighbours)"
    )
    if "lesion_mask_ml" in record:
        told += (
            ", the lesions that the user had outlined kept out of it and counted as white matter,"
        )
    if record.get("seeded"):
        told += ", voxels that the user had labelled kept in their tissue throughout,"
    said = " ".join(record["warnings"])
    if STAND_IN in said:
        return f"{told} and a network's map of the head as spatial prior"
    if record["options"].get("prior") != "atlas" or NOT_PLACED in said:
        return told
    pool = "" if NOT_CHECKED in said else ", pooled with a network's map of the head,"
    return f"{told} and a registered head atlas{pool} as spatial prior"


def _neighbours(record: Mapping[str, Any]) -> str:
    smooth = record["options"].get("smooth")
    if _kind(record) == "seeds" or smooth == 0:
        return ""
    if smooth is not None:
        return f" A mean-field Markov prior of strength {smooth:g} joined neighbouring voxels."
    if _kind(record) == "named":
        return (
            " A mean-field Markov prior, its strength set by the scan's noise, joined neighbouring "
            "voxels."
        )
    return " A mean-field Markov prior of fixed strength joined neighbouring voxels."


def provenance(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what identifies input, options and software; no free text of the header, no paths."""
    options = {k: v for k, v in record["options"].items() if v is not None}
    return [
        ("Input", record["input"]["name"]),
        ("SHA-256 of the input", record["input"]["sha256"]),
        *(
            (other["role"], f"{other['name']}, SHA-256 {other['sha256']}")
            for other in record.get("other_inputs", ())
        ),
        ("Options", ", ".join(f"{k} {v}" for k, v in options.items())),
        ("Versions", ", ".join(f"{k} {v}" for k, v in record["versions"].items())),
    ]
