"""Hypothesis drives both bodies against the model: any operation after any other. A failure is shown as the
shortest run that has it.

The runs follow from the session's seed, which pytest prints.
"""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from coronel.errors import MMError
from coronel.mm.kernel_mm import KernelMM
from coronel.mm.model import MAX_ORDER, MemoryModel
from coronel.mm.pages import allocation, release
from coronel.mm.zones import State

if TYPE_CHECKING:
    from tests.mm.conftest import RunRules

PIECE = 64  # frames that are added at a time, at most
SLOT = 2 * PIECE  # one for each: two pieces never meet, so no free block is made of both
LEGAL = [n for n in range(1, 32) if n & 24 != 24]
ORDERS = st.integers(0, MAX_ORDER)
FLAGS = st.sampled_from(LEGAL)
PICKS = st.integers(0, 1 << 16)  # which of the blocks that are out, counted around


class Rules(RuleBasedStateMachine):
    """One run."""

    def __init__(self, place: Any) -> None:
        super().__init__()
        self.place = place
        body = place.enter(4 * SLOT)
        self.mm: KernelMM = body.mm
        self.next, self.end = body.room
        self.mm.quiesce()
        self.model = MemoryModel(self.mm.walk())
        self.sound = True

    def perform(self, *operations: Any) -> list[int]:
        """Does it, and lets the model judge."""
        self.sound = False
        results = self.mm.run(operations)
        self.model.follow(operations, results)
        self.sound = True
        return [value for value, _ in results]

    def pick(self, number: int) -> tuple[int, int] | None:
        """One of the blocks that are out."""
        blocks = sorted(self.model.blocks.items())
        return blocks[number % len(blocks)] if blocks else None

    @rule(order=ORDERS, flags=FLAGS, count=st.integers(1, 70))
    def allocate(self, order: int, flags: int, count: int) -> None:
        """Blocks of one kind: enough of them empty a magazine, and a zone."""
        self.perform(*[allocation(order, flags)] * count)

    @rule(order=st.integers(0, 1 << 31), flags=st.integers(0, 1 << 31))
    def allocate_anything(self, order: int, flags: int) -> None:
        """Most of these make no sense."""
        self.perform(allocation(order, flags))

    @rule(first=PICKS, count=st.integers(1, 70))
    def free(self, first: int, count: int) -> None:
        """Neighbours, so that they find each other."""
        blocks = sorted(self.model.blocks.items())
        start = first % (len(blocks) or 1)
        self.perform(*[release(pfn, order) for pfn, order in blocks[start : start + count]])

    @rule(
        number=PICKS, other=st.integers(1, MAX_ORDER), wrong=st.sampled_from(["order", "interior", "double"])
    )
    def misuse_a_block(self, number: int, other: int, wrong: str) -> None:
        """What nobody may do with a block."""
        found = self.pick(number)
        if found is None:
            return
        pfn, order = found
        if wrong == "order":
            self.perform(release(pfn, (order + other) % (MAX_ORDER + 1)))
        elif wrong == "double":
            self.perform(release(pfn, order), release(pfn, order))
        elif order:
            self.perform(release(pfn + 1 + number % ((1 << order) - 1), other))

    @rule(pfn=st.one_of(st.integers(0, 1 << 15), st.integers(0, (1 << 64) - 1)), order=st.integers(0, 15))
    def free_anything(self, pfn: int, order: int) -> None:
        """Wild, reserved, free or by chance right."""
        self.perform(release(pfn, order))

    @rule()
    def quiesce(self) -> None:
        """The magazines go home, and every level follows from the free frames."""
        self.mm.quiesce()
        self.model.quiesced()
        self.model.compare(self.mm.walk(), settled=True)

    @rule()
    def compare(self) -> None:
        """Frame by frame, whatever the magazines hold."""
        self.model.compare(self.mm.walk(), settled=False)

    @rule(frames=st.integers(1, PIECE))
    def add_memory(self, frames: int) -> None:
        """The next piece of what can be added. It may be too small to describe itself."""
        first, end = self.next, self.next + frames
        if end > self.end:
            return
        self.sound = False
        with suppress(MMError) if frames < PIECE // 2 else nullcontext():
            self.mm.add_memory_range(first, end)
        walk = self.mm.walk()
        if walk.state(first) is not State.absent:
            self.model.add(first, end, walk)
            self.next += SLOT
        self.sound = True

    @rule(n=st.integers(1, 4), order=ORDERS, flags=FLAGS, count=st.integers(1, 5))
    def fail(self, n: int, order: int, flags: int, count: int) -> None:
        """The n-th of some allocations fails, and no other but for want of memory."""
        self.mm.fail_nth(n)
        self.model.failing = n
        self.perform(*[allocation(order, flags)] * count)
        assert self.mm.fail_pending() == (n > count)
        self.mm.fail_nth(0)
        self.model.failing = 0

    @invariant()
    def levels_agree(self) -> None:
        """What the manager's records say at any time."""
        info = self.mm.get_memory_info()
        zones = self.model.zones
        assert info.free == 4096 * sum(zone.free for zone in zones)
        assert info.total == 4096 * sum(zone.managed for zone in zones)

    def teardown(self) -> None:
        """Gives everything back and looks once more."""
        if not self.sound:
            return
        self.sound = False
        self.perform(*[release(pfn, order) for pfn, order in self.model.blocks.items()])
        self.quiesce()
        assert self.mm.valid()
        self.place.leave((self.next, self.end))


@pytest.mark.timeout(300)
def test_every_run_of_operations_leaves_what_the_model_says(run_rules: RunRules) -> None:
    run_rules(Rules, host=(12, 30), guest=(8, 25))
