"""A study of 24 scans under faults: broken files, kills, full disks, lost Dask workers.

    python pipelines/faults_batch.py WORK [--kills 20] [--parts broken kills stops disk dask]

WORK is an empty folder for data and results. Heads of 5 mm from the phantom and, where --data is
there, real ones brought to about 4 mm make a BIDS dataset with sessions and runs; some of its
files are broken, each in its own way. Root reads the unreadable one too, unless it is run under
`setpriv --bounding-set -dac_override,-dac_read_search`. The part `disk` mounts a small file system,
which needs root. Exits 1 when anything is not as it should.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from scipy import ndimage

from brainseg.core.volume import Array, Volume
from brainseg.evaluation.phantom import make_phantom
from brainseg.io import nifti
from brainseg.io.grids import grid_of

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
REAL = (
    "heads/lhdata_sub-01_T1w", "heads/lhdata_sub-02_T1w", "heads/chris_T1w", "truth/colin27/"
)  # fmt: skip
BROKEN = ("cut", "nan", "4d", "secret", "link")
PARTS = ("broken", "kills", "stops", "disk", "dask")
# The plainest mixture of all: what is tested is the study, most of whose time is then its own.
QUICK = ("--no-report", "-q", "--mask", "none", "--prior", "none", "--bias", "none")


def main() -> int:
    """Run the parts asked for; print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", nargs="+", default=list(PARTS))
    args = parser.parse_args()
    dataset = args.work / "raw"
    if not dataset.exists():
        make_dataset(dataset, args.data)
    good = True
    chance = random.Random(args.seed)
    if "broken" in args.parts:
        good &= broken(dataset, args.work / "broken")
    truth, whole = {}, 0.0
    if {"kills", "stops", "disk"} & {*args.parts}:
        truth, whole = undisturbed(dataset, args.work / "undisturbed")
    if "kills" in args.parts:
        moments = [chance.uniform(0, whole) for _ in range(args.kills)]
        good &= kills(dataset, args.work / "killed", truth, moments)
    if "stops" in args.parts:
        moments = [whole * share for share in (0.1, 0.5, 0.8)]
        good &= stops(dataset, args.work / "stopped", truth, moments)
    if "disk" in args.parts:
        good &= disk(dataset, args.work / "disk", truth)
    if "dask" in args.parts:
        good &= dask(dataset, args.work / "dask")
    print("all as it should be" if good else "SOMETHING IS WRONG, see above")
    return 0 if good else 1


def make_dataset(root: Path, data: Path) -> None:
    """Write 24 scans: phantoms, real heads, one stripped, five broken."""
    root.mkdir(parents=True)
    (root / "dataset_description.json").write_text('{"Name": "24", "BIDSVersion": "1.10.0"}\n')
    names = [f"sub-p{i:02d}_T1w" for i in range(8)]
    names += [f"sub-s{i}_ses-{s}_T1w" for i in range(2) for s in ("a", "b")]
    names += [f"sub-r{i}_acq-x_run-{r}_T1w" for i in range(1) for r in (1, 2)]
    heads = real_heads(data)
    while len(names) + len(heads) + len(BROKEN) + 1 < 24:
        names.append(f"sub-q{len(names)}_T1w")
    for i, name in enumerate(names):
        head = make_phantom(zooms=(5.0,) * 3, noise=2.0 + i % 5, bias=10.0, seed=i)
        write(root, name, encode(head.volume))
    for i, volume in enumerate(heads):
        write(root, f"sub-real{i}_T1w", encode(volume))
    stripped = Volume(np.where(head.mask, head.volume.data, 0), head.volume.affine)
    write(root, "sub-stripped_T1w", encode(stripped))
    raw = encode(head.volume)
    four = bytearray(raw[:352])
    four[40:42], four[48:50] = (4).to_bytes(2, "little"), (2).to_bytes(2, "little")
    nan = np.full((len(raw) - 352) // 4, np.nan, "<f4").tobytes()
    write(root, "sub-cut_T1w", gzip.compress(raw)[:9000], packed=True)
    write(root, "sub-nan_T1w", raw[:352] + nan)
    write(root, "sub-4d_T1w", bytes(four) + 2 * raw[352:])
    write(root, "sub-secret_T1w", raw).chmod(0)
    link = write(root, "sub-link_T1w", b"")
    link.unlink()
    link.symlink_to("annexed-and-absent")


def real_heads(data: Path) -> list[Volume]:
    """Read the real heads that are there, smoothed and thinned to about 4 mm."""
    paths = [p for stem in REAL for p in sorted(data.glob(f"{stem}*T1w.nii.gz"))[:1]]
    heads = []
    for path in paths:
        volume = nifti.load(path).volume
        step = [max(1, round(4.0 / zoom)) for zoom in volume.zooms]
        smooth = ndimage.uniform_filter(volume.data, step)[:: step[0], :: step[1], :: step[2]]
        heads.append(Volume(smooth, volume.affine @ np.diag([*step, 1.0])))
    return heads


def encode(volume: Volume) -> bytes:
    """Encode a volume as NIfTI, uncompressed."""
    data: Array = volume.data.astype(np.float32)
    return nifti.image_bytes(data, grid_of(volume))


def write(root: Path, name: str, content: bytes, *, packed: bool = False) -> Path:
    """Write a scan where its name puts it."""
    folders = [e for e in name.split("_") if e.startswith(("sub-", "ses-"))]
    path = root.joinpath(*folders, "anat", f"{name}.nii.gz")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if packed else gzip.compress(content, 1, mtime=0))
    return path


def bad(dataset: Path) -> set[str]:
    """Labels of the scans that cannot be done; root may read what nobody may."""
    readable = os.access(dataset / "sub-secret" / "anat" / "sub-secret_T1w.nii.gz", os.R_OK)
    return set(BROKEN) - ({"secret"} if readable else set())


def command(dataset: Path, out: Path, *options: str) -> list[str]:
    """Return the command line of a study."""
    return [sys.executable, "-m", "brainseg", str(dataset), str(out), "participant", *options]


def rows(out: Path) -> dict[str, dict[str, str]]:
    """Read the summary, by scan."""
    with (out / "logs" / "summary.tsv").open() as stream:
        return {row["scan"]: row for row in csv.DictReader(stream, delimiter="\t")}


def hashes(out: Path) -> dict[str, str]:
    """Hash every file but the ledger's, which tells of times."""
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and "logs" not in path.relative_to(out).parts
    }


def litter(out: Path) -> list[str]:
    """Names of temporary files and locks that were left."""
    left = [*out.rglob(".*tmp-*"), *(out / "logs" / "locks").glob("*")]
    return [path.relative_to(out).as_posix() for path in left]


def broken(dataset: Path, out: Path) -> bool:
    """One command over good and broken scans, with brain extraction and reports."""
    start = time.monotonic()
    done = subprocess.run(command(dataset, out), capture_output=True, text=True, check=False)
    print(f"\n== 24 scans, {len(bad(dataset))} broken: {time.monotonic() - start:.0f} s, "
          f"exit code {done.returncode}")  # fmt: skip
    print(done.stdout)
    found = rows(out)
    wrong = [
        name
        for name, row in found.items()
        if (name.split("_")[0][4:] in bad(dataset)) == (row["state"] == "done")
    ]
    peak = max(float(r["peak_memory_mb"]) for r in found.values() if r["peak_memory_mb"] != "n/a")
    print(f"peak of a worker {peak:.0f} MiB; litter {litter(out)}; not as expected {wrong}")
    return done.returncode == 1 and len(found) == 24 and not wrong and not litter(out)


def undisturbed(dataset: Path, out: Path) -> tuple[dict[str, str], float]:
    """Do the study in peace; return hashes of its files and its seconds."""
    start = time.monotonic()
    subprocess.run(command(dataset, out, *QUICK), capture_output=True, check=False)
    whole = time.monotonic() - start
    print(f"\n== undisturbed: {whole:.0f} s, {len(truth := hashes(out))} files", flush=True)
    return truth, whole


def begin(dataset: Path, out: Path) -> subprocess.Popen[bytes]:
    """Begin the study anew, in a process group of its own."""
    shutil.rmtree(out, ignore_errors=True)
    return subprocess.Popen(
        command(dataset, out, *QUICK),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def rerun(dataset: Path, out: Path, truth: dict[str, str]) -> tuple[bool, str]:
    """Do the study again; compare what it leaves with an undisturbed run."""
    before = states(out)
    left = len(litter(out))
    subprocess.run(command(dataset, out, *QUICK), capture_output=True, check=False)
    found, now = hashes(out), litter(out)
    differ = sorted(
        name for name in truth.keys() | found.keys() if truth.get(name) != found.get(name)
    )
    told = (
        f"{before.count('done'):2d} done, {left} locks and scratch; after the rerun: "
        f"{len(differ)} files differ {differ[:3]}, litter {now}"
    )
    return not differ and not now, told


def states(out: Path) -> list[str]:
    """States of the scans in the ledger."""
    pages = (out / "logs" / "scans").glob("[!.]*.json")
    return [json.loads(page.read_text())["state"] for page in pages]


def kills(dataset: Path, out: Path, truth: dict[str, str], moments: list[float]) -> bool:
    """Kill the whole process group at random moments."""
    print("\n== kill -9 of the process group")
    good = True
    for i, moment in enumerate(moments):
        process = begin(dataset, out)
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        same, told = rerun(dataset, out, truth)
        print(f"{i + 1:3d}  killed at {moment:5.1f} s: {told}", flush=True)
        good &= same
    return good


def stops(dataset: Path, out: Path, truth: dict[str, str], moments: list[float]) -> bool:
    """Ask the first process to stop, as container engines and Slurm do."""
    print("\n== SIGTERM")
    good = True
    for moment in moments:
        process = begin(dataset, out)
        time.sleep(moment)
        start = time.monotonic()
        process.terminate()
        code = process.wait()
        took = time.monotonic() - start
        tidy = not litter(out) and "running" not in states(out)
        same, told = rerun(dataset, out, truth)
        print(f"at {moment:5.1f} s: ended after {took:.1f} s with {code}, tidy {tidy}; {told}")
        good &= same and tidy and took < 10 and code in (1, 143)
    return good


def disk(dataset: Path, out: Path, truth: dict[str, str]) -> bool:
    """Fill a small file system, give it room; make it read-only, make it writable."""
    out.mkdir()
    size = sum(path.stat().st_size for path in (out.parent / "undisturbed").rglob("*.nii.gz"))

    def mount(options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(out)], check=True)

    good = True
    for name, small, large, code in (
        ("full disk", f"size={size // 2}", "remount,size=1g", 74),
        ("read-only OUT", "ro", "remount,rw,size=1g", 73),
    ):
        mount(small)
        try:
            done = subprocess.run(
                command(dataset, out, *QUICK), capture_output=True, text=True, check=False
            )
            text = (done.stderr + done.stdout).splitlines()
            says = [line for line in text if "writ" in line or "room" in line][-1:]
            tidy = not litter(out) and "running" not in states(out)
            mount(large)
            same, told = rerun(dataset, out, truth)
            print(f"\n== {name}: exit code {done.returncode}, tidy {tidy}; {told}\n   {says}")
            good &= done.returncode == code and tidy and same
        finally:
            subprocess.run(["umount", str(out)], check=True)
    return good


def dask(dataset: Path, out: Path) -> bool:
    """Do the study on a scheduler and three workers; kill two of these in the middle."""
    address_file = out.with_name("scheduler.json")
    address_file.unlink(missing_ok=True)
    common = ["--scheduler-file", str(address_file), "--no-dashboard"]
    module = [sys.executable, "-m"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    local = ["--host", "127.0.0.1", "--port", "0"]
    scheduler = subprocess.Popen(
        [*module, "distributed.cli.dask_scheduler", *common, *local], **quiet
    )
    worker = [*module, "distributed.cli.dask_worker", *common, "--no-nanny", "--nthreads", "1"]
    workers = [subprocess.Popen(worker, **quiet) for _ in range(3)]
    try:
        while not address_file.exists():
            time.sleep(0.1)
        address = json.loads(address_file.read_text())["address"]
        options = ("--engine", "dask", "--scheduler", address, "--insecure-scheduler", *QUICK)
        study = subprocess.Popen(command(dataset, out, *options), **quiet)
        for wanted in (5, 10):
            while study.poll() is None and len(list(out.rglob("*_mixture.json"))) < wanted:
                time.sleep(0.05)
            workers.pop().kill()
        code = study.wait()
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()
    found = rows(out)
    states = [r["state"] for r in found.values()]
    attempts = sum(int(r["attempts"]) for r in found.values())
    print(f"\n== Dask, two of three workers killed: exit code {code}, {states.count('done')} done, "
          f"{states.count('failed')} failed, {attempts} starts for {len(found)} scans; "
          f"litter {litter(out)}")  # fmt: skip
    healthy = 24 - len(bad(dataset))
    return states.count("done") == healthy and attempts <= 26 and not litter(out)


if __name__ == "__main__":
    sys.exit(main())
