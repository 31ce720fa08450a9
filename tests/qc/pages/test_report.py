"""The report: whole in itself, says what it should, keeps private what is private."""

from __future__ import annotations

import base64
import dataclasses
import io
import itertools
import json
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from qc_heads import head, outputs_of, page_of, record

import brainseg
from brainseg.config import SegmentConfig
from brainseg.io.sidecar import Acquisition
from brainseg.mixture import Histogram
from brainseg.qc.draw import charts, mosaic, pictures, stages
from brainseg.qc.draw.panels import Drawing, panels
from brainseg.qc.draw.sprites import MOST, sprites, steps
from brainseg.qc.measure.subject import from_result
from brainseg.qc.measure.summary import summarise
from brainseg.tissues.tables import INTENSITY, SIX, THREE


@pytest.fixture(scope="module")
def made():
    scan, result = head()
    return scan, result, outputs_of(scan, result)


@pytest.fixture(scope="module")
def html(made):
    return made[2]["report.html"].decode()


@pytest.fixture(scope="module")
def subject(made):
    scan, result, _ = made
    return from_result(scan, result, record(scan, result))


def test_it_asks_nothing_of_the_network(html):
    addresses = re.findall(r"""(?:src|href)\s*=\s*["']([^"']{0,40})""", html)
    assert addresses
    assert all(a.startswith(("data:", "#")) for a in addresses)
    assert "url(" not in re.sub(r"url\(data:", "", html)
    assert re.search(r"http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'", html)
    assert "@import" not in html


def test_it_is_small(made):
    assert len(made[2]["report.html"]) < 6e6
    assert len(made[2]["desc-contact_T1w.webp"]) < 60e3


def test_it_holds_no_path(html):
    assert "/home/" not in html
    assert "secret" not in html
    assert "sub-01_T1w.nii.gz" in html


def test_everything_that_was_asked_for_is_there(html):
    parts = re.findall(r'<section id="([a-z]+)"', html)
    assert parts == [
        "mask", "background", "tissues", "three", "probabilities", "bias", "correction",
        "uncertainty", "browser", "mixture", "numbers", "errors", "methods", "rate",
    ]  # fmt: skip
    assert "Neurological</strong> convention" in html
    for tissue in THREE.tissues:
        assert tissue.name in html
    # The fit, and EM after 0, 1, 2, 5 and 20 cycles and as kept: six components each.
    assert html.count('class="curve"') == 6 * (1 + 6)
    assert html.count('class="sum"') == 1 + 6
    assert f"brainseg {brainseg.__version__}" in html
    assert "doi:" in html


def test_volumes_and_shares(html, made):
    volumes = made[1].volumes_ml
    errors = record(*made[:2])["volume_errors_ml"]
    for tissue, ml in volumes.items():
        assert f'<td class="n">{ml:.0f} <span class="soft">± {errors[tissue]:.0f}<' in html
        assert f"{100 * ml / sum(volumes.values()):.1f} %" in html
    brain = volumes["GM"] + volumes["WM"]
    assert f'<td class="n">{brain:.0f} <span class="soft">± {errors["brain"]:.0f}<' in html


def test_warnings_have_a_section_that_is_never_silent():
    page = page_of(*head(notes=("q and s disagree <here>", "q and s disagree <here>")))
    errors = page[page.index('<section id="errors"') :].split("</section>")[0]
    assert errors.count("<li>q and s disagree &lt;here&gt;</li>") == 1
    assert "None: no step" in page_of(*head())


def test_the_curve_of_a_fit_with_a_prior_is_told_as_such():
    scan, result = head()
    assert "likelihood and prior together" in page_of(scan, result)
    alone = dataclasses.replace(result, config=SegmentConfig(prior="none", tissues="intensity"))
    page = page_of(scan, alone)
    assert "likelihood and prior together" not in page
    assert "It rises, and should end level" in page


def test_the_regions_of_the_prior_are_drawn_where_there_is_one():
    scan, result = head()
    regions = np.ones(result.fit.labels.size, np.uint8)
    regions[result.fit.labels == 6] = 5
    placed = dataclasses.replace(result, regions=regions)
    subject = from_result(scan, placed, record(scan, placed))
    with ThreadPoolExecutor(1) as pool:
        drawn = {p.name: p for p in panels(subject, summarise(subject).around, pool)}
    layer = Image.open(io.BytesIO(base64.b64decode(drawn["regions"].overlay.split(",")[1])))
    # Labels 1 and 5 in the colours of the table of six.
    colours = {c[:3] for _, c in layer.convert("RGBA").getcolors() if c[3]}
    assert colours == {pictures.rgb(SIX.tissues[n].colour) for n in (0, 4)}
    assert [k.text for k in drawn["regions"].legend] == [t.name for t in SIX.tissues]
    assert 'id="regions"' not in page_of(scan, result)


def card_of(scan, result):
    page = page_of(scan, result)
    return page[page.index('<header class="top">') : page.index("</header>")]


def test_the_card_tells_the_scan_and_every_class_of_the_table():
    told = Acquisition(MagneticFieldStrength=3.0, EchoTime=0.00298, InversionTime=0.9)
    scan, result = head(acquisition=told)
    card = card_of(scan, result)
    facts = dict(re.findall(r'<tr><th scope="row">([^<]+)</th><td>([^<]+)</td></tr>', card))
    assert facts == {
        "Voxels": "88 × 104 × 88",
        "Voxel size": "2 × 2 × 2 mm",
        "Field strength": "3 T",
        "Echo time (TE)": "2.98 ms",
        "Inversion time (TI)": "900 ms",
    }
    sums = result.fit.responsibilities.sum(axis=0, dtype=float) * 8 / 1000
    for tissue, ml in zip(INTENSITY.tissues, sums, strict=True):
        assert f'{tissue.index} {tissue.name}</th><td class="n">{ml:.0f}</td>' in card
    measured = summarise(from_result(scan, result, record(scan, result)))
    tiv = next(row for row in measured.volumes if row.structure == "tiv")
    assert f'Intracranial (estimate)</th><td class="n">{tiv.volume_ml:.0f}</td>' in card
    assert "Lesion" not in card


def test_the_card_tells_lesions_with_their_number_and_no_class_twice():
    scan, result = head()
    lesions = np.zeros(result.fit.labels.size, np.float32)
    lesions[20_000:20_003] = 1.0
    fit = dataclasses.replace(result.fit, lesions=lesions)
    three = dataclasses.replace(
        fit, responsibilities=fit.fractions, labels=fit.three_labels, mixture=_Three
    )
    card = card_of(scan, dataclasses.replace(result, fit=three, table=THREE))
    # Three voxels of 8 cubic mm in a row.
    assert 'Lesion candidates (1)</th><td class="n">0.02</td>' in card
    assert "Classes" not in card


class _Three:
    weights_ = np.array([0.2, 0.4, 0.4])
    means_ = np.array([[40.0], [75.0], [105.0]])
    covariances_ = np.full((3, 1, 1), 50.0)
    history_, converged_, n_iter_ = (-4.6, -4.4, -4.3), True, 3


def test_markup_in_names_and_warnings_is_text():
    scan, result = head(name="<img src=x>.nii.gz", notes=("<script>alert(1)</script>",))
    page = page_of(scan, result)
    assert "<script>alert" not in page
    assert "<img src=x" not in page


def test_an_unknown_orientation_is_said_beside_the_pictures():
    scan, result = head(notes=("the header gives no orientation; left and right unknown",))
    assert "as far as the header tells" in page_of(scan, result)


def test_left_of_the_head_is_left_in_every_picture(subject):
    # `head` puts a bright ball where world x is negative: the head's left.
    drawing = Drawing(subject)
    m = drawing.on_head
    grey = m.draw(subject.volume.data, drawing.grey(head=True))
    for cell in m.cells:
        if cell.axis == mosaic.SAGITTAL:
            continue
        part = grey[cell.y : cell.y + cell.height, cell.x : cell.x + cell.width].astype(float)
        half = part.shape[1] // 2
        middle = slice(part.shape[0] // 4, 3 * part.shape[0] // 4)
        x = np.arange(half)
        inside = (x > 0.3 * half) & (x < 0.9 * half)
        left, right = part[middle, :half][:, inside], part[middle, -half:][:, ::-1][:, inside]
        assert left.mean() > right.mean() - 0.5
    sheet = sprites(subject)
    i, j, k = sheet.facts["shape"]
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(sheet.scan.split(",")[1]))))
    if picture.ndim == 3:
        picture = picture[..., 0]
    row, column = divmod(k // 2 + 3, sheet.facts["columns"])
    axial = picture[row * j : (row + 1) * j, column * i : (column + 1) * i].astype(float)
    assert axial[:, : i // 2].mean() > axial[:, i // 2 :].mean()


def test_anterior_is_up_and_superior_is_up():
    data = np.zeros((4, 5, 6))
    data[1, 4, 2] = 7  # front
    box = tuple(slice(0, n) for n in data.shape)
    assert mosaic.section(data, mosaic.AXIAL, 2, box)[0, 1] == 7
    assert mosaic.section(data, mosaic.SAGITTAL, 1, box)[6 - 1 - 2, 4] == 7
    assert mosaic.section(data, mosaic.CORONAL, 4, box)[6 - 1 - 2, 1] == 7


def test_voxels_are_drawn_at_their_aspect():
    from brainseg.core.volume import Volume

    volume = Volume(np.zeros((100, 100, 20), np.float32), np.diag([1.0, 1.0, 5.0, 1.0]))
    box = tuple(slice(0, n) for n in volume.shape)
    m = mosaic.three_planes(volume, box, box, 5)
    for cell in m.cells:
        assert cell.width == pytest.approx(cell.height, abs=2)  # 100 mm on every side


def test_cells_stay_on_the_canvas_and_apart(subject):
    for m in vars(Drawing(subject)).values():
        if not isinstance(m, mosaic.Mosaic):
            continue
        taken = np.zeros((m.height, m.width), dtype=int)
        for c in m.cells:
            assert 0 <= c.x <= c.x + c.width <= m.width
            assert 0 <= c.y <= c.y + c.height <= m.height
            taken[c.y : c.y + c.height, c.x : c.x + c.width] += 1
        assert taken.max() == 1


def test_labels_of_the_slice_browser_are_exact(subject):
    sheet = sprites(subject)
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(sheet.labels.split(",")[1]))))
    facts = sheet.facts
    i, j, k = facts["shape"]
    shown = np.zeros((i, j, k), np.uint8)
    for n in range(k):
        row, column = divmod(n, facts["columns"])
        part = picture[row * j : (row + 1) * j, column * i : (column + 1) * i]
        shown[:, :, n] = part[::-1].T
    # The scan's own voxels: none is resampled, and all of the mask is there.
    assert facts["step"] == [1, 1, 1]
    x, y, z = facts["start"]
    labels = np.zeros(subject.mask.shape, np.uint8)
    labels[subject.mask] = subject.label_samples
    assert np.array_equal(shown, labels[x : x + i, y : y + j, z : z + k])
    assert (shown > 0).sum() == subject.mask.sum()


def test_only_a_very_fine_scan_is_thinned_out_and_its_finest_axis_first():
    assert steps([188, 256, 210], (0.9, 0.9, 0.9)) == [1, 1, 1]
    fine = steps([500, 600, 60], (0.4, 0.4, 3.0))
    assert fine == [1, 1, 1]
    every = steps([400, 500, 400], (0.5, 0.5, 1.0))
    assert every[2] == 1
    assert np.prod(np.ceil(np.divide([400, 500, 400], every))) <= MOST


def test_contours_lie_on_the_edge_of_the_mask():
    inside = np.zeros((9, 9), dtype=bool)
    inside[2:7, 2:7] = True
    line = pictures.outline(inside)
    assert line.sum() == 16
    assert not line[4, 4]
    assert pictures.outline(inside, 2).sum() == 24


def test_layers_are_transparent_where_there_is_nothing():
    index = np.array([[0, 1], [2, 0]], dtype=np.uint8)
    uri = pictures.png_layer(index, [(255, 0, 0), (0, 0, 255)])
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGBA"))
    assert image[0, 0, 3] == 0
    assert tuple(image[0, 1]) == (255, 0, 0, 255)
    assert tuple(image[1, 0]) == (0, 0, 255, 255)


def test_the_rating_form_writes_the_columns_of_the_table(html):
    columns = json.loads(re.search(r"data-columns='([^']+)'", html).group(1).replace("&#34;", '"'))
    from brainseg.qc.review.ratings import COLUMNS

    assert tuple(columns) == COLUMNS


def test_a_scan_without_bias_has_no_bias_panel():
    scan, result = head()
    result = dataclasses.replace(result, fit=dataclasses.replace(result.fit, log_bias=None))
    page = page_of(scan, result)
    assert 'id="bias"' not in page
    assert "no bias field was estimated" in page


# Machado et al. 2009, doi:10.1109/TVCG.2009.113, severity 1, on linear RGB.
DEFICIENCIES = {
    "none": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
               [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
               [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
               [0.004733, 0.691367, 0.303900]],
}  # fmt: skip


@pytest.mark.parametrize("table", [SIX, THREE, INTENSITY], ids=lambda t: t.name)
@pytest.mark.parametrize("kind", DEFICIENCIES)
def test_tissues_differ_for_every_eye(table, kind):
    from skimage.color import deltaE_ciede2000, rgb2lab

    srgb = np.array([pictures.rgb(t.colour) for t in table.tissues]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(DEFICIENCIES[kind]).T, 0, 1)
    seen = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
    lab = rgb2lab(seen[None])[0]
    apart = deltaE_ciede2000(lab[:, None], lab[None])
    # Ten is seen at a glance; a just noticeable difference is about one.
    assert apart[~np.eye(len(lab), dtype=bool)].min() > 12


@pytest.mark.parametrize("sd", [9.0, 33.0, 400.0])
def test_integers_draw_no_comb(sd):
    # A comb has every other bin far above its neighbours; this many samples wiggle by 2 %.
    samples = np.rint(np.random.default_rng(0).normal(40 * sd, sd, 1_000_000)).astype(np.float32)
    binned = charts.bins(samples)
    middle = binned.counts > 0.3 * binned.counts.max()
    inner, between = binned.counts[1:-1], (binned.counts[2:] + binned.counts[:-2]) / 2
    assert np.abs(inner / np.maximum(between, 1) - 1)[middle[1:-1]].max() < 0.1
    assert binned.counts.sum() > 0.99 * samples.size


@pytest.mark.filterwarnings("error")
def test_a_histogram_in_one_bin_with_components_too_narrow_to_be_seen_is_drawn() -> None:
    """Found by the fuzzer: the height of the chart was 0."""
    counts = np.zeros(400)
    counts[7] = 1000
    binned = charts.Bins(np.linspace(0.0, 4.0, 401), counts, 1000)
    frame, marks = charts.densities([("#888888", "one")], binned, [(1.0, 0.076, 1e-9)], 300, 200)
    assert frame.y1 > frame.y0
    assert "nan" not in marks


def test_a_flat_bias_field_is_said_and_not_drawn():
    scan, result = head()
    flat = np.zeros_like(result.fit.log_bias)
    page = page_of(
        scan, dataclasses.replace(result, fit=dataclasses.replace(result.fit, log_bias=flat))
    )
    assert 'id="bias"' not in page
    assert "No bias field stood out" in page
    assert "None stood out against anatomy" in page


def test_em_at_work_climbs_on_the_histogram(subject):
    binned = charts.bins(subject.samples)
    h = Histogram(binned.centres[:, None], binned.counts, None, np.zeros(1))
    walked = stages.walk(h, 6)
    assert [shot.cycle for shot in walked] == [0, 1, 2, 5, 20]
    captions = [caption for caption, _ in stages.at_work(subject, binned)]
    words = ("K-means", "E-step", "M-step", "2 cycles", "5 cycles", "20 cycles", "kept")
    assert [
        word for word, caption in zip(words, captions, strict=True) if word not in caption
    ] == []

    def likelihood(components):
        mixed = sum(charts.gaussian(binned.centres, *c) for c in components)
        return float((binned.counts * np.log(np.maximum(mixed, 1e-300))).sum())

    values = [likelihood(stages.curves(shot.mixture)) for shot in walked]
    # Each is a sum of about 1e5 terms in float64.
    assert all(b >= a - 1e-6 * abs(a) for a, b in itertools.pairwise(values))


def test_further_contrasts_are_drawn_in_their_plane(made):
    scan, result = made[:2]
    rng = np.random.default_rng(0)
    t2 = 200 - result.fit.labels * 25.0 + rng.normal(0, 6, result.fit.labels.size)

    class Joint:
        weights_ = result.fit.mixture.weights_
        means_ = np.column_stack([result.fit.mixture.means_, 200 - 25.0 * np.arange(1, 7)])
        covariances_ = np.repeat(np.diag([16.0, 36.0])[None], 6, axis=0)
        history_, converged_, n_iter_ = result.fit.mixture.history_, True, 4

    fit = dataclasses.replace(result.fit, mixture=Joint, contrasts={"T2w": t2.astype(np.float32)})
    page = page_of(scan, dataclasses.replace(result, fit=fit))
    # Start, after 1, 2, 5 and 20 cycles, and as kept: two rings for each of six tissues.
    assert page.count("<ellipse") == 6 * 6 * 2
    assert page.count("<image") == 7
    assert page.count("T2w</text>") == 7
    # As kept, the centre of the last tissue lies where the record says.
    t1 = from_result(scan, result, record(scan, result)).samples
    plane = stages.Plane.of(np.column_stack([t1, t2]), (0, 1), ("T1w", "T2w"))
    x, y = re.findall(r'<g transform="translate\(([\d.]+) ([\d.]+)\)', page)[-1]
    # The frame follows percentiles of every few voxels only, hence a pixel or two.
    assert float(x) == pytest.approx(float(plane.frame.x(Joint.means_[5, 0])), abs=3)
    assert float(y) == pytest.approx(float(plane.frame.y(Joint.means_[5, 1])), abs=3)


def test_the_e_step_deals_out_the_whole_histogram(subject):
    binned = charts.bins(subject.samples)
    h = Histogram(binned.centres[:, None], binned.counts, None, np.zeros(1))
    first = stages.stages(stages.walk(h, 3))[1]
    assert first.e_step
    keys = [(f"#00000{k}", str(k)) for k in range(3)]
    chart = stages.over_histogram(first, binned, keys)
    tops = [
        [float(y) for _, y in (p.split(",") for p in points.split())]
        for points in re.findall(r'class="share" fill="[^"]+" points="([^"]+)"', chart)
    ]
    assert len(tops) == 3
    # The upper edge of the last layer is the histogram itself, to a tenth of a pixel.
    frame, _ = charts.densities(keys, binned, stages.curves(first.mixture), *stages.SMALL)
    edge = frame.y(np.minimum(binned.density, frame.y1)).repeat(2)
    np.testing.assert_allclose(tops[2][: len(edge)], edge, atol=0.06)
