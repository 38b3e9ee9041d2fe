"""The C face's page tables as a C program calls them, on trees of four and of five levels."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from coronel.errors import DecodeError, UsageError
from coronel.mm.host import HostMachine
from coronel.mm.page_tables import Tree, census_view, kernel_tree, path_view
from coronel.pytest_plugin import Build

PAGE, LARGE = 4096, 2 << 20


@pytest.fixture(params=[4, 5])
def machine(request: pytest.FixtureRequest) -> Iterator[HostMachine]:
    with HostMachine("16M", levels=request.param) as made:
        yield made


def test_every_call_and_every_error(machine: HostMachine) -> None:
    call: Any = machine._enter()
    data, huge = call.PTE_WRITE | call.PTE_NX, call.PTE_HUGE
    pgd = call.pgd_alloc()
    assert pgd
    assert call.map_page(pgd, 0x40_0000, 0x9000, data) == 0
    assert call.map_page(pgd, 0x40_0000, 0x9000, data) == -errno.EEXIST
    assert call.map_page(pgd, 0x80_0000, 0x20_0000, data | huge | call.PTE_PAT) == 0
    assert call.map_page(pgd, 0xA0_1000, 0x20_0000, data | huge) == -errno.EINVAL
    assert call.map_page(pgd, 0xA0_0000, 0x20_1000, data | huge) == -errno.EINVAL
    assert call.map_page(pgd, 0xA0_0000, 0, call.PTE_WRITE) == -errno.EINVAL
    assert call.map_page(pgd, 1 << 63, 0, data) == -errno.EINVAL
    assert call.map_page(pgd + PAGE, 0x40_0000, 0, data) == -errno.EINVAL
    assert call.virt_to_phys_pgtable(pgd, 0x40_0123) == 0x9123
    assert call.virt_to_phys_pgtable(pgd, 0x9F_FFFF) == 0x3F_FFFF
    assert call.virt_to_phys_pgtable(pgd, 0x1000) == -errno.ENOENT
    assert call.virt_to_phys_pgtable(pgd, 1 << 63) == -errno.EINVAL
    assert call.unmap_page(pgd, 0x80_1000) == -errno.EINVAL
    assert call.unmap_page(pgd, 0x80_0000) == 0
    assert call.unmap_page(pgd, 0x80_0000) == -errno.ENOENT
    assert machine.valid()
    assert call.pgd_free(pgd) == 0
    assert call.pgd_free(pgd) == -errno.EINVAL
    assert machine.valid()


def test_the_fifth_level_reaches_further(machine: HostMachine) -> None:
    call: Any = machine._enter()
    pgd, levels = call.pgd_alloc(), Tree.at(machine.tables, machine._enter().pgd_alloc()).levels
    far = 0x00AB_CDEF_0123_4000  # beyond 47 bits
    outcome = call.map_page(pgd, far, 0x1000, call.PTE_NX)
    assert outcome == (0 if levels == 5 else -errno.EINVAL)
    if levels == 5:
        assert call.virt_to_phys_pgtable(pgd, far + 8) == 0x1008
        view = path_view(Tree.at(machine.tables, pgd), far + 8)
        assert [row["level"] for row in view["path"]] == ["PGD", "P4D", "PUD", "PMD", "PTE"]
        assert view["physical"] == "0x1008"
        assert call.unmap_page(pgd, far) == 0
    assert census_view(Tree.at(machine.tables, pgd))["tables"] == 1, "what became empty is gone"


def test_ids_end_and_come_back(machine: HostMachine) -> None:
    call: Any = machine._enter()
    roots = []
    while root := call.pgd_alloc():
        roots.append(root)
    assert len(set(roots)) == len(roots) > 1000, "memory or ids are out"
    for root in roots:
        assert call.pgd_free(root) == 0
    assert call.pgd_alloc()
    assert machine.valid()
    machine.shrink()
    machine.quiesce()
    machine.walk().check()


def test_a_machine_without_trees_has_none_to_show(machine: HostMachine) -> None:
    with pytest.raises(DecodeError, match="no page tables of its own"):
        kernel_tree(machine.tables)
    with pytest.raises(DecodeError, match="is no root"):
        Tree.at(machine.tables, 0x5000)
    with pytest.raises(UsageError, match="3 levels"):
        HostMachine("16M", levels=3)


def walk(build: Build, *words: str) -> subprocess.CompletedProcess[str]:
    where = ["--host", "--build", str(build.elf.parent.parent), "--profile", build.profile, "--memory", "16M"]
    return subprocess.run(
        [sys.executable, "-m", "coronel", "walk", *where, *words],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_coronel_walk_shows_a_tree_of_the_library(artifact: Build) -> None:
    mapped = ["--map", "0x500000000000=0x7000+0x3000", "--map", "0x40000000=0x80000000+0x40000000"]
    done = walk(artifact, "0x500000001234", "--json", *mapped)
    view = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert (view["physical"], view["page_kib"]) == ("0x8234", 4)
    assert [(row["level"], row["live"]) for row in view["path"]] == [
        ("PGD", 2), ("PUD", 1), ("PMD", 1), ("PTE", 3)
    ]  # fmt: skip
    assert view["path"][-1]["flags"] == "rw-u----"
    stat = json.loads(walk(artifact, "--stat", "--json", *mapped).stdout)
    assert stat["tables"] == 5
    assert [row["pages"] for row in stat["by_level"]] == [0, 1, 0, 3]
    root = walk(artifact, *mapped).stdout
    assert "0x500000000000" in root
    nothing = walk(artifact, "0x1234")
    assert nothing.returncode == 1
    assert "physical:        -" in nothing.stdout


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["--map", "5"], 2, "maps nothing"),
        (["--map", "x=5"], 2, "maps nothing"),
        (["--map", "0x5000=0x6001"], 1, "invalid argument: --map 0x5000=0x6001"),
        (["--map", "0x5000=0", "--map", "0x5000=0"], 1, "already present"),
        (["--map", "0x5000=0", "--command", "stats"], 2, "--command is for a guest"),
        ([hex(1 << 63)], 2, "no CPU takes the address"),
        (["5", "--stat"], 2, "leave ADDR out"),
    ],
)
def test_what_the_library_cannot_show_is_one_line(
    artifact: Build, words: list[str], status: int, text: str
) -> None:
    done = walk(artifact, *words)
    assert done.returncode == status
    assert text in done.stderr
    assert done.stderr.count("\n") == 1
