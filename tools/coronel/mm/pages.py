"""Operations on pages, one or many at a time, and what comes of them: the words that both bodies of KernelMM
share.
"""

from __future__ import annotations

import enum
import errno
from collections.abc import Iterable
from typing import NamedTuple

from coronel.errors import MMError


class GFPFlags(enum.IntFlag):
    """What kind of memory, and how much may be done to get it. One or more, but not HIGHMEM with DMA."""

    KERNEL = 1  # directly mapped memory, down to the zone's minimum
    ATOMIC = 2  # the same for those who cannot wait: the reserve below the minimum, too
    USER = 4  # directly mapped memory for a program
    HIGHMEM = 8  # memory beyond the direct map first
    DMA = 16  # below 16 MiB


class Verb(enum.IntEnum):
    """What an operation does; the values of mm_host.h's mm_page_verb."""

    alloc = 0
    free = 1


class PageOperation(NamedTuple):
    """One call of alloc_pages() or free_pages(). `allocation` and `release` make them."""

    verb: int  # a Verb
    order: int
    gfp_flags: int
    pfn: int

    def __str__(self) -> str:
        if self.verb == Verb.alloc:
            return f"order {self.order}, gfp_flags {self.gfp_flags:#x}"
        return f"frame {self.pfn:#x}, order {self.order}"


class PageResult(NamedTuple):
    """What came of an operation."""

    value: int  # first frame of the block, 0 for a release, or a negative errno
    why: str  # the kernel's words for what went wrong; empty when nothing did


def allocation(order: int, gfp_flags: int = GFPFlags.KERNEL) -> PageOperation:
    """The call alloc_pages(order, gfp_flags)."""
    return PageOperation(0, order, int(gfp_flags), 0)


def release(pfn: int, order: int) -> PageOperation:
    """The call free_pages(pfn, order)."""
    return PageOperation(1, order, 0, pfn)


def unsigned(name: str, value: int, bits: int = 32) -> int:
    """`value`, when it fits; else the MMError with which the kernel would refuse it."""
    if not isinstance(value, int) or not 0 <= value < 1 << bits:
        raise MMError(f"invalid argument: {name} {value!r}", errno.EINVAL)
    return value


def checked(operations: Iterable[PageOperation]) -> list[PageOperation]:
    """The operations, when all of their numbers fit a call; else the MMError for the first that does not."""
    found = list(operations)
    for verb, order, flags, pfn in found:
        Verb(verb)
        unsigned("order", order)
        unsigned("gfp_flags", flags)
        unsigned("pfn", pfn, 64)
    return found
