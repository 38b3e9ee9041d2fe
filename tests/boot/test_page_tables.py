"""The kernel's page tables as the console, the command `coronel walk`, GDB, Python's walk over raw RAM and
QEMU's own translation show them: the same.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coronel.build.image import build_image
from coronel.gdb.session import gdb_answers
from coronel.guest import Guest
from coronel.mappings import mappings
from coronel.mm.guest_mm import GuestKernelMM
from coronel.mm.page_tables import (
    Tree,
    View,
    census_view,
    flags_text,
    kernel_tree,
    maps,
    path_view,
    root_view,
)
from coronel.mm.tables import table_operation, told_flags
from coronel.pytest_plugin import Build
from coronel.task.views import text

ADDRESSES = 10_000
DIRECT_MAP, IMAGE = 0xFFFF_8000_0000_0000, 0xFFFF_FFFF_8000_0000
SHAPES: dict[str, dict[str, Any]] = {
    "four-levels": {"memory": "64M", "cpu": "qemu64"},
    "five-levels": {"memory": "64M", "cpu": "max", "cpus": 2},
    "gib-pages": {"memory": "3G", "cpu": "max", "cmdline": "quiet la57=off", "cpus": 2},
}


@pytest.fixture(scope="module", params=SHAPES)
def mm(request: pytest.FixtureRequest, artifact: Build) -> Iterator[GuestKernelMM]:
    with Guest(kernel=artifact.elf, timeout=30, **SHAPES[request.param]) as guest:
        yield GuestKernelMM(guest, artifact.artifact)


def tree_of(mm: GuestKernelMM) -> Tree:
    with mm.state.still() as tables:
        return kernel_tree(tables)


def edges_of(mm: GuestKernelMM) -> list[int]:
    """Where ranges of mappings begin and end."""
    with mm.guest.paused():
        found = list(mappings(mm.guest.ram, tree_of(mm).root, tree_of(mm).levels))
    return sorted({mapping.address for mapping in found} | {mapping.end for mapping in found})


def random_addresses(mm: GuestKernelMM, seed: int) -> list[int]:
    """Half of them near the edges of what is mapped, the rest anywhere that a CPU takes."""
    chance, tree, edges = random.Random(seed), tree_of(mm), edges_of(mm)
    near = [
        (chance.choice(edges) + chance.choice((-4096, -1, 0, 1, 4095, 4096, 1 << 21))) % (1 << 64)
        for _ in range(ADDRESSES // 2)
    ]
    anywhere = [chance.getrandbits(64) for _ in range(ADDRESSES - len(near))]
    return [tree.canonical(address) for address in (*near, *anywhere)]


def test_three_walkers_agree_on_random_addresses(mm: GuestKernelMM, coronel_seed: int) -> None:
    addresses = random_addresses(mm, coronel_seed)
    tree = tree_of(mm)
    kernels = mm.run_tables(table_operation("virt_to_phys", tree.root, address) for address in addresses)
    looks = mm.run_tables(table_operation("look", tree.root, address) for address in addresses)
    mapped = 0
    with mm.guest.paused():
        for address, (value, why), (told, _) in zip(addresses, kernels, looks, strict=True):
            path = tree.path(address)
            said = mm.guest.hmp(f"gva2gpa {address:#x}").strip()
            qemus = re.fullmatch(r"gpa: (0|0x[0-9a-f]+)", said)
            assert path.physical == (None if why else value), f"seed {coronel_seed}: {address:#x}"
            assert path.physical == (int(qemus[1], 16) if qemus else None), (
                f"{address:#x}: QEMU says {said!r}"
            )
            assert qemus is not None or said == "Unmapped"
            assert why in ("", "not found")
            if path.physical is not None:
                mapped += 1
                flags, level = told_flags(told)
                last = path.steps[-1]
                assert level == last.level
                executable = not last.entry >> 63
                assert ("x" in flags_text(last.entry, level)) == executable == (not flags >> 63)
    assert mapped > ADDRESSES // 10
    assert mapped < ADDRESSES


def test_the_levels_are_the_cpus_and_the_options(mm: GuestKernelMM) -> None:
    cpus = mm.guest.registers()
    five = mm.guest.options.cpu == "max" and "la57=off" not in mm.guest.options.cmdline
    assert {bool(cpu["cr4"] & 1 << 12) for cpu in cpus} == {five}, "all of them"
    assert len(cpus) == mm.guest.options.cpus
    assert tree_of(mm).levels == (5 if five else 4)
    far = 0x00AB_CDEF_0123_4000  # beyond 47 bits
    pgd = mm.pgd_alloc()
    assert pgd
    (outcome,) = mm.run_tables([table_operation("map_range", pgd, far, 4096, 0x1000, 1 << 63)])
    assert bool(outcome.why) != five
    mm.pgd_free(pgd)


WORDS = ["la57=off", "seed=1 la57=off", "la57=off seed=1", "la57=on", "la57=offx", "xla57=off", "seed=1", ""]


@pytest.mark.parametrize("boot", ["pvh", "iso"])
@pytest.mark.parametrize("words", WORDS)
def test_the_entry_code_finds_the_word(artifact: Build, tmp_path: Path, boot: str, words: str) -> None:
    start: dict[str, Any] = {"kernel": artifact.elf, "cmdline": words}
    if boot == "iso":
        build_image(artifact.elf, tmp_path / "words.iso", arguments=words)
        start = {"iso": tmp_path / "words.iso"}
    with Guest(memory="64M", cpu="max", timeout=30, **start) as guest:
        guest.wait_ready()
        five = bool(guest.registers()[0]["cr4"] & 1 << 12)
    assert five == ("la57=off" not in words.split())


def test_no_frame_is_writable_here_and_executable_there(mm: GuestKernelMM) -> None:
    """By frame, over all mappings: the text, which the direct map shows as well, cannot be written there."""
    tree = tree_of(mm)
    with mm.guest.paused():
        found = list(mappings(mm.guest.ram, tree.root, tree.levels))
    executable = sorted((m.physical, m.physical + m.size) for m in found if m.executable)
    assert executable
    for mapping in found:
        assert not mapping.user
        assert mapping.address >= 1 << 63, "page zero, and all the lower half"
        inside = [
            span
            for span in executable
            if span[0] < mapping.physical + mapping.size and mapping.physical < span[1]
        ]
        if mapping.writable:
            assert not inside, f"{mapping}: also executable"
        if mapping.executable:
            assert mapping.address >= IMAGE
            assert not mapping.writable
        if DIRECT_MAP <= mapping.address < IMAGE:
            assert not mapping.executable


def lines(shown: str) -> list[str]:
    return [line.rstrip() for line in shown.replace("\r", "").splitlines() if line.strip()]


def test_the_console_shows_what_is_in_memory(mm: GuestKernelMM, coronel_seed: int) -> None:
    chance = random.Random(coronel_seed)
    channel, shell = mm.guest.channel, mm.guest.shell
    tree = tree_of(mm)
    assert channel.call("pagetables") == root_view(tree)
    assert channel.call("pgstat") == census_view(tree)
    assert lines(shell.run("pgstat")) == lines(text(census_view(tree)))
    assert lines(shell.run("pagetables")) == lines(text(root_view(tree)))
    edges = edges_of(mm)
    chosen = [chance.choice(edges) for _ in range(40)] + [0, DIRECT_MAP + 0x1234, (1 << 64) - 1]
    for address in map(tree.canonical, chosen):
        assert channel.call("pagetables", str(address)) == path_view(tree, address), f"{address:#x}"
        assert lines(shell.run(f"pagetables {address:#x}")) == lines(text(path_view(tree, address)))
    census = census_view(tree)
    assert census["tables"] == sum(row["tables"] for row in census["by_level"])
    leaves = sum(row["pages"] for row in census["by_level"])
    assert census["live_entries"] == leaves + census["tables"] - 1


def test_nonsense_is_refused_in_one_line(mm: GuestKernelMM) -> None:
    outcomes = mm.guest.channel.batch(
        ["pagetables nonsense", "pagetables 1 2", f"pagetables {1 << 63}", "pgstat 1", "tables",
         "tables m1/2", "tables n1", "tables q1/2/3", "tables z", "tables q/1"]
    )  # fmt: skip
    for outcome in outcomes:
        assert outcome.status == 22, outcome
        assert outcome.error
        assert "\n" not in outcome.error


def test_a_tree_shows_the_kernels_half_and_follows_it(mm: GuestKernelMM) -> None:
    pgd = mm.pgd_alloc()
    assert pgd
    with mm.state.still() as tables:
        tree = Tree.at(tables, pgd)
        kernels = kernel_tree(tables)
        assert tree.table(pgd)[256:] == kernels.table(kernels.root)[256:]
        assert not any(tree.table(pgd)[:256])
    assert mm.virt_to_phys_pgtable(pgd, DIRECT_MAP + 0x5678) == 0x5678
    mm.map_page(pgd, 0x40_0000, 0x1000, 0)
    with mm.guest.paused():
        found = [m for m in mappings(mm.guest.ram, pgd, tree.levels) if m.address < 1 << 63]
    assert [(m.address, m.physical, m.rights) for m in found] == [(0x40_0000, 0x1000, "r-x")]
    mm.pgd_free(pgd)
    mm.walk().check()


def command(build: Build, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "coronel", "walk", *words, "--kernel", str(build.elf), "--memory", "64M"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_coronel_walk_reads_a_guest_that_is_asked_nothing(artifact: Build) -> None:
    done = command(artifact, hex(DIRECT_MAP + 0x5123), "--json")
    view: View = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert view["physical"] == "0x5123"
    assert view["path"][0]["level"] == "PGD"
    assert view["path"][-1]["level"] in ("PTE", "PMD", "PUD")
    nothing = command(artifact, "0x5000")
    assert nothing.returncode == 1
    assert "physical:        -" in nothing.stdout
    stat = json.loads(command(artifact, "--stat", "--json").stdout)
    assert stat["by_level"][-1]["level"] == "PTE"
    assert command(artifact, "nonsense").returncode == 2
    assert command(artifact, hex(1 << 63)).returncode == 2


@pytest.mark.skipif(shutil.which("gdb") is None, reason="there is no gdb")
def test_gdb_shows_the_same(artifact: Build, tmp_path: Path) -> None:
    socket = tmp_path / "gdb"
    with Guest(kernel=artifact.elf, memory="64M", gdb=socket, timeout=60.0) as guest:
        mm = GuestKernelMM(guest, artifact.artifact)
        tree, address = tree_of(mm), DIRECT_MAP + 0x1234
        wanted = [text(path_view(tree, address)), text(root_view(tree)), text(census_view(tree))]
        words = [f"coronel pagetables {address:#x}", "coronel pagetables", "coronel pgstat"]
        with guest.paused():
            assert gdb_answers(artifact.elf, socket, words) == wanted


def test_what_maps_and_what_points() -> None:
    """The manual's words, without a machine."""
    assert maps(1, 0)
    assert not maps(1, 1)
    assert maps(0x81, 1)
    assert flags_text(0, 3) == "-"
    assert flags_text(0x8000_0000_0000_01E3, 1) == "rw--gadh"
    assert flags_text(0x23, 3) == "rwx--a--"
