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
from coronel.mm.record import Tables
from coronel.mm.walker import Walk
from coronel.mm.zones import Physical


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
    "frame_failures": "BuddyLists of zone 0",
    "frame_misuses": "BuddyLists of zone 0",
    "frames_poisoned": "BuddyLists of zone 0",
    "frames_early": "PhysicalRecord",
    "failures": "counter frame_failures",
    "misuses": "counter frame_misuses",
    "poisoned_frames": "counter frames_poisoned",
    "early_frames": "counter frames_early",
}


class Draw:
    """Draws corruptions of one machine; `walk` is a walk over it that found nothing wrong.

    Pointers to the arrays and between records are left out: what hangs on them is gone when they are wrong.
    """

    KINDS = ("frame", "block", "link", "lists", "map", "zone", "physical", "counter")

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
            return self._of_record("BuddyLists of zone 0", self.walk.zones[0].lists, ["heads"])
        return self._of_block(array.block_number(self.chance.choice(listed)), ["prev", "next"])

    def _lists(self) -> Corruption:
        lists = self.walk.zones[0].lists
        return self._of_record("BuddyLists of zone 0", lists, list(lists))

    def _map(self) -> Corruption:
        fields = ["limit", "present_frames", "sections", "ranges", "range"]
        return self._of_record("FrameMap", self.physical.map, fields)

    def _zone(self) -> Corruption:
        return self._of_record(
            "ZoneRecord 0", self.walk.zones[0].record, ["name", "first", "end", "present_frames"]
        )

    def _physical(self) -> Corruption:
        return self._of_record("PhysicalRecord", self.physical.record, ["zones", "early_frames"])

    def _counter(self) -> Corruption:
        info = self.chance.choice(self.tables.counters)
        address = stats.address_of(self.tables, info, self.chance.randrange(len(self.tables.cpus)))
        byte, bit = divmod(self.chance.randrange(64), 8)
        return Corruption(self._names(f"counter {info.name}", info.name), info.name, address + byte, bit)

    # -- places

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
