"""
Segment a head from a notebook
==============================

From an image to volumes, maps and pictures, in Python.
"""

# %%
# A head to try
# -------------
# ``brainseg phantom`` makes a synthetic head whose tissues are known. Take a T1w scan of yours instead, if you have one:
# then ``head`` is its path.

import subprocess
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap

import brainseg

work = Path("notebook")
subprocess.run(
    ["brainseg", "phantom", "-o", work, "--voxel-size", "2", "--force", "-q"],
    check=True,
)
head = work / "phantom_T1w.nii.gz"

# %%
# One call
# --------
# The image may be a path, a nibabel image, or an array with ``affine=``. In a notebook, the result shows itself.

found = brainseg.segment(head)
found

# %%
# Volumes, in mL. They are sums of shares, so that partial volume counts.

found.volumes

# %%
# What a reader should know before trusting the result: warnings. None is good.

found.warnings

# %%
# Maps
# ----
# Every map has the shape and the axes of the input.

print("labels", found.labels.shape, found.labels.dtype)
print("tissues", {t.index: t.abbreviation for t in found.table.tissues})

# %%
# Labels are hard decisions; probabilities say how sure they are. Here is a slice a little to the left of the middle:
# all six tissues lie on it.

scan = np.asarray(found.to_nifti("preproc").dataobj)
labels = np.ma.masked_equal(found.labels, 0)
tissues = found.table.tissues
colours = ListedColormap([t.colour for t in tissues])
x = scan.shape[0] // 2 - 4


def show(axes, picture, title, **style):
    """Draw a sagittal slice, nose to the right."""
    axes.imshow(picture[x].T, origin="lower", **style)
    axes.set_title(title, fontsize=12)
    axes.axis("off")


figure, axes = plt.subplots(3, 3, figsize=(9, 8), layout="constrained")
scan_panel, label_panel, key, *panels = axes.ravel()
show(scan_panel, scan, "scan", cmap="gray")
show(label_panel, scan, "labels", cmap="gray")
style = {"cmap": colours, "vmin": 0.5, "vmax": 6.5, "interpolation": "nearest"}
show(label_panel, labels, "labels", **style)
for panel, tissue in zip(panels, tissues, strict=True):
    probability = found.probabilities[tissue.abbreviation]
    show(panel, probability, tissue.name, cmap="magma", vmin=0, vmax=1)
boxes = [plt.Rectangle((0, 0), 1, 1, color=t.colour, ec="grey") for t in tissues]
key.legend(boxes, [t.name for t in tissues], loc="center", fontsize=11)
_ = key.axis("off")

# %%
# The mixture
# -----------
# ``found.mixture`` has the fitted Gaussians, with the names that scikit-learn uses.

fitted = found.mixture
spread = np.sqrt(fitted.covariances_[:, 0, 0])
for tissue, weight, mean, sd in zip(
    tissues, fitted.weights_, fitted.means_[:, 0], spread, strict=True
):
    print(f"{tissue.abbreviation:5s} weight {weight:.2f}  mean {mean:4.0f}  sd {sd:4.0f}")

# %%
# Score it
# --------
# The synthetic head has a truth. ``evaluate`` pairs equal label values, or those that ``pairs`` names: in the set of three
# tissues 1 is grey matter, 2 is white matter and 3 is CSF.

pairs = {name: ([value], [value]) for name, value in (("GM", 1), ("WM", 2), ("CSF", 3))}
truth = work / "phantom_seg-true_dseg.nii.gz"
for row in brainseg.evaluate(found.to_nifti("three"), truth, pairs=pairs):
    print(f"{row.name}: Dice {row.dice:.3f}")

# %%
# Keep it
# -------
# ``save`` writes what ``brainseg run`` writes: see :doc:`/reference/outputs`.

for path in found.save("notebook/out", force=True)[:6]:
    print(path.name)

# %%
# Other options go in as keywords: ``brainseg.segment(head, tissues="three", bias="n4")``. All of them:
# :doc:`/reference/python`.
