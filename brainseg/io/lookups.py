"""What label values mean, in the forms that BIDS, ITK-SNAP, 3D Slicer and FreeSurfer read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from brainseg.io import atomic
from brainseg.tissues.tables import TissueTable

FOLDER = "lookup"


def label_table(table: TissueTable) -> str:
    """Return the look-up table of a label map, as BIDS wants it beside a ``dseg``."""
    rows = ["index\tname\tabbreviation\tcolor\tmapping"]
    for t in table.by_value:
        mapping = "n/a" if t.bids is None else str(t.bids)
        rows.append(f"{t.index}\t{t.name}\t{t.abbreviation}\t{t.colour}\t{mapping}")
    return "\n".join(rows) + "\n"


def itk_snap(table: TissueTable) -> str:
    """Return label descriptions of ITK-SNAP: index, RGB, opacity, visible, in the mesh, name.

    ``itksnap -g SCAN -s DSEG -l FILE``, or Segmentation > Import Label Descriptions.
    """
    rows = ['    0     0    0    0        0  0  0    "Clear Label"']
    for index, name, (r, g, b) in _rows(table):
        rows.append(f'{index:5d} {r:5d}{g:5d}{b:5d}        1  1  1    "{name}"')
    return "# ITK-SnAP Label Description File\n" + "\n".join(rows) + "\n"


def slicer(table: TissueTable) -> str:
    """Return a colour table of 3D Slicer: index, name without spaces, RGB, opacity of 255.

    Drag it into Slicer before the label map, and choose it when the map is loaded.
    """
    rows = ["0 Background 0 0 0 0"]
    rows += [f"{index} {_word(name)} {r} {g} {b} 255" for index, name, (r, g, b) in _rows(table)]
    return f"# brainseg {table.name}\n" + "\n".join(rows) + "\n"


def freesurfer(table: TissueTable) -> str:
    """Return a look-up table of FreeSurfer: index, name, RGB, transparency of 0.

    ``freeview -v SCAN DSEG:colormap=lut:lut=FILE``; ``mri_segstats --ctab FILE``.
    """
    rows = ["0 Unknown 0 0 0 0"]
    rows += [f"{index} {_word(name)} {r} {g} {b} 0" for index, name, (r, g, b) in _rows(table)]
    return f"# brainseg {table.name}\n" + "\n".join(rows) + "\n"


FORMS = {
    "itksnap.label": itk_snap,
    "slicer.ctbl": slicer,
    "freesurfer.txt": freesurfer,
}
"""Ending of a file to what writes it."""


def write_lookups(root: Path, tables: Iterable[tuple[str, TissueTable]]) -> None:
    """Write ``lookup/NAME_FORM`` for each named table where it is not there yet.

    Once for a folder of results, not once beside each label map: the tables are the same for all
    scans, and none of the three programs looks for one by itself.

    Raises
    ------
    CannotCreateError, OutputError
    """
    for name, table in tables:
        for ending, write in FORMS.items():
            path = root / FOLDER / f"{name}_{ending}"
            if not path.exists():
                atomic.write_text(path, write(table))


def _rows(table: TissueTable) -> Iterable[tuple[int, str, tuple[int, int, int]]]:
    for t in table.by_value:
        yield t.index, t.name, tuple(int(t.colour[n : n + 2], 16) for n in (1, 3, 5))  # type: ignore[misc]


def _word(name: str) -> str:
    return name.replace(" ", "_")
