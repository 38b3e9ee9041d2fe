"""`HostMachine`: the kernel's own memory manager, in this process, on as many machines as one likes.

    with HostMachine("64M") as machine:
        pfn = machine.alloc_pages(3)
        machine.free_pages(pfn, 3)
        print(machine.walk().summary())

The library is `libcoronel_mm.so` of a build: the same sources as the kernel. The declarations are its own
headers, read by cffi as they are.
"""

from __future__ import annotations

import errno
import functools
import os
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import cffi

from coronel.artifact import Artifact
from coronel.checkout import (
    HEADERS,
    INSTALLED_HEADERS,
    INSTALLED_LIBRARY,
    LIBRARY,
    PROFILES,
    ROOT,
    built,
    installed,
)
from coronel.errors import MMError, SetupError, UsageError
from coronel.memory import PAGE_SHIFT, PAGE_SIZE
from coronel.mm import stats
from coronel.mm.host_memory import HostMemory, base_of
from coronel.mm.leaks import LeakCount
from coronel.mm.misuse import Break, Broken
from coronel.mm.objects import ObjectOperation, ObjectResult
from coronel.mm.pages import PageOperation, PageResult, unsigned
from coronel.mm.record import Tables
from coronel.mm.tables import NUMBERS_MOST, TableOperation, TableResult

if TYPE_CHECKING:
    from coronel.mm.walker import Walk

LIBRARY_VARIABLE = "CORONEL_MM_LIBRARY"  # a path to use instead of the build's

_ROW = struct.Struct("<IIIIQq")  # struct mm_page_operation
_CALL = struct.Struct("<IIQQQ")  # struct mm_object_call
_TABLE_CALL = struct.Struct("<II6Q")  # struct mm_table_call

Misuse = Literal["refuse", "panic"]


class Range(NamedTuple):
    """Frame numbers [first, end)."""

    first: int
    end: int


@dataclass(frozen=True)
class StressReport:
    """What a run of random operations did."""

    operations: int
    allocations: int
    releases: int
    refused: int  # for want of memory
    misuses: int  # tried on purpose, and detected
    live_blocks: int
    live_frames: int


def declarations(header: str) -> str:
    """The plain C in the text of a header: what cffi can read. Constants stay, guards and C++ go."""
    kept: list[str] = []
    conditions: list[bool] = []  # of the open #if: whether its lines count
    for line in re.sub(r"[ \t]*/\*.*?\*/", "", header, flags=re.DOTALL).splitlines():
        word = re.match(r"\s*#\s*(\w+)\s*(.*)", line)
        if word is None:
            kept += [line] if all(conditions) else []
        elif word[1] in ("if", "ifdef", "ifndef"):
            conditions.append(word[1] == "ifndef")  # a guard: yes; __cplusplus: no
        elif word[1] == "else":
            conditions[-1] = not conditions[-1]
        elif word[1] == "endif":
            conditions.pop()
        elif word[1] == "define" and re.fullmatch(r"\w+\s+(0x)?[0-9a-fA-F]+[uUlL]*", word[2].strip()):
            kept += [line] if all(conditions) else []
    return "\n".join(kept)


def find_library(profile: str | None = None) -> Path:
    """The library of a profile, by default of the first that is built; SetupError says how to build it.

    A package that `make install` has installed takes the library beside it. The environment's
    CORONEL_MM_LIBRARY, a path, goes before everything.
    """
    override = os.environ.get(LIBRARY_VARIABLE)
    if override:
        if not Path(override).is_file():
            raise SetupError(f"{LIBRARY_VARIABLE} names {override}, which is no file")
        return Path(override)
    path = installed(INSTALLED_LIBRARY) or built(LIBRARY, profile)
    if path is None:
        wanted = ROOT / "build" / (profile or PROFILES[0]) / LIBRARY
        raise SetupError(f"the host library {wanted} is not built: run `make {profile or 'all'}` in {ROOT}")
    return path


@functools.cache
def _interface() -> cffi.FFI:
    ffi = cffi.FFI()
    for name, installed_name in zip(HEADERS, INSTALLED_HEADERS, strict=True):
        path = installed(installed_name) or ROOT / name
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise SetupError(f"the host library's header {path} cannot be read: {error.strerror}") from None
        ffi.cdef(declarations(text))
    return ffi


class HostLibrary:
    """One loaded library. Calls work on the machine that the calling thread has entered."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ffi = _interface()
        try:
            self.call: Any = self.ffi.dlopen(str(path))
        except OSError as error:
            raise SetupError(
                f"the host library {path} cannot be loaded ({error}): build it again with `make`"
            ) from None

    @functools.cached_property
    def error_texts(self) -> list[str]:
        """The words for every number of an error; empty for 0, which is none."""
        texts = [""]
        while text := self.call.mm_error_text(len(texts)):
            texts.append(self.ffi.string(text).decode())
        return texts

    @functools.cached_property
    def error_numbers(self) -> list[int]:
        """The errno of each number of an error."""
        return [int(self.call.mm_error_number(error)) for error in range(len(self.error_texts))]

    @functools.cached_property
    def artifact(self) -> Artifact:
        """Its file, with its symbols."""
        return Artifact.open(self.path)

    @functools.cached_property
    def base(self) -> int:
        """Where it is loaded."""
        return base_of(self.path)

    @classmethod
    @functools.cache
    def open(cls, profile: str | None = None) -> HostLibrary:
        """The library of a profile, loaded once."""
        return _loaded(find_library(profile))

    @classmethod
    def at(cls, folder: Path) -> HostLibrary:
        """The library that was built into `folder`, unless the environment names another one."""
        path = folder / LIBRARY
        if os.environ.get(LIBRARY_VARIABLE):
            return cls.open()
        if not path.is_file():
            raise SetupError(f"the host library {path} is not built: run `make all`")
        return _loaded(path.resolve())


@functools.cache
def _loaded(path: Path) -> HostLibrary:
    return HostLibrary(path)


class HostMachine:
    """A machine: some memory, some of it reserved, and a memory manager that has taken it into service.

    `memory` is a size ("64M", a number of bytes) for one range from frame 0, or ranges of frame numbers.
    Ranges ascend and do not overlap; those of `reserved` lie inside `memory`. With `on_misuse` "refuse" a
    wrong release raises MMError and changes nothing; with "panic" it also kills the machine, as it stops a
    kernel. Frames from byte `direct_end` on are HIGHMEM (0: none are); add_memory_range() works up to byte
    `room_end`. Its trees of page tables have that many `levels`.
    """

    def __init__(
        self,
        memory: str | int | Iterable[tuple[int, int]] = "64M",
        reserved: Iterable[tuple[int, int]] = (),
        *,
        cpus: int = 1,
        on_misuse: Misuse = "refuse",
        direct_end: int = 0,
        room_end: int = 0,
        levels: int = 4,
        library: HostLibrary | None = None,
    ) -> None:
        self.library = library or HostLibrary.open()
        self.memory_ranges = _ranges("memory", memory)
        self.reserved_ranges = _ranges("reserved", reserved)
        self.cpu = 0  # that calls run on; set it to let another one of `cpus` work
        self._handle = self._create(cpus, on_misuse, direct_end, room_end, levels)
        record = self.library.call.mm_record(self._handle)
        self.memory = HostMemory(record, self.library.path)
        self.tables = Tables.load(self.memory, record)

    @classmethod
    def like(cls, walk: Walk, **options: Any) -> Self:
        """A machine with the memory map of another one: its present frames as memory, its reserved ones
        reserved, the same of it in the direct map.
        """
        options.setdefault("direct_end", walk.direct_frames << PAGE_SHIFT)
        return cls(walk.present_ranges, walk.reserved_ranges, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives its memory back. Can be called again."""
        if self._handle is not None:
            self.memory.close()
            self.library.call.mm_machine_destroy(self._handle)
            self._handle = None

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            self.close()

    # -- what it does

    def alloc_pages(self, order: int, gfp_flags: int | None = None) -> int | None:
        """The first frame of a block of 2^order frames, or None when memory is out; MMError for what makes no
        sense.
        """
        flags = self.library.call.GFP_KERNEL if gfp_flags is None else gfp_flags
        number = int(self._enter().alloc_pages(unsigned("order", order), unsigned("gfp_flags", flags)))
        if number == -errno.ENOMEM:
            return None
        if number < 0:
            raise self._error(number, f"order {order}, gfp_flags {flags:#x}")
        return number

    def free_pages(self, pfn: int, order: int) -> None:
        """Takes a block back; MMError says what was wrong with it."""
        status = int(self._enter().free_pages(unsigned("pfn", pfn, 64), unsigned("order", order)))
        if status < 0:
            raise self._error(status, f"frame {pfn:#x}, order {order}")

    def run_pages(self, operations: Iterable[PageOperation]) -> list[PageResult]:
        """Performs many operations at once, in order, and says what came of each. MMError when the machine
        dies of one of them; those before it are done.
        """
        try:
            rows = [_ROW.pack(verb, order, flags, 0, pfn, 0) for verb, order, flags, pfn in operations]
        except struct.error as error:
            raise MMError(f"invalid argument: {error}", errno.EINVAL) from None
        ffi, call = self.library.ffi, self._enter()
        data = bytearray(b"".join(rows))
        first = ffi.cast("struct mm_page_operation *", ffi.from_buffer(data))
        done = int(call.mm_run_pages(first, len(rows)))
        if done != len(rows):
            raise self._error(min(done, 0) or -errno.ENOTRECOVERABLE, "many operations")
        texts = self.library.error_texts
        return [PageResult(result, texts[error]) for *_, error, _, result in _ROW.iter_unpack(data)]

    def run_objects(self, operations: Iterable[ObjectOperation]) -> list[ObjectResult]:
        """As run_pages(), for calls of the floor of objects."""
        rows = [_CALL.pack(ord(letter), 0, first, second, 0) for letter, first, second in operations]
        ffi, call = self.library.ffi, self._enter()
        data = bytearray(b"".join(rows))
        first_call = ffi.cast("struct mm_object_call *", ffi.from_buffer(data))
        done = int(call.mm_run_objects(first_call, len(rows)))
        if done != len(rows):
            raise self._error(min(done, 0) or -errno.ENOTRECOVERABLE, "many operations")
        texts, numbers = self.library.error_texts, self.library.error_numbers
        return [
            ObjectResult(-numbers[error], texts[error]) if error else ObjectResult(result, "")
            for _, error, _, _, result in _CALL.iter_unpack(data)
        ]

    def run_tables(self, operations: Iterable[TableOperation]) -> list[TableResult]:
        """As run_pages(), for calls of page tables."""
        spare = (0,) * NUMBERS_MOST
        rows = [
            _TABLE_CALL.pack(ord(letter), 0, *(numbers + spare)[:NUMBERS_MOST], 0)
            for letter, numbers in operations
        ]
        ffi, call = self.library.ffi, self._enter()
        data = bytearray(b"".join(rows))
        done = int(call.mm_run_tables(ffi.cast("struct mm_table_call *", ffi.from_buffer(data)), len(rows)))
        if done != len(rows):
            raise self._error(min(done, 0) or -errno.ENOTRECOVERABLE, "many operations")
        texts, numbers = self.library.error_texts, self.library.error_numbers
        return [
            TableResult(-numbers[error], texts[error]) if error else TableResult(result, "")
            for _, error, *_, result in _TABLE_CALL.iter_unpack(data)
        ]

    def create_cache(self, name: str, size: int, align: int = 8, *, dma: bool = False) -> int:
        """Makes a cache; its number."""
        call = self._enter()
        size, align = unsigned("size", size, 64), unsigned("align", align, 64)
        flags = call.SLAB_CACHE_DMA if dma else 0
        made = call.kmem_cache_create(name.encode(), size, align, flags, self.library.ffi.NULL)
        if made == self.library.ffi.NULL:
            raise self._error(-errno.EINVAL, f"cache {name!r}, size {size}, align {align}")
        return int(call.mm_cache_number(made))

    def destroy_cache(self, cache: int) -> None:
        """Ends a cache; MMError while objects of it are allocated."""
        call = self._enter()
        self._check(call.kmem_cache_destroy(call.mm_cache(unsigned("cache", cache))), f"cache {cache}")

    def shrink(self) -> None:
        """Gives back what caches and the kernel heap hold and nobody uses."""
        self._check(self._enter().mm_shrink(), "shrink")

    def stress(self, operations: int, seed: int, *, hold: bool = True) -> StressReport:
        """Random allocations, releases and misuses, the kernel's `stress pages`. With `hold` what is live
        stays so.
        """
        report = self.library.ffi.new("struct mm_stress_report *")
        status = self._enter().mm_stress_pages(
            unsigned("operations", operations, 64), unsigned("seed", seed, 64), int(hold), report
        )
        if status < 0:
            raise self._error(status, f"stress, {operations} operations from seed {seed}")
        return StressReport(*(int(getattr(report, name)) for name in StressReport.__dataclass_fields__))

    def heap_malloc(self, size: int, align: int = 0) -> int | None:
        """The address of a block of the kernel heap, at a multiple of `align` where that is not 0; None when
        memory is out.
        """
        made = self.library.ffi.new("uint64_t *")
        status = int(
            self._enter().mm_heap_malloc(unsigned("size", size, 64), unsigned("align", align, 64), made)
        )
        return self._address(status, made, f"{size} bytes, align {align}")

    def heap_realloc(self, address: int, size: int) -> int | None:
        """Where the block lies now that it is `size` bytes large; None, and nothing changed, when memory is
        out.
        """
        made = self.library.ffi.new("uint64_t *")
        call = self._enter()
        status = int(call.mm_heap_realloc(unsigned("address", address, 64), unsigned("size", size, 64), made))
        return self._address(status, made, f"address {address:#x}, {size} bytes")

    def heap_free(self, address: int) -> None:
        """Takes a block of the heap back; MMError says what was wrong with it."""
        status = int(self._enter().mm_heap_free(unsigned("address", address, 64)))
        self._check(status, f"address {address:#x}")

    def heap_shrink(self) -> int:
        """Lets the heap give back what it can; how many pages that were."""
        return self._check(int(self._enter().mm_heap_shrink()), "heap_shrink")

    def break_heap(self, wanted: Break) -> Broken:
        """Makes an error in the use of the heap, on purpose (`coronel.mm.misuse`). MMError when it makes no
        sense, and where the policy is `panic`.
        """
        made = self.library.ffi.new("struct mm_broken_heap *")
        kind, *numbers = wanted.kind.encode(), wanted.cache, wanted.size, wanted.object, wanted.offset
        status = int(self._enter().mm_break_heap(kind, *numbers, wanted.site, made))
        self._check(status, f"break {wanted}")
        return Broken(int(made.object), int(made.address), self.library.error_texts[made.error])

    def find_leaks(self, held: Iterable[int] = ()) -> LeakCount:
        """The kernel's `kmemleak scan`: nobody but the machine itself and those addresses holds anything."""
        ffi = self.library.ffi
        words = ffi.new("uint64_t[]", [unsigned("held", address, 64) for address in held])
        first = int(ffi.cast("uintptr_t", words))
        roots = ffi.new("struct mm_range[]", [(first, first + 8 * len(words))])
        found = ffi.new("struct mm_leak_count *")
        self._check(int(self._enter().mm_find_leaks(roots, 1, found)), "find_leaks")
        return LeakCount(*(int(getattr(found, name)) for name in LeakCount.__dataclass_fields__))

    def clear_leaks(self) -> int:
        """Says that what was reported is known; how many that were."""
        return self._check(int(self._enter().mm_clear_leaks()), "clear_leaks")

    def add_memory_range(self, first: int, end: int) -> None:
        """Puts frames [first, end) into service; MMError when it cannot be, and nothing has changed."""
        status = int(
            self._enter().buddy_add_memory(
                unsigned("first", first << PAGE_SHIFT, 64), unsigned("end", end << PAGE_SHIFT, 64)
            )
        )
        if status < 0:
            raise self._error(status, f"frames [{first:#x}, {end:#x})")

    def quiesce(self) -> None:
        """Sends home what the CPUs' magazines hold, so that levels, counters and a walk agree."""
        self._check(self._enter().mm_quiesce(), "quiesce")

    def fail_nth(self, n: int) -> None:
        """Lets the n-th allocation from now on fail, once; 0 ends the plan."""
        self._check(self._enter().mm_fail_nth(unsigned("n", n, 64)), f"fail_nth {n}")

    def fail_pending(self) -> bool:
        """Whether the failure that was armed is still to come."""
        return bool(self._check(self._enter().mm_fail_pending(), "fail_pending"))

    def fail_site(self) -> str | None:
        """What was refused when the armed failure came, in words; None when it has not come."""
        said = self._enter().mm_fail_site()
        return None if said == self.library.ffi.NULL else str(self.library.ffi.string(said).decode())

    def valid(self) -> bool:
        """Whether the manager's own proof of its invariants holds."""
        return bool(self._check(self._enter().mm_valid(), "valid"))

    # -- what it holds

    @contextmanager
    def still(self) -> Iterator[Tables]:
        """The tables. Nothing happens here unless this process does it."""
        yield self.tables

    def counters(self) -> dict[str, int]:
        """Every counter by name."""
        return stats.counters(self.tables)

    def walk(self, *, contents: bool = True) -> Walk:
        """All frames and free structures, and what is wrong with them; see `coronel.mm.walker.walk`."""
        from coronel.mm.walker import walk  # noqa: PLC0415  # numpy, which a caller may not need

        return walk(self.tables, contents=contents)

    def frame_address(self, pfn: int) -> int | None:
        """Where the bytes of a present frame lie in this process; None for any other."""
        pointer = self._enter().mm_frame_bytes(unsigned("pfn", pfn, 64))
        return int(self.library.ffi.cast("uintptr_t", pointer)) or None

    # -- inside

    def _create(self, cpus: int, on_misuse: Misuse, direct_end: int, room_end: int, levels: int) -> Any:
        if levels not in (4, 5):
            raise UsageError(f"{levels} levels of page tables: x86-64 has 4 or 5")
        if on_misuse not in ("refuse", "panic"):
            raise UsageError(f"on_misuse {on_misuse!r} is unknown: there are refuse and panic")
        ffi, call = self.library.ffi, self.library.call
        policy = call.MM_MISUSE_PANIC if on_misuse == "panic" else call.MM_MISUSE_REFUSE
        memory, reserved = (
            ffi.new("struct mm_range[]", [(first << PAGE_SHIFT, end << PAGE_SHIFT) for first, end in ranges])
            for ranges in (self.memory_ranges, self.reserved_ranges)
        )
        shape = {
            "memory": memory,
            "memory_ranges": len(memory),
            "reserved": reserved,
            "reserved_ranges": len(reserved),
            "cpus": unsigned("cpus", cpus),
            "misuse_policy": policy,
            "direct_end": unsigned("direct_end", direct_end, 64),
            "room_end": unsigned("room_end", room_end, 64),
            "levels": levels,
        }
        made = ffi.new("struct mm_machine **")
        status = call.mm_machine_create(ffi.new("struct mm_shape *", shape), made)
        if status < 0:
            why = {
                errno.EINVAL: "its ranges must ascend, not overlap, and reserve only memory; it needs a CPU",
                errno.E2BIG: "too many ranges or CPUs, or memory beyond the option max_memory_gib",
                errno.ENOMEM: "this process cannot have the address space",
            }.get(-status, os.strerror(-status))
            raise MMError(f"no host machine: {why}", -status)
        return made[0]

    def _enter(self) -> Any:
        """The library, with the calling thread on this machine's `cpu`."""
        if self._handle is None:
            raise MMError("the host machine has been closed")
        if self.library.call.mm_enter(self._handle, unsigned("cpu", self.cpu)) < 0:
            raise MMError(f"the host machine has no CPU {self.cpu}", errno.EINVAL)
        return self.library.call

    def _address(self, status: int, made: Any, what: str) -> int | None:
        if status == -errno.ENOMEM:
            return None
        self._check(status, what)
        return int(made[0])

    def _check(self, status: int, what: str) -> int:
        if status < 0:
            raise self._error(status, what)
        return status

    def _error(self, status: int, what: str) -> MMError:
        ffi, call = self.library.ffi, self.library.call
        if -status == errno.ENOTRECOVERABLE:
            panic = call.mm_last_panic()
            why = ffi.string(panic).decode("utf-8", "backslashreplace") if panic else "for an unknown reason"
            return MMError(f"the host machine is dead, it panicked: {why}", -status)
        why = ffi.string(call.mm_last_error()).decode("utf-8", "backslashreplace")
        return MMError(f"{why}: {what}", -status)


def _ranges(name: str, given: str | int | Iterable[tuple[int, int]]) -> Sequence[Range]:
    if isinstance(given, (str, int)):
        from coronel.guest.options import parse_memory  # noqa: PLC0415  # brings QEMU's side with it

        return [Range(0, parse_memory(given) // PAGE_SIZE)]
    ranges = [Range(int(first), int(end)) for first, end in given]
    for first, end in ranges:
        if not 0 <= first <= end <= 1 << (64 - PAGE_SHIFT):
            raise UsageError(
                f"{name} range [{first}, {end}) makes no sense: frame numbers, the end not included"
            )
    return ranges
