"""
Several contrasts, and lesions
==============================

A FLAIR beside the T1w shows lesions of white matter that a T1w alone takes for grey matter.
"""

# %%
# A head with lesions
# -------------------
# A synthetic head, scanned twice: T1w and FLAIR. Five balls in white matter are bright on FLAIR and as dark as grey
# matter on T1w, as lesions of multiple sclerosis are.

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
from scipy import ndimage

import brainseg
from brainseg.evaluation.phantom import make_phantom

zooms = (2, 2, 2)
t1 = make_phantom(zooms=zooms)
flair = make_phantom(zooms=zooms, contrast="FLAIR")
t2 = make_phantom(zooms=zooms, contrast="T2w")
affine = t1.volume.affine

white = t1.three == 2
rng = np.random.default_rng(4)
index = np.indices(white.shape)
deep = np.argwhere(ndimage.uniform_filter(white.astype(float), 7) > 0.9)
lesions = np.zeros(white.shape, bool)
for centre in rng.permutation(deep)[:5]:
    distance = np.linalg.norm(index - centre[:, None, None, None], axis=0)
    lesions |= distance <= rng.uniform(2, 3)
lesions &= white

scan, other = t1.volume.data.copy(), flair.volume.data.copy()
scan[lesions] *= 0.65
other[lesions] *= 1.6
print(f"{lesions.sum() * 8 / 1000:.1f} mL of lesions")

# %%
# T1w alone, and with the FLAIR
# -----------------------------

alone = brainseg.segment(scan, affine=affine)
both = brainseg.segment(scan, affine=affine, contrasts={"FLAIR": other})
for name, found in (("T1w", alone), ("T1w + FLAIR", both)):
    grey = (found.to_nifti("three").get_fdata() == 1)[lesions].mean()
    volumes = ", ".join(f"{tissue} {ml:.0f} mL" for tissue, ml in found.volumes.items())
    print(f"{name:12s} {volumes}; grey matter in the lesions: {grey:.0%}")

# %%
# With the FLAIR, what is bright in white matter and explained by no healthy tissue becomes the map of lesion candidates.
# They count as white matter in all other maps. ``save`` (and ``brainseg run --flair``) writes them as
# ``label-L_probseg.nii.gz``.

both.save("lesions/out", force=True, report=False)
candidates = nib.load("lesions/out/image_label-L_probseg.nii.gz").get_fdata()
called = candidates > 0.5
overlap = 2 * (lesions & called).sum() / (lesions.sum() + called.sum())
print(f"Dice of the candidates and the lesions: {overlap:.2f}")

z = int(np.argmax(lesions.sum(axis=(0, 1))))
pictures = {"T1w": scan, "FLAIR": other, "lesions put in": lesions, "found": candidates}
figure, axes = plt.subplots(2, 2, figsize=(6.4, 7.8), layout="constrained")
for panel, (title, picture) in zip(axes.ravel(), pictures.items(), strict=True):
    panel.imshow(picture[:, :, z].T, origin="lower", cmap="gray")
    panel.set_title(title, fontsize=13)
    panel.axis("off")

# %%
# Candidates are sensitive rather than specific: on real scans the rims of the ventricles and flow artefacts are among
# them. Look at the report's picture of lesions, and count with care.
#
# A T2w, for the rest
# -------------------
# A further contrast helps where the T1w does not tell tissues apart. Dice with the truth of the head without lesions, its
# true brain mask given:

known = {"affine": affine, "mask": t1.mask.astype(np.uint8)}
plain = brainseg.segment(t1.volume.data, **known)
more = brainseg.segment(t1.volume.data, contrasts={"T2w": t2.volume.data}, **known)
pairs = {name: ([value], [value]) for name, value in (("GM", 1), ("WM", 2), ("CSF", 3))}
for name, found in (("T1w", plain), ("T1w + T2w", more)):
    rows = brainseg.evaluate(found.to_nifti("three"), t1.three, pairs=pairs)
    print(f"{name:10s}", "  ".join(f"{r.name} {r.dice:.3f}" for r in rows))

# %%
# In a study, ``--contrasts T2w FLAIR`` takes those of the same session: see :doc:`/start/first-study`.
