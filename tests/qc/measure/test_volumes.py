"""The table of volumes: every number is what a count of voxels says it is."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math

import numpy as np
import pytest
from qc_heads import ZOOMS, head, record
from scipy import ndimage

from brainseg.qc.measure import volumes
from brainseg.qc.measure.halves import find_midplane
from brainseg.qc.measure.intracranial import intracranial_ml
from brainseg.qc.measure.subject import from_result
from brainseg.tissues.tables import HEAD, INTENSITY, THREE


def ball(radius_mm, zooms, shape=(60, 64, 58), centre=(0.0, 0.0, 0.0)):
    axes = [(np.arange(n) - (n - 1) / 2) * z - c for n, z, c in zip(shape, zooms, centre,
                                                                  strict=True)]  # fmt: skip
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return x**2 + y**2 + z**2 < radius_mm**2


@pytest.fixture(scope="module")
def subject():
    scan, result = head()
    return from_result(scan, result, record(scan, result))


@pytest.fixture(scope="module")
def rows(subject):
    return {row.structure: row for row in volumes.measure_volumes(subject)}


def test_every_structure_is_there_and_volumes_are_sums_of_shares(subject, rows):
    tissues = [f"intensity_{t.abbreviation}" for t in INTENSITY.tissues]
    assert list(rows) == ["CSF", "GM", "WM", *tissues, "brain", "mask", "tiv"]
    unit = math.prod(ZOOMS) / 1000
    for k, tissue in enumerate(THREE.tissues):
        expected = subject.fractions[:, k].sum(dtype=float) * unit
        assert rows[tissue.abbreviation].volume_ml == pytest.approx(expected)
    assert rows["brain"].volume_ml == pytest.approx(rows["GM"].volume_ml + rows["WM"].volume_ml)
    assert rows["mask"].volume_ml == pytest.approx(subject.mask.sum() * unit)
    assert rows["brain"].tiv_fraction == rows["brain"].volume_ml / rows["tiv"].volume_ml


def test_the_measured_intracranial_volume_stands_beside_the_estimate(subject, rows):
    volumes_ml = {t.abbreviation: 1.0 for t in HEAD.tissues}
    told = {"volumes_ml": volumes_ml, "total_intracranial_volume_ml": 1500.0}
    of_head = dataclasses.replace(subject, record={**subject.record, "head": told})
    found = {row.structure: row for row in volumes.measure_volumes(of_head)}
    assert found["total_intracranial_volume"].volume_ml == 1500
    assert found["tiv"] == rows["tiv"]
    assert "total_intracranial_volume" not in rows


def test_halves_add_up_and_a_symmetric_head_is_symmetric(rows):
    for name in ("GM", "WM", "mask"):
        row = rows[name]
        assert row.left_ml + row.right_ml == pytest.approx(row.volume_ml)
        # The head's own bright ball on the left takes a few mL of one class.
        assert abs(row.asymmetry) < 0.05


def test_intensities_are_those_of_the_corrected_scan(subject, rows):
    share = subject.fractions[:, 2].astype(float)
    mean = (share * subject.samples).sum() / share.sum()
    assert rows["WM"].mean == pytest.approx(mean, rel=1e-6)
    assert rows["WM"].sd > 0


def test_a_brain_with_less_on_the_left_is_asymmetric(subject):
    cyst = ball(22, ZOOMS, subject.mask.shape, centre=(-32, 0, 0))[subject.mask]
    fractions = subject.fractions.copy()
    fractions[cyst] = [1, 0, 0]
    cut = dataclasses.replace(subject, fractions=fractions)
    found = {row.structure: row for row in volumes.measure_volumes(cut)}
    assert found["brain"].asymmetry < -0.05


def test_a_scan_that_does_not_know_left_has_no_halves(subject):
    told = dict(subject.record) | {"warnings": ["the header gives no orientation; left unknown"]}
    found = volumes.measure_volumes(dataclasses.replace(subject, record=told))
    assert all(row.left_ml is None and row.asymmetry is None for row in found)
    assert "n/a" in volumes.as_tsv(found)


def test_the_file_is_read_by_csv_and_its_columns_are_explained(subject, rows):
    text = volumes.as_tsv(list(rows.values()))
    read = list(csv.DictReader(io.StringIO(text), delimiter="\t"))
    assert [r["structure"] for r in read] == list(rows)
    assert float(read[0]["volume_ml"]) == pytest.approx(rows["CSF"].volume_ml, rel=1e-5)
    told = json.loads(volumes.dictionary())
    assert list(told) == list(read[0])
    assert told["volume_ml"]["Units"] == "mL"
    assert "inner skull itself is not measured" in told["volume_ml"]["Description"]


def test_lesions_are_counted_and_specks_are_not(subject):
    grid = np.zeros(subject.mask.shape, dtype=np.float32)
    middle = [n // 2 for n in grid.shape]
    grid[middle[0] : middle[0] + 3, middle[1], middle[2]] = 0.9  # 24 cubic mm
    grid[middle[0] + 10, middle[1], middle[2]] = 0.9  # 8 cubic mm: a speck
    grid[middle[0] - 10, middle[1] : middle[1] + 4, middle[2]] = 0.3  # too improbable
    with_lesions = dataclasses.replace(subject, lesions=grid[subject.mask])
    row = volumes.measure_volumes(with_lesions)[-1]
    assert (row.structure, row.count) == ("lesions", 1)
    assert row.volume_ml == pytest.approx(grid.sum() * 8 / 1000, rel=1e-5)


@pytest.mark.parametrize("zooms", [(2.0, 2.0, 2.0), (1.0, 1.0, 3.0)])
def test_tiv_bridges_a_cleft_that_the_mask_leaves_out_and_nothing_else(zooms):
    shape = tuple(int(140 / z) for z in zooms)
    whole = ball(60, zooms, shape)
    unit = math.prod(zooms) / 1000
    # A convex body has nothing to bridge; the ball's stairs are all that is filled.
    assert intracranial_ml(whole, zooms) == pytest.approx(whole.sum() * unit, rel=0.01)
    x = (np.arange(shape[0]) - (shape[0] - 1) / 2) * zooms[0]
    cleft = whole.copy()
    cleft[np.abs(x) < 4, :, shape[2] // 2 :] = False
    lost = (whole.sum() - cleft.sum()) * unit
    found = intracranial_ml(cleft, zooms) - cleft.sum() * unit
    assert found == pytest.approx(lost, rel=0.15)


@pytest.mark.parametrize(("yaw", "roll", "shift"), [(0, 0, 0), (12, -8, 6), (-24, 15, -9)])
def test_the_midplane_of_a_turned_brain_is_found(yaw, roll, shift):
    zooms = (2.0, 2.0, 2.0)
    shape = (96, 104, 96)
    x, y, z = np.meshgrid(
        *((np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, zooms, strict=True)),
        indexing="ij",
    )
    a, b = np.radians([yaw, roll])
    right = np.array([np.cos(a) * np.cos(b), np.sin(a) * np.cos(b), np.sin(b)])
    front = np.array([-np.sin(a), np.cos(a), 0.0])
    up = np.cross(right, front)
    along = [sum(axis[n] * c for n, c in enumerate((x, y, z))) for axis in (right, front, up)]
    u = along[0] - shift
    # Two hemispheres with a gap between them, wider behind and above: nothing is round.
    brain = (np.abs(u) / 60) ** 2 + ((along[1] + 5) / 78) ** 2 + (along[2] / 55) ** 2 < 1
    brain &= (np.abs(u) > 2) | (along[2] < 0)
    brain &= ~((along[1] < -50) & (along[2] < -20))
    tissue = ndimage.gaussian_filter(brain.astype(np.float32), 0.7)
    plane = find_midplane(tissue, zooms)
    angle = np.degrees(np.arccos(np.clip(np.dot(plane.normal, right), -1, 1)))
    assert angle < 1.5  # a voxel of the 4 mm grid at the edge of the brain is 4 degrees
    middle = np.array([(n - 1) / 2 * s for n, s in zip(shape, zooms, strict=True)])
    assert plane.offset - middle @ np.array(plane.normal) == pytest.approx(shift, abs=1.5)
    left = plane.is_left(brain, zooms)
    assert left.mean() == pytest.approx(0.5, abs=0.02)


def test_nothing_has_no_midplane():
    with pytest.raises(ValueError, match="no tissue"):
        find_midplane(np.zeros((8, 8, 8), np.float32), (2.0, 2.0, 2.0))
