"""Whose an address is: frame, block, slab, object, the calls that allocated and freed it; what the console's
`who` says, out of raw memory. Needs nothing but Python: GDB's commands use it too.

who(tables, address)  # {"address": "0x...", "use": "slab", "cache": "kmalloc-64", "object": 3, ...}
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from coronel.errors import DecodeError
from coronel.memory import PAGE_SHIFT, PAGE_SIZE
from coronel.mm.guards import read_guards
from coronel.mm.heap import HEADER, block_around
from coronel.mm.layout import Struct
from coronel.mm.page_tables import kernel_tree
from coronel.mm.ranges import SHOWN, range_at
from coronel.mm.record import Tables
from coronel.mm.slabs import Slab, check_cut, read_slab, record_size
from coronel.mm.tracks import (
    OPTION,
    NameCaller,
    in_words,
    is_whole,
    large_track_at,
    makes_sense,
    slab_track_at,
)
from coronel.mm.zones import ZONE_NAMES, OneFrame, Physical, Shape, State, frame_at

Answer = dict[str, Any]

USES = {State.reserved: "reserved", State.free: "free"}


def nameless(call: int) -> str:
    """The NameCaller for who knows no program."""
    return ""


def who(tables: Tables, address: int, name: NameCaller = nameless) -> Answer:
    """Everything that is known of an address, from the outside in. DecodeError where nothing is mapped. What
    a broken record would have led to is left out, and `note` says why. `name` says in words where a call
    returns to.
    """
    return _Question(tables, address, name).answer()


class _Question:
    def __init__(self, tables: Tables, address: int, name: NameCaller) -> None:
        self.tables = tables
        self.name = name
        self.physical = Physical.of(tables)
        self.address = address
        self.hidden = False  # the direct map does not show it
        self.direct = int(self.physical.map["direct_map"])
        self.found: Answer = {"address": f"{address:#x}"}

    def answer(self) -> Answer:
        at = self._translate()
        self.found["physical"] = f"{at:#x}"
        if self.hidden:
            self.found["mapped"] = "no"
        try:
            self._frame(at)
            self._range()
        except DecodeError as error:
            self.found.setdefault("use", "unknown")
            self.found["note"] = str(error)
        return self.found

    def _translate(self) -> int:
        offset = self.address - self.direct
        is_direct = 0 <= offset >> PAGE_SHIFT < int(self.physical.map["direct_frames"])
        physical = self._physical()
        if physical is not None:
            return physical
        one = self._at(offset >> PAGE_SHIFT) if is_direct else None
        if one is None:
            raise DecodeError(f"virtual address {self.address:#x} is not mapped, nor in the direct map")
        self.hidden = self.tables.record.root != 0  # the host library maps nothing
        if self.hidden and one.state is State.absent:
            raise DecodeError(f"virtual address {self.address:#x} is not mapped, and there is no memory")
        return offset

    def _physical(self) -> int | None:
        """Where the kernel's page tables lead; None where to nothing, or there are none."""
        translate = getattr(self.tables.memory, "translate", None)
        if translate is None:  # GDB, or the host library
            return kernel_tree(self.tables).path(self.address).physical if self.tables.record.root else None
        with suppress(DecodeError):
            return int(translate(self.address))
        return None

    def _frame(self, at: int) -> None:
        number = at >> PAGE_SHIFT
        one = self._at(number)
        if one is None or one.state is State.absent:
            self.found["use"] = "no memory"
            return
        tag = int(one.frame["tag"])
        if one.state is State.reserved and tag == self._tag("guard_pool"):
            self.found |= {"use": "guard pool", "frame": number, "zone": self._zone(number)}
            self._guards(at, number)
            return
        if one.state is State.reserved and tag == self._tag("page_table"):
            use = "page table"
        else:
            use = "unknown" if one.state is None else USES.get(one.state, "")
        self.found |= {"use": use, "frame": number, "zone": self._zone(number)}
        if not use:
            self._block(at, one)

    def _block(self, at: int, one: OneFrame) -> None:
        self.found["use"] = "unknown"
        head = self._head(one.number)
        if head is None:
            return
        self.found |= {
            "block": head.number,
            "order": int(head.frame["order"]),
            "references": int(head.frame["references"]),
        }
        tag = int(head.frame["tag"])
        if head.state is State.cached:
            self.found["use"] = "free, in a magazine"
        elif tag == self._tag("none"):
            self.found["use"] = "allocated frames"
        elif tag == self._tag("page_table"):
            self.found["use"] = "page table"
        elif tag == self._tag("large_object"):
            self._large(at, head)
        elif tag == self._tag("heap_range"):
            self._heap(self.direct + at)
        elif tag < self._tag("large_object") and tag == int(one.frame["tag"]):
            self._slab(at, one, tag)

    def _slab(self, at: int, one: OneFrame, number: int) -> None:
        heap = self.tables.read("HeapRecord", self.tables.manager()["heap"])
        pointer = heap["caches"][number]
        if pointer == 0:
            return
        cache = self.tables.read("CacheRecord", pointer)
        cut = cache["cut"]
        self.found["cache"] = str(cache["name"])
        check_cut(cut)
        if cut["stride"] == 0:
            raise DecodeError(f"cache {number} has objects of no size")
        record = int(one.frame["owner"])
        self._check_place(record, record_size(self.tables, cut["objects"]))
        slab = read_slab(self.tables, record, cut["objects"], str(cache["name"]))
        if slab.record["number"] != number or slab.record["objects"] != cut["objects"]:
            raise DecodeError(f"{slab.name} says otherwise of its cache")
        self.found |= {"use": "slab", "slab": f"{slab.address:#x}"}
        self._object(at, slab, cache)

    def _object(self, at: int, slab: Slab, cache: Struct) -> None:
        index, offset = divmod(self.direct + at - int(slab.record["first"]), int(cache["cut"]["stride"]))
        if not 0 <= index < len(slab.states):
            return
        state = self._state_name(slab.states[index])
        self.found |= {"object": index, "offset": offset, "object_state": state}
        has_track = slab.address != self.direct + self.found["block"] * PAGE_SIZE  # its record lies outside
        if has_track and self.tables.option(OPTION):
            self._track(self._read_track(slab_track_at(self.tables, slab, index)), int(cache["object_bytes"]))

    def _large(self, at: int, head: OneFrame) -> None:
        """An object of kmalloc that is a block of frames."""
        first, size = head.number * PAGE_SIZE, PAGE_SIZE << int(head.frame["order"])
        self.found |= {"use": "object of kmalloc", "offset": at - first}
        if not self.tables.option(OPTION):
            return
        track = self._read_track(large_track_at(self.tables, self.direct + first, size))
        if not is_whole(self.tables, track, self.direct + first):
            raise DecodeError("the track at the end of its block was written over, or there never was one")
        self._track(track, size)

    def _read_track(self, address: int) -> Struct:
        kind = self.tables.type("ObjectTrack")
        self._check_place(address, kind.size)
        return self.tables.read(kind, address)

    def _track(self, track: Struct, most: int) -> None:
        """What is written down of an object of up to `most` bytes: nothing, of one that nobody ever had."""
        if track.data.count(0) == len(track.data):
            return
        if not makes_sense(self.tables, track, most):
            raise DecodeError(f"the ObjectTrack at {track.address:#x} makes no sense")
        self.found["requested"] = int(track["requested"])
        for key in ("allocated", "freed"):
            call = track[key]
            if call["site"]:
                site = in_words(int(call["site"]), self.name)
                self.found[key] = {"site": site, "cpu": int(call["cpu"]), "ns": int(call["ns"])}

    def _state_name(self, state: int) -> str:
        names = {value: name for name, value in self.tables.enum("ObjectState").values.items()}
        return names.get(state, "broken")

    def _guards(self, at: int, frame: int) -> None:
        """The object whose page of the guard pool that is, and where in it the address lies."""
        pool = read_guards(self.tables)
        slot = next((slot for slot in pool.slots if pool.frame(slot) == frame and slot.cache_number), None)
        if slot is None:
            return
        pointer = self.tables.read("HeapRecord", self.tables.manager()["heap"])["caches"][slot.cache_number]
        if pointer == 0:
            return
        self.found["cache"] = str(self.tables.read("CacheRecord", pointer)["name"])
        self.found["slab"] = f"{slot.slab.address:#x}"
        offset = self.direct + at - int(slot.slab["first"])
        if 0 <= offset < slot.requested:
            self.found |= {"object": 0, "offset": offset, "object_state": self._state_name(slot.state)}
            self._track(slot.track, PAGE_SIZE)

    def _heap(self, address: int) -> None:
        """The block of the kernel heap, where the headers in front of it lead there."""
        self.found["use"] = "kernel heap"
        block = block_around(self.tables, address)
        self.found |= {"heap_block": f"{block.payload:#x}", "bytes": block.size - HEADER}
        if address >= block.payload:
            self.found["offset"] = address - block.payload
        self.found["object_state"] = "allocated" if block.used else "free"

    def _range(self) -> None:
        """Whose range of kernel addresses it is, where it is not the direct map's or the image's."""
        one = range_at(self.tables, self.address)
        if one is None or one.free:
            return
        self.found |= {"range": f"{one.body[0]:#x}", "kind": SHOWN[one.kind], "owner": one.owner}
        if one.record["number"]:
            self.found["number"] = int(one.record["number"])
        if one.record["caller"]:
            self.found["caller"] = in_words(int(one.record["caller"]), self.name)

    def _head(self, number: int) -> OneFrame | None:
        """The first frame of the allocated or cached block that the frame lies in."""
        for order in range(self.tables.option("max_order") + 1):
            one = self._at(number >> order << order)
            if one is None:
                return None
            if one.state in (State.allocated, State.cached) and one.frame["order"] >= order:
                return one
        return None

    def _check_place(self, address: int, size: int) -> None:
        """DecodeError where no record of that size can lie: free frames and the guard pool hold none."""
        for at in (address, address + size - 1):
            number = (at - self.direct) >> PAGE_SHIFT
            one, head = self._at(number), self._head(number)
            is_nobodys = one is None or one.state in (State.absent, State.free)
            is_nobodys |= head is not None and head.state is State.cached
            is_nobodys |= one is not None and int(one.frame["tag"]) == self._tag("guard_pool")
            if address % 8 or number >= self.physical.map["direct_frames"] or is_nobodys:
                raise DecodeError(f"no record can lie at {address:#x}")

    def _at(self, number: int) -> OneFrame | None:
        try:
            return frame_at(self.tables, self.physical, number)
        except DecodeError:
            return None

    def _zone(self, number: int) -> str:
        kinds = {value: name for name, value in self.tables.enum("ZoneKind").values.items()}
        block = number // Shape.of(self.tables).block_frames
        return ZONE_NAMES[kinds[int(self.physical.map["block_zone"][block]) - 1]]

    def _tag(self, name: str) -> int:
        return int(self.tables.enum("FrameTag").values[name])
