"""Scans per hour and memory of a study, and how fast a large dataset is looked through.

    python pipelines/benchmark_batch.py WORK HEAD.nii.gz [--scans 8] [--workers 1 2]

WORK is an empty folder. HEAD, padded or cropped to 256 x 256 x 176 at its own voxel size, stands
for every participant. The same study is done with each number of worker processes, one thread each,
with QC pages; the ratio of scans per hour is the figure to quote, as machines are noisy. Peaks are
those of the ledger, reset before each scan: the last ones show whether a worker grows. Discovery
looks through 1,000 participants of two sessions, and plans the run; of its seconds those of the
processor are the figure to quote.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from brainseg.batch import memory
from brainseg.batch.discovery import find_scans
from brainseg.batch.study import make_tasks, plan
from brainseg.config import SegmentConfig
from brainseg.core.volume import Volume
from brainseg.io import nifti
from brainseg.io.grids import grid_of

SHAPE = (256, 256, 176)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("head", type=Path)
    parser.add_argument("--scans", type=int, default=8)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()
    discovery(args.work / "many")
    dataset = make_dataset(args.work / "raw", args.head, args.scans)
    needed = memory.needed(int(np.prod(SHAPE))) / 2**20
    for workers in args.workers:
        seconds, peaks = study(dataset, args.work / f"out{workers}", workers)
        print(
            f"{workers} workers: {3600 * args.scans / seconds:.0f} scans per hour; peak of a "
            f"worker {max(peaks):.0f} MiB (counted on: {needed:.0f}); in order of scans "
            f"{' '.join(f'{peak:.0f}' for peak in peaks)}",
            flush=True,
        )
    return 0


def discovery(root: Path) -> None:
    """Time the walk over 1,000 participants, and the plan of what is to be done."""
    for i in range(1000):
        for session in ("a", "b"):
            folder = root / f"sub-{i:04d}" / f"ses-{session}" / "anat"
            folder.mkdir(parents=True)
            for suffix in ("T1w", "T2w", "FLAIR"):
                for extension in (".nii.gz", ".json"):
                    (folder / f"sub-{i:04d}_ses-{session}_{suffix}{extension}").touch()
    start, busy = time.monotonic(), time.process_time()
    found = find_scans(root)
    walked, worked = time.monotonic() - start, time.process_time() - busy
    plan(make_tasks(found, root / "derivatives", SegmentConfig()))
    print(
        f"{len(found)} scans of 1,000 participants: found in {walked:.2f} s (processor "
        f"{worked:.2f}), found and planned in {time.monotonic() - start:.2f} s "
        f"(processor {time.process_time() - busy:.2f})",
        flush=True,
    )
    shutil.rmtree(root)


def make_dataset(root: Path, head: Path, scans: int) -> Path:
    """Write the head, brought to the shape, as every participant's scan."""
    volume = nifti.load(head).volume
    data = volume.data
    for axis, want in enumerate(SHAPE):
        have = data.shape[axis]
        first = max(0, (have - want) // 2)
        data = np.take(data, range(first, min(have, first + want)), axis)
        short = want - data.shape[axis]
        widths = [(0, 0)] * 3
        widths[axis] = (short // 2, short - short // 2)
        data = np.pad(data, widths)
    packed = nifti.compress(nifti.image_bytes(data, grid_of(Volume(data, volume.affine))))
    for i in range(scans):
        path = root / f"sub-{i:02d}" / "anat" / f"sub-{i:02d}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        path.write_bytes(packed)
    return root


def study(dataset: Path, out: Path, workers: int) -> tuple[float, list[float]]:
    """Do the study; return its seconds and the peak (MiB) of each scan, in the order of names."""
    command = [sys.executable, "-m", "brainseg", dataset, out, "participant", "-q"]
    options = ["--skip-bids-validation", "--n-cpus", workers, "--omp-nthreads", 1]
    start = time.monotonic()
    subprocess.run(
        [str(word) for word in (*command, *options)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    seconds = time.monotonic() - start
    with (out / "logs" / "summary.tsv").open() as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    return seconds, [float(row["peak_memory_mb"]) for row in rows]


if __name__ == "__main__":
    sys.exit(main())
