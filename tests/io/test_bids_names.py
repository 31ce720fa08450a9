from pathlib import PurePath

import pytest

from brainseg.io.bids import split_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sub-01_T1w.nii.gz", ("sub-01", "T1w")),
        ("sub-01_ses-2_run-1_T1w.nii", ("sub-01_ses-2_run-1", "T1w")),
        ("lhdata_sub-01_T1w.nii.zst", ("lhdata_sub-01", "T1w")),
        ("patient01_T1W.nii.gz", ("patient01", "T1w")),
        ("p_flair.mgz", ("p", "FLAIR")),
        ("head.mnc", ("head", "T1w")),
        ("T1.nii.gz", ("T1", "T1w")),
        ("T1w.nii.gz", ("T1w", "T1w")),
        ("my scan (2).hdr", ("my-scan-2", "T1w")),
        ("dicom_folder", ("dicom_folder", "T1w")),
        ("v1.5.nii.gz", ("v1.5", "T1w")),
        ("...nii", ("scan", "T1w")),
    ],
)
def test_names_are_taken_apart(name: str, expected: tuple[str, str]) -> None:
    assert split_name(PurePath(name)) == expected
