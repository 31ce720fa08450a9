"""One mixture for all sessions of a person: what differs between them is the tissue alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from brainseg.core.masking import bounding_box
from brainseg.core.volume import BoolArray
from brainseg.errors import DataError
from brainseg.longitudinal.lesions import in_common
from brainseg.longitudinal.matching import spread
from brainseg.mixture import responsibilities
from brainseg.tissues import em
from brainseg.tissues.bias import LogField
from brainseg.tissues.fit import SAMPLES, named_model, relative_noise
from brainseg.tissues.lesions import LesionModel
from brainseg.tissues.model import (
    Floats,
    Model,
    anchors_of,
    components_for,
    log_mixing,
    place,
)
from brainseg.tissues.neighbourhood import usual_strength
from brainseg.tissues.regions import by_region
from brainseg.tissues.scan import Scan, limits, scaled
from brainseg.tissues.tables import TissueTable
from brainseg.tissues.voxels import Neighbours, Voxels, decide, unexplained

Channels: TypeAlias = Sequence[NDArray[np.float32]]
"""Scans of one session on one grid: the T1w, then the other contrasts."""

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
        Estimate the bias fields that all sessions share, one of each contrast.
    smooth : float or None
        Strength of the neighbourhood; None follows the noise.
    threads : int
        Bits do not depend on it.
    others : tuple of str
        Names of the contrasts beside the T1w, in the order of the channels. With one called
        ``FLAIR``, lesion candidates are looked for.
    """

    table: TissueTable
    bias: bool = True
    smooth: float | None = None
    threads: int = 1
    others: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class JointFit:
    """The tissues of every session, by one model.

    Attributes
    ----------
    voxels : tuple of Voxels
        For each session the tissues of the voxels of the common mask.
    log_field : ndarray of float32, shape (I, J, K), or None
        The bias field of the T1w that the sessions share.
    gains, offsets : ndarray, shape (S, D)
        What each session's (scaled) intensities are multiplied by, and what is then added, by
        channel.
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
    sessions: Sequence[Channels],
    mask: BoolArray,
    zooms: tuple[float, float, float],
    atlas: NDArray[np.float32] | None,
    options: JointOptions,
) -> JointFit:
    """Fit one mixture to the voxels of all sessions together, and decide each session by it.

    Class parameters are shared; each session has a gain, an offset and a noise of its own by
    contrast, found in turns with the mixture from the pure tissues' intensities: what is known of
    a visit less surely must not pass for less tissue. Bias fields that differ
    between sessions are to be removed before (`brainseg.longitudinal.matching`); the one that is
    left is shared. Lesion candidates are looked for in all sessions together.

    Parameters
    ----------
    sessions : sequence of sequence of ndarray of float32, shape (I, J, K)
        For each session its channels: aligned, on one grid, with gains and differential bias
        fields removed.
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
    first, model, levels = scans[0], learnt.model, learnt.levels
    models = [model.noisier(extra) for extra in levels.noise]
    fields = [field.on_grid() for field in learnt.fields]
    for scan, gains, offsets in zip(scans, levels.gains, levels.offsets, strict=True):
        for channel, gain, offset in zip(scan.channels, gains, offsets, strict=True):
            channel *= np.float32(gain)
            channel += np.float32(offset)
        if fields:
            scan.correct(fields)
    strength = usual_strength(relative_noise(model)) if options.smooth is None else options.smooth
    neighbours = Neighbours(zooms, strength)
    sick: list[NDArray[np.float32] | None] = [None] * len(scans)
    if learnt.lesions is not None:
        maps = [
            unexplained(scan, own, learnt.lesions, neighbours, atlas, options.threads)
            for scan, own in zip(scans, models, strict=True)
        ]
        sick = [found[first.inside] for found in in_common(maps, zooms)]
    voxels = tuple(
        decide(scan, own, neighbours=neighbours, atlas=atlas, lesions=ill, threads=options.threads)
        for scan, own, ill in zip(scans, models, sick, strict=True)
    )
    if options.table.regional and atlas is not None:
        voxels = tuple(
            replace(v, responsibilities=by_region(v.responsibilities, atlas)) for v in voxels
        )
    return JointFit(
        voxels=voxels,
        log_field=first.on_grid(fields[0], mask.shape) if fields else None,
        gains=levels.gains,
        offsets=levels.offsets,
        model=model,
        found=learnt.found,
    )


@dataclass(frozen=True, eq=False)
class _Levels:
    """How the intensities of each session differ from those of all, each of shape (S, D).

    Attributes
    ----------
    gains, offsets : ndarray
        As of `JointFit`.
    noise : ndarray
        Variance of a session's noise over the mean of all sessions.
    """

    gains: Floats
    offsets: Floats
    noise: Floats


@dataclass(frozen=True, eq=False)
class _Learnt:
    """What a sample of all sessions' voxels taught."""

    model: Model
    found: em.Fitted
    fields: list[LogField]
    levels: _Levels
    lesions: LesionModel | None


def _learn(
    scans: Sequence[Scan],
    zooms: tuple[float, float, float],
    atlas: NDArray[np.float32] | None,
    options: JointOptions,
) -> _Learnt:
    """Fit mixture and bias fields to all sessions, and match the sessions to it, in turns."""
    components = components_for(placed=atlas is not None)
    lesions = None
    if "FLAIR" in options.others:
        lesions = LesionModel(1 + options.others.index("FLAIR"), components)
    first, count, d = scans[0], len(scans), 1 + len(options.others)
    at = spread(first.tissue, SAMPLES)
    seen = None if atlas is None else atlas[:, first.rows(at)]
    places = None if seen is None else place(components, seen)
    everywhere = tuple(np.tile(axis, count) for axis in at)
    values = np.stack(
        [np.stack([c[at] for c in s.channels], axis=1).astype(np.float64) for s in scans]
    )
    levels = _Levels(np.ones((count, d)), np.zeros((count, d)), np.zeros((count, d)))
    for left in reversed(range(_ROUNDS)):
        matched = levels.gains[:, None] * values + levels.offsets[:, None]
        fields = []
        if options.bias:
            fields = [LogField(first.inside.shape, zooms, everywhere) for _ in range(d)]
        found = em.fit(
            matched.reshape(-1, d),
            components,
            atlas=None if seen is None else np.tile(seen, (1, count)),
            fields=fields,
            lesions=lesions,
            noise=levels.noise,
        )
        model = named_model(found, components, options.table)
        if left:
            n = values.shape[1]
            bias = np.ones((n, d))
            for channel, field in enumerate(fields):
                bias[:, channel] = np.exp(field.at_samples()[:n])
            known = _Known(model, lesions, places, bias)
            levels = _match(values, known, levels)
    return _Learnt(model, found, fields, levels, lesions)


def _prepare(sessions: Sequence[Channels], mask: BoolArray, needed: int) -> list[Scan]:
    """Crop, clip and scale all sessions alike: the mean of their limits counts for all."""
    if not mask.any():
        raise DataError("the brain mask that the sessions share is empty")
    box = bounding_box(mask, margin=1)
    inside = np.ascontiguousarray(mask[box])
    accidents = np.zeros(inside.shape, bool)
    prepared: list[list[NDArray[np.float32]]] = [[] for _ in sessions]
    zeros, scales = [], []
    for c, channels in enumerate(zip(*sessions, strict=True)):
        found = [limits(x, x[box][inside], t1w=c == 0) for x in channels]
        zero, low, high = np.array([bounds[:3] for bounds in found]).mean(axis=0).tolist()
        for x, (_, _, brightest, limited), out in zip(channels, found, prepared, strict=True):
            cropped = x[box]
            if limited:
                accidents |= cropped > brightest
            if np.unique(np.clip(cropped[inside], low, high)).size < max(needed, 2):
                raise DataError(
                    "a session holds too few different intensities in the brain; is it a label map?"
                )
            out.append(scaled(cropped, zero=zero, low=low, high=high))
        zeros.append(zero)
        scales.append(high - zero)
    return [Scan(p, inside, box, tuple(zeros), tuple(scales), accidents) for p in prepared]


@dataclass(frozen=True, eq=False)
class _Known:
    """What the sessions' intensities are matched by.

    Attributes
    ----------
    model : Model
    lesions : LesionModel or None
    places : ndarray, shape (n, M), or None
    bias : ndarray, shape (n, D)
        Bias fields at the samples.
    """

    model: Model
    lesions: LesionModel | None
    places: NDArray[np.float32] | None
    bias: Floats

    def pure(self, values: Floats, noise: Floats) -> Floats:
        """Probability of pure CSF, grey and white matter at the samples, shape (n, 3)."""
        model = self.model.noisier(noise)
        joint = model.log_joint(values, self.places)
        if self.lesions is not None:
            mixing = log_mixing(model.weights, self.places)
            other = self.lesions.log_joint(values, mixing, model.means, model.covariances)
            joint = np.column_stack([joint, other])
        out: Floats = responsibilities(joint)[0][:, list(anchors_of(model.components))]
        return out


def _match(values: Floats, known: _Known, start: _Levels) -> _Levels:
    """Match each session, so that its pure tissues are as bright as all's, and tell its noise.

    Parameters
    ----------
    values : ndarray, shape (S, n, D)
    known : _Known
    start : _Levels
        To begin with.
    """
    pure = list(anchors_of(known.model.components))
    variances = np.diagonal(known.model.covariances[pure], axis1=1, axis2=2)
    gains, offsets, noise = start.gains.copy(), start.offsets.copy(), start.noise.copy()
    for _ in range(_MATCHING_STEPS):
        seen = (gains[:, None] * values + offsets[:, None]) / known.bias
        # All sessions show one place: a voxel counts for a tissue as far as all of them say so,
        # or what is bright by chance in one session would be called white matter there alone.
        shares = [known.pure(x, extra) for x, extra in zip(seen, noise, strict=True)]
        share = np.prod(shares, axis=0) ** (1 / len(shares))
        size = share.sum(axis=0) + 1e-9
        for channel in range(values.shape[2]):
            centres = np.stack([x[:, channel] @ share / size for x in seen])
            target = centres.mean(axis=0)
            weight = size / variances[:, channel]
            found = np.array([
                _solid_variance(x[:, channel], share, centre)
                for x, centre in zip(seen, centres, strict=True)
            ])  # fmt: skip
            noise[:, channel] = found - found.mean()
            for s, centre in enumerate(centres):
                gain, offset = _line(centre, target, weight)
                gains[s, channel] *= gain
                offsets[s, channel] = gain * offsets[s, channel] + offset
    return _Levels(gains, offsets, noise)


def _solid_variance(x: Floats, share: Floats, centres: Floats) -> float:
    """Variance of pure grey and white matter about their centres; CSF flows, and is not asked."""
    solid = share[:, 1:]
    return float(((x[:, None] - centres[1:]) ** 2 * solid).sum() / (solid.sum() + 1e-9))


def _line(x: Floats, y: Floats, weight: Floats) -> tuple[float, float]:
    """Return slope and intercept of the weighted least squares line of `y` on `x`."""
    total = weight.sum()
    mx, my = float(weight @ x / total), float(weight @ y / total)
    slope = float(weight @ ((x - mx) * (y - my)) / max(float(weight @ (x - mx) ** 2), 1e-12))
    return slope, my - slope * mx
