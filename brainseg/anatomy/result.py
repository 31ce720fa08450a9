"""What every route of brain extraction answers with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from brainseg.core.volume import BoolArray


@dataclass(frozen=True, eq=False)
class Extraction:
    """A brain mask, how it was found and what is known of its quality.

    Attributes
    ----------
    mask : ndarray of bool, shape (I, J, K)
    route : str
        ``fused``, ``network``, ``atlas``, ``deepbet``, ``stripped`` or ``given``: the one that
        made the mask.
    confidence : float or None
        The route's own expectation of its Dice, 0 to 1.
    warnings : tuple of str
        What a reader should know before trusting the mask; a fallback is said here.
    checks : Mapping of str to float
        Numbers behind the plausibility check (`brainseg.anatomy.plausibility`).
    """

    mask: BoolArray
    route: str
    confidence: float | None = None
    warnings: tuple[str, ...] = ()
    checks: Mapping[str, float] = field(default_factory=dict)

    def within(self, finite: BoolArray | None) -> Extraction:
        """Leave out voxels whose value was not a finite number."""
        return self if finite is None else replace(self, mask=self.mask & finite)

    def warned(self, note: str) -> Extraction:
        """Add something that a reader should know before trusting the result."""
        return replace(self, warnings=(*self.warnings, note))
