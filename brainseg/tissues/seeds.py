"""Voxels whose tissue the user knows, and the fit of classes that have no other name."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from brainseg.core.masking import extract
from brainseg.core.volume import Array, BoolArray
from brainseg.errors import DataError
from brainseg.mixture import GaussianMixture
from brainseg.tissues.bias import DARKEST, divide, n4_of_scan, scanner_zero
from brainseg.tissues.fit import TissueFit, TissueMixture
from brainseg.tissues.tables import THREE, TissueTable

# Two values give a tissue a mean and a variance; fewer do not.
FEWEST_SEEDS = 2


def known_tissues(
    seeds: NDArray[np.integer], mask: BoolArray, table: TissueTable
) -> NDArray[np.int64]:
    """Return the place in the table (1..K) of each voxel's tissue, 0 where it is not known.

    Parameters
    ----------
    seeds : ndarray of int, shape (I, J, K)
        Values of the table's label map.
    mask : ndarray of bool, shape (I, J, K)
    table : TissueTable

    Raises
    ------
    DataError
        When a seed is not in the table, or none lies in the mask.
    """
    labels = extract(seeds, mask).astype(np.int64)
    strange = labels[(labels < 0) | (labels > len(table))]
    if strange.size:
        raise DataError(
            f"`seeds`: holds label {strange.max()}; `tissues` {table.name} has labels 1 to "
            f"{len(table)}"
        )
    if not labels.any():
        raise DataError("`seeds`: no voxel inside the brain has a label")
    places = np.zeros(len(table) + 1, np.int64)
    places[table.values] = 1 + np.arange(len(table))
    known: NDArray[np.int64] = places[labels]
    return known


def fit_seeded(
    data: Array,
    mask: BoolArray,
    seeds: NDArray[np.integer],
    *,
    zooms: tuple[float, float, float],
    table: TissueTable,
    bias: str,
    channels: Mapping[str, Array] | None = None,
) -> TissueFit:
    """Fit one Gaussian a tissue; labelled voxels stay what they are, the rest is inferred by EM.

    Parameters
    ----------
    data : ndarray, shape (I, J, K)
    mask : ndarray of bool, shape (I, J, K)
    seeds : ndarray of int, shape (I, J, K)
        Value of the table's label map where the tissue is known, 0 elsewhere.
    zooms : tuple of float
        Voxel sizes in mm.
    table : TissueTable
    bias : str
        ``none`` leaves the scan as it is; otherwise N4 corrects it first, since the field inside
        EM is driven by tissues that the atlas model names, not by the user's.
    channels : mapping of name to ndarray, shape (I, J, K), optional
        Further contrasts on the same grid; each gets its own field.

    Raises
    ------
    DataError
        When a tissue has no seeds in the mask, or a seed is not in the table.
    """
    known, k = known_tissues(seeds, mask, table), len(table)
    counts = np.bincount(known, minlength=k + 1)[1:]
    poor = [t.name for t, n in zip(table.tissues, counts, strict=True) if n < FEWEST_SEEDS]
    if poor:
        raise DataError(
            f"`seeds`: {', '.join(poor)} has fewer than {FEWEST_SEEDS} voxels inside the brain; "
            "mark some of every tissue"
        )
    columns, log_fields, zeros = [], [], []
    for image in (data, *(channels or {}).values()):
        column = extract(image, mask).astype(np.float64)
        if bias != "none":
            log_fields.append(n4_of_scan(image, mask, zooms))
            zeros.append(scanner_zero(image, float(np.percentile(column, DARKEST))))
            column = divide(column, np.exp(extract(log_fields[-1], mask)), zeros[-1])
        columns.append(column)
    values = np.stack(columns, axis=1)
    mixture = GaussianMixture(k).fit(values, labels=known - 1)
    responsibilities = mixture.predict_proba(values).astype(np.float32)
    clamped = known > 0
    responsibilities[clamped] = np.eye(k, dtype=np.float32)[known[clamped] - 1]
    fractions = responsibilities @ np.eye(3, dtype=np.float32)[list(table.parents)]
    return TissueFit(
        responsibilities,
        table.values[responsibilities.argmax(axis=1)],
        fractions,
        THREE.values[fractions.argmax(axis=1)],
        log_fields[0] if log_fields else None,
        zeros[0] if zeros else 0.0,
        TissueMixture(
            mixture.weights_,
            mixture.means_,
            mixture.covariances_,
            tuple(mixture.history_),
            bool(mixture.converged_),
            int(mixture.n_iter_),
        ),
        bool(mixture.converged_),
        (),
        contrasts={
            name: column.astype(np.float32)
            for name, column in zip(channels or {}, columns[1:], strict=True)
        },
    )
