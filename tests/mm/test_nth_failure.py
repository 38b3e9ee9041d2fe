"""Every operation that allocates, with its first allocation failing, its second, and so on until it succeeds:
what fails has changed nothing, on both bodies.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from coronel.errors import MMError
from coronel.mm.kernel_mm import KernelMM
from coronel.mm.model import MemoryModel
from coronel.mm.pages import GFPFlags, PageOperation, allocation, release

SITES = ("a block of frames out of a zone", "the storage that describes added memory")
MOST = 20  # allocations that one operation may need


def until_it_succeeds(mm: KernelMM, operation: Callable[[], bool], check: Callable[[], None]) -> int:
    """Runs it with the n-th allocation failing, n = 1, 2 ... until the failure does not come: n then. After
    each failure `check` finds everything as it was.
    """
    for n in range(1, MOST):
        mm.fail_nth(n)
        worked = operation()
        struck = not mm.fail_pending()
        assert (mm.fail_site() in SITES) == struck
        mm.fail_nth(0)
        assert mm.fail_site() is None
        assert worked != struck, f"n = {n}: a failure came, and nobody said so, or the other way round"
        if worked:
            return n
        check()
    raise AssertionError(f"it needs more than {MOST} allocations")


def unchanged(mm: KernelMM, model: MemoryModel) -> Callable[[], None]:
    """A check that memory is what the model says, and the counters of what is there, too."""
    levels = mm.get_memory_info()

    def check() -> None:
        info = mm.get_memory_info()
        assert (info.free, info.total, info.present) == (levels.free, levels.total, levels.present)
        mm.quiesce()
        model.quiesced()
        model.compare(mm.walk(), settled=True)
        assert mm.valid()

    return check


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_a_request_of_each_order_fails_and_leaves_no_trace(mm: KernelMM, warm: bool) -> None:
    for order in range(12):
        for flags in (GFPFlags.KERNEL, GFPFlags.ATOMIC, GFPFlags.HIGHMEM):
            model = MemoryModel(mm.walk())
            if warm and order < 4:  # magazines that hold something go out of service and come back
                pfn = mm.alloc_pages(order, flags)
                assert pfn is not None
                mm.free_pages(pfn, order)
            got: list[int] = []

            def request(order: int = order, flags: int = flags, got: list[int] = got) -> bool:
                pfn = mm.alloc_pages(order, flags)
                got += [] if pfn is None else [pfn]
                return pfn is not None

            assert until_it_succeeds(mm, request, unchanged(mm, model)) == 2
            assert len(got) == 1
            assert mm.get_page_info(got[0]).order == order
            mm.free_pages(got[0], order)
    assert mm.get_memory_info().used == 0


def test_of_many_requests_just_the_nth_fails(mm: KernelMM) -> None:
    model = MemoryModel(mm.walk())
    operations: list[PageOperation] = [allocation(order, 1) for order in (0, 3, 4, 9, 0)]
    for n in range(1, 8):
        mm.fail_nth(n)
        results = mm.run(operations)
        mm.fail_nth(0)
        failed = [place for place, (value, _) in enumerate(results, 1) if value == -errno.ENOMEM]
        assert failed == ([n] if n <= len(operations) else [])
        given = [(value, op.order) for op, (value, why) in zip(operations, results, strict=True) if not why]
        back = mm.run([release(pfn, order) for pfn, order in given])
        assert not any(why for _, why in back)
        unchanged(mm, model)()


def test_memory_that_cannot_be_described_is_not_added(body: Any) -> None:
    mm, (first, end) = body.mm, body.room
    model = MemoryModel(mm.walk())
    refusals: list[tuple[int, str]] = []

    def add() -> bool:
        try:
            mm.add_memory_range(first, end)
        except MMError as error:
            refusals.append((error.errno, str(error)))
            return False
        return True

    assert until_it_succeeds(mm, add, unchanged(mm, model)) == 2
    assert refusals == [(errno.ENOMEM, f"out of memory: frames [{first:#x}, {end:#x})")]
    model.add(first, end, mm.walk())
    unchanged(mm, model)()


def test_a_stress_test_that_finds_no_room_for_its_table_says_so(mm: KernelMM) -> None:
    check = unchanged(mm, MemoryModel(mm.walk()))
    mm.fail_nth(1)
    with pytest.raises(MMError, match="out of memory: stress, 100 operations from seed 3"):
        mm.stress_test(100, 3)
    mm.fail_nth(0)
    check()
    for n in range(2, 6):  # from here on it counts the refusal and goes on
        mm.fail_nth(n)
        assert mm.stress_test(100, 3).refused == 1
        assert not mm.fail_pending()
        mm.fail_nth(0)
        check()
