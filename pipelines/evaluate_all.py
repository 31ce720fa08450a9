"""The figures of the site's evidence page, step by step; what is done is kept.

    python pipelines/evaluate_all.py --peers PEERS/bin/python ...  # do what is missing
    python pipelines/evaluate_all.py --ours --again                # after a change of brainseg
    python pipelines/evaluate_all.py --gather                      # write docs/evidence only
    python pipelines/evaluate_all.py --list                        # say what is done

``--area`` and ``--tool`` choose further. A step is one tool on one scan. Its result is a small JSON
in ``build/evidence``; remove it (or give ``--again``) to do the step anew. `--gather` writes
``docs/evidence/figures.csv`` with a row for every figure, "not measured" ones included, and the
machine in ``docs/evidence/about.json``. A figure whose step was not done in this checkout keeps the
value and the date that the table has. The page and the README's figures are made from these two
(`pipelines/evidence_page.py`).

Other tools live in environments of their own (`pipelines/evaluation_peers.py`); ``--peers`` takes
a Python for each. Everything runs on one thread, and costs are seconds of processor time, so that
a busy machine changes little.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import benchmark_extraction
import evaluate_accuracy
import evaluate_head
import evidence_page
import nibabel as nib
import numpy as np
from evaluate_accuracy import Case
from evaluation_peers import TOOLS
from threadpoolctl import threadpool_limits

import brainseg
from brainseg.anatomy.brain import extract_brain
from brainseg.config import SegmentConfig
from brainseg.core.masking import bounding_box
from brainseg.core.metrics import dice
from brainseg.core.volume import BoolArray, Volume
from brainseg.errors import BrainsegError
from brainseg.evaluation.comparison import compare_files
from brainseg.io import nifti
from brainseg.longitudinal.person import segment_person
from brainseg.tissues.tables import HEAD

ROOT = Path(__file__).resolve().parents[1]
STEPS = ROOT / "build" / "evidence"
PAGE = ROOT / "docs" / "evidence"
COLUMNS = ("area", "data", "subject", "tool", "measure", "value", "date")
PEERS = {
    "ants": "ANTs N4 + Atropos",
    "dipy": "dipy HMRF",
    "sklearn": "scikit-learn mixture",
    "deepbet": "deepbet",
    "samseg": "SAMSEG",
}
OURS: dict[str, dict[str, Any]] = {
    "brainseg": {"table": "six"},
    "brainseg, plain mixture": {
        "table": "intensity",
        "prior": "none",
        "bias": "none",
        "smooth": 0.0,
    },
}
TOGETHER = "brainseg long"
HEADS = tuple(f"nc0{n}" for n in range(1, 7))
SPOILED = (
    "noise 9 %",
    "bias 60 %",
    "rotated 20 about x",
    "rotated 20 about y",
    "rotated 20 about z",
    "voxels 3 mm",
    "top 25 mm cropped",
    "bottom 30 mm cropped",
)
OWN = "seg-six_desc-posterior_dseg"
REGIONS = ("CGM", "CWM", "SGM", "BS", "CBM")
Figures = dict[str, float]
CLEAN: dict[tuple[str, str], BoolArray] = {}
"""Masks of clean scans by scan and route, which every way of spoiling is compared with."""


@dataclass(frozen=True)
class Step:
    """One tool on one scan.

    Attributes
    ----------
    area : str
        What is judged, as the page calls it.
    data, subject, tool : str
    measures : tuple of str
        Figures that it yields.
    run : callable
        Takes the options of the command line, returns the figures.
    """

    area: str
    data: str
    subject: str
    tool: str
    measures: tuple[str, ...]
    run: Callable[[argparse.Namespace], Figures]

    @property
    def file(self) -> Path:
        """Where its result is kept."""
        name = "--".join((self.area, self.data, self.subject, self.tool))
        return STEPS / ("".join(c if c.isalnum() or c in "-." else "_" for c in name) + ".json")


# Tissues, the mask given ----------------------------------------------------------------------


@functools.cache
def case(data: Path, name: str) -> Case:
    """Read a scan with its mask and truth."""
    if name == "BrainWeb 2 mm":
        return next(evaluate_accuracy.brainweb(data))
    if name == "colin27":
        folder = data / "truth" / "colin27"
        scan = nifti.load(folder / "colin27_t1.nii.gz")
        truth = nifti.load_labels(folder / "tissue_csf1_gm2_wm3.nii.gz", reference=scan)[0].data
        return Case(name, scan.volume, truth > 0, truth, {"CSF": 1, "GM": 2, "WM": 3})
    if name.endswith("visit 2"):
        return visit(data)
    return next(c for c in evaluate_accuracy.oasis(data) if c.name == name)


def visit(data: Path) -> Case:
    """Read the second scan of OASIS 1003."""
    scan = nifti.load(data / "visits" / "oasis1003_visit2_SS.nii.gz")
    mask, truth = (
        nifti.load_labels(data / "visits" / f"oasis1003_visit2_{part}.nii.gz", reference=scan)[0]
        for part in ("mask", "classified")
    )
    names = {"GM": 2, "GM+sulci": 2, "WM": 3}
    return Case("1003 visit 2", scan.volume, mask.data > 0, truth.data, names, sulci_are_grey=True)


def ours(args: argparse.Namespace, *, name: str, tool: str) -> Figures:
    """Fit tissues as brainseg does, in a process of its own for the sake of its cost."""
    known = case(args.data, name)
    before = processor_seconds()
    fit = known.fit(**OURS[tool])
    seconds = processor_seconds() - before
    voxel_ml = known.volume.voxel_volume
    sums = dict(zip(("CSF", "GM", "WM"), fit.fractions.sum(axis=0) * voxel_ml, strict=True))
    return (
        dices(known.scores(fit, OURS[tool]["table"]))
        | volumes(sums)
        | {"processor seconds": seconds}
    )


def peer(args: argparse.Namespace, *, name: str, tool: str) -> Figures:
    """Let another tool label the brain; it is given the mask, and the mask's box alone."""
    known = case(args.data, name)
    box = bounding_box(known.mask, margin=2)
    with tempfile.TemporaryDirectory() as scratch:
        paths = [Path(scratch) / f"{part}.nii.gz" for part in ("scan", "mask", "labels")]
        affine = np.diag([*known.volume.zooms, 1.0])
        nib.save(nib.Nifti1Image(known.volume.data[box].astype(np.float32), affine), paths[0])
        nib.save(nib.Nifti1Image(known.mask[box].astype(np.uint8), affine), paths[1])
        told = call_peer(args, tool, *paths)
        labels = np.zeros(known.mask.shape, np.uint8)
        labels[box] = np.asarray(nib.load(paths[2]).dataobj)
    found = labels[known.mask]
    voxel_ml = known.volume.voxel_volume
    sums = {t: float((found == k).sum()) * voxel_ml for k, t in ((1, "CSF"), (2, "GM"), (3, "WM"))}
    return dices(known.score(found)) | volumes(sums) | told


def call_peer(args: argparse.Namespace, tool: str, *paths: Path) -> Figures:
    """Run another tool in its own environment and return its cost."""
    package = TOOLS[tool][1]
    python = next((p for p in args.peers if package in versions_in(p)), None)
    if python is None:
        raise ImportError(f"none of the environments of --peers has {package}")
    script = Path(__file__).with_name("evaluation_peers.py")
    done = subprocess.run(
        [python, str(script), tool, *map(str, paths)],
        capture_output=True, text=True, check=False, env=foreign() | one_thread(),
    )  # fmt: skip
    if done.returncode:
        raise OSError(f"{tool} ended with {done.returncode}: {done.stderr[-400:]}")
    told = json.loads(done.stdout.splitlines()[-1])
    return {"processor seconds": told["seconds"], "peak memory (GB)": told["gigabytes"]}


def foreign() -> dict[str, str]:
    """Environment for another Python."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}


@functools.cache
def versions_in(python: str) -> dict[str, str]:
    """Return the versions of the tools that an environment has."""
    code = ("import json; from importlib.metadata import distributions as d; "
            "print(json.dumps({i.name.lower(): i.version for i in d()}))")  # fmt: skip
    done = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True, env=foreign()
    )
    found = json.loads(done.stdout)
    return {n: found[n] for _, n in TOOLS.values() if n in found}


def dices(found: Figures) -> Figures:
    """Name scores as the page does."""
    return {f"Dice {name}": score for name, score in found.items()}


def key_of(tool: str) -> str:
    """Return how the command line of `evaluation_peers.py` calls a tool."""
    return next(key for key, shown in PEERS.items() if shown == tool)


def volumes(found: Figures) -> Figures:
    """Name volumes as the page does."""
    return {f"mL {name}": float(ml) for name, ml in found.items()}


# Brain mask, anatomy, whole head, two visits, robustness, cost -----------------------------------


def extraction(args: argparse.Namespace, *, name: str, route: str) -> Figures:
    """Compare a brain mask with one of other origin."""
    scan, truth = benchmark_extraction.REFERENCES[name]
    mask = benchmark_extraction.load(args.data, truth).data > 0
    found = brain(args, benchmark_extraction.load(args.data, scan), route)
    return {"Dice": dice(found, mask)}


def brain(args: argparse.Namespace, volume: Volume, route: str) -> BoolArray:
    """Return the brain mask of a head, by a route of ours or by deepbet."""
    if route != "deepbet":
        return extract_brain(volume, route=route).mask
    with tempfile.TemporaryDirectory() as scratch:
        paths = [Path(scratch) / f"{part}.nii.gz" for part in ("scan", "none", "mask")]
        nib.save(nib.Nifti1Image(volume.data.astype(np.float32), volume.affine), paths[0])
        call_peer(args, route, *paths)
        return np.asarray(nib.load(paths[2]).dataobj) > 0


def anatomy(args: argparse.Namespace, *, name: str, tool: str) -> Figures:
    """Compare the regions of a whole head with an automatic parcellation."""
    folder = args.data / "anatomy"
    with tempfile.TemporaryDirectory() as scratch:
        if tool == "samseg":
            found, scheme = Path(scratch) / "labels.nii.gz", "freesurfer"
            cost = call_peer(args, tool, folder / f"{name}_T1w.nii.gz", Path("none"), found)
        else:
            brainseg.segment(folder / f"{name}_T1w.nii.gz").save(scratch, report=False)
            found, scheme, cost = Path(scratch) / f"{name}_{OWN}.nii.gz", None, {}
        rows = compare_files(
            found, folder / f"{name}_muse.nii.gz", None, schemes=(scheme, "muse"), tolerance_mm=1.0
        ).rows
    return {f"Dice {row.name}": row.dice for row in rows} | cost


def whole_head(args: argparse.Namespace, *, name: str) -> Figures:
    """Compare the tissues of a whole head with BrainWeb's, or with the map it was drawn from."""
    number = name.removeprefix("map ")
    known = (
        evaluate_head.drawn(args.data, int(number), t2=False)
        if number.isdigit()
        else evaluate_head.colin(args.data)
    )
    return dices(evaluate_head.scores(evaluate_head.segment(known, threads=1).labels, known))


def repeat(args: argparse.Namespace, *, tool: str) -> Figures:
    """Say by how much two scans of one person, 90 days apart at most, differ in volume."""
    if tool == "manual labels":
        pair = [case(args.data, n) for n in ("1003", "1003 visit 2")]
        first, second = (
            {t: float((c.truth == k).sum()) * c.volume.voxel_volume for t, k in c.names.items()}
            for c in pair
        )
    elif tool == TOGETHER:
        volumes_ = [case(args.data, n).volume for n in ("1003", "1003 visit 2")]
        person = segment_person(volumes_, SegmentConfig())
        first, second = person.volumes_ml(0), person.volumes_ml(1)
    else:
        run = ours if tool in OURS else peer
        key = tool if tool in OURS else key_of(tool)
        first, second = (
            {t: found[f"mL {t}"] for t in ("GM", "WM")}
            for found in (run(args, name=n, tool=key) for n in ("1003", "1003 visit 2"))
        )
    mean = {t: (first[t] + second[t]) / 2 for t in ("GM", "WM")}
    return {f"difference of {t} (%)": 100 * abs(first[t] - second[t]) / mean[t] for t in mean}


def robustness(args: argparse.Namespace, *, name: str, what: str, route: str) -> Figures:
    """Compare the mask of a spoiled scan with that of the clean one."""
    volume = half(benchmark_extraction.load(args.data, name))
    key = (name, route)
    if key not in CLEAN:
        CLEAN[key] = brain(args, volume, route)
    clean = CLEAN[key]
    for spoiling, (spoiled, carry) in benchmark_extraction.spoil(volume, clean):
        if spoiling == what:
            try:
                found = brain(args, spoiled, route)
            except BrainsegError:
                return {"Dice": 0.0}
            return {"Dice": dice(found, carry(clean))}
    raise ValueError(f"{what!r} is no way of spoiling a scan")


def half(volume: Volume) -> Volume:
    """Take every second voxel along axes finer than 1.5 mm: the network looks no closer."""
    step = [2 if zoom < 1.5 else 1 for zoom in volume.zooms]
    affine = volume.affine @ np.diag([*step, 1.0])
    return Volume(
        np.ascontiguousarray(volume.data[tuple(slice(None, None, s) for s in step)]), affine
    )


# A process counts the memory of the one that started it as its own peak; this one is small.
STARTER = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6)
"""


def cost(args: argparse.Namespace, *, name: str) -> Figures:
    """Cost of the whole program on a whole head, from the file to the report."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "brainseg", "run", str(args.data / f"{name}.nii.gz"),
                   "-o", scratch, "--threads", "1", "-q"]  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", STARTER, *command],
            env=os.environ | one_thread(), check=True, capture_output=True, text=True,
        )  # fmt: skip
    seconds, gigabytes = done.stdout.split()
    return {"processor seconds": float(seconds), "peak memory (GB)": float(gigabytes)}


def cost_of_labels(args: argparse.Namespace, *, name: str, tool: str) -> Figures:
    """Cost of another tool's regions, which the step of the anatomy has measured."""
    step = next(s for s in plan() if s.area == "anatomy" and s.subject == name
                and s.tool == PEERS[tool])  # fmt: skip
    if not step.file.exists():
        raise OSError(f"{step.file.stem} is not done yet")
    found: Figures = json.loads(step.file.read_text())
    return found


def one_thread() -> dict[str, str]:
    """Environment in which every library uses one thread."""
    return {"OMP_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}


def processor_seconds() -> float:
    """Processor time of this process and of those that it waited for."""
    used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


# The plan -------------------------------------------------------------------------------------


def plan() -> Iterator[Step]:
    """Yield every step of the page, what matters most first."""
    partial = functools.partial
    oasis = ("1000", "1001", "1002", "1003")
    manual = ("Dice GM+sulci", "Dice WM", "processor seconds")
    simulated = ("Dice CSF", "Dice GM", "Dice WM", "processor seconds")
    sets = [("OASIS", n, manual) for n in oasis]
    sets += [("BrainWeb", "BrainWeb 2 mm", simulated), ("colin27", "colin27", simulated)]
    for tool in OURS:
        for data, name, measures in sets:
            yield Step("tissues", data, name, tool, measures, partial(ours, name=name, tool=tool))
    for key in ("sklearn", "ants", "dipy"):
        for data, name, measures in sets:
            run = partial(peer, name=name, tool=key)
            yield Step("tissues", data, name, PEERS[key], measures, run)
    for tool in ("brainseg", PEERS["samseg"]):
        for name in HEADS:
            run = partial(anatomy, name=name, tool=tool if tool == "brainseg" else key_of(tool))
            measures = tuple(f"Dice {r}" for r in REGIONS)
            yield Step("anatomy", "NiChart", name, tool, measures, run)
    parts = tuple(f"Dice {t.abbreviation}" for t in HEAD.tissues)
    marrow = ("Dice B with marrow", "Dice ST without marrow")
    run = partial(whole_head, name="colin27")
    yield Step("whole head", "colin27", "colin27", "brainseg", parts + marrow, run)
    for number in evaluate_head.HELD_OUT:
        run = partial(whole_head, name=f"map {number}")
        yield Step("whole head", "held-out label maps", f"map {number}", "brainseg", parts, run)
    whole = [n for n in benchmark_extraction.REFERENCES if not n.startswith("stripped")]
    for route in ("fused", "network", "atlas", "deepbet"):
        tool = "brainseg" if route == "fused" else f"{route} alone"
        # deepbet was made for T1w scans; other contrasts are not for it.
        for name in whole if route != "deepbet" else [n for n in whole if "T1" in n]:
            data = "colin27" if name.startswith("colin") else "MS patients"
            run = partial(extraction, name=name, route=route)
            yield Step("brain mask", data, name, tool.replace("deepbet alone", "deepbet"),
                       ("Dice",), run)  # fmt: skip
    differences = ("difference of GM (%)", "difference of WM (%)")
    others = (PEERS["sklearn"], PEERS["ants"], PEERS["dipy"])
    for tool in ("manual labels", TOGETHER, "brainseg", *others):
        run = partial(repeat, tool=tool)
        yield Step("two visits", "OASIS", "1003", tool, differences, run)
    spent = ("processor seconds", "peak memory (GB)")
    for data, subject, name, tool in (
        ("OpenfMRI ds011", "sub-01", "heads/lhdata_sub-01_T1w", "brainseg run, with report"),
        ("NiChart", "nc01", "anatomy/nc01_T1w", "brainseg run, head of 2 mm"),
    ):
        yield Step("cost", data, subject, tool, spent, partial(cost, name=name))
    run = partial(cost_of_labels, name="nc01", tool="samseg")
    yield Step("cost", "NiChart", "nc01", f"{PEERS['samseg']}, the same head", spent, run)
    for tool, route in (("brainseg", "fused"), ("deepbet", "deepbet")):
        for what in SPOILED:
            for name in benchmark_extraction.HEADS[:3]:
                subject = f"{Path(name).name.split('_')[1]}, {what}"
                run = partial(robustness, name=name, what=what, route=route)
                yield Step("robustness", "OpenfMRI ds011", subject, tool, ("Dice",), run)


def do(step: Step, args: argparse.Namespace) -> None:
    """Do a step and keep its result."""
    began = processor_seconds()
    try:
        with threadpool_limits(1):
            figures = step.run(args)
    except ImportError as error:
        print(f"{step.file.stem}: left out, {error}", file=sys.stderr, flush=True)
        return
    except (BrainsegError, OSError) as error:
        print(f"{step.file.stem}: {str(error)[:200]}", file=sys.stderr, flush=True)
        return
    text = json.dumps({k: round(float(v), 5) for k, v in figures.items()}, indent=1)
    scratch = step.file.with_suffix(".part")
    scratch.write_text(text + "\n")
    scratch.rename(step.file)
    print(f"{step.file.stem} ({processor_seconds() - began:.0f} s)", figures, flush=True)


def gather(args: argparse.Namespace) -> None:
    """Write the table and the description of the machine that the page is made from."""
    PAGE.mkdir(parents=True, exist_ok=True)
    known = {f.place: (f.value, f.date) for f in evidence_page.read(PAGE)}
    rows = []
    for step in plan():
        there = step.file.exists()
        found = json.loads(step.file.read_text()) if there else {}
        date = datetime.fromtimestamp(step.file.stat().st_mtime, UTC).date() if there else ""
        for measure in step.measures:
            place = (step.area, step.data, step.subject, step.tool, measure)
            value, told = (found.get(measure), date) if there else known.get(place, (None, ""))
            shown = evidence_page.NOT_MEASURED if value is None else f"{value:.4g}"
            rows.append((*place, shown, "" if value is None else told))
    with (PAGE / "figures.csv").open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([COLUMNS, *rows])
    peers = evidence_page.about(PAGE)["peers"]
    for python in reversed(args.peers):  # the first one that has a tool runs it
        peers |= versions_in(python)
    measured = {row[3] for row in rows if row[5] != evidence_page.NOT_MEASURED}
    wanted = [TOOLS[key][1] for key, tool in PEERS.items() if tool in measured]
    about = {
        "brainseg": brainseg.__version__,
        "python": platform.python_version(),
        "processor": processor(),
        "peers": {package: peers[package] for package in wanted if package in peers},
    }
    (PAGE / "about.json").write_text(json.dumps(about, indent=1) + "\n")
    evidence_page.renew_readme(ROOT / "README.md", evidence_page.read(PAGE))


def processor() -> str:
    """Name the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((s.split(":")[1].strip() for s in lines if s.startswith("model name")), "unknown")


def main() -> None:
    """Do the steps that are missing, then gather."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", type=Path, default=ROOT.parent / "shared" / "data")
    add("--peers", nargs="+", default=[], metavar="PYTHON",
        help="Pythons that have the other tools; a tool that none has is left out")  # fmt: skip
    add("--area", nargs="+", help="only these: tissues, anatomy, 'brain mask', ...")
    add("--tool", nargs="+", help="only these")
    add("--ours", action="store_true", help="only brainseg, not the tools beside it")
    add("--again", action="store_true", help="do steps anew whose result is there")
    add("--list", action="store_true", help="say which steps are done")
    add("--gather", action="store_true", help="do nothing, write docs/evidence")
    args = parser.parse_args()
    STEPS.mkdir(parents=True, exist_ok=True)
    wanted = [s for s in plan() if (not args.area or s.area in args.area)
              and (not args.tool or s.tool in args.tool)
              and not (args.ours and s.tool.startswith(tuple(PEERS.values())))]  # fmt: skip
    if args.list:
        for step in wanted:
            print("done" if step.file.exists() else "    ", step.file.stem)
        return
    for step in () if args.gather else wanted:
        if args.again or not step.file.exists():
            do(step, args)
    gather(args)


if __name__ == "__main__":
    main()
