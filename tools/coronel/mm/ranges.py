"""Kernel address ranges: who has which addresses of the window that vmalloc, devices, stacks and per-CPU
areas share.

    found = read_ranges(tables)
    for one in found.taken:
        print(one)

The tree is read once, every record at most once, whatever its links say; what is wrong becomes a problem, and
the rest is read. The kernel says everything about its addresses twice or more: a range begins where the one
before it ends, its links, balance and largest free range follow from its neighbours, the counts from all of
them. What stands in one place only, nobody can check: owner, number, caller, physical address, and how many
pages of a range are guards, unless the page tables are asked (`check_mapped`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from coronel.errors import DecodeError
from coronel.memory import PAGE_SIZE
from coronel.mm.check_totals import Counters
from coronel.mm.layout import Struct
from coronel.mm.problem import Findings
from coronel.mm.record import Tables

RANGES_LIMIT = 1 << 20  # records read: far more than a kernel of this size can have
SHOWN = {
    "none": "free",
    "vmalloc": "vmalloc",
    "device": "ioremap",
    "stack": "stack",
    "per_cpu": "percpu",
}  # by kind
CPUS_LIMIT = 4096  # areas of one range: more CPUs than a kernel of this size can have


@dataclass(frozen=True)
class KernelRange:
    """One piece of the window, taken or free."""

    record: Struct

    @property
    def name(self) -> str:
        """How problems call it."""
        return f"KernelRange {self.record.address:#x}"

    @property
    def first(self) -> int:
        """Its first address, guards included."""
        return int(self.record["first"])

    @property
    def end(self) -> int:
        """One past its last address, guards included."""
        return self.first + int(self.record["bytes"])

    @property
    def free(self) -> bool:
        """Whether nobody has it."""
        return str(self.record["state"]) == "free"

    @property
    def kind(self) -> str:
        """What it is for; `none` when it is free."""
        return str(self.record["kind"])

    @property
    def owner(self) -> str:
        """Who asked for it, in a word."""
        return str(self.record["owner"]["text"])

    @property
    def body(self) -> tuple[int, int]:
        """What of it may be mapped, as [first, end); the areas of CPUs have guards in it, too."""
        below, above = int(self.record["guard_below"]), int(self.record["guard_above"])
        return self.first + below * PAGE_SIZE, self.end - above * PAGE_SIZE

    @property
    def parts(self) -> list[tuple[int, int]]:
        """What of it is mapped, as [first, end): all of the body, or each CPU's area."""
        first, end = self.body
        count = int(self.record["number"]) if self.kind == "per_cpu" else 1
        if not 0 < count <= min((end - first) // PAGE_SIZE, CPUS_LIMIT):
            return [(first, end)]
        stride = (end - first + PAGE_SIZE) // count
        if count == 1:
            return [(first, end)]
        return [(first + n * stride, first + (n + 1) * stride - PAGE_SIZE) for n in range(count)]

    @property
    def guards(self) -> list[tuple[int, int]]:
        """What of it is never mapped, as [first, end), ascending."""
        edges = [self.first, *(edge for part in self.parts for edge in part), self.end]
        return [(low, high) for low, high in zip(edges[::2], edges[1::2], strict=True) if low < high]

    @property
    def pages(self) -> int:
        """Pages that are mapped."""
        return sum(end - first for first, end in self.parts) // PAGE_SIZE

    def __str__(self) -> str:
        who = f"{self.owner} {self.record['number']}" if self.record["number"] else self.owner
        return f"{self.first:#x}-{self.end:#x} {self.kind} {who}"


@dataclass
class AddressRanges:
    """The window and its ranges, ascending."""

    record: Struct
    ranges: list[KernelRange] = field(default_factory=list)
    complete: bool = True  # whether every link could be followed

    @property
    def window(self) -> tuple[int, int]:
        """Its addresses [first, end)."""
        return int(self.record["first"]), int(self.record["end"])

    @property
    def taken(self) -> list[KernelRange]:
        """Those that somebody has, or that are about to be free."""
        return [one for one in self.ranges if not one.free]

    def at(self, address: int) -> KernelRange | None:
        """The range that holds an address, guards included."""
        return next((one for one in self.taken if one.first <= address < one.end), None)


def read_ranges(tables: Tables, findings: Findings | None = None) -> AddressRanges | None:
    """The ranges, and what is wrong with them in `findings`. None when this machine has no window.
    DecodeError when the way to it is broken.
    """
    pointer = tables.manager()["ranges"]
    if not pointer:
        return None
    record = tables.read("RangesRecord", pointer)
    walk = _Walk(tables, findings if findings is not None else Findings())
    found = AddressRanges(record)
    core = tables.read("TreeCore", record["tree"])
    walk.down(int(core["root"]), core.address_of("root"))
    found.ranges = [KernelRange(one) for one in walk.found]
    found.complete = walk.complete
    if findings is not None:
        _check(found, walk, core, findings)
    return found


def range_at(tables: Tables, address: int) -> KernelRange | None:
    """The range that holds an address; None outside the window. DecodeError when the way to it is broken."""
    pointer = tables.manager()["ranges"]
    if not pointer:
        return None
    record = tables.read("RangesRecord", pointer)
    if not int(record["first"]) <= address < int(record["end"]):
        return None
    ranges = read_ranges(tables)
    return ranges.at(address) if ranges is not None else None


class _Walk:
    """In order, without recursion, every record once."""

    def __init__(self, tables: Tables, findings: Findings) -> None:
        self.tables = tables
        self.findings = findings
        self.found: list[Struct] = []
        self.heights: dict[int, int] = {0: 0}
        self.largest: dict[int, int] = {0: 0}
        self.complete = True
        self._seen: set[int] = set()

    def down(self, root: int, address: int) -> None:
        stack: list[tuple[Struct, int]] = []  # a record, and how many of its children are done
        self._enter(stack, root, 0, "TreeCore", "root", address)
        while stack:
            record, done = stack.pop()
            node = record["node"]
            if done == 1:
                self.found.append(record)
            if done < 2:
                stack.append((record, done + 1))
                name, at = f"KernelRange {record.address:#x}", node.address_of("child", done)
                self._enter(stack, int(node["child"][done]), record.address, name, f"child[{done}]", at)
            else:
                self._leave(record)

    def _enter(
        self,
        stack: list[tuple[Struct, int]],
        link: int,
        parent: int,
        name: str,
        field_name: str,
        address: int,
    ) -> None:
        if link == 0:
            return
        if link in self._seen or len(self._seen) >= RANGES_LIMIT:
            self.complete = False
            self.findings.add(
                name, field_name, "a record of its own", link, "leads to one that was met", address
            )
            return
        self._seen.add(link)
        try:
            record = self.tables.read("KernelRange", link)
        except DecodeError as error:
            self.complete = False
            self.findings.add(name, field_name, "a record", link, str(error), address)
            return
        said = int(record["node"]["parent"])
        if said != parent:
            at = record["node"].address_of("parent")
            self.findings.add(
                (f"KernelRange {link:#x}", name),
                "parent",
                parent,
                said,
                "not the record that leads to it",
                at,
            )
        stack.append((record, 0))

    def _leave(self, record: Struct) -> None:
        node, name = record["node"], f"KernelRange {record.address:#x}"
        left, right = (self.heights.get(int(link), 0) for link in node["child"])
        self.heights[record.address] = 1 + max(left, right)
        balance = int(node["balance"])
        if balance != (right - left) & 0xFF:
            at = node.address_of("balance")
            self.findings.add(name, "balance", right - left, balance, "not the difference of its heights", at)
        elif abs(right - left) > 1:
            self.findings.add(
                name, "child", "heights at most 1 apart", right - left, "the tree leans", record.address
            )
        own = int(record["bytes"]) if str(record["state"]) == "free" else 0
        largest = max(own, *(self.largest.get(int(link), 0) for link in node["child"]))
        self.largest[record.address] = largest
        if int(record["largest_free"]) != largest:
            at = record.address_of("largest_free")
            why = "not the largest free range below it"
            self.findings.add(name, "largest_free", largest, int(record["largest_free"]), why, at)


def _check(found: AddressRanges, walk: _Walk, core: Struct, findings: Findings) -> None:
    record, name = found.record, "RangesRecord"
    if int(core["size"]) != len(found.ranges):
        findings.add(
            "TreeCore",
            "size",
            len(found.ranges),
            int(core["size"]),
            "not its records",
            core.address_of("size"),
        )
    taken = found.taken
    for field_name, value in (
        ("allocated", len(taken)),
        ("free_bytes", sum(one.end - one.first for one in found.ranges if one.free)),
    ):
        if int(record[field_name]) != value:
            why = "not what its ranges add up to"
            findings.add(name, field_name, value, int(record[field_name]), why, record.address_of(field_name))
    low, high = found.window
    expected, before = low, None
    for one in found.ranges:
        names = (one.name,) if before is None else (one.name, before.name)
        if one.first != expected:
            why = "does not begin where the one before it ends"
            findings.add(names, "first", expected, one.first, why, one.record.address_of("first"))
        if before is not None and before.free and one.free:
            findings.add(
                names, "state", "joined", "free beside free", "two free ranges touch", one.record.address
            )
        _check_one(one, findings)
        expected, before = one.end, one
    if found.ranges and expected != high:
        last = found.ranges[-1]
        findings.add((last.name, name), "bytes", high - last.first, last.end - last.first,
                     "does not end the window", last.record.address_of("bytes"))  # fmt: skip


def check_counted(taken: list[KernelRange], counters: Counters, findings: Findings) -> None:
    """What the counters say of the ranges that somebody has: how many there are, and how many frames lie
    behind them.
    """
    excess = counters["range_allocations"] - counters["range_releases"] - len(taken)
    if excess:
        claims = [counters.claim(name) for name in ("range_allocations", "range_releases")]
        why = "the difference is not the ranges that somebody has"
        findings.add([claim.object for claim in claims], claims[0].field, claims[0].value - excess,
                     claims[0].value, why, claims[0].address)  # fmt: skip
    frames = sum(one.pages for one in taken if one.kind != "device")
    claim = counters.claim("vmalloc_frames")
    if claim.value != frames:
        why = "the ranges have other frames"
        findings.add(claim.object, claim.field, frames, claim.value, why, claim.address)


def _check_one(one: KernelRange, findings: Findings) -> None:
    record = one.record
    for field_name in ("state", "kind"):
        if not record[field_name].known:
            findings.add(one.name, field_name, "an enumerator", record[field_name], "no such one",
                         record.address_of(field_name))  # fmt: skip
    if one.first % PAGE_SIZE or int(record["bytes"]) % PAGE_SIZE or int(record["bytes"]) == 0:
        findings.add(
            one.name, "bytes", "whole pages", int(record["bytes"]), "not whole pages", record.address
        )
    first, end = one.body
    if first >= end:
        findings.add(
            one.name, "guard_above", "a body", "guards only", "no room between its guards", record.address
        )
    if one.free != (one.kind == "none"):
        findings.add(one.name, "kind", "none, when it is free", one.kind, f"its state is {record['state']}",
                     record.address_of("kind"))  # fmt: skip
    if not one.free and (one.kind == "stack") != (int(record["guard_below"]) != 0):
        why = f"it has {record['guard_below']} pages of guards below"
        findings.add(one.name, "kind", "stack, with a guard below", one.kind, why, record.address_of("kind"))
    if not one.free and (one.kind == "device") != (int(record["physical"]) != 0):
        why = f"it shows {int(record['physical']):#x}"
        findings.add(one.name, "kind", "device, with what it shows", one.kind, why, record.address_of("kind"))
    if one.free and (record["guard_below"] or record["guard_above"] or record["caller"] or record["number"]):
        findings.add(
            one.name, "caller", "0", "not 0", "a free range is nobody's", record.address_of("caller")
        )


def check_mapped(found: AddressRanges, translate: Callable[[int], int], findings: Findings) -> None:
    """Every page of a body is mapped and no guard is; of each part the first page that is wrong is told, so
    that a range whose size is wrong costs no more than what is mapped. `translate` raises DecodeError where
    nothing is.
    """
    for one in found.taken:
        if str(one.record["state"]) != "allocated":
            continue
        for what, spans, wanted in (("body", one.parts, True), ("guard", one.guards, False)):
            for first, end in spans:
                wrong = (
                    page for page in range(first, end, PAGE_SIZE) if _is_mapped(translate, page) != wanted
                )
                page = next(wrong, None)
                if page is not None:
                    state = ("mapped", "absent") if wanted else ("absent", "mapped")
                    findings.add(one.name, what, state[0], state[1], f"the page at {page:#x}", page)


def _is_mapped(translate: Callable[[int], int], page: int) -> bool:
    try:
        translate(page)
    except DecodeError:
        return False
    return True
