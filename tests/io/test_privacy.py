"""What libraries say of a file is passed on without the folders that it lies in."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainseg.io.privacy import scrub

PATH = Path("/home/Jane Roe/Study_of-x/sub-02/anat/sub-02_T1w.nii.gz")


@pytest.mark.parametrize(
    "said",
    [
        f"Cannot work out file type of '{PATH}'",
        f"File {PATH} is not a gzip file",
        "File home Jane Roe Study_of-x sub-02 anat sub-02_T1w.nii.gz is not a gzip file",
        f"[Errno 5] {str(PATH).upper()}: broken",
        r"C:\Users\Jane Roe\sub-02_T1w.nii.gz: broken",
    ],
)
def test_no_word_of_a_folder_remains(said: str) -> None:
    told = scrub(said, PATH)
    for word in ("jane", "roe", "study", "home"):
        assert word not in told.lower()
    assert "sub-02_t1w.nii.gz" in told.lower()
