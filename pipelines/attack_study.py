"""A study whose ledger, records, ratings and settings somebody damaged: nothing stops the others.

    python pipelines/attack_study.py WORK [--count 500] [--seed 0]

WORK is an empty folder. Writes a dataset of `count` participants, whose scans are no images, so
that a scan takes milliseconds; damages a ledger entry and a record of each, every one in its own
way; then runs the participant level, the group level and the review over them. A second local user,
where root runs this, asks the review without its token. Exits 1 on a traceback, a missing scan, a
file that went missing outside of OUT, or an answer that a stranger got.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

VALUES: tuple[Any, ...] = (
    None, [], {}, "", "text", -1, 0, 1.5, 10**30, True, [[[]]], {"a": {"b": None}}, "../../canary",
)  # fmt: skip
RAW = (
    b"", b"null", b"[]", b"3", b'"x"', b"{", b"\xff\xfe", b"\x00" * 50, b'{"a": NaN}', b"1e999",
    b"[" * 50_000, b'{"a":' * 20_000, b"9" * 5000,
)  # fmt: skip
ENTRY = {
    "scan": "", "state": "done", "input": {"size": 1, "modified": 1, "sha256": ""},
    "parameters": {}, "version": "0.1.0", "run": "", "attempts": 1, "deaths": 0,
    "seconds": {"x": 1}, "peak_memory_mb": 1,
    "outputs": {"../../../../canary": {"size": 5, "sha256": ""}},
    "contrasts": {}, "error": None, "started": "", "ended": "",
}  # fmt: skip
RECORD = {
    "tissues": [{"name": "Grey"}, {"name": "White"}], "seeded": False, "contrasts": [],
    "weights": [0.5, 0.5], "means": [[1.0], [2.0]], "covariances": [[[1.0]], [[1.0]]],
    "converged": True, "n_iter": 3, "log_likelihood": [-1.0], "volumes_ml": {"GM": 1.0},
    "brain": {"route": "fused", "confidence": 0.9, "checks": {}}, "warnings": [],
    "options": {"tissues": "six", "bias": "em"}, "seed": 0,
    "input": {"name": "x", "sha256": "x"}, "versions": {"brainseg": "0.1.0"},
}  # fmt: skip


def damaged(content: dict[str, Any], chance: random.Random) -> bytes:
    """Return a document with something wrong: its bytes, a field, or a field of a field."""
    if chance.random() < 0.3:
        return chance.choice(RAW)
    content = json.loads(json.dumps(content))
    inside = [content, *(v for v in content.values() if isinstance(v, dict) and v)]
    for _ in range(chance.randint(1, 3)):
        place = chance.choice(inside)
        key = chance.choice(list(place) or ["x"])
        if chance.random() < 0.3:
            place.pop(key, None)
        else:
            place[key] = chance.choice(VALUES)
    data = json.dumps(content).encode()
    return data[: chance.randrange(len(data))] if chance.random() < 0.1 else data


def make(work: Path, count: int, chance: random.Random) -> tuple[Path, Path]:
    """Write the dataset and the damaged output folder."""
    dataset, out = work / "raw", work / "study" / "out"
    (out / "logs" / "scans").mkdir(parents=True)
    (work / "canary").write_text("alive")
    (work / "study" / "canary").write_text("alive")
    for i in range(count):
        name = f"sub-{i:04d}"
        scan = dataset / name / "anat" / f"{name}_T1w.nii.gz"
        scan.parent.mkdir(parents=True)
        scan.write_bytes(b"no image")
        entry = out / "logs" / "scans" / f"{name}_T1w.json"
        record = out / name / "anat" / f"{name}_desc-brainseg_mixture.json"
        record.parent.mkdir(parents=True)
        for path, content in ((entry, ENTRY | {"scan": f"{name}_T1w"}), (record, RECORD)):
            if chance.random() < 0.02:
                os.mkfifo(path)
            else:
                path.write_bytes(damaged(content, chance))
        quality = {"verdict": "pass", "reasons": [], "cjv": 0.4}
        (record.parent / f"{name}_desc-quality_T1w.json").write_bytes(damaged(quality, chance))
        (record.parent / f"{name}_report.html").write_text("<p>report</p>")
    (dataset / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    return dataset, out


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the program, which has ten minutes."""
    command = [sys.executable, "-m", "brainseg", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


def review(out: Path) -> list[str]:
    """Ask the review for its state, and without its token, as another user where that can be."""
    wrong = []
    command = [sys.executable, "-m", "brainseg", "review", str(out), "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().rpartition(" ")[2].strip()
        with urllib.request.urlopen(url + "api/state", timeout=120) as answer:
            json.loads(answer.read(), parse_constant=lambda name: wrong.append(f"{name} in state"))
        root = url[: url.index("/", 8) + 1]
        ask = f"import urllib.request; print(urllib.request.urlopen({root!r}, timeout=60).read())"
        python = shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin") or sys.executable
        as_another = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        stranger = [*(as_another if os.getuid() == 0 else []), python, "-c", ask]
        asked = subprocess.run(stranger, capture_output=True, text=True, check=False)
        if "404" not in asked.stderr:
            wrong.append(f"a stranger got {asked.stdout[:100]} {asked.stderr[-100:]}")
    finally:
        server.terminate()
        server.wait()
    return wrong


def main() -> int:
    """Attack, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    dataset, out = make(args.work, args.count, random.Random(args.seed))
    wrong = []
    for name, code, arguments in (
        ("group", (0, 18), ("group", out, "-q")),
        ("report-only", (0, 1, 65, 66), (dataset, out, "participant", "--report-only", "-q")),
        ("participant", (65,), (dataset, out, "participant", "--engine", "serial", "-q")),
        ("again", (0, 65), (dataset, out, "participant", "--engine", "serial", "-q")),
    ):
        done = run(*arguments)
        if "Traceback" in done.stderr or done.returncode not in code:
            wrong.append(f"{name}: {done.returncode} {done.stderr[-600:]}")
        print(f"{name}: exit code {done.returncode}", flush=True)
        if name == "group":
            wrong += review(out)
    rows = (out / "logs" / "summary.tsv").read_text().splitlines()[1:]
    if len(rows) != args.count:
        wrong.append(f"{len(rows)} scans in the summary, not {args.count}")
    for canary in (args.work / "canary", args.work / "study" / "canary"):
        if not canary.exists():
            wrong.append("a file outside of OUT is gone")
    print("\n".join(wrong) or f"{args.count} damaged ledger entries and records: nothing wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
