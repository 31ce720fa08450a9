"""What other tools make of a T1w scan, for `evaluate_all.py`.

    PEERS/bin/python pipelines/evaluation_peers.py ants scan.nii.gz mask.nii.gz labels.nii.gz

Runs in environments of their own, which hold the tools and not brainseg. Two of the tools bring
libraries that do not go with those of the others:

    python3 -m venv PEERS && PEERS/bin/pip install antspyx dipy scikit-learn nibabel
    python3 -m venv DEEPBET && DEEPBET/bin/pip install deepbet
    python3 -m venv SAMSEG && SAMSEG/bin/pip install --pre samseg

Each tool is called as its manual says, with its own defaults; `evaluate_all.py` gives it one
thread. ants, dipy and sklearn label the brain inside a given mask with three classes, put in the
order dark, middle, bright, which is CSF, grey, white on a T1w scan. deepbet returns a brain mask
and samseg FreeSurfer's labels; both take the whole head, and no mask. The last line printed is
JSON: processor seconds and peak memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
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


def deepbet(scan: Path, mask: Path) -> np.ndarray:
    """Extract the brain; the network is given the intensities as they are."""
    import torch
    from deepbet.bet import BrainExtraction

    torch.set_num_threads(1)
    model = BrainExtraction(no_gpu=True)
    data = np.asarray(nib.load(scan).dataobj, np.float32)
    try:
        found = model.postprocess(model.run_model(data) > 0.5)
    except (AssertionError, ValueError):  # its ways of saying that nothing is there
        found = np.zeros(data.shape, bool)
    return np.asarray(found, bool)


def samseg(scan: Path, mask: Path) -> np.ndarray:
    """Segment a whole head with the atlas that the package brings."""
    with tempfile.TemporaryDirectory() as folder:
        command = [str(Path(sys.executable).with_name("run_samseg"))]
        subprocess.run(
            [*command, "--input", str(scan), "--output", folder, "--threads", "1"],
            check=True, stdout=sys.stderr,
        )  # fmt: skip
        return np.asarray(nib.load(Path(folder) / "seg.mgz").dataobj)


def _arrays(scan: Path, mask: Path) -> tuple[np.ndarray, np.ndarray]:
    data = np.asarray(nib.load(scan).dataobj, np.float64)
    return data, np.asarray(nib.load(mask).dataobj) > 0


TOOLS = {
    "ants": (ants, "antspyx"),
    "dipy": (dipy, "dipy"),
    "sklearn": (sklearn, "scikit-learn"),
    "deepbet": (deepbet, "deepbet"),
    "samseg": (samseg, "samseg"),
}
"""How `main` calls each tool, and the package that it comes in."""
IN_MASK = ("ants", "dipy", "sklearn")
"""Those that give classes of intensity, in whatever order."""


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
    image = nib.load(args.scan)
    labels = TOOLS[args.tool][0](args.scan, args.mask)
    if args.tool in IN_MASK:
        labels = in_order(labels, np.asarray(image.dataobj))
    nib.save(nib.Nifti1Image(labels.astype(np.uint16), image.affine), args.out)
    # A tool may run programs of its own.
    used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    told = {
        "seconds": sum(u.ru_utime + u.ru_stime for u in used),
        "gigabytes": max(u.ru_maxrss for u in used) / 1e6,
    }
    print(json.dumps(told))
    sys.exit(0)


if __name__ == "__main__":
    main()
