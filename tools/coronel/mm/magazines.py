"""The CPUs' magazines: free blocks that left their zones. Needs nothing but Python: GDB's commands use it
too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from coronel.errors import DecodeError
from coronel.mm.layout import Struct
from coronel.mm.record import Tables
from coronel.mm.zones import ZONE_NAMES, Physical


@dataclass(frozen=True)
class Places:
    """How the pairs of a FrameCache are arranged: by order, then zone. Magazines 2 * place and 2 * place + 1
    belong to the pair of a place: the first of them are in `small`, the others in `large`.
    """

    pairs: int

    @classmethod
    def of(cls, tables: Tables) -> Places:
        """DecodeError when the tables make no sense together."""
        cache = tables.type("FrameCache")
        pairs, small, large = (cache[name].count for name in ("pairs", "small", "large"))
        if small + large != 2 * pairs or pairs % len(ZONE_NAMES):
            raise DecodeError(f"{small} small and {large} large magazines for {pairs} pairs make no sense")
        return cls(pairs)

    @property
    def orders(self) -> int:
        """How many there are, from 0 on."""
        return self.pairs // len(ZONE_NAMES)

    @staticmethod
    def zone(place: int) -> int:
        """ZoneKind of a place."""
        return place % len(ZONE_NAMES)

    @staticmethod
    def order(place: int) -> int:
        """Order of the blocks of a place."""
        return place // len(ZONE_NAMES)


@dataclass(frozen=True)
class Magazine:
    """A magazine as it was read."""

    cpu: int
    index: int  # among the magazines of its cache
    zone: int  # ZoneKind
    order: int
    count: int  # as it says; it may be nonsense
    record: Struct

    @property
    def address(self) -> int:
        """Where it lies."""
        return self.record.address

    @property
    def count_address(self) -> int:
        """Where `count` lies."""
        found: int = self.record["head"].address_of("count")
        return found

    def entry_address(self, at: int) -> int:
        """Where entry `at` lies."""
        return self.record.address_of("blocks") + at * self.record.type["blocks"].bytes

    @property
    def room(self) -> int:
        """Blocks that it can hold."""
        return self.record.type["blocks"].count

    @cached_property
    def slots(self) -> tuple[int, ...]:
        """Every entry; those from `count` on mean nothing."""
        found: tuple[int, ...] = self.record["blocks"]
        return found

    @property
    def blocks(self) -> tuple[int, ...]:
        """First frames of the blocks that it holds."""
        return self.slots[: self.count] if self.count else ()

    @property
    def name(self) -> str:
        """How problems call it."""
        return f"Magazine {self.index} of FrameCache {self.cpu}"


@dataclass(frozen=True)
class Cache:
    """One CPU's FrameCache."""

    cpu: int
    record: Struct
    places: Places

    @property
    def name(self) -> str:
        """How problems call it."""
        return f"FrameCache {self.cpu}"

    @property
    def taken(self) -> int:
        """1 while somebody works on it."""
        return int(self.record["taken"])

    @cached_property
    def pairs(self) -> tuple[Struct, ...]:
        """The MagazinePair of each place."""
        found: tuple[Struct, ...] = self.record["pairs"]
        return found

    @cached_property
    def magazines(self) -> tuple[Magazine, ...]:
        """All of them, the empty ones too."""
        return tuple(
            Magazine(
                self.cpu,
                index,
                self.places.zone(index // 2),
                self.places.order(index // 2),
                int(record["head"]["count"]),
                record,
            )
            for index, record in enumerate((*self.record["small"], *self.record["large"]))
        )

    def own(self, place: int) -> tuple[int, int]:
        """Where the two magazines of a place lie."""
        return self.magazines[2 * place].address, self.magazines[2 * place + 1].address

    @property
    def frames(self) -> int:
        """How many frames its magazines hold."""
        return sum(len(magazine.blocks) << magazine.order for magazine in self.magazines)

    def at(self, place: int, address: int) -> Magazine | None:
        """The magazine of a place that lies there."""
        own = self.own(place)
        return self.magazines[2 * place + own.index(address)] if address in own else None


def read_caches(tables: Tables, physical: Physical) -> list[Cache]:
    """Every CPU's cache; DecodeError when one cannot be read. A table has one for each CPU that there may be,
    whatever the record says.
    """
    kind, places = tables.type("FrameCache"), Places.of(tables)
    start = int(physical.record["caches"])
    return [
        Cache(cpu, tables.read(kind, start + cpu * kind.size), places)
        for cpu in range(tables.option("max_cpus"))
    ]
