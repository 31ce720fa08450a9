"""Every real file of strange make through the whole program."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import pytest
from outcomes import refused, valid_result

from brainseg.cli.main import main
from brainseg.io.bids import split_name

# Heads or brains; what is no single scan of grey values; the others may end either way.
DONE = (
    "T1.mgz", "T1_template.mnc", "analyze_avg152T1.hdr.gz", "nifti2_avg152T1.nii.gz",
)  # fmt: skip
REFUSED = ("4d.nii.gz", "5D_small.nii", "rgb.nii.gz")


def names(shared_data: Path) -> list[str]:
    return sorted(p.name for p in (shared_data / "formats").iterdir() if ".img" not in p.name)


def test_every_real_file_ends_well(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = {}
    for name in names(shared_data):
        path, out = shared_data / "formats" / name, tmp_path / name
        # The head is found in earnest; the atlas for the tissues only costs time here.
        options = ["--brain-extraction", "network", "--prior", "tied", "--no-report", "-q"]
        ended[name] = main(["run", str(path), "-o", str(out), *options])
        said = capsys.readouterr().err
        if ended[name]:
            refused(out, ended[name], said)
        else:
            valid_result(out, nib.load(path), split_name(path)[0])
    assert {name: ended[name] for name in DONE} == dict.fromkeys(DONE, 0)
    assert {name: ended[name] for name in REFUSED} == dict.fromkeys(REFUSED, 65)
