"""The affine fit of the head atlas to a scan, coarse to fine, from many starts."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainseg.atlas.head_atlas import BRAIN, Atlas
from brainseg.atlas.head_scan import HeadScan
from brainseg.atlas.warping import sample, shrink, smooth
from brainseg.core.parallel import each
from brainseg.core.volume import BoolArray, FloatArray

Matrix = NDArray[np.float64]

STIFF = 1.0
"""Cost of an atlas stretched by 10 % along one axis: 0.01 of the scan's variance. Without it a
scan whose field of view ends inside the head can squeeze the atlas into what is there."""


def fit_affine(
    scan: HeadScan,
    atlas: Atlas,
    *,
    zooms: tuple[float, float, float],
    brain: BoolArray | None,
    threads: int,
) -> tuple[Matrix, FloatArray, float]:
    """Place the atlas by an affine map.

    Parameters
    ----------
    scan : HeadScan
    atlas : Atlas
    zooms : tuple of float
        Voxel sizes of `brain` in mm.
    brain : ndarray of bool, shape (I, J, K), or None
        Brain mask to start from; without one the start is searched below the head's vertex.
    threads : int
        The result does not depend on it.

    Returns
    -------
    matrix : ndarray, shape (4, 4)
        Atlas voxel indices to the scan's voxel frame in mm.
    intensities : ndarray, shape (10,)
        Mean intensity of each of the atlas' classes in the scan.
    explained : float
        Share of the scan's variance that the placed classes explain.
    """
    coarse = _Coarse.of(atlas)
    problems = each(functools.partial(_Problem.prepare, scan, coarse), _LEVELS, threads)
    first = problems[0]
    starts = _search(first, atlas) if brain is None else _from_mask(brain, atlas, zooms)
    fits = each(first.descend, starts, threads)
    matrix = max(fits, key=lambda fit: fit[1])[0]
    for finer in problems[1:]:
        matrix, explained = finer.descend(matrix)
    return matrix, finer.explain(matrix).means, explained


@dataclass(frozen=True, eq=False)
class _Explained:
    """What the classes explain for one place of the atlas: see `_Problem.explain`."""

    cost: float
    share: float
    index: FloatArray
    means: FloatArray
    residual: FloatArray


@dataclass(frozen=True, eq=False)
class _Coarse:
    """The atlas at twice its voxel size, and the weight of each place in the affine fit."""

    atlas: Atlas
    maps: NDArray[np.float32]
    near: NDArray[np.float32]

    @classmethod
    def of(cls, atlas: Atlas) -> _Coarse:
        """Scalp and skull steer the fit; face and neck differ too much between heads."""
        maps = np.stack([shrink(p, [2] * 3) for p in atlas.probabilities])
        near = ndimage.grey_dilation(maps[: len(BRAIN)].sum(axis=0), size=7)
        return cls(atlas, maps, np.clip(ndimage.gaussian_filter(near, 1.0), 0, 1))


@dataclass(frozen=True)
class _Level:
    """One level of the affine fit, coarse to fine.

    Attributes
    ----------
    stride : int
        Of the atlas at 4 mm every `stride`-th voxel along each axis counts.
    sigma : float
        Blur of scan and atlas in mm.
    dof, steps : int
        Degrees of freedom, and Gauss-Newton steps at most.
    """

    stride: int
    sigma: float
    dof: int
    steps: int


_LEVELS = (_Level(3, 8.0, 7, 10), _Level(2, 5.0, 7, 12), _Level(2, 4.0, 12, 15),
           _Level(1, 2.0, 12, 6))  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Problem:
    """Least squares of the scan on the classes, over fixed points of the atlas.

    Cost: the unexplained share of the variance, ``min_mu |I(N y) - sum_k mu_k P_k(y)|^2_w``
    over that of the mean alone, with N the affine from the atlas to the scan.
    """

    scan: HeadScan
    level: _Level
    smoothed: NDArray[np.float32]
    slope: NDArray[np.float32]
    zoom: float
    points: FloatArray
    centred: FloatArray
    classes: FloatArray
    weight: FloatArray
    projector: FloatArray

    @classmethod
    def prepare(cls, scan: HeadScan, coarse: _Coarse, level: _Level) -> _Problem:
        """Blur both sides and pick points of the atlas at 4 mm, as a level says."""
        stride, sigma = level.stride, level.sigma
        pick = np.zeros(coarse.near.shape, bool)
        pick[::stride, ::stride, ::stride] = True
        pick &= coarse.near > 0.05
        # voxel i at 4 mm is the mean of voxels 2i and 2i + 1
        points = 2.0 * np.argwhere(pick).T + 0.5
        weight = coarse.near[pick].astype(float)
        smoothed = smooth(coarse.maps, sigma / (2 * coarse.atlas.zoom))
        classes = smoothed[:, pick].T.astype(float)
        gram = classes.T @ (classes * weight[:, None])
        gram += np.eye(len(gram)) * 1e-4 * np.trace(gram) / len(gram)
        blurred = ndimage.gaussian_filter(scan.data, sigma / scan.zooms, truncate=3.0)
        slope = np.stack(
            [g / z for g, z in zip(np.gradient(blurred), scan.zooms, strict=True)]
        ).astype(np.float32)
        return cls(
            scan,
            level,
            blurred,
            slope,
            coarse.atlas.zoom,
            points,
            points - coarse.atlas.centre[:, None],
            classes,
            weight,
            np.linalg.solve(gram, (classes * weight[:, None]).T),
        )

    def explain(self, matrix: Matrix) -> _Explained:
        """Fit the classes' intensities for a place of the atlas."""
        index = self.scan.index(matrix[:3, :3] @ self.points + matrix[:3, 3:])
        values = sample(self.smoothed[None], index)[0]
        means = self.projector @ values
        residual = values - self.classes @ means
        spread = values - np.average(values, weights=self.weight)
        # a flat piece of background is explained by anything, so it must not win
        flat = 0.002 * float(self.weight.sum())
        share = float(self.weight @ residual**2) + flat
        share /= float(self.weight @ spread**2) + flat
        sizes = np.log(np.linalg.svd(matrix[:3, :3], compute_uv=False) / self.zoom)
        cost = share + STIFF * float((sizes**2).sum())
        return _Explained(cost, share, index, means, residual)

    def descend(self, matrix: Matrix) -> tuple[Matrix, float]:
        """Gauss-Newton with halving steps; returns the matrix and the explained share."""
        dof = self.level.dof
        generators = _generators(dof)
        now = self.explain(matrix)
        for _ in range(self.level.steps):
            slope = matrix[:3, :3].T @ sample(self.slope, now.index)
            columns = np.stack(
                [(slope * (g[:3, :3] @ self.centred + g[:3, 3:])).sum(axis=0) for g in generators],
                axis=1,
            )
            # the intensities are free, so only what they cannot mimic counts as slope
            columns -= self.classes @ (self.projector @ columns)
            heavy = columns * self.weight[:, None]
            normal = columns.T @ heavy
            normal += np.diag(np.diag(normal)) * 1e-3 + np.eye(dof) * 1e-12
            delta = -np.linalg.solve(normal, heavy.T @ now.residual)
            for _ in range(4):
                trial = matrix @ self._about_centre(generators, delta)
                then = self.explain(trial)
                if then.cost < now.cost:
                    break
                delta = delta / 2
            else:
                break
            gain, now, matrix = now.cost - then.cost, then, trial
            if gain < 1e-5:
                break
        return matrix, 1 - now.share

    def _about_centre(self, generators: list[Matrix], delta: FloatArray) -> Matrix:
        from_centre = np.eye(4)
        from_centre[:3, 3] = (self.points - self.centred)[:, 0]
        small = np.eye(4) + sum(d * g for d, g in zip(delta, generators, strict=True))
        out: Matrix = from_centre @ small @ np.linalg.inv(from_centre)
        return out


def _generators(dof: int) -> list[Matrix]:
    """Directions of change: 3 shifts, 3 rotations, 1 scale (dof 7), or all 12 (dof 12)."""
    out = []
    for axis in range(3):
        g = np.zeros((4, 4))
        g[axis, 3] = 1
        out.append(g)
    if dof == 12:
        for row, column in itertools.product(range(3), range(3)):
            g = np.zeros((4, 4))
            g[row, column] = 0.02
            out.append(g)
        return out
    for a, b in ((0, 1), (0, 2), (1, 2)):
        g = np.zeros((4, 4))
        g[a, b], g[b, a] = 0.02, -0.02
        out.append(g)
    g = np.diag([0.02, 0.02, 0.02, 0.0])
    return [*out, g]


def _rotation(pitch: float, roll: float, yaw: float) -> Matrix:
    """Rotation about the x, y and z axis in turn, degrees."""
    out = np.eye(3)
    for axis, angle in enumerate((pitch, roll, yaw)):
        a, b = [i for i in range(3) if i != axis]
        c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        turn = np.eye(3)
        turn[a, a], turn[a, b], turn[b, a], turn[b, b] = c, -s, s, c
        out = turn @ out
    return out


def _search(problem: _Problem, atlas: Atlas) -> list[Matrix]:
    """Rank a coarse grid of places, tilts and sizes below the head's vertex."""
    crown = float(np.flatnonzero((atlas.of(*BRAIN) > 0.5).any(axis=(0, 1)))[-1])
    # scalp and skull above the brain take about 12 mm
    drop = (crown - atlas.centre[2]) * atlas.zoom + 12.0
    vertex = problem.scan.vertex()
    grid = [
        _pose(
            atlas,
            atlas.centre,
            vertex + np.array([x, y, z - drop * size]),
            (tilt, 0, 0),
            size,
        )
        for x in (-15.0, 0.0, 15.0)
        for y in (-30.0, -15.0, 0.0, 15.0, 30.0)
        for z in (-45.0, -30.0, -15.0, 0.0, 15.0)
        for tilt in (-30.0, -15.0, 0.0, 15.0, 30.0)
        for size in (0.93, 1.05)
    ]
    costs = [problem.explain(m).cost for m in grid]
    ranked = [grid[i] for i in np.argsort(costs, kind="stable")[:12]]
    turns = [
        _pose(atlas, atlas.centre, atlas.centre, (0, roll, yaw), 1 / atlas.zoom)
        for roll, yaw in ((-25, 0), (25, 0), (0, -25), (0, 25))
    ]
    return ranked + [m @ turn for m in ranked[:3] for turn in turns]


def _from_mask(brain: BoolArray, atlas: Atlas, zooms: tuple[float, float, float]) -> list[Matrix]:
    """Put the atlas' brain on the mask: same centre, same volume, several tilts."""
    inside = atlas.of(*BRAIN)
    unit = float(np.prod(zooms))
    size = (float(brain.sum()) * unit / (float(inside.sum()) * atlas.zoom**3)) ** (1 / 3)
    there = [
        float(np.average(np.arange(n), weights=brain.sum(axis=tuple({0, 1, 2} - {a})))) * zooms[a]
        for a, n in enumerate(brain.shape)
    ]
    here = np.array(ndimage.center_of_mass(inside))
    return [
        _pose(atlas, here, np.array(there), (tilt, roll, yaw), size)
        for tilt in (-30.0, -15.0, 0.0, 15.0, 30.0)
        for roll, yaw in ((0, 0), (-25, 0), (25, 0), (0, -25), (0, 25))
    ]


def _pose(
    atlas: Atlas,
    here: FloatArray,
    there: FloatArray,
    angles: tuple[float, float, float],
    size: float,
) -> Matrix:
    """Atlas voxel `here` on the scan's `there` (mm), turned by degrees, scaled by `size`."""
    out = np.eye(4)
    out[:3, :3] = _rotation(*angles) * atlas.zoom * size
    out[:3, 3] = there - out[:3, :3] @ here
    return out
