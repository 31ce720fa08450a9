"""What sidecars tell of a scan, where BIDS lets them lie, and what is not taken from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from brainseg.io.sidecar import UNTOLD, Acquisition, read_acquisition


def tell(path: Path, **content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_the_nearest_sidecar_tells_last(tmp_path: Path) -> None:
    anat = tmp_path / "sub-01" / "ses-a" / "anat"
    tell(tmp_path / "T1w.json", MagneticFieldStrength=3, EchoTime=0.003, FlipAngle=9)
    tell(tmp_path / "sub-01" / "sub-01_T1w.json", EchoTime=0.004)
    tell(anat / "sub-01_ses-a_T1w.json", RepetitionTime=2.3)
    # None of these speaks of the scan.
    tell(tmp_path.parent / "T1w.json", InversionTime=5)
    tell(tmp_path / "T2w.json", InversionTime=6)
    tell(anat / "sub-01_ses-a_run-2_T1w.json", InversionTime=7)
    assert read_acquisition(anat / "sub-01_ses-a_T1w.nii.gz") == Acquisition(
        MagneticFieldStrength=3, RepetitionTime=2.3, EchoTime=0.004, FlipAngle=9
    )


def test_a_plain_scan_has_the_json_of_its_name(tmp_path: Path) -> None:
    tell(tmp_path / "head.json", InversionTime=0.9, PatientName="Ann")
    tell(tmp_path / "T1w.json", EchoTime=0.004)
    assert read_acquisition(tmp_path / "head.nii.gz").known() == {"InversionTime": 0.9}
    assert read_acquisition(tmp_path / "other.nii.gz") == UNTOLD


@pytest.mark.parametrize("value", ["3 T", True, -1, 0, 1e9, [3], None, {"a": 1}])
def test_what_is_no_number_of_a_scanner_is_not_told(tmp_path: Path, value: object) -> None:
    tell(tmp_path / "head.json", MagneticFieldStrength=value, EchoTime=0.004)
    assert read_acquisition(tmp_path / "head.nii") == Acquisition(EchoTime=0.004)


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff" * 9, b"[" * 100_000])
def test_a_file_that_is_no_sidecar_tells_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "head.json").write_bytes(content)
    assert read_acquisition(tmp_path / "head.nii.gz") == UNTOLD
