"""One mixture for a whole cohort: histograms of the scans (map), their sum and its fit (reduce).

Memory is that of one scan and of a few thousand cells, whatever the number of scans.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from brainseg.batch.engines import Died, Engine
from brainseg.config import CohortPrior
from brainseg.core.masking import extract
from brainseg.core.volume import Array
from brainseg.errors import BrainsegError, DataError, NoInputError, NothingMatchedError, UsageError
from brainseg.io import atomic, documents, nifti
from brainseg.io.derivatives import image_path
from brainseg.mixture import GaussianMixture, Histogram

log = logging.getLogger(__name__)

MODEL = "group_desc-cohort_mixture.json"
# Scans come in arbitrary units; these percentiles of the brain become 0 and 1. They lie in the
# CSF and in the white matter of any adult brain, and no single hot voxel moves them.
LOW, HIGH = 2.0, 98.0
# Cells per unit, and how far beyond 0 and 1 they go: a vessel counts as "far", not as how far.
CELLS = 1024
MARGIN = 0.5
# The brain's intensities lie between 0 and 1, and a little beyond. No tissue lies further out, and
# none is broader than all of them together, or so narrow that it is a single cell.
_Mean = Annotated[float, Meta(ge=-2.0, le=3.0)]
_Variance = Annotated[float, Meta(ge=1e-8, le=1.0)]
_Weight = Annotated[float, Meta(gt=0.0, le=1.0)]
_Percentile = Annotated[float, Meta(ge=0.0, le=100.0)]
# Weights are written with 17 digits; who edits them may round to a few.
SUM_TOLERANCE = 0.01


@dataclass(frozen=True)
class _Model:
    """The file of a cohort's mixture, as far as it is read back."""

    weights: list[_Weight]
    means: list[tuple[_Mean]]
    covariances: list[tuple[tuple[_Variance]]]
    percentiles: tuple[_Percentile, _Percentile]


@dataclass(frozen=True)
class Cohort:
    """The mixture of a cohort and how well it explains each scan.

    Attributes
    ----------
    mixture : GaussianMixture
        In normalised intensity.
    log_likelihood : Mapping
        Scan to the mean log-density of its voxels; a scan far below the others is odd.
    """

    mixture: GaussianMixture
    log_likelihood: Mapping[str, float]


def normalised_histogram(values: Array) -> Histogram:
    """Count the intensities of one brain in units that scans share.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Bias-corrected intensities inside the brain mask.
    """
    low, high = np.percentile(values, [LOW, HIGH])
    scaled = (values.astype(np.float64) - low) / max(high - low, np.finfo(float).tiny)
    cells = np.rint(np.clip(scaled, -MARGIN, 1 + MARGIN) * CELLS)
    return Histogram.from_samples(cells / CELLS)


def histogram_of(scan: Path) -> Histogram | None:
    """Read the histogram of a finished scan; None, with a warning, when it cannot be read.

    Parameters
    ----------
    scan : Path
        Folder and prefix of its files, ``OUT/sub-01/anat/sub-01``.
    """
    try:
        corrected = nifti.load(image_path(scan.with_name(f"{scan.name}_desc-preproc_T1w")))
        path = image_path(scan.with_name(f"{scan.name}_desc-brain_mask"))
        mask, _ = nifti.load_labels(path, reference=corrected)
        return normalised_histogram(extract(corrected.volume.data, mask.data > 0))
    except BrainsegError as error:
        log.warning("%s: left out of the cohort's model (%s)", scan.name, error)
        return None


def fit_cohort(scans: Sequence[Path], components: int, engine: Engine) -> Cohort:
    """Fit one mixture to all scans.

    Parameters
    ----------
    scans : sequence of Path
        As for `histogram_of`, which is the engine's work.
    components : int
    engine : Engine

    Raises
    ------
    NothingMatchedError
        When no scan could be read.
    """
    histograms: dict[str, Histogram] = {}
    with engine:
        for scan in scans:
            engine.submit(scan)
        while engine.pending:
            scan, histogram = engine.next()
            if isinstance(histogram, Died):
                log.warning("%s: left out, its worker died (%s)", scan.name, histogram.how)
            elif histogram is not None:
                histograms[scan.name] = histogram
    if not histograms:
        raise NothingMatchedError("no scan could be read for the cohort's model")
    # In order of name, so that the sum has the same bits whichever scan came first.
    total = sum(histograms[name] for name in sorted(histograms))
    mixture = GaussianMixture(components, random_state=0).fit(total)
    return Cohort(
        mixture,
        {
            name: float(h.counts @ mixture.log_prob(h.values) / h.total)
            for name, h in sorted(histograms.items())
        },
    )


def write_cohort(out: Path, cohort: Cohort) -> Path:
    """Write the cohort's mixture.

    Raises
    ------
    CannotCreateError, OutputError
    """
    mixture = cohort.mixture
    content: dict[str, Any] = {
        "weights": np.asarray(mixture.weights_).tolist(),
        "means": np.asarray(mixture.means_).tolist(),
        "covariances": np.asarray(mixture.covariances_).tolist(),
        "converged": bool(mixture.converged_),
        "log_likelihood": float(mixture.history_[-1]),
        "normalisation": "these percentiles of each brain are 0 and 1",
        "percentiles": [LOW, HIGH],
        "scans": {name: {"log_likelihood": v} for name, v in cohort.log_likelihood.items()},
    }
    path = out / MODEL
    atomic.write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")
    return path


def read_prior(path: Path) -> CohortPrior:
    """Read a cohort's mixture, written by `write_cohort`, as a prior for other scans.

    Raises
    ------
    NoInputError
        When the file cannot be read.
    UsageError
        When it holds something else.
    """
    try:
        model = documents.read(path, _Model)
    except OSError as error:
        raise NoInputError(f"{path.name}: cannot be read ({error.strerror})") from error
    except DataError as error:
        raise UsageError(
            f"{error}; {path.name} is no {MODEL}; the level group with `cohort_model` makes one"
        ) from error
    counts = {len(model.weights), len(model.means), len(model.covariances)}
    low, high = model.percentiles
    total = math.fsum(model.weights)
    if len(counts) > 1 or low >= high or not math.isclose(total, 1.0, abs_tol=SUM_TOLERANCE):
        raise UsageError(
            f"{path.name}: {len(model.weights)} weights, sum {total:g}, {len(model.means)} "
            f"means, {len(model.covariances)} covariances, percentiles {low:g} and {high:g}: no "
            f"mixture; it is no {MODEL}; the level group with `cohort_model` makes one"
        )
    return CohortPrior(
        weights=tuple(model.weights),
        means=tuple(mean for (mean,) in model.means),
        variances=tuple(variance for ((variance,),) in model.covariances),
        percentiles=(low, high),
    )
