"""Single wrong bits for tests of whatever must notice them: drawn at random over everything the walker reads.

wrong = Draw(random.Random(seed), tables, walk(tables)).any()
wrong.flip(memory)           # memory is now wrong in one bit
walk(tables).problems        # must name one of wrong.objects, and nothing else
wrong.flip(memory)           # and is right again
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from coronel.memory import Memory
from coronel.mm import stats
from coronel.mm.check_blocks import block_name
from coronel.mm.check_frames import frame_name
from coronel.mm.layout import Struct, StructType
from coronel.mm.magazines import Magazine
from coronel.mm.record import Tables
from coronel.mm.walker import Walk
from coronel.mm.zones import Physical, Zone


class WritableMemory(Memory, Protocol):
    """Memory that can be changed, too."""

    def write(self, address: int, data: bytes) -> None:
        """Puts `data` at `address`, or DecodeError."""


@dataclass(frozen=True)
class Corruption:
    """One bit of one object."""

    objects: tuple[str, ...]  # the object that it makes wrong, and those that may be taken for it
    field: str
    address: int  # of the byte
    bit: int

    def flip(self, memory: WritableMemory) -> None:
        """Makes the bit wrong, or right again."""
        memory.write(self.address, bytes([memory.read(self.address, 1)[0] ^ 1 << self.bit]))

    def __str__(self) -> str:
        return f"{self.objects[0]}: {self.field}, bit {self.bit} of the byte at {self.address:#x}"


# Two that count the same thing, and nothing else does: which of them is wrong cannot always be told.
_TWINS = {
    "frame_allocations": "counter frame_releases",
    "frame_releases": "counter frame_allocations",
    "frame_splits": "counter frame_merges",
    "frame_merges": "counter frame_splits",
    "range_allocations": "counter range_releases",
    "range_releases": "counter range_allocations",
    "frame_failures": "PhysicalRecord",
    "frame_misuses": "PhysicalRecord",
    "frames_poisoned": "PhysicalRecord",
    "frames_early": "PhysicalRecord",
    "memory_additions": "PhysicalRecord",
    "failures": "counter frame_failures",
    "misuses": "counter frame_misuses",
    "poisoned_frames": "counter frames_poisoned",
    "early_frames": "counter frames_early",
    "additions": "counter memory_additions",
}

# Counters of what leaves no trace in memory.
_ALONE = {"shootdowns", "flushes_answered", "range_failures", "range_misuses", "stacks_reused"}


class Draw:
    """Draws corruptions of one machine; `walk` is a walk over it that found nothing wrong.

    Left out is what the walker promises nothing about (walker.py says why): pointers to arrays and between
    records, what stands in one place only, and what means nothing.
    """

    KINDS = (
        "frame", "block", "link", "lists", "map", "zone", "node", "physical", "cache", "magazine", "counter",
    )  # fmt: skip

    def __init__(self, chance: random.Random, tables: Tables, walk: Walk) -> None:
        self.chance = chance
        self.tables = tables
        self.walk = walk
        self.physical = Physical.of(tables)

    def any(self) -> Corruption:
        """Of any kind; Frames and Pageblocks more often than the few records."""
        return self.of(self.chance.choice((*self.KINDS, "frame", "frame", "block")))

    def of(self, kind: str) -> Corruption:
        """Of one kind, a name of KINDS."""
        draw: Callable[[], Corruption] = getattr(self, f"_{kind}")
        return draw()

    # -- kinds

    def _frame(self) -> Corruption:
        array = self.walk.array
        number = self._block_number() * array.shape.block_frames + self.chance.randrange(
            array.shape.block_frames
        )
        address = array.frames_address + number * array.frame_type.size
        return self._of_type(frame_name(number), array.frame_type, address, list(array.frame_type.fields))

    def _block(self) -> Corruption:
        return self._of_block(self._block_number(), list(self.walk.array.block_type.fields))

    def _link(self) -> Corruption:
        array = self.walk.array
        listed = array.block_column("list").nonzero()[0].tolist()
        if not listed or self.chance.random() < 0.2:
            zone = self._any_zone()
            return self._of_record(zone.lists_name, zone.lists, ["heads"])
        return self._of_block(array.block_number(self.chance.choice(listed)), ["prev", "next"])

    def _lists(self) -> Corruption:
        zone = self._any_zone()
        return self._of_record(zone.lists_name, zone.lists, list(zone.lists))

    def _map(self) -> Corruption:
        fields = ["limit", "present_frames", "sections", "ranges", "range", "block_zone"]
        return self._of_record("FrameMap", self.physical.map, fields)

    def _zone(self) -> Corruption:
        zone = self._any_zone()
        return self._of_record(
            zone.record_name, zone.record, [name for name in zone.record if name != "lists"]
        )

    def _node(self) -> Corruption:
        node = self.tables.read("NodeRecord", self.physical.nodes()[0])
        return self._of_record("NodeRecord 0", node, ["number"])

    def _physical(self) -> Corruption:
        pointers = ("frames", "node", "caches")
        record = self.physical.record
        return self._of_record("PhysicalRecord", record, [name for name in record if name not in pointers])

    def _cache(self) -> Corruption:
        cache = self.chance.choice(self.walk.caches)
        if self.chance.random() < 0.1:
            return self._bit(cache.name, "taken", cache.record.address_of("taken"), 1, 32)
        field = self.chance.choice(("loaded", "previous", "most"))
        pair = self.chance.choice(cache.pairs)
        return self._bit(cache.name, field, pair.address_of(field), 0, 8 * pair.type[field].bytes)

    def _magazine(self) -> Corruption:
        """Of a count, or of an entry that counts; of magazines that hold something rather than others."""
        every = [magazine for cache in self.walk.caches for magazine in cache.magazines]
        magazine = self.chance.choice(every if self.chance.random() < 0.2 else self.walk.magazines or every)
        if magazine.count == 0 or self.chance.random() < 0.5:
            bit = self.chance.randrange(64) if self.chance.random() < 0.3 else self.chance.randrange(7)
            place = (magazine.count_address + bit // 8, bit % 8)
            return Corruption((magazine.name, *self._same_count(magazine, bit)), "count", *place)
        entry, bit = self.chance.randrange(magazine.count), self.chance.randrange(32)
        wrong = magazine.slots[entry] ^ 1 << bit
        others = [one.name for one in self._peers(magazine) if wrong in one.blocks]
        address = magazine.entry_address(entry)
        return Corruption((magazine.name, *others), f"blocks[{entry}]", address + bit // 8, bit % 8)

    def _peers(self, magazine: Magazine) -> list[Magazine]:
        """The other magazines of the same zone and order."""
        both = slice(magazine.index & ~1, (magazine.index & ~1) + 2)
        found = [one for cache in self.walk.caches for one in cache.magazines[both]]
        return [one for one in found if one is not magazine]

    def _same_count(self, magazine: Magazine, bit: int) -> list[str]:
        """Magazines of which another count would have the same effect: blocks that are in one and were the
        last in another are in no third place that says in which of the two they are.
        """

        def between(one: Magazine, count: int) -> set[int]:
            return set(one.slots[min(one.count, count) : max(one.count, count)])

        wrong = magazine.count ^ 1 << bit
        if wrong > len(magazine.slots):
            return []
        moved = between(magazine, wrong)
        return [
            one.name
            for one in self._peers(magazine)
            for other in (one.count ^ 1 << b for b in range(7))
            if (other < one.count) == (wrong > magazine.count)
            and other <= len(one.slots)
            and between(one, other) == moved
        ]

    def _counter(self) -> Corruption:
        info = self.chance.choice([info for info in self.tables.counters if info.name not in _ALONE])
        address = stats.address_of(self.tables, info, self.chance.randrange(len(self.tables.cpus)))
        byte, bit = divmod(self.chance.randrange(64), 8)
        return Corruption(self._names(f"counter {info.name}", info.name), info.name, address + byte, bit)

    # -- places

    def _any_zone(self) -> Zone:
        """One with memory rather than another."""
        zones = self.walk.zones
        used = [zone for zone in zones if zone.populated]
        return self.chance.choice(zones if self.chance.random() < 0.2 else used)

    def _bit(self, name: str, field: str, address: int, low: int, end: int) -> Corruption:
        """One of bits [low, end) of a field."""
        bit = self.chance.randrange(low, end)
        return Corruption(self._names(name, field), field, address + bit // 8, bit % 8)

    def _block_number(self) -> int:
        return self.walk.array.block_number(self.chance.choice(self.walk.array.known.nonzero()[0].tolist()))

    def _of_block(self, number: int, fields: list[str]) -> Corruption:
        array = self.walk.array
        address = array.blocks_address + number * array.block_type.size
        return self._of_type(block_name(number), array.block_type, address, fields)

    def _of_record(self, name: str, record: Struct, fields: list[str]) -> Corruption:
        return self._of_type(name, record.type, record.address, fields)

    def _of_type(self, name: str, kind: StructType, address: int, fields: list[str]) -> Corruption:
        field = kind[self.chance.choice(fields)]
        bit = self.chance.randrange(field.bits or 8 * field.size) + field.bit
        return Corruption(
            self._names(name, field.name), field.name, address + field.offset + bit // 8, bit % 8
        )

    @staticmethod
    def _names(name: str, field: str) -> tuple[str, ...]:
        return (name, _TWINS[field]) if field in _TWINS else (name,)
