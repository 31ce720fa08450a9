"""Draw the top of a report, or of any page, as a browser shows it.

    brainseg phantom -o head && mkdir -p raw/sub-01/anat
    cp head/phantom_T1w.nii.gz raw/sub-01/anat/sub-01_T1w.nii.gz
    brainseg bids raw out participant --skip-bids-validation
    python pipelines/draw_report.py out/sub-01/anat/sub-01_report.html docs/report.png

It wants Chromium. The README's picture is a synthetic head's: no person's scan is in it. It comes
from a study, whose reports tell no seconds: those are a machine's. Draw it anew when reports change
their looks; the site draws its own while it is built.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

WIDTH, HEIGHT = 1160, 920
"""Pixels: the verdict, the volumes, and the first rows of the mask."""


def draw(page: Path, out: Path, *, width: int = WIDTH, height: int = HEIGHT) -> bool:
    """Write a picture of the top of a page; return False where there is no Chromium."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        return False
    with tempfile.TemporaryDirectory() as home:
        shot = Path(home) / "shot.png"
        subprocess.run(
            [
                browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                f"--user-data-dir={home}", f"--window-size={width},{height}",
                f"--screenshot={shot}", page.resolve().as_uri(),
            ],
            capture_output=True, check=False, timeout=300,
        )  # fmt: skip
        if not shot.exists():
            return False
        # A palette would halve the file, and tint its many dark greys.
        Image.open(shot).convert("RGB").save(out, optimize=True)
    return True


def main() -> None:
    """Draw the page that is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    if not draw(args.page, args.out):
        sys.exit("chromium is not installed, or drew nothing")


if __name__ == "__main__":
    main()
