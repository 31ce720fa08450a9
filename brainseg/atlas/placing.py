"""Where in this brain each class of tissue is to be expected: the atlas, bent onto the scan."""

from __future__ import annotations

import functools
import logging

import numpy as np
from numpy.typing import NDArray

from brainseg.atlas.carrying import carry, carry_brain
from brainseg.atlas.head_atlas import BRAIN, Atlas, load_atlas
from brainseg.atlas.head_scan import HeadScan
from brainseg.atlas.registration import Registration, brain_box, on_whole_grid, register_atlas
from brainseg.atlas.warping import demons, enlarge, pull, shrink, smooth
from brainseg.core.metrics import dice
from brainseg.core.parallel import each
from brainseg.core.volume import BoolArray, FloatArray, Volume

log = logging.getLogger(__name__)

# A placed atlas whose brain agrees less than this with the mask lies somewhere else: on heads that
# it fits the Dice is above 0.9, on slabs and failed registrations far below.
LEAST_PLACED_DICE = 0.8
# Classes that share an intensity are told apart by place alone.
INTENSITIES = (
    ("csf",),
    ("cortical_grey", "cerebellar_grey"),
    ("deep_grey",),
    ("white", "cerebellar_white"),
    ("brain_stem",),
)
# What demons compare: positions in INTENSITIES that make up CSF, grey and white.
CHANNELS = ((0,), (1, 2), (3, 4))
# Share of each voxel's prior that is given to the brain's average mixture: no class is ever
# impossible, and where the atlas has bone (a mask wider than its own) there is a prior too.
FLOOR = 0.01


def place_atlas(
    volume: Volume,
    mask: BoolArray,
    *,
    atlas: Atlas | None = None,
    threads: int = 1,
) -> NDArray[np.float32] | None:
    """Give the probability of every class of the atlas' brain in every voxel of the mask.

    The atlas is registered to the masked scan (affine, then demons on intensities), not from where
    brain extraction found it in the whole head: from there it went wrong on one head of seven (stem
    0.84 instead of 0.88 Dice), and was better on none. Then class posteriors and warp take turns,
    as in unified segmentation: Gaussians are fitted with the bent atlas as prior, and demons bring
    the atlas' CSF, grey and white to their posteriors. So the contrast does not matter, and a scan
    that is stripped already serves as well.

    Parameters
    ----------
    volume : Volume
        Head or skull-stripped brain in closest-canonical axis order, finite; a bias field that
        is removed before makes the fit closer.
    mask : ndarray of bool, shape (I, J, K)
        Brain mask, CSF included.
    atlas : Atlas, optional
        Another atlas than the one that ships with brainseg.
    threads : int
        Threads at most; the result does not depend on it.

    Returns
    -------
    ndarray of float32, shape (7, n_mask), or None
        In the order of `brainseg.atlas.head_atlas.BRAIN` (CSF, cortical grey, white, deep grey,
        brain stem, cerebellar grey, cerebellar white); they sum to 1 in each voxel of the mask.
        None where the atlas does not meet the mask, so that it cannot be trusted.

    References
    ----------
    Ashburner & Friston, NeuroImage 2005, doi:10.1016/j.neuroimage.2005.02.018.
    """
    atlas = load_atlas() if atlas is None else atlas
    first = register_atlas(volume.data, atlas, zooms=volume.zooms, brain=mask, threads=threads)
    field = _refine(volume, mask, atlas, first, threads)
    refined = Registration(first.matrix, field, first.intensities, first.explained)
    if _agreement(refined, atlas, volume, mask, threads) < LEAST_PLACED_DICE:
        return None
    maps = np.stack([atlas.of(name) for name in BRAIN])
    found = carry(maps, refined, mask, zooms=volume.zooms, threads=threads)
    usual = maps.sum(axis=(1, 2, 3), dtype=np.float64)
    found += FLOOR * (usual / usual.sum()).astype(np.float32)[:, None]
    found /= found.sum(axis=0)
    return found


def _agreement(
    placed: Registration, atlas: Atlas, volume: Volume, mask: BoolArray, threads: int
) -> float:
    """Dice of the placed atlas' brain and the mask, both at about 2 mm."""
    i, j, k = (max(1, round(1.999 / z)) for z in volume.zooms)
    small = mask[::i, ::j, ::k]
    x, y, z = volume.zooms
    zooms = (x * i, y * j, z * k)
    brain = carry_brain(placed, atlas, shape=small.shape, zooms=zooms, threads=threads)
    agreement = dice(brain > 0.5, small)
    log.debug("the placed atlas agrees with the mask by Dice %.3f", agreement)
    return agreement


def _refine(
    volume: Volume, mask: BoolArray, atlas: Atlas, found: Registration, threads: int
) -> NDArray[np.float32]:
    """Posteriors and demons in turns, twice at 4 mm and once at 2 mm; the field on the atlas."""
    box = brain_box(atlas)
    scan = HeadScan.prepare(volume.data, volume.zooms)
    cover = scan.of(mask.astype(np.float32))
    values, seen = scan.onto(found.matrix, box)
    share = cover.onto(found.matrix, box)[0] * seen
    groups = np.stack([atlas.of(*names)[box] for names in INTENSITIES])
    assert found.field is not None
    field = np.stack([shrink(f, [2] * 3) for f in found.field[:, *box]]) / np.float32(2)
    for factor, blur, iterations in ((2, 0.7, 12), (2, 0.4, 12), (1, 0.7, 5)):
        maps = np.stack([shrink(g, [factor] * 3) for g in groups])
        level, inside = (shrink(v, [factor] * 3) for v in (values, share))
        if field.shape[1:] != inside.shape:
            field = enlarge(field, (3, *inside.shape))
        bent = np.stack(each(functools.partial(pull, field=field), maps, threads))
        posteriors = _posteriors(level, inside, bent)
        fixed, moving = (
            smooth(np.stack([m[list(c)].sum(axis=0) for c in CHANNELS]), blur, threads)
            for m in (posteriors, maps)
        )
        field = demons(
            fixed,
            moving,
            field=field,
            iterations=iterations,
            elastic=1.0,
            threads=threads,
        )
    return on_whole_grid(field, box, atlas)


def _posteriors(values: FloatArray, inside: FloatArray, priors: FloatArray) -> FloatArray:
    """Posterior of each intensity group: EM for one Gaussian each, the atlas as its weights.

    Parameters
    ----------
    values : ndarray, shape (I, J, K)
    inside : ndarray, shape (I, J, K)
        Share of each voxel in the mask; posteriors sum to it.
    priors : ndarray, shape (5, I, J, K)
    """
    at = inside > 0.5
    x = values[at].astype(np.float64)
    prior = priors[:, at].astype(np.float64) + 1e-3
    prior /= prior.sum(axis=0)
    floor = 1e-3 * float(x.var()) + 1e-12
    resp = prior
    for _ in range(10):
        total = resp.sum(axis=1)
        means = (resp * x).sum(axis=1) / total
        squares = (x - means[:, None]) ** 2
        variances = (resp * squares).sum(axis=1) / total + floor
        density = -0.5 * (squares / variances[:, None] + np.log(variances)[:, None])
        resp = prior * np.exp(density - density.max(axis=0))
        resp /= resp.sum(axis=0)
    out = np.zeros(priors.shape, np.float32)
    out[:, at] = resp * inside[at]
    return out
