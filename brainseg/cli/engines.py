"""The command line's part for where the work of a study is done."""

from __future__ import annotations

import argparse
import logging
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainseg.cli.options import Commands, add_command, path_of, usable_cores
from brainseg.errors import UsageError

if TYPE_CHECKING:
    from brainseg.batch.engines import Engine

log = logging.getLogger("brainseg")

UNITS = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True)
class Crew:
    """How many processes work at once, with how many threads each, in how many bytes together."""

    workers: int
    threads: int
    memory: int


def add_engine(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the options that say where the work is done."""
    how = parser.add_argument_group("how the work is done")
    how.add_argument(
        "--engine",
        default="local",
        choices=("serial", "local", "dask"),
        help="this process, processes of this machine, or a Dask cluster (default: local)",
    )
    how.add_argument(
        "--scheduler", metavar="ADDRESS", help="of the Dask cluster that you have: tls://HOST:PORT"
    )
    how.add_argument(
        "--insecure-scheduler",
        action="store_true",
        help="take a scheduler without TLS: whoever reaches it may run programs as you",
    )
    how.add_argument(
        "--nprocs",
        "--n-cpus",
        "--n_cpus",
        dest="n_cpus",
        type=int,
        default=usable_cores(),
        metavar="N",
        help="cores in all (default: those that may be used)",
    )
    how.add_argument(
        "--omp-nthreads", type=int, metavar="N", help="threads of each worker (default: share)"
    )
    how.add_argument(
        "--mem", "--mem-gb", type=to_bytes, metavar="SIZE", help="memory in all: 8G, 8000M"
    )
    return how


def add_certificates(commands: Commands) -> None:
    """Add the command ``certificates``."""
    parser = add_command(
        commands, "certificates",
        "Make the certificates of a Dask cluster that you start yourself.",
        "certificates dask.yaml && DASK_CONFIG=dask.yaml dask scheduler --protocol tls",
        _certificates,
    )  # fmt: skip
    parser.add_argument("file", type=path_of, metavar="FILE", help="where to; keep it to yourself")


def _certificates(args: argparse.Namespace) -> int:
    from brainseg.batch.engines import certificates

    certificates.write(args.file)
    return 0


def check_engine(args: argparse.Namespace) -> None:
    """Check the options of `add_engine`.

    Raises
    ------
    UsageError
    """
    for option in ("n_cpus", "omp_nthreads"):
        if (value := getattr(args, option)) is not None and value < 1:
            raise UsageError(f"--{option.replace('_', '-')}: {value} is too few; use 1 or more")
    if args.scheduler is not None and args.engine != "dask":
        raise UsageError("--scheduler: belongs to --engine dask")
    secure = args.scheduler is None or args.scheduler.startswith("tls://")
    if not (secure or args.insecure_scheduler):
        raise UsageError(
            f"--scheduler {args.scheduler}: without TLS, who reaches it may run programs as you; "
            "give a tls:// address, or add --insecure-scheduler where nobody else reaches it"
        )


def make_crew(args: argparse.Namespace, needs: Sequence[int]) -> Crew:
    """Share cores and memory out among workers.

    One thread each keeps the cores busiest; where tasks or memory are fewer, each worker gets more.

    Parameters
    ----------
    args : Namespace
        With the options of `add_engine`.
    needs : sequence of int
        Bytes that each task takes, at least one.
    """
    from brainseg.batch import memory

    budget = memory.available() if args.mem is None else int(memory.SHARE * args.mem)
    # The local engine looks at each task before it starts it; Dask gives all workers the same.
    each = max(needs) if args.engine == "dask" else int(statistics.median(needs))
    if each > budget and args.scheduler is None:
        log.warning(
            "a scan needs about %d MiB, more than the %d MiB there are", each >> 20, budget >> 20
        )
    workers = min(args.n_cpus // (args.omp_nthreads or 1), len(needs), budget // each)
    workers = 1 if args.engine == "serial" else max(1, workers)
    # The cores of somebody else's cluster are not ours to count.
    threads = 1 if args.scheduler is not None else max(1, args.n_cpus // workers)
    return Crew(workers, args.omp_nthreads or threads, budget)


def make_engine(
    args: argparse.Namespace,
    crew: Crew,
    work: Callable[[Any], Any],
    bytes_needed: Callable[[Any], int],
    scratch: Path | None = None,
) -> Engine:
    """Make the engine that the options ask for; its processes put temporary files in `scratch`."""
    if args.engine == "serial":
        from brainseg.batch.engines.serial import SerialEngine

        return SerialEngine(work, scratch)
    if args.engine == "dask":
        from brainseg.batch.engines.cluster import DaskEngine

        return DaskEngine(work, scheduler=args.scheduler, workers=crew.workers, memory=crew.memory)
    from brainseg.batch import memory
    from brainseg.batch.engines.local import LocalEngine

    return LocalEngine(
        work,
        workers=crew.workers,
        memory=crew.memory,
        idle_bytes=memory.IDLE_BYTES,
        bytes_of=bytes_needed,
        threads=crew.threads,
        scratch=scratch,
    )


def to_bytes(text: str) -> int:
    """Read a size; a bare number is gigabytes, as other BIDS Apps take it."""
    number = text.strip().upper().removesuffix("IB").removesuffix("B")
    unit = number[-1:] if number[-1:] in UNITS else ""
    try:
        size = float(number.removesuffix(unit) if unit else number)
        value = int(size * UNITS[unit or "G"])
    except (ValueError, OverflowError):
        value = 0
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write 8G or 8000M")
    return value
