"""The study page: every scan, its odd numbers, and links that lead to its report."""

from __future__ import annotations

import json
import re

import pytest

from brainseg.qc.pages import group
from brainseg.qc.review import ratings


def study_of(out, n):
    rows = []
    for i in range(n):
        scan = f"sub-{i:04d}"
        folder = out / scan / "anat"
        folder.mkdir(parents=True)
        (folder / f"{scan}_report.html").write_text("")
        (folder / f"{scan}_desc-contact_T1w.webp").write_bytes(b"")
        rows.append(
            {
                "scan": scan,
                "verdict": "fail" if i == 3 else "pass",
                "volume_GM": 600.0 + i % 7,
                "cjv": 3.0 if i == 5 else 0.4 + 0.001 * (i % 11),
                "efc": None,
                "converged": True,
            }
        )
    return rows


@pytest.fixture
def page(tmp_path):
    rows = study_of(tmp_path, 120)
    ratings.append(tmp_path, ratings.Rating("sub-0002", "ann", "fail"))
    return group.render(group.gather(tmp_path, rows))


def data_of(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.S).group(1))


def test_every_scan_links_to_its_report(page):
    for i in range(120):
        assert f'<a href="sub-{i:04d}/anat/sub-{i:04d}_report.html">' in page


def test_failed_ones_come_first_and_ratings_are_shown(page):
    scans = data_of(page)["scans"]
    assert scans[0]["scan"] == "sub-0003"
    assert scans[1]["scan"] == "sub-0005"  # an outlier
    assert {s["scan"]: s["rating"] for s in scans}["sub-0002"] == "fail"


def test_outliers_are_marked_in_their_strip(page):
    data = data_of(page)
    strip = next(s for s in data["strips"] if s["key"] == "cjv")
    assert [data["scans"][n]["scan"] for n in strip["odd"]] == ["sub-0005"]
    assert len(strip["values"]) == 120


def test_numbers_that_nobody_has_are_left_out(page):
    assert {s["key"] for s in data_of(page)["strips"]} == {"volume_GM", "cjv"}


def test_it_loads_nothing_from_elsewhere(page):
    addresses = re.findall(r"""(?:src|href)\s*=\s*["']([^"']+)""", page)
    assert all(a.startswith(("data:", "#", "sub-")) for a in addresses)


def test_a_scan_without_a_report_is_a_row_without_a_link(tmp_path):
    page = group.render(group.gather(tmp_path, [{"scan": "sub-x", "verdict": None, "cjv": 0.4}]))
    assert "<td>sub-x</td>" in page


def test_a_thousand_scans_stay_a_page_that_opens(tmp_path):
    assert len(group.render(group.gather(tmp_path, study_of(tmp_path, 1000)))) < 3e6


def test_a_failed_scan_is_listed_with_its_reason_and_is_in_no_strip(tmp_path):
    rows = study_of(tmp_path, 10)
    rows.append({"scan": "sub-bad", "status": "failed", "reason": "no brain <was> found"})
    page = group.gather(tmp_path, rows)
    assert [s.scan for s in page.without] == ["sub-bad"]
    assert all(len(s.values) == 10 for s in page.strips)
    html = group.render(page)
    errors = html[html.index('<h2 id="errors">') : html.index("<h2>Outliers</h2>")]
    assert "no brain &lt;was&gt; found" in errors


def test_a_study_without_errors_says_so(page):
    errors = page[page.index('<h2 id="errors">') : page.index("<h2>Outliers</h2>")]
    assert "every scan has a result" in errors


def test_a_volume_that_is_odd_within_the_study_is_listed_with_its_z(tmp_path):
    rows = study_of(tmp_path, 12)
    rows[4] |= {"z_volume_GM": -6.2}
    rows[5] |= {"z_volume_GM": 1.0}
    page = group.gather(tmp_path, rows, adjusted=("TIV", "age"))
    assert [(o.scan, o.z) for o in page.outliers if o.key == "volume_GM"] == [("sub-0004", -6.2)]
    assert "adjusted for TIV, age" in group.render(page)


def test_an_odd_scan_without_a_report_is_named_without_a_link(tmp_path):
    rows = study_of(tmp_path, 120)
    (tmp_path / "sub-0005" / "anat" / "sub-0005_report.html").unlink()
    page = group.render(group.gather(tmp_path, rows))
    assert "<td>sub-0005</td>" in page
    assert "sub-0005_report.html" not in page
