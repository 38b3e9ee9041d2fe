"""Frames one by one: what each must say in the state that everything around it proves it to be in (B5).

Two stages. First every Frame whose bytes are not those of any legal state, or not of a state that its
presence allows, is looked at by itself: its free bit, the blocks around it and its other fields tell what it
should be. Then blocks are measured: the frames from a head up to the next frame that cannot be inside a block
must be exactly 2^order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coronel.mm.derive import natural_lengths
from coronel.mm.frames import Bools, FrameArray, Numbers
from coronel.mm.problem import Findings
from coronel.mm.zones import State

ZERO_FIELDS = ("mappings", "zone", "node", "tag", "index", "prev", "next", "owner")  # no floor uses them yet


def frame_name(number: int) -> str:
    """How problems call a frame."""
    return f"Frame {number}"


@dataclass
class FrameTruth:
    """What each frame is to be taken for, after corrections."""

    state: NDArray[np.uint8]  # as FrameState
    order: NDArray[np.uint8]


class FrameCheck:
    """Checks all Frames of an array against `present` (by the map) and `free` (by the Pageblocks)."""

    def __init__(
        self,
        array: FrameArray,
        present: Bools,
        free: Bools,
        managed_claims: Sequence[int],
        poison_flag: int,
        findings: Findings,
    ) -> None:
        self.array = array
        self.present = present
        self.free = free
        self.managed_claims = managed_claims  # how many managed frames there are, says whoever counts them
        self.poison_flag = poison_flag  # the bit of `flags` that a free frame may have; 0: none
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
        return FrameTruth(self.state, self.order)

    # -- bytes

    def _template(self, state: int, order: int) -> bytes:
        """The only bytes that a Frame of that state may have, its poison flag apart."""
        kind = self.array.frame_type
        record = bytearray(kind.size)
        head = state == self.states["allocated"]
        values = (("state", state), ("order", order if head else 0), ("references", int(head)))
        for name, value in values:
            field = kind[name]
            place = slice(field.offset, field.offset + field.bytes)
            whole = int.from_bytes(record[place], "little") | value << field.bit
            record[place] = whole.to_bytes(field.bytes, "little")
        return bytes(record)

    def _suspects(self) -> Numbers:
        """Frames that are not what they say they are, or are present where nothing is, or the reverse."""
        bits = self.array.frame_type["order"].bits
        templates = b"".join(self._template(state, order) for state in range(4) for order in range(1 << bits))
        words = self.array.frame_type.size // 8
        table = np.frombuffer(templates, np.uint64).reshape(-1, words)
        state = self.state
        key = (state & 3).astype(np.uint16) << bits | self.order
        records = self.array.frames.view(np.uint64).reshape(-1, words)
        odd = state > max(self.states.values.values())
        poison = self._poison_word()
        managed = (state == self.states["managed"]).astype(np.uint64)
        for word in range(words):
            difference = records[:, word] ^ table[key, word]
            if poison[word]:
                difference &= ~(managed * np.uint64(poison[word]))
            odd |= difference != 0
        odd |= (state != self.states["absent"]) != self.present
        odd |= self.free & (managed == 0)
        if self.poison_flag:
            odd |= (self.array.frame_column("flags") & self.poison_flag != 0) & ~self.free
        return np.flatnonzero(odd)

    def _poison_word(self) -> list[int]:
        """The poison flag as a mask over the words of a Frame."""
        kind = self.array.frame_type
        mask = self.poison_flag << 8 * kind["flags"].offset
        return [int(word) for word in np.frombuffer(mask.to_bytes(kind.size, "little"), np.uint64)]

    # -- one frame

    def _look_at(self, index: int) -> None:
        """Decides what a suspect should be, reports every field that says otherwise, and corrects it."""
        record = self.array.frames[index]
        values = {name: int(self._value(record, name)) for name in self.array.frame_type.fields}
        expected = dict.fromkeys(ZERO_FIELDS, 0)
        kind = self._kind(index, values)
        expected["state"] = self.states[_FRAME_STATE[kind]]
        expected["references"] = int(kind is State.allocated)
        if kind is not State.allocated:
            expected["order"] = 0
        expected["flags"] = values["flags"] & self.poison_flag if kind is State.free else 0
        self._report(index, kind, values, expected)
        self.state[index] = expected["state"]
        if kind is not State.allocated:
            self.order[index] = 0

    def _value(self, record: Any, name: str) -> int:
        field = self.array.frame_type[name]
        value = int(record[name])
        return value >> field.bit & ((1 << field.bits) - 1) if field.bits else value

    def _kind(self, index: int, values: dict[str, int]) -> State:
        """What a frame should be, by everything but its own state."""
        if not self.present[index]:
            return State.absent
        if self.free[index]:
            return State.free
        if self._covered(index):
            return State.inside
        # A reserved frame or the head of a block: nothing lies before it that could own it.
        if self._inside_follows(index):
            return State.allocated
        says_head = values["state"] & 3 == self.states["allocated"]
        if says_head == (values["references"] == 1):
            return State.allocated if says_head else State.reserved
        return self._by_count(index)

    def _covered(self, index: int) -> bool:
        """Whether the block of the nearest head before reaches over this frame."""
        start = index // self.array.group_frames * self.array.group_frames
        before = np.flatnonzero(self.state[start:index] == self.states["allocated"])
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
        managed = (self.states["managed"], self.states["allocated"])
        if self._managed is None:
            self._managed = int(np.count_nonzero(np.isin(self.state, managed)))
        others = self._managed - (int(self.state[index]) in managed)
        return State.allocated if others + 1 in self.managed_claims else State.reserved

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
        heads = np.flatnonzero(self.state == self.states["allocated"])
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
}
_WHY = {
    State.absent: "there is no memory, by the ranges of FrameMap",
    State.reserved: "reserved: present, and neither free nor in a block",
    State.free: "free, by its Pageblock",
    State.inside: "inside an allocated block",
    State.allocated: "first frame of an allocated block",
}
