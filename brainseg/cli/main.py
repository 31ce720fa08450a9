"""The command line: parsing, logging set-up, exit codes; nothing else prints or exits."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import brainseg
from brainseg.cli import bids, door, engines, long, mixture, report_methods, review
from brainseg.cli.options import (
    Command,
    Commands,
    Parser,
    Progress,
    add_command,
    add_person,
    add_segment_options,
    add_threads,
    add_uncompressed,
    path_of,
    segment_config,
    whole,
)
from brainseg.config import CONTRASTS
from brainseg.errors import TemporaryError, UsageError

if TYPE_CHECKING:
    from brainseg.config import SegmentConfig
    from brainseg.run import Finished, Job

log = logging.getLogger("brainseg")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    signal.signal(signal.SIGTERM, _terminated)
    door.open_streams()
    try:
        door.require_names(arguments)
        parser, names = _parser()
        args = parser.parse_args(bids.with_command(arguments, names))
        _set_up_logging(
            verbose=getattr(args, "verbose", False), quiet=getattr(args, "quiet", False)
        )
        door.require_memory()
        command: Command = args.command
        return command(args)
    except KeyboardInterrupt:
        print("brainseg: interrupted; what was complete is kept", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output has gone; there is nobody left to tell.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123
        return 141
    except Exception as error:
        return door.tell(error)


def _terminated(signum: int, frame: object) -> NoReturn:
    # A second signal must not interrupt the tidying up that the first one starts.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(128 + signum)


def _set_up_logging(*, verbose: bool, quiet: bool) -> None:
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    handler = logging.StreamHandler()
    handler.setFormatter(door.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    log.setLevel(level)


def _parser() -> tuple[argparse.ArgumentParser, frozenset[str]]:
    """Return the parser and the names of its commands."""
    parser = Parser(
        prog="brainseg",
        description="Tissue maps from MRI scans of heads.",
        epilog="Examples: brainseg run T1.nii.gz -o OUT; as a BIDS App: "
        "brainseg BIDS_DIR OUT participant",
    )
    parser.add_argument("--version", action="version", version=f"brainseg {brainseg.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (_add_run, long.add_long, bids.add_bids, bids.add_group, review.add_review):
        add(commands)
    for add in (report_methods.add_report_methods, mixture.add_select_model, mixture.add_explain):
        add(commands)
    for add in (_add_demo, _add_phantom, _add_evaluate, engines.add_certificates):
        add(commands)
    return parser, frozenset(commands.choices)


def _add_run(commands: Commands) -> None:
    parser = add_command(
        commands, "run", "Segment one scan, or several of different people.",
        "run T1.nii.gz -o OUT", _run,
    )  # fmt: skip
    parser.add_argument("scans", nargs="+", type=path_of, metavar="T1", help="T1w scan(s)")
    parser.add_argument("-o", "--out", type=path_of, required=True, help="folder for the results")
    add_person(parser)
    parser.add_argument(
        "--seeds", type=path_of, metavar="FILE", help="label map of voxels whose tissue is known"
    )
    parser.add_argument(
        "--lesion-mask",
        type=path_of,
        metavar="FILE",
        help="your own mask of lesions of white matter: they count as white matter and are kept "
        "out of the fit",
    )
    parser.add_argument("--force", action="store_true", help="overwrite earlier results")
    parser.add_argument(
        "--report-only",
        action="store_true",
        help="make the QC page of a finished result again; nothing is segmented",
    )
    parser.add_argument(
        "--fail-on-verdict",
        action="store_true",
        help="end with exit code 19 where the automatic checks say Fail",
    )
    add_segment_options(parser)
    add_uncompressed(parser)
    add_threads(parser)


def _add_demo(commands: Commands) -> None:
    parser = add_command(
        commands, "demo", "Make a synthetic head, segment it and compare with its truth.",
        "demo -o OUT", _demo,
    )  # fmt: skip
    parser.add_argument("-o", "--out", type=path_of, help="keep the head and the results here")
    parser.add_argument("--force", action="store_true", help="overwrite earlier results")
    add_segment_options(parser)
    add_threads(parser)


def _add_phantom(commands: Commands) -> None:
    parser = add_command(
        commands, "phantom", "Write a synthetic head with its truth.",
        "phantom -o OUT --noise 5 --bias 40", _phantom,
    )  # fmt: skip
    parser.add_argument("-o", "--out", type=path_of, required=True, help="folder for the files")
    parser.add_argument("--noise", type=float, default=3.0, help="%% of white matter (default 3)")
    parser.add_argument("--bias", type=float, default=20.0, help="bias field in %% (default 20)")
    parser.add_argument(
        "--contrast",
        default="T1w",
        choices=("T1w", *CONTRASTS),
        help="what kind of scan is drawn",
    )
    parser.add_argument(
        "--voxel-size",
        type=float,
        nargs="+",
        default=[1.5],
        metavar="MM",
        help="one or three sizes",
    )
    parser.add_argument(
        "--seed", type=whole, default=0, help="another seed is another person (default 0)"
    )
    parser.add_argument("--force", action="store_true", help="overwrite earlier files")


def _add_evaluate(commands: Commands) -> None:
    parser = add_command(
        commands, "evaluate", "Compare a label map with a true one.",
        "evaluate OUT/T1_dseg.nii.gz aparc+aseg.nii.gz --truth-labels freesurfer",
        _evaluate,
    )  # fmt: skip
    parser.add_argument("segmentation", type=path_of, metavar="SEG", help="the label map to judge")
    parser.add_argument(
        "truth", type=path_of, metavar="TRUTH", help="the true one, on the same grid"
    )
    parser.add_argument(
        "--map",
        metavar="SEG=TRUTH,...",
        help="which labels correspond, several joined by + or as a range: 1+2=1,3=1000-2999 "
        "(default: the same numbers)",
    )
    schemes = "freesurfer, muse, or one of our tables (default: the table beside the file)"
    parser.add_argument("--seg-labels", metavar="SCHEME", help=f"label scheme of SEG: {schemes}")
    parser.add_argument("--truth-labels", metavar="SCHEME", help="the same of TRUTH")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=1.0,
        metavar="MM",
        help="distance within which surfaces agree, for the surface Dice (default 1)",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON instead of a table")
    form.add_argument("--csv", action="store_true", help="print CSV instead of a table")


def _run(args: argparse.Namespace) -> int:
    from brainseg.run import Job, plain_target, report_again, run_scan

    if args.report_only and args.no_report:
        raise UsageError("--report-only and --no-report: choose one")
    config = segment_config(args, threads=args.threads)
    own_mask = Path(args.mask) if config.mask == "file" else None
    contrasts = tuple(
        (name, path)
        for name, path in (("T2w", args.t2), ("FLAIR", args.flair), ("PDw", args.pd))
        if path is not None
    )
    if len(args.scans) > 1 and (own_mask or contrasts or args.seeds or args.lesion_mask):
        raise UsageError(
            "--mask FILE, --t2, --flair, --pd, --seeds and --lesion-mask fit one person; run the "
            "scans one by one"
        )
    jobs = [
        Job(
            path,
            plain_target(path, args.out, uncompressed=args.uncompressed),
            mask=own_mask,
            index=args.volume,
            contrasts=contrasts,
            seeds=args.seeds,
            lesions=args.lesion_mask,
        )
        for path in args.scans
    ]
    names = [job.target.prefix for job in jobs]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"{names.count(name)} of the scans would both be called {name!r} in "
                f"{args.out.name}/; give them different -o folders"
            )
    worst = 0
    for job in jobs:
        try:
            with (
                door.naming(job.path.name if len(jobs) > 1 else ""),
                Progress(quiet=args.quiet) as steps,
            ):
                finished = None
                if args.report_only:
                    report_again(job, threads=config.threads, steps=steps)
                else:
                    finished = run_scan(
                        job, config, force=args.force, report=not args.no_report, steps=steps
                    )
        except Exception as error:
            # One bad scan must not keep the others from being done.
            code = door.tell(_with_memory(error, job, config))
            worst = worst or code
        else:
            code = _conclude(job.path.name, finished, args.out)
            worst = worst or (code if args.fail_on_verdict else 0)
    return worst


def _conclude(name: str, finished: Finished | None, out: Path) -> int:
    """Say how a scan ended, its verdict included; return the exit code that the verdict has."""
    if finished is None:
        log.info("%s: page made again, see %s", name, out)
        return 0
    return door.conclude(name, finished.measured.verdict, out)


def _with_memory(error: Exception, job: Job, config: SegmentConfig) -> Exception:
    """Say how much memory a scan takes where that was the fault."""
    from brainseg.batch import memory
    from brainseg.io import nifti

    if not isinstance(error, MemoryError):
        return error
    whole_head = config.tissues == "head"
    gigabytes = memory.needed(nifti.voxel_count(job.path), whole_head=whole_head) / 1e9
    return TemporaryError(
        f"{job.path.name}: not enough memory; segmenting it takes about {gigabytes:.1f} GB"
    )


def _demo(args: argparse.Namespace) -> int:
    from tempfile import TemporaryDirectory

    from brainseg.evaluation import demo

    config = segment_config(args, threads=args.threads)
    with TemporaryDirectory(prefix="brainseg-") as scratch:
        out = Path(scratch) if args.out is None else args.out
        with Progress(quiet=args.quiet) as steps:
            table = demo.run(out, config, force=args.force, report=not args.no_report, steps=steps)
    print(table)
    return 0


def _phantom(args: argparse.Namespace) -> int:
    from brainseg.evaluation import demo
    from brainseg.evaluation.phantom import make_phantom

    sizes = args.voxel_size
    if len(sizes) not in (1, 3) or min(sizes) <= 0:
        raise UsageError(f"--voxel-size: {sizes} given; one size or three, above 0 mm, are needed")
    zooms = tuple(sizes * 3 if len(sizes) == 1 else sizes)
    head = make_phantom(
        zooms=zooms, noise=args.noise, bias=args.bias, contrast=args.contrast, seed=args.seed
    )
    for path in demo.write_head(head, args.out, contrast=args.contrast, force=args.force):
        log.info("wrote %s", path)
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    from brainseg.evaluation import comparison

    pairs = None if args.map is None else comparison.parse_map(args.map)
    schemes = (args.seg_labels, args.truth_labels)
    if pairs is not None and any(schemes):
        raise UsageError("--map and label schemes: choose one")
    if not args.tolerance > 0:
        raise UsageError(f"--tolerance: {args.tolerance} given; use more than 0 mm")
    found = comparison.compare_files(
        args.segmentation, args.truth, pairs, schemes=schemes, tolerance_mm=args.tolerance
    )
    for line in comparison.notes(found):
        log.warning(line)
    form = comparison.as_table
    if args.json or args.csv:
        form = comparison.as_json if args.json else comparison.as_csv
    print(form(found.rows))
    return 0
