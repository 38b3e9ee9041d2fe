"""`RandomPages`: a stream of random operations on pages, by the thousand, from a seed, each answer checked
against a MemoryModel.

    report = RandomPages(mm, seed=1).run(2_000_000)

It fills memory to nine tenths, empties it to three, and again; every order moves about as much memory, so all
of them find it full and broken up. One in sixteen is a misuse, of every kind.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

from coronel.errors import ValidationError
from coronel.mm.kernel_mm import KernelMM
from coronel.mm.model import MAX_ORDER, MemoryModel
from coronel.mm.pages import GFPFlags, PageOperation, allocation, release
from coronel.mm.zones import State

BATCH = 2000  # operations a call
HIGH, LOW = 0.9, 0.3  # of memory that is out, where the tide turns
LEGAL = [1, 1, 1, 1, 4, 2, 8, 8 | 4, 16, 1 | 16, 1 | 2]
ILLEGAL = [0, 24, 25, 32, 255]


@dataclass
class VolumeReport:
    """What a run of random operations came to."""

    seed: int
    operations: int = 0
    blocks: int = 0  # handed out
    comparisons: int = 0  # of every frame with the model
    refused: Counter[str] = field(default_factory=Counter)  # by the kernel's words


class RandomPages:
    """Random operations on `mm`, whose every block that is out now stays out."""

    def __init__(self, mm: KernelMM, seed: int) -> None:
        self.mm = mm
        self.chance = random.Random(seed)
        self.report = VolumeReport(seed)
        walk = mm.walk()
        self.model = MemoryModel(walk)
        self._managed = walk.managed
        self._own: list[tuple[int, int]] = []  # blocks that may be given back
        self._filling = True
        self._orders = [n for n in range(MAX_ORDER + 1) for _ in range(1 << (MAX_ORDER - n))]
        # Kept by nobody but the reserved: frames that a wild hand may try to free.
        self._reserved = [n for n, state in enumerate(self.model.state) if state == State.reserved]

    def run(self, operations: int, *, compare_every: int = 100_000) -> VolumeReport:
        """Performs so many more, compares all frames every so often and, after a quiesce, at the end.
        ValidationError says what was wrong, and names the seed.
        """
        try:
            left, until = operations, compare_every
            while left > 0:
                count = min(BATCH, left, until)
                self._batch(count)
                left, until = left - count, until - count
                if until <= 0:
                    self.compare(settle=self.chance.random() < 0.5)  # either way
                    until = compare_every
            self.compare(settle=True)
        except ValidationError as error:
            done = self.report.operations
            raise ValidationError(f"seed {self.report.seed}, within {done} operations: {error}") from None
        return self.report

    def release_all(self) -> None:
        """Gives back everything that the run allocated."""
        operations = [release(pfn, order) for pfn, order in self._own]
        self.model.follow(operations, self.mm.run(operations))
        self._own.clear()

    def compare(self, *, settle: bool) -> None:
        """Compares every frame with the model; `settle` sends the magazines home before."""
        if settle:
            self.mm.quiesce()
            self.model.quiesced()
        self.model.compare(self.mm.walk(), settled=settle)
        if not self.mm.valid():
            raise ValidationError("the manager's own proof does not hold")
        self.report.comparisons += 1

    def _batch(self, count: int) -> None:
        free = sum(zone.free for zone in self.model.zones)
        if free < self._managed * (1 - HIGH):
            self._filling = False
        elif free > self._managed * (1 - LOW):
            self._filling = True
        operations: list[PageOperation] = []
        chance, own = self.chance.random, self._own
        while len(operations) < count:
            dice = chance()
            if dice * 16 < 1:
                operations += self._misuse()
            elif not own or (chance() < 0.75) == self._filling:  # most follow the tide
                operations.append(self._allocation())
            else:
                operations.append(release(*self._take()))
        results = self.mm.run(operations)
        self.report.operations += len(operations)
        self.model.follow(operations, results)
        for operation, (value, why) in zip(operations, results, strict=True):
            if why:
                self.report.refused[why] += 1
            elif operation.verb == 0:
                own.append((value, operation.order))
                self.report.blocks += 1

    def _allocation(self) -> PageOperation:
        chance = self.chance.random
        orders = self._orders
        return PageOperation(0, orders[int(chance() * len(orders))], LEGAL[int(chance() * len(LEGAL))], 0)

    def _take(self) -> tuple[int, int]:
        own = self._own
        place = int(self.chance.random() * len(own))
        own[place], own[-1] = own[-1], own[place]
        return own.pop()

    def _misuse(self) -> list[PageOperation]:
        """A release, or a request, that must be refused; the double one comes with the one before it."""
        chance = self.chance
        kind = chance.randrange(7)
        if kind == 0 or not self._own:
            return [release(len(self.model.state) + chance.randrange(1 << 20), chance.randrange(12))]
        if kind == 1:
            return [allocation(chance.choice([12, 63, 1 << 31]), GFPFlags.KERNEL)]
        if kind == 2:
            return [allocation(0, chance.choice(ILLEGAL))]
        if kind == 3 and self._reserved:
            return [release(chance.choice(self._reserved), chance.randrange(12))]
        pfn, order = chance.choice(self._own)
        if kind == 4:
            return [release(pfn, (order + chance.randrange(1, 12)) % 12)]
        if kind == 5 and order:
            return [release(pfn + chance.randrange(1, 1 << order), chance.randrange(12))]
        pfn, order = self._take()
        return [release(pfn, order), release(pfn, chance.randrange(12))]
