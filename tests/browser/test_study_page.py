"""The study page in a real browser, from a file."""

from __future__ import annotations

import pytest
from qc_browser import errors_of, requests_of, sized, too_wide, violations, wait

from brainseg.qc.pages import group


@pytest.fixture
def opened(browser, tmp_path):
    rows = []
    for i in range(130):
        scan = f"sub-{i:03d}"
        (tmp_path / scan).mkdir()
        (tmp_path / scan / f"{scan}_report.html").write_text("<title>the report</title>")
        rows.append({"scan": scan, "verdict": "pass", "cjv": 2.0 if i == 77 else 0.4 + i * 1e-4})
    page = tmp_path / group.PAGE
    page.write_text(group.render(group.gather(tmp_path, rows)))
    requests_of(browser)
    errors_of(browser)
    browser.get(page.as_uri())
    wait(lambda: browser.execute_script("return document.body.dataset.ready") == "yes")
    return browser


def first(driver):
    return driver.execute_script(
        "return document.querySelector('table.sort tbody tr td').textContent"
    )


def test_it_sorts_finds_and_pages(opened):
    assert first(opened) == "sub-077"  # the outlier
    heads = opened.find_elements("css selector", "table.sort th button")
    next(h for h in heads if h.text.startswith("CJV")).click()
    assert first(opened) == "sub-077"
    next(h for h in heads if h.text.startswith("CJV")).click()
    assert first(opened) == "sub-000"
    shown = "return document.getElementById('range').textContent"
    assert opened.execute_script(shown) == "1 to 50 of 130"
    opened.execute_script("document.getElementById('later').click()")
    opened.execute_script("document.getElementById('later').click()")
    assert opened.execute_script(shown) == "101 to 130 of 130"
    opened.find_element("id", "find").send_keys("sub-01")
    assert opened.execute_script(shown) == "1 to 10 of 10"
    assert errors_of(opened) == []
    assert all(a.startswith(("file:", "data:")) for a in requests_of(opened))


def test_a_dot_tells_its_scan_and_opens_its_report(opened):
    canvas = opened.find_element("css selector", "canvas[data-strip]")
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    # Which height the dot has is its jitter's choice: try them all.
    reach = (
        "const c = arguments[0], r = c.getBoundingClientRect(), x = r.right - 10;"
        "for (let y = 6; y < 34; y += 2) {"
        "  const at = {clientX: x, clientY: r.top + y, bubbles: true};"
        "  c.dispatchEvent(new PointerEvent('pointermove', at));"
        "  if (document.getElementById('told').textContent.includes('sub-077')) {"
        "    c.dispatchEvent(new MouseEvent('click', at)); return true; } }"
        "return false"
    )
    wait(lambda: opened.execute_script(reach, canvas))
    wait(lambda: opened.title == "the report")
    assert "sub-077_report.html" in opened.current_url


def test_nothing_runs_out_of_a_phone(opened, axe):
    sized(opened, 390, 844)
    try:
        assert too_wide(opened) <= 0
        assert violations(opened, axe) == []
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_on_paper_every_strip_is_drawn_in_ink(opened):
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    opened.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    try:
        # Opacity-weighted brightness of what is drawn, and the paper behind it.
        strips = opened.execute_script(
            """return [...document.querySelectorAll('canvas[data-strip]')].map(c => {
              const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
              let ink = 0, light = 0;
              for (let i = 0; i < d.length; i += 4) {
                ink += d[i + 3]; light += d[i + 3] * (d[i] + d[i + 1] + d[i + 2]) / 3; }
              return [ink / 255 / (d.length / 4), light / ink,
                getComputedStyle(c).backgroundColor]; })"""
        )
        ground = opened.execute_script("return getComputedStyle(document.body).backgroundColor")
    finally:
        opened.execute_script("window.dispatchEvent(new Event('afterprint'))")
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert ground == "rgb(255, 255, 255)"
    assert len(strips) > 0
    for covered, light, behind in strips:
        assert 0.001 < covered < 0.3
        assert light < 128
        assert behind == "rgba(0, 0, 0, 0)"


def test_no_serious_barrier(opened, axe):
    assert violations(opened, axe) == []
