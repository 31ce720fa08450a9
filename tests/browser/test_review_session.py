"""A review by keyboard over five scans; the server is killed in the middle and nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import nibabel as nib
import pytest
from qc_browser import (
    SOFTWARE_GL,
    errors_of,
    requests_of,
    sized,
    start,
    too_wide,
    violations,
    wait,
)
from qc_heads import head
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from brainseg.qc.review import ratings

SERVE = (
    "import sys; from pathlib import Path; from brainseg.qc.review.server import serve; "
    "serve(Path(sys.argv[1]), rater='ann', on_ready=lambda url: print(url, flush=True))"
)


def launch(out):
    """Start the server as a process of its own; return it and its address."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(out)], stdout=subprocess.PIPE, text=True
    )
    url = server.stdout.readline().strip()
    assert url.startswith("http://127.0.0.1:")
    return server, url


@pytest.fixture
def study(tmp_path, pages):
    """Five scans with the same report; the fourth failed the checks."""
    out = tmp_path / "out"
    for n in range(1, 6):
        folder = out / f"sub-{n}" / "anat"
        folder.mkdir(parents=True)
        (folder / f"sub-{n}_report.html").write_bytes(pages["plain"].read_bytes())
        quality = {"verdict": "fail" if n == 4 else "pass", "reasons": ["odd"] * (n == 4)}
        (folder / f"sub-{n}_desc-quality_T1w.json").write_text(json.dumps(quality))
    return out


@pytest.fixture
def running(study):
    server, url = launch(study)
    yield study, server, url
    if server.poll() is None:
        server.kill()
        server.wait()


def keys(driver, *strokes):
    for stroke in strokes:
        ActionChains(driver).send_keys(stroke).perform()


def shown(driver):
    return driver.execute_script("return document.getElementById('scan').textContent")


def said(driver):
    return driver.execute_script("return document.getElementById('saved').textContent")


def open_review(driver, url):
    driver.get(url)
    wait(lambda: driver.execute_script("return document.body.dataset.ready") == "yes")
    wait(
        lambda: driver.execute_script(
            "const f = document.querySelector('iframe.shown');"
            "return f && f.contentDocument && f.contentDocument.body"
            " && f.contentDocument.body.dataset.browser === 'ready'"
        )
    )


def rate(driver, key):
    keys(driver, key)
    wait(lambda: said(driver) == "saved")


def test_a_session_by_keyboard_survives_a_killed_server(browser, running):
    out, server, url = running
    requests_of(browser)
    errors_of(browser)
    open_review(browser, url)
    assert shown(browser) == "sub-4"  # worst first

    keys(browser, "q", "a")  # motion, mask leak
    rate(browser, "3")
    keys(browser, " ")
    assert shown(browser) == "sub-1"
    rate(browser, "p")
    keys(browser, "n", "p is for pons", Keys.ENTER)  # typing: no key may rate
    wait(lambda: ratings.standing(ratings.read(out))["sub-1", "ann"].notes == "p is for pons")
    keys(browser, Keys.ARROW_RIGHT)
    assert shown(browser) == "sub-2"
    rate(browser, "u")

    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    standing = {s: r.rating for (s, _), r in ratings.standing(ratings.read(out)).items()}
    assert standing == {"sub-4": "fail", "sub-1": "pass", "sub-2": "uncertain"}

    again, url = launch(out)
    try:
        open_review(browser, url)
        assert shown(browser) == "sub-3"  # begins where it ended
        rate(browser, "1")
        keys(browser, " ")
        assert shown(browser) == "sub-5"
        rate(browser, "3")
        keys(browser, "z")
        wait(lambda: said(browser) == "taken back")
        rate(browser, "2")
        keys(browser, Keys.ARROW_LEFT)
        assert shown(browser) == "sub-3"
        counted = browser.execute_script("return document.getElementById('rated').textContent")
        assert counted == "5 of 5 rated"
    finally:
        again.kill()
        again.wait()

    rows = ratings.standing(ratings.read(out))
    assert {s: r.rating for (s, _), r in rows.items()} == {
        "sub-4": "fail", "sub-1": "pass", "sub-2": "uncertain", "sub-3": "pass",
        "sub-5": "uncertain",
    }  # fmt: skip
    assert rows["sub-4", "ann"].tags == ("motion", "mask leak")
    asked = [a for a in requests_of(browser) if not a.startswith(("data:", "blob:", "about:"))]
    assert all(a.startswith("http://127.0.0.1:") for a in asked)
    assert errors_of(browser) == []


def test_keys_work_with_the_focus_in_the_report_and_flags_are_kept(browser, running):
    out, _, url = running
    open_review(browser, url)
    browser.switch_to.frame(browser.find_element("css selector", "iframe.shown"))
    browser.find_element("css selector", "#h-mask").click()
    browser.execute_script("document.querySelector('#mask [name=flag]').click()")
    keys(browser, "t")
    assert browser.execute_script("return document.body.classList.contains('bare')")
    keys(browser, "3")
    browser.switch_to.default_content()
    wait(lambda: said(browser) == "saved")
    (row,) = ratings.read(out)
    assert (row.scan, row.rating, row.flags) == ("sub-4", "fail", ("mask",))


def test_g_flags_the_picture_in_view(browser, running):
    out, _, url = running
    open_review(browser, url)
    keys(browser, "j", "j", "j", "g")
    assert said(browser) == "The 6 tissues: flagged"
    rate(browser, "2")
    assert ratings.read(out)[-1].flags == ("tissues",)


def test_long_reasons_leave_the_window_to_the_report(browser, running):
    out, _, url = running
    (out / "sub-4" / "anat" / "sub-4_desc-quality_T1w.json").write_text(
        json.dumps({"verdict": "fail", "reasons": ["a long reason of many words"] * 20})
    )
    for width in (800, 1280):
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False},
        )
        open_review(browser, url)
        report, across = browser.execute_script(
            "return [document.querySelector('iframe.shown').clientHeight,"
            " document.querySelector('iframe.shown').clientWidth]"
        )
        assert report > 0.6 * 800
        assert across == width
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_agreement_is_shown_as_soon_as_two_have_rated(browser, running):
    out, _, url = running
    for n, rating in ((1, "fail"), (4, "fail")):
        ratings.append(out, ratings.Rating(f"sub-{n}", "bob", rating))
    open_review(browser, url)
    rate(browser, "3")
    keys(browser, " ")
    rate(browser, "1")
    shown_kappa = browser.execute_script("return document.getElementById('agreement').textContent")
    # One of two agrees, and chance alone would give as much: kappa is 0.
    assert shown_kappa == "κ 0.00 with bob"


@pytest.mark.parametrize("extension", [".nii.gz", ".nii"])
def test_niivue_gets_the_full_size_files(extension, study, pages, tmp_path):
    if "niivue" not in pages:
        pytest.skip("NiiVue was not fetched (pipelines/fetch_niivue.py)")
    folder = study / "sub-4" / "anat"
    (folder / "sub-4_report.html").write_bytes(pages["niivue"].read_bytes())
    _, result = head()
    labels = f"seg-{result.table.name}_desc-posterior_dseg"
    files = {"desc-preproc_T1w": result.volume.data, labels: result.labels}
    for ending, data in files.items():
        # The report was made of a scan of this name.
        nib.save(
            nib.Nifti1Image(data, result.volume.affine), folder / f"sub-01_{ending}{extension}"
        )
    server, url = launch(study)
    driver = start(tmp_path / "profile", *SOFTWARE_GL)
    note = (
        "const f = document.querySelector('iframe.shown').contentDocument;"
        "return f.getElementById('gl-note').textContent"
    )
    try:
        open_review(driver, url)
        driver.execute_script(
            "document.querySelector('iframe.shown').contentDocument.getElementById('gl-start').click()"
        )
        wait(lambda: "Drawn by NiiVue" in driver.execute_script(note), 60)
        assert "full-size files" in driver.execute_script(note)
        # Where images are uncompressed, the other name was asked for first.
        expected = 0 if extension == ".nii.gz" else 2
        missing = [e for e in errors_of(driver) if "404" in e]
        assert len(missing) <= expected
    finally:
        driver.quit()
        server.kill()
        server.wait()


def test_t_reaches_the_report_and_filters_narrow_the_list(browser, running):
    _, _, url = running
    open_review(browser, url)
    keys(browser, "t")
    assert browser.execute_script(
        "return document.querySelector('iframe.shown').contentDocument.body"
        ".classList.contains('bare')"
    )
    rate(browser, "1")
    browser.execute_script(
        "const f = document.getElementById('filter'); f.value = 'unrated';"
        "f.dispatchEvent(new Event('change'))"
    )
    position = browser.execute_script("return document.getElementById('position').textContent")
    assert position == "1 / 4"


@pytest.mark.parametrize(("width", "height"), [(390, 844), (844, 390)])
def test_on_a_phone_the_picture_has_most_of_the_height(browser, running, axe, width, height):
    _, _, url = running
    sized(browser, width, height)
    try:
        open_review(browser, url)
        share, bottom = browser.execute_script(
            "const box = e => document.querySelector(e).getBoundingClientRect();"
            "return [box('#frames').height / window.innerHeight, box('footer').bottom]"
        )
        assert share > 0.7
        assert bottom <= height
        assert too_wide(browser) <= 0
        assert violations(browser, axe) == []
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_keys_of_an_enlarged_slice_are_its_own(browser, running):
    _, _, url = running
    open_review(browser, url)
    before = shown(browser)
    browser.switch_to.frame(browser.find_element("css selector", "iframe.shown"))
    plane = browser.find_element("id", "plane-2")
    browser.execute_script("arguments[0].focus()", plane)
    plane.send_keys(Keys.ENTER)
    dialog = browser.find_element("id", "enlarged")
    assert browser.execute_script("return arguments[0].open", dialog)
    dialog.send_keys(Keys.ARROW_RIGHT, "q")
    browser.switch_to.default_content()
    assert shown(browser) == before
    assert not browser.execute_script("return document.querySelector('input[name=tag]').checked")


def test_no_serious_barrier(browser, running, axe):
    _, _, url = running
    open_review(browser, url)
    assert violations(browser, axe) == []


def test_wrong_tokens_hosts_and_paths_over_the_wire(running):
    _, _, url = running
    base = url.rstrip("/").rsplit("/", 1)[0]

    def status(address, **headers):
        request = urllib.request.Request(address, headers=headers)
        try:
            return urllib.request.urlopen(request, timeout=10).status
        except urllib.error.HTTPError as error:
            return error.code

    assert status(url) == 200
    assert status(f"{base}/wrong/") == 404
    assert status(f"{base}/") == 404
    assert status(url, Host="evil.example") == 403
    assert status(f"{url}files/../../etc/passwd") == 404
    assert status(f"{url}files/%2e%2e/%2e%2e/etc/passwd") == 404
