"""What other tools make of a masked T1w scan: CSF, grey and white matter, for `evaluate_all.py`.

    PEERS/bin/python pipelines/evaluation_peers.py ants scan.nii.gz mask.nii.gz labels.nii.gz

Runs in an environment of its own, which holds the tools and not brainseg:

    python3 -m venv PEERS && PEERS/bin/pip install antspyx dipy scikit-learn nibabel

Each tool is called as its manual says, with three classes and its own defaults; `evaluate_all.py`
gives it one thread. Labels are put in the order dark, middle, bright, which is CSF, grey, white on
a T1w scan. The last line printed is JSON: the tool's version, its processor seconds and its peak
memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from importlib.metadata import version
from pathlib import Path

import nibabel as nib
import numpy as np

BRIGHTEST = 0.995
"""Quantile of the brain at which antsAtroposN4.sh cuts intensities off."""
FIT = 60_000
"""Voxels that scikit-learn's mixture is fitted to, as many as brainseg uses."""


def ants(scan: Path, mask: Path) -> np.ndarray:
    """N4, then Atropos from a K-means start, with the Markov field of its examples.

    The brightest voxels are cut off first, as ANTs' own script for the two does
    (antsAtroposN4.sh): else K-means may give a class to a few of them, and did on OASIS 1001.
    """
    import ants as tool

    image, inside = tool.image_read(str(scan)), tool.image_read(str(mask))
    values = image.numpy()
    image[:, :, :] = np.minimum(values, np.quantile(values[inside.numpy() > 0], BRIGHTEST))
    flat = tool.n4_bias_field_correction(image, mask=inside)
    found = tool.atropos(a=flat, x=inside, i="KMeans[3]", m="[0.1,1x1x1]", c="[5,0]")
    return np.asarray(found["segmentation"].numpy())


def dipy(scan: Path, mask: Path) -> np.ndarray:
    """Classify with a hidden Markov random field, as FAST does; no bias field is removed."""
    from dipy.segment.tissue import TissueClassifierHMRF

    data, inside = _arrays(scan, mask)
    _, labels, _ = TissueClassifierHMRF().classify(data * inside, 3, 0.1)
    return np.asarray(labels) * inside


def sklearn(scan: Path, mask: Path) -> np.ndarray:
    """Fit three Gaussians to the intensities alone."""
    from sklearn.mixture import GaussianMixture

    data, inside = _arrays(scan, mask)
    x = data[inside][:, None]
    fitted = GaussianMixture(3, random_state=0).fit(x[:: max(1, len(x) // FIT)])
    labels = np.zeros(inside.shape, np.uint8)
    labels[inside] = fitted.predict(x) + 1
    return labels


def _arrays(scan: Path, mask: Path) -> tuple[np.ndarray, np.ndarray]:
    data = np.asarray(nib.load(scan).dataobj, np.float64)
    return data, np.asarray(nib.load(mask).dataobj) > 0


TOOLS = {"ants": (ants, "antspyx"), "dipy": (dipy, "dipy"), "sklearn": (sklearn, "scikit-learn")}


def in_order(labels: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Return the labels numbered from dark to bright."""
    values = [v for v in np.unique(labels) if v > 0]
    means = [data[labels == v].mean() for v in values]
    out = np.zeros(labels.shape, np.uint8)
    for new, old in enumerate(np.argsort(means), start=1):
        out[labels == values[old]] = new
    return out


def main() -> None:
    """Run one tool on one scan."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tool", choices=sorted(TOOLS))
    parser.add_argument("scan", type=Path)
    parser.add_argument("mask", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    run, package = TOOLS[args.tool]
    image = nib.load(args.scan)
    labels = in_order(run(args.scan, args.mask), np.asarray(image.dataobj))
    nib.save(nib.Nifti1Image(labels, image.affine), args.out)
    used = resource.getrusage(resource.RUSAGE_SELF)
    told = {
        "version": f"{package} {version(package)}",
        "seconds": used.ru_utime + used.ru_stime,
        "gigabytes": used.ru_maxrss / 1e6,
    }
    print(json.dumps(told))
    sys.exit(0)


if __name__ == "__main__":
    main()
