"""
Two visits of one person
========================

What changed between two scans? Segmented alone, two scans of one person differ by several per cent even where nothing
changed. ``brainseg long`` segments them together.
"""

# %%
# Two visits with a known change
# ------------------------------
# A synthetic head without noise is the first visit. At the second, 5 % of its grey matter has turned to fluid: cortex
# that touches CSF, in some regions more than in others. Each visit is then scanned anew: the head lies elsewhere, and
# noise, gain and bias field are others.

import csv
import json
import shutil
import subprocess
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
from scipy import ndimage

import brainseg
from brainseg.evaluation.phantom import bias_field, make_phantom, rician

work = Path("visits")
shutil.rmtree(work, ignore_errors=True)
work.mkdir()

head = make_phantom(zooms=(2, 2, 2), noise=0, bias=0)
clean, affine = head.volume.data, head.volume.affine
tissue = head.three  # 1 grey, 2 white, 3 CSF
fluid, white = (float(np.median(clean[tissue == label])) for label in (3, 2))

depth = ndimage.distance_transform_edt(tissue != 3)  # voxels from the nearest CSF
region = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=depth.shape), 6)
depth += region / region.std()
lost = (tissue == 1) & (depth <= np.quantile(depth[tissue == 1], 0.05))
later = np.where(lost, np.float32(fluid), clean)


def scan(name, signal, *, degrees, gain, seed):
    """Turn the head, and add what a scanner adds."""
    rng = np.random.default_rng(seed)
    moved = ndimage.rotate(signal, degrees, axes=(0, 1), reshape=False, order=1)
    moved = gain * moved * bias_field(rng, moved.shape, 20)
    noisy = rician(moved, 0.03 * gain * white, rng)
    nib.save(nib.Nifti1Image(noisy, affine), work / f"sub-01_ses-{name}_T1w.nii.gz")


scan(1, clean, degrees=3, gain=1.0, seed=1)
scan(2, later, degrees=-4, gain=1.3, seed=2)
paths = [work / f"sub-01_ses-{n}_T1w.nii.gz" for n in (1, 2)]

# %%
# As they come, the scans do not lie on each other, and one is brighter.

figure, axes = plt.subplots(1, 2, figsize=(8, 4.4), layout="constrained")
for panel, path in zip(axes, paths, strict=True):
    data = nib.load(path).get_fdata()
    middle = data[:, :, data.shape[2] // 2]
    panel.imshow(middle.T, origin="lower", cmap="gray", vmax=1.4 * white)
    panel.set_title(path.name, fontsize=12)
    panel.axis("off")

# %%
# Segment them together
# ---------------------
# The first visit comes first. Ages are optional: with them, the table has changes per year.

out = work / "out"
done = subprocess.run(
    ["brainseg", "long", *paths, "-o", out, "--ages", "61", "63"],
    capture_output=True,
    text=True,
    check=True,
)
print(done.stderr)

# %%
# ``sub-01_long.tsv`` has a row a tissue and visit. A change within its standard error may be none.

with (out / "sub-01_long.tsv").open() as stream:
    rows = [r for r in csv.DictReader(stream, delimiter="\t") if r["session"] == "2"]
columns = ("volume_ml", "change_percent", "standard_error_percent", "percent_per_year")
for row in rows:
    if row["tissue"] in ("CSF", "GM", "WM", "brain"):
        volume, change, error, yearly = (float(row[column]) for column in columns)
        print(f"{row['tissue']:6s}{volume:7.1f} mL  {change:+.2f} %", end="  ")
        print(f"(standard error {error:.2f} %), {yearly:+.2f} % a year")

# %%
# Beside the truth, and beside each scan alone
# --------------------------------------------
# The truth is counted on the head itself.

labels = ("GM", "WM", "CSF")  # 1, 2, 3
before = {name: int((tissue == k).sum()) for k, name in enumerate(labels, start=1)}
true = {
    "GM": -100 * lost.sum() / before["GM"],
    "WM": 0.0,
    "CSF": 100 * lost.sum() / before["CSF"],
}
changes = {row["tissue"]: float(row["change_percent"]) for row in rows}
together = {name: changes[name] for name in labels}
first, second = (brainseg.segment(path).volumes for path in paths)
alone = {name: 100 * (second[name] / first[name] - 1) for name in labels}

figure, panel = plt.subplots(figsize=(8, 3.6), layout="constrained")
ways = {"true": true, "together": together, "each alone": alone}
colours = ("#555555", "#2563c9", "#d9700a")
for place, (way, values), colour in zip((-1, 0, 1), ways.items(), colours, strict=True):
    heights = [values[name] for name in labels]
    bars = panel.bar(np.arange(3) + 0.27 * place, heights, 0.25, label=way, color=colour)
    panel.bar_label(bars, fmt="%+.1f", fontsize=11)
panel.axhline(0, color="black", linewidth=0.8)
panel.set_xticks(range(3), labels)
panel.set_ylabel("change, %")
panel.margins(y=0.15)
_ = panel.legend()

# %%
# At voxels of 2 mm a part of a cortex that thins is missed, here about a third; how much depends on where it thins. And a
# synthetic head lacks most of what makes two real scans of one person differ: :doc:`/start/over-time` has the errors that
# were measured on real people who hardly changed, of scans segmented together and alone.
#
# Where it changed
# ----------------
# Both visits lie on one grid now, in a space halfway between them. The share of fluid in each voxel is among the files.

space = f"{out}/sub-01_ses-{{}}_space-midspace_{{}}.nii.gz"
aligned = [nib.load(space.format(n, "desc-preproc_T1w")).get_fdata() for n in (1, 2)]
share = [nib.load(space.format(n, "label-CSF_probseg")).get_fdata() for n in (1, 2)]
z = aligned[0].shape[2] // 2
top = np.percentile(aligned[0], 99.5)

figure, axes = plt.subplots(1, 3, figsize=(11, 4.2), layout="constrained")
for panel, picture, title in zip(axes, aligned, ("visit 1", "visit 2"), strict=False):
    panel.imshow(picture[:, :, z].T, origin="lower", cmap="gray", vmin=0, vmax=top)
    panel.set_title(f"{title}, aligned", fontsize=14)
axes[2].imshow(aligned[0][:, :, z].T, origin="lower", cmap="gray", vmin=0, vmax=2 * top)
change = np.ma.masked_inside(share[1] - share[0], -0.2, 0.2)
axes[2].imshow(change[:, :, z].T, origin="lower", cmap="coolwarm", vmin=-1, vmax=1)
axes[2].set_title("fluid: gained red, lost blue", fontsize=14)
for panel in axes:
    panel.axis("off")

# %%
# .. |page| raw:: html
#
#    <a href="../reports/two-visits.html">sub-01_long.html</a>
#
# The page of the person, |page|, shows the same as slices that flicker. Look there first: skull and gyri should stand
# still. Where everything moves, the alignment failed, and no number holds.

record = json.loads((out / "sub-01_long.json").read_text())
print(f"likeness of the aligned scans: {record['likeness']:.3f}")

# %%
# Scans of two people
# -------------------
# Files get mixed up. Scans that look like different people after alignment are refused. Of three visits or more the
# stranger alone is left out, by name, and the others are compared without it.

stranger = work / "sub-01_ses-3_T1w.nii.gz"
other = make_phantom(zooms=(2, 2, 2), seed=5)
nib.save(nib.Nifti1Image(other.volume.data, other.volume.affine), stranger)
done = subprocess.run(
    ["brainseg", "long", paths[0], stranger, "-o", work / "mixed", "-q"],
    capture_output=True,
    text=True,
    check=False,
)
print(done.stderr.strip())
print(f"(exit code {done.returncode})")

# %%
# For a paper
# -----------

words = ["brainseg", "report-methods", out, "--markdown"]
print(subprocess.run(words, capture_output=True, text=True, check=True).stdout)

# %%
# Lesions
# -------
# With the FLAIR of each visit (``--flair FLAIR1 FLAIR2``) lesion candidates are followed, too: ``sub-01_lesions.tsv`` says
# which are new, grown, stable, shrunk or vanished, and the page shows each at every visit.
#
# In a study, ``brainseg BIDS_DIR OUT participant --longitudinal`` does this for every participant with several sessions:
# :doc:`/start/over-time`.
