"""Printers: addresses with their kind, frame numbers with their address, results with their error, lists with
members.

$1 = phys 0x1000        $2 = frame 4711 (phys 0x1267000)      $3 = error double_free
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gdb
import gdb.printing
import gdb.types

PAGE_SHIFT = 12
LIST_LIMIT = 10_000  # members of a list that are followed, at most


def _number(value: Any) -> int:
    """The number behind an enumeration class, an atomic, or an integer."""
    kind = gdb.types.get_basic_type(value.type)
    if kind.code == gdb.TYPE_CODE_STRUCT:  # std::atomic<integer>
        return _number(value[next(field for field in kind.fields() if hasattr(field, "bitpos"))])
    return int(value.cast(gdb.lookup_type("unsigned long")))


def _enumerator(value: Any) -> str:
    """An enumerator's name without its scope, or its number."""
    return str(value).rsplit("::", 1)[-1]


class AddressPrinter:
    """PhysAddr and VirtAddr: the kind, the address and, in the kernel's image, the symbol there."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def to_string(self) -> str:
        """GDB asks."""
        tag = str(self._value.type.strip_typedefs().template_argument(0)).rsplit("::", 1)[-1]
        address = int(self._value["value"])
        if tag != "VirtTag":
            return f"phys {address:#x}"
        known = gdb.execute(f"info symbol {address:#x}", to_string=True).partition(" in section")[0]
        return f"virt {address:#x}" + ("" if known.startswith("No symbol") else f" <{known.strip()}>")


class FrameNumberPrinter:
    """FrameNumber: the number and the physical address."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def to_string(self) -> str:
        """GDB asks."""
        number = _number(self._value) & 0xFFFF_FFFF
        return "no frame" if number == 0xFFFF_FFFF else f"frame {number} (phys {number << PAGE_SHIFT:#x})"


class OrderPrinter:
    """Order: the power and the size of a block."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def to_string(self) -> str:
        """GDB asks."""
        order = _number(self._value) & 0xFF
        return f"order {order} ({4 << order} KiB)" if order < 32 else f"order {order}"


class ResultPrinter:
    """Result<T>: its error or its value."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def to_string(self) -> str:
        """GDB asks."""
        names = {field.name for field in self._value.type.strip_typedefs().fields()}
        if "error_" not in names:  # a pointer that shares its bytes with the error
            pointer = self._value["value_"]
            raw = int(pointer.cast(gdb.lookup_type("unsigned long")))
            if raw > 0xFF:
                return f"ok {pointer}"
            return f"error {_enumerator(gdb.Value(raw).cast(gdb.lookup_type('memory::Error')))}"
        error = _enumerator(self._value["error_"])
        if error != "ok":
            return f"error {error}"
        anonymous = [field for field in self._value.type.strip_typedefs().fields() if not field.name]
        return f"ok {self._value[anonymous[0]]['value_']}" if anonymous else "ok"


class ListPrinter:
    """List<T, offset>: its members, each once; a broken or endless list ends with a word about it."""

    def __init__(self, value: Any) -> None:
        self._value = value
        kind = value.type.strip_typedefs()
        self._member, self._offset = kind.template_argument(0), int(kind.template_argument(1))

    def to_string(self) -> str:
        """GDB asks."""
        return f"list of {int(self._value['head_']['size'])} {self._member}"

    def children(self) -> Iterator[tuple[str, Any]]:
        """GDB asks: (name, value) of each member."""
        head = self._value["head_"]["node"]
        end, size = int(head.address), int(self._value["head_"]["size"])
        node, before = head["next"], end
        bytes_type = gdb.lookup_type("unsigned char").pointer()
        for index in range(min(size + 1, LIST_LIMIT)):
            at = int(node)
            if at == end:
                if index != size:
                    yield "[!]", f"only {index} members of {size}"
                return
            try:
                if int(node["previous"]) != before:
                    yield "[!]", f"the node at {at:#x} does not point back to {before:#x}"
                    return
                owner = (node.cast(bytes_type) - self._offset).cast(self._member.pointer())
                yield f"[{index}]", owner.dereference()
                node, before = node["next"], at
            except gdb.MemoryError:
                yield "[!]", f"the node at {at:#x} cannot be read"
                return
        yield "[!]", f"does not end after {size} members"

    def display_hint(self) -> str:
        """GDB asks."""
        return "array"


class FramePrinter:
    """Frame: <allocated order=3 references=1>, and any field that is not zero as it should be."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def to_string(self) -> str:
        """GDB asks."""
        raw = _number(self._value["state_order"]) & 0xFF
        state = _enumerator(gdb.Value(raw & 0xF).cast(gdb.lookup_type("memory::FrameState")))
        uses = _number(self._value["uses"]) & 0xFFFF_FFFF_FFFF_FFFF
        words = [state, f"order={raw >> 4}", f"references={uses & 0xFFFF_FFFF}"]
        if uses >> 32:
            words.append(f"mappings={uses >> 32}")
        for name in ("zone_node", "flags", "tag", "index", "prev", "next", "owner"):
            number = _number(self._value[name])
            if number:
                words.append(f"{name}={number:#x}" if name == "owner" else f"{name}={number}")
        return f"<{' '.join(words)}>"


BLOCK_FRAMES, UNCOUNTED = 512, 1 << 45  # Pageblock::kFrames, kUncounted


class PageblockPrinter:
    """Pageblock: how much is free, on which list, between whom."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def to_string(self) -> str:
        """GDB asks."""
        numbers = {
            name: int(self._value[name]) for name in ("free_frames", "list", "whole_order", "prev", "next")
        }
        words = [f"{numbers['free_frames']} free"]
        if int(self._value["runs"]) == UNCOUNTED and numbers["free_frames"] != BLOCK_FRAMES:
            words.append("uncounted")
        if numbers["list"]:
            words.append(f"list {numbers['list'] - 1}")
            words += [f"{name} {numbers[name]}" for name in ("prev", "next") if numbers[name] != 0xFFFF_FFFF]
        if numbers["whole_order"]:
            words.append(f"heads a free block of order {numbers['whole_order']}")
        return f"<{', '.join(words)}>"


class ZoneRecordPrinter:
    """ZoneRecord: its name, where it lies, and its watermarks."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def to_string(self) -> str:
        """GDB asks."""
        name = self._value["name"].string("ascii", "backslashreplace").partition("\0")[0]
        present = _number(self._value["present_frames"])
        if present == 0:
            return f"<zone {name}, no memory>"
        first, end = (_number(self._value[edge]) for edge in ("first", "end"))
        marks = "/".join(str(_number(self._value[mark])) for mark in ("minimum", "low", "high"))
        return f"<zone {name}, frames {first} to {end}, {present} present, watermarks {marks}>"


def _count_of(magazine: Any) -> int:
    return _number(magazine["head"]["count"]) & 0xFFFF_FFFF_FFFF_FFFF


class MagazinePrinter:
    """SmallMagazine, LargeMagazine: the blocks that it holds, the next to be taken last."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def to_string(self) -> str:
        """GDB asks."""
        count, blocks = _count_of(self._value), _elements(self._value["blocks"])
        room = len(blocks)
        if count > room:
            return f"<{count} blocks, but there is room for {room}>"
        numbers = ", ".join(str(_number(block)) for block in blocks[:count])
        return f"<blocks {numbers}>" if count else "<empty>"


class FrameCachePrinter:
    """FrameCache: what all its magazines hold, and whether somebody works on it."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def to_string(self) -> str:
        """GDB asks."""
        sizes = (self._value["small"], self._value["large"])
        counts = [_count_of(magazine) for one in sizes for magazine in _elements(one)]
        used = sum(count != 0 for count in counts)
        taken = ", taken" if _number(self._value["taken"]["taken_"]) & 0xFFFF_FFFF else ""
        return f"<{sum(counts)} blocks in {used} magazines{taken}>"


def _elements(array: Any) -> list[Any]:
    """The elements of a std::array."""
    plain = array[array.type.fields()[0]]
    low, high = plain.type.strip_typedefs().range()
    return [plain[index] for index in range(low, high + 1)]


_PRINTERS: list[tuple[str, str, Callable[[Any], Any]]] = [
    ("Address", r"memory::Address<memory::\w+Tag>", AddressPrinter),
    ("FrameNumber", "memory::FrameNumber", FrameNumberPrinter),
    ("Order", "memory::Order", OrderPrinter),
    ("Result", r"memory::Result<.*>", ResultPrinter),
    ("List", r"memory::List<.*>", ListPrinter),
    ("Frame", "memory::Frame", FramePrinter),
    ("Pageblock", "memory::Pageblock", PageblockPrinter),
    ("ZoneRecord", "memory::ZoneRecord", ZoneRecordPrinter),
    ("Magazine", "memory::(Small|Large)Magazine", MagazinePrinter),
    ("FrameCache", "memory::FrameCache", FrameCachePrinter),
]


def register() -> None:
    """Hands the printers to GDB, for every object file."""
    collection = gdb.printing.RegexpCollectionPrettyPrinter("coronel")
    for name, pattern, printer in _PRINTERS:
        collection.add_printer(name, f"^{pattern}$", printer)
    gdb.printing.register_pretty_printer(None, collection, replace=True)
