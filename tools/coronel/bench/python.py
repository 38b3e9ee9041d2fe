"""Rows of the host library as Python reaches it: mm_wrapper's calls, one by one, through cffi."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from coronel.bench.result import Measured
from coronel.bench.rows import PythonRate, Row
from coronel.mm.host import HostLibrary, HostMachine
from coronel.mm.host_mm import HostKernelMM
from coronel.mm.kernel_mm import KernelMM

PAIRS = 20_000
TIMED_RUNS = 5  # the fastest counts
OBJECT = 64  # bytes

Loop = Callable[[KernelMM, int], None]


def page_pairs(mm: KernelMM, times: int) -> None:
    """alloc_pages() and free_pages() of order 0."""
    for _ in range(times):
        pfn = mm.alloc_pages(0)
        assert pfn is not None
        mm.free_pages(pfn, 0)


def cache_pairs(mm: KernelMM, times: int) -> None:
    """cache_alloc() and cache_free()."""
    cache = mm.create_cache("bench", OBJECT)
    for _ in range(times):
        address = mm.cache_alloc(cache)
        assert address is not None
        mm.cache_free(cache, address)
    mm.destroy_cache(cache)


def kmalloc_pairs(mm: KernelMM, times: int) -> None:
    """kmalloc() and kfree()."""
    for _ in range(times):
        address = mm.kmalloc(OBJECT)
        assert address is not None
        mm.kfree(address)


LOOPS: dict[str, Loop] = {"page-pair": page_pairs, "cache-pair": cache_pairs, "kmalloc-pair": kmalloc_pairs}


def measure(rows: Sequence[Row], build: Path, pairs: int = PAIRS) -> dict[Row, Measured]:
    """The rows of `rows` that Python measures, over the library of a build."""
    wanted = [(row, row.source) for row in rows if isinstance(row.source, PythonRate)]
    if not wanted:
        return {}
    with HostKernelMM(HostMachine("64M", library=HostLibrary.at(build))) as mm:
        return {row: Measured(float(round(_rate(mm, LOOPS[source.case], pairs)))) for row, source in wanted}


def _rate(mm: KernelMM, loop: Loop, pairs: int) -> float:
    fastest = float("inf")
    for _ in range(TIMED_RUNS):
        start = time.perf_counter()
        loop(mm, pairs)
        fastest = min(fastest, time.perf_counter() - start)
    return pairs / fastest
