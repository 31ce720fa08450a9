import colorsys

import pytest

from brainseg.config import SegmentConfig
from brainseg.errors import UsageError
from brainseg.longitudinal.change import REPEATABILITY
from brainseg.tissues import tables


@pytest.mark.parametrize("name", ["six", "three", "head", "intensity", "6", "3", "2", "4", "12"])
def test_tables_are_whole(name: str) -> None:
    table = tables.table(name)
    assert [t.index for t in table.by_value] == list(range(1, len(table) + 1))
    assert table.values.tolist() == [t.index for t in table.tissues]
    assert len({t.abbreviation for t in table.tissues}) == len(table)
    assert all(t.abbreviation.isalnum() for t in table.tissues)  # it becomes part of a file name
    assert len({t.colour for t in table.tissues}) == len(table)


def test_intensity_tables_merge_without_leaving_their_order() -> None:
    for name in ("intensity", "three", "4", "5", "7", "12"):
        parents = tables.table(name).parents
        assert list(parents) == sorted(parents)
    assert tables.INTENSITY.parents == (0, 0, 1, 1, 2, 2)


def test_three_have_the_values_that_fmriprep_takes_for_granted() -> None:
    values = {t.abbreviation: t.index for t in tables.THREE.tissues}
    assert values == {"GM": 1, "WM": 2, "CSF": 3}
    assert values == {t.abbreviation: t.bids for t in tables.THREE.tissues}


def test_six_carry_the_bids_labels() -> None:
    assert [t.bids for t in tables.SIX.tissues] == [3, 8, 2, 9, 10, 11]


def test_colours_of_intensities_rise_in_lightness_within_each_class() -> None:
    """Dark to bright as on the scan, so that they also tell apart without colour."""
    light = [
        colorsys.rgb_to_hls(*(int(t.colour[i : i + 2], 16) / 255 for i in (1, 3, 5)))[1]
        for t in tables.INTENSITY.tissues
    ]
    for lower, upper in zip(light[::2], light[1::2], strict=True):
        assert upper > lower + 0.05  # a just visible step in HLS lightness


@pytest.mark.parametrize("name", ["1", "13", "seven", "", "-3"])
def test_unknown_tables_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="`tissues`"):
        tables.table(name)


@pytest.mark.parametrize(
    ("option", "value"),
    [("mask", "some"), ("brain_extraction", "bet"), ("bias", "x"), ("smooth", -1.0),
     ("smooth", float("nan")), ("seed", -1), ("threads", 0), ("tissues", "0")],
)  # fmt: skip
def test_bad_options_name_the_option(option: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"`{option}`"):
        SegmentConfig(**{option: value})  # type: ignore[arg-type]


def test_errors_of_volumes_are_what_repetition_showed() -> None:
    errors = tables.volume_errors_ml({"CSF": 200.0, "GM": 600.0, "WM": 500.0})
    for tissue, ml in (("CSF", 200), ("GM", 600), ("WM", 500), ("brain", 1100)):
        assert errors[tissue] == pytest.approx(ml * tables.REPEATABILITY_ALONE[tissue] / 100)
    # A scan by itself repeats less well than visits that share a model.
    assert all(tables.REPEATABILITY_ALONE[t] > e for t, e in REPEATABILITY.items())
