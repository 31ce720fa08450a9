"""The review server answers its own page only, and keeps to the folder."""

from __future__ import annotations

import json

import pytest

from brainseg.qc.review import ratings
from brainseg.qc.review.server import Review, create_app

TOKEN = "right"
HOST = "127.0.0.1:5000"
HEADERS = {"Host": HOST, "Origin": f"http://{HOST}"}


@pytest.fixture
def study(tmp_path):
    out = tmp_path / "out"
    for n in range(3):
        folder = out / f"sub-{n}" / "anat"
        folder.mkdir(parents=True)
        (folder / f"sub-{n}_report.html").write_text(f"<p>report {n}</p>")
        (folder / f"sub-{n}_desc-quality_T1w.json").write_text(
            json.dumps({"verdict": "look" if n == 1 else "pass", "reasons": [], "cjv": 0.4})
        )
    (tmp_path / "secret.html").write_text("secret")
    (out / ".hidden.html").write_text("secret")
    (out / "link.html").symlink_to(tmp_path / "secret.html")
    (out / "notes.py").write_text("secret")
    return out


@pytest.fixture
def client(study):
    return create_app(Review(study.resolve(), TOKEN, hosts={HOST})).test_client()


def get(client, path, **headers):
    return client.get(path, headers=HEADERS | headers)


def test_the_page_and_its_scans(client):
    assert get(client, f"/{TOKEN}/").status_code == 200
    scans = get(client, f"/{TOKEN}/api/state").get_json()["scans"]
    assert [s["scan"] for s in scans] == ["sub-0", "sub-1", "sub-2"]
    assert [s["verdict"] for s in scans] == ["pass", "look", "pass"]
    assert b"report 2" in get(client, f"/{TOKEN}/files/{scans[2]['report']}").data


@pytest.mark.parametrize("path", ["/", "/wrong/", "/wrong/api/state", "/right", "/favicon.ico"])
def test_without_the_token_there_is_nothing(client, path):
    assert get(client, path).status_code == 404


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1:5001", "127.0.0.1", ""])
def test_a_foreign_host_header_is_refused(client, host):
    assert get(client, f"/{TOKEN}/", Host=host).status_code in (400, 403)


@pytest.mark.parametrize(
    "name",
    [
        "../secret.html", "..%2fsecret.html", "%2e%2e/secret.html", "sub-0/../../secret.html",
        "/etc/passwd", "link.html", ".hidden.html", "notes.py", "sub-0", "no-such.html",
        "..\\secret.html",
    ],
)  # fmt: skip
def test_nothing_outside_the_folder_is_reachable(client, name):
    answer = get(client, f"/{TOKEN}/files/{name}")
    assert answer.status_code in (403, 404, 308)
    assert b"secret" not in answer.data


def rate(client, content, **headers):
    return client.post(f"/{TOKEN}/api/rate", json=content, headers=HEADERS | headers)


def test_a_rating_is_on_disk_when_the_answer_comes(client, study):
    answer = rate(client, {"scan": "sub-1", "rater": "ann", "rating": "fail", "tags": ["motion"]})
    assert answer.status_code == 200
    (row,) = ratings.read(study)
    assert (row.scan, row.rating, row.tags) == ("sub-1", "fail", ("motion",))
    state = get(client, f"/{TOKEN}/api/state").get_json()
    assert state["ratings"]["ann"]["sub-1"]["rating"] == "fail"


@pytest.mark.parametrize("origin", ["http://evil.example", "", "null", f"https://{HOST}"])
def test_another_page_cannot_rate(client, study, origin):
    content = {"scan": "sub-1", "rater": "ann", "rating": "fail"}
    assert rate(client, content, Origin=origin).status_code == 403
    assert ratings.read(study) == []


@pytest.mark.parametrize(
    "content",
    [
        {"scan": "sub-9", "rater": "ann", "rating": "fail"},
        {"scan": "sub-1", "rater": "ann", "rating": "great"},
        {"scan": "sub-1", "rater": "", "rating": "pass"},
        {"scan": "sub-1", "rater": "ann", "rating": "pass", "seconds": "soon"},
        ["sub-1"],
    ],
)
def test_nonsense_is_refused_and_not_written(client, study, content):
    answer = rate(client, content)
    assert answer.status_code == 400
    assert answer.get_json()["error"]
    assert ratings.read(study) == []


def test_undo_takes_the_last_one_back(client, study):
    rate(client, {"scan": "sub-1", "rater": "ann", "rating": "fail"})
    answer = client.post(f"/{TOKEN}/api/undo", json={"rater": "ann"}, headers=HEADERS)
    assert answer.get_json()["undone"]["scan"] == "sub-1"
    assert ratings.standing(ratings.read(study)) == {}


def test_only_ratings_are_written(client, study):
    before = {p: p.stat().st_mtime_ns for p in study.rglob("*") if p.is_file()}
    get(client, f"/{TOKEN}/")
    rate(client, {"scan": "sub-1", "rater": "ann", "rating": "pass"})
    new = {p.name for p in study.rglob("*") if p.is_file()} - {p.name for p in before}
    assert new == {"qc_ratings.tsv", "qc_ratings.json"}
    assert all(p.stat().st_mtime_ns == t for p, t in before.items())


def test_answers_keep_other_pages_out(client):
    headers = get(client, f"/{TOKEN}/").headers
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
