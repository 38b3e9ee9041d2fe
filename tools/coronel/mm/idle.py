"""What the object caches hold after a peak: LIVE bytes of objects, then none."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coronel.errors import MMError
from coronel.memory import PAGE_SIZE
from coronel.mm.objects import ObjectOperation, kfree, kmalloc
from coronel.mm.slabs import levels, read_heap

if TYPE_CHECKING:
    from coronel.mm.kernel_mm import KernelMM

LIVE = 47 << 20
MEMORY_MIB = 96  # of a machine with room for them


@dataclass(frozen=True)
class Held:
    """Bytes of all slabs at three moments."""

    asked: int  # no slabs: of the objects together
    live: int  # while all objects are allocated
    released: int  # when all are released, and nothing else is done
    shrunk: int  # when the caches have given back what they can


def slab_bytes(mm: KernelMM) -> int:
    """Bytes of all slabs now."""
    with mm.still() as tables:
        return PAGE_SIZE * sum(
            levels(tables, cache).slabs * cache.frames for cache in read_heap(tables).caches
        )


def after_a_peak(mm: KernelMM, chance: random.Random, *, shuffled: bool = True) -> Held:
    """Allocates objects of 16 B to 2 KiB, releases all, in the order of their allocation when not
    `shuffled`, and shrinks. MMError when a call fails.
    """
    sizes = [chance.randrange(16, 2049) for _ in range(LIVE // 1032)]
    addresses = _all(mm, [kmalloc(size) for size in sizes])
    live = slab_bytes(mm)
    if shuffled:
        chance.shuffle(addresses)
    _all(mm, [kfree(address) for address in addresses])
    released = slab_bytes(mm)
    mm.shrink()
    return Held(sum(sizes), live, released, slab_bytes(mm))


def _all(mm: KernelMM, wanted: list[ObjectOperation]) -> list[int]:
    done = mm.run_objects(wanted)
    for one, result in zip(wanted, done, strict=True):
        if result.why:
            raise MMError(f"{result.why}: {one}", -result.value)
    return [result.value for result in done]
