"""The walker on wrong memory: one wrong bit is found and the right object named; any nonsense is survived."""

from __future__ import annotations

import collections
import errno
import random
import struct
import time

import pytest

from coronel.errors import DecodeError, MMError
from coronel.mm import stats
from coronel.mm.corruption import Corruption, Draw
from coronel.mm.host import HostLibrary, HostMachine
from coronel.mm.magazines import Magazine, read_caches
from coronel.mm.pages import GFPFlags
from coronel.mm.record import Tables
from coronel.mm.walker import Walk, walk
from coronel.mm.zones import Physical

HOLES = ([(16, 159), (256, 9000), (20480, 23480), (40000, 40001)], [(256, 600), (3000, 3001)])
# Every zone has memory, the last of it beyond the direct map.
ZONES = ([(1, 159), (256, 6000), (1 << 20, (1 << 20) + 3000), (1 << 21, (1 << 21) + 3001)], [(256, 600)])
SHAPES: list[tuple[tuple[list[tuple[int, int]], list[tuple[int, int]]], int]] = [
    (HOLES, 0),
    (([(0, 6144)], []), 0),
    (ZONES, 8 << 30),
]
MACHINES, BITS_EACH = 4, 25  # for each kind
SLOW_SEED = 3087833132  # pretended to be a large machine with hundreds of unknown slabs: took 120 s
SECONDS = 15.0  # of this thread: a walk over the largest machine that nonsense can pretend takes less


def names_it(wrong: Corruption, found: Walk) -> bool:
    """Every problem is about the object (or its twin, where only two count), and none about a sound one."""
    return bool(found.problems) and all(
        wrong.objects[0] in problem.objects and set(problem.objects) <= set(wrong.objects)
        for problem in found.problems
    )


def use(machine: HostMachine, chance: random.Random) -> None:
    """A stress run of its own. Earlier ones may hold so much that it finds no room for its table: then the
    machine is full, which is a state like any other.
    """
    try:
        machine.stress(chance.randrange(1500), chance.getrandbits(64), hold=chance.random() < 0.9)
    except MMError as refused:
        if refused.errno != errno.ENOMEM:
            raise


def test_a_count_beyond_its_magazines_room_is_named(library: HostLibrary) -> None:
    """Also where an empty place of such a magazine says frame 0, and another one holds that block: then
    either count would explain what the Frames say.
    """
    with HostMachine([(0, 6144)], [], cpus=2, library=library) as machine:
        blocks = [machine.alloc_pages(4, GFPFlags.DMA) for _ in range(200)]
        assert 0 in blocks
        second = next(block for block in blocks if block)
        for machine.cpu, block in ((0, second), (1, 0)):
            machine.free_pages(block, 4)
        mine, other = (
            next(one for one in cache.magazines if one.order == 4 and one.count)
            for cache in read_caches(machine.tables, Physical.of(machine.tables))[:2]
        )
        assert (mine.blocks, other.blocks) == ((second,), (0,))
        for broken in (3, 32769):
            machine.memory.write(mine.count_address, broken.to_bytes(8, "little"))
            found = machine.walk()
            assert [problem.objects for problem in found.problems] == [(mine.name,)]
        machine.memory.write(mine.count_address, (1).to_bytes(8, "little"))
        machine.walk().check()


@pytest.mark.parametrize("kind", Draw.KINDS)
def test_a_single_wrong_bit_is_named(library: HostLibrary, kind: str, coronel_seed: int) -> None:
    chance = random.Random(f"{coronel_seed} {kind}")
    missed = []
    for _ in range(MACHINES):
        shape, direct_end = chance.choice(SHAPES)
        with HostMachine(*shape, cpus=4, direct_end=direct_end, library=library) as machine:
            for cpu in chance.sample(range(4), 3):  # the last stays: its magazines are filled most
                machine.cpu = cpu
                use(machine, chance)
            sound = machine.walk()
            sound.check()
            draw = Draw(chance, machine.tables, sound)
            for _ in range(BITS_EACH):
                wrong = draw.of(kind)
                wrong.flip(machine.memory)
                found = machine.walk()
                wrong.flip(machine.memory)
                if not names_it(wrong, found):
                    missed.append(f"{wrong}\n  {found.summary()}")
            assert machine.walk().problems == [], "every bit was put back"
    assert not missed, f"seed {coronel_seed}: {len(missed)} of {MACHINES * BITS_EACH}\n" + "\n".join(
        missed[:5]
    )


@pytest.mark.parametrize(
    "place", ["free", "head", "inside", "single", "lone", "cached", "inside cached", "reserved", "absent"]
)
def test_every_bit_of_a_frame_in_every_state(library: HostLibrary, place: str) -> None:
    """Not by chance: all 256 bits of a free frame, a head, an inside, a cached block of either size and what
    is inside it, a reserved and an absent one.
    """
    with HostMachine([(16, 600)], [(16, 20)], library=library) as machine:
        head = machine.alloc_pages(3)
        single = machine.alloc_pages(0)
        cached = machine.alloc_pages(2)
        assert head is not None
        assert single is not None
        lone = machine.alloc_pages(0)
        assert cached is not None
        assert lone is not None
        machine.free_pages(cached, 2)
        machine.free_pages(lone, 0)
        sound = machine.walk()
        free = next(first for first, _, state in sound.ranges() if state.name == "free")
        number = {"free": free, "head": head, "inside": head + 3, "single": single, "lone": lone,
                  "cached": cached, "inside cached": cached + 3, "reserved": 17,
                  "absent": 3}[place]  # fmt: skip
        address = sound.array.frames_address + number * sound.array.frame_type.size
        for bit in range(8 * sound.array.frame_type.size):
            wrong = Corruption((f"Frame {number}",), f"bit {bit}", address + bit // 8, bit % 8)
            wrong.flip(machine.memory)
            found = machine.walk()
            wrong.flip(machine.memory)
            assert names_it(wrong, found), f"{wrong}\n{found.summary()}"


def test_a_frame_taken_behind_the_allocators_back(library: HostLibrary) -> None:
    """Several bits: the Frame says allocated, its Pageblock says free."""
    with HostMachine("24M", library=library) as machine:
        kind = machine.tables.type("Frame")
        address = machine.walk().array.frames_address + 100 * kind.size
        machine.memory.write(address + kind["references"].offset, b"\1\0\0\0")
        machine.memory.write(address + kind["state"].offset, b"\3")
        found = machine.walk()
        assert {problem.object for problem in found.problems} == {"Frame 100"}
        assert {problem.field for problem in found.problems} == {"state", "references"}


def test_a_list_that_runs_in_a_circle(library: HostLibrary) -> None:
    with HostMachine("64M", library=library) as machine:
        sound = machine.walk()
        column = sound.array.block_column("next")
        members = [sound.array.block_number(int(i)) for i in sound.array.block_column("list").nonzero()[0]]
        assert len(members) > 2
        last = next(
            number for number in members if column[sound.array.block_index(number) or 0] == 0xFFFF_FFFF
        )
        machine.memory.write(sound.array.block_address(last, "next"), members[1].to_bytes(4, "little"))
        found = machine.walk()
        assert {problem.object for problem in found.problems} == {f"Pageblock {last}"}


@pytest.mark.parametrize(
    ("counter", "value", "suspects"),
    [
        (
            "frame_allocations",
            12,
            {"counter frame_allocations", "counter frame_releases"},
        ),  # by no single bit
        (
            "frame_allocations",
            4,
            {"counter frame_allocations"},
        ),  # 5 less a bit; 4 releases cannot have gained one
        ("frame_allocations", -5, {"counter frame_allocations", "counter frame_releases"}),
        ("frame_releases", 5, {"counter frame_releases"}),
    ],
)
def test_traffic_that_does_not_explain_the_state(
    library: HostLibrary, counter: str, value: int, suspects: set[str]
) -> None:
    """All structures agree, but what was handed out and taken back is not what is allocated."""
    with HostMachine("24M", library=library) as machine:
        for _ in range(4):
            machine.free_pages(machine.alloc_pages(0) or 0, 0)
        machine.alloc_pages(0)
        info = next(info for info in machine.tables.counters if info.name == counter)
        address = stats.address_of(machine.tables, info)
        machine.memory.write(address, value.to_bytes(8, "little", signed=True))
        found = machine.walk()
        assert [set(problem.objects) for problem in found.problems] == [suspects]


def _magazine(machine: HostMachine) -> Magazine:
    """A magazine with blocks in it."""
    machine.free_pages(machine.alloc_pages(0) or 0, 0)
    (magazine,) = machine.walk().magazines
    assert magazine.count > 2
    return magazine


def test_a_block_in_two_magazines(library: HostLibrary) -> None:
    """Several words: another magazine has gained one that is not its own."""
    with HostMachine("24M", library=library) as machine:
        magazine = _magazine(machine)
        size = magazine.record.type.size
        address = magazine.address + (size if magazine.index % 2 == 0 else -size)
        peer = f"Magazine {magazine.index ^ 1} of FrameCache 0"
        machine.memory.write(address, struct.pack("<QI", 1, magazine.blocks[1]))
        objects = {problem.objects for problem in machine.walk().problems}
        assert objects == {(peer,)}, "without it everything fits"
        machine.memory.write(address, struct.pack("<QIII", 3, magazine.blocks[1], 0, 1))
        named = {frozenset(problem.objects) for problem in machine.walk().problems}
        assert named == {frozenset({magazine.name, peer}), frozenset({peer})}


def test_blocks_that_no_magazine_has(library: HostLibrary) -> None:
    """The magazine was overwritten: its blocks are lost, and each is named."""
    with HostMachine("24M", library=library) as machine:
        magazine = _magazine(machine)
        machine.memory.write(magazine.address, bytes(magazine.record.type.size))
        found = machine.walk()
        assert {problem.object for problem in found.problems} == {f"Frame {n}" for n in magazine.blocks}
        assert "no magazine has it" in found.summary()


def test_a_block_of_the_wrong_zone(library: HostLibrary) -> None:
    """Every word is possible, but the block is of DMA32 and the magazine of DMA."""
    with HostMachine("24M", library=library) as machine:
        magazine = _magazine(machine)
        (stray,) = magazine.blocks[-1:]
        first = machine.walk().caches[magazine.cpu].magazines[0]
        machine.memory.write(first.address, struct.pack("<II", 1, stray))
        machine.memory.write(magazine.address, struct.pack("<I", magazine.count - 1))
        objects = {problem.object for problem in machine.walk().problems}
        assert first.name in objects
        assert objects & {f"Frame {stray}", magazine.name}, "and it is missing where it belongs"


def test_a_cache_that_is_taken_is_a_note_and_no_problem(library: HostLibrary) -> None:
    with HostMachine("24M", library=library) as machine:
        _magazine(machine)
        cache = machine.walk().caches[3]
        machine.memory.write(cache.record.address_of("taken"), b"\1")
        found = machine.walk()
        found.check()
        assert len(found.notes) == 1
        assert "note: FrameCache 3 is taken" in found.summary()


@pytest.mark.parametrize("limit", [0, 100, 1 << 31])
def test_a_limit_that_no_pair_may_have(library: HostLibrary, limit: int) -> None:
    with HostMachine("24M", library=library) as machine:
        pair = machine.walk().caches[1].pairs[1]  # singles of DMA32
        machine.memory.write(pair.address_of("limit"), struct.pack("<I", limit))
        assert {problem.object for problem in machine.walk().problems} == {"FrameCache 1"}


def test_every_bit_that_moves_the_end_of_the_direct_map(library: HostLibrary) -> None:
    """FrameMap.direct_frames stands in one place; where it puts memory into another zone it is found."""
    memory, reserved = ZONES
    with HostMachine(memory, reserved, direct_end=8 << 30, library=library) as machine:
        machine.stress(500, 1)
        address = Physical.of(machine.tables).map.address_of("direct_frames")
        moved = 0
        for bit in range(64):
            wrong = Corruption(("FrameMap",), "direct_frames", address + bit // 8, bit % 8)
            wrong.flip(machine.memory)
            found = machine.walk()
            wrong.flip(machine.memory)
            said = (1 << 21) ^ 1 << bit
            if not (1 << 21) <= said < (1 << 21) + 2048:
                moved += 1
                assert names_it(wrong, found), f"{wrong}\n{found.summary()}"
        assert moved > 40


def _places(machine: HostMachine, sound: Walk) -> list[tuple[int, int]]:
    """Every structure that a walk reads, as (address, bytes)."""
    physical, array = Physical.of(machine.tables), sound.array
    records = [physical.map, physical.record]
    records += [record for zone in sound.zones for record in (zone.record, zone.lists)]
    records += [cache.record for cache in sound.caches]
    places = [(record.address, record.type.size) for record in records]
    places.append((physical.nodes()[0], machine.tables.type("NodeRecord").size))
    for first, end in sound.present_ranges:
        size = array.frame_type.size
        places.append((array.frames_address + first * size, (end - first) * size))
    places.append((array.blocks_address, 17 * array.block_type.size))
    places += [(machine.tables.cpus[0], machine.tables.type("PerCpu").size)]
    return [*places, (machine.tables.record.manager, 8), (machine.tables.record.address, 144)]


@pytest.mark.parametrize("known_seed", [None, SLOW_SEED])
def test_nonsense_is_survived(library: HostLibrary, known_seed: int | None, coronel_seed: int) -> None:
    """Random bytes over random structures, pointers included: an answer or a DecodeError, in bounded time."""
    seed = coronel_seed if known_seed is None else known_seed
    chance = random.Random(seed)
    outcomes: collections.Counter[str] = collections.Counter()
    deadline = time.monotonic() + 25.0
    with HostMachine(*HOLES, library=library) as machine:
        machine.stress(1000, seed)
        places = _places(machine, machine.walk())
        for _ in range(40):
            undo = []
            for _ in range(chance.choice((1, 1, 2, 5))):
                base, size = chance.choice(places)
                count = min(size, chance.choice((1, 8, 64, 1000, 4096, 100_000)))
                address = base + chance.randrange(size - count + 1)
                undo.append((address, machine.memory.read(address, count)))
                noise = chance.choice((chance.randbytes(count), bytes(count), b"\xff" * count))
                machine.memory.write(address, noise)
            began = time.thread_time()
            try:
                found = walk(Tables.load(machine.memory, machine.tables.record.address))
                outcomes["found" if found.problems else "unchanged"] += 1
                assert len(found.summary()) < 1_000_000
                found.ranges()
            except DecodeError:
                outcomes["no way to the frames"] += 1
            assert time.thread_time() - began < SECONDS
            for address, data in reversed(undo):
                machine.memory.write(address, data)
            if time.monotonic() > deadline:
                break
        machine.walk(contents=False).check()
    assert outcomes["found"] > 0, outcomes
