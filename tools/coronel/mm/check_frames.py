"""Frames one by one: what each must say in the state that everything around it proves it to be in (B5).

Two stages. First every Frame whose bytes are not those of any legal state, or not of a state that its
presence allows, is looked at by itself: its free bit, the blocks around it and its other fields tell what it
should be. Then blocks are measured: the frames from a head up to the next frame that cannot be inside a block
must be exactly 2^order.

Heads are of two kinds: `allocated` has one reference, `cached` lies in a magazine and is as clear as a free
frame, its poison apart. The frames of a slab are those of an allocated block, and say whose they are; what
they must say comes from the slabs (check_slabs.py).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coronel.mm.derive import cover, natural_lengths
from coronel.mm.frames import Bools, FrameArray, Numbers
from coronel.mm.problem import Findings
from coronel.mm.slabs import SlabClaims
from coronel.mm.zones import State

ZERO_FIELDS = ("mappings", "node", "tag", "index", "prev", "next", "owner")  # unless a tag says more
TABLE_FIELDS = ("mappings", "tag", "index", "owner")  # of a page table: see check_tables


def frame_name(number: int) -> str:
    """How problems call a frame."""
    return f"Frame {number}"


@dataclass
class FrameTruth:
    """What each frame is to be taken for, after corrections."""

    state: NDArray[np.uint8]  # as FrameState
    order: NDArray[np.uint8]


@dataclass
class Witnesses:
    """What everything but the Frames says about them."""

    present: Bools  # by the map
    free: Bools  # by the Pageblocks
    zones: NDArray[np.uint8]  # of each frame: its ZoneKind, by its address; 0 where it is absent
    cached: Collection[int]  # frame numbers that magazines name
    managed_claims: Sequence[int]  # how many managed frames there are, says whoever counts them
    table_tag: int  # the tag of a page table
    poison_flag: int  # the bit of `flags` that a frame without an owner may have; 0: none
    poison_end: int  # frames from this number on are never poisoned: nothing can write to them
    slabs: SlabClaims = field(default_factory=SlabClaims)  # what the frames of slabs say besides


class FrameCheck:
    """Checks all Frames of an array against what else there is."""

    def __init__(self, array: FrameArray, witnesses: Witnesses, findings: Findings) -> None:
        self.array = array
        self.present, self.free = witnesses.present, witnesses.free
        self.witnesses = witnesses
        self.poison_flag = witnesses.poison_flag
        self.findings = findings
        self.states = array.frame_type.enumeration("state")
        self.state = array.frame_column("state").copy()
        self.order = array.frame_column("order").copy()
        self._managed: int | None = None  # counted when the first suspect needs it

    def run(self) -> FrameTruth:
        """Reports what is wrong and returns the corrected states."""
        suspects = self._suspects()
        for index in suspects[: self.findings.room(len(suspects))].tolist():
            self._look_at(index)
        self._measure()
        self._check_flags()
        return FrameTruth(self.state, self.order)

    # -- bytes

    def _template(self, state: int, order: int) -> bytes:
        """The only bytes that a Frame of that state may have, its zone and its poison flag apart."""
        kind = self.array.frame_type
        record = bytearray(kind.size)
        allocated = state == self.states["allocated"]
        head = allocated or state == self.states["cached"]
        values = (("state", state), ("order", order if head else 0), ("references", int(allocated)))
        for name, value in values:
            field = kind[name]
            place = slice(field.offset, field.offset + field.bytes)
            whole = int.from_bytes(record[place], "little") | value << field.bit
            record[place] = whole.to_bytes(field.bytes, "little")
        return bytes(record)

    def _suspects(self) -> Numbers:
        """Frames that are not what they say they are, or are present where nothing is, or the reverse."""
        bits, last = self.array.frame_type["order"].bits, max(self.states.values.values())
        templates = b"".join(
            self._template(state, order) for state in range(last + 1) for order in range(1 << bits)
        )
        words = self.array.frame_type.size // 8
        table = np.frombuffer(templates, np.uint64).reshape(-1, words)
        state = self.state
        key = np.minimum(state, last).astype(np.uint16) << bits | self.order
        records = self.array.frames.view(np.uint64).reshape(-1, words)
        owned = self._claimed(words)
        odd = state > last
        zone = self._mask("zone", (1 << self.array.frame_type["zone"].bits) - 1)
        poison = self._mask("flags", self.poison_flag)
        managed: Bools = state == self.states["managed"]
        may_be_poisoned = (managed | (state == self.states["cached"])).astype(np.uint64)
        tables = self.tables().astype(np.uint64)
        of_tables = [self._mask(name, (1 << self._width(name)) - 1) for name in TABLE_FIELDS]
        for word in range(words):
            difference = records[:, word] ^ table[key, word] ^ owned[:, word]
            difference &= ~np.uint64(zone[word])
            if poison[word]:
                difference &= ~(may_be_poisoned * np.uint64(poison[word]))
            for mask in of_tables:
                difference &= ~(tables * np.uint64(mask[word]))
            odd |= difference != 0
        odd |= self.array.frame_column("zone") != self.witnesses.zones
        odd |= (state != self.states["absent"]) != self.present
        odd |= self.free & ~managed
        return np.flatnonzero(odd)

    def _claimed(self, words: int) -> NDArray[np.uint64]:
        """What the claims of slabs change of the template of each frame, as words of its Frame."""
        changed = np.zeros((len(self.array.frames), words), np.uint64)
        for index, claim in self.witnesses.slabs.of.items():
            record = 0
            for name, value in claim.items():
                entry = self.array.frame_type[name]
                record |= (value ^ 1 if name == "references" else value) << entry.bit + 8 * entry.offset
            changed[index] = np.frombuffer(record.to_bytes(8 * words, "little"), np.uint64)
        return changed

    def _width(self, name: str) -> int:
        field = self.array.frame_type[name]
        return field.bits or 8 * field.bytes

    def tables(self) -> Bools:
        """Frames in use that say they are page tables: `check_tables` looks at what else they say."""
        in_use: Bools = (self.state == self.states["allocated"]) | (self.state == self.states["reserved"])
        tagged: Bools = self.array.frame_column("tag") == self.witnesses.table_tag
        return in_use & tagged

    def _mask(self, field: str, bits: int) -> list[int]:
        """Bits of a field as masks over the words of a Frame."""
        kind = self.array.frame_type
        mask = bits << kind[field].bit << 8 * kind[field].offset
        return [int(word) for word in np.frombuffer(mask.to_bytes(kind.size, "little"), np.uint64)]

    # -- one frame

    def _look_at(self, index: int) -> None:
        """Decides what a suspect should be, reports every field that says otherwise, and corrects it."""
        record = self.array.frames[index]
        values = {name: int(self._value(record, name)) for name in self.array.frame_type.fields}
        expected = dict.fromkeys(ZERO_FIELDS, 0)
        kind = self._kind(index, values)
        head = kind in (State.allocated, State.cached)
        if kind in (State.allocated, State.reserved) and values["tag"] == self.witnesses.table_tag:
            expected.update({name: values[name] for name in TABLE_FIELDS})
        expected["state"] = self.states[_FRAME_STATE[kind]]
        expected["references"] = int(kind is State.allocated)
        expected["zone"] = int(self.witnesses.zones[index])
        expected |= self.witnesses.slabs.of.get(index, {})
        if not head:
            expected["order"] = 0
        may_be_poisoned = kind in (State.free, State.inside, State.cached)  # inside: _check_flags sees
        expected["flags"] = values["flags"] & self.poison_flag if may_be_poisoned else 0
        self._report(index, kind, values, expected)
        self.state[index] = expected["state"]
        if not head:
            self.order[index] = 0

    def _value(self, record: Any, name: str) -> int:
        field = self.array.frame_type[name]
        value = int(record[name])
        return value >> field.bit & ((1 << field.bits) - 1) if field.bits else value

    def _kind(self, index: int, values: dict[str, int]) -> State:
        """What a frame should be, by everything but its own state."""
        if not self.present[index]:
            return State.absent
        if index in self.witnesses.slabs.reserved:
            return State.reserved
        if index in self.witnesses.slabs.of:
            return State.allocated if index in self.witnesses.slabs.heads else State.inside
        if self.free[index]:
            return State.free
        if self._covered(index):
            return State.inside
        # A reserved frame or the head of a block: nothing lies before it that could own it.
        if self.array.number(index) in self.witnesses.cached:
            return State.cached
        if self._inside_follows(index):
            return State.allocated
        says_head = values["state"] & 3 == self.states["allocated"]
        if says_head == (values["references"] == 1):
            return State.allocated if says_head else State.reserved
        return self._by_count(index)

    def _covered(self, index: int) -> bool:
        """Whether the block of the nearest head before reaches over this frame."""
        start = index // self.array.group_frames * self.array.group_frames
        before = np.flatnonzero(self._heads(self.state[start:index]))
        if len(before) == 0:
            return False
        head = start + int(before[-1])
        return head + (1 << int(self.order[head])) > index

    def _inside_follows(self, index: int) -> bool:
        """Whether the next frame can only be inside a block that begins here."""
        following = index + 1
        if following % self.array.group_frames == 0:
            return False
        return bool(self.state[following] == self.states["managed"]) and not self.free[following]

    def _by_count(self, index: int) -> State:
        """A lone frame, half head and half reserved: whoever counts the managed frames decides."""
        managed = tuple(self.states[name] for name in ("managed", "allocated", "cached"))
        if self._managed is None:
            self._managed = int(np.count_nonzero(np.isin(self.state, managed)))
        others = self._managed - (int(self.state[index]) in managed)
        return State.allocated if others + 1 in self.witnesses.managed_claims else State.reserved

    def _report(self, index: int, kind: State, values: dict[str, int], expected: dict[str, int]) -> None:
        number = self.array.number(index)
        for name, wanted in expected.items():
            if values[name] == wanted:
                continue
            shown: tuple[object, object] = (wanted, values[name])
            if name == "state":
                shown = (self.states.decode(wanted), self.states.decode(values[name]))
            address = self.array.frame_address(number, name)
            self.findings.add(frame_name(number), name, *shown, _WHY[kind], address)

    # -- blocks

    def _measure(self) -> None:
        """Every block is as long as its head says, and every frame inside one has a head."""
        managed: Bools = self.state == self.states["managed"]
        inside = managed & ~self.free
        heads = np.flatnonzero(self._heads(self.state))
        lengths = natural_lengths(heads, inside, self.array.group_frames)
        wrong = np.flatnonzero(lengths != np.int64(1) << self.order[heads].astype(np.int64))
        for place in wrong[: self.findings.room(len(wrong))].tolist():
            self._report_order(int(heads[place]), int(lengths[place]))
        misplaced = heads[heads % (np.int64(1) << self.order[heads].astype(np.int64)) != 0]
        for index in misplaced[: self.findings.room(len(misplaced))].tolist():
            number, order = self.array.number(index), int(self.order[index])
            address = self.array.frame_address(number, "order")
            self.findings.add(
                frame_name(number), "order", "one that fits its number", order, "not aligned", address
            )
        if int(np.count_nonzero(inside)) != int((lengths - 1).sum()):
            self._report_orphans(inside, heads, lengths)

    def _report_order(self, index: int, length: int) -> None:
        number = self.array.number(index)
        order = length.bit_length() - 1
        fits = length == 1 << order and order <= self.array.shape.max_order and index % length == 0
        expected = str(order) if fits else f"one for {length} frames"
        why = f"{length - 1} frames behind it can be inside its block"
        found = int(self.order[index])
        self.findings.add(
            frame_name(number), "order", expected, found, why, self.array.frame_address(number, "order")
        )
        if fits:
            self.order[index] = order

    def _heads(self, state: NDArray[np.uint8]) -> Bools:
        heads: Bools = (state == self.states["allocated"]) | (state == self.states["cached"])
        return heads

    def _check_flags(self) -> None:
        """Only what nobody owns is poisoned: not what is inside an allocated block, and nothing that the
        kernel cannot write to.
        """
        flags = self.array.frame_column("flags")
        poisoned = np.flatnonzero(flags & self.poison_flag)
        if len(poisoned) == 0:
            return
        cached = np.flatnonzero(self.state == self.states["cached"])
        orders = self.order[cached].astype(np.int64)
        owned = (self.state == self.states["managed"]) & ~self.free
        owned &= ~cover(cached, orders, len(owned), self.array.group_frames)
        wrong = owned[poisoned] | (self.array.numbers(poisoned) >= self.witnesses.poison_end)
        found = poisoned[wrong]
        for index in found[: self.findings.room(len(found))].tolist():
            number, value = self.array.number(index), int(flags[index])
            why = _WHY[State.inside] if owned[index] else "beyond the direct map, where nothing is filled"
            address = self.array.frame_address(number, "flags")
            self.findings.add(frame_name(number), "flags", value & ~self.poison_flag, value, why, address)

    def _report_orphans(self, inside: Bools, heads: Numbers, lengths: Numbers) -> None:
        covered = np.zeros(len(inside) + 1, np.int64)
        np.add.at(covered, heads, 1)
        np.add.at(covered, heads + lengths, -1)
        orphans = inside & ~(np.cumsum(covered)[:-1] > 0)
        for first, end in self.array.runs(orphans)[: Findings.LIMIT]:
            address = self.array.frame_address(first, "state")
            why = (
                f"neither free nor inside a block, as {end - first - 1} more"
                if end - first > 1
                else "without a block"
            )
            self.findings.add(
                frame_name(first), "state", "reserved, free or in a block", "managed", why, address
            )


_FRAME_STATE = {
    State.absent: "absent",
    State.reserved: "reserved",
    State.free: "managed",
    State.inside: "managed",
    State.allocated: "allocated",
    State.cached: "cached",
}
_WHY = {
    State.absent: "there is no memory, by the ranges of FrameMap",
    State.reserved: "reserved: present, and neither free nor in a block",
    State.free: "free, by its Pageblock",
    State.inside: "inside a block that is out of its zone",
    State.allocated: "first frame of an allocated block",
    State.cached: "first frame of a cached block: a magazine names it",
}
