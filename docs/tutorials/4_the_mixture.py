"""
The mixture, step by step
=========================

What does "a Gaussian mixture fitted by EM" mean? This page takes it apart on the intensities of one head.
"""

# %%
# Intensities
# -----------
# A synthetic T1w head of 2 mm, inside its brain mask. ``x`` holds one intensity a voxel.

import itertools
import math

import matplotlib.pyplot as plt
import numpy as np

from brainseg import GaussianMixture
from brainseg.evaluation.phantom import make_phantom
from brainseg.mixture import (
    RicianMixture,
    StudentMixture,
    kmeans,
    log_gaussian,
    log_joint,
    log_likelihood,
    maximise,
    responsibilities,
    select_model,
    snapshots,
)

head = make_phantom(zooms=(2, 2, 2), noise=4, bias=0)
x = head.volume.data[head.mask].astype(float)
z = head.three[head.mask]  # 1 grey, 2 white, 3 CSF
grid = np.linspace(0, x.max(), 600)
colours = ["#4a66d8", "#e88a1a", "#555555"]


def histogram(axes, **style):
    """Draw the histogram of the brain as a density."""
    axes.hist(x, bins=200, density=True, color="#dddddd", **style)
    axes.set_xlabel("intensity")
    axes.set_yticks([])


def draw(axes, mixture):
    """Draw the weighted Gaussians and their sum."""
    density = np.exp(log_gaussian(grid[:, None], mixture.means_, mixture.covariances_))
    parts = density * mixture.weights_
    for k in range(parts.shape[1]):
        axes.plot(grid, parts[:, k], color=colours[k % 3], lw=1.5)
    axes.plot(grid, parts.sum(axis=1), "k--", lw=1)


# %%
# The latent z
# ------------
# Every voxel belongs to a tissue that the scanner does not tell: its hidden ``z``. On a synthetic head we may look. The
# histogram is the sum of what the three tissues contribute, and they overlap: partial volume and noise.

figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
axes.hist(
    [x[z == k] for k in (3, 1, 2)],
    bins=200,
    stacked=True,
    color=colours,
    label=["CSF", "grey", "white"],
)
axes.set_xlabel("intensity")
axes.set_yticks([])
_ = axes.legend()

# %%
# The model: first draw ``z`` with probabilities ``pi``, then draw the intensity from the Gaussian of that tissue. Summed
# over ``z``, this is the mixture :math:`p(x) = \sum_k \pi_k N(x \mid \mu_k, \sigma_k^2)`.
#
# A K-means start
# ---------------
# EM has to begin somewhere. K-means cuts the intensities into K pieces, each voxel going to the nearest centre. It knows
# neither weights nor widths: borders lie half-way between centres, whatever the tissues' spread.

clusters = kmeans(x[:, None], 3)
centres = np.sort(clusters.centres[:, 0])
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
histogram(axes)
for a, b in itertools.pairwise(centres):
    axes.axvline((a + b) / 2, color="k", lw=1)
axes.plot(centres, np.zeros(3), "v", color="k", clip_on=False, label="centres")
_ = axes.legend()

# %%
# The E-step: responsibilities
# ----------------------------
# Given Gaussians, Bayes' rule says how probable each tissue is for a voxel of this intensity. These probabilities are the
# responsibilities. They sum to 1, and near a border they are shared: a soft decision where K-means made a hard one.

start = GaussianMixture(3, init="kmeans", max_iter=0).fit(x)
log_density = log_gaussian(grid[:, None], start.means_, start.covariances_)
gamma, _ = responsibilities(log_joint(log_density, np.log(start.weights_)))
figure, axes = plt.subplots(2, 1, figsize=(7, 4.6), layout="constrained", sharex=True)
histogram(axes[0])
draw(axes[0], start)
for k in range(3):
    axes[1].plot(grid, gamma[:, k], color=colours[k])
axes[1].set_xlabel("intensity")
_ = axes[1].set_ylabel("responsibility")

# %%
# The M-step
# ----------
# Given responsibilities, each Gaussian is fitted to its share of the voxels: weighted means and variances. By hand, once:

log_density = log_gaussian(x[:, None], start.means_, start.covariances_)
gamma, log_p = responsibilities(log_joint(log_density, np.log(start.weights_)))
weights, means, covariances = maximise(x[:, None], gamma)
after, log_p_after = responsibilities(
    log_joint(log_gaussian(x[:, None], means, covariances), np.log(weights))
)
print(f"log-likelihood per voxel: {log_p.mean():.4f} -> {log_p_after.mean():.4f}")

# %%
# The likelihood never falls
# --------------------------
# E and M take turns. Each cycle raises the log-likelihood, or leaves it: that is the theorem of Dempster, Laird and Rubin.

walked = snapshots(x, 3, cycles=(0, 1, 5, 20, 50, 200))
figure, axes = plt.subplots(2, 3, figsize=(8, 4.6), layout="constrained")
for panel, step in zip(axes.ravel(), walked, strict=True):
    histogram(panel)
    draw(panel, step.mixture)
    panel.set_title(f"cycle {step.cycle}: {step.log_likelihood:.4f}", fontsize=11)
    panel.set_xlabel("")

plain = GaussianMixture(3, accelerate=False, tol=0, max_iter=100).fit(x)
rises = np.diff(plain.history_)
print(f"smallest rise of 100 cycles: {rises.min():.1e}")

# %%
# Local maxima
# ------------
# Where EM ends depends on where it began. From 20 random starts with five components the ends differ, although every run
# converged. So several starts are made, and the best end is kept: ``n_init=20`` does both.

ends = []
for seed in range(20):
    mixture = GaussianMixture(5, init="random", random_state=seed, max_iter=300)
    ends.append(mixture.fit(x).log_likelihood_)
figure, axes = plt.subplots(figsize=(7, 2.4), layout="constrained")
axes.plot(range(1, 21), np.sort(ends), "o", color="k")
axes.set_xticks(range(1, 21))
axes.set_xlabel("start, sorted by its end")
_ = axes.set_ylabel("log-likelihood\nper voxel")

# %%
# Singularities
# -------------
# The likelihood has no largest value. Put one Gaussian exactly on one voxel and let its width go to 0: the likelihood grows
# without bound, and the model has learned nothing.

point = x[:1]
for sd in (1e1, 1e-3, 1e-30, 1e-100):
    means = np.array([[point[0]], [x.mean()]])
    covariances = np.array([[[sd**2]], [[x.var()]]])
    density = log_gaussian(x[:2000, None], means, covariances)
    _, log_p = responsibilities(log_joint(density, np.log([1e-4, 1 - 1e-4])))
    print(f"sd {sd:7.0e}  log-likelihood {log_likelihood(log_p):10.1f}")

# %%
# So every variance has a floor (``min_variance``), a component that collapses is started afresh, and ``prior=`` makes
# collapse impossible: a conjugate prior is worth some samples that no component can lose.
#
# K! orders
# ---------
# Renaming the components changes nothing: all K! orders are the same model, with the same likelihood. "Component 2" means
# nothing until somebody sorts. brainseg sorts by the first mean, so that 1 is always the darkest.

fitted = GaussianMixture(3).fit(x)
for order in itertools.permutations(range(3)):
    print(order, f"{fitted.reordered(order).score(x):.10f}")
print("3! =", math.factorial(3))

# %%
# Other families
# --------------
# Gaussians are a choice. Student's t has heavier tails and lets odd voxels go; Rician magnitudes are never negative, as
# in a magnitude image. With three components each, which explains the head best? (BIC: smaller is better.)

for family in (GaussianMixture, StudentMixture, RicianMixture):
    mixture = family(3).fit(x)
    score, bic = mixture.score(x), mixture.bic(x)
    print(f"{family.__name__:16s} {score:.4f} per voxel  BIC {bic:8.0f}")

# %%
# Choosing K
# ----------
# More components always raise the likelihood of the voxels that were fitted. Held-out voxels and criteria that charge for
# parameters say when to stop. On a histogram of 100,000 voxels they stop late: partial volume is not Gaussian, and each
# further component describes its shape a little better. That is why brainseg's number of classes rests on anatomy.
# ``brainseg select-model`` makes this table for a scan.

table = select_model(x[::3], range(1, 9))
figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
number = [row.n_components for row in table]
axes[0].plot(number, [row.held_out for row in table], "o-", color="k")
axes[0].set_title("held-out log-likelihood\n(higher is better)", fontsize=11)
axes[1].plot(number, [row.bic for row in table], "o-", color="k", label="BIC")
axes[1].plot(number, [row.icl for row in table], "s-", color="#e88a1a", label="ICL")
axes[1].set_title("BIC and ICL\n(lower is better)", fontsize=11)
axes[1].legend()
for panel in axes:
    panel.set_xlabel("K")

# %%
# Sampling, both ways
# -------------------
# A fitted mixture is a recipe for new intensities. Either draw ``z`` first and then the intensity given ``z``
# (``sample``); or forget ``z`` and draw from the sum, by inverting its distribution function (``sample_marginal``). Both
# give the same histogram: summing over the hidden variable is what a mixture is.

drawn, hidden = fitted.sample(20_000, random_state=0)
marginal = fitted.sample_marginal(20_000, random_state=0)
figure, axes = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained", sharey=True)
parts = [drawn[hidden == k, 0] for k in range(3)]
axes[0].hist(parts, bins=100, stacked=True, color=colours)
axes[0].set_title("z first, then x", fontsize=11)
axes[1].hist(marginal[:, 0], bins=100, color="#999999")
axes[1].set_title("x from the sum", fontsize=11)
for panel in axes:
    panel.set_xlabel("intensity")
    panel.set_yticks([])

# %%
# Further
# -------
# ``brainseg explain T1.nii.gz`` draws these pictures for your own scan. What the program adds to plain EM (priors, places,
# the bias field, neighbours) is in :doc:`/methods`.
