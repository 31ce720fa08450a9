"""The components of the tissue mixture: pure tissues, and boundary classes tied between them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from brainseg.atlas.head_atlas import BRAIN
from brainseg.mixture import log_gaussian, log_joint
from brainseg.tissues.tables import TissueTable

Floats = NDArray[np.float64]
Places = dict[str, float]

CSF, GREY, WHITE = 0, 1, 2
NEVER = -1e4
"""Log joint density of a component that a voxel cannot come from."""
_T = 1 / 3
# Share of a variance that less noise leaves: the rest of it is anatomy. Of two scans, one with
# twice the noise of the other, the better one has two fifths of their mean variance.
_LEAST_VARIANCE = 0.25


@dataclass(frozen=True)
class Component:
    """One Gaussian of the model.

    Attributes
    ----------
    name : str
    shares : tuple of float
        CSF, GM and WM in its mean; the mean of a boundary class is tied between its neighbours.
    parent : int
        The three-tissue class that most of its voxels belong to (0 CSF, 1 GM, 2 WM).
    intensity : int
        Position of its class in the table of this name.
    places : dict
        Classes of the atlas where it is to be expected, with weights.
    anchor : int or None
        The pure tissue that it is (0 CSF, 1 GM, 2 WM); None for all others. The means of the
        pure tissues say where the means of all others are expected, by their shares.
    everywhere : bool
        Whether it occurs all over the cerebrum: its mean and covariance are tied firmly, and the
        atlas cannot rule it out.
    spread : float or None
        Standard deviation that its intensities are expected to have, as a share of the step from
        grey to white matter (from CSF to white for the walls of the ventricles); None for that of
        the noise.
    blend : bool
        Whether its voxels are wholly of its own tissue, which is as bright as a blend of others
        (deep grey matter); else they hold its shares of CSF, GM and WM.
    sureness : int
        Power of what the atlas expects of it: with 1 it may be wherever its places may; with a
        high one only where the atlas is sure of them.
    learns : bool
        Whether its mean and covariance are learnt; else they stay the expected ones.
    usual : float
        Expected weight on a map of places, as a multiple of pure grey matter's: between what was
        estimated, without expectation, on scans of healthy adults and of older people.
    of_white : float or None
        Its weight as a share of white matter's, for what is too little to tell its weight; None
        where that is estimated.
    """

    name: str
    shares: tuple[float, float, float]
    parent: int
    intensity: int
    places: Places
    anchor: int | None = None
    everywhere: bool = False
    spread: float | None = None
    blend: bool = False
    sureness: int = 1
    learns: bool = True
    usual: float = 1.0
    of_white: float | None = None

    @property
    def pure(self) -> bool:
        """Whether it is pure grey or white matter; only these drive the bias field."""
        return self.anchor in (GREY, WHITE)

    @property
    def wall(self) -> bool:
        """Whether it is the boundary of a ventricle and white matter."""
        return self.shares[CSF] > 0 and self.shares[WHITE] > 0

    def tissue(self, table: TissueTable) -> int:
        """Position of its tissue in a table."""
        return self.intensity if table.name == "intensity" else self.parent


def _mix(*parts: tuple[float, Places]) -> Places:
    out: Places = {}
    for share, places in parts:
        for name, weight in places.items():
            out[name] = out.get(name, 0.0) + share * weight
    return out


_C: Places = {"csf": 1.0}
_G: Places = {"cortical_grey": 1.0, "cerebellar_grey": 1.0}
_W: Places = {"white": 1.0, "brain_stem": 1.0, "cerebellar_white": 1.0}
# Where a sulcus runs differs from head to head: the atlas says little about CSF against cortex.
_CG = _mix((1, _C), (1, _G))

# A voxel cut by a boundary may hold any share of both tissues. Two Gaussians a third and two
# thirds of the way approximate that uniform spread, and the label changes at half and half.
INTENSITY = tuple(
    replace(component, everywhere=True)
    for component in (
        Component("csf", (1, 0, 0), CSF, 0, _mix((0.7, _C), (0.3, _CG)), anchor=CSF, usual=0.5),
        Component("csf-grey", (2 * _T, _T, 0), CSF, 1, _CG, usual=0.17),
        Component("grey-csf", (_T, 2 * _T, 0), GREY, 2, _CG, usual=0.5),
        Component("grey", (0, 1, 0), GREY, 2, _mix((0.7, _G), (0.3, _CG)), anchor=GREY),
        Component("grey-white", (0, 2 * _T, _T), GREY, 3, _mix((0.75, _G), (0.25, _W)), usual=0.7),
        Component(
            "white-grey", (0, _T, 2 * _T), WHITE, 4, _mix((0.25, _G), (0.75, _W)), usual=0.55
        ),
        Component("white", (0, 0, 1), WHITE, 5, _W, anchor=WHITE, usual=1.65),
    )
)

# What only a map of places can tell: thalamus and pallidum are nearly as bright as white matter,
# a voxel of ventricle wall is as dark as cortex, and so is deep white matter that is old or sick.
# The wall is too thin to say how much of it there is, and free to grow it swallows cortex. Dim
# white matter learns nothing: on a FLAIR scan it would learn the lesions, and hide them.
PLACED = (
    Component(
        "deep grey", (0, 0.6, 0.4), GREY, 3, {"deep_grey": 1.0}, spread=0.25, blend=True, usual=0.9
    ),
    Component("csf-white", (2 * _T, 0, _T), CSF, 0, {}, spread=0.2, of_white=0.3),
    Component("white-csf", (_T, 0, 2 * _T), WHITE, 4, {}, spread=0.2, of_white=0.3),
    Component(
        "dim white",
        (0, 0.7, 0.3),
        WHITE,
        4,
        {"white": 1.0},
        spread=0.3,
        blend=True,
        sureness=12,
        learns=False,
        of_white=0.5,
    ),
)


def components_for(*, placed: bool) -> tuple[Component, ...]:
    """Return the components of the model, with a map of places or without."""
    return INTENSITY + PLACED if placed else INTENSITY


def allowed_by(
    components: tuple[Component, ...], table: TissueTable, known: NDArray[np.integer]
) -> NDArray[np.bool_]:
    """Say which components each voxel may come from, given those whose tissue is known.

    Parameters
    ----------
    components : tuple of Component
    table : TissueTable
    known : ndarray of int, shape (n,)
        Tissue of the table (1..K), 0 where it is not known.

    Returns
    -------
    ndarray of bool, shape (n, M)
    """
    tissue_of = np.array([c.parent if table.regional else c.tissue(table) for c in components])
    wanted = np.array(table.parents if table.regional else range(len(table)))[
        np.maximum(known, 1) - 1
    ]
    out: NDArray[np.bool_] = (known == 0)[:, None] | (wanted[:, None] == tissue_of)
    return out


def usual_weights(components: tuple[Component, ...]) -> Floats:
    """Return the weights that are expected on a map of places, shape (M,); they sum to 1."""
    white = components[anchors_of(components)[WHITE]].usual
    out = np.array([c.usual if c.of_white is None else c.of_white * white for c in components])
    weights: Floats = out / out.sum()
    return weights


def anchors_of(components: tuple[Component, ...]) -> tuple[int, int, int]:
    """Return the positions of pure CSF, grey and white matter among components."""
    at = {c.anchor: k for k, c in enumerate(components)}
    return at[CSF], at[GREY], at[WHITE]


def place(components: tuple[Component, ...], atlas: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn atlas probabilities into what each component expects of a voxel.

    Parameters
    ----------
    components : tuple of Component
    atlas : ndarray of float32, shape (7, n)
        Probabilities of `brainseg.atlas.head_atlas.BRAIN` at voxels.

    Returns
    -------
    ndarray of float32, shape (n, M)
        Relative, positive; the mixing weights multiply them.
    """
    total = np.maximum(atlas.sum(axis=0), 0.2)
    share = {name: values / total for name, values in zip(BRAIN, atlas, strict=True)}
    white = sum(share[name] for name in _W)
    out = np.empty((atlas.shape[1], len(components)), np.float32)
    for k, component in enumerate(components):
        if component.wall:
            # Only where ventricle and white matter may both be.
            out[:, k] = 2 * share["csf"] * white + 0.001
            continue
        # The atlas is an average: what it never saw is improbable, not impossible.
        out[:, k] = 0.02 if component.everywhere else 0.001
        expected = sum(weight * share[name] for name, weight in component.places.items())
        out[:, k] += expected**component.sureness
    return out


@dataclass(frozen=True, eq=False)
class Model:
    """Gaussians with the tissues that they stand for.

    Attributes
    ----------
    weights : ndarray, shape (M,)
    means : ndarray, shape (M, D)
    covariances : ndarray, shape (M, D, D)
    tissues : tuple of int
        For each component the position of its tissue in the table.
    parents : tuple of int
        For each component 0 CSF, 1 GM, 2 WM.
    groups : tuple of int
        For each component the class that the neighbourhood speaks about.
    components : tuple of Component
        Empty for a mixture of unnamed classes.
    """

    weights: Floats
    means: Floats
    covariances: Floats
    tissues: tuple[int, ...]
    parents: tuple[int, ...]
    groups: tuple[int, ...]
    components: tuple[Component, ...] = ()

    def noisier(self, extra: Floats) -> Model:
        """Return the model of a scan whose noise has so much more variance by channel, (D,)."""
        return replace(self, covariances=noisier(self.covariances, extra))

    def log_joint(self, values: Floats, places: NDArray[np.float32] | None) -> Floats:
        """Log joint density of values (n, D) and components, shape (n, M)."""
        density = log_gaussian(values, self.means, self.covariances)
        return log_joint(density, log_mixing(self.weights, places))


def noisier(covariances: Floats, extra: Floats) -> Floats:
    """Add variance of noise to every component.

    Parameters
    ----------
    covariances : ndarray, shape (M, D, D)
    extra : ndarray, shape (D,)
        May be negative; `_LEAST_VARIANCE` of each variance stays. Correlations stay, too.
    """
    before = np.diagonal(covariances, axis1=1, axis2=2)
    scale = np.sqrt(np.maximum(before + extra, _LEAST_VARIANCE * before) / before)
    out: Floats = covariances * scale[:, :, None] * scale[:, None, :]
    return out


def log_mixing(weights: Floats, places: NDArray[np.float32] | None) -> Floats:
    """Logarithms of the mixing weights: of all voxels alike, or of each with its places."""
    if places is None:
        out: Floats = np.log(weights)
        return out
    local = places * weights
    local /= local.sum(axis=1, keepdims=True)
    out = np.log(local)
    return out
