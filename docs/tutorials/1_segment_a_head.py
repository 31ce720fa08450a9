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

import brainseg

work = Path("notebook")
subprocess.run(
    ["brainseg", "phantom", "-o", work, "--voxel-size", "2", "--force", "-q"], check=True
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
# Labels are hard decisions; probabilities say how sure they are. Here is a slice through the ventricles.

scan = np.asarray(found.to_nifti("preproc").dataobj)
z = int(0.55 * scan.shape[2])
names = [t.abbreviation for t in found.table.tissues]


def show(axes, picture, title, **style):
    """Draw an axial slice, nose up."""
    axes.imshow(picture[:, :, z].T, origin="lower", **style)
    axes.set_title(title, fontsize=9)
    axes.axis("off")


figure, axes = plt.subplots(2, 4, figsize=(10, 6), layout="constrained")
show(axes[0, 0], scan, "scan", cmap="gray")
show(axes[0, 1], np.where(found.labels > 0, found.labels, np.nan), "labels", cmap="viridis")
for panel, name in zip(axes.ravel()[2:], names, strict=True):
    show(panel, found.probabilities[name], name, cmap="magma", vmin=0, vmax=1)

# %%
# The mixture
# -----------
# ``found.mixture`` has the fitted Gaussians, with the names that scikit-learn uses.

for name, weight, mean, variance in zip(
    names, found.mixture.weights_, found.mixture.means_[:, 0], found.mixture.covariances_[:, 0, 0],
    strict=True,
):  # fmt: skip
    print(f"{name:6s} weight {weight:.2f}  mean {mean:6.0f}  sd {variance**0.5:5.0f}")

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
