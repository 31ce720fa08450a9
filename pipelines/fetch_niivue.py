"""Put NiiVue beside the package when a wheel or an image is built; nothing fetches it later.

    python pipelines/fetch_niivue.py [--optional]

NiiVue (BSD-2-Clause) comes from the npm registry through npm itself, at one version whose hash is
written here. setup.py puts it into every wheel (and so into the image) that is built where npm is;
run as a script it goes with its licence to brainseg/qc/vendor/, which an editable installation
reads and nobody commits. Without it reports say so and are otherwise whole.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

NIIVUE = (
    "@niivue/niivue@0.69.0",
    "YMjQvJgD1W2b7DuoxkwlC4VxbrgIePRJ5qyQzXKxi2v2MBVg285P/CIQyg46oDDGDIcaNlbd+MhtO/edMbXJkA==",
)
# The npm archive names its licence but does not hold the text; this is that of its repository.
NOTICE = """NiiVue, https://github.com/niivue/niivue

BSD 2-Clause License

Copyright (c) 2021, Niivue
All rights reserved.

Redistribution and use in source and binary forms, with or without
modification, are permitted provided that the following conditions are met:

1. Redistributions of source code must retain the above copyright notice, this
   list of conditions and the following disclaimer.

2. Redistributions in binary form must reproduce the above copyright notice,
   this list of conditions and the following disclaimer in the documentation
   and/or other materials provided with the distribution.

THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS"
AND ANY EXPRESS OR IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED TO, THE
IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE
DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR CONTRIBUTORS BE LIABLE
FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL
DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR
SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER
CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER IN CONTRACT, STRICT LIABILITY,
OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE
OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.
"""
VENDOR = Path(__file__).resolve().parents[1] / "brainseg" / "qc" / "vendor"


class FetchError(Exception):
    """npm is missing, cannot reach its registry, or sent something else."""


def fetch(package: str, sha512: str, names: list[str]) -> dict[str, bytes]:
    """Return files of an npm package after checking the hash of the whole.

    Parameters
    ----------
    package : str
        Name and exact version.
    sha512 : str
        Base64 of the archive's SHA-512, as npm's ``dist.integrity`` gives it.
    names : list of str
        Files inside the package.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise FetchError("npm is not installed")
    with tempfile.TemporaryDirectory() as folder:
        # A build without a network must not wait for one.
        command = [npm, "pack", package, "--silent", "--ignore-scripts", "--fetch-retries=0"]
        try:
            packed = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, check=False, timeout=90
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise FetchError(f"npm could not fetch {package}: {error}") from error
        archives = list(Path(folder).glob("*.tgz"))
        if packed.returncode or len(archives) != 1:
            raise FetchError(f"npm could not fetch {package}: {packed.stderr.strip()[-300:]}")
        content = archives[0].read_bytes()
        found = base64.b64encode(hashlib.sha512(content).digest()).decode()
        if found != sha512:
            raise FetchError(f"{package} has the hash {found}, expected {sha512}")
        with tarfile.open(archives[0]) as archive:
            files = {}
            for name in names:
                try:
                    member = archive.extractfile(f"package/{name}")
                except KeyError as error:
                    raise FetchError(f"{package} holds no {name}") from error
                files[name] = member.read() if member is not None else b""
    return files


def put_into(folder: Path) -> None:
    """Write NiiVue, packed, and its licence into a folder.

    Raises
    ------
    FetchError
    """
    files = fetch(*NIIVUE, ["dist/niivue.umd.js", "package.json"])
    if json.loads(files["package.json"])["license"] != "BSD-2-Clause":
        raise FetchError(f"{NIIVUE[0]} has another licence than the one kept here")
    folder.mkdir(parents=True, exist_ok=True)
    # Packed, it adds 1.0 instead of 2.3 MB to each report; the browser unpacks it.
    packed = gzip.compress(files["dist/niivue.umd.js"], 9, mtime=0)
    (folder / "niivue.b64").write_text(base64.b64encode(packed).decode("ascii"), encoding="ascii")
    (folder / "niivue.LICENSE.txt").write_text(NOTICE, encoding="utf-8")


def main() -> int:
    """Fetch NiiVue into the package."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--optional", action="store_true", help="go on without it when it cannot be had"
    )
    args = parser.parse_args()
    try:
        put_into(VENDOR)
    except FetchError as error:
        print(f"NiiVue was not fetched: {error}", file=sys.stderr)
        return 0 if args.optional else 1
    print(f"{NIIVUE[0]} put into {VENDOR.relative_to(VENDOR.parents[2])}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
