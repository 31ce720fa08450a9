"""Train the brain-extraction network on synthetic heads; the whole recipe.

Needs PyTorch and nibabel (training only). On a CPU::

    python pipelines/train_brain_extraction.py --labelmaps ../shared/data/labelmaps \
        --work training/ --steps 8000 --processes 2

It resumes from ``--work`` when started again, and ``--export FILE.npz`` writes the averaged
weights for `brainseg.anatomy.network`. Each process synthesises and learns from its own
samples on one thread, and the gradients are averaged at every step: on a shared machine that
loses far less to waiting than threads inside the convolutions.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn as nn
import torch.nn.functional as F
from synthesis import HELD_OUT, load_heads, synthesise

CHANNELS = (24, 48, 96, 96)
GROUPS = 8
SLOPE = 0.1


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

    (N, 1, D, H, W) to logits (N, 2, D, H, W): tissue with ventricles, and the same with the CSF
    around it. D, H and W are multiples of 16.
    """

    def __init__(self, channels: tuple[int, ...] = CHANNELS) -> None:
        super().__init__()
        c = channels
        self.down = nn.ModuleList(
            [
                nn.Sequential(Block(c[i - 1] if i else 8, c[i], 2 if i else 1), Block(c[i], c[i]))
                for i in range(len(c))
            ]
        )
        self.lift = nn.ModuleList([nn.Conv3d(c[i], c[i - 1], 1) for i in range(1, len(c))])
        self.up = nn.ModuleList([Block(c[i], c[i]) for i in range(len(c) - 1)])
        self.head = nn.Conv3d(c[0], 16, 3, padding=1)

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
            x = self.up[i](skips[i] + F.interpolate(self.lift[i](x), scale_factor=2.0))
        x = self.head(x).reshape(n, 2, 2, 2, 2, d // 2, h // 2, w // 2)
        return x.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(n, 2, d, h, w)


def loss_of(logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus soft Dice, on targets that carry the partial volume."""
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    entropy = (entropy * weight).sum() / (2 * weight.sum() + 1)
    p, t = torch.sigmoid(logits) * weight, target * weight
    dims = (2, 3, 4)
    dice = (2 * torch.minimum(p, t).sum(dims) + 50) / (p.sum(dims) + t.sum(dims) + 50)
    return 2 * entropy + (1 - dice).mean()


def learning_rate(step: int, total: int, peak: float) -> float:
    """Warm up over 150 steps, hold, then fall as a cosine over the last 70 %."""
    if step < 150:
        return peak * (step + 1) / 150
    x = max(0.0, (step / total - 0.3) / 0.7)
    return peak * (0.5 + 0.5 * math.cos(math.pi * min(x, 1.0))) + 1e-6


def sample(heads: dict, numbers: list[int], seed: int, index: int) -> tuple[torch.Tensor, ...]:
    """Sample `index` of the endless training set: the same whoever asks and whenever."""
    rng = np.random.default_rng((seed, index))
    image, target, weight = synthesise(heads[int(rng.choice(numbers))], rng)
    return image[None], target[None], weight[None]


@torch.no_grad()
def validate(model: nn.Module, heads: dict, numbers: list[int], n: int = 12) -> list[float]:
    """Median and worst Dice on synthetic views of heads that were held out."""
    scores = []
    for i in range(n):
        image, target, weight = sample(heads, numbers, 99, i)
        p = (torch.sigmoid(model(image)) > 0.5) & (weight > 0)
        t = (target > 0.5) & (weight > 0)
        both = (p & t).sum((0, 2, 3, 4))
        scores.append((2 * both / (p.sum((0, 2, 3, 4)) + t.sum((0, 2, 3, 4)) + 1)).numpy())
    table = np.stack(scores)
    return [*np.median(table, axis=0).round(4).tolist(), *table.min(axis=0).round(4).tolist()]


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


def train(rank: int, args: argparse.Namespace) -> None:
    """Run one of the training processes."""
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    checkpoint = args.work / "checkpoint.pt"
    if args.processes > 1:
        dist.init_process_group(
            "gloo", init_method=args.meeting, rank=rank, world_size=args.processes
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(args.seed)
    model = Network()
    if args.start:
        model.load_state_dict(restore(args.start))
    model = model.to(device).to(memory_format=torch.channels_last_3d)
    average = Network()
    average.load_state_dict({k: v.cpu() for k, v in model.state_dict().items()})
    optimiser = torch.optim.AdamW(model.parameters(), lr=args.rate, weight_decay=1e-4)
    first = 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(saved["model"])
        average.load_state_dict({k: v.cpu() for k, v in saved["average"].items()})
        optimiser.load_state_dict(saved["optimiser"])
        first = saved["step"]
    heads = load_heads(args.labelmaps, args.work)
    numbers = [n for n in heads if n not in HELD_OUT]
    began, recent = time.time(), []
    for step in range(first, args.steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, args.steps, args.rate)
        optimiser.zero_grad()
        for k in range(args.batch):
            index = (step * args.processes + rank) * args.batch + k
            x, t, w = (v.to(device) for v in sample(heads, numbers, args.seed, index))
            with torch.autocast(device, dtype=torch.bfloat16, enabled=args.bfloat16):
                logits = model(x)
            loss = loss_of(logits.float(), t, w)
            (loss / args.batch).backward()
            recent.append(float(loss.detach()))
        parameters = list(model.parameters())
        if args.processes > 1:
            flat = torch.cat([p.grad.reshape(-1) for p in parameters])
            dist.all_reduce(flat)
            flat /= args.processes
            for p, g in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
                p.grad.copy_(g.view_as(p))
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        if rank:
            continue
        keep = min(0.998, (step + 1) / (step + 20))
        with torch.no_grad():
            for a, p in zip(average.parameters(), parameters, strict=True):
                a.lerp_(p.cpu(), 1 - keep)
        done = step + 1
        if done % 50 == 0:
            line = {"step": done, "loss": round(float(np.mean(recent[-100:])), 4)}
            line["seconds"] = round(time.time() - began)
            if done % args.validate == 0:
                line["dice"] = validate(average, heads, list(HELD_OUT))
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
    add("--work", type=Path, required=True, help="checkpoints, cached label maps and the log")
    add("--steps", type=int, default=8000)
    add("--rate", type=float, default=2e-3)
    add("--batch", type=int, default=1, help="samples per process and step")
    add("--processes", type=int, default=2)
    add("--threads", type=int, default=1, help="threads per process")
    add("--seed", type=int, default=2026)
    add(
        "--bfloat16",
        action="store_true",
        help="convolve in bfloat16: three times as fast on processors with AMX, and on GPUs",
    )
    add("--save", type=int, default=100)
    add("--validate", type=int, default=500)
    add("--start", type=Path, help="exported weights to begin with, instead of random ones")
    add("--export", type=Path, help="write the averaged weights here and do nothing else")
    args = parser.parse_args()
    if args.export:
        saved = torch.load(args.work / "checkpoint.pt", map_location="cpu", weights_only=True)
        export(saved["average"], args.export)
        return
    args.work.mkdir(parents=True, exist_ok=True)
    meeting = args.work / f"meeting-{time.time_ns()}"
    args.meeting = meeting.resolve().as_uri()
    if args.processes > 1:
        torch.multiprocessing.spawn(train, (args,), nprocs=args.processes)
        meeting.unlink(missing_ok=True)
    else:
        train(0, args)


if __name__ == "__main__":
    main()
