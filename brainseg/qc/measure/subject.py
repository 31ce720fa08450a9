"""What a report needs to know of one segmented scan, whether just made or read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg.core import masking
from brainseg.core.volume import Array, BoolArray, Volume
from brainseg.io.nifti import Scan
from brainseg.pipeline import SegmentedVolume
from brainseg.qc.measure.skull import Skull, measure_skull
from brainseg.tissues.bias import divide, is_flat
from brainseg.tissues.tables import TissueTable, volumes_ml


@dataclass(frozen=True, eq=False)
class Subject:
    """One segmented scan, all arrays in canonical (RAS+) axis order.

    Attributes
    ----------
    name : str
        The scan's file name, without folders.
    volume : Volume
        The scan as it came.
    mask : ndarray of bool, shape (I, J, K)
    table : TissueTable
    responsibilities : ndarray of float32, shape (n_mask, K)
    label_samples : ndarray of uint8, shape (n_mask,)
    fractions : ndarray of float32, shape (n_mask, 3)
    bias : ndarray, shape (I, J, K), or None
        Bias field (a factor); None where none was estimated or kept.
    zero : float
        Intensity that the bias field leaves as it is.
    record : Mapping
        What `brainseg.io.derivatives.record` says of the fit.
    lesions : ndarray of float32, shape (n_mask,), or None
        Probability of a lesion; None without a FLAIR scan or a mask of lesions.
    flair : ndarray of float32, shape (I, J, K), or None
    contrasts : mapping of name to ndarray of float32, shape (n_mask,)
        Corrected intensities of further contrasts inside the mask, as the mixture saw them.
    regions : ndarray of uint8, shape (n_mask,), or None
        As of `brainseg.pipeline.SegmentedVolume`.
    head : ndarray of uint8, shape (I, J, K), or None
        Label map of `brainseg.tissues.tables.HEAD`, where it was asked for.
    """

    name: str
    volume: Volume
    mask: BoolArray
    table: TissueTable
    responsibilities: Array
    label_samples: Array
    fractions: Array
    bias: Array | None
    zero: float
    record: Mapping[str, Any]
    lesions: Array | None = None
    flair: Array | None = None
    contrasts: Mapping[str, Array] = field(default_factory=dict)
    regions: NDArray[np.uint8] | None = None
    head: NDArray[np.uint8] | None = None

    @cached_property
    def index(self) -> NDArray[np.int32]:
        """Position of each voxel among the samples, shape (I, J, K); -1 outside the mask.

        With it a slice of any map is drawn without putting the whole map on the grid.
        """
        return masking.scatter(
            np.arange(self.label_samples.size, dtype=np.int32), self.mask, fill=-1
        )

    @cached_property
    def even(self) -> bool:
        """Whether there is no bias field to show: none was estimated, or it is flat to 0.5 %."""
        return self.bias is None or is_flat(self.bias[self.mask][::7])

    @cached_property
    def corrected(self) -> Array:
        """The scan divided by its bias field, shape (I, J, K)."""
        if self.even or self.bias is None:
            return self.volume.data
        return divide(self.volume.data, self.bias, self.zero)

    @cached_property
    def samples(self) -> Array:
        """Corrected intensities inside the mask, shape (n_mask,)."""
        return masking.extract(self.corrected, self.mask)

    @cached_property
    def skull(self) -> Skull | None:
        """What was measured of the skull, where the whole head was asked for."""
        return None if self.head is None else measure_skull(self.head, self.volume.zooms)

    @cached_property
    def entropy(self) -> NDArray[np.float32]:
        """Entropy of the responsibilities as a share of its maximum, log K, shape (n_mask,)."""
        p = np.maximum(self.responsibilities, np.float32(1e-7))
        logs = np.log(p)
        share: NDArray[np.float32] = np.einsum("nk,nk->n", p, logs)
        share /= np.float32(-np.log(p.shape[1]))
        return np.clip(share, 0, 1, out=share)

    @property
    def volumes_ml(self) -> dict[str, float]:
        """Volume of CSF, GM and WM in mL, from the fractions."""
        return volumes_ml(self.fractions, self.volume.voxel_volume)


def from_result(scan: Scan, result: SegmentedVolume, record: Mapping[str, Any]) -> Subject:
    """Take what a report needs from a segmentation just made."""
    return Subject(
        name=scan.path.name,
        volume=result.volume,
        mask=result.mask,
        table=result.table,
        responsibilities=result.fit.responsibilities,
        label_samples=result.fit.labels,
        fractions=result.fit.fractions,
        bias=result.fit.bias,
        zero=result.fit.zero,
        record=record,
        lesions=result.fit.lesions,
        flair=result.flair,
        contrasts=result.fit.contrasts,
        regions=result.regions,
        head=None if result.head is None else result.head.labels,
    )
