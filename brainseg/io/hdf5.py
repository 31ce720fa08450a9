"""What a MINC-2 file may not do: read other files. It is an HDF5 file, which can hold links."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brainseg.errors import DataError

_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def require_self_contained(path: Path) -> None:
    """Refuse an HDF5 file whose links or voxels lie in other files.

    Raises
    ------
    DataError
    """
    with path.open("rb") as stream:
        if stream.read(len(_SIGNATURE)) != _SIGNATURE:
            return
    import h5py

    def outside(name: str, found: Any) -> str | None:
        if isinstance(found, h5py.ExternalLink):
            return name
        if isinstance(found, h5py.HardLink) and isinstance(held := file[name], h5py.Dataset):
            return name if held.external or held.is_virtual else None
        return None

    with h5py.File(path, "r") as file:
        name = file.visititems_links(outside)
    if name is not None:
        raise DataError(f"{path.name}: refers to other files ({name}); give a plain file")
