"""The kernel heap: console, Python over raw memory, GDB and KernelMM say the same after the same run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mm_wrapper
from coronel.errors import MMError
from coronel.gdb.session import gdb_answers
from coronel.guest import Guest
from coronel.mm.heap import walk_heap
from coronel.mm.heap_view import lines
from coronel.mm.host import HostLibrary, HostMachine
from coronel.mm.host_mm import HostKernelMM
from coronel.mm.kernel_mm import KernelMM
from coronel.mm.objects import heap_free, heap_malloc
from coronel.mm.random_objects import RandomObjects
from coronel.pytest_plugin import Build

OPERATIONS = 1500


@pytest.mark.skipif(shutil.which("gdb") is None, reason="there is no gdb")
def test_console_walk_gdb_and_wrapper_show_the_same(
    artifact: Build, tmp_path: Path, coronel_seed: int
) -> None:
    socket = tmp_path / "gdb"
    words = "on_misuse=refuse"
    with Guest(kernel=artifact.elf, memory="64M", cmdline=words, gdb=socket, timeout=60.0) as guest:
        mm = mm_wrapper.get_kernel_mm(guest)
        held = RandomObjects(mm.run_objects, coronel_seed).run(OPERATIONS)
        assert sum(one.letter == "h" for one in held.values()) > OPERATIONS // 20
        console, told = guest.shell.run("heapinfo"), guest.channel.call("heapinfo")
        with mm.still() as tables:
            found = walk_heap(tables)
            (shown,) = gdb_answers(artifact.elf, socket, ["coronel heap"])
        stats = mm.get_heap_stats()
    assert found.problems == []
    assert stats == told
    assert console.rstrip("\n").split("\n") == lines(found) == shown.rstrip("\n").split("\n")
    asked = {address: one.first for address, one in held.items() if one.letter == "h"}
    assert {block.payload for block in found.used} >= set(asked)
    assert stats["active_blocks"] == stats["allocations"] - stats["frees"] >= len(asked)
    assert stats["allocated_bytes"] >= sum(asked.values())

    with HostMachine("64M", library=HostLibrary.at(artifact.elf.parent)) as machine:
        twin = HostKernelMM(machine)
        RandomObjects(twin.run_objects, coronel_seed).run(OPERATIONS)
        theirs = twin.get_heap_stats()
    same = ("allocated_bytes", "active_blocks", "allocations", "frees", "failures", "misuses")
    assert {name: theirs[name] for name in same} == {name: stats[name] for name in same}


def test_it_grows_shrinks_and_counts_both(mm: KernelMM) -> None:
    before = mm.get_heap_stats()
    results = mm.run_objects([heap_malloc(40_000) for _ in range(40)])
    assert not [one.why for one in results if one.why]
    grown = mm.get_heap_stats()
    assert grown["allocated_bytes"] - before["allocated_bytes"] >= 40 * 40_000
    assert grown["expansions"] > before["expansions"]
    assert grown["total_bytes"] == sum(one["bytes"] for one in grown["ranges"])
    assert grown["fill_percent"] == 100 * grown["allocated_bytes"] // grown["total_bytes"] > 50
    assert grown["active_blocks"] == before["active_blocks"] + 40
    mm.run_objects([heap_free(one.value) for one in results])
    mm.shrink()
    after = mm.get_heap_stats()
    assert after["contractions"] > grown["contractions"]
    assert after["allocated_bytes"] == before["allocated_bytes"]
    assert after["total_bytes"] < grown["total_bytes"]


def test_blocks_move_keep_their_bytes_and_are_freed_once(mm: KernelMM) -> None:
    address = mm.heap_malloc(100, 4096)
    assert address is not None
    assert address % 4096 == 0
    wall = mm.heap_malloc(16)
    assert wall is not None
    mm.write_memory(address, b"coronel" * 14)
    moved = mm.heap_realloc(address, 50_000)
    assert moved is not None
    assert mm.read_memory(moved, 98) == b"coronel" * 14
    mm.heap_free(wall)
    mm.heap_free(moved)
    with pytest.raises(MMError, match="double free: block 0x"):
        mm.heap_free(moved)
    assert mm.get_heap_stats()["misuses"] == 1
    with pytest.raises(MMError, match="invalid argument: 10 bytes, align 3"):
        mm.heap_malloc(10, 3)
    assert mm.heap_malloc(1 << 40) is None


@pytest.mark.parametrize("where", ["guest", "host"])
def test_the_command_shows_it(artifact: Build, where: str) -> None:
    place = [f"--build={artifact.elf.parents[1]}", f"--profile={artifact.profile}", "--memory=64M"]
    words = ["heap", *place, "--objects=400", "--seed=3", *(["--host"] if where == "host" else [])]

    def said(*more: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "coronel", *words, *more],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    text, found = said(), json.loads(said("--json"))
    assert found.pop("problems") == []
    assert found["active_blocks"] > 10
    assert f"active_blocks:   {found['active_blocks']:>8}\n" in text
    assert found["ranges"][0].keys() == {"first", "bytes", "free_at_end"}


def test_an_empty_heap_is_all_nothing(artifact: Build) -> None:
    with HostMachine("64M", library=HostLibrary.at(artifact.elf.parent)) as machine:
        stats = mm_wrapper.get_kernel_mm(machine).get_heap_stats()
    assert stats.pop("ranges") == []
    assert set(stats.values()) == {0}
