"""GDB's printers over one value of each kind, in a program of the host."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from coronel.gdb.session import search_path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "debug"


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What GDB prints for each expression."""
    gdb, library = shutil.which("gdb"), BUILD / "libcoronel_mm.so"
    if gdb is None:
        pytest.skip("there is no gdb")
    assert library.is_file(), "run `make debug` first"
    program = tmp_path_factory.mktemp("values") / "values"
    flags = "-std=gnu++20 -g -O0 -Wall -Wextra -Werror".split()
    places = [f"-I{ROOT}", f"-I{ROOT}/mm/host/seam", f"-I{BUILD}", str(library), f"-Wl,-rpath,{BUILD}"]
    command = ["g++", *flags, str(HERE / "values.cpp"), *places, "-o", str(program)]
    subprocess.run(command, check=True, timeout=120)
    expressions = ["phys", "virt", "number", "none", "order", "good", "bad", "good_pointer", "bad_pointer"]
    expressions += [
        "done",
        "frame",
        "block",
        "uncounted",
        "members",
        "zone",
        "nothing",
        "empty",
        "magazine",
        "bad_magazine",
    ]
    expressions += ["cache"]
    steps = ["set auto-load no", "set confirm off", "set width 0", "set print elements 0"]
    steps += [f"python import sys; sys.path[:0] = {search_path()!r}; import coronel.gdb.inside"]
    steps += ["break look", "run", "up"]
    for name in expressions:
        steps += [f"echo @{name}@", f"output {name}", "echo \\n"]
    steps += ["continue", "up", "echo @broken@", "output members", "echo \\n"]
    steps += [
        "set var members.head_.size = 2",
        "continue",
        "up",
        "echo @long@",
        "output members",
        "echo \\n",
        "kill",
    ]
    arguments = [argument for step in steps for argument in ("-ex", step)]
    done = subprocess.run(
        [gdb, "-nx", "-q", "-batch", str(program), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "DEBUGINFOD_URLS": ""},
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("@")]
    found = {line.split("@")[1]: line.split("@", 2)[2] for line in lines}
    assert "broken" in found, done.stdout + done.stderr
    return found


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("phys", "phys 0x1000"),
        ("number", "frame 4711 (phys 0x1267000)"),
        ("none", "no frame"),
        ("order", "order 3 (32 KiB)"),
        ("good", "ok frame 5 (phys 0x5000)"),
        ("bad", "error double_free"),
        ("bad_pointer", "error no_memory"),
        ("done", "ok"),
        ("frame", "<allocated order=3 references=1 owner=0xabc>"),
        ("block", "<12 free, list 4, next 9>"),
        ("uncounted", "<3 free, uncounted, list 59>"),
        ("zone", "<zone DMA32, frames 4096 to 8192, 4000 present, watermarks 15/18/22>"),
        ("nothing", "<zone HighMem, no memory>"),
        ("empty", "<empty>"),
        ("magazine", "<blocks 4711, 12>"),
        ("bad_magazine", "<127 blocks, but there is room for 126>"),
        ("cache", "<3 blocks in 2 magazines>"),
    ],
)
def test_prints_what_a_value_means(printed: dict[str, str], name: str, text: str) -> None:
    assert printed[name] == text


def test_names_the_symbol_at_a_virtual_address(printed: dict[str, str]) -> None:
    assert printed["virt"].startswith("virt 0x")
    assert printed["virt"].endswith("<target>")


def test_follows_a_pointer_result(printed: dict[str, str]) -> None:
    assert printed["good_pointer"].startswith("ok ")
    assert "target" in printed["good_pointer"]


def test_lists_the_members(printed: dict[str, str]) -> None:
    assert printed["members"].startswith("list of 3 Member")
    assert [printed["members"].count(f"value = {n}") for n in (1, 2, 3)] == [1, 1, 1]
    assert "!" not in printed["members"]


def test_stops_at_a_link_that_does_not_point_back(printed: dict[str, str]) -> None:
    assert "does not point back" in printed["broken"]
    assert "value = 1" in printed["broken"]
    assert "value = 3" not in printed["broken"]


def test_says_when_a_list_is_longer_than_it_says(printed: dict[str, str]) -> None:
    assert "does not end after 2 members" in printed["long"]
