"""Mosaics: which slices are shown where, drawn at the voxels' true aspect.

All pictures follow the neurological convention: the left of the picture is the left of the head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from brainseg.core.masking import Box
from brainseg.core.volume import Array, BoolArray, Volume
from brainseg.qc.draw.pictures import Bytes, outline, resized

SAGITTAL, CORONAL, AXIAL = 0, 1, 2
# Letters at the left and right edge of a picture of each plane.
EDGES = {SAGITTAL: ("P", "A"), CORONAL: ("L", "R"), AXIAL: ("L", "R")}
NAMES = {SAGITTAL: "x", CORONAL: "y", AXIAL: "z"}
GAP = 4
INK = 225
# Pixels of a picture 1680 wide, which a window of 1400 shows at 0.78: 16 there, 11 where a narrow
# one scrolls it at 900.
FONT = 21
SMALL_FONT = 14


@dataclass(frozen=True)
class Cell:
    """One slice of a mosaic: its plane, voxel index, and place in pixels."""

    axis: int
    index: int
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Mosaic:
    """An arrangement of slices, on which any volume of the same grid can be drawn.

    Attributes
    ----------
    cells : tuple of Cell
    box : tuple of slice
        The part of the grid that is shown.
    width, height : int
        Pixels.
    scale : float
        Pixels per mm.
    affine : ndarray, shape (4, 4)
        For the position printed on each slice.
    """

    cells: tuple[Cell, ...]
    box: Box
    width: int
    height: int
    scale: float
    affine: Array

    def draw_samples(
        self, index: Array, samples: Array, paint: Callable[[Array], Bytes], *, smooth: bool = True
    ) -> Bytes:
        """Draw a map given by its samples inside the mask; 0 outside.

        Parameters
        ----------
        index : ndarray of int, shape (I, J, K)
            Position of each voxel among the samples, -1 outside.
        samples : ndarray, shape (n_samples,)
        paint : callable
            Turns values of any shape into 8 bits of that shape.
        smooth : bool
            Interpolate; labels must not.
        """

        def look_up(where: Array) -> Bytes:
            picture = paint(samples[where])  # -1 takes the last sample, blanked at once
            picture[where < 0] = 0
            return picture

        return self.draw(index, look_up, smooth=smooth)

    def draw(self, data: Array, paint: Callable[[Array], Bytes], *, smooth: bool = True) -> Bytes:
        """Draw a volume, slice by slice.

        Parameters
        ----------
        data : ndarray, shape (I, J, K)
        paint : callable
            Turns a 2-D slice into 8 bits, shape (rows, columns).
        smooth : bool
            Interpolate; labels must not.

        Returns
        -------
        ndarray of uint8, shape (height, width)
        """
        canvas = np.zeros((self.height, self.width), dtype=np.uint8)
        for cell in self.cells:
            picture = np.ascontiguousarray(paint(section(data, cell.axis, cell.index, self.box)))
            canvas[cell.y : cell.y + cell.height, cell.x : cell.x + cell.width] = resized(
                picture, (cell.width, cell.height), smooth=smooth
            )
        return canvas

    def contour(self, mask: BoolArray, width: int) -> BoolArray:
        """Outline of a 3-D mask, smoothed to the picture's pixels, shape (height, width)."""
        inside = self.draw(mask, lambda s: s.astype(np.uint8) * np.uint8(255))
        # Cells lie apart, so a border never runs from one into the next.
        return outline(inside > 127, width)

    def annotate(self, picture: Bytes) -> Bytes:
        """Write sides and positions onto a grey or colour picture."""
        image = Image.fromarray(picture)
        write = _writer(image, FONT)
        for cell in self.cells:
            where = f"{NAMES[cell.axis]} {self._position(cell):+.0f}"
            write(cell.x + 5, cell.y + cell.height - 5, where, "lb")
        self._mark_sides(write)
        return np.asarray(image)

    def with_sides(self, picture: Bytes) -> Bytes:
        """Write the sides alone onto a small picture."""
        image = Image.fromarray(picture)
        self._mark_sides(_writer(image, SMALL_FONT))
        return np.asarray(image)

    @staticmethod
    def lettered(picture: Bytes, marks: Sequence[tuple[Cell, str, str]]) -> Bytes:
        """Write two letters onto the upper corners of places in a picture."""
        image = Image.fromarray(picture)
        write = _writer(image, FONT)
        for cell, left, right in marks:
            write(cell.x + 5, cell.y + 5, left, "lt")
            write(cell.x + cell.width - 5, cell.y + 5, right, "rt")
        return np.asarray(image)

    def _mark_sides(self, write: Callable[[int, int, str, str], None]) -> None:
        # Corners hold the least of a head: letters there cover none of it.
        first: set[tuple[int, int]] = set()
        for cell in self.cells:
            if (cell.axis, cell.y) not in first:
                first.add((cell.axis, cell.y))
                left, right = EDGES[cell.axis]
                write(cell.x + 5, cell.y + 5, left, "lt")
                write(cell.x + cell.width - 5, cell.y + 5, right, "rt")

    def _position(self, cell: Cell) -> float:
        centre = np.array([(s.start + s.stop - 1) / 2 for s in self.box] + [1.0])
        centre[cell.axis] = cell.index
        return float((self.affine @ centre)[cell.axis])


def section(data: Array, axis: int, index: int, box: Box) -> Array:
    """Return a slice as it is looked at: rows from top to bottom, columns from left to right."""
    where: list[slice | int] = list(box)
    where[axis] = index
    picture: Array = data[tuple(where)].T[::-1]
    return picture


def layout(
    volume: Volume,
    box: Box,
    rows: Sequence[tuple[int, Sequence[int]]],
    *,
    width: int = 1680,
    scale_limit: float = 3.0,
) -> Mosaic:
    """Arrange rows of slices at one scale, as large as the width allows.

    Parameters
    ----------
    volume : Volume
        Gives voxel sizes and positions.
    box : tuple of slice
        The part of the grid to show.
    rows : sequence of (axis, indices)
    width : int
        Pixels of the widest row.
    scale_limit : float
        Pixels per mm at most.
    """
    extent = [(s.stop - s.start) * z for s, z in zip(box, volume.zooms, strict=True)]
    sides = {SAGITTAL: (1, 2), CORONAL: (0, 2), AXIAL: (0, 1)}

    def size(axis: int, scale: float) -> tuple[int, int]:
        across, up = sides[axis]
        return max(1, int(extent[across] * scale)), max(1, int(extent[up] * scale))

    scale = min(
        (width - GAP * len(indices)) / (len(indices) * extent[sides[axis][0]])
        for axis, indices in rows
    )
    scale = min(scale, scale_limit)
    cells, top = [], 0
    for axis, indices in rows:
        w, h = size(axis, scale)
        step = width / len(indices)
        for n, index in enumerate(indices):
            cells.append(Cell(axis, int(index), int(n * step + (step - w) / 2), top, w, h))
        top += h + GAP
    return Mosaic(tuple(cells), box, width, top - GAP, scale, volume.affine)


def spread(lo: int, hi: int, n: int, margin: float = 0.06) -> list[int]:
    """Return `n` indices evenly spread over lo..hi, a margin kept from both ends."""
    edge = margin * (hi - 1 - lo)
    return [round(i) for i in np.linspace(lo + edge, hi - 1 - edge, n)]


def three_planes(
    volume: Volume,
    box: Box,
    brain: Box,
    columns: int,
    *,
    axial_rows: int = 1,
    width: int = 1680,
) -> Mosaic:
    """Rows of axial, coronal and sagittal slices spread over the brain, all at one scale.

    The narrowest plane has `columns` slices in a row, wider ones about as many as fill one.
    """
    extent = [(s.stop - s.start) * z for s, z in zip(box, volume.zooms, strict=True)]
    across = {AXIAL: extent[0], CORONAL: extent[0], SAGITTAL: extent[1]}
    narrowest = min(across.values())
    rows: list[tuple[int, Sequence[int]]] = []
    for axis, lines in ((AXIAL, axial_rows), (CORONAL, 1), (SAGITTAL, 1)):
        n = max(1, round(columns * narrowest / across[axis]))
        indices = spread(brain[axis].start, brain[axis].stop, n * lines)
        rows += [(axis, indices[r * n : (r + 1) * n]) for r in range(lines)]
    return layout(volume, box, rows, width=width)


def axial_strip(volume: Volume, box: Box, n: int, *, width: int = 1680) -> Mosaic:
    """One row of axial slices through the box."""
    return layout(volume, box, [(AXIAL, spread(box[2].start, box[2].stop, n, 0.12))], width=width)


def stacked(
    mosaic: Mosaic, pictures: Sequence[Bytes], names: Sequence[str]
) -> tuple[Mosaic, Bytes]:
    """Put grey pictures of one mosaic below each other, as one, each with its name above it."""
    band = FONT + 2 * GAP
    step = mosaic.height + band
    cells = tuple(
        replace(c, y=c.y + r * step + band) for r in range(len(pictures)) for c in mosaic.cells
    )
    title = np.zeros((band, mosaic.width), dtype=np.uint8)
    image = Image.fromarray(np.concatenate([p for row in pictures for p in (title, row)]))
    pen = ImageDraw.Draw(image)
    for r, name in enumerate(names):
        pen.text((5, r * step + band // 2), name, fill=INK, font=_font(FONT), anchor="lm")
    return replace(mosaic, cells=cells, height=image.height), np.asarray(image)


def _writer(image: Image.Image, size: int) -> Callable[[int, int, str, str], None]:
    """Return what writes a text at a place of a grey or colour picture, edged with black."""
    pen = ImageDraw.Draw(image)
    ink: Any = INK if image.mode == "L" else (INK,) * 3
    shade: Any = 0 if image.mode == "L" else (0,) * 3

    def write(x: int, y: int, text: str, anchor: str) -> None:
        pen.text(
            (x, y), text, ink, _font(size), anchor=anchor, stroke_width=2, stroke_fill=shade
        )  # fmt: skip

    return write


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
