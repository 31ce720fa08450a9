"""
The whole head: bone, soft tissue and air, too
==============================================

Electric fields, PET attenuation and the size of the skull need more than the brain. ``tissues="head"`` gives every voxel
of the scan one of six tissues.
"""

# %%
# A head whose tissues are known
# ------------------------------
# A synthetic head with voxels of 2 mm. Its ``head`` is the true tissue of every voxel. Each of its tissues has one
# brightness, and its face is cut off, so it is easier than a real head.

import csv
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
from matplotlib.colors import ListedColormap

import brainseg
from brainseg.evaluation.phantom import make_phantom

phantom = make_phantom(zooms=(2, 2, 2))
scan = nib.Nifti1Image(phantom.volume.data, phantom.volume.affine)

# %%
# Segment it
# ----------
# It is one more option; on the command line ``brainseg run T1.nii.gz -o OUT --tissues head``. At 2 mm it takes
# about a quarter longer than the brain alone.

found = brainseg.segment(scan, tissues="head")
for tissue in found.table.tissues:
    print(tissue.index, tissue.abbreviation, tissue.name)

# %%
# Look at all three planes. Is the skull closed? Does CSF lie between brain and bone? Is the air outside?

labels = found.labels
colours = ListedColormap([tissue.colour for tissue in found.table.tissues])
middle = [n // 2 for n in labels.shape]


def show(axes, picture, title, **style):
    """Draw the middle slice of the three planes."""
    for panel, plane in zip(axes, range(3), strict=True):
        cut = np.take(picture, middle[plane], axis=plane)
        panel.imshow(cut.T, origin="lower", **style)
        panel.set_axis_off()
    axes[1].set_title(title, fontsize=13)


figure, rows = plt.subplots(3, 3, figsize=(9, 9.6), layout="constrained")
show(rows[0], phantom.volume.data, "scan", cmap="gray")
style = {"cmap": colours, "vmin": 0.5, "vmax": 6.5, "interpolation": "nearest"}
show(rows[1], labels, "found", **style)
show(rows[2], phantom.head, "true", **style)
tissues = found.table.tissues
boxes = [plt.Rectangle((0, 0), 1, 1, color=t.colour, ec="grey") for t in tissues]
names = [t.name for t in tissues]
_ = figure.legend(boxes, names, loc="outside lower center", ncols=3, fontsize=12)

# %%
# Bone is the hardest
# -------------------
# A T1w scan shows bone and air alike: both are dark. What tells them apart is where they lie.

for row, tissue in zip(brainseg.evaluate(found, phantom.head), tissues, strict=True):
    volumes = f"{row.volume_ml:5.0f} mL, true {row.truth_ml:5.0f} mL"
    print(f"{tissue.name:20s} Dice {row.dice:.2f}  {volumes}")

# %%
# On real heads bone is found less well than here: :doc:`/reference/tissues` has what was measured. The probability of
# bone shows where to doubt it, and the map of errors where that doubt was right.

bone = 4
wrong = (labels == bone).astype(int) - (phantom.head == bone)
figure, rows = plt.subplots(2, 3, figsize=(9, 6.4), layout="constrained")
show(rows[0], found.probabilities["B"], "probability of bone", cmap="magma", vmax=1)
show(rows[1], wrong, "red: wrongly bone; blue: missed", cmap="coolwarm", vmin=-1, vmax=1)

# %%
# The brain stays what it is
# --------------------------
# Inside the brain mask nothing changes: grey and white matter have the volumes that ``three`` and ``six`` give. (They are
# sums of shares. The table above counts whole voxels, as Dice does.) New is ``total_intracranial_volume``,
# measured from skull to skull; ``tiv`` is the estimate from the brain mask that every table has.

out = Path("head/out")
found.save(out, force=True, report=False)
with (out / "image_volumes.tsv").open() as stream:
    volumes = {r["structure"]: r for r in csv.DictReader(stream, delimiter="\t")}
for name in ("GM", "WM", "CSF", "head_CSF", "head_B", "head_ST"):
    print(f"{name:26s}{float(volumes[name]['volume_ml']):5.0f} mL  {volumes[name]['name']}")
for name in ("tiv", "total_intracranial_volume"):
    print(f"{name:26s}{float(volumes[name]['volume_ml']):5.0f} mL")

# %%
# ``CSF`` lies within the brain mask, ``head_CSF`` wherever it is in the head.
#
# Give it to another program
# --------------------------
# A label becomes whatever your program wants of a tissue: here the electric conductivity in S/m (the values that SimNIBS
# uses), which a solver of electric fields takes.

conductivity = np.zeros(7)
siemens = {"GM": 0.275, "WM": 0.126, "CSF": 1.654, "B": 0.010, "ST": 0.465, "AIR": 0}
for tissue in tissues:
    conductivity[tissue.index] = siemens[tissue.abbreviation]
image = nib.Nifti1Image(conductivity[labels].astype(np.float32), found.affine)
nib.save(image, out / "conductivity.nii.gz")

# %%
# A scan without a skull
# ----------------------
# A skull-stripped scan has no bone to find, and is refused.

stripped = nib.Nifti1Image(phantom.volume.data * phantom.mask, phantom.volume.affine)
try:
    brainseg.segment(stripped, tissues="head")
except brainseg.errors.BrainsegError as error:
    print(error)

# %%
# How it is done: :doc:`/reference/tissues`. For which scans it is not: :doc:`/limits`.
