"""A page as SVG: texts are texts, and the cells are one small embedded image."""

from __future__ import annotations

import base64
import struct
import zlib
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from numpy.typing import NDArray

from coronel.picture.palette import SHADES
from coronel.picture.sheet import Box, Cells, Item, Lines, Sheet, Text

FONTS = "Inter, 'Segoe UI', 'Helvetica Neue', Helvetica, Arial, 'DejaVu Sans', sans-serif"
_DEPTH = 4  # bits a pixel: up to 16 colours, the last of them transparent
_CLEAR = (1 << _DEPTH) - 1


def render(sheet: Sheet) -> str:
    """The whole file."""
    size = f'width="{sheet.width}" height="{sheet.height}" viewBox="0 0 {sheet.width} {sheet.height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family={quoteattr(FONTS)}>',
        f"<title>{escape(sheet.title)}</title>",
        f"<desc>{escape(sheet.summary)}</desc>",
        "<style>text { font-variant-numeric: tabular-nums; }</style>",
        *(_item(item) for item in sheet.items),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _item(item: Item) -> str:
    if isinstance(item, Box):
        return _box(item)
    if isinstance(item, Text):
        return _text(item)
    if isinstance(item, Lines):
        return _lines(item)
    return _cells(item)


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _box(box: Box) -> str:
    sides = zip(("x", "y", "width", "height"), (box.x, box.y, box.width, box.height), strict=True)
    words = [f'{name}="{_number(value)}"' for name, value in sides]
    words.append(f'fill="{box.fill}"')
    if box.radius:
        words.append(f'rx="{_number(box.radius)}"')
    if box.outline:
        words.append(f'stroke="{box.outline}"')
    if box.opacity != 1:
        words.append(f'fill-opacity="{_number(box.opacity)}"')
    return f"<rect {' '.join(words)}/>"


def _text(text: Text) -> str:
    words = [f'x="{_number(text.x)}" y="{_number(text.y)}" font-size="{_number(text.size)}"']
    words.append(f'fill="{text.colour}"')
    if text.anchor != "start":
        words.append(f'text-anchor="{text.anchor}"')
    if text.bold:
        words.append('font-weight="600"')
    if text.key:
        words.append(f'data-class="{text.key}" data-frames="{text.frames}"')
    return f"<text {' '.join(words)}>{escape(text.text)}</text>"


def _lines(lines: Lines) -> str:
    """One path; a line that begins where the last one ended goes on from there."""
    path, pen = [], (-1, -1)
    for x, y, to_x, to_y in lines.segments:
        ends = [_number(lines.scale * value) for value in (x, y, to_x, to_y)]
        if (x, y) != pen:
            path.append(f"M{ends[0]} {ends[1]}")
        path.append(f"L{ends[2]} {ends[3]}")
        pen = to_x, to_y
    place = f'transform="translate({_number(lines.x)} {_number(lines.y)})"'
    stroke = f'fill="none" stroke="{lines.colour}" stroke-width="{_number(lines.width)}"'
    return f'<path {place} {stroke} stroke-linecap="round" stroke-linejoin="round" d="{"".join(path)}"/>'


def _cells(cells: Cells) -> str:
    picture = np.minimum(cells.grid.picture, _CLEAR)
    # As large as it is shown: a viewer that smoothes what it enlarges has nothing to enlarge.
    large = np.repeat(np.repeat(picture, cells.scale, axis=0), cells.scale, axis=1)
    data = base64.b64encode(encode(large)).decode("ascii")
    height, width = large.shape
    place = f'x="{cells.x}" y="{cells.y}" width="{width}" height="{height}"'
    return f'<image {place} style="image-rendering: pixelated" href="data:image/png;base64,{data}"/>'


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG file of indices of SHADES; _CLEAR is transparent. (W3C, "Portable Network Graphics")"""
    height, width = pixels.shape
    padded = np.zeros((height, width + width % 2), np.uint8)
    padded[:, :width] = pixels
    rows = np.zeros((height, 1 + padded.shape[1] // 2), np.uint8)  # byte 0: no filter
    rows[:, 1:] = padded[:, 0::2] << 4 | padded[:, 1::2]
    colours = bytes(part for shade in SHADES for part in shade.rgb)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, _DEPTH, 3, 0, 0, 0)),
            _chunk(b"PLTE", colours.ljust(3 << _DEPTH, b"\0")),
            _chunk(b"tRNS", b"\xff" * _CLEAR + b"\0"),
            _chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
