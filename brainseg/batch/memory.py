"""How much memory a scan needs, how much there is, and how much was used."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil

# Memory of a worker that has imported everything and run nothing.
IDLE_BYTES = 350 << 20
# Measured peaks above that, divided by voxels; see pipelines/benchmark_batch.py.
BYTES_PER_VOXEL = 100
BYTES_PER_CONTRAST_VOXEL = 15
# With the tissues of the whole head; `pipelines/evaluate_head.py --what default` has 165.
BYTES_PER_VOXEL_OF_HEAD = 200
# Memory of a worker that only reads a scan and its mask.
READING_BYTES = 600 << 20
# Left to the system and to the process that hands out the scans.
SHARE = 0.9


def needed(voxels: int, of_contrasts: int = 0, *, whole_head: bool = False) -> int:
    """Estimate the bytes that segmenting a scan, with the voxels of its contrasts, takes."""
    each = BYTES_PER_VOXEL_OF_HEAD if whole_head else BYTES_PER_VOXEL
    return IDLE_BYTES + each * voxels + BYTES_PER_CONTRAST_VOXEL * of_contrasts


def available() -> int:
    """Bytes that this process and its children may take: of the machine, or of its container."""
    limits = [_free_of_machine()]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            limits.append(int(Path(path).read_text(encoding="ascii")))
    return int(SHARE * min(limits))


def _free_of_machine() -> int:
    return int(psutil.virtual_memory().available)


def reset_peak() -> None:
    """Begin a new measurement of the peak; where the system has no such thing, keep the old."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_mb() -> float:
    """Largest resident memory since `reset_peak`, in MiB; elsewhere than on Linux see below.

    Windows tells the largest since the process began, and macOS tells what is resident now.
    """
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    memory = psutil.Process().memory_info()
    most: int = getattr(memory, "peak_wset", memory.rss)
    return round(most / 2**20, 1)
