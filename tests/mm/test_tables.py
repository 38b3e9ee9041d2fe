"""After the same random operations the kernel's tables, the walk and both bodies of KernelMM are equal."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from coronel.gdb.session import gdb_answers
from coronel.guest import Guest
from coronel.mm.compare import require_equal
from coronel.mm.guest_mm import GuestKernelMM
from coronel.mm.host_mm import HostKernelMM
from coronel.mm.kernel_mm import KernelMM
from coronel.mm.random_pages import RandomPages
from coronel.pytest_plugin import Build

OPERATIONS = 3000
KIB = 1024


def rows(text: str) -> dict[str, tuple[int, ...]]:
    """Numbers of each zone in what the console prints as buddyinfo."""
    found = re.findall(r"^Node 0, zone +(\w+)((?: +\d+)+) *$", text, re.MULTILINE)
    return {name: tuple(map(int, numbers.split())) for name, numbers in found}


def check_serial(guest: Guest, mm: KernelMM) -> None:
    """What the console shows a person is what `mm` says, which reads memory and asks nobody."""
    info, stats, walk = mm.get_memory_info(), mm.get_buddy_stats(), mm.walk()
    shown = {
        name: int(kib) for name, kib in re.findall(r"^(\w+): +(\d+) kB", guest.shell.run("meminfo"), re.M)
    }
    assert shown == {
        "MemTotal": info.total // KIB,
        "MemFree": info.free // KIB,
        "MemPresent": info.present // KIB,
        "MemReserved": info.reserved // KIB,
        "MemPerCpu": info.cached // KIB,
    }
    assert rows(guest.shell.run("buddyinfo")) == {
        name: tuple(blocks) for name, blocks in stats["zone_free_blocks"].items()
    }
    shown_zones = guest.shell.run("zoneinfo").split("Node 0, zone")[1:]
    zones = [zone for zone in walk.zones if zone.populated]
    assert len(shown_zones) == len(zones)
    for text, zone in zip(shown_zones, zones, strict=True):
        numbers = {name: int(value) for name, value in re.findall(r"([a-z]+) +(\d+)\n", text)}
        assert text.split()[0] == zone.name
        blocks = stats["zone_free_blocks"][zone.name]
        assert numbers["free"] == sum(count << order for order, count in enumerate(blocks))
        assert numbers["min"] == zone.record["minimum"]
        assert (numbers["low"], numbers["high"]) == (zone.record["low"], zone.record["high"])
        assert numbers["present"] == zone.record["present_frames"]
        assert numbers["managed"] == zone.lists["managed_frames"]
    counters = dict(re.findall(r"^(\w+):? +(\d+)\b", guest.shell.run("stats"), re.MULTILINE))
    assert {name: int(value) for name, value in counters.items()} == walk.counters


@pytest.mark.parametrize("settle", [False, True], ids=["running", "quiesced"])
def test_every_view_shows_the_same(
    bodies: tuple[GuestKernelMM, HostKernelMM], coronel_seed: int, settle: bool
) -> None:
    guest, host = bodies
    before = guest.walk()
    require_equal(before, host.walk(), ("guest", "host"))
    work = [RandomPages(mm, coronel_seed) for mm in bodies]
    reports = [one.run(OPERATIONS) for one in work]
    assert reports[0] == reports[1]
    assert reports[0].blocks > OPERATIONS // 4
    if not settle:  # the run ends with everything at home
        page = next(pfn for pfn, order in work[0].model.blocks.items() if order == 0)
        for mm in bodies:
            mm.free_pages(page, 0)
        assert guest.get_memory_info().cached > 0
    require_equal(guest.walk(), host.walk(), ("guest", "host"))
    assert guest.get_memory_info() == host.get_memory_info()
    stats = [{**mm.get_buddy_stats(), "frames_early": 0} for mm in bodies]
    assert stats[0] == stats[1]
    for pfn in (0, 4095, 4096, 12288, *list(work[0].model.blocks)[:20]):
        mine, theirs = guest.get_page_info(pfn), host.get_page_info(pfn)
        if mine.state == "reserved":  # a page table made at boot; the host has none
            mine = replace(mine, mappings=0)
        assert mine == theirs
    check_serial(guest.guest, guest)
    assert guest.valid()
    assert host.valid()


@pytest.mark.skipif(shutil.which("gdb") is None, reason="there is no gdb")
def test_gdb_shows_the_same_free_blocks(artifact: Build, tmp_path: Path, coronel_seed: int) -> None:
    socket = tmp_path / "gdb"
    with Guest(
        kernel=artifact.elf, memory="64M", cmdline="on_misuse=refuse directmap=48M", gdb=socket, timeout=60.0
    ) as guest:
        mm = GuestKernelMM(guest, artifact.artifact)
        RandomPages(mm, coronel_seed).run(OPERATIONS)
        with guest.paused():
            stats = mm.get_buddy_stats()
            (buddy,) = gdb_answers(artifact.elf, socket, ["coronel buddy"])
    found = re.findall(r"^zone (\w+)\n.*\n  free blocks: +([\d ]+)\n", buddy, re.MULTILINE)
    shown = {name: [int(word) for word in words.split()] for name, words in found}
    assert shown == stats["zone_free_blocks"]
