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
from PIL import Image

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
    subprocess.run(
        ["brainseg", "phantom", "-o", work / "head", "--voxel-size", "3", "--seed", str(number), "--force", "-q"],
        check=True,
    )  # fmt: skip
    shutil.copy(work / "head" / "phantom_T1w.nii.gz", anat / f"sub-0{number}_T1w.nii.gz")
(raw / "dataset_description.json").write_text(json.dumps({"Name": "demo", "BIDSVersion": "1.10.0"}))
(raw / "participants.tsv").write_text(
    "participant_id\tage\tgroup\nsub-01\t30\ta\nsub-02\t41\tb\nsub-03\t35\ta\nsub-04\t52\tb\n"
)

broken = raw / "sub-03" / "anat" / "sub-03_T1w.nii.gz"
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

print((out / "logs" / "summary.tsv").read_text())

# %%
# Type the same line again
# ------------------------
# Nothing is done twice, and the broken file is not tried again: bad data waits for another input.

brainseg("bids", raw, out, "participant", "-q")

# %%
# Repair and resume
# -----------------
# With a whole file in its place, the same line does that scan alone.

shutil.copy(raw / "sub-01" / "anat" / "sub-01_T1w.nii.gz", broken)
brainseg("bids", raw, out, "participant", "--dry-run")
brainseg("bids", raw, out, "participant", "-q")

# %%
# Gather
# ------
# One table, and one page to look at. The columns of ``participants.tsv`` are joined.

brainseg("bids", raw, out, "group", "-q")

with (out / "group_T1w.tsv").open() as stream:
    rows = list(csv.DictReader(stream, delimiter="\t"))
for row in rows:
    print(
        *(
            row[c]
            for c in ("scan", "group", "status", "verdict", "volume_GM", "volume_WM", "fraction_GM")
        )
    )

# %%
# The page shows a small picture of each scan, the worst first. They are files, too.

figure, axes = plt.subplots(1, 4, figsize=(11, 3.4), layout="constrained")
for panel, row in zip(axes, rows, strict=True):
    scan = row["scan"]
    panel.imshow(Image.open(out / scan / "anat" / f"{scan}_desc-contact_T1w.webp"))
    panel.set_title(f"{scan}: {row['verdict']}", fontsize=9)
    panel.axis("off")

# %%
# All columns are explained in ``group_T1w.json`` and in :doc:`/reference/outputs`. On a cluster the same lines run as a
# Slurm array: :doc:`/start/slurm`.
