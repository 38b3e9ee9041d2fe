"""A page as a PNG file. It needs Pillow, which has a font of its own: the picture is the same everywhere."""

from __future__ import annotations

import functools
import io
from typing import TYPE_CHECKING

import numpy as np

from coronel.errors import SetupError
from coronel.picture.grid import NOWHERE
from coronel.picture.palette import SHADES
from coronel.picture.sheet import Box, Cells, Lines, Sheet, Text

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

ZOOM = 2  # pixels of the file for one of the page: sharp on screens with small pixels
_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}


def render(sheet: Sheet) -> bytes:
    """The whole file. SetupError without Pillow."""
    try:
        from PIL import Image, ImageDraw  # noqa: PLC0415  # an extra
    except ImportError:
        raise SetupError(
            "PNG files need Pillow: `make test` installs it; SVG files need nothing more"
        ) from None
    image = Image.new("RGBA", (sheet.width * ZOOM, sheet.height * ZOOM))
    draw = ImageDraw.Draw(image, "RGBA")
    for item in sheet.items:
        if isinstance(item, Box):
            _box(draw, item)
        elif isinstance(item, Text):
            _text(draw, item)
        elif isinstance(item, Lines):
            _lines(draw, item)
        else:
            _cells(image, item)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _box(draw: ImageDraw.ImageDraw, box: Box) -> None:
    # Pillow's boxes hold their last pixel, pages' do not.
    edges = [ZOOM * box.x, ZOOM * box.y, ZOOM * (box.x + box.width) - 1, ZOOM * (box.y + box.height) - 1]
    edges = [round(edge) for edge in edges]
    if edges[2] < edges[0] or edges[3] < edges[1]:
        return  # less than a pixel
    fill = (*_rgb(box.fill), round(255 * box.opacity))
    outline = (*_rgb(box.outline), 255) if box.outline else None
    draw.rounded_rectangle(edges, ZOOM * box.radius, fill, outline, ZOOM if outline else 0)


def _text(draw: ImageDraw.ImageDraw, text: Text) -> None:
    draw.text(
        (ZOOM * text.x, ZOOM * text.y),
        text.text,
        fill=text.colour,
        font=_font(text.size * ZOOM),
        anchor=_ANCHORS[text.anchor],
        stroke_width=0.035 * text.size if text.bold else 0,
    )


def _lines(draw: ImageDraw.ImageDraw, lines: Lines) -> None:
    for segment in lines.segments:
        ends = [
            ZOOM * (start + lines.scale * value)
            for start, value in zip((lines.x, lines.y) * 2, segment, strict=True)
        ]
        draw.line(ends, lines.colour, max(1, round(ZOOM * lines.width)))


def _cells(image: Image.Image, cells: Cells) -> None:
    from PIL import Image  # noqa: PLC0415

    table = np.zeros((256, 4), np.uint8)
    for shade in SHADES:
        table[shade.index] = (*shade.rgb, 255)
    assert not table[NOWHERE].any()
    step = ZOOM * cells.scale
    pixels = np.repeat(np.repeat(table[cells.grid.picture], step, axis=0), step, axis=1)
    image.alpha_composite(Image.fromarray(pixels), (ZOOM * cells.x, ZOOM * cells.y))


@functools.cache
def _font(size: float) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    from PIL import ImageFont  # noqa: PLC0415

    return ImageFont.load_default(size)


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
