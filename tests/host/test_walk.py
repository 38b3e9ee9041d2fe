"""The walker on sound machines: no problem, agreement with the library's own proof, and twins are equal."""

from __future__ import annotations

import random

import pytest

from coronel.errors import DecodeError, ValidationError
from coronel.mm.compare import differences, require_equal
from coronel.mm.host import HostLibrary, HostMachine
from coronel.mm.record import Tables
from coronel.mm.zones import Physical, State, frame_at

# As a PC has it: a hole below 1 MiB, an uneven end, and a second range far above, all with reserved frames.
HOLES = (
    [(1, 159), (256, 9001), (20480, 23500), (262144, 264200)],
    [(1, 2), (256, 600), (3000, 3001), (23499, 23500)],
)


def test_random_states_have_no_problem(library: HostLibrary, coronel_seed: int) -> None:
    chance = random.Random(coronel_seed)
    for _ in range(12):
        shape = chance.choice([HOLES, ([(0, 6144)], [])])
        operations, seed = chance.choice([0, 1, 10, 500, 5000]), chance.getrandbits(64)
        with HostMachine(*shape, library=library) as machine:
            report = machine.stress(operations, seed, hold=chance.random() < 0.7)
            walk = machine.walk()
            assert walk.problems == [], f"seed {coronel_seed}: {walk.summary()}"
            assert walk.complete
            assert machine.valid()
            assert walk.free + sum(1 << int(order) for _, order in walk.allocated_blocks) == walk.managed
            assert walk.free == sum(blocks << order for order, blocks in enumerate(walk.free_blocks))
            assert len(walk.allocated_blocks) in (0, report.live_blocks + 1)


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


def test_one_frame_by_itself_says_the_same(library: HostLibrary, coronel_seed: int) -> None:
    with HostMachine(*HOLES, library=library) as machine:
        machine.stress(3000, coronel_seed)
        walk = machine.walk()
        physical = Physical.of(machine.tables)
        for number in random.Random(coronel_seed).sample(range(512, 9000), 300):
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
    with HostMachine("24M", library=library) as one, HostMachine("24M", library=library) as other:
        one.alloc_pages(0)
        pfn = other.alloc_pages(1)
        assert pfn is not None
        found = differences(one.walk(), other.walk())
        objects = {difference.object for difference in found}
        assert {
            f"Frame {pfn}",
            f"Pageblock {pfn // 512}",
            "BuddyLists of zone 0",
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
        machine.library.call.mm_enter(machine._handle, 2)
        machine.library.call.alloc_pages(0, 1)
        machine.alloc_pages(4)  # on CPU 0
        machine.walk().check()
        assert machine.counters()["frame_allocations"] == 2
        assert machine.counters()["frames_free"] == 6144 - 17


def test_a_machine_without_a_manager_is_one_clear_error(library: HostLibrary) -> None:
    with HostMachine("24M", library=library) as machine:
        machine.memory.write(machine.tables.record.address + 136, bytes(8))
        with pytest.raises(DecodeError, match="not initialised yet"):
            Tables.load(machine.memory, machine.tables.record.address).manager()
