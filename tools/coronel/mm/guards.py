"""The guard pool: objects that lie alone in a page between two that are not mapped (mm/heap/guard_pool.hpp),
out of raw memory. Needs nothing but Python: GDB's commands use it too.

for slot in read_guards(tables).slots:
    slot.name, slot.cache_number, slot.state, slot.requested
"""

from __future__ import annotations

from dataclasses import dataclass

from coronel.errors import DecodeError
from coronel.mm.layout import Struct
from coronel.mm.record import Tables

MOST_SLOTS = 4096  # more is nonsense


@dataclass(frozen=True)
class GuardSlot:
    """One slot as it was read."""

    number: int
    record: Struct  # GuardSlot

    @property
    def slab(self) -> Struct:
        """The Slab of its one object."""
        found: Struct = self.record["slab"]
        return found

    @property
    def track(self) -> Struct:
        """The object's ObjectTrack."""
        found: Struct = self.record["track"]
        return found

    @property
    def name(self) -> str:
        """How problems call it."""
        return f"GuardSlot {self.number}"

    @property
    def state(self) -> int:
        """The object's ObjectState."""
        return int(self.record["states"][0])

    @property
    def cache_number(self) -> int:
        """Whose object it is, or was last; 0: nobody's that is still there."""
        return int(self.slab["number"]) if self.slab["cache"] else 0

    @property
    def requested(self) -> int:
        """Bytes that were asked for."""
        return int(self.track["requested"])


@dataclass(frozen=True)
class GuardPool:
    """All slots. Slot n has the frame `first` + 2 n + 1; the frames before and behind it guard it."""

    first: int
    slots: tuple[GuardSlot, ...]

    @property
    def pages(self) -> int:
        """Frames of objects and guards."""
        return 2 * len(self.slots) + 1 if self.slots else 0

    def frame(self, slot: GuardSlot) -> int:
        """Where its object lies."""
        return self.first + 2 * slot.number + 1


def hidden_frames(tables: Tables) -> set[int]:
    """Of the pool's pages those that the direct map does not show: guards, and pages of free slots."""
    pool, allocated = read_guards(tables), tables.enum("ObjectState")["allocated"]
    shown = {pool.frame(slot) for slot in pool.slots if slot.state == allocated}
    return set(range(pool.first, pool.first + pool.pages)) - shown


def read_guards(tables: Tables) -> GuardPool:
    """The pool of a machine; one without slots where there is none."""
    record = tables.read("GuardPoolRecord", tables.read("HeapRecord", tables.manager()["heap"])["guards"])
    count, kind = int(record["count"]), tables.type("GuardSlot")
    if count > MOST_SLOTS:
        raise DecodeError(f"a guard pool of {count} slots makes no sense")
    start = int(record["slots"])
    data = tables.memory.read(start, count * kind.size) if count else b""
    return GuardPool(
        int(record["first"]),
        tuple(
            GuardSlot(n, Struct(kind, data[n * kind.size : (n + 1) * kind.size], start + n * kind.size))
            for n in range(count)
        ),
    )
