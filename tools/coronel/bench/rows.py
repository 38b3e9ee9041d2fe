"""Every row of the benchmark, declared once. CONTRIBUTING.md says how to add one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

LEAN = "Linux 6.1 lean"  # Debian 12's, see bench/README.md
DEFAULT = "Linux 6.1"  # as Debian ships it
KOS = "KOS"
BEST_GUARDS = "best with guards"  # of the allocators that have them

RELEASE = "release"
GUARDED = "guarded"


class Sense(Enum):
    """Which side of a target is the good one."""

    at_most = "at_most"
    at_least = "at_least"


@dataclass(frozen=True)
class Target:
    """What a row is to reach."""

    value: float
    sense: Sense = Sense.at_most


@dataclass(frozen=True)
class GuestCase:
    """A case of the kernel's command `bench`. `rounds` is for profiles, which log every instruction;
    `profile` says whose kernel.
    """

    set: str
    case: str
    rounds: int = 1000
    profile: str = RELEASE


@dataclass(frozen=True)
class Fragmentation:
    """Of the 2 MiB blocks that free memory could make, the share that is free, after_half or after_churn."""

    point: str


@dataclass(frozen=True)
class CpuTime:
    """The common request on several CPUs at once, under multi-threaded TCG without icount: `measure` "ns", or
    "ratio" to what one CPU needs in the same run.
    """

    cpus: int
    measure: str


@dataclass(frozen=True)
class BootCount:
    """Something exact about a machine at its first prompt, by a name of boot.py."""

    name: str


@dataclass(frozen=True)
class BootTime:
    """Seconds from QEMU's start to the prompt, of `elf` (PVH) or `iso` (GRUB)."""

    start: str


@dataclass(frozen=True)
class GuestRate:
    """Operations a second of a case of the kernel's command `bench`, by the guest's clock, without icount."""

    set: str
    case: str
    rounds: int


@dataclass(frozen=True)
class HostCase:
    """A case of a program of bench/host/: in instructions, in time as a ratio to the fastest peer, or in
    operations a second. `profile` says whose library.
    """

    program: str
    case: str
    measure: str  # "instructions", "time" or "rate"
    profile: str = RELEASE


@dataclass(frozen=True)
class PythonRate:
    """Operations a second of a case of python.py: the host library's calls from a loop in Python."""

    case: str


@dataclass(frozen=True)
class HostFigure:
    """A ratio that a program of bench/host/ tells besides its cases."""

    program: str
    case: str
    profile: str = RELEASE


@dataclass(frozen=True)
class Held:
    """What the object caches hold after a peak when nothing is live: of the body "host" or "guest", at the
    moment "released" or "shrunk" (`coronel.mm.idle`).
    """

    body: str
    moment: str


Source = (
    GuestCase
    | GuestRate
    | Fragmentation
    | CpuTime
    | BootCount
    | BootTime
    | HostCase
    | PythonRate
    | HostFigure
    | Held
)


@dataclass(frozen=True)
class Row:
    """One line of the table. `peers` are figures that others reached before; those of the same run come with
    the result.
    """

    group: str
    name: str
    unit: str
    source: Source
    target: Target | None = None
    peers: tuple[tuple[str, float], ...] = ()

    @property
    def profile(self) -> str:
        """Whose build it measures."""
        return self.source.profile if isinstance(self.source, GuestCase | HostCase | HostFigure) else RELEASE


FRAMES = "Frames, in the kernel"
ADDRESSES = "Kernel addresses"
TABLES = "Page tables"
BOOT = "Boot and memory"
HOST = "Pages, host library"
OBJECTS = "Objects, in the kernel"
HOST_OBJECTS = "Objects, host library"
HEAP = "Kernel heap, host library"
HELD = "Held when nothing is live, after 47 MiB"
RATES = "Rates"


def _pages(
    case: str, name: str, unit: str, most: float | None, lean: float | None, rounds: int = 1000
) -> Row:
    target = Target(most) if most is not None else None
    peers = ((LEAN, lean),) if lean is not None else ()
    return Row(FRAMES, name, f"instructions/{unit}", GuestCase("pages", case, rounds), target, peers)


def _with_guards(row: Row, most: float | None = None, best: float | None = None) -> Row:
    """The same case in the guarded profile, beside what others need with guards."""
    assert isinstance(row.source, GuestCase | HostCase)
    return replace(
        row,
        group=f"{row.group}, guarded",
        source=replace(row.source, profile=GUARDED),
        target=Target(most) if most is not None else None,
        peers=((BEST_GUARDS, best),) if best is not None else (),
    )


def _heap(
    case: str, name: str, most: float, lean: float, unit: str = "pair", rounds: int = 1000
) -> list[Row]:
    source = GuestCase("heap", case, rounds)
    row = Row(OBJECTS, name, f"instructions/{unit}", source, Target(most), ((LEAN, lean),))
    return [row, _with_guards(row)]


def _vmalloc(case: str, name: str, most: float | None, lean: float | None, rounds: int) -> Row:
    target = Target(most) if most is not None else None
    peers = ((LEAN, lean),) if lean is not None else ()
    return Row(ADDRESSES, name, "instructions/pair", GuestCase("vmalloc", case, rounds), target, peers)


def _tables(case: str, name: str, unit: str, rounds: int) -> Row:
    return Row(TABLES, name, f"instructions/{unit}", GuestCase("tables", case, rounds))


def _host_tables(case: str, name: str) -> Row:
    return Row(TABLES, name, "instructions/pair", HostCase("tables_bench", case, "instructions"))


def _table_rate(source: Source, name: str) -> Row:
    return Row(TABLES, name, "pairs/s", source, Target(100_000, Sense.at_least), ((KOS, 100_000),))


def _rates(guest_set: str, guest_case: str, case: str, name: str, kos: int) -> list[Row]:
    """KOS's figure stands for the kernel and for a loop in C; what Python makes of them is beside it."""
    target, peers = Target(kos, Sense.at_least), ((KOS, kos),)
    in_kernel, from_c = GuestRate(guest_set, guest_case, 1_000_000), HostCase("rates_bench", case, "rate")
    return [
        Row(RATES, name, "pairs/s", in_kernel, target, peers),
        Row(RATES, f"{name}: host library, from C", "pairs/s", from_c, target, peers),
        Row(RATES, f"{name}: from Python", "pairs/s", PythonRate(case)),
    ]


def _host_pages(case: str, name: str) -> list[Row]:
    return [
        Row(HOST, name, "instructions", HostCase("pages_bench", case, "instructions")),
        Row(HOST, f"{name}, time", "x the fastest peer", HostCase("pages_bench", case, "time"), Target(1.0)),
    ]


def _host_objects(
    case: str,
    name: str,
    most: float | None = None,
    guarded_most: float | None = None,
    best_guards: float | None = None,
) -> list[Row]:
    """A target in instructions where there is one, and in time; with guards only in instructions."""
    count, spent = (HostCase("objects_bench", case, measure) for measure in ("instructions", "time"))
    row = Row(HOST_OBJECTS, name, "instructions", count, None if most is None else Target(most))
    return [
        row,
        Row(HOST_OBJECTS, f"{name}, time", "x the fastest peer", spent, Target(1.0)),
        _with_guards(row, guarded_most, best_guards),
    ]


def _host_threads(case: str, name: str) -> Row:
    """Only in time: under callgrind threads take turns."""
    return Row(HOST_OBJECTS, name, "x the fastest peer", HostCase("threads_bench", case, "time"), Target(1.0))


def _heap_churn() -> list[Row]:
    """On ranges out of frames, as the library has them; and on one range that grows."""
    name, growing = "churn, 10 000 live, 16 B to 2 KiB", "on one range that grows"
    count, on_growing = (
        HostCase("heap_bench", case, "instructions") for case in ("heap-churn", "growing-churn")
    )
    blocks, held, growing_held = (
        HostFigure("heap_bench", case) for case in ("heap-blocks", "heap-held", "growing-held")
    )
    spent, full = (("o1heap", 137), ("TLSF", 231)), (("o1heap", 1.47), ("TLSF", 1.03))
    return [
        Row(HEAP, name, "instructions", count, Target(200), spent),
        Row(HEAP, f"{name}: blocks with headers", "x asked for", blocks, Target(1.05), full),
        Row(HEAP, f"{name}: all that is held", "x asked for", held),
        Row(HEAP, f"{growing}: churn", "instructions", on_growing),
        Row(HEAP, f"{growing}: all that is held", "x asked for", growing_held),
    ]


def _held(body: str, name: str) -> list[Row]:
    """After the releases alone beside others, who have no such call as shrink()."""
    others = (("glibc", 45), ("musl", 0.2), ("rpmalloc", 6.5))
    return [
        Row(HELD, f"{name}: after the releases alone", "MiB", Held(body, "released"), Target(2), others),
        Row(HELD, f"{name}: after shrink", "KiB", Held(body, "shrunk"), Target(64)),
    ]


# The peers' figures, how they were taken, and where the targets come from: bench/README.md.
ROWS: tuple[Row, ...] = (
    _pages("pair-0", "alloc + free, order 0", "pair", 60, 693),
    _pages("pair-3", "alloc + free, order 3", "pair", 120, 886),
    _pages("pair-9", "alloc + free, order 9 (2 MiB)", "pair", 250, 9_960),
    _pages("pair-10", "alloc + free, order 10", "pair", 400, 35_702),
    _pages("batch-alloc", "order 0, 256 in a row: alloc", "frame", 60, 441, 10),
    _pages("batch-free", "order 0, 256 in a row: free", "frame", 60, 259, 10),
    _pages("random-half", "order 0, half of memory, random free", "pair", 140, 524, 20_000),
    _pages("mixed-orders", "mixed orders at half load", "pair", None, None),
    _pages("zone-pair-0", "order 0, without magazines", "pair", None, None),
    _pages("zone-pair-3", "order 3, without magazines", "pair", None, None),
    _pages("refused", "an allocation that is refused", "call", None, None, 50),
    Row(FRAMES, "free 2 MiB blocks (a): a random half freed", "% of possible", Fragmentation("after_half"),
        peers=((LEAN, 0),)),
    Row(FRAMES, "free 2 MiB blocks (b): then churned", "% of possible", Fragmentation("after_churn"),
        Target(95, Sense.at_least)),
    Row(FRAMES, "alloc + free, order 0, 1 CPU, time", "ns/pair", CpuTime(1, "ns")),
    Row(FRAMES, "alloc + free, order 0, 2 CPUs at once, time", "ns/pair", CpuTime(2, "ns")),
    Row(FRAMES, "the same", "x one CPU", CpuTime(2, "ratio")),
    *_heap("cache-pair-64", "kmem_cache of 64 B: alloc + free", 55, 224),
    *_heap("cache-batch-alloc", "kmem_cache of 64 B, 1 000 in a row: alloc", 45, 172, "object", 10),
    *_heap("cache-batch-free", "kmem_cache of 64 B, 1 000 in a row: free", 45, 188, "object", 10),
    *_heap("kmalloc-8", "kmalloc + kfree, 8 B", 65, 271),
    *_heap("kmalloc-64", "kmalloc + kfree, 64 B", 65, 271),
    *_heap("kmalloc-1k", "kmalloc + kfree, 1 KiB", 65, 271),
    *_heap("kmalloc-8k", "kmalloc + kfree, 8 KiB", 65, 271),
    *_heap("kmalloc-16k", "kmalloc + kfree, 16 KiB", 200, 1_052),
    *_heap("kmalloc-64k", "kmalloc + kfree, 64 KiB", 250, 1_834),
    *_heap("kmalloc-1m", "kmalloc + kfree, 1 MiB", 500, 12_296),
    *_heap("kmalloc-churn", "kmalloc churn, 16 B to 1 KiB", 200, 589),
    _vmalloc("pair-4k", "vmalloc + vfree, 4 KiB", 900, 3_523, 1000),
    _vmalloc("pair-64k", "vmalloc + vfree, 64 KiB", 2_400, 9_915, 500),
    _vmalloc("pair-1m", "vmalloc + vfree, 1 MiB", 20_000, 111_486, 50),
    _vmalloc("addresses", "a range alone, nothing mapped", None, None, 1000),
    _tables("pair-4k", "map_page + unmap_page, 4 KiB", "pair", 1000),
    _tables("pair-2m", "map_page + unmap_page, 2 MiB", "pair", 1000),
    _tables("pair-alone", "the same of 4 KiB, three tables come and go", "pair", 500),
    _tables("kernel-4k", "4 KiB of the kernel's own, flushed", "pair", 1000),
    _tables("batch-map", "4 KiB, 512 in a row: map_page", "page", 4),
    _tables("batch-unmap", "4 KiB, 512 in a row: unmap_page", "page", 4),
    _table_rate(GuestRate("tables", "pair-4k", 1_000_000), "map_page + unmap_page, 4 KiB, rate"),
    _table_rate(GuestRate("tables", "pair-2m", 1_000_000), "map_page + unmap_page, 2 MiB, rate"),
    _host_tables("map-4k", "host library, from C: 4 KiB"),
    _host_tables("map-2m", "host library, from C: 2 MiB"),
    _host_tables("batch-map-4k", "host library, from C: 4 KiB, 512 in a row"),
    _table_rate(HostCase("tables_bench", "map-4k", "rate"), "host library, from C: 4 KiB, rate"),
    _table_rate(HostCase("tables_bench", "map-2m", "rate"), "host library, from C: 2 MiB, rate"),
    Row(BOOT, "kmain to the prompt, 256 MiB", "instructions", BootCount("kmain_to_prompt"), Target(10**7)),
    Row(BOOT, "QEMU's start to the prompt, PVH", "s", BootTime("elf"), Target(0.3)),
    Row(BOOT, "QEMU's start to the prompt, GRUB", "s", BootTime("iso"), Target(0.8), ((DEFAULT, 1.9),)),
    Row(BOOT, "memory not usable, 256 MiB", "%", BootCount("unusable_256M"), Target(3), ((DEFAULT, 15.1),)),
    Row(BOOT, "memory not usable, 1 GiB", "%", BootCount("unusable_1G"), Target(1.5), ((DEFAULT, 5.1),)),
    Row(BOOT, "frame descriptor", "bytes", BootCount("frame_record"), Target(32), ((DEFAULT, 64),)),
    *_host_pages("pair-4k", "pair of 4 KiB"),
    *_host_pages("batch-4k", "4 KiB, 256 in a row, alloc + free"),
    *_host_pages("random-4k", "4 KiB, 32 768, random free"),
    *_host_pages("mixed", "mixed sizes, 4 KiB to 4 MiB"),
    *_host_pages("pair-2m", "pair of 2 MiB"),
    *_host_objects("object-pair-64", "pair of 64 B", 60, 110, 101),
    *_host_objects("object-batch-64", "1 000 of 64 B, random free order", 65, 130, 169),
    *_host_objects("object-batch-1k", "1 000 of 1 KiB, random free order", 80, 150),
    *_host_objects("object-batch-8k", "1 000 of 8 KiB, random free order"),
    *_host_objects("object-churn", "churn, 10 000 live, 16 B to 2 KiB", 65, 120, 119),
    _host_threads("hand-over", "64 B made by one thread, freed by another, time"),
    _host_threads("larson", "two threads of a server (larson), 16 B to 512 B, time"),
    *_heap_churn(),
    *_held("guest", "in the kernel"),
    *_held("host", "host library"),
    *_rates("pages", "pair-0", "page-pair", "alloc_pages + free_pages, 4 KiB", 1_000_000),
    *_rates("heap", "cache-pair-64", "cache-pair", "kmem_cache_alloc + kmem_cache_free, 64 B", 5_000_000),
    *_rates("heap", "kmalloc-64", "kmalloc-pair", "kmalloc + kfree, 64 B", 2_000_000),
)  # fmt: skip


def guest_case(name: str) -> GuestCase:
    """The case of that name, as a row has it or, where no row has it, of the set before its slash."""
    found = (row.source for row in ROWS if isinstance(row.source, GuestCase) and row.profile == RELEASE)
    wanted = next((case for case in found if name in (case.case, f"{case.set}/{case.case}")), None)
    if wanted is not None:
        return wanted
    set_name, slash, case = name.partition("/")
    return GuestCase(set_name, case) if slash else GuestCase("pages", name)
