"""The lists of pageblocks: who must be on which list follows from the bits (B2, B6); links must go both ways
(B3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coronel.mm.check_blocks import block_name
from coronel.mm.derive import Derived, whole_orders
from coronel.mm.frames import FrameArray, Numbers
from coronel.mm.problem import Findings
from coronel.mm.zones import Zone

NONE = 0xFFFF_FFFF  # Pageblock::kNone, and the head of an empty list
END = -1  # stands for the list itself: before its first pageblock and after its last


@dataclass(frozen=True)
class Membership:
    """Of each pageblock of an array, what its list fields must say."""

    list: Numbers  # 0: none, else 1 + the list
    whole_order: Numbers

    @classmethod
    def of(cls, array: FrameArray, derived: Derived) -> Membership:
        """Follows from the free bits."""
        shape = array.shape
        full = derived.free_frames == shape.block_frames
        orders = whole_orders(full, shape)
        fullness = derived.free_frames * shape.fullnesses // shape.block_frames
        partial = ~full & (derived.free_frames > 0)
        lists = np.where(partial, fullness * (shape.whole_order + 1) + derived.largest + 1, 0)
        heads = orders > 0
        lists[heads] = shape.partial_lists + (orders[heads] - shape.whole_order) + 1
        return cls(lists, orders)


def check_membership(array: FrameArray, member: Membership, findings: Findings) -> None:
    """The fields `list` and `whole_order` of every pageblock, and the links of those that are on no list."""
    for field, right in (("list", member.list), ("whole_order", member.whole_order)):
        _compare(array, field, right, array.known, "does not follow from its free frames", findings)
    off = array.known & (member.list == 0)
    zero = np.zeros(len(off), np.int64)
    for field in ("prev", "next"):
        _compare(array, field, zero, off, "on no list, so it has no neighbours", findings)


def _compare(
    array: FrameArray,
    field: str,
    right: Numbers,
    where: np.typing.NDArray[np.bool_],
    why: str,
    findings: Findings,
) -> None:
    found = array.block_column(field).astype(np.int64)
    wrong = np.flatnonzero((found != right) & where)
    for index in wrong[: findings.room(len(wrong))].tolist():
        number = array.block_number(index)
        address = array.block_address(number, field)
        findings.add(block_name(number), field, int(right[index]), int(found[index]), why, address)


class ListCheck:
    """Heads, `nonempty` and links of one zone's lists against the pageblocks that must be on them."""

    def __init__(
        self, array: FrameArray, member: Membership, places: Numbers, zone: Zone, findings: Findings
    ) -> None:
        self.array = array
        self.zone = zone
        self.findings = findings
        self.heads = zone.lists["heads"]
        self.members: list[list[int]] = [[] for _ in self.heads]
        for index in places[member.list[places] > 0].tolist():
            self.members[int(member.list[index]) - 1].append(array.block_number(index))
        self._prev = array.block_column("prev")
        self._next = array.block_column("next")

    def run(self) -> None:
        """Reports every disagreement."""
        for number, members in enumerate(self.members):
            self._check_links(number, members)
        if unused := int(self.zone.lists["unused"]):
            address = self.zone.lists.address_of("unused")
            self.findings.add(self.zone.lists_name, "unused", 0, unused, "has no use", address)
        expected = sum(
            1 << number for number in range(self.array.shape.partial_lists) if self.members[number]
        )
        found = int(self.zone.lists["nonempty"])
        if found != expected:
            names = ", ".join(str(bit) for bit in range(64) if (found ^ expected) >> bit & 1)
            self.findings.add(
                self.zone.lists_name,
                "nonempty",
                f"{expected:#x}",
                f"{found:#x}",
                f"wrong about list {names}",
                self.zone.lists.address_of("nonempty"),
            )

    def _link(self, column: np.typing.NDArray[np.uint32], number: int) -> int:
        index = self.array.block_index(number)
        assert index is not None  # members are what was read
        value = int(column[index])
        return END if value == NONE else value

    def _check_links(self, number: int, members: list[int]) -> None:
        """A list is a ring through END. Each step is written down twice, so a single wrong link is the odd
        one out.
        """
        head = int(self.heads[number])
        follows = {one: self._link(self._next, one) for one in members}
        follows[END] = END if head == NONE else head
        precedes = {one: self._link(self._prev, one) for one in members}
        pointed_at: dict[int, list[int]] = {}
        for one, following in follows.items():
            pointed_at.setdefault(following, []).append(one)

        for one, before in precedes.items():
            if follows.get(before, NONE) != one and len(pointed_at.get(one, ())) == 1:
                precedes[one] = pointed_at[one][0]
                self._report(number, one, "prev", precedes[one], before)
        claims: dict[int, list[int]] = {}
        for one, before in precedes.items():
            claims.setdefault(before, []).append(one)
        for one, following in list(follows.items()):
            claimed = claims.pop(one, [])
            if len(claimed) > 1:
                self._report_claims(number, one, claimed)
            wanted = claimed[0] if claimed else END
            if following != wanted:
                self._report(number, one, "next", wanted, following)
                follows[one] = wanted
        for before, claimed in claims.items():  # of pageblocks that are not on this list
            for one in claimed:
                self._report(number, one, "prev", None, before)
        self._check_ring(number, follows, len(members))

    def _check_ring(self, number: int, follows: dict[int, int], members: int) -> None:
        at, steps = follows[END], 0
        while at != END and steps <= members and at in follows:
            at, steps = follows[at], steps + 1
        if steps != members or at != END:
            self.findings.add(
                self.zone.lists_name,
                f"heads[{number}]",
                f"a way to all {members} pageblocks of the list",
                f"{steps} of them",
                "the list is broken or runs in a circle",
                self.zone.lists.address_of("heads", number),
            )

    def _report_claims(self, number: int, one: int, claimed: list[int]) -> None:
        place = f"list {number}" if one == END else block_name(one)
        self.findings.add(
            tuple(block_name(other) for other in claimed),
            "prev",
            "one of them",
            f"{len(claimed)} of them",
            f"say that they follow {place} in list {number}",
        )

    def _report(self, number: int, one: int, field: str, wanted: int | None, found: int) -> None:
        why = f"its neighbour in list {number} says otherwise"
        expected = "another of the list" if wanted is None else _shown(wanted)
        if one == END:
            address = self.zone.lists.address_of("heads", number)
            self.findings.add(self.zone.lists_name, f"heads[{number}]", expected, _shown(found), why, address)
        else:
            address = self.array.block_address(one, field)
            self.findings.add(block_name(one), field, expected, _shown(found), why, address)


def _shown(link: int) -> str:
    return "none" if link == END else str(link)
