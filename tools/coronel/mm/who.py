"""Whose an address is: frame, block, slab, object; what the console's `who` says, out of raw memory. Needs
nothing but Python: GDB's commands use it too.

who(tables, address)  # {"address": "0x...", "use": "slab", "cache": "kmalloc-64", "object": 3, ...}
"""

from __future__ import annotations

from typing import Any

from coronel.errors import DecodeError
from coronel.memory import PAGE_SHIFT, PAGE_SIZE
from coronel.mm.heap import HEADER, block_around
from coronel.mm.ranges import SHOWN, range_at
from coronel.mm.record import Tables
from coronel.mm.slabs import Slab, check_cut, read_slab
from coronel.mm.zones import ZONE_NAMES, OneFrame, Physical, Shape, State, frame_at

Answer = dict[str, Any]

USES = {State.reserved: "reserved", State.free: "free"}


def who(tables: Tables, address: int) -> Answer:
    """Everything that is known of an address, from the outside in. DecodeError where nothing is mapped. What
    a broken record would have led to is left out, and `note` says why.
    """
    return _Question(tables, address).answer()


class _Question:
    def __init__(self, tables: Tables, address: int) -> None:
        self.tables = tables
        self.physical = Physical.of(tables)
        self.address = address
        self.direct = int(self.physical.map["direct_map"])
        self.found: Answer = {"address": f"{address:#x}"}

    def answer(self) -> Answer:
        at = self._translate()
        self.found["physical"] = f"{at:#x}"
        try:
            self._frame(at)
            self._range()
        except DecodeError as error:
            self.found.setdefault("use", "unknown")
            self.found["note"] = str(error)
        return self.found

    def _translate(self) -> int:
        translate = getattr(self.tables.memory, "translate", None)
        if translate is not None:
            return int(translate(self.address))
        offset = self.address - self.direct
        if not 0 <= offset >> PAGE_SHIFT < int(self.physical.map["direct_frames"]):
            raise DecodeError(f"{self.address:#x} is not in the direct map, and nothing else is known here")
        return offset

    def _frame(self, at: int) -> None:
        number = at >> PAGE_SHIFT
        one = self._at(number)
        if one is None or one.state is State.absent:
            self.found["use"] = "no memory"
            return
        tag = int(one.frame["tag"])
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
            self.found |= {"use": "object of kmalloc", "offset": at - head.number * PAGE_SIZE}
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
        slab = read_slab(self.tables, int(one.frame["owner"]), cut["objects"], str(cache["name"]))
        if slab.record["number"] != number or slab.record["objects"] != cut["objects"]:
            raise DecodeError(f"{slab.name} says otherwise of its cache")
        self.found |= {"use": "slab", "slab": f"{slab.address:#x}"}
        self._object(at, slab, int(cut["stride"]))

    def _object(self, at: int, slab: Slab, stride: int) -> None:
        index, offset = divmod(self.direct + at - int(slab.record["first"]), stride)
        if not 0 <= index < len(slab.states):
            return
        names = {value: name for name, value in self.tables.enum("ObjectState").values.items()}
        state = names.get(slab.states[index], "broken")
        self.found |= {"object": index, "offset": offset, "object_state": state}

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
            self.found["caller"] = f"{int(one.record['caller']):#x}"

    def _head(self, number: int) -> OneFrame | None:
        """The first frame of the allocated or cached block that the frame lies in."""
        for order in range(self.tables.option("max_order") + 1):
            one = self._at(number >> order << order)
            if one is None:
                return None
            if one.state in (State.allocated, State.cached) and one.frame["order"] >= order:
                return one
        return None

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
