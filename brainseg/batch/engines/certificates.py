"""Certificates for a Dask cluster whose parts are started one by one, as a file of Dask's settings.

With ``DASK_CONFIG=dask.yaml`` in their environment, scheduler, workers and the study talk TLS among
themselves and to nobody else, and serve no pages. The file is the key: it can be read by its owner
alone, and should be thrown away with the cluster.
"""

from __future__ import annotations

import json
from pathlib import Path

from brainseg.errors import CannotCreateError, UsageError
from brainseg.io import atomic


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
    # JSON is YAML, too.
    text = json.dumps({"distributed": settings}, indent=1)
    try:
        made = atomic.create(path, text, mode=0o600)
    except OSError as error:
        raise CannotCreateError(f"{path.name}: cannot be written ({error.strerror})") from error
    if not made:
        raise CannotCreateError(f"{path.name}: is there already; remove it or give another name")
