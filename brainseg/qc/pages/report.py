"""The report of a scan: one HTML file that needs nothing else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from brainseg.io.bids import split_name
from brainseg.qc.draw.contact import contact
from brainseg.qc.draw.panels import MASK_COLOUR, Panel, panels
from brainseg.qc.draw.sprites import Sprites, sprites
from brainseg.qc.measure.levels import SYMBOLS
from brainseg.qc.measure.subject import Subject
from brainseg.qc.measure.summary import Summary, warnings_of
from brainseg.qc.pages import sections
from brainseg.qc.pages.sections import Methods, Mixture, Numbers, Picture, RatingForm, Slices
from brainseg.qc.pages.top import Top, top
from brainseg.qc.templating import (
    MIXTURE_STYLES,
    NIIVUE_SCRIPT,
    REPORT_SCRIPTS,
    render,
    script,
    styles,
    vendored,
)
from brainseg.tissues.tables import THREE, Tissue

SHORT = {
    "mask": "Mask", "background": "Air", "tissues": "Tissues", "three": "Borders",
    "probabilities": "Maps", "bias": "Bias", "correction": "Corrected",
    "regions": "Regions", "head": "Head", "skull": "Skull", "lesions": "Lesions",
    "uncertainty": "Uncertainty",
}  # fmt: skip
# NiiVue unpacks WebAssembly from its own text and, on the review server, reads the full-size files.
NIIVUE_POLICY = " 'wasm-unsafe-eval'; connect-src 'self' data: blob:; worker-src blob:"


@dataclass(frozen=True)
class Page:
    """Everything that the report shows, a field for each section.

    Attributes
    ----------
    name : str
        File name of the scan.
    css, script, policy : Markup
        Styles, scripts, and what its security policy allows the scripts beyond running.
    top : Top
    pictures : tuple of Picture
    slices : Slices
    mixture : Mixture
    numbers : Numbers
    warnings : tuple of str
        What the steps had to report, each once.
    methods : Methods
    form : RatingForm
    mask_colour : str
    three : tuple of Tissue
        The tissues of the small picture, for its legend.
    symbols : mapping of str to str
        The sign of each level of a check.
    """

    name: str
    css: Markup
    script: Markup
    policy: Markup
    top: Top
    pictures: tuple[Picture, ...]
    slices: Slices
    mixture: Mixture
    numbers: Numbers
    warnings: tuple[str, ...]
    methods: Methods
    form: RatingForm
    mask_colour: str
    three: tuple[Tissue, ...]
    symbols: dict[str, str]


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
    html = render("report.html.j2", _page(subject, summary, drawn, sheets, small))
    suffix = split_name(Path(subject.name))[1]
    return {f"desc-contact_{suffix}.webp": small, "report.html": html.encode()}


def _page(
    subject: Subject, summary: Summary, drawn: list[Panel], sheets: Sprites, small: bytes
) -> Page:
    niivue = vendored("niivue.b64")
    return Page(
        name=subject.name,
        css=styles(*MIXTURE_STYLES),
        script=script(*REPORT_SCRIPTS, *((NIIVUE_SCRIPT,) if niivue else ())),
        policy=Markup(NIIVUE_POLICY if niivue else ""),
        top=top(subject, summary, small),
        pictures=tuple(sections.picture(p, SHORT[p.name]) for p in drawn),
        slices=sections.slices(subject, sheets, niivue),
        mixture=sections.mixture(subject),
        numbers=sections.numbers(summary.quality),
        warnings=tuple(warnings_of(subject)),
        methods=sections.describe(subject),
        form=RatingForm(split_name(Path(subject.name))[0]),
        mask_colour=MASK_COLOUR,
        three=THREE.tissues,
        symbols=SYMBOLS,
    )
