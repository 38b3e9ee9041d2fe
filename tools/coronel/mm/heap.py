"""`walk_heap`: every block of the kernel heap, decoded from raw memory, and what is wrong with it.

    found = walk_heap(tables)
    found.blocks                     # in order of address, used and free
    found.problems                   # each names object, address, field, expected and found

heap_view.py puts it into the numbers that the kernel tells.
Shares no code with the kernel. A header holds its size twice over, its address and a secret, so a wrong bit
never looks like another header; the walk then goes on at the next word that is one, and what the broken block
was follows from its neighbours. Links are said twice, sums too. In one place only stand the secret, the
ranges, the last fault and the totals of failures, misuses, expansions and contractions: nothing is promised
about these.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from coronel.errors import DecodeError
from coronel.memory import PAGE_SIZE
from coronel.mm.layout import Struct
from coronel.mm.problem import Findings, Problem
from coronel.mm.record import Tables

FREE_MAGIC, USED_MAGIC = 0xDEADBEEFCAFEBABE, 0xFEEDFACEDEADC0DE
SPREAD = 0x9E3779B100000001  # an info is said in the lower half of a header, and this multiple in the upper
GRANULE, SMALLEST, HEADER = 16, 32, 8
PREVIOUS_FREE = 1  # of an info, below the size
SPLIT_BITS = 6  # each power of two of sizes has 64 lists
MASK = (1 << 64) - 1
RANGE_LIMIT = 1 << 32  # no range of a heap is so long


def spread(info: int) -> int:
    """What of a header depends on its info."""
    return info * SPREAD & MASK


def list_of(size: int) -> int:
    """The number of the list for free blocks of `size` bytes."""
    granules = size // GRANULE
    shift = max(granules.bit_length() - 1 - SPLIT_BITS, 0)
    return (shift << SPLIT_BITS) + (granules >> shift)


@dataclass(frozen=True)
class Block:
    """One block: its header lies at `place`, what its owner uses 8 bytes on."""

    place: int
    size: int  # all of it, in bytes
    used: bool
    whole: bool = True  # its header decodes

    @property
    def payload(self) -> int:
        """The address that malloc() returned."""
        return self.place + HEADER

    @property
    def name(self) -> str:
        """How problems call it."""
        return block_name(self.place)


def block_name(place: int) -> str:
    """How problems call the block whose header lies there."""
    return f"HeapBlock {place:#x}"


@dataclass
class HeapWalk:
    """What was found."""

    state: Struct  # HeapState
    ranges: list[tuple[int, int]]
    blocks: list[Block] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    left_out: int = 0

    @property
    def used(self) -> list[Block]:
        """Allocated blocks."""
        return [block for block in self.blocks if block.used]

    @property
    def free(self) -> list[Block]:
        """Free blocks."""
        return [block for block in self.blocks if not block.used]

    def block_at(self, address: int) -> Block | None:
        """The block that an address lies in."""
        return next((one for one in self.blocks if one.place <= address < one.place + one.size), None)


def walk_heap(tables: Tables) -> HeapWalk:
    """Walks the kernel heap. DecodeError only where there is no way to it."""
    return _Walker(tables, tables.read("HeapState", tables.manager()["kernel_heap"])).walk()


def heap_ranges(tables: Tables) -> list[tuple[int, int]]:
    """Addresses [first, end) of the heap's ranges that can be some; none where no way leads to it."""
    try:
        state = tables.read("HeapState", tables.manager()["kernel_heap"])
    except DecodeError:
        return []
    rows = [(int(row["first"]), int(row["end"])) for row in state["ranges"][: int(state["range_count"])]]
    return [
        (first, end)
        for first, end in rows
        if first % PAGE_SIZE == 0 and end % PAGE_SIZE == 0 and first < end < first + RANGE_LIMIT
    ]


def block_around(tables: Tables, address: int) -> Block:
    """The block that an address lies in, its own header included. DecodeError where none is, or where a
    header in front of it does not decode.
    """
    for first, end in heap_ranges(tables):
        if not first <= address < end:
            continue
        secret = int(tables.read("HeapState", tables.manager()["kernel_heap"])["secret"])
        place, last = first + HEADER, end - HEADER
        while place <= address < last:
            (word,) = struct.unpack("<Q", tables.memory.read(place, HEADER))
            header = decode(word, place, secret)
            if header is None or not SMALLEST <= header[0] & -GRANULE <= last - place:
                raise DecodeError(f"the header of {block_name(place)} does not decode")
            block = Block(place, header[0] & -GRANULE, header[1])
            place += block.size
            if address < place:
                return block
    raise DecodeError(f"{address:#x} lies in no block of the kernel heap")


def decode(word: int, place: int, secret: int) -> tuple[int, bool] | None:
    """Info of a header, and whether its block is used; None for what is no header."""
    for magic, used in ((USED_MAGIC, True), (FREE_MAGIC, False)):
        plain = word ^ place ^ secret ^ magic
        if plain == spread(plain & 0xFFFFFFFF):
            return plain & 0xFFFFFFFF, used
    return None


class _Walker:
    def __init__(self, tables: Tables, state: Struct) -> None:
        self.tables = tables
        self.state = state
        self.index: Struct = state["index"]
        self.secret = int(state["secret"])
        self.findings = Findings()
        self.words: dict[int, tuple[int, ...]] = {}  # of each range, by where it begins

    def walk(self) -> HeapWalk:
        found = HeapWalk(self.state, self._ranges())
        for first, end in found.ranges:
            found.blocks += self._range(first, end)
        found.blocks.sort(key=lambda block: block.place)
        self._lists(found.free)
        self._totals(found.used)
        found.problems, found.left_out = self.findings.problems, self.findings.left_out
        return found

    # -- ranges

    def _ranges(self) -> list[tuple[int, int]]:
        rows = self.state["ranges"]
        count = int(self.state["range_count"])
        place = self.state.address_of("range_count")
        if count > len(rows):
            self.findings.add(
                "HeapState", "range_count", f"at most {len(rows)}", count, "more than there are", place
            )
        ranges: list[tuple[int, int]] = []
        for number, row in enumerate(rows[:count]):
            first, end = int(row["first"]), int(row["end"])
            why = ""
            if first % PAGE_SIZE or end % PAGE_SIZE or not first < end < first + RANGE_LIMIT:
                why = "no pages"
            elif any(first < other_end and other < end for other, other_end in ranges):
                why = "overlaps another range"
            else:
                try:
                    data = self.tables.memory.read(first, end - first)
                    self.words[first] = struct.unpack(f"<{len(data) // 8}Q", data)
                except DecodeError as error:
                    why = str(error)
            if why:
                self.findings.add(
                    "HeapState", f"ranges[{number}]", "", f"[{first:#x}, {end:#x})", why, row.address
                )
            else:
                ranges.append((first, end))
        return ranges

    def _decode(self, word: int, place: int) -> tuple[int, bool] | None:
        return decode(word, place, self.secret)

    def _range(self, first: int, end: int) -> list[Block]:
        """The blocks of one range. A header that does not decode is noted, and what it was derived."""
        words = self.words[first]
        blocks: list[Block] = []
        infos: list[int | None] = []
        place, last = first + HEADER, end - HEADER
        while place < last:
            header = self._decode(words[(place - first) // 8], place)
            if header is not None and SMALLEST <= header[0] & -GRANULE <= last - place:
                blocks.append(Block(place, header[0] & -GRANULE, header[1]))
                infos.append(header[0])
                place += header[0] & -GRANULE
                continue
            after = place + SMALLEST
            while after < last and self._decode(words[(after - first) // 8], after) is None:
                after += GRANULE
            after = min(after, last)
            following = self._decode(words[(after - first) // 8], after)
            used = following is None or not following[0] & PREVIOUS_FREE
            blocks.append(Block(place, after - place, used, whole=False))
            infos.append(None)
            self._header(blocks[-1], blocks[-2] if len(blocks) > 1 else None, words[(place - first) // 8])
            place = after
        self._flags(blocks, infos, self._decode(words[-1], last), last, words[-1])
        for block in blocks:
            if not block.used:
                self._footer(block, words[(block.place + block.size - first) // 8 - 1])
        return blocks

    def _encode(self, place: int, info: int, *, used: bool) -> int:
        return (USED_MAGIC if used else FREE_MAGIC) ^ spread(info) ^ place ^ self.secret

    def _header(self, block: Block, before: Block | None, word: int) -> None:
        info = block.size | (PREVIOUS_FREE if before is not None and not before.used else 0)
        expected = self._encode(block.place, info, used=block.used)
        self.findings.add(block.name, "header", expected, word, "does not decode", block.place)

    def _flags(
        self, blocks: list[Block], infos: list[int | None], end: tuple[int, bool] | None, last: int, word: int
    ) -> None:
        free_before = False
        for block, info in zip(blocks, infos, strict=True):
            flags = int(free_before)
            if free_before and not block.used and block.whole:
                self.findings.add(
                    block.name, "header", "", "free", "not merged with the one before", block.place
                )
            if info is not None and info & (GRANULE - 1) != flags:
                self.findings.add(
                    block.name, "flags", flags, info & (GRANULE - 1), "not what is before it", block.place
                )
            free_before = not block.used
        if end != (int(free_before), True):
            expected = self._encode(last, int(free_before), used=True)
            self.findings.add(block_name(last), "header", expected, word, "does not end its range", last)

    def _footer(self, block: Block, word: int) -> None:
        place = block.place + block.size - 8
        expected = self._encode(place, block.size, used=False)
        if word != expected:
            self.findings.add(block.name, "footer", expected, word, "does not repeat the header", place)

    # -- lists

    def _lists(self, free: list[Block]) -> None:
        heads = self.index["heads"]
        by_list: dict[int, list[Block]] = {}
        for block in free:
            by_list.setdefault(list_of(block.size), []).append(block)
        for number, head in enumerate(heads):
            self._list(number, int(head), by_list.get(number, []))
        words = self.index["words"]
        for number, word in enumerate(words):
            expected = sum(1 << bit for bit in range(64) if (number << SPLIT_BITS) + bit in by_list)
            if word != expected:
                place = self.index.address_of("words", number)
                self.findings.add("HeapIndex", f"words[{number}]", expected, word, "not its lists", place)
        summary = sum(1 << word for word in {number >> SPLIT_BITS for number in by_list})
        if self.index["summary"] != summary:
            place = self.index.address_of("summary")
            found = self.index["summary"]
            self.findings.add("HeapIndex", "summary", summary, found, "not its words", place)

    def _links_of(self, block: Block) -> tuple[int, int]:
        first = next(
            start for start, words in self.words.items() if 0 <= block.place - start < 8 * len(words)
        )
        at = (block.place - first) // 8
        return self.words[first][at + 1], self.words[first][at + 2]

    def _list(self, number: int, head: int, blocks: list[Block]) -> None:
        """Who comes after whom is said by both; a link is wrong when another one contradicts it that a third
        bears out, or nobody else knows of it.
        """
        links = {block.place: self._links_of(block) for block in blocks}
        said_next = {after: place for place, (after, _) in links.items() if after}
        said_previous = {before: place for place, (_, before) in links.items() if before}
        wrong: set[tuple[int, str]] = set()
        for place, (after, _) in links.items():
            if after in links and links[after][1] == place:
                continue
            if after in links and place not in said_previous and not self._borne_out(after, links, head):
                wrong.add((after, "previous"))
                self._link(after, "previous", place, links[after][1])
            elif after or place in said_previous:
                wrong.add((place, "next"))
                self._link(place, "next", said_previous.get(place, 0), after)
        for place, (_, before) in links.items():
            if (place, "previous") in wrong or (before, "next") in wrong:
                continue
            if before and (before not in links or links[before][0] != place):
                self._link(place, "previous", 0 if head == place else said_next.get(place, 0), before)
        firsts = [place for place in links if place not in said_next or (said_next[place], "next") in wrong]
        expected = head if head in firsts else firsts[0] if firsts else 0
        if head != expected:
            place = self.index.address_of("heads", number)
            self.findings.add("HeapIndex", f"heads[{number}]", expected, head, "not the first block", place)

    @staticmethod
    def _borne_out(place: int, links: dict[int, tuple[int, int]], head: int) -> bool:
        """Whether somebody else says, too, what the block says of the one before it."""
        before = links[place][1]
        return head == place if before == 0 else before in links and links[before][0] == place

    def _link(self, place: int, name: str, expected: int, found: int) -> None:
        at = place + (8 if name == "next" else 16)
        self.findings.add(block_name(place), name, expected, found, "the lists say otherwise", at)

    # -- sums

    def _totals(self, used: list[Block]) -> None:
        size = sum(block.size for block in used)
        active = self.state["allocations"] - self.state["frees"]
        for name, expected, found in (
            ("used_bytes", size, self.state["used_bytes"]),
            ("allocations", len(used) + self.state["frees"], active + self.state["frees"]),
        ):
            if expected != found:
                place = self.state.address_of(name)
                self.findings.add("HeapState", name, expected, found, "not the blocks there are", place)
