"""Measure the mixture engine beside scikit-learn: seconds, likelihood and peak memory.

    python pipelines/benchmark_mixture.py [--data ../shared/data] [--repeats 5] [--case one|three]
        [--sklearn-repeats 5] [--sklearn-iterations 10000]

Both libraries fit the same voxels in the same run, one after the other, so that a busy machine is
busy for both; wall and CPU seconds are medians. Needs scikit-learn (`pip install
brainseg-em[benchmark]`) and shared data: colin27 inside its mask (one channel), and the BrainWeb
phantom simulated as T1w, T2w and PDw with partial volume and noise (three channels). Memory is the
peak of the resident set above what it was before the fit, in a fresh process each (Linux). On a
busy machine stop scikit-learn early: its likelihood is then lower still, and the ratio a bound.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as SklearnMixture

from brainseg.mixture import GaussianMixture, kmeans
from brainseg.mixture.engine.histogram import Histogram

Fit = Callable[[np.ndarray], Any]
K = 6
# Signal of CSF, grey, white matter and fat in percent of the brightest, as spin-echo scans at
# 1.5 T show them; rows are T1w, T2w and PDw.
SIGNAL = {1: (25, 100, 85), 2: (62, 52, 100), 3: (90, 38, 80), 8: (70, 50, 90)}
NOISE = (4.0, 4.0, 4.0)


def one_channel(data: Path) -> np.ndarray:
    """Voxels of colin27 inside its brain mask, shape (n, 1)."""
    folder = data / "truth" / "colin27"
    scan = np.asarray(nib.load(folder / "colin27_t1.nii.gz").dataobj)
    mask = np.asarray(nib.load(folder / "brainmask_csf_gm_wm.nii.gz").dataobj) > 0
    return scan[mask][:, None]


def three_channels(data: Path) -> np.ndarray:
    """Voxels of the BrainWeb phantom as T1w, T2w and PDw, shape (n, 3), float32."""
    truth = np.asarray(nib.load(data / "truth" / "brainweb_crisp_1mm.nii.gz").dataobj)
    brain = np.isin(truth, list(SIGNAL))
    rng = np.random.default_rng(0)
    # A voxel sees its neighbours: 1.4 mm of blur at half height makes partial volume.
    shares = {k: gaussian_filter((truth == k).astype(np.float32), 0.6)[brain] for k in SIGNAL}
    total = sum(shares.values())
    out = np.empty((int(brain.sum()), 3), dtype=np.float32)
    for c in range(3):
        clean = sum(share * SIGNAL[k][c] for k, share in shares.items()) / total
        out[:, c] = clean + rng.normal(0, NOISE[c], len(clean))
    return out


def ours(X: np.ndarray, n_init: int = 1) -> GaussianMixture:
    return GaussianMixture(K, n_init=n_init).fit(X)


def sklearn(X: np.ndarray, max_iter: int = 10_000) -> SklearnMixture:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return SklearnMixture(K, tol=1e-6, max_iter=max_iter, random_state=0).fit(X)


def timed(fit: Fit, X: np.ndarray) -> tuple[Any, float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    mixture = fit(X)
    return mixture, time.perf_counter() - wall, time.process_time() - cpu


def score(mixture: Any, X: np.ndarray) -> float:
    """Mean log-density of all voxels, by one ruler for both: this library's formula, voxelwise."""
    judge = GaussianMixture(K, init=mixture, max_iter=0).fit(X[: 50 * K])
    return judge.score(X)


def peak_memory(fit: Fit, path: str) -> float:
    """Peak memory of one fit above the data's, in a fresh process, MB."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_fit_alone, (fit, path))


def _fit_alone(fit: Fit, path: str) -> float:
    X = np.load(path)
    # Import what a first fit loads, and forget the peak so far.
    fit(X[:: len(X) // 2000])
    Path("/proc/self/clear_refs").write_text("5")
    before = _memory("VmRSS")
    fit(X)
    return _memory("VmHWM") - before


def _memory(field: str) -> float:
    """Read a figure of this process's memory, MB; `getrusage` would add the parent's peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return float(line.split()[1]) / 1024
    raise RuntimeError(f"no {field} in /proc/self/status")


def compare(name: str, X: np.ndarray, fits: dict[str, tuple[Fit, int]]) -> None:
    """Fit in turn, and print medians; `fits` gives each library's fit and its repeats."""
    print(f"\n{name}: {len(X):,} voxels, {X.shape[1]} channel(s), {X.dtype}, K = {K}")
    runs: dict[str, list[tuple[Any, float, float]]] = {key: [] for key in fits}
    for repeat in range(max(repeats for _, repeats in fits.values())):
        for key, (fit, repeats) in fits.items():
            if repeat < repeats:
                runs[key].append(timed(fit, X))
    print(f"{'':10}{'wall s':>10}{'CPU s':>10}{'sweeps':>8}{'log-likelihood':>18}", flush=True)
    median = {}
    for key, results in runs.items():
        if results:
            mixture = results[0][0]
            median[key] = [statistics.median(r[i] for r in results) for i in (1, 2)]
            print(
                f"{key:10}{median[key][0]:10.3f}{median[key][1]:10.3f}{mixture.n_iter_:8d}"
                f"{score(mixture, X):18.8f}  {'' if mixture.converged_ else 'stopped early'}"
            )
    if len(median) == 2:
        wall, cpu = (median["sklearn"][i] / median["ours"][i] for i in (0, 1))
        counts = " and ".join(str(len(results)) for results in runs.values())
        print(f"ratio     {wall:10.0f}{cpu:10.0f}   (medians of {counts})", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/x.npy", X)
        for key in median:
            print(f"peak memory, {key}: {peak_memory(fits[key][0], f'{folder}/x.npy'):.0f} MB")


def restarts(X: np.ndarray) -> None:
    """Look for a better optimum from ten random starts."""
    h = Histogram.from_samples(X)
    best = max(
        GaussianMixture(K, init="random", random_state=seed).fit(h).log_likelihood_
        for seed in range(10)
    )
    print(f"best of 10 random starts {best:.8f}; K-means start {ours(X).log_likelihood_:.8f}")
    print(f"K-means alone: inertia {kmeans(h.values, K, sample_weight=h.counts).inertia:.6g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared/data")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sklearn-repeats", type=int, default=5)
    parser.add_argument("--sklearn-iterations", type=int, default=10_000)
    parser.add_argument("--case", choices=("one", "three"))
    args = parser.parse_args()
    theirs = partial(sklearn, max_iter=args.sklearn_iterations)
    fits: dict[str, tuple[Fit, int]] = {
        "ours": (ours, args.repeats),
        "sklearn": (theirs, args.sklearn_repeats),
    }
    if args.case != "three":
        X = one_channel(args.data)
        compare("colin27", X, fits)
        restarts(X)
    if args.case != "one":
        compare("BrainWeb T1/T2/PD", three_channels(args.data), fits)


if __name__ == "__main__":
    main()
