"""What the head network tells apart: the one list of its classes, and what they add up to."""

from __future__ import annotations

CLASSES = (
    "cortical_grey",
    "white",
    "deep_grey",
    "brain_stem",
    "cerebellar_grey",
    "cerebellar_white",
    "ventricles",
    "csf",
    "bone",
    "soft_tissue",
    "eyes",
    "air",
    "nothing",
)
"""In the order of the network's channels. ``white`` is the cerebrum's. ``deep_grey`` is thalamus,
caudate, putamen, pallidum, accumbens, hippocampus, amygdala and ventral diencephalon. ``csf`` lies
outside the ventricles and inside the dura. ``soft_tissue`` has muscle, fat, skin, dura, venous
sinuses and the spinal canal. ``air`` is air inside the head, ``nothing`` what is around it."""

N_BRAIN = 8
"""The first so many are the brain: tissue, ventricles and CSF, down to the foramen magnum."""

AROUND = {
    "csf": CLASSES[:N_BRAIN],
    "bone": ("bone",),
    "soft": ("soft_tissue",),
    "eyes": ("eyes",),
    "sinuses": ("air",),
    "air": ("nothing",),
}
"""The classes that make up each tissue around the brain; brain outside of its mask is CSF."""

TISSUE = {
    "csf": ("ventricles", "csf"),
    "cortical_grey": ("cortical_grey",),
    "white": ("white",),
    "deep_grey": ("deep_grey",),
    "brain_stem": ("brain_stem",),
    "cerebellar_grey": ("cerebellar_grey",),
    "cerebellar_white": ("cerebellar_white",),
}
"""The classes that make up each tissue of `brainseg.atlas.head_atlas.BRAIN`, in its order."""
