"""The command line's part for mixtures by themselves: which one, and how EM finds it."""

from __future__ import annotations

import argparse
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

from brainseg.cli.options import (
    Commands,
    add_command,
    add_person,
    add_threads,
    path_of,
    whole,
)
from brainseg.config import COVARIANCE_TYPES, FAMILIES, MOST_SAMPLES
from brainseg.errors import CannotCreateError, UsageError

if TYPE_CHECKING:
    from brainseg.evaluation.intensities import Intensities
    from brainseg.mixture import Candidate
    from brainseg.run import Job

log = logging.getLogger("brainseg")

MOST_COMPONENTS = 12
# EM finds local maxima, the more of them the more components.
RESTARTS = 4


def add_select_model(commands: Commands) -> None:
    """Add the command ``select-model``."""
    parser = add_command(
        commands, "select-model",
        "Compare mixtures of a scan by held-out log-likelihood, AIC, BIC and ICL.",
        "select-model T1.nii.gz --components 2-9", _select_model,
    )  # fmt: skip
    _add_scan(parser)
    parser.add_argument(
        "--components",
        default="2-9",
        metavar="A-B",
        help="numbers of components: 2-9, or 3,4,6 (default 2-9)",
    )
    parser.add_argument(
        "--families",
        metavar="NAME,...",
        help=f"of {', '.join(FAMILIES)} (default: all that the data allow; rician is a model "
        "of one channel without negative values)",
    )
    parser.add_argument(
        "--covariances",
        metavar="TYPE,...",
        help=f"of Gaussians: {', '.join(COVARIANCE_TYPES)} (default: all; full in one channel)",
    )


def add_explain(commands: Commands) -> None:
    """Add the command ``explain``."""
    parser = add_command(
        commands, "explain", "Show EM at work on the intensities of a scan, step by step.",
        "explain T1.nii.gz --t2 T2.nii.gz", _explain,
    )  # fmt: skip
    _add_scan(parser)
    parser.add_argument(
        "--components", type=int, default=6, metavar="K", help="components (default 6)"
    )


def _add_scan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scan", type=path_of, metavar="T1", help="T1w scan")
    parser.add_argument(
        "-o", "--out", type=path_of, default=Path(), help="folder for the page (default: this one)"
    )
    add_person(parser)
    parser.add_argument(
        "--bias",
        default="n4",
        choices=("n4", "none"),
        help="remove the bias field by N4, or take intensities as they come (default: n4)",
    )
    parser.add_argument(
        "--seed", type=whole, default=0, help="seed of everything random (default 0)"
    )
    parser.add_argument("--force", action="store_true", help="overwrite an earlier page")
    add_threads(parser)


def _select_model(args: argparse.Namespace) -> int:
    from brainseg.mixture import CRITERIA, best, select_model
    from brainseg.qc.pages import models

    components = parse_components(args.components)
    families = _names("--families", args.families, FAMILIES)
    kinds = _names("--covariances", args.covariances, COVARIANCE_TYPES)
    job = _job(args)
    single = not job.contrasts
    if "rician" in families and not single:
        raise UsageError("--families: rician is a model of one channel; leave it or the contrasts")
    page = _free(job.target.path("models.html"), force=args.force)
    samples = _intensities(args, job)
    x = samples.X
    if not families:
        # Rician magnitudes have no sign.
        families = FAMILIES if single and x.min() >= 0 else ("gaussian", "student")
    if not single:
        x = x[:: max(1, len(x) // MOST_SAMPLES)]
    table = select_model(
        x,
        components,
        families=families,
        covariance_types=kinds or (COVARIANCE_TYPES[:1] if single else COVARIANCE_TYPES),
        random_state=args.seed,
        n_init=RESTARTS,
        tell=lambda row: log.info("%s, K = %d: done", row.name, row.n_components),
    )
    print(as_table(table))
    for criterion in CRITERIA:
        row = best(table, criterion)
        print(f"best by {criterion.replace('_', '-')}: {row.name}, K = {row.n_components}")
    html = models.page(
        samples.name, samples.channels, table, n=len(x), seed=args.seed,
        corrected=samples.corrected, warnings=samples.warnings,
    )  # fmt: skip
    return _write(page, html)


def _explain(args: argparse.Namespace) -> int:
    from brainseg.qc.pages import explain

    if not 1 <= args.components <= MOST_COMPONENTS:
        raise UsageError(f"--components: {args.components} is outside 1 to {MOST_COMPONENTS}")
    job = _job(args)
    page = _free(job.target.path("explain.html"), force=args.force)
    samples = _intensities(args, job)
    html = explain.page(
        samples.name, samples.channels, samples.X, n_components=args.components,
        seed=args.seed, corrected=samples.corrected, warnings=samples.warnings,
    )  # fmt: skip
    return _write(page, html)


def parse_components(text: str) -> list[int]:
    """Read numbers of components: ``2-9``, ``4``, or ``3,4,6-8``.

    Raises
    ------
    UsageError
        When the text is something else, or a number is outside 1 to `MOST_COMPONENTS`.
    """
    out: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        if match is None:
            raise UsageError(f"--components: {text!r} is not a range; write 2-9 or 3,4,6")
        first, last = int(match[1]), int(match[2] or match[1])
        if not 1 <= first <= last <= MOST_COMPONENTS:
            raise UsageError(
                f"--components: {part} is not a range within 1 to {MOST_COMPONENTS}, low to high"
            )
        out |= set(range(first, last + 1))
    return sorted(out)


def as_table(table: list[Candidate]) -> str:
    """Lay the candidates out in columns; ``*`` marks the best of each criterion."""
    from brainseg.mixture import CRITERIA, best

    winners = {c: best(table, c) for c in CRITERIA}
    width = max(5, *(len(row.name) for row in table))
    lines = [
        f"{'model':<{width}}  {'K':>2}  {'params':>6}  {'loglik/voxel':>12}  {'held-out':>11}"
        f"  {'AIC':>13}  {'BIC':>13}  {'ICL':>13}"
    ]
    for row in table:
        stars = {c: "*" if winners[c] is row else " " for c in CRITERIA}
        end = "" if row.converged else "  not converged"
        lines.append(
            f"{row.name:<{width}}  {row.n_components:>2}  {row.n_parameters:>6}"
            f"  {row.log_likelihood:>12.5f}  {row.held_out:>10.5f}{stars['held_out']}"
            f"  {row.aic:>12.0f}{stars['aic']}  {row.bic:>12.0f}{stars['bic']}"
            f"  {row.icl:>12.0f}{stars['icl']}{end}"
        )
    return "\n".join(lines)


def _names(option: str, text: str | None, allowed: tuple[str, ...]) -> tuple[str, ...]:
    """Read a list of names; empty where the option was not given."""
    if text is None:
        return ()
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        if name not in allowed:
            raise UsageError(f"{option}: {name!r} is not known; use some of {', '.join(allowed)}")
    return names


def _job(args: argparse.Namespace) -> Job:
    from brainseg.run import Job, plain_target

    own_mask = None if args.mask in ("auto", "none") else Path(args.mask)
    contrasts = (("T2w", args.t2), ("FLAIR", args.flair), ("PDw", args.pd))
    return Job(
        args.scan,
        plain_target(args.scan, args.out),
        mask=own_mask,
        index=args.volume,
        contrasts=tuple((name, path) for name, path in contrasts if path is not None),
    )


def _intensities(args: argparse.Namespace, job: Job) -> Intensities:
    from brainseg.config import SegmentConfig
    from brainseg.evaluation.intensities import load_intensities

    config = SegmentConfig(
        mask=args.mask if job.mask is None else "file",
        bias=args.bias,
        seed=args.seed,
        threads=args.threads,
    )
    return load_intensities(job, config)


def _free(path: Path, *, force: bool) -> Path:
    """Refuse to overwrite a page before the work begins."""
    from brainseg.io import atomic

    with atomic.explained(path.parent):
        there = path.exists()
    if there and not force:
        raise CannotCreateError(
            f"{path.name}: is there already; add --force to overwrite it, or choose another -o"
        )
    return path


def _write(path: Path, html: str) -> int:
    from brainseg.io import atomic

    atomic.write_text(path, html)
    log.info("wrote %s", path)
    return 0
