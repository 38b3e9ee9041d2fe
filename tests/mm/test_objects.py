"""Object caches and kmalloc on both bodies: contents stay, addresses never overlap, misuses are named alike,
and Python's walk of raw memory agrees with what was asked for.
"""

from __future__ import annotations

import errno
import itertools
import random
from dataclasses import dataclass

import pytest

from coronel.errors import GuestError
from coronel.mm.kernel_mm import KernelMM
from coronel.mm.objects import ObjectOperation, cache_alloc, cache_free, kfree, kmalloc, operation
from mm_wrapper import GFPFlags, MMError

SIZES = (1, 8, 24, 64, 100, 200, 700, 1500, 4096, 8192, 8193, 40_000)


@dataclass
class Held:
    """An object of the model."""

    address: int
    size: int
    cache: int  # 0: kmalloc's
    data: bytes


class Model:
    """What is allocated, and what is in it."""

    def __init__(self, mm: KernelMM, seed: int) -> None:
        self.mm = mm
        self.chance = random.Random(seed)
        self.held: list[Held] = []
        self.caches = {mm.create_cache(f"model-{size}", size): size for size in (24, 120, 1000)}

    def allocate(self, count: int) -> None:
        """Many objects at once; each is filled, and overlaps no other."""
        wanted = [self.chance.choice((0, 0, *self.caches)) for _ in range(count)]
        sizes = [self.caches.get(cache) or self._size() for cache in wanted]
        calls = [cache_alloc(c) if c else kmalloc(size) for c, size in zip(wanted, sizes, strict=True)]
        for cache, size, (address, why) in zip(wanted, sizes, self.mm.run_objects(calls), strict=True):
            assert not why or -address == errno.ENOMEM, why
            if why:
                continue
            data = self.chance.randbytes(size)
            self.mm.write_memory(address, data)
            self.held.append(Held(address, size, cache, data))
        spans = sorted((one.address, one.address + one.size) for one in self.held)
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))

    def release(self, count: int) -> None:
        """Many at random, their contents as they were left."""
        self.chance.shuffle(self.held)
        gone, self.held = self.held[:count], self.held[count:]
        for one in gone:
            assert self.mm.read_memory(one.address, one.size) == one.data, f"{one.address:#x} was changed"
        calls = [cache_free(one.cache, one.address) if one.cache else kfree(one.address) for one in gone]
        assert all(not why for _, why in self.mm.run_objects(calls))

    def resize(self, count: int) -> None:
        """Some of kmalloc's; what they held is still there."""
        for one in self.chance.sample(self.held, min(count, len(self.held))):
            if one.cache:
                continue
            size = self._size()
            address = self.mm.krealloc(one.address, size)
            if address is None:
                continue
            kept = min(size, one.size)
            assert self.mm.read_memory(address, kept) == one.data[:kept]
            one.address, one.size, one.data = address, size, self.chance.randbytes(size)
            self.mm.write_memory(address, one.data)

    def misuse(self) -> None:
        """Every kind, on an object at random: named, and nothing has changed."""
        one = self.chance.choice([held for held in self.held if held.size >= 16])
        inner = one.address + self.chance.randrange(1, one.size)
        free = (lambda at: cache_free(one.cache, at)) if one.cache else kfree
        other = next(cache for cache in self.caches if cache != one.cache)
        calls = [free(inner), cache_free(other, one.address), free(0x1000), free((1 << 64) - 16)]
        if one.cache:
            calls.append(kfree(one.address))
        words = [why for _, why in self.mm.run_objects(calls)]
        inside, wild = "free of the inside of an object", "free of an address that is no object"
        wrong = "freed to another cache than it was allocated from"
        assert words[0] == inside
        assert words[1] == wrong
        assert words[2:4] == [wild, wild]
        assert words[4:] == [wrong] * len(words[4:])

    def check(self) -> None:
        """The walk finds nothing wrong, and as many objects as there are."""
        walk = self.mm.walk()
        walk.check()
        stats = self.mm.get_slab_stats()
        for cache, size in self.caches.items():
            count = sum(one.cache == cache for one in self.held)
            assert stats[f"model-{size}"]["allocated"] == count
        small = sum(not one.cache and one.size <= 8192 for one in self.held)
        assert sum(row["allocated"] for name, row in stats.items() if "kmalloc-" in name) == small

    def _size(self) -> int:
        return self.chance.choice((self.chance.choice(SIZES), self.chance.randrange(1, 3000)))


def test_objects_keep_their_contents_through_random_traffic(mm: KernelMM, coronel_seed: int) -> None:
    model = Model(mm, coronel_seed)
    for turn in range(12):
        model.allocate(200)
        model.resize(10)
        model.misuse()
        model.release(220 if turn % 3 == 2 else 120)
        if turn % 4 == 3:
            mm.shrink()
        model.check()
    for cache in model.caches:
        if any(one.cache == cache for one in model.held):
            with pytest.raises(MMError, match=rf"^busy.*: cache {cache}$"):
                mm.destroy_cache(cache)
    model.release(len(model.held))
    for cache in model.caches:
        mm.destroy_cache(cache)
    mm.quiesce()
    mm.walk().check()
    assert mm.get_memory_info().used == 0, "every frame came back"


def test_the_same_calls_have_the_same_outcome_on_both_bodies(
    bodies: tuple[KernelMM, KernelMM], coronel_seed: int
) -> None:
    chance = random.Random(coronel_seed)
    sizes = [chance.randrange(0, 9000) for _ in range(200)] + [
        chance.randrange(0, 10 << 20) for _ in range(20)
    ]
    flags = [chance.choice((1, 1, 1, 2, 4, 17, 8, 24, 0, 32)) for _ in sizes]
    outcomes = []
    for mm in bodies:
        made = mm.run_objects([kmalloc(size, flag) for size, flag in zip(sizes, flags, strict=True)])
        addresses = [value for value, why in made if not why]
        usable = mm.run_objects([operation("ksize", address) for address in addresses])
        inside = mm.run_objects([kfree(address + 8) for address in addresses])
        freed = mm.run_objects([kfree(address) for address in addresses])
        outcomes.append(([why for _, why in made], usable, [why for _, why in inside], freed))
        mm.walk().check()
    assert outcomes[0] == outcomes[1], f"seed {coronel_seed}"
    assert len(set(outcomes[0][0])) > 2


def test_what_is_wrong_is_said_in_the_same_words(mm: KernelMM) -> None:
    cache = mm.create_cache("words", 64)
    for name, size, align in (("", 8, 8), ("a" * 32, 8, 8), ("x", 0, 8), ("x", 40_000, 8), ("x", 8, 12)):
        with pytest.raises(MMError):
            mm.create_cache(name, size, align)
    with pytest.raises(MMError, match="not found: cache 200"):
        mm.cache_alloc(200)
    with pytest.raises(MMError, match="not found: cache 1"):
        mm.cache_alloc(1)  # one of the heap's own
    with pytest.raises(MMError, match="invalid argument"):
        mm.kmalloc(10, GFPFlags.HIGHMEM)
    with pytest.raises(MMError, match="too big for its buffer or table"):
        mm.kmalloc((8 << 20) + 1)
    address = mm.kmalloc(100)
    assert address is not None
    assert mm.ksize(address) == 112
    wrong_size, none = mm.run_objects([operation("kfree_sized", address, 10), operation("ksize", 64)])
    assert wrong_size == (-errno.EINVAL, "freed with another size than it was allocated with")
    assert none.why == "free of an address that is no object"
    mm.kfree(address)
    with pytest.raises(MMError, match="double free") as caught:
        mm.kfree(address)
    assert not isinstance(caught.value, GuestError)
    mm.destroy_cache(cache)
    with pytest.raises(MMError, match=f"^not found: cache {cache}$"):
        mm.destroy_cache(cache)
    with pytest.raises(MMError, match="invalid argument: number -1"):
        mm.kfree(-1)
    with pytest.raises(MMError, match="no call 'q'"):
        mm.run_objects([ObjectOperation("q", 0, 0)])


def test_the_nth_failure_of_an_object(mm: KernelMM) -> None:
    cache = mm.create_cache("failing", 300)
    mm.quiesce()
    used = mm.get_memory_info().used
    outcomes = []
    for n in range(1, 12):
        mm.fail_nth(n)
        address = mm.cache_alloc(cache)
        pending = mm.fail_pending()
        mm.fail_nth(0)
        outcomes.append(address is not None)
        assert pending == (address is not None)
        if address is not None:
            mm.cache_free(cache, address)
        mm.quiesce()
        mm.walk().check()
        assert mm.get_memory_info().used == used
    assert outcomes == sorted(outcomes)
    assert not outcomes[0]
    assert outcomes[-1]
