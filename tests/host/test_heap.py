"""The kernel heap through the host library: contents against a model, blocks against a walk of raw memory."""

from __future__ import annotations

import errno
import random
import struct

import pytest

from coronel.errors import MMError
from coronel.mm.heap import GRANULE, HEADER, Block, HeapWalk, block_name, list_of, walk_heap
from coronel.mm.heap_view import heapinfo, lines
from coronel.mm.host import HostLibrary, HostMachine
from coronel.mm.who import who


def heap_of(library: HostLibrary, **options: object) -> HostMachine:
    """64 MiB."""
    return HostMachine("64M", library=library, **options)  # type: ignore[arg-type]


class Model:
    """What is live and what it holds: address -> contents."""

    def __init__(self, machine: HostMachine, chance: random.Random) -> None:
        self.machine, self.chance = machine, chance
        self.live: dict[int, bytes] = {}

    def any_size(self) -> int:
        return self.chance.randrange(16 << self.chance.randrange(12))

    def write(self, address: int, size: int, kept: bytes = b"") -> None:
        data = kept[:size] + self.chance.randbytes(size - len(kept[:size]))
        self.machine.memory.write(address, data)
        self.live[address] = data

    def check(self, address: int) -> bytes:
        data = self.live[address]
        assert self.machine.memory.read(address, len(data)) == data, f"{address:#x} was written to by others"
        return data

    def step(self) -> None:
        action = self.chance.random()
        if not self.live or (action < 0.5 and len(self.live) < 300):
            size = self.any_size()
            align = 1 << self.chance.randrange(13) if self.chance.random() < 0.2 else 0
            address = self.machine.heap_malloc(size, align)
            if address is not None:
                assert address % (align or 16) == 0
                self.write(address, size)
            return
        address = self.chance.choice(list(self.live))
        data = self.check(address)
        if action < 0.7:
            size = self.any_size()
            moved = self.machine.heap_realloc(address, size)
            if moved is not None:
                del self.live[address]
                kept = data[:size]
                assert self.machine.memory.read(moved, len(kept)) == kept
                self.write(moved, size, kept)
        else:
            self.machine.heap_free(address)
            del self.live[address]


def test_keeps_contents_through_any_traffic(library: HostLibrary, coronel_seed: int) -> None:
    chance = random.Random(coronel_seed)
    with heap_of(library) as machine:
        model = Model(machine, chance)
        for turn in range(1500):
            model.step()
            if turn % 250 == 0:
                assert machine.valid()
                found = walk_heap(machine.tables)
                assert found.problems == [], lines(found)
                assert [block.payload for block in found.used] == sorted(model.live)
        numbers = heapinfo(walk_heap(machine.tables))
        assert numbers["active_blocks"] == len(model.live)
        assert numbers["allocated_bytes"] >= sum(map(len, model.live.values()))
        for address in list(model.live):
            model.check(address)
            machine.heap_free(address)
        machine.heap_shrink()
        machine.quiesce()
        assert heapinfo(walk_heap(machine.tables))["total_bytes"] == 0
        assert machine.walk().problems == []


def test_misuse_is_named(library: HostLibrary) -> None:
    with heap_of(library) as machine:
        first, second, last = (machine.heap_malloc(size) for size in (500, 100, 16))
        assert first is not None and second is not None and last is not None  # noqa: PT018
        machine.heap_free(second)
        machine.heap_free(first)
        for address, words in (
            (first, "double free"),
            (second, "double free"),
            (last + 8, "inside of a block"),
            (0x1000, "no object"),
        ):
            with pytest.raises(MMError, match=words) as caught:
                machine.heap_free(address)
            assert caught.value.errno == errno.EINVAL
        assert walk_heap(machine.tables).problems == []
        assert machine.valid()
        machine.memory.write(last + 24, b"\xff")  # into the header behind it
        with pytest.raises(MMError, match="header of a heap block overwritten"):
            machine.heap_free(last)


def test_a_misuse_stops_a_machine_that_panics(library: HostLibrary) -> None:
    with heap_of(library, on_misuse="panic") as machine:
        address = machine.heap_malloc(100)
        assert address is not None
        machine.heap_free(address)
        with pytest.raises(MMError, match=f"double free: kernel heap, address {address:#x}, block at"):
            machine.heap_free(address)


def test_the_nth_request_fails_and_changes_nothing(library: HostLibrary) -> None:
    with heap_of(library) as machine:
        for sites in range(1, 10):
            before = heapinfo(walk_heap(machine.tables))
            machine.fail_nth(sites)
            made = machine.heap_malloc(100_000, 4096)
            pending = machine.fail_pending()
            machine.fail_nth(0)
            if made is not None:
                assert pending
                break
            after = heapinfo(walk_heap(machine.tables))
            before["failures"] = after["failures"] = 0
            assert after == before
            assert machine.valid()
        assert sites == 4  # the block, its pages, the frames
        assert made is not None
        machine.heap_free(made)


def worn(library: HostLibrary, chance: random.Random) -> HostMachine:
    """A machine whose heap has seen traffic, with free blocks of many sizes and lists of several."""
    machine = heap_of(library)
    live = []
    for _ in range(400):
        address = machine.heap_malloc(chance.choice((40, 100, 600, 3000, chance.randrange(5000))))
        assert address is not None
        live.append(address)
    chance.shuffle(live)
    for address in live[:250]:
        machine.heap_free(address)
    return machine


def places(found: HeapWalk) -> list[tuple[str, int, str]]:
    """Every word that may go wrong: the object that it belongs to, its address, its name."""
    words = [(block.name, block.place, "header") for block in found.blocks]
    words += [(block_name(end - 8), end - 8, "header") for _, end in found.ranges]
    for block in found.free:
        words += [
            (block.name, block.place + 8, "next"),
            (block.name, block.place + 16, "previous"),
            (block.name, block.place + block.size - 8, "footer"),
        ]
    index = found.state["index"]
    for name in ("summary", "words", "heads"):
        field = index.type[name]
        words += [("HeapIndex", index.address_of(name, n), name) for n in range(field.count)]
    return words + [
        ("HeapState", found.state.address_of(name), name) for name in ("used_bytes", "allocations", "frees")
    ]


def test_a_single_wrong_bit_is_named(library: HostLibrary, coronel_seed: int) -> None:
    chance = random.Random(coronel_seed)
    missed = []
    with worn(library, chance) as machine:
        sound = walk_heap(machine.tables)
        assert sound.problems == [], lines(sound)
        by_name: dict[str, list[tuple[str, int, str]]] = {}
        for place in places(sound):
            by_name.setdefault(place[2], []).append(place)
        for name, words in by_name.items():
            for _ in range(25):
                what, address, _ = chance.choice(words)
                if name in ("words", "heads") and chance.random() < 0.7:  # rather those in use
                    what, address, _ = chance.choice(
                        [one for one in words if any(machine.memory.read(one[1], 8))]
                    )
                right = machine.memory.read(address, 8)
                wrong = struct.unpack("<Q", right)[0] ^ 1 << chance.randrange(64)
                machine.memory.write(address, struct.pack("<Q", wrong))
                found = walk_heap(machine.tables)
                if {problem.object for problem in found.problems} != {what}:
                    missed.append(f"{what} {name} {address:#x}: {[str(one) for one in found.problems]}")
                assert not machine.valid(), f"{what} {name}: the kernel's own proof misses it"
                machine.memory.write(address, right)
        assert walk_heap(machine.tables).problems == [], "every bit was put back"
    assert not missed, f"seed {coronel_seed}: {len(missed)}\n" + "\n".join(missed[:10])


def test_survives_nonsense(library: HostLibrary, coronel_seed: int) -> None:
    chance = random.Random(coronel_seed)
    for _ in range(6):
        with worn(library, chance) as machine:
            sound = walk_heap(machine.tables)
            state = sound.state
            for _ in range(40):
                size = chance.choice((1, 8, 64, 4096))
                places = [*sound.ranges, (state.address, state.address + state.type.size)]
                first, end = chance.choice(places)
                machine.memory.write(chance.randrange(first, end - size), chance.randbytes(size))
            found = walk_heap(machine.tables)
            assert found.problems
            assert any(line.startswith("problem: ") for line in lines(found))


def test_says_what_lies_where(library: HostLibrary) -> None:
    with heap_of(library) as machine:
        address = machine.heap_malloc(1000)
        assert address is not None
        found = walk_heap(machine.tables)
        assert found.block_at(address + 999) == Block(address - HEADER, 1008, used=True)
        assert found.block_at(0x1000) is None
        said = heapinfo(found)
        assert (said["allocated_bytes"], said["total_bytes"], said["fill_percent"]) == (1000, 65536, 1)
        first = found.ranges[0][0]
        assert said["ranges"] == [{"first": f"{first:#x}", "bytes": 65536, "free_at_end": 65536 - 16 - 1008}]
        assert list_of(1024 - GRANULE) == 63


def test_a_block_of_the_kernel_heap_is_told(library: HostLibrary, coronel_seed: int) -> None:
    """By its headers; behind one that is broken the answer ends."""
    chance = random.Random(coronel_seed)
    with heap_of(library) as machine:
        blocks = [(machine.heap_malloc(size), size) for size in chance.choices(range(1, 30_000), k=100)]
        for address, size in chance.sample(blocks, 60):
            assert address is not None
            said = who(machine.tables, address + chance.randrange(size))
            assert (said["use"], said["heap_block"]) == ("kernel heap", f"{address:#x}")
            assert said["object_state"] == "allocated"
            assert size <= said["bytes"] < size + 16 + 32
        address = max(address for address, _ in blocks if address is not None)
        machine.heap_free(address)
        assert who(machine.tables, address)["object_state"] == "free"
        first = min(address for address, _ in blocks if address is not None)
        machine.memory.write(first - 8, bytes(8))
        broken = who(machine.tables, first)
        assert broken["use"] == "kernel heap"
        assert "does not decode" in broken["note"]
