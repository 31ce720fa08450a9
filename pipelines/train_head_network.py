"""Train the network that knows the head on synthetic heads; the whole recipe.

Needs PyTorch and nibabel (training only). On a CPU::

    python pipelines/train_head_network.py --labelmaps ../shared/data/labelmaps \
        --work training/ --start data/head_network.npz --steps 20000

It resumes from ``--work`` when started again. ``--export FILE.npz`` calibrates the averaged weights
on heads held out and writes them for `brainseg.anatomy.head`.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from synthesis import HELD_OUT, Head, Sample, load_heads, synthesise

from brainseg.anatomy.classes import CLASSES, N_BRAIN

CHANNELS = (24, 48, 96, 96)
LAST = 32
GROUPS = 8
SLOPE = 0.1
WEIGHTS = (1.0, 1.0, 2.0, 2.0, 1.5, 1.5, 1.5, 1.2, 0.8, 0.6, 1.0, 0.8, 0.4)
"""Of each class in the cross-entropy: small structures of the brain count for more."""


class Block(nn.Module):
    """3x3x3 convolution, group norm, leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm = nn.GroupNorm(GROUPS, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply."""
        return F.leaky_relu(self.norm(self.conv(x)), SLOPE, inplace=True)


class Network(nn.Module):
    """U-Net behind a space-to-depth by two; skips are added, not stacked.

    (N, 1, D, H, W) to logits (N, D, H, W, 13), in the order of `synthesis.CLASSES`. D, H and W are
    multiples of 16.
    """

    def __init__(self) -> None:
        super().__init__()
        c = CHANNELS
        self.down = nn.ModuleList(
            [
                nn.Sequential(Block(c[i - 1] if i else 8, c[i], 2 if i else 1), Block(c[i], c[i]))
                for i in range(len(c))
            ]
        )
        self.lift = nn.ModuleList([nn.Conv3d(c[i], c[i - 1], 1) for i in range(1, len(c))])
        self.up = nn.ModuleList([Block(c[i], c[i]) for i in range(len(c) - 1)])
        self.last = Block(c[0], LAST)
        self.head = nn.Conv3d(LAST, 8 * len(CLASSES), 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply."""
        n, _, d, h, w = x.shape
        x = x.view(n, d // 2, 2, h // 2, 2, w // 2, 2).permute(0, 2, 4, 6, 1, 3, 5)
        x = x.reshape(n, 8, d // 2, h // 2, w // 2)
        x = x.contiguous(memory_format=torch.channels_last_3d)
        skips = []
        for stage in self.down:
            x = stage(x)
            skips.append(x)
        for i in range(len(skips) - 2, -1, -1):
            low = _pointwise(x, self.lift[i])
            x = self.up[i](skips[i] + F.interpolate(low, scale_factor=2.0))
        x = _pointwise(self.last(x), self.head).permute(0, 2, 3, 4, 1)
        x = x.reshape(n, d // 2, h // 2, w // 2, 2, 2, 2, len(CLASSES))
        return x.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(n, d, h, w, len(CLASSES))


def _pointwise(x: torch.Tensor, layer: nn.Conv3d) -> torch.Tensor:
    """Apply a 1x1x1 convolution as a matrix product, which is faster on a CPU."""
    weight = layer.weight[:, :, 0, 0, 0]
    return F.linear(x.permute(0, 2, 3, 4, 1), weight, layer.bias).permute(0, 4, 1, 2, 3)


def loss_of(logits: torch.Tensor, sample: Sample) -> torch.Tensor:
    """Weighted cross-entropy plus soft Dice, on targets that carry the partial volume.

    Parameters
    ----------
    logits : Tensor, shape (D, H, W, 13)
    sample : Sample
    """
    seen = sample.weight.reshape(-1) > 0
    rows = sample.labels.reshape(len(sample.labels), -1).T[seen].long()
    log_p = F.log_softmax(logits.reshape(-1, len(CLASSES))[seen], dim=1)
    target = torch.zeros_like(log_p)
    target.scatter_add_(1, rows, torch.full(rows.shape, 1 / rows.shape[1]))
    each = target.sum(dim=0)
    weights = torch.tensor(WEIGHTS)
    entropy = -((target * log_p).sum(dim=0) * weights).sum() / (each * weights).sum().clamp_min(1)
    p = log_p.exp()
    overlap = (p * target).sum(dim=0)
    squares = (p * p).sum(dim=0) + (target * target).sum(dim=0)
    dice = (2 * overlap + 20) / (squares + 20)
    return 2 * entropy + (1 - dice).mean()


def learning_rate(step: int, total: int, peak: float) -> float:
    """Warm up over 60 steps, hold for a quarter of the time, then fall as a cosine."""
    if step < 60:
        return peak * (step + 1) / 60
    x = max(0.0, (step / total - 0.25) / 0.75)
    return peak * (0.5 + 0.5 * math.cos(math.pi * min(x, 1.0))) + 1e-6


def draw(heads: dict[int, Head], numbers: list[int], seed: int, index: int) -> Sample:
    """Sample `index` of the endless training set: the same whoever asks and whenever."""
    rng = np.random.default_rng((seed, index))
    return synthesise(heads[int(rng.choice(numbers))], rng)


@torch.no_grad()
def validate(model: nn.Module, heads: dict[int, Head], n: int = 16) -> dict[str, float]:
    """Median Dice of each brain class, and of the brain, on views of held-out heads."""
    scores: list[list[float]] = []
    for i in range(n):
        sample = draw(heads, list(HELD_OUT), 99, i)
        seen = sample.weight > 0
        p = model(sample.image[None, None])[0].argmax(dim=-1)[seen]
        t = torch.mode(sample.labels, dim=0).values[seen].long()
        pairs = [(p == k, t == k) for k in range(N_BRAIN)] + [(p < N_BRAIN, t < N_BRAIN)]
        scores.append(
            [
                float(2 * (a & b).sum() / (a.sum() + b.sum())) if b.sum() > 50 else math.nan
                for a, b in pairs
            ]
        )
    median = np.nanmedian(np.array(scores), axis=0).round(4)
    return dict(zip([*CLASSES[:N_BRAIN], "brain"], median.tolist(), strict=True))


@torch.no_grad()
def held_out_logits(
    model: nn.Module, heads: dict[int, Head], seed: int, n: int = 32, each: int = 20_000
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits and the shares of the classes in voxels of views of held-out heads.

    Returns
    -------
    logits, shares : Tensor, shape (at most n * each, 13)
    """
    logits, shares = [], []
    for i in range(n):
        sample = draw(heads, list(HELD_OUT), seed, i)
        seen = torch.nonzero(sample.weight.reshape(-1) > 0)[:, 0]
        rng = torch.Generator().manual_seed(i)
        seen = seen[torch.randperm(len(seen), generator=rng)[:each]]
        logits.append(model(sample.image[None, None])[0].reshape(-1, len(CLASSES))[seen])
        labels = sample.labels.reshape(len(sample.labels), -1)[:, seen].long()
        share = torch.zeros(len(seen), len(CLASSES))
        for row in labels:
            share.scatter_add_(1, row[:, None], torch.full((len(seen), 1), 1 / len(labels)))
        shares.append(share)
    return torch.cat(logits), torch.cat(shares)


def calibration(logits: torch.Tensor, shares: torch.Tensor) -> tuple[float, torch.Tensor]:
    """Fit one temperature and a shift of every class by likelihood.

    The shifts take back the weights of the classes in the loss, from whose logarithms they start.

    Returns
    -------
    scale : float
        Inverse temperature.
    shift : Tensor, shape (13,)
    """
    log_scale = torch.zeros(1, requires_grad=True)
    shift = (-torch.log(torch.tensor(WEIGHTS))).requires_grad_()
    optimiser = torch.optim.LBFGS([log_scale, shift], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = -(F.log_softmax(logits * log_scale.exp() + shift, dim=1) * shares).sum(dim=1).mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    shift = shift.detach()
    return float(log_scale.exp()), shift - shift.mean()


def calibrated(args: argparse.Namespace) -> dict[str, torch.Tensor]:
    """Return the averaged weights, with the calibration folded into the head."""
    torch.set_num_threads(args.threads)
    saved = torch.load(args.work / "checkpoint.pt", map_location="cpu", weights_only=True)
    model = Network()
    model.load_state_dict(saved["average"])
    heads = load_heads(args.labelmaps, args.cache or args.work)
    scale, shift = calibration(*held_out_logits(model, heads, seed=98))
    print(json.dumps({"step": saved["step"], "scale": round(scale, 4), "shift": shift.tolist()}))
    state = model.state_dict()
    state["head.weight"] = state["head.weight"] * scale
    state["head.bias"] = state["head.bias"] * scale + shift.repeat(8)
    return state


def export(weights: dict[str, torch.Tensor], path: Path) -> None:
    """Write the averaged weights as float16; convolutions channels-last, as NumPy wants them."""
    arrays = {}
    for name, tensor in weights.items():
        value = tensor.float().numpy()
        if value.ndim == 5:  # (out, in, 3, 3, 3) to (3, 3, 3, in, out)
            value = value.transpose(2, 3, 4, 1, 0)
        arrays[name] = np.ascontiguousarray(value.astype(np.float16))
    np.savez(path, **arrays)


def restore(path: Path) -> dict[str, torch.Tensor]:
    """Read weights that `export` wrote, to go on from them with a fresh optimiser."""
    state = {}
    with np.load(path) as kept:
        for name in kept.files:
            value = kept[name].astype(np.float32)
            if value.ndim == 5:  # back from (3, 3, 3, in, out)
                value = value.transpose(4, 3, 0, 1, 2)
            state[name] = torch.from_numpy(np.ascontiguousarray(value))
    return state


def begin(start: Path | None) -> Network:
    """Return a network, with every weight of `start` whose shape it shares."""
    model = Network()
    if start:
        own = model.state_dict()
        kept = {k: v for k, v in restore(start).items() if k in own and v.shape == own[k].shape}
        model.load_state_dict(own | kept)
    return model


def train(args: argparse.Namespace) -> None:
    """Train until `args.steps`, from the checkpoint where there is one."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.work.mkdir(parents=True, exist_ok=True)
    checkpoint = args.work / "checkpoint.pt"
    model = begin(args.start).to(memory_format=torch.channels_last_3d)
    average = Network()
    average.load_state_dict(model.state_dict())
    optimiser = torch.optim.AdamW(model.parameters(), lr=args.rate, weight_decay=1e-4)
    first = 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        average.load_state_dict(saved["average"])
        optimiser.load_state_dict(saved["optimiser"])
        first = saved["step"]
    heads = load_heads(args.labelmaps, args.cache or args.work)
    numbers = [n for n in heads if n not in HELD_OUT]
    began, recent, making = time.time(), [], 0.0
    for step in range(first, args.steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, args.steps, args.rate)
        t = time.time()
        sample = draw(heads, numbers, args.seed, step)
        making += time.time() - t
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bfloat16):
            logits = model(sample.image[None, None])[0]
        loss = loss_of(logits.float(), sample)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        recent.append(float(loss.detach()))
        keep = min(0.995, (step + 1) / (step + 20))
        with torch.no_grad():
            for a, p in zip(average.parameters(), model.parameters(), strict=True):
                a.lerp_(p, 1 - keep)
        done = step + 1
        if done % 25 == 0:
            line: dict[str, object] = {"step": done, "loss": round(float(np.mean(recent[-50:])), 4)}
            line |= {"seconds": round(time.time() - began), "synthesis": round(making)}
            if done % args.validate == 0:
                line["dice"] = validate(average, heads)
            with (args.work / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
        if done % args.save == 0 or done == args.steps:
            state = {"model": model.state_dict(), "average": average.state_dict()}
            state |= {"optimiser": optimiser.state_dict(), "step": done}
            torch.save(state, checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").replace(checkpoint)


def main() -> None:
    """Read the options, train, export."""
    root = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--labelmaps", type=Path, default=root.parent / "shared/data/labelmaps")
    add("--work", type=Path, required=True, help="checkpoints and the log")
    add("--cache", type=Path, help="prepared label maps (default: in --work)")
    add("--steps", type=int, default=20_000, help="samples in all")
    add("--rate", type=float, default=1.5e-3)
    add("--threads", type=int, default=1)
    add("--seed", type=int, default=2026)
    add("--bfloat16", action="store_true", help="convolve in bfloat16: half the time on many CPUs")
    add("--save", type=int, default=50)
    add("--validate", type=int, default=250)
    add("--start", type=Path, help="exported weights to begin with, instead of random ones")
    add("--export", type=Path, help="calibrate the averaged weights, write them here and stop")
    args = parser.parse_args()
    if args.export:
        export(calibrated(args), args.export)
        return
    train(args)


if __name__ == "__main__":
    main()
