"""The report of a scan: one HTML file that needs nothing else."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from markupsafe import Markup

import brainseg
from brainseg.io.bids import split_name
from brainseg.qc.draw import charts, stages
from brainseg.qc.draw.panels import MASK_COLOUR, Panel, contact, panels
from brainseg.qc.draw.pictures import data_uri, rgb
from brainseg.qc.draw.sprites import Sprites, sprites
from brainseg.qc.measure.levels import SYMBOLS
from brainseg.qc.measure.numbers import NUMBERS, STATISTICS, SUMMARISED
from brainseg.qc.measure.quality import Quality
from brainseg.qc.measure.subject import Subject
from brainseg.qc.measure.summary import Summary
from brainseg.qc.measure.volumes import NO_SIDES
from brainseg.qc.pages import methods
from brainseg.qc.review import ratings
from brainseg.qc.templating import (
    NIIVUE_SCRIPT,
    REPORT_SCRIPTS,
    environment,
    script,
    styles,
    vendored,
)
from brainseg.tissues.tables import THREE

SHORT = {
    "mask": "Mask", "background": "Air", "tissues": "Tissues", "three": "Borders",
    "probabilities": "Maps", "bias": "Bias", "correction": "Corrected",
    "lesions": "Lesions", "uncertainty": "Uncertainty",
}  # fmt: skip
# NiiVue unpacks WebAssembly from its own text and, on the review server, reads the full-size files.
NIIVUE_POLICY = " 'wasm-unsafe-eval'; connect-src 'self' data: blob:; worker-src blob:"


def outputs(subject: Subject, summary: Summary, *, threads: int = 1) -> dict[str, bytes]:
    """Draw the page of one scan.

    Returns
    -------
    dict
        Ending to content: the page, which makes no network request, and the small picture that
        stands for the scan on the study page.
    """
    # Encoders and array arithmetic let go of the interpreter's lock.
    with ThreadPoolExecutor(max(1, threads)) as pool:
        sampling = pool.submit(sprites, subject)
        drawn = panels(subject, summary.around, pool)
        sheets = sampling.result()
    small = contact(subject)
    html = _page(subject, summary, drawn, sheets, small)
    suffix = split_name(Path(subject.name))[1]
    return {f"desc-contact_{suffix}.webp": small, "report.html": html.encode()}


def _page(
    subject: Subject, summary: Summary, drawn: list[Panel], sheets: Sprites, small: bytes
) -> str:
    table, quality, verdict = subject.table, summary.quality, summary.verdict
    facts = sheets.facts | {
        "colours": [[0, 0, 0], *(rgb(t.colour) for t in table.tissues)],
        "names": ["outside the mask", *(t.name for t in table.tissues)],
        "files": _files(subject.name, table.name),
    }
    niivue = vendored("niivue.b64")
    binned = charts.bins(subject.samples)
    scripts = (*REPORT_SCRIPTS, *((NIIVUE_SCRIPT,) if niivue else ()))
    seconds = dict(subject.record.get("seconds", {}))
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            name=subject.name,
            scan=split_name(Path(subject.name))[0],
            version=brainseg.__version__,
            css=styles("page.css", "report.css", "mixture.css"),
            script=script(*scripts),
            niivue=Markup(niivue),
            niivue_policy=Markup(NIIVUE_POLICY if niivue else ""),
            glance=data_uri("webp", small),
            mask_colour=MASK_COLOUR,
            three=THREE.tissues,
            panels=[_with_map(p) for p in drawn],
            short=SHORT,
            verdict=verdict,
            symbols=SYMBOLS,
            volumes=_volumes(subject),
            seconds=seconds,
            total_seconds=sum(seconds.values()),
            zooms=" × ".join(f"{z:.3g}" for z in subject.volume.zooms),
            shape=" × ".join(str(n) for n in subject.volume.shape),
            sides_known=not any(NO_SIDES in w for w in subject.record["warnings"]),
            sprites=sheets,
            facts=Markup(json.dumps(facts).replace("<", "\\u003c")),
            histogram=charts.histogram(subject, binned),
            likelihood=charts.likelihood(subject.record["log_likelihood"]),
            swatches=charts.swatches(table),
            components=_components(subject),
            cycles=stages.at_work(subject, binned),
            planes=stages.at_work_in_planes(subject),
            numbers=number_groups(quality),
            statistics=STATISTICS,
            summary=summary_rows(quality),
            methods=methods.paragraph(subject.record, even=subject.even),
            provenance=methods.provenance(subject.record),
            ratings=ratings.RATINGS,
            tags=ratings.TAGS,
            columns=ratings.COLUMNS,
        )
    )


def _files(name: str, table: str) -> dict[str, str]:
    """Names of the full-size files beside the report, which the review server can give NiiVue."""
    prefix, suffix = split_name(Path(name))
    return {
        "scan": f"{prefix}_desc-preproc_{suffix}.nii.gz",
        "labels": f"{prefix}_seg-{table}_dseg.nii.gz",
    }


def _with_map(panel: Panel) -> dict[str, Any]:
    """Add where each slice of a panel lies, for clicks."""
    m = panel.mosaic
    where = {
        "width": m.width,
        "height": m.height,
        "box": [[s.start, s.stop] for s in m.box],
        "cells": [[c.axis, c.index, c.x, c.y, c.width, c.height] for c in m.cells],
    }
    fields = {k: getattr(panel, k) for k in panel.__dataclass_fields__}
    return fields | {"map": Markup(json.dumps(where, separators=(",", ":")))}


def _volumes(subject: Subject) -> list[dict[str, Any]]:
    volumes = subject.volumes_ml
    total = sum(volumes.values())
    names = {t.abbreviation: t.name for t in THREE.tissues}
    errors = subject.record.get("volume_errors_ml", {})
    rows = [
        {"name": names[a], "ml": ml, "share": ml / total, "error": errors.get(a)}
        for a, ml in volumes.items()
    ]
    brain = volumes["GM"] + volumes["WM"]
    rows.append(
        {"name": "Brain (grey + white)", "ml": brain, "share": brain / total, "error": None}
    )
    rows.append({"name": "Brain mask", "ml": total, "share": 1.0, "error": None})
    return rows


def _components(subject: Subject) -> list[dict[str, Any]]:
    unit = subject.volume.voxel_volume
    sums = subject.responsibilities.sum(axis=0, dtype=float) * unit
    return [
        {"name": f"{t.index} {t.name}", "weight": w, "mean": m, "sd": s, "ml": float(ml)}
        for t, (w, m, s), ml in zip(
            subject.table.tissues, charts.parameters(subject.record), sums, strict=True
        )
    ]


def number_groups(quality: Quality) -> list[dict[str, Any]]:
    """Arrange the quality numbers under their headings, each with its text."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for number in NUMBERS:
        if not number.key.startswith("summary_"):
            groups.setdefault(number.group, []).append(
                asdict(number)
                | {
                    "text": shown(quality.get(number.key)),
                    "missing": quality.reasons.get(number.key, ""),
                }
            )
    return [{"title": title, "rows": rows} for title, rows in groups.items()]


def summary_rows(quality: Quality) -> list[tuple[str, list[str]]]:
    """Arrange the summary statistics as a table of tissues by statistics."""
    return [
        (name, [shown(quality.get(f"summary_{key}_{s}")) for s in STATISTICS])
        for key, name in SUMMARISED.items()
    ]


def shown(value: float | None) -> str:
    """Write a number with four digits, whole where it is large, a dash where it is missing."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"
