"""`HostKernelMM`: KernelMM over the host library."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from coronel.artifact import Artifact
from coronel.mm.body import Body
from coronel.mm.host import HostMachine, StressReport
from coronel.mm.leaks import LeakCount
from coronel.mm.misuse import Break, Broken
from coronel.mm.objects import ObjectOperation, ObjectResult
from coronel.mm.pages import PageOperation, PageResult
from coronel.mm.tables import TableOperation, TableResult

if TYPE_CHECKING:
    from coronel.mm.kernel_mm import KernelMM


class HostKernelMM(Body):
    """The memory manager of a machine in this process. As a context manager it closes the machine."""

    def __init__(self, machine: HostMachine) -> None:
        self.machine = machine

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.machine.close()

    @property
    def _state(self) -> HostMachine:
        return self.machine

    def _perform(self, operations: list[PageOperation]) -> list[PageResult]:
        return self.machine.run_pages(operations)

    def _perform_objects(self, operations: list[ObjectOperation]) -> list[ObjectResult]:
        return self.machine.run_objects(operations)

    def _perform_tables(self, operations: list[TableOperation]) -> list[TableResult]:
        return self.machine.run_tables(operations)

    @property
    def _code(self) -> tuple[Artifact, int]:
        return self.machine.library.artifact, self.machine.library.base

    def break_heap(self, wanted: Break) -> Broken:
        """As KernelMM's."""
        return self.machine.break_heap(wanted)

    def find_leaks(self, held: Iterable[int] = ()) -> LeakCount:
        """As KernelMM's."""
        return self.machine.find_leaks(held)

    def clear_leaks(self) -> int:
        """As KernelMM's."""
        return self.machine.clear_leaks()

    def create_cache(self, name: str, size: int, align: int = 8, *, dma: bool = False) -> int:
        """As KernelMM's."""
        return self.machine.create_cache(name, size, align, dma=dma)

    def destroy_cache(self, cache: int) -> None:
        """As KernelMM's."""
        self.machine.destroy_cache(cache)

    def shrink(self) -> None:
        """As KernelMM's."""
        self.machine.shrink()

    def read_memory(self, address: int, size: int) -> bytes:
        """As KernelMM's."""
        return self.machine.memory.read(address, size)

    def write_memory(self, address: int, data: bytes) -> None:
        """As KernelMM's."""
        self.machine.memory.write(address, data)

    def _stress(self, operations: int, seed: int) -> StressReport:
        return self.machine.stress(operations, seed, hold=False)

    def add_memory_range(self, first: int, end: int) -> None:
        """As KernelMM's."""
        self.machine.add_memory_range(first, end)

    def quiesce(self) -> None:
        """As KernelMM's."""
        self.machine.quiesce()

    def fail_nth(self, n: int) -> None:
        """As KernelMM's."""
        self.machine.fail_nth(n)

    def fail_pending(self) -> bool:
        """As KernelMM's."""
        return self.machine.fail_pending()

    def fail_site(self) -> str | None:
        """As KernelMM's."""
        return self.machine.fail_site()

    def valid(self) -> bool:
        """As KernelMM's."""
        return self.machine.valid()


if TYPE_CHECKING:

    def _is_a_body(body: HostKernelMM) -> KernelMM:
        return body
