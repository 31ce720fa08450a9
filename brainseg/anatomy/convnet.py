"""The two networks, of the brain and of the head, in NumPy: no PyTorch at run time.

Arrays are channels-last, (D, H, W, C). Convolutions gather their neighbourhood slab by slab and
multiply by one matrix. The slabs do not depend on the number of threads and each product runs on
one BLAS thread, so neither do the bits of the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Weights = Mapping[str, Float32]

SLOPE = np.float32(0.1)
GROUPS = 8
MULTIPLE = 16
"""Sides of the input are multiples of this: one space-to-depth and three strides of two."""
ROWS = 1024
"""Voxels of a slab; its gathered neighbourhood (some MB) stays in the cache."""


def forward(image: Float32, weights: Weights, *, threads: int = 1) -> Float32:
    """Run the network.

    Parameters
    ----------
    image : ndarray of float32, shape (D, H, W)
        Normalised intensities; sides are multiples of `MULTIPLE`.
    weights : mapping of str to ndarray of float32
    threads : int

    Returns
    -------
    ndarray of float32, shape (C, D, H, W)
        Logits. Brain extraction: of the tissue with its ventricles, and of the same with the CSF
        around it. Head: of `brainseg.anatomy.classes.CLASSES`.
    """
    depth, height, width = (s // 2 for s in image.shape)
    x = image.reshape(depth, 2, height, 2, width, 2).transpose(0, 2, 4, 1, 3, 5)
    x = np.ascontiguousarray(x).reshape(depth, height, width, 8)
    stages = sum(name.startswith("down.") and name.endswith("0.conv.weight") for name in weights)
    with ThreadPoolExecutor(threads) as pool:
        skips: list[Float32] = []
        for i in range(stages):
            x = _block(x, weights, f"down.{i}.0", pool, stride=2 if i else 1)
            x = _block(x, weights, f"down.{i}.1", pool)
            skips.append(x)
        for i in reversed(range(stages - 1)):
            low = x @ weights[f"lift.{i}.weight"][0, 0, 0] + weights[f"lift.{i}.bias"]
            d, h, w, c = low.shape
            joined = skips[i].reshape(d, 2, h, 2, w, 2, c) + low[:, None, :, None, :, None]
            x = _block(joined.reshape(2 * d, 2 * h, 2 * w, c), weights, f"up.{i}", pool)
        if "last.conv.weight" in weights:
            x = _block(x, weights, "last", pool)
            out = x @ weights["head.weight"][0, 0, 0] + weights["head.bias"]
            # Channels are ordered by the eight corners of a cube, then by class.
            out = out.reshape(depth, height, width, 2, 2, 2, -1).transpose(6, 0, 3, 1, 4, 2, 5)
        else:
            out = _convolve(x, weights["head.weight"], pool) + weights["head.bias"]
            # Here they are ordered by class, then by corner.
            out = out.reshape(depth, height, width, -1, 2, 2, 2).transpose(3, 0, 4, 1, 5, 2, 6)
    return np.ascontiguousarray(out).reshape(-1, *image.shape)


def _block(
    x: Float32, weights: Weights, name: str, pool: ThreadPoolExecutor, stride: int = 1
) -> Float32:
    """Convolution, group norm, leaky ReLU."""
    out = _convolve(x, weights[f"{name}.conv.weight"], pool, stride)
    channels = out.shape[-1]
    flat = out.reshape(-1, channels)
    mean = flat.mean(axis=0, dtype=np.float64)
    square = np.einsum("ij,ij->j", flat, flat, dtype=np.float64) / len(flat)
    mean = mean.reshape(GROUPS, -1).mean(axis=1)
    square = square.reshape(GROUPS, -1).mean(axis=1)
    spread = np.sqrt(np.maximum(square - mean**2, 0) + 1e-5)
    each = channels // GROUPS
    scale = weights[f"{name}.norm.weight"] / np.repeat(spread, each)
    shift = weights[f"{name}.norm.bias"] - np.repeat(mean, each) * scale
    flat *= scale.astype(np.float32)
    flat += shift.astype(np.float32)
    np.maximum(out, SLOPE * out, out=out)
    return out


def _convolve(x: Float32, kernel: Float32, pool: ThreadPoolExecutor, stride: int = 1) -> Float32:
    """3x3x3 convolution with zeros around; kernel of shape (3, 3, 3, inputs, outputs)."""
    padded = np.pad(x, ((1, 1), (1, 1), (1, 1), (0, 0)))
    shape = tuple((s - 1) // stride + 1 for s in x.shape[:3])
    inputs, outputs = kernel.shape[3:]
    matrix = kernel.reshape(27 * inputs, outputs)
    out = np.empty((*shape, outputs), np.float32)
    step = max(1, ROWS // (shape[1] * shape[2]))

    def fill(first: int) -> None:
        last = min(first + step, shape[0])
        near = np.empty((last - first, shape[1], shape[2], 27, inputs), np.float32)
        for tap, (i, j, k) in enumerate(np.ndindex(3, 3, 3)):
            near[..., tap, :] = padded[
                first * stride + i : (last - 1) * stride + i + 1 : stride,
                j : (shape[1] - 1) * stride + j + 1 : stride,
                k : (shape[2] - 1) * stride + k + 1 : stride,
            ]
        np.matmul(near.reshape(-1, 27 * inputs), matrix, out=out[first:last].reshape(-1, outputs))

    list(pool.map(fill, range(0, shape[0], step)))
    return out
