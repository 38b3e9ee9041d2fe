"""A running kernel seen from outside: Python's walk over raw RAM, the kernel's words, its host twin, GDB.

Everything random comes from the session's seed, which pytest prints.
"""

from __future__ import annotations

import random
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from coronel.gdb.session import gdb_answers
from coronel.guest import Guest
from coronel.mm.compare import require_equal
from coronel.mm.corruption import Draw
from coronel.mm.host import HostLibrary, HostMachine
from coronel.mm.kernel import KernelState
from coronel.mm.walker import Walk
from coronel.mm.zones import State, Zone
from coronel.pytest_plugin import Build

OPERATIONS = 100_000
SIZES = ("16M", "64M", "256M", "1G", "5G")


@pytest.fixture
def library(artifact: Build) -> HostLibrary:
    """The host library of the same build: a twin has the same options."""
    return HostLibrary.at(artifact.elf.parent)


def _levels(text: str) -> dict[str, int]:
    """The `name   number` pairs of a table for people."""
    return {name: int(value) for name, value in re.findall(r"([A-Za-z_]+):? +(\d+)\b", text)}


def check_words(guest: Guest, walk: Walk) -> None:
    """What the kernel says on both ports is what the walk has counted."""
    names = ("meminfo", "buddyinfo", "zoneinfo", "stats")
    meminfo, buddyinfo, zoneinfo, stats = (outcome.take() for outcome in guest.channel.batch(names))
    kib = {
        "MemTotal": walk.managed,
        "MemFree": walk.available,
        "MemPerCpu": walk.cached,
        "MemPresent": walk.present,
        "MemReserved": walk.reserved,
    }
    zones = [
        (zone, blocks)
        for zone, blocks in zip(walk.zones, walk.zone_free_blocks, strict=True)
        if zone.populated
    ]
    pages = [_pages(zone) for zone, _ in zones]
    assert meminfo == {name: 4 * frames for name, frames in kib.items()}
    assert [(row["zone"], row["free_blocks"]) for row in buddyinfo] == [
        (zone.name, list(blocks)) for zone, blocks in zones
    ]
    assert [row["pages"] for row in zoneinfo] == pages
    assert stats == walk.counters

    assert _levels(guest.shell.run("meminfo")) == meminfo
    rows = [line.split() for line in guest.shell.run("buddyinfo").splitlines()]
    assert [row[:4] for row in rows] == [["Node", "0,", "zone", zone.name] for zone, _ in zones]
    assert [tuple(map(int, row[4:])) for row in rows] == [blocks for _, blocks in zones]
    _, *parts = guest.shell.run("zoneinfo").split("Node 0, zone ")
    assert [
        {name: _levels(part)[name] for name in expected} for part, expected in zip(parts, pages, strict=True)
    ] == pages
    assert _levels(guest.shell.run("stats")) == walk.counters


def _pages(zone: Zone) -> dict[str, int]:
    """What `zoneinfo` says of a zone."""
    record = zone.record
    return {
        "free": zone.lists["free_frames"],
        "min": record["minimum"],
        "low": record["low"],
        "high": record["high"],
        "spanned": record["end"] - record["first"],
        "present": record["present_frames"],
        "managed": zone.lists["managed_frames"],
        "start_pfn": record["first"],
    }


def check_frames(guest: Guest, walk: Walk, chance: random.Random) -> None:
    """The kernel's own table of frames, at places drawn at random."""
    for first, end, _ in chance.sample(walk.ranges(), min(8, len(walk.ranges()))):
        start = chance.randrange(first, end)
        for row in guest.channel.call("frames", start, 8):
            number = row["frame"]
            index = walk.array.index(number)
            assert index is not None
            assert State[row["state"]] is walk.state(number)
            assert row["order"] == walk.orders[index]
            assert row["references"] == walk.array.frame_column("references")[index]


@pytest.mark.guest(memory="256M", timeout=60.0)
def test_guest_and_host_twin_are_equal_after_the_same_stress(
    guest: Guest, kernel: KernelState, library: HostLibrary, coronel_seed: int
) -> None:
    pristine = kernel.walk()
    pristine.check()
    with HostMachine.like(pristine, library=library) as twin:
        require_equal(pristine, twin.walk(), ("guest", "host"))
        said = guest.channel.call("stress", "pages", OPERATIONS, "hold", seed=coronel_seed, timeout=120.0)
        report = twin.stress(OPERATIONS, coronel_seed)
        for name in (
            "operations",
            "allocations",
            "releases",
            "refused",
            "misuses",
            "live_blocks",
            "live_frames",
        ):
            assert said[name] == getattr(report, name), name
        after = kernel.walk()
        after.check()
        require_equal(after, twin.walk(), ("guest", "host"))
        assert len(after.allocated_blocks) == report.live_blocks + 1  # and the table of what is held
        assert twin.valid()
    check_words(guest, after)
    check_frames(guest, after, random.Random(coronel_seed))

    guest.channel.call("stress", "release")
    kernel.walk().check()
    guest.channel.call("quiesce")
    released = kernel.walk()
    released.check()
    assert released.free_blocks == pristine.free_blocks


@pytest.mark.skipif(shutil.which("gdb") is None, reason="there is no gdb")
def test_gdb_sees_what_the_walk_sees(artifact: Build, tmp_path: Path, coronel_seed: int) -> None:
    socket = tmp_path / "gdb"
    with Guest(kernel=artifact.elf, memory="256M", gdb=socket, timeout=60.0) as guest:
        guest.wait_ready()
        guest.channel.call("stress", "pages", OPERATIONS, "hold", seed=coronel_seed, timeout=120.0)
        kernel = KernelState(guest, artifact.artifact)
        with guest.paused():
            walk = kernel.walk()
            walk.check()
            stats, walked = gdb_answers(artifact.elf, socket, ["coronel stats", "coronel walk"])
    shown = dict(re.findall(r"^(\w+): +(\d+)", stats, re.MULTILINE))
    assert {name: int(value) for name, value in shown.items()} == walk.counters
    assert walked == walk.summary()


@pytest.mark.guest(memory="64M", timeout=60.0)
@pytest.mark.parametrize("kind", Draw.KINDS)
def test_corruption_placed_in_ram_is_found_and_named(
    guest: Guest, kernel: KernelState, kind: str, coronel_seed: int
) -> None:
    chance = random.Random(f"{coronel_seed} {kind}")
    guest.channel.call("stress", "pages", 3000, "hold", seed=coronel_seed)
    with guest.paused():
        sound = kernel.walk()
        sound.check()
        draw = Draw(chance, kernel.tables, sound)
        for _ in range(5):
            wrong = draw.of(kind)
            wrong.flip(kernel.memory)
            found = kernel.walk()
            wrong.flip(kernel.memory)
            assert found.problems, f"seed {coronel_seed}: {wrong}"
            for problem in found.problems:
                assert wrong.objects[0] in problem.objects, f"seed {coronel_seed}: {wrong}\n{found.summary()}"
                assert set(problem.objects) <= set(wrong.objects), f"seed {coronel_seed}: {wrong}\n{problem}"
        kernel.walk().check()
    assert guest.channel.call("meminfo")["MemFree"] == 4 * sound.available, "every bit was put back"


@pytest.fixture(params=SIZES)
def sized(request: pytest.FixtureRequest, artifact: Build) -> Iterator[Guest]:
    """A guest of each size that has to boot."""
    with Guest(kernel=artifact.elf, memory=request.param, timeout=60.0) as guest:
        yield guest


def test_every_size_is_sound_from_the_first_prompt(
    sized: Guest, artifact: Build, library: HostLibrary
) -> None:
    sized.wait_ready()
    kernel = KernelState(sized, artifact.artifact)
    walk = kernel.walk(contents=False)
    walk.check()
    check_words(sized, walk)
    with HostMachine.like(walk, library=library) as twin:
        require_equal(walk, twin.walk(contents=False), ("guest", "host"))


@pytest.mark.guest(memory="1G", timeout=60.0)
def test_the_frame_array_of_a_gibibyte_is_read_at_once(guest: Guest, kernel: KernelState) -> None:
    """50 ms is the aim on an idle machine; ten times that is a defect anywhere."""
    with guest.paused():
        tables = kernel.refresh()
        pointer = tables.read("PhysicalRecord", tables.manager()["physical"])["frames"]
        frame_map = tables.read("FrameMap", pointer)
        kind = tables.type("Frame")
        best = 1.0
        for _ in range(3):
            kernel.memory.invalidate()
            began = time.thread_time()
            data = kernel.memory.read(frame_map["frames"], frame_map["limit"] * kind.size)
            best = min(best, time.thread_time() - began)
    assert len(np.frombuffer(data, kind.dtype)) == frame_map["limit"]
    assert best < 0.5


@pytest.mark.guest(memory="64M")
def test_a_stopped_kernel_is_still_walked(guest: Guest, kernel: KernelState) -> None:
    guest.channel.call("alloc", 3, 5)
    with guest.paused():
        walk = kernel.walk()
    assert len(walk.allocated_blocks) == 5
    assert walk.complete
    walk.check()
