"""The object caches: their slabs, and where every object is. Needs nothing but Python: GDB's commands use it
too.

for cache in read_heap(tables).caches:
    cache.name, cache.slabs, cache.magazines
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from coronel.errors import DecodeError
from coronel.memory import PAGE_SIZE
from coronel.mm.guards import GuardPool, GuardSlot, read_guards
from coronel.mm.layout import Struct
from coronel.mm.record import Tables

EMPTY_SLOT, TAKEN_SLOT = 0, 1
LIST_LIMIT = 1 << 20  # members of a list that are followed
MOST_OBJECTS = 4096  # of a slab: more is nonsense
LISTS = ("partial", "full", "empty")


@dataclass(frozen=True)
class Slab:
    """One slab's record as it was read."""

    record: Struct
    states: bytes  # each object's ObjectState
    free_words: tuple[int, ...]  # a bit for each object
    cache_name: str

    @property
    def address(self) -> int:
        """Where its record lies."""
        return self.record.address

    @property
    def name(self) -> str:
        """How problems call it."""
        return f"Slab {self.address:#x} of cache {self.cache_name}"

    @cached_property
    def free(self) -> tuple[bool, ...]:
        """Of each object: whether its bit says that it is free."""
        return tuple(bool(self.free_words[n // 64] >> n % 64 & 1) for n in range(len(self.states)))


@dataclass(frozen=True)
class ObjectMagazine:
    """A magazine as it was read."""

    record: Struct
    holder: str  # "CPU 0", "depot"
    cache_name: str

    @property
    def name(self) -> str:
        """How problems call it."""
        return f"ObjectMagazine {self.record.address:#x} of cache {self.cache_name}"

    @cached_property
    def objects(self) -> tuple[int, ...]:
        """Addresses of what it holds, as it says."""
        found: tuple[int, ...] = self.record["objects"]
        return found[: self.record["count"]]


@dataclass
class List:
    """What following a list found."""

    head: Struct  # ListHead
    members: list[int] = field(
        default_factory=list
    )  # addresses of their nodes, in order as far as it is whole
    broken: str = ""  # the first link that is wrong, or ""
    broken_at: int = 0


@dataclass
class Cache:
    """One object cache."""

    number: int
    record: Struct  # CacheRecord
    lists: Struct  # SlabLists
    depot: Struct  # Depot
    slabs: dict[int, Slab] = field(default_factory=dict)  # by address
    followed: dict[str, List] = field(default_factory=dict)  # of LISTS, and "depot_full", "depot_empty"
    loaded: list[ObjectMagazine] = field(default_factory=list)  # CPUs'
    in_depot: list[ObjectMagazine] = field(default_factory=list)
    taken_slots: int = 0  # CPUs that were stopped while they worked with it
    guarded: list[GuardSlot] = field(default_factory=list)  # of the guard pool, with its objects, live or not

    @property
    def name(self) -> str:
        """As it was made."""
        return str(self.record["name"])

    @property
    def cut(self) -> Struct:
        """SlabCut."""
        found: Struct = self.record["cut"]
        return found

    @property
    def frames(self) -> int:
        """Of a slab."""
        return 1 << int(self.cut["order"])

    @property
    def bytes(self) -> int:
        """Of the frames of all slabs."""
        return len(self.slabs) * self.frames * PAGE_SIZE

    @property
    def magazines(self) -> list[ObjectMagazine]:
        """All of them."""
        return self.loaded + self.in_depot

    def slab_list(self, name: str) -> Struct:
        """One of LISTS."""
        found: Struct = self.lists[name]
        return found


@dataclass
class SlabClaims:
    """What slabs say about Frames: by place in the frame array, fields that are not as in other blocks."""

    of: dict[int, dict[str, int]] = field(default_factory=dict)
    heads: set[int] = field(default_factory=set)
    reserved: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Levels:
    """Objects of a cache."""

    allocated: int  # in slabs
    guarded: int  # allocated, in the guard pool
    cached: int  # released, and not home in their slabs: in magazines, in quarantine
    objects: int  # in slabs
    slabs: int

    @property
    def active(self) -> int:
        """The callers' objects."""
        return self.allocated + self.guarded


def levels(tables: Tables, cache: Cache) -> Levels:
    """What the states of its objects say."""
    kinds = tables.enum("ObjectState")
    every = b"".join(slab.states for slab in cache.slabs.values())
    cached = every.count(kinds["cached"]) + every.count(kinds["quarantined"])
    allocated = kinds["allocated"]
    guarded = sum(slot.state == allocated for slot in cache.guarded)
    return Levels(every.count(allocated), guarded, cached, len(every), len(cache.slabs))


def held_free(cache: Cache, now: Levels) -> int:
    """Bytes of its frames that hold no caller's object."""
    return cache.bytes - now.allocated * int(cache.cut["stride"])


def record_size(tables: Tables, objects: int) -> int:
    """Bytes of the record of a slab of so many objects, less their tracks, which follow."""
    return tables.type("Slab").size + -(-objects // 8) * 8 + 8 * -(-objects // 64)


def read_slab(tables: Tables, address: int, objects: int, cache_name: str) -> Slab:
    """The slab whose record lies at `address`, of a cache that cuts slabs into `objects`; DecodeError where
    there is nothing to read.
    """
    kind = tables.type("Slab")
    record = tables.read(kind, address)
    padded = -(-objects // 8) * 8
    behind = tables.memory.read(address + kind.size, record_size(tables, objects) - kind.size)
    bits = tuple(int.from_bytes(behind[at : at + 8], "little") for at in range(padded, len(behind), 8))
    return Slab(record, behind[:objects], bits, cache_name)


def follow(tables: Tables, head: Struct) -> List:
    """The members of a list, forwards as far as every link agrees with its opposite, then from the back."""
    kind = tables.type("ListNode")
    start = head["node"].address
    found = List(head)
    seen = {start}

    def walk(forward: str, back: str) -> list[int]:
        members: list[int] = []
        at, node = start, head["node"]
        while len(members) < LIST_LIMIT:
            following = int(node[forward])
            if following == start:
                return members
            try:
                if following in seen:
                    raise DecodeError("runs in a circle")
                node_there = tables.read(kind, following)
                if node_there[back] != at:
                    raise DecodeError("its opposite says otherwise")
            except DecodeError as error:
                if not found.broken:
                    found.broken, found.broken_at = f"{forward} of {at:#x}: {error}", at
                return members
            seen.add(following)
            members.append(following)
            at, node = following, node_there
        found.broken, found.broken_at = "longer than any list", at
        return members

    found.members = walk("next", "previous")
    if found.broken:
        found.members += reversed(walk("previous", "next"))
    return found


@dataclass(frozen=True)
class Heap:
    """The floor of objects."""

    record: Struct
    caches: list[Cache]
    unreadable: dict[int, str]  # numbers of caches that could not be read, and why
    guards: GuardPool


def read_heap(tables: Tables) -> Heap:
    """Every cache with its slabs and magazines. DecodeError when there is no way to the caches."""
    record = tables.read("HeapRecord", tables.manager()["heap"])
    caches, unreadable, guards = [], {}, read_guards(tables)
    for number, address in enumerate(record["caches"]):
        if address == 0:
            continue
        try:
            caches.append(_read_cache(tables, number, address))
        except DecodeError as error:
            unreadable[number] = str(error)
    for cache in caches:
        cache.guarded = [slot for slot in guards.slots if slot.cache_number == cache.number]
    return Heap(record, caches, unreadable, guards)


def check_cut(cut: Struct) -> None:
    """DecodeError when no cache cuts its slabs so."""
    if not 0 < cut["objects"] <= MOST_OBJECTS or cut["order"] > 10:
        raise DecodeError(f"{cut['objects']} objects in slabs of order {cut['order']} make no sense")


def _read_cache(tables: Tables, number: int, address: int) -> Cache:
    record = tables.read("CacheRecord", address)
    cache = Cache(
        number, record, tables.read("SlabLists", record["lists"]), tables.read("Depot", record["depot"])
    )
    cut = cache.cut
    check_cut(cut)
    for name in LISTS:
        followed = cache.followed[name] = follow(tables, cache.slab_list(name))
        for member in followed.members:
            cache.slabs[member] = read_slab(tables, member, cut["objects"], cache.name)
    for name in ("full", "empty"):
        followed = cache.followed[f"depot_{name}"] = follow(tables, cache.depot[name])
        for member in followed.members:
            cache.in_depot.append(ObjectMagazine(tables.read("ObjectMagazine", member), "depot", cache.name))
    for holder, slot in _slots(tables, number):
        if slot == TAKEN_SLOT:
            cache.taken_slots += 1
        elif slot != EMPTY_SLOT:
            loaded = tables.read("ObjectMagazine", slot)
            mate = tables.read("ObjectMagazine", loaded["mate"])
            cache.loaded += [ObjectMagazine(one, holder, cache.name) for one in (loaded, mate)]
    return cache


def _slots(tables: Tables, number: int) -> Iterator[tuple[str, int]]:
    field_of = tables.type("PerCpu")["magazines"]
    for cpu, address in enumerate(tables.cpus):
        place = address + field_of.offset + number * field_of.bytes
        yield f"CPU {cpu}", int.from_bytes(tables.memory.read(place, 8), "little")


def frame_of(physical_map: Struct, address: int) -> int:
    """The number of the frame that a direct-mapped address lies in."""
    return (address - int(physical_map["direct_map"])) // PAGE_SIZE
