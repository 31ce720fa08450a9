"""Work on words, for the engines' own contract; quick to import in a fresh process."""

from __future__ import annotations

import os
import signal
import time


def echo(task: str) -> str:
    if task == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    if task.startswith("slow"):
        time.sleep(float(task.partition(" ")[2]))
    return task.upper()
