"""The review server under people who do not know the token, and under many who do."""

from __future__ import annotations

import http.client
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from brainseg.cli.main import main
from brainseg.qc.review import listening, ratings, server
from brainseg.qc.review.server import Review, create_app
from brainseg.qc.templating import REPORT_SCRIPTS, own_scripts, script

TOKEN = "secret-token"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    for n in range(30):
        folder = tmp_path / "out" / f"sub-{n:02d}" / "anat"
        folder.mkdir(parents=True)
        (folder / f"sub-{n:02d}_report.html").write_text("<p>report</p>")
    return tmp_path / "out"


@pytest.fixture
def running(out: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[listening.Listener]:
    """A server in a thread of this process."""
    review = Review(out.resolve(), TOKEN)
    listener = listening.Listener.on(create_app(review), server.HOST, 0)
    review.hosts.add(f"127.0.0.1:{listener.effective_port}")
    thread = threading.Thread(target=listener.run, daemon=True)
    thread.start()
    yield listener
    listener.trigger.pull_trigger(lambda: listener.asyncore.close_all(listener._map))
    thread.join(60)
    listener.task_dispatcher.shutdown()


def connect(running: listening.Listener) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(running.effective_port)), timeout=60)


def rate(running: listening.Listener, scan: str, rater: str) -> int:
    host = f"127.0.0.1:{running.effective_port}"
    request = urllib.request.Request(
        f"http://{host}/{TOKEN}/api/rate",
        json.dumps({"scan": scan, "rater": rater, "rating": "pass"}).encode(),
        {"Origin": f"http://{host}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return int(answer.status)


def test_every_one_of_many_concurrent_ratings_arrives(
    running: listening.Listener, out: Path
) -> None:
    pairs = [(f"sub-{n:02d}", f"rater{r}") for r in range(16) for n in range(30)]
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(lambda pair: rate(running, *pair), pairs)) == [200] * 480
    assert {(r.scan, r.rater) for r in ratings.read(out)} == set(pairs)


def test_a_body_larger_than_a_rating_is_refused_before_it_is_sent(
    running: listening.Listener,
) -> None:
    with connect(running) as stranger:
        host = f"127.0.0.1:{running.effective_port}"
        head = f"POST /x/ HTTP/1.1\r\nHost: {host}\r\nContent-Length: 400000000\r\n\r\n"
        stranger.sendall(head.encode() + b"x" * 10)
        assert b" 413 " in stranger.recv(1000)


def test_a_chunked_body_is_bounded_too(running: listening.Listener) -> None:
    with connect(running) as stranger:
        host = f"127.0.0.1:{running.effective_port}"
        stranger.sendall(
            f"POST /x/ HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
        with pytest.raises((ConnectionError, StopIteration)):  # noqa: PT012
            for _ in range(100):
                stranger.sendall(chunk)
            answer = stranger.recv(1000)
            assert b" 413 " in answer
            raise StopIteration


def test_half_open_connections_do_not_stop_it(running: listening.Listener) -> None:
    strangers = [connect(running) for _ in range(150)]
    for stranger in strangers:
        stranger.sendall(b"GET /")
    assert rate(running, "sub-01", "ann") == 200
    for stranger in strangers:
        stranger.close()


def test_a_request_that_dribbles_in_is_closed(
    running: listening.Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "SLOW_S", 0.2)
    with connect(running) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n")
        assert stranger.recv(1) == b""


def test_a_request_that_fails_does_not_log_the_token(
    out: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(root: Path) -> dict[str, object]:
        raise KeyError("not foreseen")

    monkeypatch.setattr(server, "overview", fails)
    review = Review(out, TOKEN, hosts={"localhost"})
    with caplog.at_level(logging.DEBUG):
        answer = create_app(review).test_client().get(f"/{TOKEN}/api/state")
    assert answer.status_code == 500
    assert "not foreseen" in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("seconds", ["NaN", "-NaN", "Infinity", "1e400"])
def test_seconds_that_are_no_number_break_nothing(out: Path, seconds: str) -> None:
    client = create_app(Review(out, TOKEN, hosts={"localhost"})).test_client()
    body = f'{{"scan": "sub-01", "rater": "ann", "rating": "pass", "seconds": {seconds}}}'
    head = {"Origin": "http://localhost", "Content-Type": "application/json"}
    client.post(f"/{TOKEN}/api/rate", data=body, headers=head)
    ratings.append(out, ratings.Rating("sub-02", "bob", "fail", seconds=3))
    table = out / ratings.TABLE
    table.write_text(table.read_text().replace("\t3\n", "\tnan\n"))
    state = client.get(f"/{TOKEN}/api/state").get_data(as_text=True)
    told = json.loads(state, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert told["ratings"]["bob"]["sub-02"]["rating"] == "fail"


@pytest.mark.parametrize(
    "content",
    ["[1]", "null", '"x"', '{"verdict": 3}', '{"verdict": "pass", "cjv": NaN}', "{" * 9999,
     '{"verdict": "pass", "cjv": ' + "9" * 400 + "}", '{"verdict": "pass", "reasons": 1}'],
)  # fmt: skip
def test_a_damaged_quality_file_costs_its_own_numbers_alone(out: Path, content: str) -> None:
    (out / "sub-01" / "anat" / "sub-01_desc-quality_T1w.json").write_text(content)
    client = create_app(Review(out, TOKEN, hosts={"localhost"})).test_client()
    state = client.get(f"/{TOKEN}/api/state")
    assert state.status_code == 200
    assert len(state.get_json()["scans"]) == 30


def test_a_table_of_ratings_that_is_no_table_is_told_and_not_waited_for(out: Path) -> None:
    os.mkfifo(out / ratings.TABLE)
    client = create_app(Review(out, TOKEN, hosts={"localhost"})).test_client()
    answer = client.get(f"/{TOKEN}/api/state")
    assert "qc_ratings.tsv" in answer.get_json()["error"]


def test_pages_of_the_folder_may_run_the_scripts_of_brainseg_alone(out: Path) -> None:
    client = create_app(Review(out, TOKEN, hosts={"localhost"})).test_client()
    answer = client.get(f"/{TOKEN}/files/sub-01/anat/sub-01_report.html")
    (scripts,) = (
        p for p in answer.headers["Content-Security-Policy"].split("; ") if p.startswith("script")
    )
    assert "unsafe-inline" not in scripts
    assert scripts.count("'sha256-") == len(own_scripts())
    assert str(script(*REPORT_SCRIPTS)) in own_scripts()


BROWSER = """#!{python}
import stat, sys, pathlib, urllib.parse
told = sys.argv[1]
path = pathlib.Path(urllib.parse.urlsplit(told).path)
mode = stat.S_IMODE(path.stat().st_mode)
pathlib.Path({out!r}).write_text(f"{{told}}\\n{{mode:o}}\\n{{path.read_text()}}")
"""


def test_the_browsers_command_line_does_not_hold_the_token(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, seen = tmp_path / "browser", tmp_path / "seen"
    browser.write_text(BROWSER.format(python=sys.executable, out=str(seen)))
    browser.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, "-m", "brainseg", "review", str(out)],
        env=os.environ | {"BROWSER": f"{browser} %s"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().rpartition(" ")[2].strip()
        # The browser has ended once the page can be asked for: webbrowser waits for this one.
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(url + "no-such-page", timeout=120)
    finally:
        process.terminate()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    told, mode, page = seen.read_text().split("\n", 2)
    token = urlsplit(url).path.strip("/")
    assert len(token) > 20
    assert token not in told
    assert mode == "600"
    assert url in page


def test_it_listens_to_this_machine_alone(running: listening.Listener) -> None:
    psutil = pytest.importorskip("psutil")
    listens = [
        c.laddr
        for c in psutil.Process().net_connections("inet")
        if c.status == psutil.CONN_LISTEN and c.laddr.port == int(running.effective_port)
    ]
    assert [address.ip for address in listens] == ["127.0.0.1"]
    with pytest.raises((OSError, http.client.HTTPException)):
        urllib.request.urlopen(f"http://127.0.0.1:{running.effective_port}/", timeout=60)


def test_a_folder_without_reports_is_told(tmp_path: Path) -> None:
    assert main(["review", str(tmp_path), "--no-browser"]) == 66
