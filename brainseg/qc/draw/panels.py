"""The pictures of a report: each panel answers one question about a segmentation."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from brainseg.core.masking import Box, bounding_box, widened
from brainseg.core.volume import Array, BoolArray
from brainseg.qc.draw import mosaic, pictures
from brainseg.qc.draw.mosaic import Mosaic
from brainseg.qc.draw.pictures import Bytes
from brainseg.qc.draw.skull import MOST_MM, projections
from brainseg.qc.measure.air import Surroundings
from brainseg.qc.measure.skull import Skull
from brainseg.qc.measure.subject import Subject
from brainseg.tissues.tables import HEAD, SIX
from brainseg.tissues.whole_head import AIR

MASK_COLOUR = "#ffd23f"
OUTER_COLOUR = "#ff8c1a"
INNER_COLOUR = "#1e90ff"
LESION_COLOUR = "#ff2d95"
COLUMNS = 5
"""Slices in a row: more would be narrower than 220 pixels in a window of 1400."""
# Room around the brain in mm for the picture of the whole head: left, right, back, front, below,
# above. The neck tells nothing of the mask.
HEAD_ROOM = (25.0, 25.0, 25.0, 25.0, 30.0, 22.0)


@dataclass(frozen=True)
class Key:
    """A colour of a legend with its meaning."""

    colour: str
    text: str


@dataclass(frozen=True)
class Scale:
    """A colour bar: CSS colours from low to high with their texts."""

    colours: tuple[str, ...]
    low: str
    high: str


@dataclass(frozen=True)
class Panel:
    """One picture of the report.

    Attributes
    ----------
    name : str
        Identifier in the page and in ratings.
    title, look : str
        Heading, and what a reader should look for.
    base, overlay : str
        Data URIs; the overlay (may be empty) lies on the base.
    alt : str
        What the picture shows, for those who do not see it.
    mosaic : Mosaic
    legend : tuple of Key
    scale : Scale or None
    note : str
        A line of numbers in the legend.
    blend : bool
        The overlay covers areas, so its opacity can be set.
    """

    name: str
    title: str
    look: str
    base: str
    alt: str
    mosaic: Mosaic
    overlay: str = ""
    legend: tuple[Key, ...] = ()
    scale: Scale | None = None
    note: str = ""
    blend: bool = False


class Drawing:
    """Windows and arrangements that the panels of one scan share."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        volume = subject.volume
        brain: Box = bounding_box(subject.mask)
        near = widened(brain, volume, (4.0,) * 6)
        head = widened(brain, volume, HEAD_ROOM)
        whole: Box = tuple(slice(0, n) for n in volume.shape)  # type: ignore[assignment]
        self.on_head = mosaic.three_planes(volume, head, brain, COLUMNS, axial_rows=2)
        self.on_field = mosaic.three_planes(volume, whole, whole, COLUMNS)
        self.on_brain = mosaic.three_planes(volume, near, brain, COLUMNS, axial_rows=2)
        self.large = mosaic.three_planes(volume, near, brain, COLUMNS - 1, axial_rows=2)
        self.planes = mosaic.three_planes(volume, near, brain, COLUMNS)
        self.strip = mosaic.axial_strip(volume, near, COLUMNS)
        low, high = np.percentile(subject.samples[::7], [0.5, 99.5])
        self.low, self.high = float(low) - 0.1 * float(high - low), float(high)
        # Made once here, before the panels are drawn side by side.
        self.index, self.corrected = subject.index, subject.corrected

    def grey(self, *, head: bool = False) -> Callable[[Array], Bytes]:
        """Window of the brain's intensities; wider for the head, whose fat is brighter."""
        low = min(self.low, 0.0) if head and self.low > 0 else self.low
        high = self.high + (0.25 if head else 0.08) * (self.high - low)
        return lambda s: pictures.window(s, low, high)

    def anatomy(self, m: Mosaic) -> str:
        """Slices of the corrected scan with their annotations, as the base of a panel."""
        return pictures.webp(m.annotate(m.draw(self.corrected, self.grey())))


def panels(subject: Subject, around: Surroundings, pool: Executor) -> list[Panel]:
    """Draw all panels of a scan in the order in which they are read, side by side in the pool."""
    drawing = Drawing(subject)
    makers: list[Callable[[Drawing], Panel]] = [
        _mask,
        lambda d: _background(d, around.air),
        _tissues,
        _three,
        _probabilities,
    ]
    if not subject.even:
        makers += [_bias, _correction]
    regions = subject.regions
    if regions is not None:
        makers.append(lambda d: _regions(d, regions))
    lesions = subject.lesions
    if lesions is not None:
        makers.append(lambda d: _lesions(d, lesions))
    head = subject.head
    if head is not None:
        makers.append(lambda d: _head(d, head))
    skull = subject.skull
    if skull is not None and skull.thickness.any():
        makers.append(lambda d: _skull(d, skull))
    makers.append(_uncertainty)
    return list(pool.map(lambda make: make(drawing), makers))


def _outline(m: Mosaic, subject: Subject, share: Array) -> BoolArray:
    """Outline of where a share inside the mask is above one half."""
    drawn = m.draw_samples(subject.index, share, lambda s: (s * np.float32(255)).astype(np.uint8))
    return pictures.outline(drawn > 127, 2)


def _mask(d: Drawing) -> Panel:
    m = d.on_head
    grey = m.annotate(m.draw(d.subject.volume.data, d.grey(head=True)))
    line = m.contour(d.subject.mask, 2).astype(np.uint8)
    return Panel(
        "mask",
        "Brain mask on the whole head",
        "The line should run outside all grey matter, the cerebellum and the brain stem, and leave "
        "out eyes, skull, marrow and dura.",
        pictures.webp(grey),
        "Axial, coronal and sagittal slices of the whole head with the outline of the brain mask.",
        m,
        pictures.png_layer(line, [pictures.rgb(MASK_COLOUR)]),
        (Key(MASK_COLOUR, "edge of the brain mask"),),
    )


def _background(d: Drawing, air: Array) -> Panel:
    m = d.on_field
    data = d.subject.volume.data
    low = float(min(0.0, data[::5, ::5, ::5].min()))
    brain = max(float(np.median(d.subject.samples[::11])) - low, 1e-6)
    # A seventh of the brain's intensity fills the window: ghosts and wrap lie below it. Where the
    # noise alone reaches higher, the window does too, or all would be white.
    share, note = 0.14, "The scan holds no air to measure."
    if air.size:
        middle, bright = ((float(v) - low) / brain for v in np.percentile(air, [50, 95]))
        share = max(share, 1.3 * bright)
        note = f"Air lies at {middle:.1%} of the brain, its brightest twentieth above {bright:.1%}."
    grey = m.annotate(m.draw(data, lambda s: pictures.window(s, low, low + share * brain)))
    return Panel(
        "background",
        "Background, contrast stretched",
        "Air should be dark, even speckle. Shifted copies of the head are ghosts or wrap; stripes "
        "and ripples speak of motion or spikes; flat black means that it was removed.",
        pictures.webp(grey, 70),
        "Slices of the whole field of view with the darkest part of the intensities stretched.",
        m,
        note=f"White is {share:.0%} of the brain's median and more. {note}",
    )


def _tissues(d: Drawing) -> Panel:
    m, subject = d.on_brain, d.subject
    layer = m.draw_samples(d.index, subject.label_samples, lambda s: s, smooth=False)
    return Panel(
        "tissues",
        f"The {len(subject.table)} tissues",
        "Colours should follow the folds: dark ones in sulci and ventricles, bright ones in the "
        "white core. Speckle is noise; a tissue that changes from one side or end of the brain to "
        "the other is bias.",
        d.anatomy(m),
        f"Slices of the brain, coloured with the label map of {len(subject.table)} tissues.",
        m,
        pictures.png_layer(layer, [pictures.rgb(t.colour) for t in subject.table.by_value]),
        tuple(Key(t.colour, f"{t.index} {t.name}") for t in subject.table.by_value),
        blend=True,
    )


def _three(d: Drawing) -> Panel:
    m, subject = d.large, d.subject
    layer = np.zeros((m.height, m.width), dtype=np.uint8)
    layer[_outline(m, subject, subject.fractions[:, 1] + subject.fractions[:, 2])] = 1
    layer[_outline(m, subject, subject.fractions[:, 2])] = 2
    return Panel(
        "three",
        "Borders of grey and white matter",
        "Orange should lie on the outside of the cortex, blue between cortex and white matter; "
        "deep grey nuclei are left out by blue.",
        d.anatomy(m),
        "Slices of the brain with the border of CSF and grey matter and that of grey and white.",
        m,
        pictures.png_layer(layer, [pictures.rgb(OUTER_COLOUR), pictures.rgb(INNER_COLOUR)]),
        (Key(OUTER_COLOUR, "CSF | grey matter"), Key(INNER_COLOUR, "grey | white matter")),
    )


def _probabilities(d: Drawing) -> Panel:
    m, subject = d.strip, d.subject
    rows = [
        m.draw_samples(d.index, subject.responsibilities[:, k], _eight_bits)
        for k in range(len(subject.table))
    ]
    tall, joined = mosaic.stacked(m, rows, [f"{t.index} {t.name}" for t in subject.table.tissues])
    return Panel(
        "probabilities",
        "Probability of each tissue",
        "White is certain. A map that is grey all over, or empty, is a class the mixture did not "
        "find.",
        pictures.webp(joined, 75),
        "One row of axial slices for each tissue: its probability from black (0) to white (1).",
        tall,
        scale=Scale(("#000000", "#ffffff"), "0", "1"),
    )


def _bias(d: Drawing) -> Panel:
    subject, bias = d.subject, d.subject.bias
    assert bias is not None
    m = d.planes
    inside = np.log2(bias[::2, ::2, ::2][subject.mask[::2, ::2, ::2]])
    reach = max(0.1, float(np.abs(np.percentile(inside, [1, 99])).max()))
    colours = pictures.colour_map(pictures.DIVERGING)
    field = colours[m.draw(bias, lambda s: pictures.window(np.log2(s), -reach, reach))]
    field[m.draw(subject.mask, lambda s: s.astype(np.uint8), smooth=False) == 0] = 0
    return Panel(
        "bias",
        "Bias field",
        "The field should be smooth and know nothing of the folds.",
        pictures.webp(m.annotate(field), 78),
        "Slices of the brain coloured by the bias field.",
        m,
        scale=Scale(pictures.DIVERGING, f"÷ {2**reach:.2f}", f"× {2**reach:.2f}"),
    )


def _correction(d: Drawing) -> Panel:
    m = d.planes
    return Panel(
        "correction",
        "Before and after the correction of bias",
        "Shown corrected; hover or press t for the scan as it came. White matter should be equally "
        "bright everywhere once corrected.",
        pictures.webp(m.annotate(m.draw(d.subject.volume.data, d.grey()))),
        "Slices of the brain before and after correction of the bias field.",
        m,
        d.anatomy(m),
    )


def _regions(d: Drawing, regions: Bytes) -> Panel:
    m = d.planes
    layer = m.draw_samples(d.index, regions, lambda s: s, smooth=False)
    return Panel(
        "regions",
        "Regions of the spatial prior",
        "Where head atlas and head network expect each part of the brain: brain stem, cerebellum "
        "and deep grey matter should lie on their anatomy. The map is smooth and knows no fold; "
        "the tissues above come from the intensities, too.",
        d.anatomy(m),
        "Slices of the brain, coloured with the regions that the spatial prior expects.",
        m,
        pictures.png_layer(layer, [pictures.rgb(t.colour) for t in SIX.tissues]),
        tuple(Key(t.colour, t.name) for t in SIX.tissues),
        blend=True,
    )


def _head(d: Drawing, labels: Bytes) -> Panel:
    head = bounding_box(labels != AIR)
    m = mosaic.three_planes(d.subject.volume, head, head, COLUMNS)
    moved = int(sum(d.subject.record["head"]["moved_voxels"].values()))
    return Panel(
        "head",
        "The six tissues of the whole head",
        "Brain should lie in CSF, that in a closed skull, and that in skin; sinuses and ear canals "
        "are air inside bone. Bone in an eye, or skin that is bone, is wrong.",
        pictures.webp(m.annotate(m.draw(d.subject.volume.data, d.grey(head=True))), 75),
        "Slices of the whole head, coloured with the six tissues of the head.",
        m,
        pictures.png_layer(
            m.draw(labels, lambda s: s, smooth=False),
            [pictures.rgb(t.colour) for t in HEAD.tissues],
        ),
        tuple(Key(t.colour, f"{t.index} {t.name}") for t in HEAD.tissues),
        note=f"The clean-up of the topology moved {moved:,} voxels.",
        blend=True,
    )


def _skull(d: Drawing, skull: Skull) -> Panel:
    m, picture = projections(skull.thickness, d.subject.volume)
    closed = "No hole" if skull.holes == 0 else f"Holes of {skull.open_cm2:.1f} cm²"
    return Panel(
        "skull",
        "Thickness of the skull",
        "The vault should be smooth and without black holes, thin at the temples and thicker at "
        "the back. Bone of the face is not shown.",
        pictures.webp(picture, 80),
        "The outer surface of the skull from the left, the right and above, coloured by thickness.",
        m,
        note=f"{closed} in the upper third.",
        scale=Scale(pictures.HEAT, "0 mm", f"{MOST_MM:g} mm and more"),
    )


def _lesions(d: Drawing, lesions: Array) -> Panel:
    """Draw candidates on the FLAIR scan, or on the T1w where the FLAIR is no longer at hand."""
    m, subject = d.large, d.subject
    shown = d.corrected if subject.flair is None else subject.flair
    low, high = np.percentile(shown[subject.mask][::7], [0.5, 99.8])
    base = m.draw(shown, lambda s: pictures.window(s, float(low), float(high)))
    ml = float(lesions.sum(dtype=np.float64)) * subject.volume.voxel_volume
    title, look, key = (
        "Lesion candidates",
        "Candidates, not a diagnosis: every bright spot of the white matter should be outlined. "
        "Bright rims of the ventricles, choroid plexus and flow artefacts may be outlined, too.",
        "lesion candidate",
    )
    if "lesion_mask_ml" in subject.record:
        title, look, key = "Lesions", "The outlines are those of the mask that was given.", "lesion"
    return Panel(
        "lesions",
        title,
        look,
        pictures.webp(m.annotate(base)),
        "Slices of the brain with the outlines of lesions.",
        m,
        pictures.png_layer(
            _outline(m, subject, lesions).astype(np.uint8), [pictures.rgb(LESION_COLOUR)]
        ),
        (Key(LESION_COLOUR, key),),
        note=f"{ml:.2f} mL in all; they count as white matter in the volumes.",
    )


def _uncertainty(d: Drawing) -> Panel:
    m, subject = d.on_brain, d.subject
    colours = pictures.colour_map(pictures.HEAT)
    drawn = m.draw_samples(d.index, subject.entropy, _eight_bits)
    return Panel(
        "uncertainty",
        "Uncertainty",
        "Bright lines along borders are partial volume and expected; bright areas are places where "
        "the mixture cannot decide.",
        pictures.webp(m.annotate(colours[drawn]), 75),
        "Slices of the brain coloured by the entropy of the responsibilities.",
        m,
        note=f"Entropy of the responsibilities; mean {float(subject.entropy.mean()):.2f} "
        f"of log {len(subject.table)}.",
        scale=Scale(pictures.HEAT, "0 (certain)", "1 (all tissues alike)"),
    )


def _eight_bits(share: Array) -> Bytes:
    picture: Bytes = np.rint(share * np.float32(255)).astype(np.uint8)
    return picture
