"""`coronel map --slabs`, `--heap` and `--sites`: what they show is what tables and tracks say."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image

from coronel.mm.heap import HEADER, Block, HeapWalk
from coronel.mm.layout import Struct, StructType
from coronel.picture.heap import LINES, band_of, line_bytes, pieces
from coronel.picture.palette import FREE, OBJECTS, USED
from coronel.picture.site_sheet import short_name
from coronel.picture.slab_sheet import cells_in
from coronel.pytest_plugin import Build

COMMAND = [sys.executable, "-m", "coronel"]
WORK = ("--objects", "600", "--seed", "5", "--memory", "64M")


def coronel(*words: object, columns: int = 80, status: int = 0) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"COLUMNS": str(columns), "LINES": "24"}
    environment.pop("CORONEL_MM_LIBRARY", None)  # --profile says which
    done = subprocess.run(
        [*COMMAND, *map(str, words)],
        env=environment,
        input="",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (status, False), done.stderr[-2000:]
    return done


def place(build: Build, where: str) -> tuple[object, ...]:
    words = ("--build", build.elf.parent.parent, "--profile", build.profile, *WORK)
    return (*words, "--host") if where == "host" else words


def numbers(*words: object) -> Any:
    return json.loads(coronel(*words, "--json").stdout)


def colours_of(path: Path) -> set[Any]:
    image = Image.open(io.BytesIO(path.read_bytes())).convert("RGB")
    return {colour for _, colour in image.getcolors(1 << 24) or []}


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5))


@pytest.mark.parametrize("where", ["guest", "host"])
def test_slabs_are_those_of_slabinfo(artifact: Build, tmp_path: Path, where: str) -> None:
    machine = place(artifact, where)
    found = numbers("map", "--slabs", *machine, "--output", tmp_path / "slabs.png")
    table = {row["name"]: row for row in numbers("slabs", *machine)}
    for cache in found["caches"]:
        row = table[cache["name"]]
        assert cache["allocated"] == row["active_objs"]
        assert cache["cached"] + cache["quarantined"] == row["cached"]
        assert cache["allocated"] + cache["cached"] + cache["free"] == row["num_objs"]
        assert cache["slabs"] == row["num_slabs"]
        held = row["num_slabs"] * row["pagesperslab"] * 4096
        assert cache["held_bytes"] == held
        assert cache["waste_bytes"] == held - row["num_objs"] * row["objsize"] >= 0
    assert found["states"]["allocated"]["objects"] == sum(one["allocated"] for one in found["caches"])
    drawn = colours_of(tmp_path / "slabs.png")
    assert {rgb(OBJECTS[state]) for state, sums in found["states"].items() if sums["objects"]} <= drawn


@pytest.mark.parametrize("where", ["guest", "host"])
def test_the_heap_is_that_of_heapinfo(artifact: Build, tmp_path: Path, where: str) -> None:
    machine = place(artifact, where)
    found = numbers("map", "--heap", *machine, "--output", tmp_path / "heap.png")
    told = numbers("heap", *machine)
    assert {name: found[name] for name in told if name not in ("problems", "ranges")} == {
        name: value for name, value in told.items() if name not in ("problems", "ranges")
    }
    assert sum(one["blocks"] for one in found["used"]) == told["active_blocks"]
    assert sum(one["bytes"] for one in found["used"]) == told["used_bytes"]
    assert sum(one["bytes"] for one in found["free"]) == told["free_bytes"]
    drawn = colours_of(tmp_path / "heap.png")
    for bands, shades in ((found["used"], USED), (found["free"], FREE)):
        for band, shade in zip(bands, shades, strict=True):
            assert shade.rgb in drawn or band["blocks"] == 0


@pytest.mark.parametrize("where", ["guest", "host"])
def test_sites_are_those_of_the_tracks(artifact: Build, tmp_path: Path, where: str) -> None:
    machine = place(artifact.sibling("guarded"), where)
    path = tmp_path / "sites.svg"
    done = coronel("map", "--sites", *machine, "--output", path)
    assert done.stdout == f"{path}\n"
    found = numbers("map", "--sites", *machine)
    texts = [text.text or "" for text in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")]
    for one in found["list"][:20]:
        assert short_name(str(one["site"]).partition(" ")[2]) in texts
        assert f"{one['objects']} object{'' if one['objects'] == 1 else 's'}" in texts
    assert f"{found['heap_blocks']} blocks" in texts
    assert any("perform" in text for text in texts)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("kernel::kmain+0x34", "kernel::kmain+0x34"),
        ("a::b<c<d>, e>::f<g>+0x1", "a::b::f+0x1"),
        ("a::b<(*)(std::view<char,+0xa65", "a::b+0xa65"),
        ("", ""),
    ],
)
def test_a_name_is_short_and_says_the_place(words: str, text: str) -> None:
    assert short_name(words) == text


def test_a_build_that_knows_no_sites_says_so(artifact: Build, tmp_path: Path) -> None:
    path = tmp_path / "sites.svg"
    done = coronel("map", "--sites", *place(artifact, "host"), "--output", path, status=1)
    assert "debug_slab is off" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not path.exists()


def test_in_a_pipe_they_are_letters(artifact: Build) -> None:
    machine = place(artifact, "host")
    slabs = coronel("map", "--slabs", "kmalloc-64", *machine).stdout
    row = next(one for one in numbers("slabs", *machine) if one["name"] == "kmalloc-64")
    cells = "".join(re.findall(r"^[#o. ]+$", slabs, re.MULTILINE))
    assert (cells.count("#"), cells.count("o")) == (row["active_objs"], row["cached"])
    assert sum(map(cells.count, "#o.")) == row["num_objs"]
    heap = coronel("map", "--heap", *machine)
    lines = re.findall(r"^[1-4a-d]{20,}$", heap.stdout, re.MULTILINE)
    total = numbers("heap", *machine)["total_bytes"]
    assert 1 < len(lines) <= LINES
    assert sum(map(len, lines)) == pytest.approx(len(lines) * 80, abs=80)
    free = sum(letter in "abcd" for line in lines for letter in line) / sum(map(len, lines))
    assert free == pytest.approx(numbers("heap", *machine)["free_bytes"] / total, abs=0.05)
    assert "\x1b" not in slabs + heap.stdout
    assert max(map(len, (slabs + heap.stdout).splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--slabs", "--live"], "--live draws physical memory"),
        (["--heap", "--live"], "--live draws physical memory"),
        (["--sites", "--live"], "--live draws physical memory"),
        (["--heap", "--output", "heap.gif"], "neither an SVG nor a PNG file"),
        (["--objects", "-1"], "0 or more"),
        (["--heap", "--sites"], "not allowed with"),
        (["--virtual", "--slabs"], "not allowed with"),
    ],
)
def test_nonsense_is_refused(words: list[str], text: str, tmp_path: Path) -> None:
    done = coronel("map", *words, "--build", tmp_path, status=2)
    assert text in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_cache_that_is_not_there_is_named(artifact: Build) -> None:
    done = coronel("map", "--slabs", "nobody", *place(artifact, "host"), status=1)
    assert "no cache 'nobody': " in done.stderr


# ---- where things stand on a page


@pytest.mark.parametrize("objects", [1, 2, 7, 64, 100, 127, 512])
@pytest.mark.parametrize("width", [56.0, 224.0, 448.0])
def test_cells_have_room_for_all_and_are_about_square(objects: int, width: float) -> None:
    columns, rows = cells_in(objects, width, 56.0)
    assert columns * (rows - 1) < objects <= columns * rows
    assert 1 / 4 <= (width / columns) / (56.0 / rows) <= 8
    assert columns * rows - objects <= 0.3 * columns * rows


def test_a_block_goes_on_in_the_next_line() -> None:
    blocks = [
        Block(0x1008, 6000, used=True),
        Block(0x1008 + 6000, 0x3000 - 16 - 6000, used=False),
        Block(0x8008, 0x1000 - 16, used=True),
    ]
    found = HeapWalk(Struct(StructType("HeapState", 0), b"", 0), [(0x1000, 0x4000), (0x8000, 0x9000)], blocks)
    first, second, third = (list(pieces(found, at, at + 0x1000)) for at in (0x1000, 0x2000, 0x3000))
    assert [(one.first, one.end) for one in first] == [(0x1008, 0x2000)]
    assert [one.block.used for one in second] == [True, False]
    assert [(one.first, one.end) for one in third] == [(0x3000, 0x4000 - HEADER)]
    assert sum(one.end - one.first for line in (first, second, third) for one in line) == 0x3000 - 16
    assert [band_of(block) for block in blocks] == [2, 2, 2]
    assert line_bytes(found.ranges) == 4096
    assert line_bytes([(0, 4 << 20)]) == 128 << 10
