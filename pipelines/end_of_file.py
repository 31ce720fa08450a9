"""Give every file that is named exactly one newline at its end; fail where one was changed."""

from __future__ import annotations

import sys
from pathlib import Path


def mend(path: Path) -> bool:
    """Return whether the end of a file had to be changed; an empty file stays empty."""
    content = path.read_bytes()
    ended = content.rstrip(b"\r\n") + b"\n" if content.strip() else content
    if ended == content:
        return False
    path.write_bytes(ended)
    return True


if __name__ == "__main__":
    mended = [name for name in sys.argv[1:] if mend(Path(name))]
    for name in mended:
        print(f"{name}: its end was mended")
    sys.exit(1 if mended else 0)
