"""What the rule machines of the floor of objects share (test_cache_rules, test_kmalloc_rules,
test_heap_rules): live objects whose contents are known, and what may be asked at any time.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from coronel.mm.objects import ObjectOperation, ObjectResult

# Bytes after which a pattern repeats itself: a prime, so that a shift by any alignment shows.
PERIOD = 251
PICKS = st.integers(0, 1 << 16)  # which of the objects that are live, counted around
FAILURES = st.integers(1, 6)  # which allocation from now on fails

DOUBLE = "double free"
WILD = "free of an address that is no object"
INTERIOR = "free of the inside of an object"


def pattern(number: int, size: int) -> bytes:
    """Bytes that no other number has."""
    once = random.Random(number).randbytes(PERIOD)
    return (once * (size // PERIOD + 1))[:size]


class Contents:
    """Live objects by address. Each is filled from end to end, none overlaps another."""

    def __init__(self, mm: Any) -> None:
        self._mm = mm
        self._filled = 0
        self._addresses: list[int] = []  # ascending
        self._data: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._data)

    def __contains__(self, address: int) -> bool:
        return address in self._data

    def add(self, address: int, room: int) -> None:
        """An object that was handed out, of which `room` bytes may be used."""
        at = bisect_left(self._addresses, address)
        if at > 0:
            before = self._addresses[at - 1]
            assert before + len(self._data[before]) <= address, f"{address:#x} lies in {before:#x}"
        if at < len(self._addresses):
            assert address + room <= self._addresses[at], (
                f"{address:#x} reaches into {self._addresses[at]:#x}"
            )
        self._addresses.insert(at, address)
        self._filled += 1
        self._data[address] = pattern(self._filled, room)
        self._mm.write_memory(address, self._data[address])

    def look(self, address: int) -> None:
        """What was put there is there."""
        data = self._data[address]
        found = self._mm.read_memory(address, len(data))
        if found != data:
            first = next(n for n, byte in enumerate(data) if found[n] != byte)
            raise AssertionError(f"byte {first} of {len(data)} at {address:#x} was changed")

    def look_at_all(self) -> None:
        """The same of every object."""
        for address in self._addresses:
            self.look(address)

    def remove(self, address: int) -> None:
        """An object that is about to go, its contents as they were left."""
        self.look(address)
        self.forget(address)

    def move(self, old: int, new: int, room: int, kept: int) -> None:
        """An object that was resized: its first `kept` bytes are those of before, wherever it is now."""
        assert self._mm.read_memory(new, kept) == self._data[old][:kept], (
            f"{old:#x} lost bytes on its way to {new:#x}"
        )
        self.forget(old)
        self.add(new, room)

    def forget(self, address: int) -> None:
        """An object that is somebody else's now."""
        del self._data[address]
        del self._addresses[bisect_left(self._addresses, address)]


class ObjectRules(RuleBasedStateMachine):
    """One run at a place, which is left as it was entered."""

    def __init__(self, place: Any) -> None:
        super().__init__()
        self.place = place
        body = place.enter()
        self.room = body.room
        self.mm: Any = body.mm  # a KernelMM over raw memory
        self.settle()
        self.used_before = self.mm.get_memory_info().used
        self.contents = Contents(self.mm)
        self.sound = True

    @contextmanager
    def step(self) -> Iterator[None]:
        """Around whatever may find something wrong: then the place is spoilt."""
        was, self.sound = self.sound, False
        yield
        self.sound = was

    def call(self, *operations: ObjectOperation) -> list[ObjectResult]:
        """Performs them."""
        found: list[ObjectResult] = self.mm.run_objects(operations)
        return found

    def settle(self) -> None:
        """Nothing is held that nobody uses."""
        self.mm.shrink()
        self.mm.heap_shrink()
        self.mm.quiesce()

    @rule()
    def shrink(self) -> None:
        """Live objects stay."""
        with self.step():
            self.settle()

    @rule(cpu=st.integers(0, 1))
    def move_to_another_cpu(self, cpu: int) -> None:
        """Its magazines are empty, or hold what it was told to free. A guest decides that for itself."""
        if self.place.name == "host":
            self.mm.machine.cpu = cpu

    @rule()
    def look_at_everything(self) -> None:
        """Python's walk, the library's own proof, and every byte."""
        with self.step():
            self.contents.look_at_all()
            self.mm.walk().check()
            assert self.mm.valid()

    def give_back_all(self) -> None:
        """What is live goes."""
        raise NotImplementedError

    def teardown(self) -> None:
        """Every byte is as it was left, and every frame comes back."""
        if not self.sound:
            return
        self.contents.look_at_all()
        self.give_back_all()
        assert len(self.contents) == 0
        self.settle()
        self.mm.walk().check()
        assert self.mm.valid()
        assert self.mm.get_memory_info().used == self.used_before
        if self.place.name == "host":
            self.mm.machine.cpu = 0
        self.place.leave(self.room)
