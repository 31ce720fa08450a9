"""Heads made by code with a segmentation that is right by construction, for tests of QC."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from brainseg.anatomy.brain import Extraction
from brainseg.anatomy.result_checks import MapAgreement
from brainseg.config import SegmentConfig
from brainseg.core.volume import Volume
from brainseg.io import derivatives, grids
from brainseg.io.nifti import Scan
from brainseg.io.sidecar import UNTOLD, Acquisition
from brainseg.pipeline import SegmentedVolume
from brainseg.qc.measure import summary
from brainseg.qc.measure.subject import from_result
from brainseg.qc.measure.summary import summarise
from brainseg.qc.pages import report
from brainseg.tissues.fit import TissueFit
from brainseg.tissues.tables import INTENSITY, THREE

SHAPE, ZOOMS = (88, 104, 88), (2.0, 2.0, 2.0)
MEANS = np.array([30.0, 48.0, 66.0, 80.0, 96.0, 110.0])
SD = 4.0

AGREES = MapAgreement(
    {
        "map_inward_mm": -0.7,
        "map_distance_mm": 1.3,
        "map_missing": 0.03,
        "map_missing_mm": 2.0,
        "map_foreign": 0.2,
        "map_foreign_mm": 5.0,
        "map_eyes_ml": 0.05,
        "map_missing_cerebellum": 0.01,
        "map_missing_brain_stem": 0.0,
        "map_missing_deep_grey": 0.0,
        "map_csf": 0.8,
        "map_gm": 0.65,
        "map_wm": 0.85,
    },
    missing_at="cerebellum",
    foreign_at="vertex, left",
)
"""As on a real head whose mask and tissues are right."""


class Fit:
    """The parameters that the record asks a mixture for."""

    weights_: np.ndarray
    means_ = MEANS[:, None]
    covariances_ = np.full((6, 1, 1), SD**2)
    history_ = (-4.6, -4.4, -4.3, -4.28, -4.277)
    converged_ = True
    n_iter_ = 4

    def __init__(self, weights: np.ndarray) -> None:
        self.weights_ = weights


def grid(shape: tuple[int, int, int] = SHAPE) -> tuple[np.ndarray, ...]:
    """Millimetres from the centre along each axis."""
    return np.meshgrid(
        *((np.arange(n) - (n - 1) / 2) * z for n, z in zip(shape, ZOOMS, strict=True)),
        indexing="ij",
    )


def head(
    *, noise: float = SD, air: float = 2.0, seed: int = 0, mask_scale: float = 1.0,
    name: str = "sub-01_T1w.nii.gz", notes: tuple[str, ...] = (), acquisition: Acquisition = UNTOLD,
) -> tuple[Scan, SegmentedVolume]:  # fmt: skip
    """Return a scan with skull, scalp and air, and its segmentation.

    Six shells of tissue lie around the centre, white matter innermost; a bright ball lies in the
    left half only. `mask_scale` below 1 makes a mask that cuts the brain.
    """
    rng = np.random.default_rng(seed)
    x, y, z = grid()
    radius = np.sqrt((x / 66) ** 2 + (y / 82) ** 2 + (z / 62) ** 2)
    brain = radius < 1
    edges = np.array([0.0, 0.62, 0.72, 0.82, 0.92, 0.96, 1.0])
    labels = np.where(brain, 7 - np.clip(np.digitize(radius, edges), 1, 6), 0).astype(np.uint8)
    signal = np.where(brain, MEANS[np.maximum(labels, 1) - 1], 0.0)
    signal[(radius >= 1) & (radius < 1.12)] = 8.0  # skull
    signal[(radius >= 1.12) & (radius < 1.22)] = 170.0  # scalp
    signal[((x + 30) ** 2 + y**2 + (z - 10) ** 2) < 100] += 30.0  # left: x is negative there
    data = np.hypot(
        signal + rng.normal(0, noise, SHAPE) * (signal > 10), rng.normal(0, max(air, 1e-9), SHAPE)
    )
    if air == 0:
        data[radius >= 1.22] = 0
    volume = Volume(data.astype(np.float32), _affine())
    mask = brain & (radius < mask_scale) if mask_scale <= 1 else radius < mask_scale
    inside = np.maximum(labels[mask], 1)
    values = data[mask][:, None]
    log = -0.5 * ((values - MEANS) / max(noise, 1.0)) ** 2 + np.where(
        np.arange(1, 7) == inside[:, None], 1.5, 0.0
    )
    resp = np.exp(log - log.max(axis=1, keepdims=True))
    resp = (resp / resp.sum(axis=1, keepdims=True)).astype(np.float32)
    field = np.exp(0.1 * y / 82).astype(np.float32)
    fractions = resp @ np.eye(3, dtype=np.float32)[list(INTENSITY.parents)]
    fit = TissueFit(
        responsibilities=resp,
        labels=(resp.argmax(axis=1) + 1).astype(np.uint8),
        fractions=fractions,
        three_labels=THREE.values[fractions.argmax(axis=1)],
        log_bias=np.log(field),
        zero=0.0,
        mixture=Fit(resp.mean(axis=0, dtype=float)),
        converged=True,
        warnings=(),
    )
    volume = volume.with_data(volume.data * field)
    scan = Scan(volume, grids.grid_of(volume), Path("/home/someone/secret") / name, "0" * 64,
                None, notes, acquisition)  # fmt: skip
    result = SegmentedVolume(
        volume,
        Extraction(mask, "network", 0.97),
        INTENSITY,
        fit,
        SegmentConfig(tissues="intensity"),
        {"Brain mask": 1.2},
        agreement=AGREES,
    )
    return scan, result


def _affine() -> np.ndarray:
    affine = np.diag([*ZOOMS, 1.0])
    affine[:3, 3] = [-(n - 1) / 2 * z for n, z in zip(SHAPE, ZOOMS, strict=True)]
    return affine


def record(scan: Scan, result: SegmentedVolume) -> dict:
    return derivatives.record(scan, result)


def page_of(scan: Scan, result: SegmentedVolume) -> str:
    """Return the report of a segmentation."""
    return outputs_of(scan, result)["report.html"].decode()


def outputs_of(scan: Scan, result: SegmentedVolume) -> dict[str, bytes]:
    """Return what quality control writes of a segmentation."""
    subject = from_result(scan, result, record(scan, result))
    measured = summarise(subject)
    return summary.files(measured, "T1w") | report.outputs(subject, measured)
