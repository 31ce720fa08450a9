"""Certificates for a Dask cluster whose parts are started one by one, as a file of Dask's settings.

With ``DASK_CONFIG=dask.yaml`` in their environment, scheduler, workers and the study talk TLS among
themselves and to nobody else, and serve no pages. The file is the key: it can be read by its owner
alone, and should be thrown away with the cluster.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from brainseg.errors import CannotCreateError, UsageError


def write(path: Path) -> None:
    """Write fresh certificates.

    Raises
    ------
    UsageError
        When Dask is not installed.
    CannotCreateError
        When the file is there already or cannot be written.
    """
    try:
        from distributed import Security

        keys = Security.temporary()
    except ImportError as error:
        raise UsageError("dask is not installed; pip install 'brainseg-em[dask]'") from error
    role = {"key": keys.tls_scheduler_key, "cert": keys.tls_scheduler_cert}
    tls = {"ca-file": keys.tls_ca_file, "scheduler": role, "worker": role, "client": role}
    settings = {
        "comm": {"require-encryption": True, "tls": tls},
        "scheduler": {"http": {"routes": []}},
        "worker": {"http": {"routes": []}},
    }
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise CannotCreateError(f"{path.name}: cannot be written ({error.strerror})") from error
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        # JSON is YAML, too.
        json.dump({"distributed": settings}, stream, indent=1)
