"""What the front door returns: the tissues of a scan on the scan's own grid."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg.core.volume import Array, BoolArray
from brainseg.errors import UsageError
from brainseg.io import nifti
from brainseg.io.grids import times
from brainseg.io.inputs import Source
from brainseg.io.nifti import Scan
from brainseg.pipeline import SegmentedVolume
from brainseg.run import plain_target, save_result
from brainseg.tissues.fit import TissueMixture
from brainseg.tissues.tables import TissueTable


@dataclass(frozen=True, eq=False, repr=False)
class Segmentation:
    """The tissues of a scan; every array has the input's own shape and axis order.

    Attributes
    ----------
    scan : Scan
        The input.
    found : SegmentedVolume
        The same result in canonical (RAS+) axis order, as the package works with it.
    others : tuple of Source
        Names and hashes of the inputs beside the scan: contrasts, mask, seeds.
    """

    scan: Scan
    found: SegmentedVolume
    others: tuple[Source, ...] = ()

    @property
    def affine(self) -> NDArray[np.float64]:
        """Voxel indices of the input to world coordinates, shape (4, 4)."""
        return self.scan.grid.affine

    @property
    def table(self) -> TissueTable:
        """Index, name, abbreviation and colour of each tissue."""
        return self.found.asked

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        """Label map, shape (I, J, K); 0 is background, others are the indices in `table`."""
        labels: NDArray[np.uint8] = self._own(self.found.labels)
        return labels

    @cached_property
    def mask(self) -> BoolArray:
        """Brain mask, shape (I, J, K)."""
        mask: BoolArray = self._own(self.found.mask)
        return mask

    @cached_property
    def probabilities(self) -> Mapping[str, NDArray[np.float32]]:
        """Probability of each tissue by abbreviation, shape (I, J, K); 0 outside the mask.

        The table ``head`` goes on outside it.
        """
        return {
            tissue.abbreviation: self._own(self.found.probability(k))
            for k, tissue in enumerate(self.table.tissues)
        }

    @cached_property
    def bias(self) -> NDArray[np.float32] | None:
        """Bias field (a factor), shape (I, J, K); None where none was estimated."""
        field = self.found.fit.bias
        return None if field is None else self._own(field)

    @property
    def volumes(self) -> dict[str, float]:
        """Volume of CSF, GM and WM in mL, partial volume counted; ``pandas.Series`` takes it."""
        return self.found.volumes_ml

    @property
    def mixture(self) -> TissueMixture:
        """The fitted Gaussians, with ``weights_``, ``means_``, ``covariances_``, ``converged_``."""
        return self.found.fit.mixture

    @property
    def warnings(self) -> tuple[str, ...]:
        """Everything that a reader should know before trusting the result."""
        return self.scan.notes + self.found.warnings

    def to_nifti(self, what: str = "labels") -> Any:
        """Return a map as a nibabel image with the input's own geometry.

        Parameters
        ----------
        what : str
            ``labels``, ``three`` (CSF, GM, WM), ``mask``, ``preproc`` (the scan divided by its
            bias field), ``bias``, or a tissue's abbreviation for its probability.

        Returns
        -------
        nibabel.Nifti1Image

        Raises
        ------
        UsageError
            When there is no such map.
        """
        data, intent = self._map(what)
        return nifti.decoded(nifti.image_bytes(data, self.scan.grid, intent=intent))

    def _map(self, what: str) -> tuple[Array, str]:
        """Return a map in canonical order and its NIfTI intent."""
        found = self.found
        tissues = [t.abbreviation for t in self.table.tissues]
        if what in tissues:
            return found.probability(tissues.index(what)), "estimate"
        if what == "labels":
            return found.labels, "label"
        if what == "three":
            return found.three_labels, "label"
        if what == "mask":
            return found.mask.astype(np.uint8), "label"
        if what == "preproc":
            return found.preproc.data, "none"
        if what == "bias" and found.fit.bias is not None:
            return found.fit.bias.astype(np.float32), "none"
        known = ["labels", "three", "mask", "preproc", *tissues]
        if found.fit.bias is not None:
            known.insert(4, "bias")
        raise UsageError(f"`what`: there is no map {what!r}; use one of {', '.join(known)}")

    def save(
        self, folder: str | os.PathLike[str], *, report: bool = True, force: bool = False
    ) -> list[Path]:
        """Write what ``brainseg run`` writes: all maps, the record and the QC page.

        Parameters
        ----------
        folder : str or Path
            Made where it is missing. Files are named by the input's file; an input that came
            from no file is called ``image``.
        report : bool
            Make the QC page.
        force : bool
            Replace an earlier result of a scan of this name.

        Returns
        -------
        list of Path
            The files, complete or none at all.

        Raises
        ------
        CannotCreateError, OutputError, TemporaryError
        """
        target = plain_target(self.scan.path, Path(folder))
        return save_result(
            target, self.scan, self.found, others=self.others, force=force, report=report
        )

    def _own(self, canonical: Array) -> Array:
        """Bring a map from canonical order to the input's own."""
        return np.ascontiguousarray(self.scan.grid.to_file_order(canonical))

    def __repr__(self) -> str:
        """Name, grid, tissues, volumes and warnings, a line each."""
        sizes = " x ".join(f"{z:.3g}" for z in np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0)))
        lines = [
            f"<Segmentation of {self.scan.path.name}>",
            f"  grid     {times(self.scan.grid.shape)} voxels of {sizes} mm",
            f"  tissues  {', '.join(t.abbreviation for t in self.table.tissues)}",
            "  volumes  " + ", ".join(f"{k} {ml:.1f} mL" for k, ml in self.volumes.items()),
        ]
        return "\n".join(lines + [f"  warning  {w}" for w in self.warnings])

    def _repr_html_(self) -> str:
        """Three slices with the tissues in colour, volumes and warnings, for a notebook."""
        from brainseg.qc.draw.thumbnail import three_slices

        cell = "<td style='text-align:right'>"
        rows = "".join(
            f"<tr><td>{k}</td>{cell}{ml:.1f} mL</td></tr>" for k, ml in self.volumes.items()
        )
        notes = "".join(f"<li>{html.escape(w)}</li>" for w in self.warnings)
        picture = three_slices(self.found.volume, self.found.labels, self.table)
        return (
            f"<div><b>{html.escape(self.scan.path.name)}</b><br>"
            f"<img alt='Three slices with the tissues in colour' src='{picture}'>"
            f"<table>{rows}</table>{f'<ul>{notes}</ul>' if notes else ''}</div>"
        )
