"""How the options share cores and memory out among workers."""

from __future__ import annotations

import argparse

import pytest

from brainseg.batch import memory
from brainseg.cli.engines import add_engine, check_engine, make_crew, to_bytes
from brainseg.errors import UsageError

GIB = 1 << 30


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_engine(parser)
    return parser.parse_args(arguments)


@pytest.mark.parametrize(
    ("arguments", "tasks", "workers", "threads"),
    [
        ("--n-cpus 8 --mem 64G", 100, 8, 1),
        ("--n-cpus 8 --mem 64G --omp-nthreads 4", 100, 2, 4),
        # Fewer scans than cores, or less memory than scans: the cores go to those at work.
        ("--n-cpus 8 --mem 64G", 2, 2, 4),
        ("--n-cpus 8 --mem 4G", 100, 3, 2),
        ("--n-cpus 8 --mem 1G", 100, 1, 8),
        ("--n-cpus 4 --mem 64G --omp-nthreads 8", 100, 1, 8),
        ("--n-cpus 8 --mem 64G --engine serial", 100, 1, 8),
        ("--n-cpus 8 --mem 64G --engine dask --scheduler tcp://a:1", 100, 8, 1),
    ],
)
def test_cores_and_memory_are_shared_out(
    arguments: str, tasks: int, workers: int, threads: int
) -> None:
    crew = make_crew(options(*arguments.split()), [GIB] * tasks)
    assert (crew.workers, crew.threads) == (workers, threads)


def test_a_scheduler_without_tls_is_taken_only_when_told() -> None:
    dask = ("--engine", "dask", "--scheduler")
    with pytest.raises(UsageError, match=r"--scheduler tcp://a:1: without TLS"):
        check_engine(options(*dask, "tcp://a:1"))
    check_engine(options(*dask, "tls://a:1"))
    check_engine(options(*dask, "tcp://a:1", "--insecure-scheduler"))


def test_dask_gives_each_worker_what_the_largest_scan_needs() -> None:
    needs = [GIB] * 9 + [4 * GIB]
    crew = make_crew(options("--engine", "dask", "--n-cpus", "8", "--mem", "16G"), needs)
    assert crew.workers == 3
    assert crew.memory // crew.workers >= 4 * GIB
    # The local engine holds the large one back until there is room.
    assert make_crew(options("--n-cpus", "8", "--mem", "16G"), needs).workers == 8


def test_a_scan_too_large_for_the_memory_is_told(caplog: pytest.LogCaptureFixture) -> None:
    assert make_crew(options("--mem", "500M"), [GIB]).workers == 1
    assert "a scan needs about 1024 MiB, more than the 450 MiB there are" in caplog.text


def test_a_whole_head_needs_more_memory_than_a_brain() -> None:
    assert memory.needed(10**7, whole_head=True) > 1.5 * memory.needed(10**7)


def test_contrasts_count_into_the_memory_of_a_scan() -> None:
    assert memory.needed(1000, 2000) - memory.needed(1000) == (
        2000 * memory.BYTES_PER_CONTRAST_VOXEL
    )


@pytest.mark.parametrize(
    ("text", "size"),
    [("8G", 8 << 30), ("8000M", 8000 << 20), ("2", 2 << 30), ("1.5gb", 3 << 29), ("4GiB", 4 << 30)],
)
def test_sizes_of_memory(text: str, size: int) -> None:
    assert to_bytes(text) == size


@pytest.mark.parametrize("text", ["much", "-1G", "0", "", "inf", "1e999T"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="write 8G"):
        to_bytes(text)
