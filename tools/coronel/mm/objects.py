"""Calls of the floor of objects, one or many at a time: the words that both bodies of KernelMM share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from coronel.errors import MMError
from coronel.mm.pages import GFPFlags, unsigned

# As MEMORY_OBJECT_CALLS of mm/object_call.hpp, by what they do.
LETTERS = {
    "cache_alloc": "a",
    "cache_free": "f",
    "kmalloc": "m",
    "kzalloc": "z",
    "kcalloc": "c",
    "kmalloc_array": "n",
    "kfree": "k",
    "kfree_sized": "x",
    "krealloc": "r",
    "ksize": "s",
    "heap_malloc": "h",
    "heap_realloc": "g",
    "heap_free": "d",
    "heap_shrink": "t",
}
RETURN_ADDRESSES = frozenset("amzcnrhg")


class ObjectOperation(NamedTuple):
    """One call: a letter of LETTERS and two numbers."""

    letter: str
    first: int
    second: int

    def __str__(self) -> str:
        match self.letter:
            case "a":
                return f"cache {self.first}, gfp_flags {self.second:#x}"
            case "f":
                return f"cache {self.first}, object {self.second:#x}"
            case "m" | "z":
                return f"{self.first} bytes, gfp_flags {self.second:#x}"
            case "c" | "n":
                return f"{self.first} of {self.second} bytes"
            case "x" | "r":
                return f"object {self.first:#x}, {self.second} bytes"
            case "h":
                return f"{self.first} bytes, align {self.second}"
            case "g":
                return f"block {self.first:#x}, {self.second} bytes"
            case "d":
                return f"block {self.first:#x}"
            case "t":
                return "the kernel heap"
        return f"object {self.first:#x}"


class ObjectResult(NamedTuple):
    """What came of it."""

    value: int  # an address, bytes or 0; a negative errno when `why` says something
    why: str  # the kernel's words for what went wrong; empty when nothing did


def operation(name: str, first: int, second: int = 0) -> ObjectOperation:
    """The call of that name in LETTERS."""
    return ObjectOperation(LETTERS[name], int(first), int(second))


def cache_alloc(cache: int, gfp_flags: int = GFPFlags.KERNEL) -> ObjectOperation:
    """The call kmem_cache_alloc()."""
    return operation("cache_alloc", cache, gfp_flags)


def cache_free(cache: int, address: int) -> ObjectOperation:
    """The call kmem_cache_free()."""
    return operation("cache_free", cache, address)


def kmalloc(size: int, gfp_flags: int = GFPFlags.KERNEL) -> ObjectOperation:
    """The call kmalloc()."""
    return operation("kmalloc", size, gfp_flags)


def kfree(address: int) -> ObjectOperation:
    """The call kfree()."""
    return operation("kfree", address)


def heap_malloc(size: int, align: int = 0) -> ObjectOperation:
    """A block of the kernel heap, at a multiple of `align` where that is not 0."""
    return operation("heap_malloc", size, align)


def heap_free(address: int) -> ObjectOperation:
    """Gives that back."""
    return operation("heap_free", address)


def checked_objects(operations: Iterable[ObjectOperation]) -> list[ObjectOperation]:
    """The operations, when all of their numbers fit a call; else the MMError for the first that does not."""
    found = list(operations)
    for letter, first, second in found:
        if letter not in LETTERS.values():
            raise MMError(f"invalid argument: no call {letter!r}", 22)
        unsigned("number", first, 64)
        unsigned("number", second, 64)
    return found
