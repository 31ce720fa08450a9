"""A Dask cluster: one that the user has, or a local one; needs the extra ``brainseg-em[dask]``.

Whoever reaches a scheduler runs code as its owner, and on a shared machine everybody reaches the
loopback. So a local cluster speaks TLS with certificates that only its processes have, and its
pages, which know no password, are not served.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

from brainseg.batch.engines import Died
from brainseg.errors import NoInputError, TemporaryError, UsageError

log = logging.getLogger(__name__)

CONNECT_S = 30
# How often the size of the cluster is looked at; workers come and go.
POLL_S = 2.0
SILENCE_S = 60.0
# Open files that a local cluster takes at most: 32, 42 and 66 were seen with 1, 2 and 4 workers.
FILES, FILES_EACH = 30, 12
# Settings of a local cluster. Scheduler and workers serve no pages. A worker's death is reported at
# once; the study, not Dask, decides whether its task is tried again.
LOCAL = {
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}


class DaskEngine:
    """Does tasks on a Dask cluster, which starts lost ones again by itself.

    Parameters
    ----------
    work : callable
        As for `LocalEngine`; brainseg must be installed where the workers run.
    scheduler : str or None
        For example ``tls://node7:8786``, with the certificates that Dask's own configuration
        names; None starts workers on this machine.
    workers : int
        Processes of the local cluster.
    memory : int
        Bytes that they may take together.
    """

    def __init__(
        self, work: Callable[[Any], Any], *, scheduler: str | None, workers: int, memory: int
    ) -> None:
        try:
            from distributed import Client
        except ImportError as error:
            raise UsageError(
                "`engine` dask: dask is not installed; pip install 'brainseg-em[dask]'"
            ) from error
        self._work = work
        self._scratch: TemporaryDirectory[str] | None = None
        self._cluster: Any = None
        if scheduler is None:
            # What workers put aside they unpickle again: nobody else may write there.
            self._scratch = TemporaryDirectory(prefix="brainseg-", ignore_cleanup_errors=True)
            self._cluster = _local_cluster(workers, memory, self._scratch.name)
        try:
            self._client: Any = Client(self._cluster or scheduler, timeout=CONNECT_S)
        except (OSError, ValueError, RuntimeError) as error:
            # TLS says what is wrong with a certificate in its own words, without an address.
            raise NoInputError(
                f"`scheduler` {scheduler}: no Dask scheduler answers there ({error})"
            ) from error
        self._waiting: deque[Any] = deque()
        self._running: dict[Any, Any] = {}

    @property
    def pending(self) -> int:
        """Number of tasks submitted and not yet returned."""
        return len(self._waiting) + len(self._running)

    def submit(self, task: Any) -> None:
        """Take a task."""
        self._waiting.append(task)

    def next(self) -> tuple[Any, Any]:
        """Wait for a task to end; sends as many as there are threads in the cluster.

        A longer queue on the workers would make each death look like the fault of every task in
        the queue, and Dask would give up on those too.

        Raises
        ------
        TemporaryError
            When the scheduler has gone.
        """
        from distributed import wait

        told = time.monotonic()
        while True:
            threads = sum(self._client.nthreads().values())
            while self._waiting and len(self._running) < max(1, threads):
                task = self._waiting.popleft()
                # Pure tasks of equal arguments are done once; one submitted again shall run again.
                self._running[self._client.submit(self._work, task, pure=False)] = task
            if threads == 0 and time.monotonic() - told > SILENCE_S:
                log.warning("the Dask cluster has no workers; waiting for some")
                told = time.monotonic()
            try:
                done = wait(list(self._running), POLL_S, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                done = set()
            if self._client.status != "running":
                raise TemporaryError("the Dask scheduler has gone; run again to resume")
            for future in done:
                return self._running.pop(future), self._outcome(future)

    def _outcome(self, future: Any) -> Any:
        from distributed import CancelledError, KilledWorker

        try:
            return future.result()
        except (KilledWorker, CancelledError) as error:
            return Died(type(error).__name__)
        except (RuntimeError, ImportError, AttributeError) as error:
            # The work itself answers for its scans; this is the scheduler that cannot unpack it.
            raise UsageError(
                "`engine` dask: the cluster cannot unpack a task; is this same version of brainseg "
                f"installed where its scheduler and its workers run? ({type(error).__name__})"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(Exception):
            self._client.cancel(list(self._running), force=True)
        self._waiting.clear()
        self._running.clear()
        with suppress(Exception):
            self._client.close(timeout=2)
        if self._cluster is not None:
            with suppress(Exception):
                self._cluster.close(timeout=3)
        if self._scratch is not None:
            self._scratch.cleanup()


def _local_cluster(workers: int, memory: int, scratch: str) -> Any:
    """Start a scheduler and workers that only this process, and they themselves, can talk to."""
    import dask
    from distributed import LocalCluster, Security

    try:
        security = Security.temporary()
    except ImportError as error:
        raise UsageError(
            "`engine` dask: cryptography is not installed; pip install 'brainseg-em[dask]'"
        ) from error
    _require_files(workers)
    # Dask tells each of its steps, and in tracebacks what hinders them.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with dask.config.set(LOCAL | {"temporary-directory": scratch}):
        try:
            return LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                memory_limit=memory // workers,
                host="127.0.0.1",
                dashboard_address=None,
                local_directory=scratch,
                security=security,
                silence_logs=logging.CRITICAL,
            )
        except (OSError, RuntimeError) as error:
            log.debug("where it happened:", exc_info=error)
            raise TemporaryError(
                f"`engine` dask: a cluster of {workers} workers could not be started; raise the "
                "limit on processes (ulimit -u), or use `engine` local"
            ) from error


def _require_files(workers: int) -> None:
    """Refuse a limit on open files that a cluster does not fit in: it would try for a minute."""
    try:
        import resource
    except ImportError:  # Windows knows no such limits
        return

    needed, limit = FILES + FILES_EACH * workers, resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit != resource.RLIM_INFINITY and limit < needed:
        raise TemporaryError(
            f"`engine` dask: a cluster of {workers} workers takes about {needed} open files, and "
            f"{limit} are allowed; raise the limit (ulimit -n), or use `engine` local"
        )
