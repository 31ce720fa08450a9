"""A canary wherever a scan or a dataset has room for words: no output holds any of them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from attack_dicom import classic, write
from nibabel.nifti1 import Nifti1Extension

from brainseg.cli.main import main
from brainseg.core.volume import Volume
from brainseg.evaluation.phantom import make_phantom
from brainseg.qc.review.server import Review, create_app

# Nine letters: Analyze has fields of ten. Folders of the results have one of their own, as the
# program tells the user's terminal where the results are.
CANARY, CANARY_OF_OUT = "zqxcanary", "zqxresult"
QUICK = ("--mask", "none", "--prior", "none", "--bias", "none")
TEXT_OF_DICOM = (
    "PatientName", "PatientID", "OtherPatientIDs", "PatientComments", "PatientAddress",
    "PatientBirthName", "PatientMotherBirthName", "PatientTelephoneNumbers", "MilitaryRank",
    "EthnicGroup", "Occupation", "AdditionalPatientHistory", "InstitutionName",
    "InstitutionAddress", "InstitutionalDepartmentName", "StationName", "ReferringPhysicianName",
    "PerformingPhysicianName", "OperatorsName", "PhysiciansOfRecord", "RequestingPhysician",
    "AccessionNumber", "StudyID", "StudyDescription", "SeriesDescription", "ProtocolName",
    "SequenceName", "ImageComments", "DerivationDescription", "AcquisitionComments",
    "RequestedProcedureDescription", "PerformedProcedureStepDescription", "DeviceSerialNumber",
    "Manufacturer", "ManufacturerModelName", "SoftwareVersions", "ContrastBolusAgent",
)  # fmt: skip
# What is read of a sidecar: numbers, where they are numbers.
NUMBERS = ("MagneticFieldStrength", "RepetitionTime", "EchoTime", "InversionTime", "FlipAngle")


@pytest.fixture(scope="module")
def head() -> Volume:
    """A stripped head of whole numbers, which segments in seconds."""
    made = make_phantom(zooms=(5.0, 5.0, 5.0), seed=0)
    data = np.rint(np.where(made.mask, made.volume.data, 0)).astype(np.int16)
    return made.volume.with_data(data)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder whose own name and those above and below hold the canary."""
    place = tmp_path / f"{CANARY} Jane" / f"Study_of-{CANARY}"
    place.mkdir(parents=True)
    return place


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / f"{CANARY_OF_OUT} Jane" / "out"


def no_canary(out: Path, said: Any) -> None:
    """Look for the words in every file's name and bytes, unpacked, and in what was printed."""
    files = [path for path in out.rglob("*") if path.is_file()]
    assert files
    for path in files:
        raw = path.read_bytes()
        content = (gzip.decompress(raw) if path.suffix == ".gz" else raw).lower()
        for word in (CANARY, CANARY_OF_OUT):
            assert word.encode() not in content, path.name
            assert word not in path.relative_to(out).as_posix().lower()
    assert CANARY not in (said.out + said.err).lower()


def nifti1(head: Volume, path: Path) -> Path:
    image = nib.Nifti1Image(head.data, head.affine)
    for name in ("descrip", "aux_file", "intent_name", "db_name", "data_type"):
        image.header[name] = CANARY.encode()
    for code in ("comment", "afni", "xcede", "mind_ident"):
        image.header.extensions.append(Nifti1Extension(code, CANARY.encode()))
    nib.save(image, path / "x_T1w.nii.gz")
    assert gzip.decompress((path / "x_T1w.nii.gz").read_bytes()).count(CANARY.encode()) == 9
    return path / "x_T1w.nii.gz"


def nifti2(head: Volume, path: Path) -> Path:
    image = nib.Nifti2Image(head.data, head.affine)
    for name in ("descrip", "aux_file", "intent_name"):
        image.header[name] = CANARY.encode()
    image.header.extensions.append(Nifti1Extension("comment", CANARY.encode()))
    nib.save(image, path / "x_T1w.nii")
    assert (path / "x_T1w.nii").read_bytes().count(CANARY.encode()) == 4
    return path / "x_T1w.nii"


def analyze(head: Volume, path: Path) -> Path:
    image = nib.AnalyzeImage(head.data, np.diag([*head.zooms, 1.0]))
    nib.save(image, path / "x_T1w.img")
    header = bytearray((path / "x_T1w.hdr").read_bytes())
    # data_type and db_name, then the fields of the history: descrip, aux_file, originator (which
    # holds numbers), generated, scannum, patient_id, exp_date, exp_time, hist_un0.
    fields = ((4, 10), (14, 18), (148, 80), (228, 24), (263, 10), (273, 10), (283, 10), (293, 10),
              (303, 10))  # fmt: skip
    for at, length in fields:
        header[at : at + length] = CANARY.encode().ljust(length, b"\0")
    (path / "x_T1w.hdr").write_bytes(header)
    return path / "x_T1w.hdr"


def mgz(head: Volume, path: Path) -> Path:
    nib.save(nib.MGHImage(head.data, head.affine), path / "x_T1w.mgh")
    with (path / "x_T1w.mgh").open("ab") as stream:
        # The command line that made it, as FreeSurfer appends it.
        stream.write(b"\0\0\0\x03" + (len(CANARY)).to_bytes(8, "big") + CANARY.encode())
    return path / "x_T1w.mgh"


def dicom(head: Volume, path: Path) -> Path:
    files = classic(head)
    for ds in files.values():
        for keyword in TEXT_OF_DICOM:
            setattr(ds, keyword, CANARY)
        block = ds.private_block(0x0029, CANARY, create=True)
        block.add_new(0x01, "LO", CANARY)
    return write(files, path / "x_T1w")


FORMATS = {f.__name__: f for f in (nifti1, nifti2, analyze, mgz, dicom)}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_words_of_a_header_and_of_folders_go_nowhere(
    head: Volume, place: Path, out: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    scan = FORMATS[name](head, place)
    assert main(["run", str(scan), "-o", str(out), "-q", *QUICK]) == 0
    no_canary(out, capsys.readouterr())
    labels = str(out / "x_dseg.nii.gz")
    assert main(["run", str(scan), "-o", str(out), "-q", "--report-only"]) == 0
    assert main(["explain", str(scan), "-o", str(out / "page"), "-q", "--mask", labels]) == 0
    assert main(["evaluate", labels, labels]) == 0
    no_canary(out, capsys.readouterr())


@pytest.fixture
def dataset(head: Volume, place: Path) -> Path:
    """A dataset with words in its description, its sidecars and files beside them."""
    raw = place / f"raw {CANARY}"
    for label in ("01", "02", "03"):
        folder = raw / f"sub-{label}" / "anat"
        folder.mkdir(parents=True)
        nifti1(head, folder).rename(folder / f"sub-{label}_T1w.nii.gz")
        sidecar = dict.fromkeys((*TEXT_OF_DICOM, *NUMBERS, "Notes"), CANARY)
        (folder / f"sub-{label}_T1w.json").write_text(json.dumps(sidecar))
    broken = raw / "sub-02" / "anat" / "sub-02_T1w.nii.gz"
    broken.write_bytes(broken.read_bytes()[:3000])
    (raw / "sub-03" / "anat" / "sub-03_T1w.nii.gz").write_text(f"no image of {CANARY}")
    description = {
        "Name": CANARY, "BIDSVersion": "1.10.0", "Authors": [CANARY], "Acknowledgements": CANARY,
        "HowToAcknowledge": CANARY, "Funding": [CANARY], "EthicsApprovals": [CANARY],
        "ReferencesAndLinks": [CANARY], "DatasetDOI": f"doi:10.1234/x by {CANARY}",
        "DatasetVersion": CANARY, "License": CANARY, "Keywords": [CANARY],
        "GeneratedBy": [{"Name": CANARY, "Description": CANARY}],
        "SourceDatasets": [{"URL": f"file:///home/{CANARY}", "DOI": CANARY, "Version": CANARY}],
        "DatasetLinks": {"raw": f"file:///home/{CANARY}"},
    }  # fmt: skip
    (raw / "dataset_description.json").write_text(json.dumps(description))
    for name in ("README", "CHANGES", "CITATION.cff", "T1w.json"):
        (raw / name).write_text(json.dumps({"Notes": CANARY}))
    return raw


def test_words_of_a_dataset_go_nowhere(
    dataset: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("participant", "--engine", "serial", *QUICK)
    assert main([str(dataset), str(out), *options]) == 65
    assert "sub-03_T1w" in (out / "logs" / "summary.tsv").read_text("utf-8")
    no_canary(out, capsys.readouterr())
    assert main([str(dataset), str(out), "group", "--cohort-model"]) == 0
    no_canary(out, capsys.readouterr())
    client = create_app(Review(out, "token", hosts={"localhost"})).test_client()
    state = client.get("/token/api/state").get_data(as_text=True)
    assert "sub-01" in state
    assert CANARY not in state
    assert CANARY_OF_OUT not in state
