"""What the heap holds after a peak: 47 MiB of live objects, then none, on both bodies."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from coronel.guest import Guest
from coronel.mm.guest_mm import GuestKernelMM
from coronel.mm.host import HostLibrary, HostMachine
from coronel.mm.host_mm import HostKernelMM
from coronel.mm.kernel_mm import KernelMM
from coronel.mm.objects import kfree, kmalloc
from coronel.mm.slab_view import slabinfo
from coronel.pytest_plugin import Build

LIVE = 47 << 20
HELD = 2 << 20  # bytes that one CPU may hold after the releases alone
SHRUNK = 64 << 10
MEMORY_MIB = 96


@contextmanager
def machine(body: str, build: Build) -> Iterator[KernelMM]:
    if body == "guest":
        with Guest(kernel=build.elf, memory=f"{MEMORY_MIB}M", timeout=60.0) as guest:
            yield GuestKernelMM(guest, build.artifact)
        return
    library = HostLibrary.at(build.elf.parent)
    with HostMachine([(0, MEMORY_MIB * 256)], [(0, 1)], library=library) as host:
        yield HostKernelMM(host)


def held(mm: KernelMM) -> int:
    """Bytes of all slabs."""
    with mm.still() as tables:
        return sum(int(row["num_slabs"]) * int(row["pagesperslab"]) * 4096 for row in slabinfo(tables))


@pytest.mark.parametrize("order", ["random", "as allocated"])
@pytest.mark.parametrize("body", ["host", "guest"])
def test_little_is_held_when_nothing_is_live(
    body: str, order: str, artifact: Build, coronel_seed: int
) -> None:
    chance = random.Random(coronel_seed)
    sizes = [chance.randrange(16, 2049) for _ in range(LIVE // 1032)]
    with machine(body, artifact.sibling("release")) as mm:
        made = mm.run_objects([kmalloc(size) for size in sizes])
        assert all(not why for _, why in made)
        assert held(mm) >= sum(sizes)
        addresses = [address for address, _ in made]
        if order == "random":
            chance.shuffle(addresses)
        assert all(not why for _, why in mm.run_objects([kfree(address) for address in addresses]))
        after = held(mm)
        mm.shrink()
        assert (after <= HELD, held(mm) <= SHRUNK) == (True, True), (after, held(mm))
        mm.walk().check()
