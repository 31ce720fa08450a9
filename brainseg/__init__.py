"""Tissue maps from MRI scans of heads.

>>> import brainseg
>>> result = brainseg.segment("T1.nii.gz")          # a path, a nibabel image, or an array
>>> result.volumes                                  # mL: {"CSF": ..., "GM": ..., "WM": ...}
>>> result.to_nifti("labels").to_filename("dseg.nii.gz")
>>> result.save("OUT")                              # what `brainseg run` writes
>>> brainseg.evaluate(result, "truth.nii.gz")       # Dice, volumes, distances by tissue

The names in ``__all__`` are the public ones; all else may change between versions.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brainseg.api import evaluate as evaluate
    from brainseg.api import load as load
    from brainseg.api import save as save
    from brainseg.api import segment as segment
    from brainseg.config import SegmentConfig as SegmentConfig
    from brainseg.mixture import GaussianMixture as GaussianMixture
    from brainseg.segmentation import Segmentation as Segmentation

__version__ = "0.2.0"
__all__ = [
    "GaussianMixture",
    "SegmentConfig",
    "Segmentation",
    "__version__",
    "evaluate",
    "load",
    "save",
    "segment",
]

# Where each public name lives. It is imported when it is first asked for (PEP 562): SciPy and
# nibabel take half a second, which `brainseg --help` does not need.
_HOMES = {
    "GaussianMixture": "brainseg.mixture",
    "SegmentConfig": "brainseg.config",
    "Segmentation": "brainseg.segmentation",
    "evaluate": "brainseg.api",
    "load": "brainseg.api",
    "save": "brainseg.api",
    "segment": "brainseg.api",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'brainseg' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
