"""`RandomObjects`: a stream of random requests and releases of kmalloc and of the kernel heap, from a seed;
the same on every body. What is out at the end stays out.

    held = RandomObjects(mm.run_objects, seed=1).run(2000)
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from coronel.errors import MMError
from coronel.mm.objects import (
    ObjectOperation,
    ObjectResult,
    heap_free,
    heap_malloc,
    kfree,
    kmalloc,
    operation,
)
from coronel.mm.pages import GFPFlags

BATCH = 256  # operations a call
KEPT = 0.4  # of all operations are releases, while there is something to release
HEAP = 0.25  # of all requests go to the kernel heap
SMALL, LARGE = 12, 15  # sizes lie below 2^n for a random n: kmalloc's, the heap's

Run = Callable[[Iterable[ObjectOperation]], list[ObjectResult]]


class RandomObjects:
    """Random requests by `run`, which is KernelMM.run_objects or a HostMachine's."""

    def __init__(self, run: Run, seed: int) -> None:
        self._run = run
        self._chance = random.Random(seed)
        self.held: dict[int, ObjectOperation] = {}  # what was asked for, by address

    def run(self, operations: int) -> dict[int, ObjectOperation]:
        """That many more; all that is held. MMError for one that fails."""
        while operations > 0:
            count = min(BATCH, operations)
            operations -= count
            self._batch(count)
        return self.held

    def release_all(self) -> None:
        """Gives back what is held."""
        self._perform([_release(address, asked) for address, asked in self.held.items()])
        self.held.clear()

    def _batch(self, count: int) -> None:
        wanted: list[ObjectOperation] = []
        for _ in range(count):
            if self.held and self._chance.random() < KEPT:
                address = self._chance.choice(list(self.held))
                wanted.append(_release(address, self.held.pop(address)))
            else:
                wanted.append(self._request())
        for one, result in zip(wanted, self._perform(wanted), strict=True):
            if one.letter in "mzh":
                self.held[result.value] = one

    def _request(self) -> ObjectOperation:
        chance = self._chance
        if chance.random() < HEAP:
            return heap_malloc(chance.randrange(16, 32 << chance.randrange(LARGE - 5)))
        size = chance.randrange(1, 16 << chance.randrange(SMALL - 4))
        return kmalloc(size) if chance.random() < 0.7 else operation("kzalloc", size, GFPFlags.KERNEL)

    def _perform(self, wanted: list[ObjectOperation]) -> list[ObjectResult]:
        results = self._run(wanted)
        for one, result in zip(wanted, results, strict=True):
            if result.why:
                raise MMError(f"{result.why}: {one}", -result.value)
        return results


def _release(address: int, asked: ObjectOperation) -> ObjectOperation:
    return heap_free(address) if asked.letter == "h" else kfree(address)
