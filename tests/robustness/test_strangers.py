"""Another user of the same machine: what they can ask, read and write."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from brainseg.cli.main import main
from brainseg.evaluation.phantom import make_phantom
from brainseg.io import grids, nifti
from brainseg.qc.review import ratings

NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs")
# Any Python that everybody may run; the one of the tests may lie in a home.
PYTHON = shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin")
# Asks each port in the clear and over TLS, and tells what came back.
ASK = """
import json, socket, ssl, sys
def ask(port, page, tls):
    try:
        link = socket.create_connection(("127.0.0.1", port), timeout=5)
        if tls:
            anyone = ssl.create_default_context()
            anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
            link = anyone.wrap_socket(link)
        link.sendall(f"GET {page} HTTP/1.0\\r\\nHost: 127.0.0.1:{port}\\r\\n\\r\\n".encode())
        return link.recv(60).decode("latin-1")
    except OSError as error:
        return ""
told = [ask(int(p), page, tls) for p in sys.argv[1:] for page in ("/", "/files/sub-01_report.html")
        for tls in (False, True)]
print(json.dumps(told))
"""


def as_nobody(*command: str) -> str:
    """Run a command as the user who owns nothing; skip where that cannot be done."""
    if os.getuid() != 0 or shutil.which("setpriv") is None or PYTHON is None:
        pytest.skip("needs root and setpriv to become a second user")
    done = subprocess.run(
        [*NOBODY, *command], capture_output=True, text=True, cwd="/", timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def answers(processes: list[psutil.Process]) -> list[str]:
    """Return what a second user is told by the ports that these processes listen on."""
    ports = {
        str(connection.laddr.port)
        for process in processes
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert ports
    told: list[str] = json.loads(as_nobody(str(PYTHON), "-c", ASK, *sorted(ports)))
    assert len(told) == 4 * len(ports)
    return told


def command_lines() -> str:
    """Return what every user can read of all processes."""
    script = (
        "import glob\nfor p in glob.glob('/proc/[0-9]*/cmdline') + glob.glob('/proc/*/environ'):\n"
        "    try: print(open(p, 'rb').read())\n    except OSError: pass"
    )
    return as_nobody(str(PYTHON), "-c", script)


def test_a_second_user_gets_nothing_from_a_cluster_of_ours() -> None:
    pytest.importorskip("distributed", reason="brainseg-em[dask] is not installed")
    from brainseg.batch.engines.cluster import DaskEngine

    with DaskEngine(str.upper, scheduler=None, workers=1, memory=1 << 30) as engine:
        me = psutil.Process()
        for told in answers([me, *me.children(recursive=True)]):
            assert told == "" or told.split()[1] == "404"
        assert "PRIVATE KEY" not in command_lines()
        # What workers put aside is pickled: who writes there runs programs as the owner.
        workers = engine._client.scheduler_info()["workers"].values()
        for worker in workers:
            above = [Path(worker["local_directory"]), *Path(worker["local_directory"]).parents]
            assert any(stat.S_IMODE(folder.stat().st_mode) == 0o700 for folder in above)


@pytest.fixture
def reviewed(tmp_path: Path) -> Iterator[tuple[psutil.Process, str]]:
    (tmp_path / "sub-01_report.html").write_text("<p>Jane Roe</p>")
    process = subprocess.Popen(
        [sys.executable, "-m", "brainseg", "review", str(tmp_path), "--no-browser"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield psutil.Process(process.pid), process.stdout.readline().split("/")[3]
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_a_second_user_gets_nothing_from_a_review(reviewed: tuple[psutil.Process, str]) -> None:
    process, token = reviewed
    assert len(token) > 20
    for told in answers([process]):
        assert told == "" or told.split()[1] == "404"
        assert "Roe" not in told
    assert token not in command_lines()


@pytest.mark.parametrize("mask", [0o077, 0o027])
def test_nothing_is_written_beyond_the_umask(tmp_path: Path, mask: int) -> None:
    head = make_phantom(zooms=(5.0, 5.0, 5.0), seed=0)
    data = np.where(head.mask, head.volume.data, 0).astype(np.float32)
    scan = tmp_path / "raw" / "sub-01" / "anat" / "sub-01_T1w.nii"
    scan.parent.mkdir(parents=True)
    scan.write_bytes(nifti.image_bytes(data, grids.grid_of(head.volume)))
    (tmp_path / "raw" / "dataset_description.json").write_text(
        '{"Name": "x", "BIDSVersion": "1.10.0"}'
    )
    study, plain, page = (str(tmp_path / name) for name in ("study", "plain", "page"))
    quick = ("--mask", "none", "--prior", "none", "--bias", "none", "-q")
    before = os.umask(mask)
    try:
        raw = str(tmp_path / "raw")
        assert main([raw, study, "participant", "--engine", "serial", *quick]) == 0
        assert main(["group", study, "--cohort-model", "-q"]) == 0
        assert main(["run", str(scan), "-o", plain, *quick, "--no-report"]) == 0
        assert main(["explain", str(scan), "-o", page, "--mask", "none", "-q"]) == 0
        ratings.append(Path(study), ratings.Rating("sub-01", "ann", "pass"))
    finally:
        os.umask(before)
    made = [path for name in (study, plain, page) for path in [Path(name), *Path(name).rglob("*")]]
    assert len(made) > 50
    open_to_others = {
        path.name: oct(path.stat().st_mode) for path in made if path.stat().st_mode & mask
    }
    assert open_to_others == {}
