"""Seconds and peak memory of a whole run, beside what a user would run instead.

    python pipelines/benchmark_pipeline.py HEAD.nii.gz [--repeats 3] [--shape 256 256 176]

Runs, in turn and each in a process of its own: `brainseg run` with and without its report, and
(where antspyx is installed) ANTs' N4 followed by Atropos with six classes inside the same mask.
The head may be padded or cropped to --shape, so that the figure belongs to a stated size.
With --zooms 3 2 1 0.7 0.5 the head is resampled to each voxel size in mm instead, and a table says
how seconds and memory grow with the number of voxels; nothing else is run then.
Machines are noisy: the ratios of one run are the figures to quote, not the seconds.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

ATROPOS = """
import sys, ants
scan, mask = ants.image_read(sys.argv[1]), ants.image_read(sys.argv[2])
flat = ants.n4_bias_field_correction(scan, mask=mask)
ants.atropos(a=flat, x=mask, i="KMeans[6]", m="[0.1,1x1x1]", c="[5,0]")
"""


def to_shape(path: Path, shape: list[int], out: Path) -> Path:
    """Pad or crop a head around its centre to a grid of this shape."""
    image = nib.load(path)
    data = np.asanyarray(image.dataobj)
    before = [(want - have) // 2 for want, have in zip(shape, data.shape, strict=True)]
    padded = np.zeros(shape, data.dtype)
    source = tuple(slice(max(-b, 0), max(-b, 0) + min(w, h))
                   for b, w, h in zip(before, shape, data.shape, strict=True))  # fmt: skip
    target = tuple(slice(max(b, 0), max(b, 0) + min(w, h))
                   for b, w, h in zip(before, shape, data.shape, strict=True))  # fmt: skip
    padded[target] = data[source]
    affine = image.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ before
    nib.save(nib.Nifti1Image(padded, affine), out)
    return out


def to_zoom(path: Path, zoom: float, out: Path) -> Path:
    """Resample a head to cubic voxels of this size in mm."""
    image = nib.load(path)
    factors = np.array(image.header.get_zooms()[:3]) / zoom
    data = ndimage.zoom(np.asarray(image.dataobj, np.float32), factors, order=1)
    affine = image.affine @ np.diag([*(1 / factors), 1.0])
    nib.save(nib.Nifti1Image(np.rint(data).astype(np.int16), affine), out)
    return out


def scale(head: Path, zooms: list[float], threads: int) -> None:
    """Print how cost grows with the number of voxels."""
    print(f"{head.name}, {threads} threads, with report")
    print(f"{'mm':>5}{'grid':>16}{'Mvoxels':>9}{'seconds':>9}{'us/voxel':>10}{'GB':>7}")
    for zoom in zooms:
        with tempfile.TemporaryDirectory() as scratch:
            path = to_zoom(head, zoom, Path(scratch) / "head_T1w.nii.gz")
            shape = nib.load(path).shape
            command = [sys.executable, "-m", "brainseg", "run", str(path), "-q",
                       "--threads", str(threads), "-o", f"{scratch}/out"]  # fmt: skip
            seconds, peak = measure(command, threads)
        voxels = float(np.prod(shape))
        grid = "x".join(map(str, shape))
        row = f"{zoom:5.1f}{grid:>16}{voxels / 1e6:9.2f}{seconds:9.1f}"
        print(f"{row}{seconds / voxels * 1e6:10.2f}{peak:7.2f}", flush=True)


def measure(command: list[str], threads: int) -> tuple[float, float]:
    """Wall-clock seconds and peak memory (GB) of a command in a process of its own."""
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": str(threads),
    }
    start = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        sys.exit(f"failed with status {status}: {' '.join(command[:4])}")
    return seconds, usage.ru_maxrss / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("head", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shape", type=int, nargs=3, metavar="N")
    parser.add_argument("--ants-python", default=sys.executable, help="a Python with antspyx")
    parser.add_argument("--zooms", type=float, nargs="+", metavar="MM")
    args = parser.parse_args()
    if args.zooms:
        scale(args.head, args.zooms, args.threads)
        return

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        head = args.head
        if args.shape:
            head = to_shape(head, args.shape, folder / "head_T1w.nii.gz")
        print(f"{head.name}: {nib.load(head).shape}, {args.threads} threads, "
              f"median of {args.repeats}")  # fmt: skip
        run = [sys.executable, "-m", "brainseg", "run", str(head), "-q",
               "--threads", str(args.threads), "--force", "-o"]  # fmt: skip
        rows = {
            "brainseg run, with report": [*run, str(folder / "with")],
            "brainseg run, no report": [*run, str(folder / "without"), "--no-report"],
            "brainseg --help": [sys.executable, "-m", "brainseg", "--help"],
        }
        subprocess.run(rows["brainseg run, with report"], check=True)
        mask = next((folder / "with").glob("*_desc-brain_mask.nii.gz"))
        has_ants = args.ants_python != sys.executable or importlib.util.find_spec("ants")
        if has_ants:
            rows["ANTs N4 + Atropos (mask given)"] = [
                args.ants_python, "-c", ATROPOS, str(head), str(mask),
            ]  # fmt: skip
        seconds: dict[str, list[float]] = {name: [] for name in rows}
        memory: dict[str, list[float]] = {name: [] for name in rows}
        for _ in range(args.repeats):
            for name, command in rows.items():
                took, peak = measure(command, args.threads)
                seconds[name].append(took)
                memory[name].append(peak)
        record = json.loads(next((folder / "with").glob("*_mixture.json")).read_text())
    print(f"\n{'':<34}{'seconds':>8}{'GB':>7}")
    for name in rows:
        print(f"{name:<34}{statistics.median(seconds[name]):8.2f}{max(memory[name]):7.2f}")
    print("\nstep of the last run with report      seconds")
    for name, took in record["seconds"].items():
        print(f"  {name:<32}{took:8.2f}")
    if has_ants:
        fit = record["seconds"]["Tissues"]
        peer = statistics.median(seconds["ANTs N4 + Atropos (mask given)"])
        whole = statistics.median(seconds["brainseg run, with report"])
        print(f"\nANTs N4 + Atropos / brainseg's tissue fit: {peer / fit:.1f}x")
        print(f"ANTs N4 + Atropos / brainseg's whole run:  {peer / whole:.1f}x")


if __name__ == "__main__":
    main()
