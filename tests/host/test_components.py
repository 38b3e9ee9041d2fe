"""KOS's component programs (tests/components): C on the installed headers, with each profile's library."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from coronel.checkout import ROOT

SOURCES = sorted((ROOT / "tests/components").glob("test_*.c"))
PROGRAMS = ROOT / "build/components"


def run(program: Path, profile: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LD_LIBRARY_PATH": str(ROOT / "build" / profile)}
    return subprocess.run([program], env=environment, capture_output=True, text=True, check=False)


def test_every_name_of_kos_is_there() -> None:
    assert [path.stem for path in SOURCES] == ["test_buddy", "test_kmalloc", "test_pgtable", "test_slab"]


@pytest.mark.parametrize("profile", ["release", "debug"])
@pytest.mark.parametrize("name", [path.stem for path in SOURCES])
def test_a_component_passes_and_says_what_it_did(name: str, profile: str) -> None:
    program = PROGRAMS / name
    assert program.exists(), "build it with `make components`"
    done = run(program, profile)
    assert done.returncode == 0, done.stdout + done.stderr
    *said, last = done.stdout.splitlines()
    count = re.fullmatch(rf"{name}: passed, (\d+) checks, 0 failed", last)
    assert count is not None, last
    assert sum(line.startswith("  passed: ") for line in said) == int(count[1]) > 15
    assert done.stderr == ""


def test_a_check_that_fails_is_told_and_fails_the_program(tmp_path: Path) -> None:
    source = tmp_path / "test_nothing.c"
    source.write_text(
        '#include "component.h"\n'
        'static void body(void) { CHECK("a page", alloc_pages(0, GFP_KERNEL) >= 0);\n'
        'CHECK("a reserved frame", free_pages(0, 0) == 0); }\n'
        'int main(void) { return run_component("test_nothing", body); }\n',
        encoding="utf-8",
    )
    program = tmp_path / "test_nothing"
    words = [
        f"-I{ROOT}/tests/components",
        f"-I{PROGRAMS}/include",
        f"-L{ROOT}/build/debug",
        "-l:libcoronel_mm.so",
    ]
    subprocess.run(["gcc", "-std=c11", source, *words, "-o", program], check=True)
    done = run(program, "debug")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[:2] == ["  passed: a page", "  failed: a reserved frame"]
    assert lines[2].endswith("the last error was: free of a reserved frame")
    assert "  failed: every frame came back" in lines, "a leak is a failure"
    assert lines[-1] == "test_nothing: failed, 4 checks, 2 failed"
