"""One mixture for all sessions of a person: what differs between them is the tissue alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from brainseg.core.masking import bounding_box
from brainseg.core.volume import BoolArray
from brainseg.errors import DataError
from brainseg.longitudinal.matching import spread
from brainseg.mixture import responsibilities
from brainseg.tissues import em
from brainseg.tissues.bias import LogField
from brainseg.tissues.fit import SAMPLES, named_model, relative_noise
from brainseg.tissues.model import Floats, Model, anchors_of, components_for, place
from brainseg.tissues.neighbourhood import usual_strength
from brainseg.tissues.regions import by_region
from brainseg.tissues.scan import Scan, limits, scaled
from brainseg.tissues.tables import TissueTable
from brainseg.tissues.voxels import Neighbours, Voxels, decide

# Rounds of fitting the mixture and matching the sessions' intensities to it.
_ROUNDS = 3
# Steps of one matching, in which tissues and intensities take turns.
_MATCHING_STEPS = 3


@dataclass(frozen=True)
class JointOptions:
    """How sessions are fitted together.

    Attributes
    ----------
    table : TissueTable
    bias : bool
        Estimate the bias field that all sessions share.
    smooth : float or None
        Strength of the neighbourhood; None follows the noise.
    threads : int
        Bits do not depend on it.
    """

    table: TissueTable
    bias: bool = True
    smooth: float | None = None
    threads: int = 1


@dataclass(frozen=True, eq=False)
class JointFit:
    """The tissues of every session, by one model.

    Attributes
    ----------
    voxels : tuple of Voxels
        For each session the tissues of the voxels of the common mask.
    log_field : ndarray of float32, shape (I, J, K), or None
        The bias field that the sessions share.
    gains, offsets : ndarray, shape (S,)
        What each session's (scaled) intensities are multiplied by, and what is then added.
    model : Model
    found : em.Fitted
        The last fit.
    """

    voxels: tuple[Voxels, ...]
    log_field: NDArray[np.float32] | None
    gains: Floats
    offsets: Floats
    model: Model
    found: em.Fitted


def fit_sessions(
    sessions: Sequence[NDArray[np.float32]],
    mask: BoolArray,
    zooms: tuple[float, float, float],
    atlas: NDArray[np.float32] | None,
    options: JointOptions,
) -> JointFit:
    """Fit one mixture to the voxels of all sessions together, and decide each session by it.

    Class parameters are shared; each session has a gain and an offset of its own, found in turns
    with the mixture from the pure tissues' intensities. Bias fields that differ between sessions
    are to be removed before (`brainseg.longitudinal.matching`); the one that is left is shared.

    Parameters
    ----------
    sessions : sequence of ndarray of float32, shape (I, J, K)
        Aligned, on one grid, with gains and differential bias fields removed.
    mask : ndarray of bool, shape (I, J, K)
        The one brain mask.
    zooms : tuple of float
        Voxel sizes in mm.
    atlas : ndarray of float32, shape (7, n_mask), or None
        The one spatial prior.
    options : JointOptions

    Raises
    ------
    DataError
        When the mask is empty or a session holds too few distinct values.
    """
    scans = _prepare(sessions, mask, len(options.table))
    learnt = _learn(scans, zooms, atlas, options)
    first, model = scans[0], learnt.model
    log_field = None if learnt.field is None else learnt.field.on_grid()
    for scan, gain, offset in zip(scans, learnt.gains, learnt.offsets, strict=True):
        scan.channels[0] *= np.float32(gain)
        scan.channels[0] += np.float32(offset)
        if log_field is not None:
            scan.correct([log_field])
    strength = usual_strength(relative_noise(model)) if options.smooth is None else options.smooth
    voxels = tuple(
        decide(
            scan,
            model,
            neighbours=Neighbours(zooms, strength),
            atlas=atlas,
            threads=options.threads,
        )
        for scan in scans
    )
    if options.table.regional and atlas is not None:
        voxels = tuple(
            replace(v, responsibilities=by_region(v.responsibilities, atlas)) for v in voxels
        )
    return JointFit(
        voxels=voxels,
        log_field=None if log_field is None else first.on_grid(log_field, mask.shape),
        gains=learnt.gains,
        offsets=learnt.offsets,
        model=model,
        found=learnt.found,
    )


@dataclass(frozen=True, eq=False)
class _Learnt:
    """What a sample of all sessions' voxels taught."""

    model: Model
    found: em.Fitted
    field: LogField | None
    gains: Floats
    offsets: Floats


def _learn(
    scans: Sequence[Scan],
    zooms: tuple[float, float, float],
    atlas: NDArray[np.float32] | None,
    options: JointOptions,
) -> _Learnt:
    """Fit mixture and bias field to all sessions, and match the sessions to it, in turns."""
    components = components_for(placed=atlas is not None)
    first, count = scans[0], len(scans)
    at = spread(first.tissue, SAMPLES)
    seen = None if atlas is None else atlas[:, first.rows(at)]
    places = None if seen is None else place(components, seen)
    everywhere = tuple(np.tile(axis, count) for axis in at)
    values = np.stack([scan.channels[0][at] for scan in scans]).astype(np.float64)
    gains, offsets = np.ones(count), np.zeros(count)
    for left in reversed(range(_ROUNDS)):
        matched = gains[:, None] * values + offsets[:, None]
        field = LogField(first.inside.shape, zooms, everywhere) if options.bias else None
        found = em.fit(
            matched.reshape(-1, 1),
            components,
            atlas=None if seen is None else np.tile(seen, (1, count)),
            fields=[] if field is None else [field],
        )
        model = named_model(found, components, options.table)
        if left:
            n = values.shape[1]
            bias = np.ones(n) if field is None else np.exp(field.at_samples()[:n])
            gains, offsets = _match(values, bias, model, places, (gains, offsets))
    return _Learnt(model, found, field, gains, offsets)


def _prepare(sessions: Sequence[NDArray[np.float32]], mask: BoolArray, needed: int) -> list[Scan]:
    """Crop, clip and scale all sessions alike: the mean of their limits counts for all."""
    if not mask.any():
        raise DataError("the brain mask that the sessions share is empty")
    box = bounding_box(mask, margin=1)
    inside = np.ascontiguousarray(mask[box])
    found = [limits(session, session[box][inside], t1w=True) for session in sessions]
    zero, low, high = np.array([bounds[:3] for bounds in found]).mean(axis=0).tolist()
    accidents = np.zeros(inside.shape, bool)
    for session, (_, _, brightest, limited) in zip(sessions, found, strict=True):
        if limited:
            accidents |= session[box] > brightest
    out = []
    for session in sessions:
        cropped = session[box]
        if np.unique(np.clip(cropped[inside], low, high)).size < max(needed, 2):
            raise DataError(
                "a session holds too few different intensities in the brain; is it a label map?"
            )
        channel = scaled(cropped, zero=zero, low=low, high=high)
        out.append(Scan([channel], inside, box, (zero,), (high - zero,), accidents))
    return out


def _match(
    values: Floats,
    field: Floats,
    model: Model,
    places: NDArray[np.float32] | None,
    start: tuple[Floats, Floats],
) -> tuple[Floats, Floats]:
    """Find each session's gain and offset, so that its pure tissues have the intensities of all.

    Parameters
    ----------
    values : ndarray, shape (S, n)
    field : ndarray, shape (n,)
        Bias field at the samples.
    model : Model
    places : ndarray, shape (n, M), or None
    start : tuple of ndarray, shape (S,)
        Gains and offsets to begin with.
    """
    pure = list(anchors_of(model.components))
    precision = 1 / model.covariances[pure, 0, 0]
    gains, offsets = (np.array(x) for x in start)
    for _ in range(_MATCHING_STEPS):
        seen = [(g * y + o) / field for g, y, o in zip(gains, values, offsets, strict=True)]
        # Both sessions show one place: a voxel counts for a tissue as far as all of them say so,
        # or what is bright by chance in one session would be called white matter there alone.
        shares = [responsibilities(model.log_joint(x[:, None], places))[0][:, pure] for x in seen]
        share = np.prod(shares, axis=0) ** (1 / len(shares))
        size = share.sum(axis=0) + 1e-9
        centres = np.stack([x @ share / size for x in seen])
        target = centres.mean(axis=0)
        for s, centre in enumerate(centres):
            gain, offset = _line(centre, target, size * precision)
            gains[s], offsets[s] = gain * gains[s], gain * offsets[s] + offset
    return gains, offsets


def _line(x: Floats, y: Floats, weight: Floats) -> tuple[float, float]:
    """Return slope and intercept of the weighted least squares line of `y` on `x`."""
    total = weight.sum()
    mx, my = float(weight @ x / total), float(weight @ y / total)
    slope = float(weight @ ((x - mx) * (y - my)) / max(float(weight @ (x - mx) ** 2), 1e-12))
    return slope, my - slope * mx
