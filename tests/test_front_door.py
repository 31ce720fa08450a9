"""`import brainseg`: an image in any form, its tissues on its own grid."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from axis_orders import turned

import brainseg
from brainseg.cli.main import main
from brainseg.errors import BrainsegError, CannotCreateError, DataError, UsageError
from brainseg.evaluation.phantom import make_phantom
from brainseg.io.inputs import Source, source_of

HEAD = make_phantom(zooms=(3.0, 3.0, 3.0), seed=1)
AFFINE = HEAD.volume.affine
HEAVY = {"scipy", "nibabel", "numpy", "SimpleITK", "sklearn"}


def quick(image: object, **options: object) -> brainseg.Segmentation:
    """Segment with the true mask, without what takes time."""
    options = {"mask": HEAD.mask, "prior": "tied", "bias": "none"} | options
    return brainseg.segment(image, **options)


@pytest.fixture(scope="module")
def result() -> brainseg.Segmentation:
    return quick(HEAD.volume.data, affine=AFFINE)


def test_importing_loads_nothing_heavy() -> None:
    code = "import sys, brainseg; print(*sorted(m for m in sys.modules if '.' not in m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


def test_every_public_name_is_there() -> None:
    for name in brainseg.__all__:
        assert getattr(brainseg, name) is not None
    assert set(brainseg.__all__) <= set(dir(brainseg))
    with pytest.raises(AttributeError, match="no attribute 'segmnt'"):
        _ = brainseg.segmnt


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(brainseg.__file__).parent / "py.typed").exists()


@pytest.mark.parametrize("codes", ["RAI", "PIR", "LPS"])
def test_an_order_of_axes_changes_no_voxel(result: brainseg.Segmentation, codes: str) -> None:
    data, affine = turned(HEAD.volume.data, AFFINE, codes)
    mask, _ = turned(HEAD.mask, AFFINE, codes)
    other = quick(data, affine=affine, mask=mask)
    assert other.labels.shape == data.shape
    np.testing.assert_array_equal(other.labels, turned(result.labels, AFFINE, codes)[0])
    np.testing.assert_array_equal(other.affine, affine)
    assert other.volumes == result.volumes


def test_path_and_image_give_what_the_array_gives(
    result: brainseg.Segmentation, tmp_path: Path
) -> None:
    image = nib.Nifti1Image(HEAD.volume.data, AFFINE)
    path = tmp_path / "head.nii.gz"
    image.to_filename(path)
    nib.Nifti1Image(HEAD.mask.astype(np.uint8), AFFINE).to_filename(tmp_path / "mask.nii.gz")
    mask = nib.load(tmp_path / "mask.nii.gz")
    for source, its_mask in (
        (path, mask),
        (str(path), str(tmp_path / "mask.nii.gz")),
        (image, mask),
    ):
        np.testing.assert_array_equal(quick(source, mask=its_mask).labels, result.labels)
    loaded = brainseg.load(path)
    np.testing.assert_array_equal(quick(loaded).labels, result.labels)
    assert quick(nib.load(path)).scan.sha256 == loaded.sha256


def test_a_result_has_all_that_was_found(result: brainseg.Segmentation) -> None:
    shape = HEAD.volume.shape
    assert result.mask.dtype == bool
    np.testing.assert_array_equal(result.mask, HEAD.mask)
    assert list(result.probabilities) == [t.abbreviation for t in result.table.tissues]
    total = sum(result.probabilities.values())
    # Six float32 numbers that sum to 1.
    np.testing.assert_allclose(total[HEAD.mask], 1.0, atol=1e-5)
    assert not total[~HEAD.mask].any()
    assert set(result.volumes) == {"CSF", "GM", "WM"}
    inside = HEAD.mask.sum() * 0.027
    assert sum(result.volumes.values()) == pytest.approx(inside, rel=1e-4)
    assert result.mixture.means_.shape == (6, 1)
    assert result.bias is None
    assert quick(HEAD.volume, bias="em").bias.shape == shape


def test_pandas_takes_the_volumes(result: brainseg.Segmentation) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    assert pandas.Series(result.volumes)["GM"] == result.volumes["GM"]


def test_maps_become_images_on_the_grid_of_the_input() -> None:
    data, affine = turned(HEAD.volume.data, AFFINE, "PIR")
    found = quick(data, affine=affine, mask=turned(HEAD.mask, AFFINE, "PIR")[0])
    for what, expected in (
        ("labels", found.labels),
        ("mask", found.mask),
        ("GM" if "GM" in found.probabilities else found.table.tissues[2].abbreviation, None),
        ("preproc", data),
    ):
        image = found.to_nifti(what)
        # The header keeps single precision.
        np.testing.assert_allclose(image.affine, affine, rtol=1e-6, atol=1e-4)
        if expected is not None:
            np.testing.assert_array_equal(np.asanyarray(image.dataobj), expected)
    with pytest.raises(UsageError, match="`what`: there is no map 'brain'"):
        found.to_nifti("brain")


def test_text_and_picture_of_a_result(result: brainseg.Segmentation) -> None:
    text = repr(result)
    assert "60x72x60" in text or "voxels of 3 x 3 x 3 mm" in text
    assert f"GM {result.volumes['GM']:.1f} mL" in text
    page = result._repr_html_()
    assert "data:image/webp;base64," in page
    assert page.count("<tr>") == 3


def test_saved_is_what_the_program_writes(tmp_path: Path) -> None:
    path = tmp_path / "head_T1w.nii.gz"
    nib.Nifti1Image(HEAD.volume.data, AFFINE).to_filename(path)
    mask = tmp_path / "m.nii.gz"
    nib.Nifti1Image(HEAD.mask.astype(np.uint8), AFFINE).to_filename(mask)
    files = brainseg.segment(path, mask=mask, prior="tied").save(tmp_path / "a", report=False)
    line = ["run", path, "-o", tmp_path / "b", "--mask", mask, "--prior", "tied", "--no-report"]
    assert main([str(word) for word in line]) == 0
    assert {f.name for f in files} <= {f.name for f in (tmp_path / "b").iterdir()}
    for file in files:
        other = tmp_path / "b" / file.name
        if file.name.endswith("mixture.json"):
            one, two = (json.loads(f.read_text()) for f in (file, other))
            for record in (one, two):
                del record["seconds"]
            assert one == two
            digest = hashlib.sha256(mask.read_bytes()).hexdigest()
            assert one["other_inputs"] == [{"role": "mask", "name": mask.name, "sha256": digest}]
        else:
            assert file.read_bytes() == other.read_bytes()
    with pytest.raises(CannotCreateError, match="add `force`"):
        brainseg.save(quick(path), tmp_path / "a")


def test_every_input_beside_the_scan_is_named_and_hashed(tmp_path: Path) -> None:
    path = tmp_path / "head_FLAIR.nii.gz"
    image = nib.Nifti1Image(HEAD.volume.data, AFFINE)
    image.to_filename(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    scan = brainseg.load(path)
    for given in (scan, path, str(path), nib.load(path)):
        assert source_of(given, "FLAIR") == Source("FLAIR", path.name, digest)
    voxels = hashlib.sha256(HEAD.mask.tobytes()).hexdigest()
    assert source_of(HEAD.mask, "mask") == Source("mask", "mask", voxels)
    seeds = HEAD.six.astype(np.uint8)
    lesions = np.zeros(HEAD.mask.shape, np.uint8)
    lesions[tuple(np.argwhere(HEAD.six == 3)[::200].T)] = 1
    found = quick(scan, contrasts={"FLAIR": path}, seeds=seeds, lesions=lesions)
    assert [s.role for s in found.others] == ["FLAIR", "mask", "seeds", "lesions"]
    found.save(tmp_path / "out", report=False)
    written = json.loads((tmp_path / "out/head_desc-brainseg_mixture.json").read_text())
    assert [s["role"] for s in written["other_inputs"]] == ["FLAIR", "mask", "seeds", "lesions"]
    # Those of the mask, not candidates found on the FLAIR.
    assert written["lesion_mask_ml"] == pytest.approx(np.count_nonzero(lesions) * 0.027)
    assert "lesion_candidates_ml" not in written
    assert written["other_inputs"][0]["sha256"] == digest


def test_zooms_alone_are_taken_with_a_warning(result: brainseg.Segmentation) -> None:
    found = quick(HEAD.volume.data, zooms=(3, 3, 3))
    np.testing.assert_array_equal(found.labels, result.labels)
    assert any("no affine was given" in w for w in found.warnings)


def test_a_result_is_scored_against_its_truth(result: brainseg.Segmentation) -> None:
    rows = brainseg.evaluate(result, result.labels)
    assert [r.name for r in rows] == [t.abbreviation for t in result.table.tissues]
    assert {r.dice for r in rows} == {1.0}
    (row,) = brainseg.evaluate(result, result.mask, pairs={"brain": (range(1, 7), (1,))})
    assert row.dice == 1.0
    with pytest.raises(DataError, match="give `pairs`"):
        brainseg.evaluate(result, result.labels.astype(np.int32) * 100)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": HEAD.volume.data}, "`image`: an array needs its `affine`"),
        ({"image": HEAD.volume.data, "zooms": (3, 3)}, "`zooms`"),
        ({"image": HEAD.volume.data, "affine": np.eye(3)}, "`affine`: has shape"),
        ({"image": HEAD.volume.data, "affine": np.zeros((4, 4))}, "`affine`: is singular"),
        ({"image": 3}, "`image`: a int was given"),
        ({"image": HEAD.volume.data.astype(complex), "affine": AFFINE}, "`image`: has dtype"),
        ({"image": HEAD.volume, "tissues": "seven"}, "`tissues`: 'seven'"),
        ({"image": HEAD.volume, "tisues": "six"}, "`tisues`: no such option"),
        ({"image": HEAD.volume, "contrasts": {"T2": HEAD.volume}}, "`contrasts`: 'T2'"),
        ({"image": HEAD.volume, "mask": HEAD.mask[1:]}, "mask: .*voxels"),
        ({"image": HEAD.volume, "mask": HEAD.mask & False}, "`mask`: the mask is empty"),
    ],
)
def test_a_mistake_names_its_argument(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(BrainsegError, match=message):
        brainseg.segment(**arguments)
