"""The figures of the site's evidence page, step by step; what is done is kept.

    python pipelines/evaluate_all.py --peers PEERS/bin/python      # do what is missing
    python pipelines/evaluate_all.py --gather                      # write docs/evidence only
    python pipelines/evaluate_all.py --list                        # say what is done

A step is one tool on one scan. Its result is a small JSON in ``build/evidence``; remove it (or give
``--again``) to do the step anew. `--gather` writes ``docs/evidence/figures.csv`` with a row for
every figure, "not measured" ones included, and the machine in ``docs/evidence/about.json``. The
page and the README's figures are made from these two (`pipelines/evidence_page.py`).

Other tools live in an environment of their own (`pipelines/evaluation_peers.py`). Everything runs
on one thread, and costs are seconds of processor time, so that a busy machine changes little.
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
import evidence_page
import nibabel as nib
import numpy as np
from evaluate_accuracy import Case
from threadpoolctl import threadpool_limits

import brainseg
from brainseg.anatomy.brain import extract_brain
from brainseg.core.masking import bounding_box
from brainseg.core.metrics import dice
from brainseg.core.volume import Volume
from brainseg.errors import BrainsegError
from brainseg.evaluation.comparison import compare_files
from brainseg.io import nifti

ROOT = Path(__file__).resolve().parents[1]
STEPS = ROOT / "build" / "evidence"
PAGE = ROOT / "docs" / "evidence"
COLUMNS = ("area", "data", "subject", "tool", "measure", "value")
PEERS = {"ants": "ANTs N4 + Atropos", "dipy": "dipy HMRF", "sklearn": "scikit-learn mixture"}
OURS: dict[str, dict[str, Any]] = {
    "brainseg": {"table": "six"},
    "brainseg, plain mixture": {
        "table": "intensity",
        "prior": "none",
        "bias": "none",
        "smooth": 0.0,
    },
}
HEADS = tuple(f"nc0{n}" for n in range(1, 7))
SPOILED = ("noise 9 %", "bias 60 %", "rotated 20 about x", "voxels 3 mm", "top 25 mm cropped")
REGIONS = ("CGM", "CWM", "SGM", "BS", "CBM")
Figures = dict[str, float]


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
        told = json.loads(call_peer(args, tool, *paths).splitlines()[-1])
        labels = np.zeros(known.mask.shape, np.uint8)
        labels[box] = np.asarray(nib.load(paths[2]).dataobj)
    found = labels[known.mask]
    voxel_ml = known.volume.voxel_volume
    sums = {t: float((found == k).sum()) * voxel_ml for k, t in ((1, "CSF"), (2, "GM"), (3, "WM"))}
    cost = {"processor seconds": told["seconds"], "peak memory (GB)": told["gigabytes"]}
    return dices(known.score(found)) | volumes(sums) | cost


def call_peer(args: argparse.Namespace, tool: str, *paths: Path) -> str:
    """Run another tool in its own environment and return what it printed."""
    script = Path(__file__).with_name("evaluation_peers.py")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [args.peers, str(script), tool, *map(str, paths)],
        capture_output=True, text=True, check=True, env=environment | one_thread(),
    )  # fmt: skip
    return done.stdout


def dices(found: Figures) -> Figures:
    """Name scores as the page does."""
    return {f"Dice {name}": score for name, score in found.items()}


def volumes(found: Figures) -> Figures:
    """Name volumes as the page does."""
    return {f"mL {name}": float(ml) for name, ml in found.items()}


# Brain mask, anatomy, two visits, robustness, cost --------------------------------------------


def extraction(args: argparse.Namespace, *, name: str, route: str) -> Figures:
    """Compare a brain mask with one of other origin."""
    scan, truth = benchmark_extraction.REFERENCES[name]
    volume = benchmark_extraction.load(args.data, scan)
    mask = benchmark_extraction.load(args.data, truth).data > 0
    return {"Dice": dice(extract_brain(volume, route=route).mask, mask)}


def anatomy(args: argparse.Namespace, *, name: str) -> Figures:
    """Compare the six tissues of a whole head with an automatic parcellation."""
    folder = args.data / "anatomy"
    with tempfile.TemporaryDirectory() as scratch:
        brainseg.segment(folder / f"{name}_T1w.nii.gz").save(scratch, report=False)
        found = compare_files(
            Path(scratch) / f"{name}_seg-six_desc-posterior_dseg.nii.gz",
            folder / f"{name}_muse.nii.gz",
            None,
            schemes=(None, "muse"),
            tolerance_mm=1.0,
        )
    return {f"Dice {row.name}": row.dice for row in found.rows}


def repeat(args: argparse.Namespace, *, tool: str) -> Figures:
    """Say by how much two scans of one person, 90 days apart at most, differ in volume."""
    if tool == "manual labels":
        pair = [case(args.data, n) for n in ("1003", "1003 visit 2")]
        first, second = (
            {t: float((c.truth == k).sum()) * c.volume.voxel_volume for t, k in c.names.items()}
            for c in pair
        )
    else:
        run = ours if tool in OURS else peer
        key = tool if tool in OURS else next(k for k, v in PEERS.items() if v == tool)
        first, second = (
            {t: found[f"mL {t}"] for t in ("GM", "WM")}
            for found in (run(args, name=n, tool=key) for n in ("1003", "1003 visit 2"))
        )
    mean = {t: (first[t] + second[t]) / 2 for t in ("GM", "WM")}
    return {f"difference of {t} (%)": 100 * abs(first[t] - second[t]) / mean[t] for t in mean}


def robustness(args: argparse.Namespace, *, name: str, what: str) -> Figures:
    """Compare the mask of a spoiled scan with that of the clean one."""
    volume = half(benchmark_extraction.load(args.data, name))
    clean = extract_brain(volume, route="fused").mask
    for spoiling, (spoiled, carry) in benchmark_extraction.spoil(volume, clean):
        if spoiling == what:
            try:
                found = extract_brain(spoiled, route="fused").mask
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


def cost(args: argparse.Namespace, *, name: str) -> Figures:
    """Cost of the whole program on a whole head, from the file to the report."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "brainseg", "run", str(args.data / f"{name}.nii.gz"),
                   "-o", scratch, "--threads", "1", "-q"]  # fmt: skip
        process = subprocess.Popen(command, env=os.environ | one_thread())
        _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"brainseg ended with status {status}")
    return {
        "processor seconds": used.ru_utime + used.ru_stime,
        "peak memory (GB)": used.ru_maxrss / 1e6,
    }


def one_thread() -> dict[str, str]:
    """Environment in which every library uses one thread."""
    return {"OMP_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}


def processor_seconds() -> float:
    """Processor time of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


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
    for name in HEADS:
        measures = tuple(f"Dice {r}" for r in REGIONS)
        yield Step("anatomy", "NiChart", name, "brainseg", measures, partial(anatomy, name=name))
    whole = [n for n in benchmark_extraction.REFERENCES if not n.startswith("stripped")]
    for route in ("fused", "network", "atlas", "deepbet"):
        tool = "brainseg" if route == "fused" else f"{route} alone"
        for name in whole:
            data = "colin27" if name.startswith("colin") else "MS patients"
            run = partial(extraction, name=name, route=route)
            yield Step("brain mask", data, name, tool.replace("deepbet alone", "deepbet"),
                       ("Dice",), run)  # fmt: skip
    differences = ("difference of GM (%)", "difference of WM (%)")
    for tool in ("manual labels", "brainseg", PEERS["ants"], PEERS["dipy"]):
        run = partial(repeat, tool=tool)
        yield Step("two visits", "OASIS", "1003", tool, differences, run)
    yield Step("cost", "OpenfMRI ds011", "sub-01", "brainseg run, with report",
               ("processor seconds", "peak memory (GB)"),
               partial(cost, name="heads/lhdata_sub-01_T1w"))  # fmt: skip
    for what in SPOILED:
        for name in benchmark_extraction.HEADS[:3]:
            subject = f"{Path(name).name.split('_')[1]}, {what}"
            run = partial(robustness, name=name, what=what)
            yield Step("robustness", "OpenfMRI ds011", subject, "brainseg", ("Dice",), run)


def do(step: Step, args: argparse.Namespace) -> None:
    """Do a step and keep its result."""
    try:
        with threadpool_limits(1):
            figures = step.run(args)
    except (BrainsegError, subprocess.CalledProcessError, ImportError, OSError) as error:
        print(f"{step.file.stem}: {str(error)[:200]}", file=sys.stderr, flush=True)
        return
    text = json.dumps({k: round(float(v), 5) for k, v in figures.items()}, indent=1)
    scratch = step.file.with_suffix(".part")
    scratch.write_text(text + "\n")
    scratch.rename(step.file)
    print(step.file.stem, figures, flush=True)


def gather(args: argparse.Namespace) -> None:
    """Write the table and the description of the machine that the page is made from."""
    PAGE.mkdir(parents=True, exist_ok=True)
    with (PAGE / "figures.csv").open("w", newline="") as stream:
        out = csv.writer(stream, lineterminator="\n")
        out.writerow(COLUMNS)
        for step in plan():
            found = json.loads(step.file.read_text()) if step.file.exists() else {}
            for measure in step.measures:
                value = found.get(measure)
                shown = "not measured" if value is None else f"{value:.4g}"
                out.writerow((step.area, step.data, step.subject, step.tool, measure, shown))
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "brainseg": brainseg.__version__,
        "python": platform.python_version(),
        "processor": processor(),
        "peers": peer_versions(args),
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


def peer_versions(args: argparse.Namespace) -> dict[str, str]:
    """Ask the peers' environment for the versions in it."""
    names = ["antspyx", "dipy", "scikit-learn"]
    code = ("import json, sys; from importlib.metadata import version as v; "
            "print(json.dumps({n: v(n) for n in sys.argv[1:]}))")  # fmt: skip
    if args.peers is None:
        return {}
    done = subprocess.run([args.peers, "-c", code, *names], capture_output=True, text=True)
    told: dict[str, str] = json.loads(done.stdout) if done.returncode == 0 else {}
    return told


def main() -> None:
    """Do the steps that are missing, then gather."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", type=Path, default=ROOT.parent / "shared" / "data")
    add("--peers", help="a Python that has the other tools; without it their steps are left out")
    add("--area", nargs="+", help="only these: tissues, anatomy, 'brain mask', ...")
    add("--tool", nargs="+", help="only these")
    add("--again", action="store_true", help="do steps anew whose result is there")
    add("--list", action="store_true", help="say which steps are done")
    add("--gather", action="store_true", help="do nothing, write docs/evidence")
    args = parser.parse_args()
    STEPS.mkdir(parents=True, exist_ok=True)
    wanted = [s for s in plan() if (not args.area or s.area in args.area)
              and (not args.tool or s.tool in args.tool)]  # fmt: skip
    if args.list:
        for step in wanted:
            print("done" if step.file.exists() else "    ", step.file.stem)
        return
    for step in () if args.gather else wanted:
        foreign = step.tool in PEERS.values()
        if (args.again or not step.file.exists()) and not (foreign and args.peers is None):
            do(step, args)
    gather(args)


if __name__ == "__main__":
    main()
