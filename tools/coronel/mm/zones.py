"""The way from the record to the frame array, the zones and the magazines. Needs nothing but Python: GDB's
commands use it too.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from coronel.errors import DecodeError
from coronel.memory import PAGE_SHIFT
from coronel.mm.layout import EnumType, Struct
from coronel.mm.record import Tables


class State(enum.IntEnum):
    """What a frame is, from its Frame and its bit in the Pageblock together."""

    absent = 0  # no memory, or not ours
    reserved = 1  # never handed out
    free = 2
    inside = 3  # of a block that is out of its zone, allocated or cached: behind its first frame
    allocated = 4  # first frame of an allocated block
    cached = 5  # first frame of a free block in a CPU's magazine


ZONE_NAMES = {"dma": "DMA", "dma32": "DMA32", "normal": "Normal", "highmem": "HighMem"}  # by ZoneKind
DMA_END, DMA32_END = 16 << 20 >> PAGE_SHIFT, 4 << 30 >> PAGE_SHIFT  # frame numbers: what devices reach
ALL_FRAMES = 1 << 32  # above every frame number


@dataclass(frozen=True)
class Shape:
    """The sizes that the tables imply, in frames and orders."""

    block_frames: int  # frames of a Pageblock: a bit each
    max_order: int
    whole_order: int  # the order of one whole Pageblock
    partial_lists: int
    fullnesses: (
        int  # of each there is a list for every largest free block below a whole one, and for "uncounted"
    )

    @classmethod
    def of(cls, tables: Tables) -> Shape:
        """DecodeError when the tables make no sense together."""
        free = tables.type("Pageblock")["free"]
        heads = tables.type("BuddyLists")["heads"]
        block_frames = free.bytes * 8 * free.count
        whole_order = block_frames.bit_length() - 1
        max_order = tables.option("max_order")
        whole_lists = max_order - whole_order + 1
        if 1 << whole_order != block_frames or not whole_order <= max_order <= 24:
            raise DecodeError(
                f"max_order {max_order} with pageblocks of {block_frames} frames makes no sense"
            )
        partial_lists = heads.count - whole_lists
        if partial_lists <= 0 or partial_lists % (whole_order + 1):
            raise DecodeError(f"{heads.count} lists of pageblocks make no sense with max_order {max_order}")
        return cls(block_frames, max_order, whole_order, partial_lists, partial_lists // (whole_order + 1))

    @property
    def uncounted(self) -> int:
        """What Pageblock.runs says while single frames come and go: a whole block, of one that is none."""
        return 1 << run_fields(self.whole_order)[self.whole_order]


def run_fields(whole_order: int) -> list[int]:
    """The lowest bit of each order's field in Pageblock.runs: order n may occur 2^(whole_order - 1 - n)
    times, one order up at most half as often; the whole pageblock once. See the theory in
    mm/physical/pageblock.cpp.
    """
    edges = [0]
    for order in range(whole_order):
        edges.append(edges[-1] + whole_order - order)
    return edges


@dataclass(frozen=True)
class Zone:
    """One zone's records. Its number is its ZoneKind, which is also in its Frames."""

    number: int
    record: Struct  # ZoneRecord
    lists: Struct  # BuddyLists

    @property
    def name(self) -> str:
        """As the kernel spells it."""
        return str(self.record["name"])

    @property
    def populated(self) -> bool:
        """Whether it has memory. One that has none exists all the same, and is shown to nobody."""
        return int(self.record["present_frames"]) != 0

    @property
    def lists_name(self) -> str:
        """How problems call its BuddyLists."""
        return f"BuddyLists of zone {self.number}"

    @property
    def record_name(self) -> str:
        """How problems call its ZoneRecord."""
        return f"ZoneRecord {self.number}"


@dataclass(frozen=True)
class Physical:
    """The floor of frames: its record, its frame map, and the way to its zones."""

    record: Struct  # PhysicalRecord
    map: Struct  # FrameMap

    @classmethod
    def of(cls, tables: Tables) -> Physical:
        """DecodeError before the memory manager is initialised, or when the way there is broken."""
        record = tables.read("PhysicalRecord", tables.manager()["physical"])
        return cls(record, tables.read("FrameMap", record["frames"]))

    def nodes(self) -> tuple[int, ...]:
        """Where the NodeRecords lie; 0 for none."""
        pointers = self.record["node"]
        return pointers if isinstance(pointers, tuple) else (pointers,)

    def zones(self, tables: Tables) -> list[Zone]:
        """Every zone, those without memory too; DecodeError when a record cannot be read."""
        node = tables.read("NodeRecord", self.nodes()[0])
        return [self.zone(tables, number, pointer) for number, pointer in enumerate(node["zone"])]

    @staticmethod
    def zone(tables: Tables, number: int, address: int) -> Zone:
        """Zone `number`, whose ZoneRecord lies at `address`."""
        record = tables.read("ZoneRecord", address)
        return Zone(number, record, tables.read("BuddyLists", record["lists"]))


def zone_kinds(tables: Tables) -> EnumType:
    """ZoneKind; DecodeError when it is not the one that this reader knows."""
    kinds = tables.enum("ZoneKind")
    if list(kinds.values) != list(ZONE_NAMES) or sorted(kinds.values.values()) != list(
        range(len(ZONE_NAMES))
    ):
        raise DecodeError(f"zones {', '.join(kinds.values)}: this reader knows {', '.join(ZONE_NAMES)}")
    return kinds


def zone_edges(tables: Tables, direct_frames: int, max_order: int) -> tuple[int, ...]:
    """Zone n is the frame numbers [edges[n], edges[n + 1]): what devices reach, and what the direct map
    does, rounded down to whole blocks of the largest order.
    """
    limit = tables.option("max_memory_gib") << (30 - PAGE_SHIFT)
    high = min(max(direct_frames >> max_order << max_order, DMA_END), limit)
    return (0, DMA_END, min(DMA32_END, high), high, ALL_FRAMES)


@dataclass(frozen=True)
class OneFrame:
    """One frame by itself."""

    number: int
    frame: Struct
    state: State | None  # None: a state that no frame has
    block: Struct  # its Pageblock

    @property
    def state_name(self) -> str:
        """As the kernel's own tables say it."""
        return self.state.name if self.state is not None else str(self.frame["state"])


def frame_at(tables: Tables, physical: Physical, number: int) -> OneFrame:
    """Reads one Frame and its Pageblock; DecodeError when the frame array has no such frame."""
    shape = Shape.of(tables)
    block, position = divmod(number, shape.block_frames)
    sections = physical.map["sections"]
    if number < 0 or block >= 64 * len(sections) or not sections[block // 64] >> block % 64 & 1:
        raise DecodeError(f"frame {number} is not present: the frame array has no record of it")
    frame = tables.read("Frame", physical.map["frames"] + number * tables.type("Frame").size)
    pageblock = tables.read("Pageblock", physical.map["blocks"] + block * tables.type("Pageblock").size)
    is_free = bool(pageblock["free"][position // 64] >> position % 64 & 1)
    return OneFrame(number, frame, state_of(str(frame["state"]), is_free=is_free), pageblock)


def state_of(name: str, *, is_free: bool) -> State | None:
    """The State for a FrameState's name and the bit in the Pageblock."""
    if name == "managed":
        return State.free if is_free else State.inside
    return State[name] if name in ("absent", "reserved", "allocated", "cached") else None
