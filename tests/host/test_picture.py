"""Maps of host machines: as cells, as a page in SVG and PNG, and in terminals of every ability."""

from __future__ import annotations

import base64
import io
import random
import re
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from coronel.errors import SetupError
from coronel.mm.host import HostLibrary, HostMachine
from coronel.mm.walker import Walk
from coronel.picture import png, svg
from coronel.picture.activity import Activity, Sample, sparkline
from coronel.picture.bars import STEPS
from coronel.picture.cells import Survey, survey
from coronel.picture.grid import NOWHERE, Grid
from coronel.picture.legend import left_out, sections
from coronel.picture.palette import ABSENT, CACHED, FREE, PAPER, RESERVED, SHADES, USED
from coronel.picture.sheet import CELLS, Cells, Sheet, Text, sheet
from coronel.picture.terminal import MapView

SVG = "{http://www.w3.org/2000/svg}"
# A hole below 1 MiB, an uneven end, and a second range far above.
HOLES = ([(1, 159), (256, 9001), (262144, 264200)], [(1, 2), (256, 600)])
SHAPES: dict[str, Any] = {"square": ("64M", ()), "wide": ("128M", ()), "holes": HOLES}


@pytest.fixture(scope="module")
def library() -> HostLibrary:
    """One will do: what differs between the profiles is decoded in test_survey.py."""
    return HostLibrary.open()


@pytest.fixture(scope="module", params=SHAPES)
def stressed(
    request: pytest.FixtureRequest, library: HostLibrary, coronel_seed: int
) -> Iterator[tuple[Survey, Walk]]:
    """A machine after random operations, as the pictures and as the walker see it."""
    with HostMachine(*SHAPES[request.param], library=library) as machine:
        machine.stress(4000, coronel_seed)
        yield survey(machine.tables), machine.walk()


@pytest.fixture(scope="module")
def memory(library: HostLibrary) -> Survey:
    """64 MiB after operations that are the same every time."""
    with HostMachine("64M", library=library) as machine:
        machine.stress(4000, 42)
        machine.quiesce()
        return survey(machine.tables)


def zoned(memory: Survey, *edges: int) -> Survey:
    """The same memory, cut into zones at these frames; without any it is one zone."""
    zones = [zone for zone in memory.zones if zone.present]
    zone = replace(
        zones[0],
        end=zones[-1].end,
        present=sum(one.present for one in zones),
        managed=sum(one.managed for one in zones),
        free=sum(one.free for one in zones),
        free_blocks=memory.free_blocks,
    )
    bounds = [zone.first, *edges, zone.end]
    names = ("DMA", "DMA32", "Normal", "HighMem")
    cut = [
        replace(zone, name=name, first=first, end=end)
        for name, first, end in zip(names, bounds, bounds[1:], strict=False)
    ]
    return replace(memory, zones=tuple(cut))


# ---- cells
@pytest.mark.parametrize("size", [(1024, 512), (256, 256), (64, 32), (80, 2), (1, 1), (7, 300)])
def test_a_grid_holds_every_frame_and_fits(stressed: tuple[Survey, Walk], size: tuple[int, int]) -> None:
    memory, _ = stressed
    grid = Grid.fit(memory, *size)
    assert (grid.width <= size[0], grid.height <= size[1]) == (True, True)
    assert grid.picture.shape == (grid.height, grid.width)
    assert len(grid.cells) * grid.frames >= len(memory.classes) > (len(grid.cells) - 1) * grid.frames
    assert np.count_nonzero(grid.picture != NOWHERE) == len(grid.cells)
    if grid.frames == 1:
        assert np.bincount(grid.picture[grid.picture != NOWHERE], minlength=len(SHADES)).tolist() == list(
            memory.counts
        )


def test_it_is_as_fine_as_fits(memory: Survey) -> None:
    for size, frames in (((128, 128), 1), ((127, 128), 4), ((512, 64), 1), ((128, 64), 2), ((64, 32), 8)):
        assert Grid.fit(memory, *size).frames == frames, size


def test_a_cell_shows_what_most_of_its_frames_are(memory: Survey) -> None:
    def cell(*counts: tuple[int, int]) -> int:
        classes = np.repeat(*np.array(counts).T).astype(np.uint8)
        return int(Grid(replace(memory, classes=classes), len(classes), 0, 1).cells[0])

    small, large = FREE[0].index, FREE[3].index
    assert cell((large, 9), (USED[0].index, 7)) == large
    assert cell((USED[0].index, 5), (USED[1].index, 4), (large, 7)) == USED[0].index
    assert cell((small, 8), (USED[2].index, 8)) == USED[2].index, "what is allocated is not hidden"
    assert cell((ABSENT.index, 15), (RESERVED.index, 1)) == RESERVED.index, "nor is what is there"
    assert cell((ABSENT.index, 16)) == ABSENT.index


def test_zone_edges_surround_the_zones(memory: Survey) -> None:
    assert Grid.fit(zoned(memory), 128, 128).zone_edges() == []
    grid = Grid.fit(zoned(memory, 4096, 6144), 128, 128)
    assert {int(number) for number in np.unique(grid.zones)} == {0, 1, 2}
    # 16 MiB are a quarter of the square, the next 8 MiB half of the one below: three inner sides of 64 cells.
    assert sum(abs(x - to_x) + abs(y - to_y) for x, y, to_x, to_y in grid.zone_edges()) == 3 * 64
    assert grid.zone_corners()[0] == (0, 0)
    for x, y, to_x, to_y in grid.zone_edges():
        if x == to_x:
            assert (grid.zones[y:to_y, x - 1] != grid.zones[y:to_y, x]).all()
        else:
            assert (grid.zones[y - 1, x:to_x] != grid.zones[y, x:to_x]).all()


# ---- pages
def page_of(memory: Survey) -> Sheet:
    return sheet(Grid.fit(memory, *CELLS), 'a machine <of> tests & "quotes"')


def test_the_legend_is_what_the_walker_counts(stressed: tuple[Survey, Walk]) -> None:
    memory, walk = stressed
    rows = [row for _, rows in sections(memory) for row in rows]
    assert sum(row.frames for row in rows) == walk.present
    assert sum(row.share for row in rows) == pytest.approx(1)
    root = ElementTree.fromstring(svg.render(page_of(memory)))
    said = {text.get("data-class"): int(text.get("data-frames") or 0) for text in root.iter(f"{SVG}text")}
    said.pop(None, None)
    assert said == {row.shade.key: row.frames for row in rows}
    assert sum(frames for key, frames in said.items() if str(key).startswith("free")) == walk.free
    assert said["reserved"] == walk.reserved


def test_frames_that_a_cpu_keeps_have_a_class_once_there_are_any(memory: Survey) -> None:
    assert CACHED.key not in {row.shade.key for _, rows in sections(memory) for row in rows}
    classes = memory.classes.copy()
    classes[np.flatnonzero(memory.free_frames)[:32]] = CACHED.index
    kept = replace(memory, classes=classes)
    rows = {row.shade.key: row for _, rows in sections(kept) for row in rows}
    assert rows[CACHED.key].frames == 32
    assert sum(row.frames for row in rows.values()) == kept.present == memory.present
    assert kept.free == memory.free - 32
    assert "kept at hand by a CPU" in svg.render(page_of(kept))
    assert any("cached" in line for line in plain(shown(kept, 80, 24)))


def test_an_svg_is_compact_and_its_texts_are_texts(stressed: tuple[Survey, Walk]) -> None:
    memory, _ = stressed
    drawn = svg.render(page_of(memory))
    root = ElementTree.fromstring(drawn)
    assert len(drawn) < 40_000
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert {"Physical memory", 'a machine <of> tests & "quotes"', "one cell = 4 KiB, one frame"} <= set(texts)
    assert (left_out(memory) in texts) == bool(memory.gaps())
    (zones,) = [number for number, text in enumerate(texts) if text == "zones"]
    assert memory.zones[0].name in texts[zones:]


def test_a_zone_without_memory_says_so(stressed: tuple[Survey, Walk]) -> None:
    memory, _ = stressed
    empty = [zone for zone in memory.zones if not zone.present]
    assert empty
    texts = [text.text for text in ElementTree.fromstring(svg.render(page_of(memory))).iter(f"{SVG}text")]
    assert texts.count("no memory") == len(empty)
    for zone in empty:
        assert texts[texts.index(zone.name) + 1] == "no memory"


def test_the_cells_of_an_svg_are_the_picture(stressed: tuple[Survey, Walk]) -> None:
    memory, _ = stressed
    page = page_of(memory)
    (cells,) = [item for item in page.items if isinstance(item, Cells)]
    (found,) = ElementTree.fromstring(svg.render(page)).iter(f"{SVG}image")
    kind, _, data = str(found.get("href")).partition(",")
    assert kind == "data:image/png;base64"
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    picture = cells.grid.picture
    assert image.size == (picture.shape[1] * cells.scale, picture.shape[0] * cells.scale)
    assert (int(found.get("width") or 0), int(found.get("height") or 0)) == image.size
    require_cells(np.asarray(image.convert("RGBA")), picture, cells.scale)


def test_the_cells_of_a_png_are_the_picture(stressed: tuple[Survey, Walk]) -> None:
    memory, _ = stressed
    page = page_of(zoned(memory))  # no edge of a zone is drawn over cells
    (cells,) = [item for item in page.items if isinstance(item, Cells)]
    image = Image.open(io.BytesIO(png.render(page)))
    assert image.size == (page.width * png.ZOOM, page.height * png.ZOOM)
    left, top, step = cells.x * png.ZOOM, cells.y * png.ZOOM, cells.scale * png.ZOOM
    pixels = np.asarray(image)[top : top + step * cells.grid.height, left : left + step * cells.grid.width]
    require_cells(pixels, cells.grid.picture, step)


def require_cells(pixels: np.ndarray, picture: np.ndarray, step: int) -> None:
    """Every pixel of a cell has the colour of its class; where there is no cell, it is clear or paper."""
    wanted = np.repeat(np.repeat(picture, step, axis=0), step, axis=1)
    for shade in SHADES:
        found = np.unique(pixels[wanted == shade.index], axis=0)
        assert found.tolist() in ([], [[*shade.rgb, 255]]), shade.key
    nowhere = np.unique(pixels[wanted == NOWHERE], axis=0).tolist()
    assert nowhere in ([], [[0, 0, 0, 0]], [[*ABSENT.rgb, 255]]), nowhere
    assert ABSENT.colour == PAPER


@pytest.mark.parametrize("edges", [(), (4096,), (1024, 4096, 10240)])
def test_nothing_stands_outside_the_page_nor_on_another_text(memory: Survey, edges: tuple[int, ...]) -> None:
    for wide in (CELLS, (1024, 64)):
        page = sheet(Grid.fit(zoned(memory, *edges), *wide), "a machine")
        texts = [item for item in page.items if isinstance(item, Text) and item.text]
        boxes = []
        for text in texts:
            width = 0.56 * text.size * len(text.text)
            left = text.x - {"start": 0, "middle": width / 2, "end": width}[text.anchor]
            boxes.append((left, text.y - 0.7 * text.size, left + width, text.y, text.text))
        for number, (left, top, right, bottom, words) in enumerate(boxes):
            assert left >= 0, words
            assert (right <= page.width, bottom <= page.height) == (True, True), words
            for other in boxes[:number]:
                apart = right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
                assert apart, (words, other[4])
        assert {zone.name for zone in zoned(memory, *edges).zones} <= {text.text for text in texts}


def test_pixels_of_any_width_make_a_png(coronel_seed: int) -> None:
    chance = random.Random(coronel_seed)
    for width in (1, 2, 3, 10, 11):
        pixels = np.array([[chance.randrange(len(SHADES)) for _ in range(width)] for _ in range(3)], np.uint8)
        data = svg.encode(pixels)
        assert struct.unpack(">II", data[16:24]) == (width, 3)
        assert (np.asarray(Image.open(io.BytesIO(data))) == pixels).all()


def test_without_pillow_a_png_is_one_clear_line(memory: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(SetupError, match="PNG files need Pillow"):
        png.render(page_of(memory))


# ---- terminals
def shown(memory: Survey, width: int, height: int, system: Any = None, no_color: bool = False) -> list[str]:
    """The lines that a terminal of this size gets."""
    file = io.StringIO()
    console = Console(
        file=file, width=width, height=height, color_system=system, force_terminal=True, no_color=no_color
    )
    console.print(MapView(memory, "a machine of tests"))
    return file.getvalue().splitlines()


def plain(lines: list[str]) -> list[str]:
    return [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]


@pytest.mark.parametrize("system", ["truecolor", "256", "standard", None])
@pytest.mark.parametrize("size", [(80, 24), (40, 12), (120, 30), (200, 60)])
def test_a_map_is_no_larger_than_its_terminal(
    stressed: tuple[Survey, Walk], size: tuple[int, int], system: str | None
) -> None:
    memory, _ = stressed
    for zones in (memory, zoned(memory, 512, 2048, 4096)):
        lines = plain(shown(zones, *size, system))
        assert len(lines) < size[1]
        assert max(map(len, lines)) <= size[0]
        if size[0] >= 80:
            last = [zone.name for zone in zones.zones if zone.present][-1]
            assert all(text in "\n".join(lines) for text in ("one cell = ", "reserved", last))


def test_colours_of_a_terminal_are_those_of_the_cells(memory: Survey) -> None:
    memory = zoned(memory)  # no name of a zone stands on cells
    lines = shown(memory, 80, 24, "truecolor")
    found = {tuple(map(int, rgb)) for rgb in re.findall(r"[34]8;2;(\d+);(\d+);(\d+)", "\n".join(lines))}
    assert found <= {shade.rgb for shade in SHADES}
    assert {FREE[1].rgb, USED[1].rgb, USED[3].rgb} <= found
    # Character by character: an upper half and what is behind it are two cells.
    grid = Grid.fit(memory, 80, 2 * 17)
    assert (grid.width, grid.height) == (64, 32)
    cells = [parsed(line) for line in lines[2 : 2 + grid.height // 2]]
    wanted = [[SHADES[cell].rgb for cell in row] for row in grid.picture.tolist()]
    assert [pair[0] for pair in cells[3]] == wanted[6]
    assert [pair[1] for pair in cells[3]] == wanted[7]


def test_two_terminals_in_one_process_keep_their_own_colours(memory: Survey) -> None:
    memory = zoned(memory)
    first = shown(memory, 80, 24, "256")
    assert not re.search(r"[34]8;2;", "".join(first))
    second = "".join(shown(memory, 80, 24, "truecolor"))
    assert not re.search(r"[34]8;5;", second)
    assert re.search(r"[34]8;2;", second)


def parsed(line: str) -> list[tuple[Any, Any]]:
    """The colours of the upper and lower half of each character."""
    found: list[tuple[Any, Any]] = []
    for codes, text in re.findall(r"\x1b\[([0-9;]+)m([^\x1b]+)\x1b\[0m", line):
        front = re.search(r"38;2;(\d+);(\d+);(\d+)", codes)
        back = re.search(r"48;2;(\d+);(\d+);(\d+)", codes)
        lower = tuple(map(int, back.groups())) if back else None
        upper = tuple(map(int, front.groups())) if front else lower
        found += [(upper, lower)] * len(text)
    return found


def test_without_colours_there_are_letters(memory: Survey) -> None:
    for lines in (
        shown(memory, 80, 24),
        shown(memory, 80, 24, "standard"),
        shown(memory, 80, 24, "truecolor", no_color=True),
    ):
        text = "\n".join(plain(lines))
        assert "\N{UPPER HALF BLOCK}" not in text
        assert all(shade.letter * 2 in text for shade in (FREE[1], FREE[3], USED[1], USED[3]))


@pytest.mark.parametrize("system", ["truecolor", "256", "standard", None])
@pytest.mark.parametrize("edges", [(), (512, 2048, 4096)])
def test_top_fits_a_small_terminal(library: HostLibrary, system: Any, edges: tuple[int, ...]) -> None:
    view = Activity("a machine of tests")
    with HostMachine("64M", library=library) as machine:
        for seed in range(3):
            machine.stress(500, seed, hold=False)
            sample = Sample.take(machine.tables)
            view.add(replace(sample, memory=zoned(sample.memory, *edges)))
    file = io.StringIO()
    Console(file=file, width=80, height=24, color_system=system, force_terminal=True).print(view)
    lines = plain(file.getvalue().splitlines())
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert all(word in text for word in ("largest 8 MiB", "unusable free index", "allocations", "misuses"))
    assert all(zone.name in text for zone in view.samples[-1].memory.zones)
    assert ("#" in text) == (system in (None, "standard")), "letters where there are no colours"


def test_the_rate_of_the_past_is_as_high_as_its_largest() -> None:
    assert sparkline([0, 1, 4, 8]) == STEPS[0] + STEPS[1] + STEPS[4] + STEPS[7]
    assert sparkline([0, 0]) == STEPS[0] * 2
    assert sparkline([]) == ""


def test_the_names_of_zones_stand_where_they_begin(memory: Survey) -> None:
    lines = plain(shown(zoned(memory, 4096), 80, 24, "truecolor"))
    assert lines[2].startswith("DMA ")
    assert any("DMA32 " in line for line in lines[2:18])
