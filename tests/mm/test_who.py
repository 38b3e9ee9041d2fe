"""`who` says of every address what the log of a seeded run says, on both bodies; and the kernel's console and
GDB say the same as Python, which reads raw memory and lives with broken records.
"""

from __future__ import annotations

import random
import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from coronel.errors import DecodeError, MMError
from coronel.gdb.session import gdb_answers
from coronel.guest import Guest
from coronel.mm.body import Body
from coronel.mm.guest_mm import GuestKernelMM
from coronel.mm.kernel_mm import KernelMM
from coronel.mm.record import Tables
from coronel.mm.slabs import read_heap
from coronel.mm.who import Answer, who
from coronel.mm.zones import Physical
from coronel.pytest_plugin import Build
from coronel.task.views import text

PAGE = 4096
ADDRESSES = 1000
IN_GDB = 40
IN_A_REPLY = 8
SIZES = (8, 24, 64, 100, 700, 1024, 5000, 8192)
LARGE = (10_000, 40_000, 100_000)


@dataclass(frozen=True)
class Owned:
    """What a seeded run was given, and what is to be said of it."""

    address: int
    size: int
    expected: dict[str, Any]
    cache: int = 0  # its own; 0: kmalloc's, or frames
    released: bool = False  # an object: it lies in a magazine, or went home to its slab


@dataclass
class Log:
    """A seeded run: frames, small and large objects, and objects that were released again."""

    mm: KernelMM
    chance: random.Random
    direct: int
    owned: list[Owned] = field(default_factory=list)

    def run(self) -> list[Owned]:
        """What is where in the end."""
        for _ in range(200):
            self._object(self.chance.choice(SIZES))
        for size in LARGE:
            self._large(size)
        for order in (0, 0, 0, 1, 3, 5, 9):
            self._frames(order)
        slabs = [one for one in self.owned if one.expected["use"] == "slab"]
        for one in self.chance.sample(slabs, 40):
            self._release(one)
        return self.owned

    def _object(self, size: int) -> None:
        expected = {"use": "slab", "object_state": "allocated"}
        if self.chance.random() < 0.9:
            address, cache = self.mm.kmalloc(size), 0
        else:
            expected["cache"] = f"who-{len(self.owned)}"
            cache = self.mm.create_cache(expected["cache"], size)
            address = self.mm.cache_alloc(cache)
        assert address is not None
        self.owned.append(Owned(address, size, expected, cache))

    def _release(self, one: Owned) -> None:
        if one.cache:
            self.mm.cache_free(one.cache, one.address)
        else:
            self.mm.kfree(one.address)
        self.owned.remove(one)
        expected = {key: value for key, value in one.expected.items() if key != "object_state"}
        self.owned.append(replace(one, expected=expected, released=True))

    def _large(self, size: int) -> None:
        address = self.mm.kmalloc(size)
        assert address is not None
        self.owned.append(Owned(address, size, {"use": "object of kmalloc", "references": 2}))

    def _frames(self, order: int) -> None:
        block = self.mm.alloc_pages(order)
        assert block is not None
        expected = {"use": "allocated frames", "block": block, "order": order, "references": 1}
        self.owned.append(Owned(self.direct + block * PAGE, PAGE << order, expected))


def still(mm: KernelMM) -> AbstractContextManager[Tables]:
    """Its tables, while nothing changes."""
    assert isinstance(mm, Body)
    return mm._state.still()


def direct_map(mm: KernelMM) -> int:
    """Where physical address 0 would appear."""
    with still(mm) as tables:
        return int(Physical.of(tables).map["direct_map"])


def questions(owned: list[Owned], chance: random.Random) -> list[tuple[int, Owned]]:
    """Random bytes of what is owned; each thing is asked for once at least."""
    chosen = owned + chance.choices(owned, k=ADDRESSES - len(owned))
    return [(one.address + chance.randrange(one.size), one) for one in chosen]


def check(said: Answer, address: int, one: Owned) -> None:
    assert said.items() >= one.expected.items(), f"{address:#x}: {said}, not {one.expected}"
    if one.released:
        assert said["object_state"] in ("cached", "free")
    if one.expected["use"] != "allocated frames":
        assert said["offset"] == address - one.address


def test_every_address_is_whose_the_log_says(mm: KernelMM, coronel_seed: int) -> None:
    chance = random.Random(coronel_seed)
    owned = Log(mm, chance, direct_map(mm)).run()
    asked = questions(owned, chance)
    with still(mm) as tables:
        answers = [who(tables, address) for address, _ in asked]
    for (address, one), said in zip(asked, answers, strict=True):
        check(said, address, one)
    if not isinstance(mm, GuestKernelMM):
        return
    for at in range(0, len(asked), IN_A_REPLY):
        some = slice(at, at + IN_A_REPLY)
        outcomes = mm.guest.channel.batch([f"who {address:#x}" for address, _ in asked[some]])
        assert [outcome.take() for outcome in outcomes] == answers[some]


def test_all_of_memory_has_an_answer(mm: KernelMM, coronel_seed: int) -> None:
    """Any frame, present or not: the state is the walk's, and the kernel's answer is Python's."""
    chance = random.Random(coronel_seed)
    mm.stress_test(300, coronel_seed)
    walk, direct = mm.walk(), direct_map(mm)
    uses = {"reserved": {"reserved", "page table"}, "free": {"free"}, "cached": {"free, in a magazine"}}
    numbers = chance.sample(range(walk.direct_frames), 400)
    for number in numbers:
        try:
            said = mm.who(direct + number * PAGE + chance.randrange(PAGE))
        except DecodeError:
            continue  # not mapped
        state = walk.state(number).name
        if state in uses:
            assert said["use"] in uses[state], number
        if state == "absent":
            assert said["use"] == "no memory", number
        if isinstance(mm, GuestKernelMM):
            assert mm.guest.channel.call("who", said["address"]) == said


def test_a_range_of_kernel_addresses_has_its_owner(body_guest: KernelMM) -> None:
    assert isinstance(body_guest, GuestKernelMM)
    channel = body_guest.guest.channel
    address = int(channel.call("vmalloc", 20_000)["address"], 16)
    there = channel.call("who", address + 9000)
    assert there == body_guest.who(address + 9000)
    assert (there["range"], there["kind"], there["use"]) == (f"{address:#x}", "vmalloc", "allocated frames")
    channel.call("vfree", address)


@pytest.mark.parametrize("words", ["", "x", "-1", "1 2", str(1 << 64), "0x800000000000"])
def test_what_is_no_address(body_guest: KernelMM, words: str) -> None:
    assert isinstance(body_guest, GuestKernelMM)
    with pytest.raises(MMError):
        body_guest.guest.channel.call("who", *words.split())
    with pytest.raises(MMError, match="nothing is mapped"):
        body_guest.guest.channel.call("who", 0)


@pytest.fixture
def body_guest(open_body: Any) -> Any:
    """A guest only."""
    with open_body("guest") as made:
        yield made.mm


def test_broken_records_leave_a_partial_answer(mm: KernelMM) -> None:
    address = mm.kmalloc(64)
    assert address is not None
    sound = mm.who(address)
    assert sound["object_state"] == "allocated"
    slab = int(sound["slab"], 16)
    with still(mm) as tables:
        number = tables.type("Slab")["number"].offset
        (record,) = (one.record for one in read_heap(tables).caches if one.name == sound["cache"])
        frame_owner = Physical.of(tables).map["frames"] + sound["frame"] * tables.type("Frame").size
        owner = frame_owner + tables.type("Frame")["owner"].offset
    for at, broken, left_out in (
        (slab + number, b"\xff", "object"),
        (owner, b"\xf8" * 8, "slab"),
        (owner, bytes(8), "slab"),
        (record.address_of("cut"), b"\xff" * 8, "object"),
    ):
        before = _read(mm, at, len(broken))
        _write(mm, at, broken)
        said = mm.who(address)
        if isinstance(mm, GuestKernelMM) and at != record.address_of("cut"):
            there = mm.guest.channel.call("who", hex(address))
            assert there == {key: value for key, value in said.items() if key != "note"}
        _write(mm, at, before)
        assert said["frame"] == sound["frame"]
        assert left_out not in said
        assert said["note"]
    assert mm.who(address) == sound


def _read(mm: KernelMM, at: int, size: int) -> bytes:
    with still(mm) as tables:
        return bytes(tables.memory.read(at, size))


def _write(mm: KernelMM, at: int, data: bytes) -> None:
    with still(mm) as tables:
        tables.memory.write(at, data)  # type: ignore[attr-defined]  # both kinds can


@pytest.mark.skipif(shutil.which("gdb") is None, reason="there is no gdb")
def test_gdb_says_the_same(artifact: Build, tmp_path: Path, coronel_seed: int) -> None:
    chance = random.Random(coronel_seed)
    socket = tmp_path / "gdb"
    with Guest(kernel=artifact.elf, memory="64M", gdb=socket, timeout=60) as guest:
        mm = GuestKernelMM(guest, artifact.artifact)
        owned = Log(mm, chance, direct_map(mm)).run()
        asked = chance.sample(questions(owned, chance), IN_GDB)
        with guest.paused(), still(mm) as tables:
            expected = [text(who(tables, address)) for address, _ in asked]
            shown = gdb_answers(artifact.elf, socket, [f"coronel who {at:#x}" for at, _ in asked])
    assert shown == expected
