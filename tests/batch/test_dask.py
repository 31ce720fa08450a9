"""A study on a cluster that loses machines: real processes, really killed."""

from __future__ import annotations

import gc
import http.client
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from batch_fakes import fake_process, make, make_dataset, times_begun
from batch_words import echo

from brainseg.batch import study
from brainseg.batch.engines import certificates
from brainseg.errors import CannotCreateError, NoInputError

dask = pytest.importorskip("dask", reason="brainseg-em[dask] is not installed")
pytest.importorskip("distributed", reason="brainseg-em[dask] is not installed")
yaml = pytest.importorskip("yaml")

# In a process of its own: a client that met nobody takes Dask's lock when it is collected, perhaps
# while that very thread holds it, and then waits for ever.
REFUSED = 7
STRANGER = f"""
import os, sys
from distributed import Client
try:
    Client(sys.argv[1], timeout=3)
except (OSError, TimeoutError, TypeError):
    os._exit({REFUSED})
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and three workers without nannies: who is killed stays dead. All talk TLS."""
    address_file = tmp_path / "scheduler.json"
    here = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    settings = tmp_path / "dask.yaml"
    certificates.write(settings)
    secret = {"DASK_CONFIG": str(settings)}
    options = {
        "env": os.environ | {"PYTHONPATH": here, "OMP_NUM_THREADS": "1"} | secret,
        "cwd": tmp_path,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }

    def start(program: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{program}", *arguments]
        return subprocess.Popen(command, **options)  # type: ignore[call-overload]

    common = ("--scheduler-file", str(address_file), "--no-dashboard")
    local = ("--protocol", "tls", "--host", "127.0.0.1", "--port", "0")
    scheduler = start("scheduler", *common, *local)
    workers = [start("worker", *common, "--no-nanny", "--nthreads", "1") for _ in range(3)]
    try:
        deadline = time.monotonic() + 300
        # The file may exist before it is written.
        while not (address_file.exists() and address_file.read_text().rstrip().endswith("}")):
            assert time.monotonic() < deadline
            assert scheduler.poll() is None
            time.sleep(0.05)
        ours = yaml.safe_load(settings.read_text())
        with dask.config.set(dask.config.merge(dask.config.config, ours)):
            yield json.loads(address_file.read_text())["address"], workers
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()


def test_two_of_three_workers_die_and_every_scan_is_done_once(
    tmp_path: Path, cluster: tuple[str, list[subprocess.Popen[bytes]]]
) -> None:
    from distributed import Client

    from brainseg.batch.engines.cluster import DaskEngine

    address, workers = cluster
    with Client(address, timeout=300) as client:
        client.wait_for_workers(3, timeout=300)
    names = [f"sub-{i:02d}_T1w.nii.gz" for i in range(12)]
    dataset = make_dataset(tmp_path / "raw", names, content="slow 0.3")
    out = tmp_path / "out"
    done: list[str] = []

    def told(task: object, outcome: object) -> None:
        done.append(str(task))
        # Two die in the middle of the run, each with a scan in its hands.
        if len(done) in (3, 5):
            workers.pop().send_signal(signal.SIGKILL)

    killed = list(workers)
    outcomes = study.run(
        study.plan(make(dataset, out)),
        lambda: DaskEngine(fake_process, scheduler=address, workers=3, memory=1 << 30),
        told=told,
    )
    for process in killed[1:]:
        process.wait(10)
    assert len(done) == 12
    # A worker that dies with a scan done and its outcome not yet told: the next one finds it done.
    assert {o.state for o in outcomes.values()} <= {"done", "skipped"}
    assert sum(o.state == "skipped" for o in outcomes.values()) <= 2
    begun = times_begun(out)
    assert set(begun) == set(names)
    # Begun twice is only what a killed worker held.
    assert sum(begun.values()) <= 12 + 2


def test_an_absent_scheduler_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from brainseg.batch.engines import cluster as engine

    monkeypatch.setattr(engine, "CONNECT_S", 1)
    with pytest.raises(NoInputError, match="no Dask scheduler answers there"):
        engine.DaskEngine(fake_process, scheduler="tcp://127.0.0.1:9", workers=1, memory=1)
    # Collected now, while nobody holds Dask's lock (see `STRANGER`).
    gc.collect()


def test_certificates_are_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "dask.yaml"
    certificates.write(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(CannotCreateError, match=r"dask\.yaml"):
        certificates.write(path)


def test_a_cluster_of_our_own_listens_to_this_machine_and_to_its_own_certificates() -> None:
    psutil = pytest.importorskip("psutil")

    from brainseg.batch.engines.cluster import DaskEngine

    with DaskEngine(echo, scheduler=None, workers=1, memory=1 << 30) as engine:
        me = psutil.Process()
        sockets = [
            connection.laddr
            for process in (me, *me.children(recursive=True))
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        ]
        # Scheduler and worker talk, and have an HTTP server each that knows no page.
        assert len(sockets) >= 4
        assert {ip for ip, _ in sockets} == {"127.0.0.1"}
        for ip, port in sockets:
            for page in ("health", "info/main/workers.html", "metrics", "json/counts.json", ""):
                with pytest.raises((OSError, http.client.HTTPException)) as refused:
                    urllib.request.urlopen(f"http://{ip}:{port}/{page}", timeout=10)
                assert getattr(refused.value, "code", 404) == 404
        address = engine._client.scheduler.address
        assert address.startswith("tls://")
        for stranger in (address, address.replace("tls", "tcp")):
            done = subprocess.run([sys.executable, "-c", STRANGER, stranger], timeout=300)
            assert done.returncode == REFUSED
