"""Hypothesis drives the kmalloc family on both bodies against a model that knows every byte of every object
and in which class it must lie: kmalloc, kzalloc, kcalloc, kmalloc_array, krealloc, kfree, kfree_sized, ksize.

The runs follow from the session's seed, which pytest prints.
"""

from __future__ import annotations

import errno
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule
from tests.mm.object_rules import DOUBLE, FAILURES, INTERIOR, PICKS, WILD, ObjectRules

from coronel.mm.objects import ObjectOperation, kfree, kmalloc, operation
from coronel.mm.zones import Physical
from mm_wrapper import GFPFlags

if TYPE_CHECKING:
    from tests.mm.conftest import RunRules

PAGE = 4096
LARGEST = 8 << 20
MOST_BYTES = 8 << 20  # live, by what was asked for
DMA_END = 16 << 20
WRONG_SIZE = "freed with another size than it was allocated with"
TOO_BIG = (-errno.E2BIG, "too big for its buffer or table")
INVALID = (-errno.EINVAL, "invalid argument")

SIZES = st.one_of(
    st.integers(0, 300),
    st.integers(0, 9000),
    st.sampled_from(
        (0, 8, 9, 57, 112, 113, 2048, 2049, 2688, 2689, 4096, 4097, 8192, 8193, 16_384, 16_385, 70_000)
    ),
    st.integers(8193, 300_000),
)
FLAGS = st.sampled_from((GFPFlags.KERNEL, GFPFlags.KERNEL, GFPFlags.ATOMIC, GFPFlags.USER, GFPFlags.DMA))


@dataclass
class Held:
    """What kmalloc gave."""

    size: int  # asked for last
    place: str  # the name of its cache, or its order


class KmallocRules(ObjectRules):
    """One run."""

    def __init__(self, place: Any) -> None:
        super().__init__(place)
        self.held: dict[int, Held] = {}
        with self.mm.still() as tables:
            self.direct_map = int(Physical.of(tables).map["direct_map"])
        stats = self.mm.get_slab_stats()
        self.classes = {name: row["object_bytes"] for name, row in stats.items() if "kmalloc-" in name}
        self.before = {name: stats[name]["allocated"] for name in self.classes}
        assert len(self.classes) == 28 + 11

    def place_of(self, size: int, dma: bool) -> tuple[str, int]:
        """Where an object of that size must lie, and how much of that may be used."""
        prefix = "dma-kmalloc-" if dma else "kmalloc-"
        fitting = [
            (room, name) for name, room in self.classes.items() if name.startswith(prefix) and room >= size
        ]
        if fitting:
            room, name = min(fitting)
            return name, room
        order = ((size - 1) // PAGE).bit_length()
        return f"order {order}", PAGE << order

    def pick(self, number: int) -> tuple[int, Held] | None:
        """One of the objects."""
        held = sorted(self.held.items())
        return held[number % len(held)] if held else None

    def take(self, address: int, size: int, dma: bool) -> None:
        """An object that kmalloc gave: it lies where it must, aligned, and apart from all others. A host's
        direct map begins at any page, so beyond that it is the frames that are aligned.
        """
        place, room = self.place_of(size, dma)
        assert self.call(operation("ksize", address)) == [(room, "")]
        assert address % (16 if size > 8 else 8) == 0
        if size & (size - 1) == 0:
            assert (address - self.direct_map) % max(size, 1) == 0 or size < 8
        assert not dma or address + room <= self.direct_map + DMA_END
        if place.startswith("order"):
            found = self.mm.get_page_info((address - self.direct_map) // PAGE)
            assert (found.state, f"order {found.order}") == ("allocated", place)
        self.contents.add(address, room)
        self.held[address] = Held(size, place)

    def fits(self, size: int) -> bool:
        """Whether that much more is to be had for sure."""
        return sum(held.size for held in self.held.values()) + size <= MOST_BYTES

    @rule(
        name=st.sampled_from(("kmalloc", "kzalloc")),
        sizes=st.lists(SIZES, min_size=6, max_size=24),
        flags=FLAGS,
    )
    def allocate(self, name: str, sizes: list[int], flags: int) -> None:
        """Some objects; zeroed ones are zero as far as they may be used."""
        sizes = [size for size in sizes if self.fits(size) and (flags != GFPFlags.DMA or size < 3 * PAGE)]
        with self.step():
            results = self.call(*[operation(name, size, flags) for size in sizes])
            for size, (address, why) in zip(sizes, results, strict=True):
                assert not why
                if name == "kzalloc":
                    self.expect_zeroes(address, size, flags == GFPFlags.DMA)
                self.take(address, size, flags == GFPFlags.DMA)

    def expect_zeroes(self, address: int, size: int, dma: bool) -> None:
        """All that may be used."""
        room = self.place_of(size, dma)[1]
        assert self.mm.read_memory(address, room) == bytes(room)

    @rule(
        name=st.sampled_from(("kcalloc", "kmalloc_array")), count=st.integers(0, 40), size=st.integers(0, 400)
    )
    def allocate_array(self, name: str, count: int, size: int) -> None:
        """The same by a product."""
        with self.step():
            ((address, why),) = self.call(operation(name, count, size))
            assert not why
            if name == "kcalloc":
                self.expect_zeroes(address, count * size, False)
            self.take(address, count * size, False)

    @rule(
        name=st.sampled_from(("kcalloc", "kmalloc_array")),
        count=st.integers(2, (1 << 64) - 1),
        beyond=st.integers(0, 1 << 40),
    )
    def overflow(self, name: str, count: int, beyond: int) -> None:
        """A product that is no size, whatever its low bits are, or one that is too large a size."""
        size = min(-(-(1 << 64) // count) + beyond, (1 << 64) - 1)
        large = LARGEST // count + 1
        with self.step():
            assert self.call(operation(name, count, size), operation(name, count, large)) == [TOO_BIG] * 2

    @rule(
        name=st.sampled_from(("kmalloc", "kzalloc")),
        size=st.one_of(st.integers(0, 9000), st.integers(LARGEST + 1, (1 << 64) - 1)),
        flags=st.sampled_from((0, 8, 9, 24, 25, 32, 1 << 40, GFPFlags.KERNEL)),
    )
    def allocate_nonsense(self, name: str, size: int, flags: int) -> None:
        """Flags that no kernel memory has; sizes that none has."""
        if flags == GFPFlags.KERNEL and size <= LARGEST:
            return
        with self.step():
            assert self.call(operation(name, size, flags)) == [
                TOO_BIG if flags == GFPFlags.KERNEL else INVALID
            ]

    @rule(wanted=st.lists(st.tuples(PICKS, SIZES), min_size=4, max_size=16))
    def resize(self, wanted: list[tuple[int, int]]) -> None:
        """Each in place when its class stays the same, else moved."""
        for number, size in wanted:
            picked = self.pick(number)
            if picked is None or not self.fits(size):
                return
            with self.step():
                old, held = picked
                self.contents.look(old)
                ((address, why),) = self.call(operation("krealloc", old, size))
                assert not why
                self.moved(old, held, address, size)

    @rule(number=PICKS, less=st.integers(1, 40))
    def resize_a_little(self, number: int, less: int) -> None:
        """Often in the same class."""
        picked = self.pick(number)
        if picked is not None:
            self.resize([(number, max(picked[1].size - less, 0))])

    @rule(size=SIZES)
    def resize_nothing(self, size: int) -> None:
        """It is an allocation."""
        if not self.fits(size):
            return
        with self.step():
            ((address, why),) = self.call(operation("krealloc", 0, size))
            assert not why
            self.take(address, size, False)

    def moved(self, old: int, held: Held, address: int, size: int) -> None:
        """What krealloc did."""
        dma = held.place.startswith("dma") and self.place_of(size, True)[0] == held.place
        stays = self.place_of(size, dma)[0] == held.place
        assert stays == (address == old)
        room, had = self.place_of(size, dma)[1], self.place_of(held.size, held.place.startswith("dma"))[1]
        self.contents.move(old, address, room, min(room, had, size))
        self.contents.forget(address)
        del self.held[old]
        self.take(address, size, dma)

    @rule(number=PICKS, size=st.one_of(st.integers(LARGEST + 1, (1 << 64) - 1)), inside=st.integers(1, 8192))
    def resize_wrongly(self, number: int, size: int, inside: int) -> None:
        """A size that none has, and an address that is no object's."""
        picked = self.pick(number)
        if picked is None:
            return
        address, held = picked
        room = self.place_of(held.size, held.place.startswith("dma"))[1]
        calls = [
            operation("krealloc", address, size),
            operation("krealloc", address + inside % (room - 1) + 1, 10),
        ]
        with self.step():
            assert self.call(*calls) == [TOO_BIG, (-errno.EINVAL, INTERIOR)]
            self.contents.look(address)

    @rule(first=PICKS, count=st.sampled_from((1, 5, 30)), sized=st.booleans())
    def free(self, first: int, count: int, sized: bool) -> None:
        """Some, with the size that was asked for last or without."""
        held = sorted(self.held.items())
        start = first % (len(held) or 1)
        self.release(held[start : start + count], sized)

    def release(self, some: list[tuple[int, Held]], sized: bool) -> None:
        """These."""
        with self.step():
            calls = []
            for address, held in some:
                self.contents.remove(address)
                del self.held[address]
                calls.append(operation("kfree_sized", address, held.size) if sized else kfree(address))
            assert self.call(*calls) == [(0, "")] * len(some)

    @rule(number=PICKS, other=SIZES, wrong=st.sampled_from(("size", "double", "interior", "wild", "nothing")))
    def misuse(self, number: int, other: int, wrong: str) -> None:
        """What nobody may do with an object: it is named, and the object is what it was."""
        picked = self.pick(number)
        if picked is None:
            return
        address, held = picked
        dma = held.place.startswith("dma")
        room = self.place_of(held.size, dma)[1]
        one: ObjectOperation
        with self.step():
            if wrong == "double":
                self.release([picked], sized=False)
                words = [
                    why
                    for _, why in self.call(
                        kfree(address),
                        operation("kfree_sized", address, held.size),
                        operation("krealloc", address, 10),
                        operation("ksize", address),
                    )
                ]
                assert words == [DOUBLE] * 4
                return
            if wrong == "size":
                if self.place_of(other, dma)[0] == held.place:
                    return
                one, expected = operation("kfree_sized", address, other), WRONG_SIZE
            elif wrong == "interior":
                one, expected = kfree(address + 1 + number % (room - 1)), INTERIOR
            elif wrong == "wild":
                one, expected = kfree((1 << 63) + number), WILD
            else:  # no object at all
                assert self.call(kfree(0), operation("kfree_sized", 0, other)) == [(0, "")] * 2
                one, expected = operation("ksize", 0), WILD
            assert self.call(one) == [(-errno.EINVAL, expected)]
            self.contents.look(address)

    @rule(number=PICKS, n=FAILURES, sizes=st.lists(SIZES, min_size=2, max_size=6))
    def fail(self, number: int, n: int, sizes: list[int]) -> None:
        """The n-th allocation of anything fails: one call has nothing, and what it was to resize is as it
        was.
        """
        sizes = [size for size in sizes if self.fits(size)]
        picked = self.pick(number)
        if picked is None or not sizes:
            return
        old, held = picked
        with self.step():
            self.mm.fail_nth(n)
            results = self.call(*[kmalloc(size) for size in sizes], operation("krealloc", old, sizes[0]))
            pending = self.mm.fail_pending()
            self.mm.fail_nth(0)
            assert [value for value, why in results if why] == ([] if pending else [-errno.ENOMEM])
            for size, (address, why) in zip(sizes, results[:-1], strict=True):
                if not why:
                    self.take(address, size, False)
            address, why = results[-1]
            if not why:
                self.moved(old, held, address, sizes[0])
            else:
                self.contents.look(old)

    @invariant()
    def statistics_agree(self) -> None:
        """Every class has as many objects out as the model has in it."""
        with self.step():
            stats = self.mm.get_slab_stats()
            wanted = Counter(held.place for held in self.held.values())
            for name in self.classes:
                assert stats[name]["allocated"] - self.before[name] == wanted[name], name

    def give_back_all(self) -> None:
        self.release(sorted(self.held.items()), sized=True)


@pytest.mark.timeout(300)
def test_every_run_of_calls_leaves_every_object_as_it_was_filled(run_rules: RunRules) -> None:
    run_rules(KmallocRules, host=(8, 60), guest=(3, 30))
