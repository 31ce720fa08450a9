"""The files of a person's visits: tables, the record, and images on the common and own grids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg.config import SegmentConfig
from brainseg.core import masking
from brainseg.core.volume import Array, Volume
from brainseg.io import derivatives, names, nifti
from brainseg.io.grids import Grid, grid_of
from brainseg.io.nifti import Scan
from brainseg.io.staging import Encoder
from brainseg.longitudinal.change import Change
from brainseg.longitudinal.lesions import STATES, Lesions
from brainseg.longitudinal.person import Person
from brainseg.tissues.tables import THREE

SPACE = "midspace"
"""How file names call the space in the middle of the visits."""
LESION_COLUMNS = ("lesion", "x", "y", "z", "session", "volume_ml", "change_ml", "state")
"""Columns of the table of lesions; places in mm of the common world."""


@dataclass(frozen=True, eq=False)
class Visit:
    """What was read of one visit.

    Attributes
    ----------
    label : str
    scan : Scan
        The T1w.
    others : mapping of name to Scan
        T2w, FLAIR or PDw.
    """

    label: str
    scan: Scan
    others: Mapping[str, Scan]

    @property
    def volumes(self) -> dict[str, Volume]:
        """What the other contrasts hold, each on its own grid."""
        return {name: scan.volume for name, scan in self.others.items()}


def volumes(person: Person) -> list[dict[str, float]]:
    """Return for each visit the mL of CSF, GM, WM, brain and skull, and of further tissues.

    Lesion candidates come last, where they were looked for.
    """
    out = []
    for s in range(len(person.sessions)):
        found = person.volumes_ml(s) | {"intracranial": person.intracranial_ml}
        sums = person.fit.voxels[s].responsibilities.sum(axis=0, dtype=np.float64)
        for tissue, total in zip(person.table.tissues, sums, strict=True):
            found.setdefault(tissue.abbreviation, float(total) * person.mean.voxel_volume)
        if person.lesions is not None:
            total = person.lesions.maps[s].sum(dtype=np.float64)
            found["lesions"] = float(total) * person.mean.voxel_volume
        out.append(found)
    return out


def table(found: Sequence[Change]) -> str:
    """Return one row a tissue and visit."""
    columns = list(asdict(found[0]))
    rows = ["\t".join(columns)]
    for change in found:
        cells = [
            "n/a" if value is None else value if isinstance(value, str) else f"{value:.4f}"
            for value in asdict(change).values()
        ]
        rows.append("\t".join(cells))
    return "\n".join(rows) + "\n"


def lesion_table(labels: Sequence[str], found: Lesions) -> str:
    """Return one row a lesion and visit, the largest lesion first."""
    rows = ["\t".join(LESION_COLUMNS)]
    for lesion in found.found:
        place = [f"{x:.1f}" for x in lesion.centre]
        for label, ml, change, state in zip(
            labels, lesion.volumes_ml, lesion.changes_ml, lesion.states, strict=True
        ):
            rows.append(
                "\t".join([str(lesion.number), *place, label, f"{ml:.4f}", f"{change:.4f}", state])
            )
    return "\n".join(rows) + "\n"


def images(visits: Sequence[Visit], person: Person) -> dict[str, Encoder]:
    """Return the images of all visits, in the common space and on their own grids."""
    space = grid_of(person.mean)
    here = f"space-{SPACE}"
    files: dict[str, Encoder] = {
        f"{here}_desc-mean_T1w.nii.gz": partial(_image, person.mean.data, space),
        f"{here}_desc-brain_mask.nii.gz": partial(_labels, person.mask.astype(np.uint8), space),
    }
    if person.lesions is not None:
        files[f"{here}_desc-lesions_dseg.nii.gz"] = partial(_labels, person.lesions.numbers, space)
    for s, visit in enumerate(visits):
        ses, scan = f"ses-{visit.label}", visit.scan
        voxels = person.fit.voxels[s]
        own = names.table_labels(person.table)
        files[f"{ses}_{here}_desc-preproc_T1w.nii.gz"] = partial(_image, person.preproc(s), space)
        files[f"{ses}_{here}_dseg.nii.gz"] = partial(
            _labels, masking.scatter(voxels.three, person.mask), space
        )
        best = person.table.values[voxels.responsibilities.argmax(axis=1)]
        files[f"{ses}_{here}_{own}.nii.gz"] = partial(
            _labels, masking.scatter(best, person.mask), space
        )
        shares = [masking.scatter(voxels.fractions[:, k], person.mask) for k in range(3)]
        back = person.space.carry_back(s, scan.volume, shares)
        for k, tissue in enumerate(THREE.tissues):
            name = names.fraction(tissue).removesuffix("_probseg")
            files[f"{ses}_{here}_{name}_probseg.nii.gz"] = partial(_shares, shares[k], space)
            files[f"{ses}_{name}_desc-long_probseg.nii.gz"] = partial(_shares, back[k], scan.grid)
        for contrast, brought in person.contrasts.items():
            files[f"{ses}_{here}_desc-preproc_{contrast}.nii.gz"] = partial(
                _image, brought[s], space
            )
        if person.lesions is not None:
            lesions = person.lesions.maps[s]
            own_lesions = person.space.carry_back(s, scan.volume, [lesions])[0]
            files[f"{ses}_{here}_{names.LESIONS}.nii.gz"] = partial(_shares, lesions, space)
            files[f"{ses}_label-L_desc-long_probseg.nii.gz"] = partial(
                _shares, own_lesions, scan.grid
            )
        files[f"{ses}_desc-long_dseg.nii.gz"] = partial(_labels, _largest(back), scan.grid)
        pose = "\n".join(" ".join(f"{x:.10g}" for x in row) for row in person.space.poses[s])
        files[f"{ses}_from-T1w_to-{SPACE}_mode-image_xfm.txt"] = f"{pose}\n".encode
    return files


def _largest(shares: Sequence[NDArray[np.float32]]) -> NDArray[np.uint8]:
    """Return the label of the largest share; 0 where less than half of a voxel is brain."""
    stacked = np.stack(shares)
    out: NDArray[np.uint8] = THREE.values[stacked.argmax(axis=0)]
    out[stacked.sum(axis=0) < 0.5] = 0
    return out


def _image(data: Array, grid: Grid) -> bytes:
    return nifti.compress(nifti.image_bytes(np.asarray(data, np.float32), grid))


def _labels(data: Array, grid: Grid) -> bytes:
    return nifti.compress(nifti.image_bytes(data, grid, intent="label"))


def _shares(data: Array, grid: Grid) -> bytes:
    parts = np.rint(np.clip(data, 0, 1) * np.float32(derivatives.PARTS)).astype(np.uint16)
    raw = nifti.image_bytes(parts, grid, intent="estimate", slope=1 / derivatives.PARTS)
    return nifti.compress(raw)


def record(
    visits: Sequence[Visit], person: Person, config: SegmentConfig, *, timed: bool
) -> dict[str, Any]:
    """Return what was estimated and how, as it is written to the JSON."""
    model = person.fit.model
    options = {name: value for name, value in asdict(config).items() if name != "threads"}
    content: dict[str, Any] = {
        "sessions": [
            {
                "label": visit.label,
                "name": visit.scan.path.name,
                "sha256": visit.scan.sha256,
                "contrasts": {
                    name: {"name": scan.path.name, "sha256": scan.sha256}
                    for name, scan in visit.others.items()
                },
                "to_midspace": person.space.poses[s].tolist(),
                "gain": person.fit.gains[s].tolist(),
                "offset": person.fit.offsets[s].tolist(),
            }
            for s, visit in enumerate(visits)
        ],
        "contrasts": list(person.contrasts),
        "likeness": person.likeness,
        "brain": {
            "route": person.brain.route,
            "confidence": person.brain.confidence,
            "checks": dict(person.brain.checks),
        },
        "weights": model.weights.tolist(),
        "means": model.means.tolist(),
        "covariances": model.covariances.tolist(),
        "log_likelihood": [float(h) for h in person.fit.found.history],
        "converged": person.fit.found.converged,
        "warnings": list(person.warnings),
        "standard_error": "root mean square change between visits of people who hardly changed, "
        "in per cent (brainseg.longitudinal.change.REPEATABILITY)",
        "options": options,
        "versions": derivatives.versions(),
    }
    if person.lesions is not None:
        last = len(visits) - 1
        content["lesion_candidates_ml"] = [found["lesions"] for found in volumes(person)]
        content["lesions_at_last_visit"] = {
            state: person.lesions.count(last, state) for state in STATES
        }
    if timed:
        content["seconds"] = {name: round(s, 3) for name, s in person.seconds.items()}
    return content
