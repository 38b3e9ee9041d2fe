"""The floors of the house: which folder may include which. A violation is a failing test, with its line.

The rule is design, not convenience: a lower floor never knows a higher one, mm/ knows neither kernel/ nor
boot/, and only mm/host sees a hosted C++ library. Includes are written from the root, so that a line shows
its floor.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SUFFIXES = {".hpp", ".cpp", ".h", ".def", ".S"}

MM = ["mm/base", "mm/stats", "mm/physical", "mm/heap", "mm/virtual", "mm/user", "mm/reclaim", "mm"]
# Floor: the floors that it may include, besides itself. A file's floor is the longest of these that its path
# begins with; "mm" is what lies directly in it (memory_manager, mm.h).
FLOORS: dict[str, list[str]] = {
    "mm/base": [],
    "mm/stats": MM[:1],
    "mm/physical": MM[:2],
    "mm/heap": MM[:3],
    "mm/virtual": MM[:4],
    "mm/user": MM[:5],
    "mm/reclaim": MM[:5],
    "mm": MM[:7],
    "mm/host": MM,
    "boot": ["mm/base"],
    "kernel": [*MM, "boot"],
    "tests/unit": [*MM, "boot"],
    "tests/kernel": [*MM, "boot", "kernel", "tests/unit"],
}
# One file each that may do more: it is the joint between two floors.
JOINTS: dict[str, list[str]] = {
    "kernel/shell/ktest.cpp": ["tests/unit/unit.hpp"],
    "kernel/shell/ktest_world.cpp": ["tests/unit/world.hpp"],
    "mm/base/platform.hpp": ["platform_inline.hpp"],  # by include path: the home's own
    "mm/base/config.hpp": ["config_values.h"],  # generated for each profile
}
ASSEMBLY_MAY = {"config_values.h"}
# What g++ 12 and 14 give a freestanding kernel: of <memory> construct_at, of <cstring> the memcpy family,
# which kernel/runtime defines.
FREESTANDING = set(
    """algorithm array atomic bit climits compare concepts cstdarg cstddef cstdint cstring
    initializer_list iterator limits memory new optional source_location span stddef.h stdint.h
    string_view tuple type_traits utility""".split()
)
HOSTED = {"mm/host"}

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)


@dataclass(frozen=True)
class Include:
    """One #include line; `target` begins with < for a system header."""

    source: str
    line: int
    target: str


def includes_of(source: str, text: str) -> Iterator[Include]:
    """Yield the includes of a file. Those in comments count too: they would mislead a reader as well."""
    for found in _INCLUDE.finditer(text):
        yield Include(source, text.count("\n", 0, found.start()) + 1, found[1] or f"<{found[2]}>")


def floor_of(path: str) -> str | None:
    """Return the floor that a path belongs to, if it belongs to one."""
    return max((floor for floor in FLOORS if path.startswith(f"{floor}/")), key=len, default=None)


def violation(include: Include) -> str | None:
    """Return what is wrong with an include, or None."""
    source, target = include.source, include.target
    if source.startswith("tests/unit/host_"):  # the host's side of the unit tests
        return None
    if any(target.startswith(allowed) for allowed in JOINTS.get(source, [])):
        return None
    here = floor_of(source)
    assert here, f"{source} is on no floor: add it to FLOORS"
    if target.startswith("<"):
        if here in HOSTED or target.strip("<>") in FREESTANDING:
            return None
        return f"{here} is freestanding and has no {target}"
    if source.endswith(".S") and target in ASSEMBLY_MAY:
        return None
    there = floor_of(target)
    if there is None:
        return f'"{target}" is not written from the root, or is on no floor'
    if there != here and there not in FLOORS[here]:
        return f"{here} must not include {there}"
    return None


def all_files() -> list[Path]:
    folders = ["mm", "kernel", "boot", "tests/unit"]
    return sorted(
        path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES
    )


@pytest.mark.parametrize("path", all_files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_includes_stay_on_their_floors(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    problems = []
    for include in includes_of(name, path.read_text(encoding="utf-8")):
        problem = violation(include)
        if problem is None and floor_of(include.target) and not (ROOT / include.target).is_file():
            problem = f'"{include.target}" does not exist'
        if problem:
            problems.append(f"{name}:{include.line}: {problem}")
    assert not problems, "\n".join(problems)


def test_every_floor_is_looked_at() -> None:
    floors = {floor_of(path.relative_to(ROOT).as_posix()) for path in all_files()}
    assert {"mm/base", "mm/stats", "mm/physical", "mm/host", "boot", "kernel", "tests/unit"} <= floors


@pytest.mark.parametrize(
    ("source", "line", "says"),
    [
        ("mm/base/list.hpp", '#include "mm/physical/buddy.hpp"', "mm/base must not include mm/physical"),
        ("mm/physical/zone.cpp", '#include "mm/virtual/area.hpp"', "must not include mm/virtual"),
        ("mm/user/copy.cpp", '#include "mm/reclaim/lru.hpp"', "must not include mm/reclaim"),
        ("mm/heap/slab.cpp", '#include "mm/mm.h"', "must not include mm"),
        ("mm/memory_manager.cpp", '#include "mm/host/machine.hpp"', "mm must not include mm/host"),
        ("mm/physical/zone.cpp", '#include "kernel/panic.hpp"', "must not include kernel"),
        ("mm/base/range.hpp", '#  include "boot/pvh.hpp"', "must not include boot"),
        ("boot/pvh.cpp", '#include "mm/physical/frames.hpp"', "boot must not include mm/physical"),
        ("kernel/main.cpp", '#include "mm/host/cpu.hpp"', "kernel must not include mm/host"),
        ("kernel/main.cpp", '#include "tests/unit/unit.hpp"', "kernel must not include tests/unit"),
        ("kernel/shell/shell.cpp", "#include <string>", "kernel is freestanding and has no <string>"),
        ("mm/stats/stats.cpp", "#include <cstdio>", "has no <cstdio>"),
        ("tests/unit/buddy_test.cpp", "#include <vector>", "has no <vector>"),
        ("tests/unit/buddy_test.cpp", '#include "mm/host/machine.hpp"', "must not include mm/host"),
        ("mm/physical/buddy.cpp", '#include "buddy.hpp"', "is not written from the root"),
        ("mm/physical/buddy.cpp", '#include "../base/types.hpp"', "is not written from the root"),
        ("mm/base/sync.hpp", '#include "platform_inline.hpp"', "is not written from the root"),
        ("kernel/main.cpp", '#include "config_values.h"', "is not written from the root"),
    ],
)
def test_the_checker_finds(source: str, line: str, says: str) -> None:
    (include,) = includes_of(source, f"// one\n{line}  // comment\n")
    assert include.line == 2
    assert says in (violation(include) or "nothing")


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("mm/physical/zone.cpp", '#include "mm/base/types.hpp"'),
        ("mm/memory_manager.cpp", '#include "mm/reclaim/lru.hpp"'),
        ("mm/host/machine.cpp", "#include <vector>"),
        ("mm/host/machine.cpp", '#include "mm/mm.h"'),
        ("kernel/shell/ktest.cpp", '#include "tests/unit/unit.hpp"'),
        ("kernel/main.cpp", '#include "boot/multiboot2.hpp"'),
        ("mm/base/platform.hpp", '#include "platform_inline.hpp"'),
        ("boot/entry.S", '#include "config_values.h"'),
        ("mm/base/types.hpp", "#include <cstdint>"),
        ("tests/unit/host_main.cpp", "#include <cstdio>"),
    ],
)
def test_the_checker_allows(source: str, line: str) -> None:
    (include,) = includes_of(source, line)
    assert violation(include) is None
