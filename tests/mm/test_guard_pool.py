"""The guard pool of the release kernel. With `sample=1` every allocation that leaves a fast path lies there,
so errors that `break heap` makes are met by it: where the access leaves the object's page, or at its release.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.mm.test_misuse import site_of

from coronel.errors import KernelPanic
from coronel.guest import Guest
from coronel.mm.guards import GuardPool, read_guards
from coronel.mm.guest_mm import GuestKernelMM
from coronel.mm.misuse import KMALLOC, SITES, Break, Broken
from coronel.pytest_plugin import Build

ROUNDS = 8
KINDS = {
    "overflow_by_1": "overflow",
    "overflow_by_8": "overflow",
    "overflow_into_next_page": "overflow",
    "underflow": "underflow",
    "write_after_free": "use after free",
}
WORDS = {
    "overflow": "past the end of an object",
    "underflow": "before the start of an object",
    "use after free": "in an object after its release",
}
FAULT = re.compile(
    r"page fault: (?:read of|write to) (?P<address>0x\w+) \((?P<words>[^:]+): cache (?P<cache>\S+), "
    r"object at (?P<object>0x\w+) of (?P<size>\d+) bytes, allocated at (?P<site>0x\w+) by CPU 0, \d+ us"
    r"(?P<freed>, freed at (?P<freed_site>0x\w+) by CPU 0, \d+ us)?\), which is not mapped"
)


@contextmanager
def release_guest(artifact: Build, words: str) -> Iterator[GuestKernelMM]:
    """The memory manager of a release kernel with these words on its command line."""
    build = artifact.sibling("release")
    with Guest(kernel=build.elf, memory="512M", cmdline=f"on_misuse=refuse {words}", timeout=60) as guest:
        yield GuestKernelMM(guest, build.artifact)


def pool_of(mm: GuestKernelMM) -> GuardPool:
    """Its slots as they are now."""
    with mm.still() as tables:
        return read_guards(tables)


def live(mm: GuestKernelMM) -> int:
    """Slots that somebody has."""
    with mm.still() as tables:
        allocated = tables.enum("ObjectState")["allocated"]
        return sum(slot.state == allocated for slot in read_guards(tables).slots)


def check_fault(mm: GuestKernelMM, planted: Break, panic: KernelPanic) -> None:
    """The kernel stopped at the access, and says whose object it was about."""
    found = FAULT.search(panic.reason)
    assert found, panic.reason
    kind = KINDS[planted.kind]
    assert found["words"] == WORDS[kind]
    assert int(found["size"]) == planted.size
    assert re.fullmatch(r"kmalloc-\d+", found["cache"])
    assert site_of(mm, int(found["site"], 16)) == planted.site
    distance = int(found["address"], 16) - int(found["object"], 16)
    if kind == "overflow":
        assert planted.size <= distance < planted.size + 4096
    elif kind == "underflow":
        assert -8 <= distance < 0
    else:
        assert distance == planted.offset
        assert site_of(mm, int(found["freed_site"], 16)) == (planted.site + 1) % SITES


def check_refusal(mm: GuestKernelMM, planted: Break, broken: Broken) -> None:
    """The release was refused, and the report says what `break` did."""
    report = mm.last_misuse()
    assert broken.why, "unnoticed"
    assert report is not None
    assert report.error == KINDS[planted.kind]
    assert (report.address, report.object) == (broken.address, broken.object)
    assert report.requested == planted.size
    assert site_of(mm, report.allocated.site) == planted.site
    assert site_of(mm, report.caught.site) == (planted.site + 2) % SITES


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_release_misses_is_found_in_the_sample(artifact: Build, kind: str, coronel_seed: int) -> None:
    chance = random.Random(coronel_seed)
    faults = 0
    for turn in range(ROUNDS):
        size = chance.choice((chance.randrange(1, 300), chance.randrange(1, 4097)))
        offset = chance.randrange(size) if kind == "write_after_free" else chance.randrange(8)
        planted = Break(kind, KMALLOC, size, chance.randrange(2), offset, chance.randrange(SITES))
        said = f"seed {coronel_seed}, round {turn}: break heap {planted}"
        with release_guest(artifact, f"sample=1 seed={chance.randrange(1, 1 << 32)}") as mm:
            try:
                broken = mm.break_heap(planted)
            except KernelPanic as panic:
                faults += 1
                check_fault(mm, planted, panic)
            else:
                assert kind not in ("overflow_into_next_page", "write_after_free"), said
                check_refusal(mm, planted, broken)
                mm.walk().check()
    if kind in ("overflow_into_next_page", "write_after_free"):
        assert faults == ROUNDS


def test_some_of_many_are_sampled_and_all_come_back(artifact: Build, coronel_seed: int) -> None:
    with release_guest(artifact, f"seed={coronel_seed}") as mm:
        before = live(mm)
        for turn in range(4):
            held = [mm.kmalloc(8 + (n + turn) % 2000) for n in range(1500)]
            mm.walk().check()
            for address in held:
                assert address is not None
                mm.kfree(address)
        mm.shrink()
        used = [slot for slot in pool_of(mm).slots if slot.cache_number]
        assert len(used) > 4, "nothing was sampled"
        assert live(mm) == before
        assert mm.valid()


def test_without_samples_there_is_no_pool(artifact: Build) -> None:
    with release_guest(artifact, "sample=0") as mm:
        assert pool_of(mm).slots == ()
        address = mm.kmalloc(64)
        assert address is not None
        assert mm.who(address)["use"] == "slab"
        mm.kfree(address)
        mm.walk().check()


def test_console_and_python_know_its_objects(artifact: Build) -> None:
    with release_guest(artifact, "sample=1") as mm:
        address = mm.kmalloc(100)
        assert address is not None
        channel = mm.guest.channel
        for place in (address, address + 99, address ^ 2048, address - 4096, address + 4096):
            assert channel.call("who", place) == mm.who(place)
        said = mm.who(address + 99)
        assert (said["use"], said["cache"], said["offset"]) == ("guard pool", "kmalloc-112", 99)
        assert said["object_state"] == "allocated"
        assert "mapped" not in said
        assert mm.get_slab_stats()["kmalloc-112"]["allocated"] >= 1
        (row,) = (row for row in channel.call("slabinfo") if row["name"] == "kmalloc-112")
        assert row["active_objs"] == mm.get_slab_stats()["kmalloc-112"]["allocated"]
        mm.kfree(address)
        said = mm.who(address)
        assert (said["mapped"], said["object_state"]) == ("no", "free")
        assert channel.call("who", address) == said
        mm.walk().check()
