"""The report in a real browser, from a file."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image
from qc_browser import SOFTWARE_GL, errors_of, requests_of, sized, start, too_wide, violations, wait
from selenium.webdriver.common.keys import Keys

from brainseg.qc.draw.panels import MASK_COLOUR
from brainseg.qc.draw.pictures import rgb
from brainseg.tissues.tables import INTENSITY


@pytest.fixture(scope="module")
def opened(browser, pages):
    browser.get(pages["plain"].as_uri())
    wait(lambda: browser.execute_script("return document.body.dataset.browser") == "ready")
    return browser


def press(driver, key):
    driver.execute_script(
        "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: arguments[0],"
        " bubbles: true}))",
        key,
    )


def text_of(driver, name):
    return driver.execute_script("return document.getElementById(arguments[0]).textContent", name)


def canvas(driver, axis):
    uri = driver.execute_script(
        "return document.getElementById('plane-' + arguments[0]).toDataURL()", axis
    )
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB"))


def point(driver, axis, across, up, kind="pointermove", buttons=0):
    """Send a pointer event to a plane at a share of its width and height from the lower left."""
    driver.execute_script(
        """const [axis, x, y, kind, buttons] = arguments;
        const plane = document.getElementById('plane-' + axis);
        plane.setPointerCapture = () => {};
        const r = plane.getBoundingClientRect();
        plane.dispatchEvent(new PointerEvent(kind, {clientX: r.left + x * r.width,
          clientY: r.bottom - y * r.height, buttons, pointerId: 1, bubbles: true}));""",
        axis, across, up, kind, buttons,
    )  # fmt: skip


def centre(driver):
    """Put the cross into the middle of the head."""
    point(driver, 2, 0.5, 0.5, "pointerdown", 1)
    point(driver, 1, 0.5, 0.5, "pointerdown", 1)


def test_it_makes_no_request_and_no_error(browser, pages):
    requests_of(browser)
    errors_of(browser)
    browser.get(pages["plain"].as_uri())
    wait(lambda: browser.execute_script("return document.body.dataset.browser") == "ready")
    asked = requests_of(browser)
    assert pages["plain"].as_uri() in asked
    assert [a for a in asked if not a.startswith(("file:", "data:", "blob:"))] == []
    assert len([a for a in asked if a.startswith("file:")]) == 1
    assert errors_of(browser) == []


def test_every_picture_is_drawn(opened):
    broken = opened.execute_script(
        "return [...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    )
    assert broken == 0
    assert opened.execute_script("return document.images.length") >= 12


def test_the_label_under_the_pointer_is_told(opened):
    point(opened, 2, 0.5, 0.5)
    assert "Pure white matter" in text_of(opened, "readout")
    point(opened, 2, 0.01, 0.01)
    assert "outside the mask" in text_of(opened, "readout")


def test_planes_are_linked_and_scroll(opened):
    point(opened, 2, 0.5, 0.5, "pointerdown", 1)
    before = canvas(opened, 0)
    point(opened, 2, 0.3, 0.5, "pointerdown", 1)
    assert np.abs(canvas(opened, 0).astype(int) - before).mean() > 1
    axial = canvas(opened, 2)
    opened.execute_script(
        "const p = document.getElementById('plane-2');"
        "for (let n = 0; n < 30; n++) p.dispatchEvent(new WheelEvent('wheel', {deltaY: -1}))"
    )
    assert np.abs(canvas(opened, 2).astype(int) - axial).mean() > 1


def test_the_overlay_goes_and_comes(opened):
    centre(opened)
    coloured = canvas(opened, 2)
    press(opened, "t")
    bare = canvas(opened, 2)
    hidden = opened.execute_script(
        "return [...document.querySelectorAll('.overlay')].every("
        "o => getComputedStyle(o).visibility === 'hidden')"
    )
    press(opened, "t")
    assert hidden
    chroma = [np.ptp(p.reshape(-1, 3).astype(int), axis=1).mean() for p in (coloured, bare)]
    assert chroma[0] > 4 * chroma[1]  # what is left is the blue cross
    assert np.array_equal(canvas(opened, 2), coloured)


def test_full_opacity_shows_the_tissues_own_colours(opened):
    centre(opened)
    opened.execute_script(
        "const s = document.getElementById('opacity'); s.value = 100;"
        "s.dispatchEvent(new Event('input'))"
    )
    picture = canvas(opened, 2)
    opened.execute_script(
        "const s = document.getElementById('opacity'); s.value = 55;"
        "s.dispatchEvent(new Event('input'))"
    )
    for tissue in INTENSITY.tissues:
        near = np.abs(picture.astype(int) - rgb(tissue.colour)).max(axis=2) < 12
        assert near.any(), tissue.name


def test_left_is_left_in_the_browser(opened):
    # The head has a bright ball on its left at y = 0, z = 10 mm, and a symmetric rest.
    press(opened, "t")
    point(opened, 1, 0.3, 0.56, "pointerdown", 1)
    coronal = canvas(opened, 1).astype(float).mean(axis=2)
    press(opened, "t")
    h, w = coronal.shape
    rows = slice(int(0.38 * h), int(0.5 * h))
    left, right = coronal[rows, int(0.28 * w) : int(0.42 * w)], coronal[rows, int(0.58 * w) : -1]
    right = coronal[rows, w - int(0.42 * w) : w - int(0.28 * w)]
    assert left.mean() > right.mean() + 10


def test_a_click_on_a_mosaic_takes_the_browser_there(opened):
    said = opened.execute_script(
        """const stack = document.querySelector('#tissues .stack');
        const map = JSON.parse(stack.dataset.map), r = stack.getBoundingClientRect();
        const [axis, index, x, y, w, h] = map.cells[10];
        stack.dispatchEvent(new MouseEvent('click', {bubbles: true,
          clientX: r.left + (x + w / 2) / map.width * r.width,
          clientY: r.top + (y + h / 2) / map.height * r.height}));
        return [axis, index];"""
    )
    facts = opened.execute_script("return window.brainsegVoxels.facts")
    millimetres = [
        float(v) for v in text_of(opened, "readout").split("·")[1].split("mm")[0].split(",")
    ]
    expected = facts["affine"][said[0]][said[0]] * said[1] + facts["affine"][said[0]][3]
    # Rounded to a millimetre where it is shown.
    assert millimetres[said[0]] == pytest.approx(expected, abs=0.5)
    opened.execute_script("document.getElementById('enlarged').close()")


def enlarge(driver, panel, cell):
    driver.execute_script(
        """const stack = document.querySelector(`#${arguments[0]} .stack`);
        const map = JSON.parse(stack.dataset.map);
        const r = stack.querySelector('img').getBoundingClientRect();
        const [axis, index, x, y, w, h] = map.cells[arguments[1]];
        stack.dispatchEvent(new MouseEvent('click', {bubbles: true,
          clientX: r.left + (x + w / 2) / map.width * r.width,
          clientY: r.top + (y + h / 2) / map.height * r.height}));""",
        panel, cell,
    )  # fmt: skip


def large(driver):
    uri = driver.execute_script(
        "return document.getElementById('enlarged-slice').toDataURL('image/png')"
    )
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB"))


def test_a_click_enlarges_a_slice_voxel_by_voxel(opened):
    enlarge(opened, "mask", 7)
    assert opened.execute_script("return document.getElementById('enlarged').open")
    assert "88 × " in text_of(opened, "enlarged-readout")
    assert "2.00 × 2.00 mm" in text_of(opened, "enlarged-readout")
    picture = large(opened)
    facts = opened.execute_script("return window.brainsegVoxels.facts")
    # At least a pixel for each voxel, the outline of the mask, and the colours of the tissues.
    assert picture.shape[1] >= facts["shape"][0]
    assert picture.shape[0] >= facts["shape"][1]
    yellow = np.abs(picture.astype(int) - rgb(MASK_COLOUR)).max(axis=2) < 30
    assert yellow.sum() > 200
    before = text_of(opened, "enlarged-readout")
    opened.find_element("id", "enlarged").send_keys(Keys.ARROW_UP)
    assert text_of(opened, "enlarged-readout") != before
    assert np.abs(large(opened).astype(int) - picture).mean() > 0.1
    press(opened, "t")
    # Grey but for the letters, whose own tint spans 7.
    assert np.ptp(large(opened).reshape(-1, 3).astype(int), axis=1).max() <= 7
    press(opened, "t")
    opened.find_element("id", "enlarged").send_keys(Keys.ESCAPE)
    assert not opened.execute_script("return document.getElementById('enlarged').open")


def test_slices_are_large_enough_to_judge(opened):
    sized(opened, 1400, 900)
    widths = opened.execute_script(
        """return [...document.querySelectorAll('.stack')].flatMap(s => {
          const map = JSON.parse(s.dataset.map);
          const shown = s.querySelector('img').getBoundingClientRect().width;
          return map.cells.map(c => c[4] * shown / map.width); })"""
    )
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert min(widths) >= 220


def test_keys_do_nothing_while_typing(opened):
    opened.execute_script(
        "const n = document.getElementById('notes'); n.focus();"
        "n.dispatchEvent(new KeyboardEvent('keydown', {key: 't', bubbles: true}))"
    )
    assert not opened.execute_script("return document.body.classList.contains('bare')")


def test_keys_choose_the_rating_and_the_bar_says_which(opened):
    for key, rating in (("2", "uncertain"), ("f", "fail"), ("1", "pass")):
        press(opened, key)
        chosen = opened.execute_script(
            "return new FormData(document.getElementById('rating')).get('rating')"
        )
        bar = opened.execute_script(
            "return document.querySelector(\"a[href='#rate']\").textContent"
        )
        assert (chosen, bar) == (rating, f"Rate: {rating}")


def test_nothing_runs_out_of_the_window(opened):
    # A report is read on a phone and beside others: it must not scroll sideways.
    for width in (390, 800, 1280):
        sized(opened, width, 844)
        assert too_wide(opened) <= 0, width
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_rating_can_be_downloaded(tmp_path, pages, tmp_path_factory):
    from brainseg.qc.review import ratings

    driver = start(tmp_path_factory.mktemp("profile"), downloads=tmp_path)
    try:
        driver.get(pages["plain"].as_uri())
        wait(lambda: driver.execute_script("return document.body.dataset.browser") == "ready")
        driver.execute_script(
            """const f = document.getElementById('rating');
            f.querySelector('[value=fail]').checked = true;
            f.querySelector('[value=motion]').checked = true;
            document.querySelector('#mask [name=flag]').checked = true;
            f.elements.rater.value = 'ann'; f.elements.notes.value = 'two\\tlines';
            f.requestSubmit();"""
        )
        saved = tmp_path / "sub-01_rating.tsv"
        wait(saved.exists)
    finally:
        driver.quit()
    saved.rename(tmp_path / ratings.TABLE)
    (row,) = ratings.read(tmp_path)
    assert (row.scan, row.rater, row.rating, row.tags, row.flags, row.notes) == (
        "sub-01", "ann", "fail", ("motion",), ("mask",), "two lines",
    )  # fmt: skip


def test_no_serious_barrier(opened, axe):
    for width in (390, 1400):
        sized(opened, width, 844)
        assert violations(opened, axe) == [], width
        enlarge(opened, "mask", 7)
        assert violations(opened, axe) == [], (width, "enlarged")
        opened.execute_script("document.getElementById('enlarged').close()")
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_it_prints_in_black_on_white(opened):
    pdf = base64.b64decode(
        opened.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"]
    )
    assert pdf.startswith(b"%PDF")
    assert len(pdf) > 50_000
    # A4 upright: 190 by 277 mm inside margins of 1 cm, in CSS pixels.
    sized(opened, 718, 1047)
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        sizes = opened.execute_script(
            "return [...document.querySelectorAll('.stack')].map(s =>"
            " [s.getBoundingClientRect().width, s.closest('section').getBoundingClientRect()])"
        )
        ground, bar = opened.execute_script(
            "return [getComputedStyle(document.body).backgroundColor,"
            " getComputedStyle(document.querySelector('.bar')).display]"
        )
    finally:
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert (ground, bar) == ("rgb(255, 255, 255)", "none")
    for width, section in sizes:
        assert 300 < width <= 718
        assert section["height"] <= 1047  # picture, heading and legend on one page


def test_without_niivue_the_page_says_so(opened):
    assert "not part of this installation" in text_of(opened, "gl-note")


def niivue_page(pages):
    if "niivue" not in pages:
        pytest.skip("NiiVue was not fetched (pipelines/fetch_niivue.py)")
    return pages["niivue"].as_uri()


def test_niivue_draws_with_software(pages, tmp_path):
    page = niivue_page(pages)
    driver = start(tmp_path, *SOFTWARE_GL)
    try:
        driver.get(page)
        wait(lambda: driver.execute_script("return document.body.dataset.browser") == "ready")
        driver.execute_script("document.getElementById('gl-start').click()")
        wait(lambda: "Starting" not in text_of(driver, "gl-note"), 60)
        assert "Drawn by NiiVue" in text_of(driver, "gl-note")
        canvas_element = driver.find_element("id", "gl")
        driver.execute_script("arguments[0].scrollIntoView()", canvas_element)

        def drawn():
            shot = Image.open(io.BytesIO(canvas_element.screenshot_as_png)).convert("RGB")
            return (np.asarray(shot).max(axis=2) > 60).mean() > 0.1

        wait(drawn, 30)
        asked = [a for a in requests_of(driver) if not a.startswith(("file:", "data:", "blob:"))]
        assert asked == []
        assert errors_of(driver) == []
    finally:
        driver.quit()


def test_without_webgl_the_page_stays_whole(pages, tmp_path):
    page = niivue_page(pages)
    driver = start(tmp_path, "--disable-3d-apis")
    try:
        driver.get(page)
        wait(lambda: driver.execute_script("return document.body.dataset.browser") == "ready")
        assert "no WebGL 2" in text_of(driver, "gl-note")
        point(driver, 2, 0.5, 0.5)
        assert "white matter" in text_of(driver, "readout")
        assert errors_of(driver) == []
    finally:
        driver.quit()
