"""
A study with a bad scan, resumed
================================

Four participants, one of them with a broken file. The study is run, looked at, repaired, and run again. Everything
here is what you would type; each line runs in a process of its own.
"""

# %%
# A small dataset
# ---------------
# BIDS asks for a folder for each participant, and one JSON file.

import csv
import json
import shutil
import subprocess
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
from PIL import Image

from brainseg.evaluation.phantom import make_phantom

work = Path("study")
raw, out = work / "raw", work / "derivatives"
shutil.rmtree(work, ignore_errors=True)


def brainseg(*words):
    """Run brainseg and show what it prints."""
    done = subprocess.run(
        ["brainseg", *map(str, words)], capture_output=True, text=True, check=False
    )
    print("$ brainseg", *words)
    print(done.stdout.rstrip())
    print(f"(exit code {done.returncode})")


for number in range(1, 5):
    anat = raw / f"sub-0{number}" / "anat"
    anat.mkdir(parents=True)
    head = make_phantom(zooms=(3, 3, 3), seed=number).volume  # another person each
    nib.save(nib.Nifti1Image(head.data, head.affine), anat / f"sub-0{number}_T1w.nii.gz")
about = {"Name": "demo", "BIDSVersion": "1.10.0"}
(raw / "dataset_description.json").write_text(json.dumps(about))
table = [("participant_id", "age", "group"), ("sub-01", "30", "a"), ("sub-02", "41", "b"),
         ("sub-03", "35", "a"), ("sub-04", "52", "b")]  # fmt: skip
(raw / "participants.tsv").write_text("".join("\t".join(row) + "\n" for row in table))

broken = raw / "sub-03" / "anat" / "sub-03_T1w.nii.gz"
shutil.copy(broken, work / "whole.nii.gz")
with broken.open("r+b") as stream:
    stream.truncate(20_000)  # the copy was cut off

# %%
# What would be done?
# -------------------

brainseg("bids", raw, out, "participant", "--dry-run")

# %%
# Do it
# -----
# One bad scan stops no other. The exit code is that of the failure.

brainseg("bids", raw, out, "participant", "-q")

# %%
# ``logs/summary.tsv`` tells what became of each scan.

with (out / "logs" / "summary.tsv").open() as stream:
    for row in csv.DictReader(stream, delimiter="\t"):
        print(row["scan"], row["state"], row["reason"], sep="  ")

# %%
# Type the same line again
# ------------------------
# Nothing is done twice, and the broken file is not tried again: bad data waits for another input.

brainseg("bids", raw, out, "participant", "-q")

# %%
# Repair and resume
# -----------------
# With a whole file in its place, the same line does that scan alone.

shutil.copy(work / "whole.nii.gz", broken)
brainseg("bids", raw, out, "participant", "--dry-run")
brainseg("bids", raw, out, "participant", "-q")

# %%
# Gather
# ------
# One table, and one page to look at. The columns of ``participants.tsv`` are joined.

brainseg("bids", raw, out, "group", "-q")

with (out / "group_T1w.tsv").open() as stream:
    rows = list(csv.DictReader(stream, delimiter="\t"))
print("scan    group  verdict  volume_GM  fraction_GM")
for row in rows:
    print(f"{row['scan']:7s} {row['group']:6s} {row['verdict']:8s}", end=" ")
    print(f"{row['volume_GM']:10s} {row['fraction_GM']}")

# %%
# The page shows a small picture of each scan, the worst first. They are files, too.

figure, axes = plt.subplots(2, 2, figsize=(8, 7.6), layout="constrained")
for panel, row in zip(axes.ravel(), rows, strict=True):
    scan = row["scan"]
    panel.imshow(Image.open(out / scan / "anat" / f"{scan}_desc-contact_T1w.webp"))
    panel.set_title(f"{scan}: {row['verdict']}", fontsize=13)
    panel.axis("off")

# %%
# All columns are explained in ``group_T1w.json`` and in :doc:`/reference/outputs`. On a cluster the same lines run as a
# Slurm array: :doc:`/start/slurm`.
