"""The walker on sound machines: no problem, agreement with the library's own proof, and twins are equal."""

from __future__ import annotations

import random
import time

import pytest

from coronel.errors import DecodeError, MMError, ValidationError
from coronel.memory import PAGE_SHIFT
from coronel.mm.compare import differences, require_equal
from coronel.mm.host import HostLibrary, HostMachine
from coronel.mm.record import Tables
from coronel.mm.zones import Physical, State, frame_at

# As a PC has it: a hole below 1 MiB, an uneven end, and a second range far above, all with reserved frames.
HOLES = (
    [(1, 159), (256, 9001), (20480, 23500), (262144, 264200)],
    [(1, 2), (256, 600), (3000, 3001), (23499, 23500)],
)
# Memory in every zone but DMA32; what lies from 8 GiB on is beyond the direct map.
ZONES = (
    [(1, 159), (256, 4000), (1 << 20, (1 << 20) + 9000), (1 << 21, (1 << 21) + 5001)],
    [(256, 600), ((1 << 20) + 5, (1 << 20) + 6)],
)
DIRECT_END = 8 << 30


def test_random_states_have_no_problem(library: HostLibrary, coronel_seed: int) -> None:
    chance = random.Random(coronel_seed)
    for _ in range(12):
        shape = chance.choice([HOLES, ([(0, 6144)], []), ZONES])
        with HostMachine(*shape, cpus=3, direct_end=DIRECT_END, library=library) as machine:
            live = []  # of the blocks that stay, and of the table of them
            for cpu in range(3):
                machine.cpu = cpu
                operations, seed = chance.choice([0, 1, 10, 500, 5000]), chance.getrandbits(64)
                hold = cpu == 2 and chance.random() < 0.7
                report = machine.stress(operations, seed, hold=hold)
                live += [report.live_blocks + 1] if hold else []
            walk = machine.walk()
            assert walk.problems == [], f"seed {coronel_seed}: {walk.summary()}"
            assert walk.complete
            assert walk.notes == []
            assert machine.valid()
            used = sum(1 << int(order) for _, order in walk.allocated_blocks)
            assert walk.available + used == walk.managed
            assert walk.free == sum(blocks << order for order, blocks in enumerate(walk.free_blocks))
            assert walk.cached == sum(len(one.blocks) << one.order for one in walk.magazines)
            assert len(walk.allocated_blocks) == sum(live)


def test_reads_the_map_as_it_was_made(library: HostLibrary) -> None:
    memory, reserved = HOLES
    with HostMachine(memory, reserved, library=library) as machine:
        walk = machine.walk()
    assert walk.present_ranges == memory
    assert walk.reserved_ranges == reserved
    assert walk.present == sum(end - first for first, end in memory)
    assert walk.reserved == sum(end - first for first, end in reserved)
    names = {0: State.absent, 1: State.reserved, 2: State.free, 200: State.absent, 1 << 40: State.absent}
    assert {frame: walk.state(frame) for frame in names} == names
    assert walk.ranges()[:3] == [(1, 2, State.reserved), (2, 159, State.free), (256, 600, State.reserved)]


def test_each_zone_has_what_lies_between_its_edges(library: HostLibrary, coronel_seed: int) -> None:
    with HostMachine(*ZONES, cpus=2, direct_end=DIRECT_END, library=library) as machine:
        machine.stress(3000, coronel_seed)
        walk = machine.walk()
    walk.check()
    assert [zone.name for zone in walk.zones if zone.populated] == ["DMA", "Normal", "HighMem"]
    assert walk.direct_frames == DIRECT_END >> PAGE_SHIFT
    edges = [0, 4096, 1 << 20, walk.direct_frames, 1 << 32]
    runs = walk.ranges()
    for zone, blocks in zip(walk.zones, walk.zone_free_blocks, strict=True):
        low, high = edges[zone.number : zone.number + 2]
        free = [(max(first, low), min(end, high)) for first, end, state in runs if state is State.free]
        frames = sum(end - first for first, end in free if first < end)
        assert frames == zone.lists["free_frames"] == sum(n << order for order, n in enumerate(blocks))
    assert "zone DMA32" not in walk.summary()


def test_cached_blocks_are_in_magazines_and_go_home(library: HostLibrary) -> None:
    with HostMachine("64M", cpus=2, library=library) as machine:
        machine.cpu = 1
        one, block = machine.alloc_pages(0), machine.alloc_pages(2)
        assert one is not None
        assert block is not None
        machine.free_pages(block, 2)
        walk = machine.walk()
        walk.check()
        (singles, fours) = walk.magazines
        assert {(magazine.cpu, magazine.zone) for magazine in walk.magazines} == {(1, 1)}
        assert (singles.order, fours.order) == (0, 2)
        assert one not in singles.blocks
        assert fours.blocks[-1] == block
        assert [walk.state(block + n) for n in range(4)] == [State.cached, *[State.inside] * 3]
        assert walk.state(one) is State.allocated
        assert any(first <= block < end and state is State.cached for first, end, state in walk.ranges())
        assert walk.cached_blocks.tolist() == sorted(
            [number, magazine.order] for magazine in walk.magazines for number in magazine.blocks
        )
        machine.quiesce()
        walk = machine.walk()
        walk.check()
        assert (walk.cached, walk.free, walk.magazines) == (0, walk.managed - 1, [])


def test_memory_that_is_added_is_walked(library: HostLibrary, coronel_seed: int) -> None:
    with HostMachine("64M", room_end=6 << 30, library=library) as machine:
        machine.stress(1000, coronel_seed)
        machine.add_memory_range(1 << 20, (1 << 20) + 8192)
        machine.stress(1000, coronel_seed)
        walk = machine.walk()
        walk.check()
    assert walk.present_ranges == [(0, 16384), (1 << 20, (1 << 20) + 8192)]
    assert [zone.populated for zone in walk.zones] == [True, True, True, False]


def test_one_frame_by_itself_says_the_same(library: HostLibrary, coronel_seed: int) -> None:
    with HostMachine(*HOLES, library=library) as machine:
        machine.stress(3000, coronel_seed)
        block = machine.alloc_pages(0)  # the stress may end with empty magazines
        assert block is not None
        machine.free_pages(block, 0)
        walk = machine.walk()
        physical = Physical.of(machine.tables)
        cached = [int(number) for number, _ in walk.cached_blocks]
        assert cached
        for number in [*cached, *random.Random(coronel_seed).sample(range(512, 9000), 300)]:
            one = frame_at(machine.tables, physical, number)
            assert one.state is walk.state(number)
        for number in (-1, 9728, 1 << 40):
            with pytest.raises(DecodeError, match="not present"):
                frame_at(machine.tables, physical, number)


def test_twins_are_equal_frame_by_frame(library: HostLibrary, coronel_seed: int) -> None:
    """Two machines in different places of memory, the second made from the first one's own map."""
    with (
        HostMachine(*HOLES, library=library) as one,
        HostMachine.like(one.walk(), library=library) as other,
    ):
        require_equal(one.walk(), other.walk())
        assert one.stress(100_000, coronel_seed) == other.stress(100_000, coronel_seed)
        require_equal(one.walk(), other.walk())
        one.walk().check()


def test_differences_are_named(library: HostLibrary) -> None:
    with HostMachine("16M", library=library) as one, HostMachine("16M", library=library) as other:
        one.alloc_pages(0)
        pfn = other.alloc_pages(5)
        assert pfn is not None
        found = differences(one.walk(), other.walk())
        objects = {difference.object for difference in found}
        assert {
            f"Frame {pfn}",
            f"Pageblock {pfn // 512}",
            "BuddyLists of zone 0",
            "Magazine 1 of FrameCache 0",
            "counter frames_free",
        } <= objects
        with pytest.raises(ValidationError, match="guest and host differ in"):
            require_equal(one.walk(), other.walk(), ("guest", "host"))
    with HostMachine("24M", library=library) as one, HostMachine("16M", library=library) as other:
        assert [str(difference.field) for difference in differences(one.walk(), other.walk())] == [
            "present ranges"
        ]


def test_each_cpu_counts_and_the_sum_is_right(library: HostLibrary) -> None:
    with HostMachine("24M", cpus=4, library=library) as machine:
        machine.cpu = 2
        machine.alloc_pages(0)
        machine.cpu = 0
        machine.alloc_pages(4)
        walk = machine.walk()
        walk.check()
        assert machine.counters()["frame_allocations"] == 2
        assert machine.counters()["frames_free"] + walk.cached == 6144 - 17
        machine.quiesce()
        assert machine.counters()["frames_free"] == 6144 - 17
        machine.cpu = 4
        with pytest.raises(MMError, match="has no CPU 4"):
            machine.alloc_pages(0)


def test_a_gibibyte_is_walked_at_once(library: HostLibrary, coronel_seed: int) -> None:
    """50 ms is the aim on an idle machine; ten times that is a defect anywhere."""
    with HostMachine("1G", library=library) as machine:
        machine.stress(20_000, coronel_seed)
        best = 10.0
        for _ in range(5):
            began = time.thread_time()
            walk = machine.walk(contents=False)
            best = min(best, time.thread_time() - began)
        walk.check()
    assert best < 0.5


def test_memory_where_nothing_is_present(library: HostLibrary) -> None:
    """The map was cleared: one finding, and no crash for want of frames."""
    with HostMachine("16M", library=library) as machine:
        where = Physical.of(machine.tables).map
        first, last = where.address_of("limit"), where.address + where.type.size
        machine.memory.write(first, bytes(last - first))
        found = machine.walk()
        assert (found.present, found.free, found.magazines) == (0, 0, [])
        assert found.problems, "levels and counters know better"
        assert "0 frames present" in found.summary()


def test_a_machine_without_a_manager_is_one_clear_error(library: HostLibrary) -> None:
    with HostMachine("24M", library=library) as machine:
        machine.memory.write(machine.tables.record.address + 136, bytes(8))
        with pytest.raises(DecodeError, match="not initialised yet"):
            Tables.load(machine.memory, machine.tables.record.address).manager()


def test_memory_added_beside_what_is_in_use_adds_up(library: HostLibrary) -> None:
    """Blocks that were out when it came merge with it later, which no total of the start foresees."""
    with HostMachine(
        [(0, 4096), (6144, 8192)], [(0, 64)], room_end=8192 << PAGE_SHIFT, library=library
    ) as machine:
        machine.add_memory_range(4096, 4160)
        held = []
        while (pfn := machine.alloc_pages(6, 2)) is not None:
            held.append(pfn)
        machine.add_memory_range(4160, 4224)
        for pfn in held:
            machine.free_pages(pfn, 6)
        machine.quiesce()
        machine.walk().check()
        assert machine.counters()["memory_additions"] == 2
