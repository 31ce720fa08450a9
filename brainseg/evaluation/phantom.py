"""Synthetic heads whose tissues, bias field and brain mask are known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from brainseg.atlas.head_atlas import BRAIN, Atlas, load_atlas
from brainseg.atlas.warping import pull
from brainseg.core.masking import bounding_box
from brainseg.core.volume import BoolArray, FloatArray, Volume
from brainseg.errors import UsageError
from brainseg.tissues.tables import HEAD, SIX, THREE, TissueTable

TISSUES = (
    "csf",
    "cortex",
    "deep",
    "white",
    "stem",
    "cerebellar_grey",
    "cerebellar_white",
    "bone",
    "marrow",
    "muscle",
    "fat",
)
# Order of magnitude of a spin-echo scan at 1.5 T, white matter 1 on T1w and the brightest tissue
# near 1 elsewhere; what matters is the order of the tissues and the size of the steps.
CONTRASTS = MappingProxyType(
    {
        # in the order of TISSUES
        "T1w": (0.22, 0.60, 0.74, 1.00, 0.93, 0.62, 0.97, 0.12, 0.70, 0.55, 1.20),
        "T2w": (1.00, 0.55, 0.46, 0.36, 0.40, 0.53, 0.37, 0.06, 0.40, 0.22, 0.60),
        "PDw": (0.80, 1.00, 0.92, 0.76, 0.80, 0.98, 0.78, 0.12, 0.50, 0.55, 0.70),
        "FLAIR": (0.10, 0.80, 0.74, 0.62, 0.64, 0.78, 0.63, 0.06, 0.40, 0.35, 0.70),
    }
)
WHITE = 1000.0  # scanner units of intensity 1


@dataclass(frozen=True, eq=False)
class Phantom:
    """A synthetic head and its truth.

    Attributes
    ----------
    volume : Volume
        The scan, float32, with bias field and Rician noise.
    intensity : ndarray of uint8
        The classes of `brainseg.tissues.tables.INTENSITY`, by the voxel's shares of CSF, grey and
        white.
    three, six : ndarray of uint8
        The tissue of the largest share, as in `brainseg.tissues.tables.THREE` and `SIX`.
    head : ndarray of uint8
        The same for every voxel of the scan, as in `brainseg.tissues.tables.HEAD`.
    mask : ndarray of bool
        The brain: half of the voxel or more lies inside the dura.
    bias : ndarray of float32
        Multiplicative field.
    """

    volume: Volume
    intensity: NDArray[np.uint8]
    three: NDArray[np.uint8]
    six: NDArray[np.uint8]
    head: NDArray[np.uint8]
    mask: BoolArray
    bias: NDArray[np.float32]


def make_phantom(
    *,
    zooms: tuple[float, float, float] = (1.5, 1.5, 1.5),
    noise: float = 3.0,
    bias: float = 20.0,
    contrast: str = "T1w",
    seed: int = 0,
) -> Phantom:
    """Draw one head from the atlas and scan it.

    The atlas' probabilities are bent at random, and a random field with the wavelength of gyri
    decides, in the order white, grey, CSF, what each place holds: the shares of the atlas come
    true on average, and the cortex is a ribbon with CSF in its sulci. Partial volume follows from
    how the surfaces cut the voxels.

    Parameters
    ----------
    zooms : tuple of float
        Voxel sizes in mm, 0.4 to 8.
    noise : float
        Standard deviation of the complex noise in per cent of the brightest tissue of the brain.
    bias : float
        Range of the bias field within the head, in per cent (20: from 0.9 to 1.1).
    contrast : str
        ``T1w``, ``T2w``, ``PDw`` or ``FLAIR``.
    seed : int
        Another seed is another person, field and noise.

    Raises
    ------
    UsageError
        When a value is outside of its range.
    """
    _validate(zooms, noise, bias, contrast)
    anatomy, field, grain = (np.random.default_rng([seed, k]) for k in range(3))
    head = _draw(load_atlas(), anatomy, zooms)
    levels = dict(zip(TISSUES, np.array(CONTRASTS[contrast], np.float32) * WHITE, strict=True))
    clean = np.zeros(head.brain.shape, np.float32)
    for name, share in head.outside.items():
        clean += share * levels[name]
    for name, share in head.inside.items():
        clean[head.box] += share * levels[name]
    gain = bias_field(field, clean.shape, bias)
    sigma = noise / 100 * max(float(levels[name]) for name in head.inside)
    scan = rician(clean * gain, sigma, grain)
    affine = np.diag([*zooms, 1.0])
    affine[:3, 3] = -(np.array(clean.shape) - 1) / 2 * zooms
    csf, cortex, deep, white, stem, leaves, core = (head.inside[t] for t in TISSUES[:7])
    grey, pale = cortex + deep + leaves, white + stem + core
    whole = partial(_scattered, head.brain, head.box)
    three = whole(_largest([csf, grey, pale], THREE))
    return Phantom(
        volume=Volume(scan, affine),
        intensity=whole(_classes(csf, grey, pale, deep)),
        three=three,
        six=whole(_largest([csf, cortex, white, deep, stem, leaves + core], SIX)),
        head=_around(head, three),
        mask=head.brain,
        bias=gain,
    )


def _validate(zooms: tuple[float, float, float], noise: float, bias: float, contrast: str) -> None:
    if contrast not in CONTRASTS:
        raise UsageError(f"contrast {contrast!r} is not known; use one of {', '.join(CONTRASTS)}")
    if not all(0.4 <= z <= 8 for z in zooms):
        raise UsageError(f"voxel sizes {zooms} mm are out of range; use 0.4 to 8 mm")
    if not 0 <= noise <= 50:
        raise UsageError(f"noise of {noise} % is out of range; use 0 to 50")
    if not 0 <= bias <= 150:
        raise UsageError(f"bias of {bias} % is out of range; use 0 to 150")


@dataclass(frozen=True, eq=False)
class _Head:
    """Shares of the voxels: outside the brain on the whole grid, inside on the brain's box."""

    brain: BoolArray
    box: tuple[slice, slice, slice]
    outside: dict[str, FloatArray]
    inside: dict[str, FloatArray]


def _draw(atlas: Atlas, rng: np.random.Generator, zooms: tuple[float, float, float]) -> _Head:
    """Draw a person: the atlas bent at random, cut into tissues."""
    bend = np.stack([_noise(rng, atlas.shape, 12.0) for _ in range(3)]) * np.float32(1.2)
    p = {name: pull(atlas.of(name), bend) for name in (*BRAIN, "skull", "other", "air")}
    whole = np.sum([p[n] for n in BRAIN], axis=0)
    cut = _Cutter(atlas, zooms)
    head, brain = cut(-p["air"], -0.5), cut(whole, 0.5)
    outside = head * (1 - brain)
    # bone with marrow in it; around it muscle, and fat in patches below the skin
    bone = outside * cut(p["skull"] - p["other"], 0.0)
    marrow = bone * cut(p["skull"] - 0.15 * _noise(rng, atlas.shape, 3.0), 0.8)
    soft = outside - bone
    fat = soft * cut(p["air"] + 0.2 * _noise(rng, atlas.shape, 5.0), 0.18)
    fat *= 1 - cut(p["air"], 0.35)
    mask = head * brain >= 0.5
    box = bounding_box(mask, margin=1)
    cut = _Cutter(atlas, zooms, box)
    # parts of the brain that have a shape of their own, each at its expected volume
    stem = cut(p["brain_stem"], _level(p["brain_stem"]))
    deep = cut(p["deep_grey"], _level(p["deep_grey"])) * (1 - stem)
    little = p["cerebellar_grey"] + p["cerebellar_white"]
    # the CSF between its leaves belongs to the cerebellum's region
    region = little + 0.3 * p["csf"] * (little > 0.1)
    cerebellum = cut(region, _level(region)) * (1 - stem - deep)
    cerebrum = 1 - stem - deep - cerebellum
    folds = _ordered(cut, p["white"], p["cortical_grey"], p["csf"], _folds(rng, atlas, 3.0))
    leaves = _ordered(
        cut, p["cerebellar_white"], p["cerebellar_grey"], 0.6 * p["csf"], _folds(rng, atlas, 1.5)
    )
    inside = {
        "csf": cerebrum * folds[2] + cerebellum * leaves[2],
        "cortex": cerebrum * folds[1],
        "deep": deep,
        "white": cerebrum * folds[0],
        "stem": stem,
        "cerebellar_grey": cerebellum * leaves[1],
        "cerebellar_white": cerebellum * leaves[0],
    }
    filled = (head * brain)[box]
    return _Head(
        mask,
        box,
        {"bone": bone - marrow, "marrow": marrow, "muscle": soft - fat, "fat": fat},
        {name: share * filled for name, share in inside.items()},
    )


class _Cutter:
    """Shares of voxels above a level of a function that is given on the atlas grid."""

    def __init__(
        self,
        atlas: Atlas,
        zooms: tuple[float, float, float],
        box: tuple[slice, slice, slice] | None = None,
    ) -> None:
        extent = np.array(atlas.shape) * atlas.zoom
        whole = np.maximum(2, np.round(extent / zooms)).astype(int)
        first = [0, 0, 0] if box is None else [s.start for s in box]
        self._shape = tuple(whole) if box is None else tuple(s.stop - s.start for s in box)
        self._scale = np.array(zooms) / atlas.zoom
        self._shift = atlas.centre + self._scale * (np.array(first) - (whole - 1) / 2)

    def resample(self, function: FloatArray) -> NDArray[np.float32]:
        """Put a function on the phantom's grid."""
        out = np.empty(self._shape, np.float32)
        ndimage.affine_transform(
            np.asarray(function, np.float32),
            np.diag(self._scale),
            self._shift,
            self._shape,
            output=out,
            order=1,
            mode="nearest",
        )
        return out

    def __call__(self, function: FloatArray, level: float) -> NDArray[np.float32]:
        return self.above(self.resample(function) - np.float32(level))

    @staticmethod
    def above(function: FloatArray) -> NDArray[np.float32]:
        """Share of each voxel where the function, taken as linear in it, is positive."""
        width = sum(np.abs(g) for g in np.gradient(function)) + 1e-6
        out: NDArray[np.float32] = np.clip(0.5 + function / width, 0, 1).astype(np.float32)
        return out


def _ordered(
    cut: _Cutter, white: FloatArray, grey: FloatArray, csf: FloatArray, latent: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Ordinal draw: the latent field falls below the share of white, of white and grey, or above.

    Where no grey is expected (walls of the ventricles) the field is flat, so the larger share wins.
    """
    total = white + grey + csf + 1e-3
    calm = np.clip(4 * ndimage.gaussian_filter(grey / total, 1.5), 0, 1)
    place = cut.resample(special.ndtr(latent * calm))
    below = cut.above(cut.resample(white / total) - place)
    above = cut.above(place - cut.resample((white + grey) / total))
    above = np.minimum(above, 1 - below)
    return below, 1 - below - above, above


def _level(probability: FloatArray) -> float:
    """Level of the map that encloses the volume expected from it."""
    n = round(float(probability.sum()))
    level = np.partition(probability.ravel(), probability.size - n)[probability.size - n]
    return float(np.clip(level, 0.05, 0.95))


def _noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> NDArray[np.float32]:
    """Smooth Gaussian field of unit variance; sigma in voxels, 3 at least."""
    # a field this smooth is fully described on every third voxel
    coarse = rng.standard_normal([n // 3 + 2 for n in shape], dtype=np.float32)
    coarse = ndimage.gaussian_filter(coarse, sigma / 3, mode="wrap", truncate=3.0)
    coarse /= coarse.std()
    out = np.empty(shape, np.float32)
    ndimage.affine_transform(coarse, np.diag([1 / 3] * 3), output_shape=shape, output=out, order=1)
    return out


def _folds(rng: np.random.Generator, atlas: Atlas, wavelength: float) -> FloatArray:
    """Random field of one dominant wavelength (about 5 times the number given, in mm)."""
    raw = rng.standard_normal(atlas.shape, dtype=np.float32)
    fine = ndimage.gaussian_filter(raw, wavelength / atlas.zoom, mode="wrap")
    band = fine - ndimage.gaussian_filter(fine, 1.25 * wavelength / atlas.zoom, mode="wrap")
    out: FloatArray = band / band.std()
    return out


def bias_field(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    percent: float,
) -> NDArray[np.float32]:
    """Field of second order, centred on 1, spanning `percent` over the grid."""
    axes = [
        np.linspace(-1, 1, n, dtype=np.float32).reshape([-1 if a == i else 1 for a in range(3)])
        for i, n in enumerate(shape)
    ]
    c = rng.uniform(-1, 1, 9)
    x, y, z = axes
    field = c[0] * x + c[1] * y + c[2] * z + c[3] * x * y + c[4] * y * z + c[5] * z * x
    field = field + c[6] * x**2 + c[7] * y**2 + c[8] * z**2
    field = (field - field.min()) / max(float(np.ptp(field)), 1e-6) - 0.5
    out: NDArray[np.float32] = (1 + percent / 100 * field).astype(np.float32)
    return out


def rician(signal: FloatArray, sigma: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Magnitude of the signal with complex Gaussian noise (Gudbjartsson & Patz, MRM 1995)."""
    if sigma == 0:
        return np.asarray(signal, np.float32)
    real = signal + sigma * rng.standard_normal(signal.shape, dtype=np.float32)
    imaginary = sigma * rng.standard_normal(signal.shape, dtype=np.float32)
    out: NDArray[np.float32] = np.hypot(real, imaginary).astype(np.float32)
    return out


def _classes(
    csf: FloatArray, grey: FloatArray, white: FloatArray, deep: FloatArray
) -> NDArray[np.uint8]:
    """Six classes from the position on the line CSF 0, grey 1, white 2.

    Cuts at 0.5 and 1.5 make the six merge into the tissue of the larger share; 0.15 off a pure
    tissue counts as pure. Deep grey is the brighter grey, with the inner edge of the cortex.
    """
    total = np.maximum(csf + grey + white, 1e-6)
    place = (grey + 2 * white) / total
    out = np.digitize(place, [0.15, 0.5, 1.15, 1.5, 1.85]).astype(np.uint8)
    out += 1
    out[(out == 3) & (deep > 0.5 * total)] = 4
    return out


def _largest(shares: list[FloatArray], table: TissueTable) -> NDArray[np.uint8]:
    out: NDArray[np.uint8] = table.values[np.argmax(shares, axis=0)]
    return out


def _scattered(
    mask: BoolArray, box: tuple[slice, slice, slice], labels: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Put the labels of the box on the whole grid, 0 outside of the mask."""
    out = np.zeros(mask.shape, np.uint8)
    out[box] = labels * mask[box]
    return out


def _around(head: _Head, brain: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Put what fills most of a voxel (bone, soft tissue or air) around the labels of the brain."""
    bone = head.outside["bone"] + head.outside["marrow"]
    soft = head.outside["muscle"] + head.outside["fat"]
    air = 1 - bone - soft
    air[head.box] -= sum(head.inside.values())
    labels = HEAD.values[-3:][np.argmax([bone, soft, air], axis=0)]
    return np.where(head.brain, brain, labels)
