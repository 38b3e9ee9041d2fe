"""Random operations by the hundred thousand on both bodies, every answer checked, every frame compared.

CORONEL_OPERATIONS is how many on the host, and ten times as many as on the guest: 2000000 takes a minute.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from coronel.errors import ValidationError
from coronel.mm.host import HostMachine
from coronel.mm.host_mm import HostKernelMM
from coronel.mm.pages import PageOperation, PageResult
from coronel.mm.random_pages import RandomPages

OPERATIONS = int(os.environ.get("CORONEL_OPERATIONS", "100000"))


@pytest.mark.timeout(120 + OPERATIONS // 2000)
def test_random_operations_leave_what_the_model_says(body: Any, coronel_seed: int) -> None:
    work = RandomPages(body.mm, coronel_seed)
    operations = OPERATIONS if body.name == "host" else OPERATIONS // 10
    report = work.run(operations, compare_every=max(operations // 8, 1))
    assert report.operations >= operations
    assert report.comparisons >= 8
    kinds = set(report.refused)
    assert len(kinds) == 7, f"seed {coronel_seed}: every kind of refusal was met, but {kinds}"
    first, end = body.room
    body.mm.add_memory_range(first, end)
    work.model.add(first, end, body.mm.walk())
    work.compare(settle=False)
    work.run(min(operations // 4, 20_000))
    work.release_all()
    work.compare(settle=True)
    assert body.mm.get_memory_info().used == 0


class Liar(HostKernelMM):
    """A manager whose answers are changed on their way."""

    def __init__(self, machine: HostMachine, lie: str) -> None:
        super().__init__(machine)
        self.lie = lie
        self.given: dict[int, int] = {}  # the last block of each order

    def _perform(self, operations: list[PageOperation]) -> list[PageResult]:
        return [self._bend(*pair) for pair in zip(operations, super()._perform(operations), strict=True)]

    def _bend(self, operation: PageOperation, result: PageResult) -> PageResult:
        value, why = result
        allocates = operation.verb == 0
        if self.lie == "twice" and allocates and value > 0:
            return PageResult(self.given.setdefault(operation.order, value), why)
        if self.lie == "unaligned" and operation.order and allocates and value > 0:
            return PageResult(value + 1, why)
        if self.lie == "refusal" and allocates and value > 0:
            return PageResult(-12, "out of memory")
        if self.lie == "pardon" and not allocates and why:
            return PageResult(0, "")
        if self.lie == "word" and why == "double free":
            return PageResult(value, "free of a reserved frame")
        return result


@pytest.mark.parametrize(
    ("lie", "text"),
    [
        ("twice", "is not the first of so many free ones"),
        ("unaligned", "is not aligned"),
        ("refusal", "was refused although zone DMA"),
        ("pardon", r"0 \(\), not"),
        ("word", r"free of a reserved frame\), not \('double free'"),
    ],
    ids=["twice", "unaligned", "refusal", "pardon", "word"],
)
@pytest.mark.machine(memory="16M", reserved=[(0, 64)])
def test_the_model_finds_a_wrong_answer(machine: HostMachine, coronel_seed: int, lie: str, text: str) -> None:
    with pytest.raises(ValidationError, match=text) as caught:
        RandomPages(Liar(machine, lie), coronel_seed).run(3000, compare_every=500)
    assert f"seed {coronel_seed}" in str(caught.value)


@pytest.mark.machine(memory="16M", reserved=[(0, 64)])
def test_the_model_finds_a_frame_that_nobody_told_it_of(machine: HostMachine, coronel_seed: int) -> None:
    work = RandomPages(HostKernelMM(machine), coronel_seed)
    work.run(1000)
    work.release_all()
    pfn = machine.alloc_pages(0)
    assert pfn is not None
    with pytest.raises(ValidationError, match=f"the first is frame {pfn:#x}, which is allocated"):
        work.compare(settle=True)
