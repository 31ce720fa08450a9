"""The program as a user meets it: files in, files out, exit codes, one line an error."""

from __future__ import annotations

import gzip
import json
import logging
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainseg.cli.main import main
from brainseg.evaluation import demo
from brainseg.evaluation.phantom import Phantom, make_phantom

ENDINGS = {
    "desc-brain_mask.nii.gz", "desc-brain_mask.json", "desc-preproc_T1w.nii.gz",
    "desc-preproc_T1w.json", "desc-brainseg_mixture.json",
} | {
    f"{which}dseg.{kind}"
    for which in ("seg-six_desc-posterior_", "seg-regions_desc-prior_", "")
    for kind in ("nii.gz", "tsv", "json")
} | {
    f"seg-six_label-{which}_desc-posterior_probseg.{kind}"
    for which in ("sixCSF", "CGM", "sixWM", "SGM", "BS", "CBM")
    for kind in ("nii.gz", "json")
} | {
    f"label-{which}_probseg.{kind}" for which in ("CSF", "GM", "WM") for kind in ("nii.gz", "json")
}  # fmt: skip


@pytest.fixture(scope="session")
def head() -> Phantom:
    return make_phantom(zooms=(3.0, 3.0, 3.0), seed=1)


@pytest.fixture(scope="session")
def files(head: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("head")
    demo.write_head(head, folder, contrast="T1w")
    return folder


@pytest.fixture(scope="session")
def out(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results") / "made" / "by run"
    assert run(files, "-o", str(folder)) == 0
    return folder


def run(files: Path, *options: str, scan: str = "phantom_T1w.nii.gz") -> int:
    mask = files / "phantom_desc-truth_mask.nii.gz"
    return main(["run", str(files / scan), "--mask", str(mask), "--no-report", *options])


def load(folder: Path, ending: str) -> nib.Nifti1Image:
    return nib.load(folder / f"phantom_{ending}")


def test_every_output_is_there_and_nothing_else(out: Path) -> None:
    expected = {f"phantom_{e}" for e in ENDINGS} | {
        "README.md",
        "lookup",
        "phantom_volumes.tsv",
    }
    extra = {p.name for p in out.iterdir()} - expected
    assert {p.name for p in out.iterdir()} >= expected
    # Later rooms may add JSON files of their own; never an unexplained image or litter.
    assert all(name.endswith(".json") for name in extra)


def test_images_lie_on_the_grid_of_the_scan(files: Path, out: Path) -> None:
    scan = nib.load(files / "phantom_T1w.nii.gz")
    for path in out.glob("*.nii.gz"):
        image = nib.load(path)
        assert image.shape == scan.shape
        assert np.allclose(image.affine, scan.affine)
        assert image.header.get_xyzt_units()[0] == "mm"


def test_label_maps_are_labels(out: Path, head: Phantom) -> None:
    for ending, highest in (("seg-six_desc-posterior_dseg", 6), ("dseg", 3)):
        image = load(out, f"{ending}.nii.gz")
        values = np.asanyarray(image.dataobj)
        assert image.header.get_intent()[0] == "label"
        assert values.dtype.kind in "iu"
        assert set(np.unique(values)) <= set(range(highest + 1))
        assert np.array_equal(values > 0, head.mask)
        rows = (out / f"phantom_{ending}.tsv").read_text().splitlines()
        assert rows[0].split("\t")[:2] == ["index", "name"]
        assert len(rows) == highest + 1


@pytest.mark.parametrize(
    ("pattern", "count"), [("phantom_seg-six_label-*", 6), ("phantom_label-*", 3)]
)
def test_probabilities_sum_to_one_in_the_mask(
    out: Path, head: Phantom, pattern: str, count: int
) -> None:
    paths = sorted(out.glob(f"{pattern}_probseg.nii.gz"))
    assert len(paths) == count
    total = sum(nib.load(p).get_fdata() for p in paths)
    # Each map is stored in parts of 1/65535, so the sum is off by half a part a map at most.
    assert np.abs(total[head.mask] - 1).max() <= count * 0.5 / 65535 + 1e-6
    assert not total[~head.mask].any()


def test_sidecars_say_where_it_came_from(out: Path) -> None:
    for image in out.glob("*.nii.gz"):
        sidecar = json.loads(image.with_name(image.name.replace(".nii.gz", ".json")).read_text())
        assert sidecar["Sources"] == ["phantom_T1w.nii.gz"]
        assert sidecar["SpatialReference"] == "phantom_T1w.nii.gz"
    assert json.loads((out / "phantom_dseg.json").read_text())["SkullStripped"] is True
    assert json.loads((out / "phantom_desc-preproc_T1w.json").read_text())["SkullStripped"] is False
    # A plain folder of results is no BIDS dataset and claims to be none.
    assert not (out / "dataset_description.json").exists()


def test_label_values_have_names_for_other_programs(out: Path) -> None:
    assert {p.name for p in (out / "lookup").iterdir()} == {
        f"{table}_{form}"
        for table in ("six", "three", "regions")
        for form in ("itksnap.label", "slicer.ctbl", "freesurfer.txt")
    }


def test_uncompressed_images_hold_the_same_and_take_the_place_of_the_others(
    files: Path, out: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "plain"
    shutil.copytree(out, folder)
    assert run(files, "-o", str(folder), "--uncompressed", "--force") == 0
    assert not list(folder.glob("*.nii.gz"))
    for image in folder.glob("*.nii"):
        packed = out / f"{image.name}.gz"
        assert gzip.decompress(packed.read_bytes()) == image.read_bytes(), image.name
    assert len(list(folder.glob("*.nii"))) == len(list(out.glob("*.nii.gz")))
    # The page made again reads them, and the group's table counts them.
    assert run(files, "-o", str(folder), "--force") == 0
    assert not list(folder.glob("*.nii"))
    assert run(files, "-o", str(folder), "--uncompressed", "--force") == 0
    scan = str(files / "phantom_T1w.nii.gz")
    assert main(["run", scan, "-o", str(folder), "--report-only", "-q"]) == 0
    assert (folder / "phantom_report.html").exists()
    assert main(["group", str(folder), "-q"]) == 0
    assert "phantom" in (folder / "group_T1w.tsv").read_text()
    seg, truth = folder / "phantom_dseg.nii", files / "phantom_seg-true_dseg.nii.gz"
    assert main(["evaluate", str(seg), str(truth), "-q"]) == 0


def test_the_record_holds_the_fit(out: Path) -> None:
    record = json.loads((out / "phantom_desc-brainseg_mixture.json").read_text())
    assert sum(record["weights"]) == pytest.approx(1, abs=1e-9)
    means = np.ravel(record["means"])
    # CSF, cortical grey and white; regions that follow share their intensities.
    assert (np.diff(means[:3]) > 0).all()
    assert len(record["input"]["sha256"]) == 64
    assert {"Load", "Brain mask", "Tissues"} <= set(record["seconds"])
    assert record["seed"] == 0
    assert len(record["log_likelihood"]) >= 2


def test_tissues_agree_with_the_truth(out: Path, head: Phantom) -> None:
    """A sanity bound, far under what evaluate_accuracy.py measures, that a swap would break."""
    labels = np.asanyarray(load(out, "dseg.nii.gz").dataobj)
    for tissue in (1, 2, 3):
        ours, truth = labels == tissue, head.three == tissue
        assert 2 * (ours & truth).sum() / (ours.sum() + truth.sum()) > 0.7


def test_results_are_not_overwritten_unasked(
    files: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (out / "phantom_dseg.nii.gz").stat().st_mtime_ns
    assert run(files, "-o", str(out)) == 73
    assert "--force" in capsys.readouterr().err
    assert (out / "phantom_dseg.nii.gz").stat().st_mtime_ns == before


def test_same_bits_whatever_the_threads(files: Path, out: Path, tmp_path: Path) -> None:
    for threads in ("1", "2"):
        assert run(files, "-o", str(tmp_path / threads), "--threads", threads) == 0
    for image in out.glob("*.nii.gz"):
        one, two = (tmp_path / t / image.name for t in ("1", "2"))
        assert one.read_bytes() == two.read_bytes(), image.name


@pytest.mark.parametrize("turn", ["LPS", "PIR", "oblique"])
def test_the_same_scan_turned_gets_the_same_labels(
    files: Path, out: Path, tmp_path: Path, turn: str
) -> None:
    for name in ("phantom_T1w.nii.gz", "phantom_desc-truth_mask.nii.gz"):
        image = nib.load(files / name)
        if turn == "oblique":
            tilt = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.2, -0.3, 0.1))
            turned = nib.Nifti1Image(np.asanyarray(image.dataobj), tilt @ image.affine)
        else:
            turned = image.as_reoriented(
                nib.orientations.ornt_transform(
                    nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(turn)
                )
            )
        nib.save(turned, tmp_path / name)
    assert run(tmp_path, "-o", str(tmp_path / "out")) == 0
    ours = nib.as_closest_canonical(
        nib.load(tmp_path / "out" / "phantom_seg-six_desc-posterior_dseg.nii.gz")
    )
    theirs = nib.as_closest_canonical(nib.load(out / "phantom_seg-six_desc-posterior_dseg.nii.gz"))
    # All arithmetic happens in canonical axes, so not one voxel differs.
    assert np.array_equal(np.asanyarray(ours.dataobj), np.asanyarray(theirs.dataobj))


def test_one_bad_scan_does_not_stop_the_others(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = nib.load(files / "phantom_T1w.nii.gz")
    mask = nib.load(files / "phantom_desc-truth_mask.nii.gz").get_fdata() > 0
    nib.save(
        nib.Nifti1Image(np.where(mask, scan.get_fdata(), 0).astype("float32"), scan.affine),
        tmp_path / "good_T1w.nii.gz",
    )
    (tmp_path / "bad_T1w.nii.gz").write_bytes(b"nothing")
    scans = [str(tmp_path / f"{name}_T1w.nii.gz") for name in ("bad", "good")]
    assert main(["run", *scans, "-o", str(tmp_path), "--mask", "none", "--no-report"]) == 65
    assert "bad_T1w.nii.gz" in capsys.readouterr().err
    assert (tmp_path / "good_dseg.nii.gz").exists()
    assert not list(tmp_path.glob("bad_d*"))


def bad_input(kind: str, files: Path, folder: Path) -> list[str]:
    scan = nib.load(files / "phantom_T1w.nii.gz")
    data, path = scan.get_fdata(dtype=np.float32), folder / "x_T1w.nii.gz"
    options = ["--mask", str(files / "phantom_desc-truth_mask.nii.gz")]
    if kind == "missing":
        return [str(folder / "absent.nii.gz"), *options]
    if kind == "text":
        path = folder / "x.nii"
        path.write_text("not an image")
        return [str(path), *options]
    if kind == "truncated":
        nib.save(scan, path)
        path.write_bytes(path.read_bytes()[:5000])
    elif kind == "nan":
        nib.save(nib.Nifti1Image(np.full_like(data, np.nan), scan.affine), path)
    elif kind == "constant":
        nib.save(nib.Nifti1Image(np.ones_like(data), scan.affine), path)
    elif kind == "series":
        nib.save(nib.Nifti1Image(np.stack([data, data], -1), scan.affine), path)
    elif kind == "complex":
        nib.save(nib.Nifti1Image(data.astype(np.complex64), scan.affine), path)
    elif kind == "few values":
        nib.save(nib.Nifti1Image((data > data.mean()).astype("uint8"), scan.affine), path)
    elif kind in ("empty mask", "other grid"):
        nib.save(scan, path)
        mask = folder / "mask.nii.gz"
        shape = data.shape if kind == "empty mask" else (9, 9, 9)
        nib.save(nib.Nifti1Image(np.zeros(shape, "uint8"), scan.affine), mask)
        options = ["--mask", str(mask)]
    elif kind == "no such mask":
        nib.save(scan, path)
        options = ["--mask", str(folder / "absent_mask.nii.gz")]
    return [str(path), *options]


@pytest.mark.parametrize(
    ("kind", "code", "says"),
    [
        ("missing", 66, "no such file"), ("no such mask", 66, "no such file"),
        ("text", 65, "not an image"), ("truncated", 65, "complete?"), ("nan", 65, "finite"),
        ("constant", 65, "value 1"), ("series", 65, "--volume"), ("complex", 65, "complex"),
        ("few values", 65, "different values"), ("empty mask", 65, "empty"),
        ("other grid", 65, "9x9x9"),
    ],
)  # fmt: skip
def test_bad_input_gets_one_line_and_no_output(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, code: int, says: str
) -> None:
    out = tmp_path / "out"
    arguments = bad_input(kind, files, tmp_path)
    assert main(["run", *arguments, "-o", str(out), "-q", "--no-report"]) == code
    lines = [x for x in capsys.readouterr().err.splitlines() if "error" in x.lower()]
    assert len(lines) == 1
    assert says in lines[0]
    assert str(tmp_path) not in lines[0]
    assert not out.exists() or not any(out.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [[], ["run"], ["run", "a.nii"], ["run", "a.nii", "-o", "x", "--tissues", "9000"],
     ["run", "a.nii", "-o", "x", "--seed", "-1"], ["evaluate", "a", "b", "--map", "1:2"]],
)  # fmt: skip
def test_usage_errors_exit_with_64(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 64
    assert capsys.readouterr().err.startswith("brainseg: error: ")


def test_out_that_is_a_file_cannot_be_created(files: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert run(files, "-o", str(blocked)) == 73
    assert blocked.read_text() == ""


def test_evaluate_scores_a_map_against_the_truth(
    files: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seg, truth = out / "phantom_dseg.nii.gz", files / "phantom_seg-true_dseg.nii.gz"
    assert main(["evaluate", str(truth), str(truth), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [r["name"] for r in rows] == ["GM", "WM", "CSF"]
    assert all(r["dice"] == 1 and r["hausdorff95_mm"] == 0 for r in rows)
    assert main(["evaluate", str(seg), str(truth), "--map", "2+3=2+3"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split()[:2] == ["tissue", "Dice"]
    assert table[1].startswith("2+3=2+3")


def test_the_report_alone_is_what_a_whole_run_makes(
    files: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, mask = files / "phantom_T1w.nii.gz", files / "phantom_desc-truth_mask.nii.gz"
    whole, again = tmp_path / "whole", tmp_path / "again"
    assert main(["run", str(scan), "--mask", str(mask), "-o", str(whole), "-q"]) == 0
    shutil.copytree(out, again)
    # Only the quality numbers are measured again, on maps that their files hold rounded.
    kept = [p for p in again.iterdir() if p.is_file() and "desc-quality" not in p.name]
    before = {p.name: p.read_bytes() for p in kept}
    alone = ["run", "--report-only", "-q", "-o", str(again)]
    assert main([*alone, str(scan)]) == 0
    assert before.items() <= {p.name: p.read_bytes() for p in again.glob("*.*")}.items()
    assert "</html>" in (again / "phantom_report.html").read_text(encoding="utf-8")
    numbers = [
        json.loads((folder / "phantom_desc-quality_T1w.json").read_text())
        for folder in (whole, again)
    ]
    assert numbers[0].keys() == numbers[1].keys()
    for key, value in numbers[0].items():
        if isinstance(value, float):
            # Probabilities come back from their files in steps of 1/65535.
            assert numbers[1][key] == pytest.approx(value, rel=1e-3, abs=1e-4), key
        else:
            assert numbers[1][key] == value, key

    assert main([*alone, "--no-report", str(scan)]) == 64
    assert main(["run", "--report-only", str(scan), "-o", str(tmp_path / "nothing")]) == 66
    assert "segment it first" in capsys.readouterr().err
    other = tmp_path / "phantom_T1w.nii.gz"
    demo.write_head(make_phantom(zooms=(3.0, 3.0, 3.0), seed=2), tmp_path, contrast="T1w")
    assert main([*alone, str(other)]) == 65
    assert "another file of this name" in capsys.readouterr().err


def test_outputs_hold_no_free_text_of_the_header(files: Path, tmp_path: Path) -> None:
    image = nib.load(files / "phantom_T1w.nii.gz")
    image.header["descrip"] = b"DOE^JANE 19700101"
    image.header["aux_file"] = b"DOE-JANE"
    nib.save(image, tmp_path / "phantom_T1w.nii.gz")
    mask = files / "phantom_desc-truth_mask.nii.gz"
    arguments = ["run", str(tmp_path / "phantom_T1w.nii.gz"), "--mask", str(mask), "--no-report"]
    assert main([*arguments, "-o", str(tmp_path / "out")]) == 0
    for path in (p for p in (tmp_path / "out").rglob("*") if p.is_file()):
        raw = path.read_bytes()
        content = gzip.decompress(raw) if path.suffix == ".gz" else raw
        assert b"JANE" not in content, path.name
        assert str(tmp_path).encode() not in content, path.name


def test_seeds_are_kept_and_the_rest_is_inferred(
    files: Path, head: Phantom, tmp_path: Path
) -> None:
    chosen = np.random.default_rng(0).random(head.three.shape) < 0.02
    seeds = np.where(chosen, head.three, 0).astype(np.uint8)
    affine = nib.load(files / "phantom_T1w.nii.gz").affine
    nib.save(nib.Nifti1Image(seeds, affine), tmp_path / "seeds.nii.gz")
    options = ("--tissues", "three", "--bias", "none", "-o", str(tmp_path / "out"))
    assert run(files, "--seeds", str(tmp_path / "seeds.nii.gz"), *options) == 0
    labels = np.asanyarray(load(tmp_path / "out", "dseg.nii.gz").dataobj)
    inside = (seeds > 0) & head.mask
    assert np.array_equal(labels[inside], seeds[inside])
    rest = head.mask & (seeds == 0)
    # The phantom's bias field is left in; without it more than nine in ten agree.
    assert (labels[rest] == head.three[rest]).mean() > 0.8


def test_the_last_line_tells_the_verdict_and_a_failed_one_has_its_exit_code(
    files: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scan = files / "phantom_T1w.nii.gz"
    image = nib.load(files / "phantom_desc-truth_mask.nii.gz")
    half = np.asanyarray(image.dataobj).copy()
    half[:, : int(0.6 * half.shape[1])] = 0
    wrong = tmp_path / "half.nii.gz"
    nib.Nifti1Image(half, image.affine).to_filename(wrong)
    options = ["--no-report", "--tissues", "three", "--prior", "tied", "--bias", "none"]
    caplog.set_level(logging.INFO, logger="brainseg")
    arguments = ["run", str(scan), "--mask", str(wrong), "-o", str(tmp_path / "a"), *options]
    assert main(arguments) == 0
    last = caplog.records[-1].getMessage()
    assert last.startswith("phantom_T1w.nii.gz: Fail: ")
    assert main([*arguments, "--force", "--fail-on-verdict"]) == 19


def test_the_help_of_visits_names_the_tables_that_are_fitted_over_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["long", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "three: CSF, grey, white (default: six)" in text
    assert "bone" not in text
