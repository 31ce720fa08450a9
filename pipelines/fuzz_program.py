"""Thousands of mutated scans through the whole program, each in a process of its own.

    python pipelines/fuzz_program.py [--count 2000] [--seed 0] [--jobs 2] [--only 17] [--keep DIR]

Each input is a small synthetic head (5 mm) spoiled in one or two of the ways of `KINDS`, and run
with options drawn as well. It must end within a minute of a core and under 4 GB, either with exit
code 0 and a complete, valid result, or with one line on stderr, exit code 65 or 66 and no result;
never with a traceback, a warning of a library or a file left half-written. Input N of a seed is
the same whatever the count, so --only repeats one that failed. Exits 1 when any did.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np

from brainseg.cli.main import main as brainseg
from brainseg.core.volume import Array
from brainseg.evaluation.phantom import Phantom, make_phantom

MOST_SECONDS, MOST_GB = 60.0, 4.0
Random = np.random.Generator
NUMBERS = (0, 1, -1, 2, 3, 7, 100, 30000, 32767, -32768, 2**31 - 1, -(2**31), 2**62)
REALS = (0.0, -1.0, 0.5, 1e-30, 1e30, 3.4e38, float("nan"), float("inf"), -float("inf"))
REFUSED = (65, 66)


@dataclass
class Input:
    """A scan on its way to a file: changed in turn by what `KINDS` names."""

    data: Array
    affine: Array
    mask: Array
    version: int = 1
    big_endian: bool = False
    header: list[Callable[[nib.Nifti1Header], None]] = field(default_factory=list)
    raw: list[Callable[[bytearray], bytes | bytearray]] = field(default_factory=list)
    packed: list[Callable[[bytearray], bytes | bytearray]] = field(default_factory=list)
    ending: str = ".nii"
    options: list[str] = field(default_factory=list)

    def write(self, folder: Path) -> Path:
        """Write the scan, and the mask beside it."""
        kind = nib.Nifti1Image if self.version == 1 else nib.Nifti2Image
        raw = encode(self.data, self.affine, kind, ">" if self.big_endian else "<")
        for change in self.header:
            raw = rewritten(raw, kind, change)
        for spoil in self.raw:
            raw = bytearray(spoil(raw))
        path = folder / f"x_T1w{self.ending}"
        with nib.openers.Opener(path, "wb") as stream:
            stream.write(bytes(raw))
        if self.packed:
            content = bytearray(path.read_bytes())
            for spoil in self.packed:
                content = bytearray(spoil(content))
            path.write_bytes(content)
        (folder / "mask.nii").write_bytes(encode(self.mask, self.affine, nib.Nifti1Image, "<"))
        return path


def encode(data: Array, affine: Array, kind: type[nib.Nifti1Image], order: str) -> bytearray:
    """Encode an image, with an sform that nibabel itself would refuse to write."""
    header = kind.header_class(endianness=order)
    raw = bytearray(kind(data, np.diag([5.0, 5, 5, 1]), header, dtype=data.dtype).to_bytes())

    def place(head: nib.Nifti1Header) -> None:
        head["sform_code"], head["qform_code"] = 1, 0
        head["srow_x"], head["srow_y"], head["srow_z"] = affine[:3]
        head["pixdim"][1:4] = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))

    return rewritten(raw, kind, place)


def rewritten(
    raw: bytearray, kind: type[nib.Nifti1Image], change: Callable[[nib.Nifti1Header], None]
) -> bytearray:
    """Change the header of an encoded image, unchecked."""
    size = kind.header_class.sizeof_hdr
    head = kind.header_class(bytes(raw[:size]), check=False)
    change(head)
    return bytearray(head.binaryblock) + raw[size:]


def any_field(scan: Input, rng: Random) -> None:
    """One to three header fields become nonsense."""
    for _ in range(rng.integers(1, 4)):
        _set(scan, str(rng.choice(_fields(scan.version))), rng)


def sizes(scan: Input, rng: Random) -> None:
    """Make the number of voxels none, negative, one, very many, more than the file has."""
    _set(scan, "dim", rng)


def zooms(scan: Input, rng: Random) -> None:
    """Zero, negative, NaN, tiny, huge voxel sizes, in pixdim and in the affine."""
    factors = rng.choice([0.0, -1.0, np.nan, np.inf, 1e-3, 0.1, 0.3, 1, 3, 10, 1e3], 3)
    if rng.random() < 0.5:
        factors[1:] = factors[0]
    with np.errstate(all="ignore"):
        scan.affine = scan.affine @ np.diag([*factors, 1.0])
    _set(scan, "pixdim", rng)


def affine(scan: Input, rng: Random) -> None:
    """Singular, sheared, turned or far-away affines; q- and sform that disagree."""
    which = rng.integers(0, 4)
    if which == 0:
        scan.affine = scan.affine * rng.choice(
            [0, 1, np.nan, 1e30], (4, 4), p=[0.1, 0.8, 0.05, 0.05]
        )
    elif which == 1:
        scan.affine[:3, :3] = rng.normal(size=(3, 3)) * 4
    elif which == 2:
        scan.affine[:3, 3] += rng.choice([1e3, 1e9, -1e30, np.nan])
    else:
        for name in ("qform_code", "sform_code", "quatern_b", "quatern_c", "qoffset_x"):
            _set(scan, name, rng)


def scaling(scan: Input, rng: Random) -> None:
    """scl_slope and scl_inter of 0, NaN, infinity, minus one."""
    _set(scan, "scl_slope", rng)
    _set(scan, "scl_inter", rng)


def types(scan: Input, rng: Random) -> None:
    """Every type of voxels, complex and colour too, in both byte orders."""
    name = str(
        rng.choice(["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8", "c8", "rgb"])
    )
    if name == "rgb":
        grey = np.clip(scan.data, 0, 255).astype(np.uint8)
        scan.data = np.stack([grey] * 3, -1).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    else:
        with np.errstate(all="ignore"):
            scan.data = scan.data.astype(name)
    scan.big_endian = bool(rng.random() < 0.5)


def values(scan: Input, rng: Random) -> None:
    """Constant, few-valued, noisy, inverted, negative, scaled, with outliers or holes."""
    d = scan.data.astype(np.float64)
    top = float(np.percentile(d, 99))
    spots = tuple(rng.integers(0, n, 30) for n in d.shape)
    which = rng.integers(0, 14)
    if which == 0:
        d[:] = rng.choice([0.0, 7.0, -1.0, 1e30])
    elif which == 1:
        d = np.digitize(d, np.sort(rng.uniform(0, top, rng.integers(1, 8)))).astype(float)
    elif which == 2:
        d = rng.normal(rng.choice([0.0, 100.0]), 20, d.shape)
    elif which == 3:
        d = d.max() - d
    elif which == 4:
        d -= rng.choice([top / 2, 1e4, 1e7])
    elif which == 5:
        d *= rng.choice([-1.0, 1e-30, 1e-5, 1e5, 1e25, 1e200])
    elif which == 6:
        d[spots] = rng.choice([1e6, 1e30, -1e30, 1e300])
    elif which == 7:
        d[spots] = rng.choice([np.nan, np.inf, -np.inf])
    elif which == 8:
        d[:, int(d.shape[1] * rng.uniform(0, 1)) :] = rng.choice([np.nan, 0.0])
    elif which == 9:
        outside = ~scan.mask.astype(bool) if scan.mask.shape == d.shape else d <= 0
        d[outside] = rng.choice([0.0, np.nan, -1000.0])
    elif which == 10:
        d += rng.normal(0, top * rng.uniform(0, 1), d.shape)
    elif which == 11:
        d = np.minimum(d, top * rng.uniform(0.05, 0.9))
    elif which == 12:
        grid = np.indices(d.shape) - np.array(d.shape)[:, None, None, None] / 2
        d = np.where((grid[:2] ** 2).sum(axis=0) < 16**2, 800.0, 0) + rng.exponential(5, d.shape)
    else:
        d = rng.permutation(d.ravel()).reshape(d.shape)
    scan.data = d.astype(rng.choice(["f4", "f8"]), casting="unsafe")


def shape(scan: Input, rng: Random) -> None:
    """Slices, slabs, crops, paddings, one voxel, two to five dimensions."""
    which = rng.integers(0, 7)
    axis = int(rng.integers(0, 3))
    n = scan.data.shape[axis]
    if which == 0:
        scan.data = scan.data.take([n // 2], axis=axis)
    elif which == 1:
        scan.data = scan.data.take(n // 2, axis=axis)
    elif which == 2:
        first = int(rng.integers(0, n - 1))
        keep = range(first, int(rng.integers(first + 1, n)))
        scan.data, scan.mask = scan.data.take(keep, axis=axis), scan.mask.take(keep, axis=axis)
    elif which == 3:
        scan.data = scan.data[..., None]
    elif which == 4:
        scan.data = np.stack([scan.data] * 2, -1)
        scan.options += ["--volume", str(rng.integers(0, 3))]
    elif which == 5:
        scan.data = scan.data[..., None, None] if rng.random() < 0.5 else scan.data[:1, :1, :1]
    else:
        width = int(rng.integers(1, 40))
        scan.data, scan.mask = np.pad(scan.data, width), np.pad(scan.mask, width)


def given_mask(scan: Input, rng: Random) -> None:
    """Masks that are empty, full, one voxel, partly outside, soft, of another grid."""
    scan.options = ["--mask", "FILE"]
    which = rng.integers(0, 8)
    m = scan.mask
    if which == 0:
        scan.mask = np.zeros_like(m)
    elif which == 1:
        scan.mask = np.ones_like(m)
    elif which == 2:
        scan.mask = np.zeros_like(m)
        scan.mask[tuple(n // 2 for n in m.shape)] = 1
    elif which == 3:
        scan.mask = np.roll(m, int(rng.integers(5, 40)), axis=int(rng.integers(0, 3)))
    elif which == 4:
        scan.mask = m * np.float32(0.5)
    elif which == 5:
        scan.mask = m[1:]
    elif which == 6:
        scan.mask = m * np.int16(rng.choice([-1, 2, 300]))
    else:
        scan.mask = (rng.random(m.shape) < 0.01).astype(np.uint8)


def flipped(scan: Input, rng: Random) -> None:
    """Bytes anywhere in the header and just behind it become others."""

    def spoil(raw: bytearray) -> bytearray:
        for _ in range(rng.integers(1, 30)):
            raw[rng.integers(0, min(600, len(raw)))] = rng.integers(0, 256)
        return raw

    scan.raw.append(spoil)


def flipped_packed(scan: Input, rng: Random) -> None:
    """Bytes of the compressed file become others."""
    scan.ending = str(rng.choice([".nii.gz", ".nii.zst"]))

    def spoil(raw: bytearray) -> bytearray:
        for _ in range(rng.integers(1, 5)):
            raw[rng.integers(0, len(raw))] = rng.integers(0, 256)
        return raw

    scan.packed.append(spoil)


def cut(scan: Input, rng: Random) -> None:
    """Let the file end at some kilobyte, or go on behind its end."""
    scan.ending = str(rng.choice([".nii", ".nii.gz", ".nii.zst"]))

    def spoil(raw: bytearray) -> bytes:
        if rng.random() < 0.1:
            return bytes(raw) + rng.bytes(5000)
        return bytes(raw[: 1024 * int(rng.integers(0, len(raw) // 1024 + 1))])

    scan.packed.append(spoil)


def bomb(scan: Input, rng: Random) -> None:
    """Claim so many voxels that a small file would unpack to the most that is taken, or more."""
    scan.ending = str(rng.choice([".nii.gz", ".nii.zst"]))
    sides = rng.choice([[400, 400, 400], [600, 600, 600], [800, 800, 800], [30000] * 3])
    more = int(rng.choice([0, 64 << 20]))

    def claim(head: nib.Nifti1Header) -> None:
        head["dim"][1:4] = sides

    scan.header.append(claim)
    scan.raw.append(lambda raw: bytes(raw) + bytes(more))


KINDS = (
    any_field, sizes, zooms, affine, scaling, types, values, shape, given_mask, flipped,
    flipped_packed, cut, bomb,
)  # fmt: skip


def _fields(version: int) -> list[str]:
    header = nib.Nifti1Header if version == 1 else nib.Nifti2Header
    return list(header.template_dtype.names)


def _set(scan: Input, name: str, rng: Random) -> None:
    """Put nonsense into one place of a header field when the file is made."""

    def change(head: nib.Nifti1Header) -> None:
        block = head.structarr
        kind = block.dtype[name].base
        spot = np.atleast_1d(block[name]).copy()
        at = int(rng.integers(0, spot.size))
        if kind.kind == "f":
            with np.errstate(over="ignore"):
                spot.flat[at] = rng.choice(REALS)
        elif kind.kind in "iu":
            whole = int(rng.choice(NUMBERS)) % 2 ** (8 * kind.itemsize)
            order = "big" if kind.byteorder == ">" else "little"
            spot.flat[at] = np.frombuffer(whole.to_bytes(kind.itemsize, order), kind)[0]
        else:
            spot.flat[at] = rng.bytes(kind.itemsize)
        block[name] = spot.reshape(np.shape(block[name]))

    scan.header.append(change)


@lru_cache(maxsize=1)
def head() -> Phantom:
    """Make the head that all inputs come from."""
    return make_phantom(zooms=(5.0, 5.0, 5.0), seed=2)


def make_input(seed: int, number: int) -> tuple[Input, str]:
    """Make one input and say what was done to it."""
    rng = np.random.default_rng([seed, number])
    scan = Input(
        head().volume.data.astype(rng.choice(["i2", "f4"])), head().volume.affine.copy(),
        head().mask.astype(np.uint8), version=int(rng.choice([1, 2])),
    )  # fmt: skip
    # Finding the brain and placing the atlas take seconds, so only some inputs go through both.
    scan.options = [["--mask", "FILE"], ["--mask", "auto"], ["--mask", "none"]][
        rng.choice(3, p=[0.5, 0.3, 0.2])
    ]
    kinds = [KINDS[number % len(KINDS)]]
    if rng.random() < 0.3:
        kinds.append(KINDS[rng.integers(0, len(KINDS))])
    for kind in kinds:
        kind(scan, rng)
    scan.options += ["--prior", str(rng.choice(["atlas", "tied", "none"], p=[0.02, 0.88, 0.1]))]
    # Mostly the default, which follows the prior.
    tissues = str(rng.choice(["", "three", "2"], p=[0.8, 0.15, 0.05]))
    scan.options += ["--tissues", tissues] if tissues else []
    if rng.random() < 0.9:
        scan.options.append("--no-report")
    return scan, " + ".join(kind.__name__ for kind in kinds)


@dataclass(frozen=True)
class Outcome:
    """How one input ended."""

    number: int
    what: str
    code: int
    seconds: float
    gigabytes: float
    faults: tuple[str, ...]


def attack(seed: int, number: int, folder: Path) -> Outcome:
    """Run one input; called in a process of its own, whose memory is the run's."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            scan, what = make_input(seed, number)
            (folder / "what").write_text(what)
            path = scan.write(folder)
    except (OverflowError, TypeError, ValueError, nib.spatialimages.HeaderDataError) as error:
        # nibabel itself refuses to write some of what is asked for: no input, so no fault.
        return Outcome(number, f"not written ({type(error).__name__})", 0, 0.0, 0.0, ())
    out = folder / "out"
    options = [str(folder / "mask.nii") if o == "FILE" else o for o in scan.options]
    said = (folder / "stderr").open("w")
    os.dup2(said.fileno(), 2)
    # Of the processor: other work on the machine is no fault of the program.
    signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
    start = time.process_time()
    code = brainseg(["run", str(path), "-o", str(out), "-q", "--threads", "1", *options])
    seconds = time.process_time() - start
    signal.setitimer(signal.ITIMER_PROF, 0)
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    faults = tuple(find_faults(folder, path, code))
    if gigabytes > MOST_GB:
        faults += (f"{gigabytes:.1f} GB",)
    return Outcome(number, what, code, seconds, gigabytes, faults)


def find_faults(folder: Path, path: Path, code: int) -> Iterator[str]:
    """Say what is wrong with the way a run ended."""
    out = folder / "out"
    lines = (folder / "stderr").read_text().splitlines()
    errors = [line for line in lines if line.startswith("brainseg: error: ")]
    strange = [x for x in lines if x not in errors and " WARNING " not in x]
    if strange:
        yield f"stderr says {strange[0]!r}"
    if any(folder.rglob("*.tmp-*")):
        yield "a file is left half-written"
    if code in REFUSED:
        if len(errors) != 1:
            yield f"{len(errors)} lines of error"
        if any(str(folder) in line for line in lines):
            yield "stderr tells the full path"
        if out.exists() and any(out.glob("x_*")):
            yield "a refused scan has results"
    elif code:
        yield f"exit code {code}"
    else:
        yield from invalid(out, path)


def invalid(out: Path, path: Path) -> Iterator[str]:
    """Say what is wrong with a result."""
    record = json.loads((out / "x_desc-brainseg_mixture.json").read_text())
    images = {p.name.removesuffix(".nii.gz").removeprefix("x_"): p for p in out.glob("*.nii.gz")}
    labels = np.asanyarray(nib.load(images["dseg"]).dataobj)
    mask = np.asanyarray(nib.load(images["desc-brain_mask"]).dataobj) > 0
    shape = nib.load(path).shape[:3]
    if abs(sum(record["weights"]) - 1) > 1e-6:
        yield "mixing weights do not sum to 1"
    if not mask.any():
        yield "the mask is empty"
    if not np.array_equal(labels > 0, mask) or labels.max() > 3:
        yield "labels do not fill the mask"
    for name, image in images.items():
        data = nib.load(image).get_fdata(dtype=np.float32)
        if data.shape != shape:
            yield f"{name} has the shape {data.shape}"
        if not np.isfinite(data).all():
            yield f"{name} is not finite"
        if name.endswith("probseg") and (data.min() < 0 or data.max() > 1 + 1e-6):
            yield f"{name} leaves 0..1"


def in_child(seed: int, number: int, folder: Path) -> int:
    """Start an input in a forked process; it leaves its outcome as a file."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        # Twice the limit: what goes over the limit is seen and told, the machine is kept.
        resource.setrlimit(resource.RLIMIT_AS, (int(8e9), int(8e9)))
        folder.mkdir(parents=True)
        (folder / "what").write_text("not made")
        outcome = attack(seed, number, folder)
        (folder / "outcome.json").write_text(json.dumps(vars(outcome)))
        code = 0
    except BaseException:
        (folder / "traceback").write_text(traceback.format_exc())
    finally:
        os._exit(code)


def collect(number: int, folder: Path, status: int) -> Outcome:
    """Read what a finished process left."""
    if (folder / "outcome.json").exists():
        return Outcome(**json.loads((folder / "outcome.json").read_text()))
    if (folder / "traceback").exists():
        why = (folder / "traceback").read_text().strip().splitlines()[-1]
    elif os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGPROF:
        why = f"not done after {MOST_SECONDS:.0f} s"
    else:
        why = f"ended with status {status}"
    return Outcome(number, (folder / "what").read_text(), 70, 0.0, 0.0, (why,))


def run_all(seed: int, numbers: list[int], work: Path, jobs: int) -> list[Outcome]:
    """Run inputs, so many at a time; keep the folders of those that failed."""
    waiting, running, done = list(reversed(numbers)), dict[int, int](), []
    while waiting or running:
        while waiting and len(running) < jobs:
            number = waiting.pop()
            running[in_child(seed, number, work / str(number))] = number
        child, status = os.wait()
        number = running.pop(child)
        outcome = collect(number, work / str(number), status)
        done.append(outcome)
        if outcome.faults:
            print(f"input {number} ({outcome.what}): {'; '.join(outcome.faults)}", flush=True)
        else:
            shutil.rmtree(work / str(number))
    return done


def tell(outcomes: list[Outcome]) -> None:
    """Print a table by kind of mutation."""
    print(f"\n{'first mutation':<18}{'inputs':>7}{'result':>8}{'refused':>9}{'faults':>8}"
          f"{'most s':>8}{'most GB':>9}")  # fmt: skip
    kinds = sorted({o.what.split(" + ")[0] for o in outcomes})
    for kind in [*kinds, "all"]:
        some = [o for o in outcomes if kind in ("all", o.what.split(" + ")[0])]
        results, refused = (sum(o.code in codes for o in some) for codes in ((0,), REFUSED))
        faults = sum(bool(o.faults) for o in some)
        seconds, gigabytes = max(o.seconds for o in some), max(o.gigabytes for o in some)
        print(
            f"{kind[:17]:<18}{len(some):>7}{results:>8}{refused:>9}{faults:>8}"
            f"{seconds:>8.1f}{gigabytes:>9.2f}"
        )


def main() -> int:
    """Attack, print, and say whether all held."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", type=int, nargs="+", metavar="N", help="these inputs alone")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep what failed here")
    args = parser.parse_args()
    head()
    with tempfile.TemporaryDirectory() as scratch:
        work = args.keep or Path(scratch)
        outcomes = run_all(args.seed, args.only or list(range(args.count)), work, args.jobs)
    tell(outcomes)
    return int(any(o.faults for o in outcomes))


if __name__ == "__main__":
    sys.exit(main())
