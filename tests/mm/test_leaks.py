"""The scan for leaks on both bodies of the guarded profile: one object among 100 000, and no other."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from coronel.errors import DecodeError, MMError
from coronel.mm.guest_mm import GuestKernelMM
from coronel.mm.kernel_mm import KernelMM
from coronel.mm.objects import ObjectOperation, cache_alloc, kfree, kmalloc, operation

HELD = 100_000
UNSUPPORTED = 95
SIZES = (8, 16, 24, 40, 64, 96)


@contextmanager
def clean(mm: KernelMM) -> Iterator[None]:
    """Nothing is lost before, and nothing after."""
    assert mm.find_leaks().leaks == 0
    yield
    assert mm.find_leaks().leaks == 0


def made(mm: KernelMM, operations: list[ObjectOperation]) -> list[int]:
    results = mm.run_objects(operations)
    assert not [one.why for one in results if one.why]
    return [one.value for one in results]


def sites(mm: KernelMM, calls: list[ObjectOperation]) -> dict[str, int]:
    """What each of these calls returns to: as one leak of each says."""
    found = {}
    for call in calls:
        (address,) = made(mm, [call])
        (leak,) = mm.check_memory_leak()
        assert leak.address == address
        found[call.letter] = leak.allocated.site
        mm.run_objects(
            [kfree(address) if call.letter != "a" else operation("cache_free", call.first, address)]
        )
    assert len(set(found.values())) == len(calls), "each comes from a line of its own"
    return found


@pytest.mark.timeout(300)
def test_one_leak_among_100_000_is_named_with_its_call_site(guarded_mm: KernelMM, coronel_seed: int) -> None:
    mm, chance = guarded_mm, random.Random(coronel_seed)
    cache = mm.create_cache(f"crowd-{chance.randrange(1000)}", chance.randrange(8, 100))
    with clean(mm):
        by_letter = sites(mm, [kmalloc(10), operation("kzalloc", 10, 1), cache_alloc(cache)])
        kinds = [lambda: kmalloc(chance.choice(SIZES)), lambda: operation("kzalloc", chance.choice(SIZES), 1)]
        kinds.append(lambda: cache_alloc(cache))
        calls = [chance.choice(kinds)() for _ in range(HELD)]
        crowd = made(mm, calls)
        table = mm.kmalloc(8 * HELD)
        assert table is not None
        mm.write_memory(table, struct.pack(f"<{HELD}Q", *crowd))
        assert mm.find_leaks([table]).leaks == 0
        lost = chance.randrange(HELD)
        mm.write_memory(table + 8 * lost, bytes(8))
        said = f"seed {coronel_seed}: object {lost}, {calls[lost]}"
        count = mm.find_leaks([table])
        (leak,) = mm.leaks()
        assert (count.leaks, count.leaked_bytes) == (1, leak.size), said
        assert count.objects > HELD
        assert leak.address == crowd[lost], said
        assert leak.allocated.site == by_letter[calls[lost].letter], said
        if calls[lost].letter != "a":
            assert leak.size == calls[lost].first, said
        mm.run_objects([kfree(table)])
        assert mm.find_leaks().leaks == HELD
        assert {one.address for one in mm.leaks()} == set(crowd)
        give_back = [
            operation("cache_free", cache, address) if call.letter == "a" else kfree(address)
            for call, address in zip(calls, crowd, strict=True)
        ]
        assert not [one.why for one in mm.run_objects(give_back) if one.why]
        assert mm.leaks() == []
    mm.destroy_cache(cache)


def test_a_leak_says_by_which_calls_it_came(guarded_mm: KernelMM) -> None:
    with clean(guarded_mm):
        (address,) = made(guarded_mm, [kmalloc(100)])
        large = guarded_mm.kmalloc(50_000)
        assert large is not None
        found = {leak.address: leak for leak in guarded_mm.check_memory_leak()}
        assert set(found) == {address, large}
        assert (found[address].keeper, found[large].keeper) == ("cache", "large")
        for leak in found.values():
            names = [guarded_mm.function_at(call - 1) or "" for call in (leak.allocated.site, *leak.callers)]
            assert all(names), names
            if isinstance(guarded_mm, GuestKernelMM):
                assert 3 <= len(names) <= 9
                assert "perform" in names[0], names
                assert "kmain" in names, names
        guarded_mm.kfree(address)
        guarded_mm.kfree(large)


def test_what_is_known_is_no_news_until_it_is_somebody_elses(guarded_mm: KernelMM) -> None:
    mm = guarded_mm
    with clean(mm):
        holder, inner = made(mm, [operation("kzalloc", 64, 1), kmalloc(64)])
        mm.write_memory(holder + 8, struct.pack("<Q", inner + 63))
        assert [leak.address for leak in mm.check_memory_leak([holder])] == []
        assert len(mm.check_memory_leak()) == 2
        assert mm.clear_leaks() == 2
        assert mm.check_memory_leak() == []
        (later,) = made(mm, [kmalloc(64)])
        assert [leak.address for leak in mm.check_memory_leak()] == [later]
        mm.write_memory(holder + 16, struct.pack("<Q", later))
        assert mm.check_memory_leak() == [], "what a known one leads to is no news either"
        for address in (holder, inner, later):
            mm.kfree(address)
        (again,) = made(mm, [kmalloc(64)])
        assert [leak.address for leak in mm.check_memory_leak()] == [again]
        resized = mm.krealloc(again, 50)
        assert [leak.size for leak in mm.check_memory_leak()] == [50]
        assert resized is not None
        mm.kfree(resized)


def test_a_build_without_it_says_which_has_it(release_mm: KernelMM) -> None:
    for call in (release_mm.find_leaks, release_mm.clear_leaks):
        with pytest.raises(MMError, match="make guarded") as caught:
            call()
        assert caught.value.errno == UNSUPPORTED
    with pytest.raises(DecodeError, match="make guarded"):
        release_mm.leaks()
