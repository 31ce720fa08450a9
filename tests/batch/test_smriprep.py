"""sMRIPrep's own reader of derivatives, where it is installed (it is no dependency of the tests).

pip install smriprep . pytest hypothesis && python -m pytest tests/batch/test_smriprep.py
"""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainseg.cli.main import main

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("tissues", [("six",), ("three",), ("intensity", "--prior", "none")])
def test_smriprep_finds_mask_label_map_and_three_maps(
    heads: Path, tmp_path: Path, tissues: tuple[str, ...]
) -> None:
    smriprep = pytest.importorskip("smriprep.utils.bids")
    out = tmp_path / "out"
    options = ("--mask", "none", "--no-report", "-q", "--engine", "serial", "--tissues", *tissues)
    assert main([str(heads), str(out), "participant", *options]) == 0
    if "none" not in tissues[1:]:
        # the visits of sub-02 together lie beside those of each
        assert main([str(heads), str(out), "participant", "--longitudinal", *options]) == 0
        assert list((out / "sub-02").glob("*_desc-long_probseg.nii.gz"))
    for subject, session, name in (
        ("01", None, "sub-01/anat/sub-01"),
        ("02", "a", "sub-02/ses-a/anat/sub-02_ses-a_run-1"),
        ("02", "b", "sub-02/ses-b/anat/sub-02_ses-b"),
    ):
        found = smriprep.collect_derivatives(out, subject, [], session_id=session)
        start = str(out / name)
        assert found == {
            "t1w_preproc": f"{start}_desc-preproc_T1w.nii.gz",
            "t1w_mask": f"{start}_desc-brain_mask.nii.gz",
            "t1w_dseg": f"{start}_dseg.nii.gz",
            "t1w_tpms": [f"{start}_label-{t}_probseg.nii.gz" for t in ("GM", "WM", "CSF")],
            "transforms": {},
        }
        labels = np.asanyarray(nib.load(found["t1w_dseg"]).dataobj)
        maps = np.stack([nib.load(path).get_fdata() for path in found["t1w_tpms"]])
        # GM 1, WM 2, CSF 3: the numbers that fMRIPrep takes for granted
        agree = (maps.argmax(axis=0) + 1 == labels)[labels > 0]
        assert agree.mean() > 0.9
