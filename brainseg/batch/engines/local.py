"""Processes of this machine, never more at work than memory allows.

Not `concurrent.futures`: its pool breaks as a whole, with every task in it, when the system kills
one worker for its memory.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import tempfile
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from brainseg.batch.engines import Died

log = logging.getLogger(__name__)

# Asked to stop, a worker gets this long before it is killed; container engines wait 10 s in all.
GRACE_S = 5.0
# A fresh process now and then: whatever a library leaks stays small.
TASKS_PER_WORKER = 25
# Libraries read these when they are loaded, so they are set before anything is imported.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    task: Any = None
    bytes: int = 0
    done: int = 0


class LocalEngine:
    """A pool of processes that survives the death of any of them.

    Parameters
    ----------
    work : callable
        Does a task and returns its outcome; must be picklable, as tasks and outcomes are.
    workers : int
        Processes at most.
    memory : int
        Bytes that they may take together.
    idle_bytes : int
        Bytes of a process that does nothing.
    bytes_of : callable
        Bytes that a task will take, its process included.
    threads : int
        Threads that numerical libraries may use in each process.
    scratch : Path or None
        Where libraries put temporary files; None leaves that to the system.
    """

    def __init__(
        self,
        work: Callable[[Any], Any],
        *,
        workers: int,
        memory: int,
        idle_bytes: int,
        bytes_of: Callable[[Any], int],
        threads: int,
        scratch: Path | None = None,
    ) -> None:
        self._work = work
        self._limit = workers
        self._memory = memory
        self._idle_bytes = idle_bytes
        self._bytes_of = bytes_of
        self._threads = threads
        self._scratch = scratch
        self._waiting: deque[Any] = deque()
        self._workers: list[_Worker] = []
        # Fork would copy locks held by other threads; a fresh interpreter starts clean.
        self._context = multiprocessing.get_context("spawn")

    @property
    def pending(self) -> int:
        """Number of tasks submitted and not yet returned."""
        return len(self._waiting) + sum(w.task is not None for w in self._workers)

    def submit(self, task: Any) -> None:
        """Take a task."""
        self._waiting.append(task)

    def next(self) -> tuple[Any, Any]:
        """Wait for a task to end; hands out waiting ones as processes and memory allow."""
        while True:
            self._hand_out()
            # A pipe is ready too when its process has died: reading then meets its end.
            for pipe in wait([w.pipe for w in self._workers]):
                worker = next(w for w in self._workers if w.pipe is pipe)
                task = worker.task
                try:
                    outcome = worker.pipe.recv()
                except (EOFError, OSError):
                    outcome = self._bury(worker)
                    if task is None:
                        continue
                worker.task, worker.bytes = None, 0
                worker.done += 1
                if worker in self._workers and worker.done >= TASKS_PER_WORKER:
                    self._dismiss(worker)
                return task, outcome

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._waiting.clear()
        for worker in self._workers:
            worker.pipe.close()
            if worker.task is not None:
                worker.process.terminate()
        deadline = time.monotonic() + GRACE_S
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers.clear()

    def _hand_out(self) -> None:
        while self._waiting:
            needed = self._bytes_of(self._waiting[0])
            busy = [w for w in self._workers if w.task is not None]
            idle = [w for w in self._workers if w.task is None]
            taken = sum(w.bytes for w in busy) + self._idle_bytes * max(0, len(idle) - 1)
            # One task always runs, however much it needs: waiting would not help it.
            if busy and (len(busy) >= self._limit or taken + needed > self._memory):
                return
            worker = idle[0] if idle else self._hire()
            worker.task, worker.bytes = self._waiting.popleft(), needed
            # Died while idle: the pipe's end tells in `next`, as for any death.
            with suppress(BrokenPipeError):
                worker.pipe.send(worker.task)

    def _hire(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_serve, args=(theirs, self._work, self._scratch), daemon=True
        )
        # Some libraries are loaded while the process unpacks its arguments.
        before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(self._threads)))
        try:
            process.start()
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
        theirs.close()
        worker = _Worker(process, ours)
        self._workers.append(worker)
        return worker

    def _bury(self, worker: _Worker) -> Died:
        worker.pipe.close()
        worker.process.join()
        self._workers.remove(worker)
        code = worker.process.exitcode or 0
        how = f"killed by {_signal_name(-code)}" if code < 0 else f"exit code {code}"
        log.warning("a worker died (%s)", how)
        return Died(how)

    def _dismiss(self, worker: _Worker) -> None:
        worker.pipe.close()
        self._workers.remove(worker)
        worker.process.join()


def _signal_name(number: int) -> str:
    """Return what a signal is called; most real-time signals have no name of their own."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _serve(pipe: Connection, work: Callable[[Any], Any], scratch: Path | None) -> None:
    """Do tasks until the pipe ends, which it also does when the parent dies."""
    if scratch is not None:
        # This process is ours; the one that started it keeps its environment.
        os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
    # Ctrl-C reaches the whole group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):
            return
        outcome = work(task)
        with suppress(BrokenPipeError):
            pipe.send(outcome)


def _stop(signum: int, frame: object) -> None:
    # A second signal must not interrupt the tidying up that the first one starts.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(128 + signum)
