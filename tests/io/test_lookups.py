"""Label tables in the forms of other programs, read back as those programs read them."""

from __future__ import annotations

import re

import pytest

from brainseg.io import lookups
from brainseg.tissues.tables import HEAD, INTENSITY, SIX, THREE, table

TABLES = [THREE, SIX, HEAD, INTENSITY, table("4")]
# What ITK-SNAP's importer scans: seven numbers and a name in quotes.
ITK_SNAP = re.compile(r'\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+([\d.]+)\s+([01])\s+([01])\s+"([^"]*)"')


def colours(which):
    return {
        t.index: (t.name, *(int(t.colour[n : n + 2], 16) for n in (1, 3, 5))) for t in which.tissues
    }


@pytest.mark.parametrize("which", TABLES, ids=lambda t: t.name)
def test_itk_snap_reads_every_label(which):
    lines = [x for x in lookups.itk_snap(which).splitlines() if not x.startswith("#")]
    rows = [ITK_SNAP.fullmatch(line).groups() for line in lines]
    assert rows[0][0] == "0"
    assert rows[0][4:7] == ("0", "0", "0")  # the background is clear
    found = {int(i): (name, int(r), int(g), int(b)) for i, r, g, b, *_, name in rows[1:]}
    assert found == colours(which)
    assert {row[4:7] for row in rows[1:]} == {("1", "1", "1")}


@pytest.mark.parametrize("which", TABLES, ids=lambda t: t.name)
@pytest.mark.parametrize(("write", "alpha"), [(lookups.slicer, "255"), (lookups.freesurfer, "0")])
def test_slicer_and_freesurfer_read_every_label(which, write, alpha):
    # Both split at white space: index, one word, red, green, blue, and opacity or transparency.
    rows = [x.split() for x in write(which).splitlines() if not x.startswith("#")]
    assert {len(row) for row in rows} == {6}
    assert rows[0][0] == "0"
    found = {int(i): (n.replace("_", " "), int(r), int(g), int(b)) for i, n, r, g, b, _ in rows[1:]}
    assert found == colours(which)
    assert {row[5] for row in rows[1:]} == {alpha}


def test_what_lies_there_already_is_kept(tmp_path):
    lookups.write_lookups(tmp_path, [("six", SIX)])
    mine = tmp_path / "lookup" / "six_slicer.ctbl"
    mine.write_text("my own colours")
    lookups.write_lookups(tmp_path, [("six", SIX), ("three", THREE)])
    assert mine.read_text() == "my own colours"
    assert len(list(mine.parent.iterdir())) == 6
