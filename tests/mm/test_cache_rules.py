"""Hypothesis drives object caches on both bodies against a model that knows every byte of every object: any
call after any other, misuses, failures, slabs that come and go.

The runs follow from the session's seed, which pytest prints.
"""

from __future__ import annotations

import errno
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from tests.mm.object_rules import DOUBLE, FAILURES, INTERIOR, PICKS, WILD, ObjectRules

from coronel.errors import MMError
from coronel.mm.objects import cache_alloc, cache_free, kfree
from coronel.mm.zones import Physical
from mm_wrapper import GFPFlags

if TYPE_CHECKING:
    from tests.mm.conftest import RunRules

MOST_CACHES = 5
MOST_BYTES = 1 << 20  # live in a cache
DMA_END = 16 << 20
LARGEST = 32 << 10  # object that a cache serves
WRONG_CACHE = "freed to another cache than it was allocated from"

SIZES = st.one_of(st.sampled_from((1, 8, 17, 64, 129, 1000, 2048, 4096, 5000, LARGEST)), st.integers(1, 3000))
ALIGNS = st.sampled_from((8, 8, 8, 16, 64, 256, 4096))
SEEDS = st.integers(0, 1 << 16)


@dataclass
class Cache:
    """One that exists."""

    number: int
    name: str
    size: int
    align: int
    dma: bool
    live: list[int] = field(default_factory=list)


class CacheRules(ObjectRules):
    """One run, on caches of its own."""

    def __init__(self, place: Any) -> None:
        super().__init__(place)
        self.caches: list[Cache] = []
        self.made = 0
        with self.mm.still() as tables:
            self.direct_map = int(Physical.of(tables).map["direct_map"])

    def pick(self, number: int) -> Cache | None:
        """One of the caches."""
        return self.caches[number % len(self.caches)] if self.caches else None

    def pick_live(self, number: int) -> Cache | None:
        """One that has objects out."""
        some = [cache for cache in self.caches if cache.live]
        return some[number % len(some)] if some else None

    @initialize(size=st.integers(1, 500))
    def begin(self, size: int) -> None:
        """With a cache of many objects to a slab, and one of few."""
        self.create(size, 8, False)
        self.create(1500, 8, False)

    @rule(size=SIZES, align=ALIGNS, dma=st.sampled_from((False, False, False, True)))
    def create(self, size: int, align: int, dma: bool) -> None:
        """Another cache."""
        if len(self.caches) == MOST_CACHES:
            return
        with self.step():
            name = f"rules-{self.made}"
            number = self.mm.create_cache(name, size, align, dma=dma)
            assert number not in [cache.number for cache in self.caches]
            self.caches.append(Cache(number, name, size, align, dma))
            self.made += 1

    @rule(size=st.sampled_from((0, LARGEST + 1, 1 << 40)), align=st.sampled_from((8, 3, 12, 8192)))
    def create_nonsense(self, size: int, align: int) -> None:
        """What nobody can have."""
        with self.step(), pytest.raises(MMError):
            self.mm.create_cache("nonsense", size, align)

    @rule(
        number=PICKS,
        count=st.sampled_from((1, 10, 60, 200)),
        flags=st.sampled_from((GFPFlags.KERNEL, GFPFlags.ATOMIC, GFPFlags.USER, GFPFlags.DMA)),
    )
    def allocate(self, number: int, count: int, flags: int) -> None:
        """Many in a row: enough of them empty magazines and fill slabs."""
        cache = self.pick(number)
        if cache is None:
            return
        count = min(count, 1 + MOST_BYTES // max(cache.size, cache.align) - len(cache.live))
        with self.step():
            for value, why in self.call(*[cache_alloc(cache.number, flags)] * max(count, 0)):
                if flags == GFPFlags.DMA and not cache.dma:
                    assert (value, why) == (-errno.EINVAL, "invalid argument")
                    continue
                assert not why
                self.take(cache, value)

    def take(self, cache: Cache, address: int) -> None:
        """An object of it."""
        assert address % cache.align == 0
        assert not cache.dma or address + cache.size <= self.direct_map + DMA_END
        self.contents.add(address, cache.size)
        cache.live.append(address)

    @rule(
        number=PICKS,
        count=st.sampled_from((1, 10, 60, 400)),
        order=st.sampled_from(("oldest", "latest", "any")),
        seed=SEEDS,
    )
    def free(self, number: int, count: int, order: str, seed: int) -> None:
        """Some of what is out, in some order."""
        cache = self.pick_live(number)
        if cache is None:
            return
        if order == "latest":
            cache.live.reverse()
        elif order == "any":
            random.Random(seed).shuffle(cache.live)
        self.release(cache, count)

    def release(self, cache: Cache, count: int) -> None:
        """The first ones."""
        with self.step():
            gone, cache.live = cache.live[:count], cache.live[count:]
            for address in gone:
                self.contents.remove(address)
            assert all(
                not why for _, why in self.call(*[cache_free(cache.number, address) for address in gone])
            )

    @rule(number=PICKS, pick=PICKS, wrong=st.sampled_from(("double", "interior", "cache", "kfree", "wild")))
    def misuse(self, number: int, pick: int, wrong: str) -> None:
        """What nobody may do with an object: it is named, and the object is what it was."""
        cache = self.pick_live(number)
        if cache is None:
            return
        address = cache.live[pick % len(cache.live)]
        other = next((one for one in self.caches if one is not cache), cache)
        with self.step():
            if wrong == "double":
                cache.live.remove(address)
                self.contents.remove(address)
                one = cache_free(cache.number, address)
                assert [why for _, why in self.call(one, one)] == ["", DOUBLE]
                return
            if wrong == "interior":
                inside = address + 1 + pick % (cache.size - 1) if cache.size > 1 else address + 1
                said = self.call(cache_free(cache.number, inside))
                expected = INTERIOR if cache.size > 1 else said[0].why
            elif wrong == "wild":
                said, expected = self.call(cache_free(cache.number, 0x1000 + pick)), WILD
            elif wrong == "cache" and other is not cache:
                said, expected = self.call(cache_free(other.number, address)), WRONG_CACHE
            else:
                said, expected = self.call(kfree(address)), WRONG_CACHE
            assert said == [(-errno.EINVAL, expected)]
            self.contents.look(address)

    @rule(number=PICKS, n=FAILURES, count=st.integers(1, 8))
    def fail(self, number: int, n: int, count: int) -> None:
        """The n-th allocation of anything fails: one call has nothing, the others have their objects."""
        cache = self.pick(number)
        if cache is None:
            return
        with self.step():
            self.mm.fail_nth(n)
            results = self.call(*[cache_alloc(cache.number)] * count)
            pending = self.mm.fail_pending()
            self.mm.fail_nth(0)
            assert [value for value, why in results if why] == ([] if pending else [-errno.ENOMEM])
            for value, why in results:
                if not why:
                    self.take(cache, value)

    @rule(number=PICKS)
    def destroy(self, number: int) -> None:
        """Not while anything of it is out."""
        cache = self.pick(number)
        if cache is None:
            return
        with self.step():
            if cache.live:
                with pytest.raises(MMError, match=r"^busy"):
                    self.mm.destroy_cache(cache.number)
                return
            self.mm.destroy_cache(cache.number)
            self.caches.remove(cache)
            assert self.call(cache_alloc(cache.number)) == [(-errno.ENOENT, "not found")]

    @invariant()
    def statistics_agree(self) -> None:
        """As many objects are out as the model has."""
        with self.step():
            stats = self.mm.get_slab_stats()
            for cache in self.caches:
                row = stats[cache.name]
                assert row["allocated"] == len(cache.live)
                assert row["objects"] >= row["allocated"] + row["cached"]
                assert row["object_bytes"] == cache.size
            assert sum(name.startswith("rules-") for name in stats) == len(self.caches)

    def give_back_all(self) -> None:
        for cache in list(self.caches):
            self.release(cache, len(cache.live))
            self.mm.destroy_cache(cache.number)
            self.caches.remove(cache)


@pytest.mark.timeout(300)
def test_every_run_of_calls_leaves_every_object_as_it_was_filled(run_rules: RunRules) -> None:
    run_rules(CacheRules, host=(8, 60), guest=(3, 30))
