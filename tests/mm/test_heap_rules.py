"""Hypothesis drives the kernel heap on both bodies against a model that knows every byte of every block:
malloc, memalign, realloc, free, any of them after any other, misuses, failures. After each step the blocks
that raw memory holds are those of the model, and none is larger than it needs to be.

The runs follow from the session's seed, which pytest prints.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule
from tests.mm.object_rules import DOUBLE, FAILURES, PICKS, WILD, ObjectRules

from coronel.mm.heap import GRANULE, HEADER, SMALLEST, HeapWalk, walk_heap
from coronel.mm.heap_view import heapinfo, lines
from coronel.mm.objects import operation

if TYPE_CHECKING:
    from tests.mm.conftest import RunRules

MOST_BYTES = 4 << 20  # live
MOST_ALIGN = 2 << 20
INTERIOR = "free of the inside of a block"
NO_MEMORY = (-errno.ENOMEM, "out of memory")

SIZES = st.one_of(
    st.integers(0, 200),
    st.integers(0, 5000),
    st.sampled_from((0, 24, 25, 4072, 4073)),
    st.integers(5000, 300_000),
)
ALIGNS = st.sampled_from((0, 0, 0, 0, 1, 8, 16, 32, 128, 4096, 1 << 16))


def block_bytes(size: int) -> int:
    """Of the block that a request needs."""
    return max((size + HEADER + GRANULE - 1) // GRANULE * GRANULE, SMALLEST)


class HeapRules(ObjectRules):
    """One run."""

    def __init__(self, place: Any) -> None:
        super().__init__(place)
        self.sizes: dict[int, int] = {}  # asked for last, by address
        found = self.look_at_blocks()
        self.others = {block.payload for block in found.used}  # the kernel's own
        numbers = heapinfo(found)
        self.counts = {name: numbers[name] for name in ("allocations", "frees", "misuses")}

    def look_at_blocks(self) -> HeapWalk:
        """What raw memory holds."""
        with self.mm.still() as tables:
            found = walk_heap(tables)
        assert found.problems == [], lines(found)
        return found

    def pick(self, number: int) -> int | None:
        """The address of one of the blocks."""
        held = sorted(self.sizes)
        return held[number % len(held)] if held else None

    def take(self, address: int, size: int, align: int = 0) -> None:
        """A block that the heap gave."""
        assert address % max(align, GRANULE) == 0
        self.contents.add(address, block_bytes(size) - HEADER)
        self.sizes[address] = size
        self.counts["allocations"] += 1

    def fits(self, size: int) -> bool:
        """Whether that much more is to be had for sure."""
        return sum(self.sizes.values()) + size <= MOST_BYTES

    @rule(sizes=st.lists(SIZES, min_size=6, max_size=24), align=ALIGNS)
    def allocate(self, sizes: list[int], align: int) -> None:
        """Some blocks."""
        sizes = [size for size in sizes if self.fits(size)]
        with self.step():
            results = self.call(*[operation("heap_malloc", size, align) for size in sizes])
            for size, (address, why) in zip(sizes, results, strict=True):
                assert not why
                self.take(address, size, align)

    @rule(size=SIZES, align=st.sampled_from((1 << 20, MOST_ALIGN)))
    def allocate_far_apart(self, size: int, align: int) -> None:
        """At once given back: many of these are more than there is."""
        if not self.fits(size):
            return
        with self.step():
            ((address, why),) = self.call(operation("heap_malloc", size, align))
            assert not why
            self.take(address, size, align)
            self.release([address])

    @rule(
        size=st.integers(1 << 32, (1 << 64) - 1), align=st.sampled_from((3, 12, 24, 2 * MOST_ALIGN, 1 << 63))
    )
    def allocate_nonsense(self, size: int, align: int) -> None:
        """What no heap has."""
        with self.step():
            said = self.call(
                operation("heap_malloc", size), operation("heap_malloc", size, 4096),
                operation("heap_realloc", 0, size), operation("heap_malloc", 100, align),
            )  # fmt: skip
            assert said == [NO_MEMORY] * 3 + [(-errno.EINVAL, "invalid argument")]

    @rule(wanted=st.lists(st.tuples(PICKS, SIZES), min_size=4, max_size=16))
    def resize(self, wanted: list[tuple[int, int]]) -> None:
        """Each in place or elsewhere; a smaller block never moves. From nothing, it is an allocation."""
        for number, size in wanted:
            if not self.fits(size):
                return
            old = self.pick(number) if number % 8 else None
            with self.step():
                if old is not None:
                    self.contents.look(old)
                ((address, why),) = self.call(operation("heap_realloc", old or 0, size))
                assert not why
                if old is None:
                    self.take(address, size)
                else:
                    self.moved(old, address, size)

    def moved(self, old: int, address: int, size: int) -> None:
        """What realloc did."""
        had = self.sizes.pop(old)
        if address != old:
            assert size > had
            self.counts["frees"] += 1
            self.counts["allocations"] += 1
        room = block_bytes(size) - HEADER
        self.contents.move(old, address, room, min(block_bytes(had) - HEADER, room))
        self.sizes[address] = size

    @rule(first=PICKS, count=st.sampled_from((1, 4, 20)), every=st.integers(1, 3))
    def free(self, first: int, count: int, every: int) -> None:
        """Neighbours, which merge, or each second or third of them."""
        held = sorted(self.sizes)
        start = first % (len(held) or 1)
        self.release(held[start : start + count * every : every])

    def release(self, some: list[int]) -> None:
        """These."""
        with self.step():
            for address in some:
                self.contents.remove(address)
                del self.sizes[address]
            assert self.call(*[operation("heap_free", address) for address in some]) == [(0, "")] * len(some)
            self.counts["frees"] += len(some)

    @rule(number=PICKS, verb=st.sampled_from(("heap_free", "heap_realloc")), wrong=st.sampled_from("diw"))
    def misuse(self, number: int, verb: str, wrong: str) -> None:
        """Double, interior, wild: it is named, and everything is what it was."""
        address = self.pick(number)
        if address is None:
            return
        with self.step():
            if wrong == "d":
                self.release([address])
                gone = not any(first <= address < end for first, end in self.look_at_blocks().ranges)
                asked, expected = address, WILD if gone else DOUBLE
            elif wrong == "i":
                asked, expected = (
                    address + 1 + number % (block_bytes(self.sizes[address]) - HEADER - 1),
                    INTERIOR,
                )
            else:
                asked, expected = (1 << 63) + number, WILD
            assert self.call(operation(verb, asked, 100)) == [(-errno.EINVAL, expected)]
            self.counts["misuses"] += 1
            assert self.call(operation("heap_free", 0)) == [(0, "")]

    @rule(number=PICKS, n=FAILURES, sizes=st.lists(SIZES, min_size=2, max_size=6), align=ALIGNS)
    def fail(self, number: int, n: int, sizes: list[int], align: int) -> None:
        """The n-th allocation of anything fails: at most one call has nothing, and changes nothing."""
        sizes = [size for size in sizes if self.fits(size)]
        old = self.pick(number)
        if old is None or not sizes:
            return
        with self.step():
            self.mm.fail_nth(n)
            calls = [operation("heap_malloc", size, align) for size in sizes]
            results = self.call(*calls, operation("heap_realloc", old, sizes[0]))
            pending = self.mm.fail_pending()
            self.mm.fail_nth(0)
            failed = [one for one in results if one.why]
            assert failed in ([], [NO_MEMORY])
            assert not (pending and failed)
            for size, (address, why) in zip(sizes, results[:-1], strict=True):
                if not why:
                    self.take(address, size, align)
            address, why = results[-1]
            if not why:
                self.moved(old, address, sizes[0])
            else:
                self.contents.look(old)

    @invariant()
    def the_blocks_in_memory_are_the_models(self) -> None:
        """All of them, none larger than it needs to be, and the heap's own counts agree."""
        with self.step():
            found = self.look_at_blocks()
            blocks = {block.payload: block.size for block in found.used if block.payload not in self.others}
            assert set(blocks) == set(self.sizes)
            for address, size in self.sizes.items():
                assert block_bytes(size) <= blocks[address] < block_bytes(size) + SMALLEST
            numbers = heapinfo(found)
            assert {name: numbers[name] for name in self.counts} == self.counts

    def give_back_all(self) -> None:
        self.release(sorted(self.sizes))


@pytest.mark.timeout(300)
def test_every_run_of_calls_leaves_every_block_as_it_was_filled(run_rules: RunRules) -> None:
    run_rules(HeapRules, host=(5, 60), guest=(3, 30))
