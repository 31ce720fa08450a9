"""What is written where: BIDS derivatives of one scan, complete or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import brainseg
from brainseg.core import masking
from brainseg.core.volume import Array
from brainseg.errors import CannotCreateError
from brainseg.io import dataset, lookups, names, nifti, staging
from brainseg.io.grids import Grid
from brainseg.io.inputs import Source
from brainseg.io.lookups import label_table
from brainseg.io.nifti import Scan
from brainseg.io.staging import Encoder
from brainseg.pipeline import SegmentedVolume
from brainseg.tissues.bias import is_flat
from brainseg.tissues.shells import INTRACRANIAL, WholeHead
from brainseg.tissues.tables import HEAD, SIX, THREE, volume_errors_ml

# Probabilities are stored as 16-bit parts of this: exact to 8e-6 at half of float32's size.
PARTS = 65535
REGIONS = (
    "Where the spatial prior (head atlas and head network) expects each part of the brain: what "
    "the fit of the tissues began with, no parcellation by this scan's intensities"
)
LABELS = "Label map: the most probable tissue of each voxel inside the brain mask"
LESION_CANDIDATES = (
    "Lesion candidates: bright on FLAIR, in white matter, and explained by no healthy tissue; "
    "counted as white matter in all other maps"
)
KNOWN_LESIONS = "The user's mask of lesions; counted as white matter in all other maps"
HEAD_LABELS = (
    "Label map of the whole head: the most probable tissue of each voxel, topology cleaned up"
)


@dataclass(frozen=True)
class Target:
    """Where the outputs of one scan go and what they are called.

    Attributes
    ----------
    folder : Path
        Folder of the scan's files.
    root : Path
        Root of the derivative dataset, where ``dataset_description.json`` lies.
    prefix, suffix : str
        ``sub-01_ses-1`` and ``T1w``, from `brainseg.io.bids.split_name`.
    source : str
        How sidecars name the input: a file name or BIDS URI, never a full path.
    other_sources : tuple of str
        The same of further contrasts.
    compressed : bool
        Images are written as ``.nii.gz``, else as ``.nii``.
    record_ending : str
        Of the file that is written last: it stands for a complete result.
    """

    folder: Path
    root: Path
    prefix: str
    suffix: str
    source: str
    other_sources: tuple[str, ...] = ()
    compressed: bool = True
    record_ending: str = names.RECORD

    def path(self, ending: str) -> Path:
        """Path of the output with this ending, for example ``dseg.nii.gz``."""
        return self.folder / f"{self.prefix}_{ending}"

    def image(self, stem: str) -> Path:
        """Path of an image of an earlier result, compressed or not; for example of ``dseg``."""
        return image_path(self.path(stem))

    @property
    def is_dataset(self) -> bool:
        """Whether the root is a BIDS dataset; the files of a plain scan lie in the root itself."""
        return self.folder != self.root

    @property
    def record(self) -> Path:
        """The JSON of what was estimated, written last."""
        return self.path(self.record_ending)

    @property
    def lock(self) -> Path:
        """The lock that whoever makes this scan's files holds."""
        return self.folder / f".{self.prefix}.lock"


def image_path(stem: Path) -> Path:
    """Return the path of an image by its path without extension, compressed or not."""
    plain = stem.with_name(f"{stem.name}.nii")
    return plain if plain.exists() else stem.with_name(f"{stem.name}.nii.gz")


def require_free(target: Target, *, force: bool) -> None:
    """Refuse to overwrite a result, or other files that bear the names of one.

    Raises
    ------
    CannotCreateError
        When such a file is there and `force` is not given, or when the folder leads out of the
        root.
    """
    require_inside(target)
    there = [] if force else existing(target)
    if there:
        first = target.record.name if target.record.name in there else there[0]
        raise CannotCreateError(
            f"{first}: this scan has a result in {target.root.name}/ already; "
            "add `force` to overwrite it, or choose another `out`"
        )


def require_inside(target: Target) -> None:
    """Refuse a folder that leads out of the root, as a link may."""
    if not target.folder.resolve().is_relative_to(target.root.resolve()):
        raise CannotCreateError(
            f"{target.folder.name}/: leads out of {target.root.name}/; choose another output folder"
        )


def existing(target: Target) -> list[str]:
    """Return the names of a scan's outputs that are there, in order."""
    start = f"{target.prefix}_"
    try:
        there = sorted(path.name for path in target.folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CannotCreateError(
            f"{target.folder.name}/: cannot be read ({reason}); choose another output folder"
        ) from error
    return [n for n in there if n.startswith(start) and names.ENDING.fullmatch(n[len(start) :])]


def recover(target: Target) -> None:
    """Put in order what a run that died left of this scan; call this with its lock held.

    Raises
    ------
    CannotCreateError, OutputError
    """
    staging.recover(target.record, target.prefix)


def write(
    target: Target,
    scan: Scan,
    result: SegmentedVolume,
    *,
    quality: Mapping[str, bytes],
    others: Sequence[Source] = (),
    timed: bool = True,
) -> list[Path]:
    """Write all outputs of one scan.

    Parameters
    ----------
    target : Target
    scan : Scan
        The input, for its grid and hash.
    result : SegmentedVolume
    quality : Mapping
        Files of quality control, ending to content; from `brainseg.qc.pages.report.outputs`.
    others, timed
        As for `record`.

    Returns
    -------
    list of Path
        The files, the record last.

    Raises
    ------
    CannotCreateError, OutputError
    """
    if target.is_dataset:
        dataset.describe_dataset(target.root)
    else:
        dataset.describe_folder(target.root)
    tables = {result.asked.name: result.asked, THREE.name: THREE}
    if result.regions is not None:
        tables["regions"] = SIX
    lookups.write_lookups(target.root, tables.items())
    files = _images(target, scan.grid, result)
    texts = _sidecars(target, result)
    files |= {name: content.__bytes__ for name, content in quality.items()}
    texts[names.RECORD] = to_json(record(scan, result, others=others, timed=timed))
    files |= {name: text.encode for name, text in texts.items()}
    for ending in files:
        if not names.ENDING.fullmatch(ending):
            raise ValueError(f"{ending!r} is no ending of an output; add it to `names.ENDING`")
    return write_files(target, files, threads=result.config.threads)


def write_files(
    target: Target, files: Mapping[str, Encoder], *, threads: int = 1, update: bool = False
) -> list[Path]:
    """Write files in the place of all that an earlier run left of this scan, or change nothing.

    Parameters
    ----------
    target : Target
    files : Mapping
        Ending to a function that makes the bytes.
    threads : int
    update : bool
        Keep the earlier files that have other endings.

    Raises
    ------
    CannotCreateError, OutputError
    """
    named = {target.path(ending).name: encode for ending, encode in files.items()}
    former = [] if update else existing(target)
    staging.exchange(target.record, target.prefix, named, former, threads=threads)
    return [target.path(ending) for ending in files]


def record(
    scan: Scan, result: SegmentedVolume, *, others: Sequence[Source] = (), timed: bool = True
) -> dict[str, Any]:
    """Return everything that was estimated and how, as it is written to the mixture's JSON.

    Parameters
    ----------
    scan : Scan
    result : SegmentedVolume
    others : sequence of Source
        The inputs beside the scan: contrasts, mask, seeds.
    timed : bool
        Tell the seconds of each step. A study keeps them in its ledger instead, so that the same
        scan gives the same bytes whenever and wherever it is run.
    """
    mixture, log_bias = result.fit.mixture, result.fit.log_bias
    # The result is the same whatever the threads: they are no part of how it was made.
    options = {name: value for name, value in asdict(result.config).items() if name != "threads"}
    content: dict[str, Any] = {
        "tissues": [asdict(t) for t in result.table.tissues],
        "weights": np.asarray(mixture.weights_).tolist(),
        "means": np.asarray(mixture.means_).tolist(),
        "covariances": np.asarray(mixture.covariances_).tolist(),
        "converged": bool(mixture.converged_),
        "n_iter": int(mixture.n_iter_),
        "log_likelihood": [float(h) for h in mixture.history_],
        "volumes_ml": result.volumes_ml,
        "volume_errors_ml": volume_errors_ml(result.volumes_ml),
        "brain": {
            "route": result.brain.route,
            "confidence": result.brain.confidence,
            "checks": dict(result.brain.checks),
        },
        "agreement": asdict(result.agreement),
        "warnings": [*scan.notes, *result.warnings],
        "options": options,
        "seed": result.config.seed,
        "zero": result.fit.zero,
        "bias_flat": log_bias is None or is_flat(np.exp(log_bias[result.mask][::7])),
        "seeded": result.known.seeds is not None,
        "contrasts": list(result.fit.contrasts),
        "input": {"name": scan.path.name, "sha256": scan.sha256},
        "acquisition": scan.acquisition.known(),
        "other_inputs": [asdict(source) for source in others],
        "versions": versions(),
    }
    if result.head is not None:
        content["head"] = _of_head(result, result.head)
    if result.fit.lesions is not None:
        known = result.known.lesions is not None
        content["lesion_mask_ml" if known else "lesion_candidates_ml"] = result.lesions_ml
    if timed:
        content["seconds"] = {name: round(s, 3) for name, s in result.seconds.items()}
    return content


def _of_head(result: SegmentedVolume, head: WholeHead) -> dict[str, Any]:
    """Return what the record says of the whole head."""
    unit = result.volume.voxel_volume
    shares = ((t.abbreviation, result.probability(k)) for k, t in enumerate(HEAD.tissues))
    volumes = {name: float(share.sum(dtype=np.float64)) * unit for name, share in shares}
    inside = int(np.count_nonzero(head.intracranial)) * unit
    return {
        "volumes_ml": volumes,
        "total_intracranial_volume_ml": inside,
        "total_intracranial_volume": INTRACRANIAL,
        **head.described(),
    }


def versions() -> dict[str, str]:
    """Versions of brainseg and of the libraries that its numbers rest on."""
    import platform
    from importlib.metadata import version

    libraries = ("numpy", "scipy", "nibabel", "SimpleITK")
    return {"brainseg": brainseg.__version__, "python": platform.python_version()} | {
        name: version(name) for name in libraries
    }


def to_json(content: Any) -> str:
    """Indented JSON with a final newline; refuses NaN, which JSON does not have."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _images(target: Target, grid: Grid, result: SegmentedVolume) -> dict[str, Encoder]:
    def file(data: Array, intent: str = "none", slope: float | None = None) -> bytes:
        raw = nifti.image_bytes(data, grid, intent=intent, slope=slope)
        return nifti.compress(raw) if target.compressed else raw

    def stored(share: Array) -> bytes:
        parts = np.rint(share * np.float32(PARTS)).astype(np.uint16)
        return file(parts, "estimate", 1 / PARTS)

    def probability(samples: Array) -> bytes:
        return stored(masking.scatter(samples, result.mask))

    def of_table(k: int) -> bytes:
        return stored(result.probability(k))

    files: dict[str, Encoder] = {
        "desc-brain_mask": lambda: file(result.mask.astype(np.uint8), "label"),
        f"desc-preproc_{target.suffix}": lambda: file(result.preproc.data),
        names.table_labels(result.asked): lambda: file(result.labels, "label"),
        names.LABELS: lambda: file(result.three_labels, "label"),
    }
    for k, tissue in enumerate(result.asked.tissues):
        files[names.responsibility(result.asked, tissue)] = partial(of_table, k)
    for k, tissue in enumerate(THREE.tissues):
        files[names.fraction(tissue)] = partial(probability, result.fit.fractions[:, k])
    if result.regions is not None:
        regions = masking.scatter(result.regions, result.mask)
        files[names.REGIONS] = partial(file, regions, "label")
    if result.fit.lesions is not None:
        files[names.LESIONS] = partial(probability, result.fit.lesions)
    extension = ".nii.gz" if target.compressed else ".nii"
    return {f"{stem}{extension}": encode for stem, encode in files.items()}


def _sidecars(target: Target, result: SegmentedVolume) -> dict[str, str]:
    base = {"SpatialReference": target.source, "Sources": [target.source, *target.other_sources]}
    labels = names.table_labels(result.asked)
    stripped = {"SkullStripped": result.brain.route == "stripped"}
    brain_only = {"SkullStripped": True}
    of_table = brain_only if result.head is None else {"SkullStripped": False}
    texts = {
        "desc-brain_mask.json": to_json(
            base | {"Type": "Brain", "Description": dataset.DESCRIPTIONS["brain"]} | stripped
        ),
        f"desc-preproc_{target.suffix}.json": to_json(
            base | {"Description": dataset.DESCRIPTIONS["preproc"]} | stripped
        ),
        f"{labels}.json": to_json(
            base | of_table | {"Description": LABELS if result.head is None else HEAD_LABELS}
        ),
        f"{labels}.tsv": label_table(result.asked),
        f"{names.LABELS}.json": to_json(base | brain_only | {"Description": LABELS}),
        f"{names.LABELS}.tsv": label_table(THREE),
    }
    for tissue in result.asked.tissues:
        texts[f"{names.responsibility(result.asked, tissue)}.json"] = to_json(
            base | of_table | {"Description": f"{tissue.name}, probability"}
        )
    for tissue in THREE.tissues:
        texts[f"{names.fraction(tissue)}.json"] = to_json(
            base | brain_only | {"Description": f"{tissue.name}, share of each voxel"}
        )
    if result.regions is not None:
        texts[f"{names.REGIONS}.json"] = to_json(base | brain_only | {"Description": REGIONS})
        texts[f"{names.REGIONS}.tsv"] = label_table(SIX)
    if result.fit.lesions is not None:
        known = result.known.lesions is not None
        told = KNOWN_LESIONS if known else LESION_CANDIDATES
        texts[f"{names.LESIONS}.json"] = to_json(base | brain_only | {"Description": told})
    return texts
