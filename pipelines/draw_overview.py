"""The README's picture, made from the synthetic head alone: scan, brain, six tissues, one map.

    brainseg demo -o demo-out && python pipelines/draw_overview.py demo-out docs/overview.png

Draw it anew when the outputs change their looks. No person's scan is in it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from brainseg.core.volume import Array
from brainseg.io import nifti
from brainseg.qc.draw.pictures import Bytes, outline, rgb, window
from brainseg.tissues.tables import SIX

HEIGHT = 300
BAND = 44
FONT = 17
MASK_COLOUR = (255, 176, 0)


def axial(data: Array, index: int) -> Array:
    """Return an axial slice, nose up, the head's left on the left."""
    picture: Array = data[:, :, index].T[::-1]
    return picture


def scaled(picture: Bytes, shape: tuple[int, int], *, smooth: bool) -> Image.Image:
    """Enlarge a slice to the pictures' height."""
    how = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    return Image.fromarray(picture).resize(shape, how)


def main() -> None:
    """Draw four panels side by side."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="what `brainseg demo -o` left")
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    scan = nifti.load(args.folder / "phantom_T1w.nii.gz")

    def read(ending: str) -> Array:
        path = args.folder / f"phantom_{ending}.nii.gz"
        return nifti.load_map(path, reference=scan)

    mask = read("desc-brain_mask") > 0
    # Through the bodies of the lateral ventricles: three fifths of the way up the brain.
    inside = np.flatnonzero(mask.any(axis=(0, 1)))
    z = int(inside[0] + 0.6 * (inside[-1] - inside[0]))
    columns, rows, _ = scan.volume.shape
    across, up, _ = scan.volume.zooms
    shape = (round(HEIGHT * columns * across / (rows * up)), HEIGHT)

    data = scan.volume.data
    grey = window(axial(data, z), 0.0, float(np.percentile(data[mask], 99.5)) * 1.1)
    head = np.stack([np.asarray(scaled(grey, shape, smooth=True))] * 3, -1)
    brain = head.copy()
    edge = scaled(axial(mask, z).astype(np.uint8) * np.uint8(255), shape, smooth=True)
    brain[outline(np.asarray(edge) > 127, 2)] = MASK_COLOUR
    colours = np.array([(0, 0, 0), *(rgb(t.colour) for t in SIX.tissues)], np.uint8)
    labels = axial(read("seg-six_dseg"), z).astype(np.uint8)
    tissues = colours[np.asarray(scaled(labels, shape, smooth=False))]
    share = window(axial(read("label-GM_probseg"), z), 0.0, 1.0)
    grey_matter = np.stack([np.asarray(scaled(share, shape, smooth=True))] * 3, -1)

    panels = {
        "T1w scan in": head,
        "brain mask": brain,
        "six tissues": tissues,
        "probability of grey matter": grey_matter,
    }
    width = shape[0]
    canvas = Image.new("RGB", (len(panels) * width, HEIGHT + BAND))
    pen = ImageDraw.Draw(canvas)
    for i, (name, picture) in enumerate(panels.items()):
        canvas.paste(Image.fromarray(picture), (i * width, 0))
        middle = (i * width + width // 2, HEIGHT + BAND // 2)
        pen.text(middle, name, fill=(235, 235, 235), font=ImageFont.load_default(FONT), anchor="mm")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    # A palette halves the file and shows nothing to the eye.
    canvas.quantize(128).save(args.out, optimize=True)


if __name__ == "__main__":
    main()
