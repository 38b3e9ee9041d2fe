"""The walker on wrong object caches: one wrong bit of a slab, a list, a magazine or a slab's Frame is found,
and the right object named.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from coronel.mm.corruption import Corruption
from coronel.mm.host import HostLibrary, HostMachine
from coronel.mm.host_mm import HostKernelMM
from coronel.mm.layout import StructType
from coronel.mm.slabs import Cache, Slab, frame_of, read_heap
from coronel.mm.walk import Walk
from coronel.mm.zones import Physical

BITS_EACH = 40


def fill(machine: HostMachine, chance: random.Random) -> None:
    """Objects of many sizes from two CPUs, many given back: slabs of every kind, magazines, a depot."""
    mm = HostKernelMM(machine)
    for cpu in (0, 1):
        machine.cpu = cpu
        held = [mm.kmalloc(chance.randrange(1, 3000)) or 0 for _ in range(1500)]
        held += [mm.kmalloc(64) or 0 for _ in range(400)]
        chance.shuffle(held)
        for address in held[: chance.randrange(1000, 1900)]:
            mm.kfree(address)
    assert mm.kmalloc(100_000)


class ObjectDraw:
    """Draws a single wrong bit of the floor of objects."""

    KINDS = ("slab", "state", "free_bit", "lists", "magazine", "frame", "large")

    def __init__(self, chance: random.Random, machine: HostMachine, sound: Walk) -> None:
        self.chance = chance
        self.tables = machine.tables
        self.physical = Physical.of(machine.tables)
        self.sound = sound
        caches = read_heap(machine.tables).caches
        self.caches = [cache for cache in caches if len(cache.slabs) > 1]

    def of(self, kind: str) -> Corruption:
        """Of one kind, a name of KINDS."""
        draw: Callable[[Cache, Slab], Corruption] = getattr(self, f"_{kind}")
        cache = self.chance.choice(self.caches)
        return draw(cache, self.chance.choice(list(cache.slabs.values())))

    def _bit(self, name: str, kind: StructType, address: int, field: str, element: int = 0) -> Corruption:
        entry = kind[field]
        bit = self.chance.randrange(8 * entry.bytes)
        place = address + entry.offset + element * entry.bytes
        return Corruption((name,), field, place + bit // 8, bit % 8)

    def _slab(self, _: Cache, slab: Slab) -> Corruption:
        kind = slab.record.type
        field = self.chance.choice([name for name in kind.fields if name != "node"])
        return self._bit(slab.name, kind, slab.address, field)

    def _state(self, cache: Cache, slab: Slab) -> Corruption:
        index = self.chance.randrange(len(slab.states))
        address = slab.address + slab.record.type.size + index
        bit = self.chance.randrange(8)
        holders = [one.name for one in cache.magazines]  # what moves between `cached` and another state
        return Corruption((slab.name, *holders), "states", address, bit)

    def _free_bit(self, _: Cache, slab: Slab) -> Corruption:
        index = self.chance.randrange(len(slab.states))
        words = slab.address + slab.record.type.size + -(-len(slab.states) // 8) * 8
        return Corruption((slab.name,), "free_bits", words + index // 8, index % 8)

    def _lists(self, cache: Cache, _: Slab) -> Corruption:
        name = f"SlabLists of cache {cache.name}"
        field = self.chance.choice(["taken", "partial", "full", "empty"])
        if field == "taken":
            return self._bit(name, cache.lists.type, cache.lists.address, field)
        return self._bit(name, cache.slab_list(field).type, cache.slab_list(field).address, "size")

    def _magazine(self, cache: Cache, slab: Slab) -> Corruption:
        with_some = [one for cache in self.caches for one in cache.magazines if one.objects]
        one = self.chance.choice(with_some)
        field = self.chance.choice(["objects", "states", "count"])
        element = self.chance.randrange(len(one.objects)) if field != "count" else 0
        wrong = self._bit(one.name, one.record.type, one.record.address, field, element)
        near = [
            name
            for cache in self.caches
            if cache.name == one.cache_name
            for name in [*(s.name for s in cache.slabs.values()), *(m.name for m in cache.magazines)]
        ]
        return Corruption((one.name, *near), field, wrong.address, wrong.bit)

    def _frame(self, cache: Cache, slab: Slab) -> Corruption:
        head = frame_of(self.physical.map, int(slab.record["first"])) // cache.frames * cache.frames
        number = head + self.chance.randrange(cache.frames)
        return self._of_frame(number)

    def _large(self, _: Cache, __: Slab) -> Corruption:
        array = self.sound.array
        tags = array.frame_column("tag")
        large = self.tables.enum("FrameTag")["large_object"]
        (place,) = (tags == large).nonzero()[0].tolist()
        return self._of_frame(array.number(place))

    def _of_frame(self, number: int) -> Corruption:
        array = self.sound.array
        bit = self.chance.randrange(8 * array.frame_type.size)
        address = array.frames_address + number * array.frame_type.size
        return Corruption((f"Frame {number}",), f"bit {bit}", address + bit // 8, bit % 8)


@pytest.fixture
def machine(library: HostLibrary, coronel_seed: int) -> Iterator[HostMachine]:
    with HostMachine("24M", cpus=2, library=library) as made:
        fill(made, random.Random(coronel_seed))
        yield made


@pytest.mark.parametrize("kind", ObjectDraw.KINDS)
def test_a_single_wrong_bit_is_named(machine: HostMachine, kind: str, coronel_seed: int) -> None:
    chance = random.Random(f"{coronel_seed} {kind}")
    sound = machine.walk()
    sound.check()
    draw = ObjectDraw(chance, machine, sound)
    missed = []
    for _ in range(BITS_EACH):
        wrong = draw.of(kind)
        wrong.flip(machine.memory)
        found = machine.walk()
        wrong.flip(machine.memory)
        named = [problem.objects for problem in found.problems]
        if not any(wrong.objects[0] in names for names in named) or not all(
            set(names) & set(wrong.objects) for names in named
        ):
            missed.append(f"{wrong}\n  {found.summary()[:1500]}")
    assert machine.walk().problems == [], "every bit was put back"
    assert not missed, f"seed {coronel_seed}: {len(missed)} of {BITS_EACH}\n" + "\n".join(missed[:5])


def test_a_cut_list_loses_no_slab(machine: HostMachine) -> None:
    """A link is wrong: the slabs behind it are still known, from the other end and from their Frames."""
    sound = {cache.name: len(cache.slabs) for cache in machine.walk().object_caches}
    cache = next(c for c in read_heap(machine.tables).caches if len(c.followed["full"].members) > 5)
    middle = cache.followed["full"].members[2]
    machine.memory.write(middle, (0x1234_5678).to_bytes(8, "little"))
    found = machine.walk()
    assert {cache.name: len(cache.slabs) for cache in found.object_caches} == sound
    assert any(f"{middle:#x}" in problem.object for problem in found.problems)


def test_a_slab_that_was_overwritten(machine: HostMachine) -> None:
    """Nothing of its record is right: it is named, and the walk comes to its end."""
    cache = next(c for c in read_heap(machine.tables).caches if len(c.slabs) > 5)
    slab = next(iter(cache.slabs.values()))
    machine.memory.write(slab.address, b"\xaa" * slab.record.type.size)
    found = machine.walk()
    assert any(f"{slab.address:#x}" in problem.object for problem in found.problems)


def test_nonsense_is_survived(machine: HostMachine, coronel_seed: int) -> None:
    """Random bytes over records of caches, slabs and magazines: an answer in bounded time."""
    chance = random.Random(coronel_seed)
    places = []
    for cache in read_heap(machine.tables).caches:
        places += [(r.address, r.type.size) for r in (cache.record, cache.lists, cache.depot)]
        places += [(s.address, s.record.type.size + 64) for s in cache.slabs.values()]
        places += [(m.record.address, m.record.type.size) for m in cache.magazines]
    for _ in range(25):
        undo = []
        for _ in range(chance.choice((1, 2, 8))):
            base, size = chance.choice(places)
            count = min(size, chance.choice((1, 8, 64, 1000)))
            address = base + chance.randrange(size - count + 1)
            undo.append((address, machine.memory.read(address, count)))
            noise = chance.choice((chance.randbytes(count), bytes(count), b"\xff" * count))
            machine.memory.write(address, noise)
        machine.walk()
        for address, data in reversed(undo):
            machine.memory.write(address, data)
    machine.walk().check()
