"""
Judge a report: good and bad ones
=================================

A good result, and five that went wrong on purpose. What does each look like, and what do the automatic checks say?

Each picture below is the small one from the top of the scan's report: nine slices with the outline of the brain mask
(yellow) and the three tissues (blue CSF, orange grey matter, white white matter).
"""

# %%
# Six scans
# ---------
# All are synthetic heads with voxels of 2 mm.

import json
import subprocess
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
from PIL import Image

work = Path("judge")


def brainseg(*words):
    """Run brainseg as one types it; what it says of bad scans is shown further down."""
    subprocess.run(["brainseg", *map(str, words), "-q"], capture_output=True, check=False)


brainseg("phantom", "-o", work / "head", "--voxel-size", 2, "--force")
brainseg("phantom", "-o", work / "t2", "--voxel-size", 2, "--contrast", "T2w", "--force")
good = nib.load(work / "head" / "phantom_T1w.nii.gz")
data = np.asarray(good.dataobj)


def keep(name, array):
    """Write a scan with the geometry of the good one."""
    nib.save(nib.Nifti1Image(array, good.affine), work / f"{name}.nii.gz")


keep("good", data)
keep("t2", np.asarray(nib.load(work / "t2" / "phantom_T2w.nii.gz").dataobj))

rng = np.random.default_rng(0)
real, imaginary = rng.normal(0, 140, (2, *data.shape))  # white matter is at about 1000
keep("noise", np.hypot(data + real, imaginary).astype(np.float32))

top = data.copy()
top[:, :, int(0.72 * data.shape[2]) :] = 0  # the field of view ended too low
keep("cut", top)

slices = data.copy()
slices[:, :, 40:46] = slices[:, :, 45:39:-1]  # six slices in the wrong order
keep("slices", slices)

truth = nib.load(work / "head" / "phantom_desc-truth_mask.nii.gz")
keep("shifted_mask", np.roll(np.asarray(truth.dataobj), 5, axis=0))  # 10 mm to the side
keep("shifted", data)

# %%
# Segment them
# ------------
# Several scans may be given to one ``brainseg run``. Your own mask goes with one scan only.

names = ["good", "noise", "t2", "cut", "slices"]
brainseg("run", *(work / f"{n}.nii.gz" for n in names), "-o", work / "out", "--force")
mask = work / "shifted_mask.nii.gz"
brainseg("run", work / "shifted.nii.gz", "--mask", mask, "-o", work / "out", "--force")


def verdict(name):
    """Read the verdict and its reasons."""
    told = json.loads((work / "out" / f"{name}_desc-quality_T1w.json").read_text())
    return told["verdict"].capitalize(), told["reasons"]


def compare(bad, title):
    """Show a bad result beside the good one."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.1), layout="constrained")
    for panel, name, words in ((axes[0], "good", "good"), (axes[1], bad, title)):
        panel.imshow(Image.open(work / "out" / f"{name}_desc-contact_T1w.webp"))
        panel.set_title(f"{words}: {verdict(name)[0]}", fontsize=13)
        panel.axis("off")
    for reason in verdict(bad)[1]:
        print("-", reason)


# %%
# The good one
# ------------
# The outline runs outside all grey matter, tissues follow the folds, and both sides look alike.

found, reasons = verdict("good")
print(f"{found}; reasons to look: {reasons or 'none'}")

# %%
# Too much noise
# --------------
# Tissues turn to speckle. Typical of fast scans, and of coils at their limit. Borders are not to be trusted.

compare("noise", "14 % noise")

# %%
# The wrong contrast
# ------------------
# A T2w scan given as T1w: CSF is bright, and the tissues are named in the wrong order.

compare("t2", "T2w given as T1w")

# %%
# A head that is cut off
# ----------------------
# The outline ends flat. Volumes are too small, and no option will bring the missing part back.

compare("cut", "top cut off")

# %%
# Slices in the wrong order
# -------------------------
# Hard to see in axial slices, plain as a seam in coronal and sagittal ones: look there for it.

compare("slices", "slices swapped")

# %%
# A mask in the wrong place
# -------------------------
# The outline cuts cortex on one side and leaves a gap on the other. This is what a mask of another scan, or one of
# another grid, looks like.

compare("shifted", "mask shifted")

# %%
# What to do
# ----------
# *Pass* is no proof: glance at every report. *Look* names what to look at. *Fail* is a reason to find out why before the
# numbers are used. :doc:`/reference/verdicts` has every rule with its limit, and what each picture of a
# report should look like. For many scans, ``brainseg review OUT`` shows one report after the other, and keeps your ratings.
