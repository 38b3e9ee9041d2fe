"""Errors in the use of the heap, drawn at random and made by `break heap`, against what the heap reports of
them: on the host library and in a guest, the report read from raw memory.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from coronel.errors import MMError
from coronel.mm.kernel_mm import KernelMM
from coronel.mm.misuse import KERNEL_HEAP, KMALLOC, OBJECTS, SITES, Break, Broken, MisuseReport

ROUNDS = 50
LARGE_GUARD = 120  # bytes that a large object's red zone and track take at least
SMALL_ONLY = {"double_free", "late_double_free", "wild_free", "underflow", "write_after_free"}
KEPT = 16384  # bytes that go into a cache's magazines and depot, whatever is there already

ALWAYS_ON = {
    "double_free": {"double_free"},
    "late_double_free": {"double_free"},
    "interior_free": {"interior_object", "interior_free"},
    "wild_free": {"wild_object"},
    "foreign_free": {"wrong_cache"},
    "wrong_size_free": {"wrong_size"},
}
OVERRUNS = {
    "overflow_by_1": {"overflow"},
    "overflow_by_8": {"overflow"},
    "overflow_into_next_page": {"overflow"},
    "underflow": {"underflow"},
}
GUARDED = {**ALWAYS_ON, **OVERRUNS, "write_after_free": {"use_after_free"}}


@dataclass(frozen=True)
class Owner:
    """Whose object is misused."""

    cache: int
    name: str
    size: int


class Dice:
    """Draws errors; what the report must say follows from what was drawn."""

    def __init__(self, mm: KernelMM, seed: int) -> None:
        self.mm = mm
        self.chance = random.Random(seed)
        self.caches = {mm.create_cache(name, size): (name, size) for name, size in self._shapes()}
        with mm.still() as tables:
            self.guarded = bool(tables.option("debug_slab"))
        # Where a red zone and a page's alignment do not fit into a class, frames serve.
        self.largest = 4096 if self.guarded else 8192
        names = (re.fullmatch(r"kmalloc-(\d+)", name) for name in mm.get_slab_stats())
        self.classes = sorted(int(name[1]) for name in names if name)

    def draw(self, kind: str) -> tuple[Owner, Break]:
        """An error of that kind, and whose object it is about."""
        owner = self._owner(kind)
        offset = 0
        if kind == "interior_free":
            offset = self.chance.randrange(1, owner.size)
        elif kind == "write_after_free":
            offset = self.chance.randrange(owner.size)
        elif kind == "wrong_size_free":
            offset = self._other_size(owner.size)
        elif kind in ("wild_free", "foreign_free", "underflow"):
            offset = self.chance.randrange(4096)
        # No more than a cache keeps, so that the slabs are still there when the report is compared with them.
        object_ = self.chance.randrange(max(1, min(OBJECTS, KEPT // owner.size)))
        return owner, Break(kind, owner.cache, owner.size, object_, offset, self.chance.randrange(SITES))

    def class_of(self, size: int) -> int:
        """The size of kmalloc's class for a request."""
        return min(room for room in self.classes if room >= size)

    def _shapes(self) -> Iterator[tuple[str, int]]:
        for n in range(4):
            yield f"victim-{n}-{self.chance.randrange(1000)}", self.chance.randrange(8, 3000)

    def _owner(self, kind: str) -> Owner:
        others = [KERNEL_HEAP] if kind in ALWAYS_ON and kind != "foreign_free" else []
        kept = [] if kind == "wrong_size_free" else [*self.caches, *others]
        cache = self.chance.choice([KMALLOC, KMALLOC, *kept])
        if cache in self.caches:
            return Owner(cache, *self.caches[cache])
        size = self.chance.choice((self.chance.randrange(2, 200), self.chance.randrange(2, self.largest)))
        if cache == KERNEL_HEAP:
            return Owner(cache, "kernel heap", size)
        # Of a large object's double free nothing is left but free frames: whose they were is not known.
        # And before its first byte is somebody else's page.
        if kind not in SMALL_ONLY and self.chance.random() < 0.2:
            return Owner(cache, "kmalloc", self.chance.randrange(self.largest + 1, 200_000))
        return Owner(cache, f"kmalloc-{self.class_of(size)}", size)

    def _other_size(self, size: int) -> int:
        """A size that is served by other means than `size`."""
        room = self._room(size)
        while True:
            other = self.chance.randrange(1, 2 * room)
            if room not in (self._room(other), 1 << (other - 1).bit_length()):
                return other

    def _room(self, size: int) -> int:
        if size <= self.largest:
            return self.class_of(size)
        return 1 << (size + (LARGE_GUARD if self.guarded else 0) - 1).bit_length()


def site_of(mm: KernelMM, address: int) -> int:
    """The number of the site whose call returns to that address."""
    name = mm.function_at(address - 1) or ""
    found = re.search(r"heap_siteILj(\d+)E", name)
    assert found, f"{address:#x} is in {name or 'no function'}"
    return int(found[1])


def distance(owner: Owner, planted: Break) -> int:
    """From the object to the byte that is to be reported."""
    if planted.kind in ("interior_free", "write_after_free"):
        return planted.offset
    if planted.kind == "underflow":
        return -(planted.offset % 8 + 1)
    return owner.size if planted.kind in OVERRUNS else 0


def check_report(
    mm: KernelMM, owner: Owner, planted: Break, broken: Broken, report: MisuseReport, *, guarded: bool
) -> None:
    """The report says what was planted."""
    assert report.address == broken.address
    assert site_of(mm, report.caught.site) == (planted.site + 2) % SITES
    assert report.caught.cpu == 0
    if planted.kind == "wild_free":
        assert (report.keeper, report.name, report.object) == ("nobody", "", 0)
        assert broken.address % 4096 == planted.offset
        return
    assert report.name == owner.name
    assert broken.address - broken.object == distance(owner, planted)
    if planted.kind == "wrong_size_free":
        assert report.told == planted.offset
    if report.keeper == "cache":  # what Python finds at that address without anybody's help
        found = mm.who(broken.object)
        assert (found["cache"], found["offset"]) == (owner.name, 0)
    if report.keeper != "kernel_heap" or planted.kind == "interior_free":
        assert report.object == broken.object
        assert owner.size <= report.requested or report.keeper == "kernel_heap"
    if guarded and report.keeper != "kernel_heap":
        assert report.requested == owner.size
        assert site_of(mm, report.allocated.site) == planted.site
        assert report.allocated.ns <= report.caught.ns
        freed = planted.kind in ("double_free", "late_double_free", "write_after_free")
        assert bool(report.freed.site) == freed
        if freed:
            assert site_of(mm, report.freed.site) == (planted.site + 1) % SITES
            assert report.allocated.ns <= report.freed.ns <= report.caught.ns


def live_objects(mm: KernelMM) -> dict[str, int]:
    """How many objects callers have, of each cache but those that caches need."""
    stats = mm.get_slab_stats().items()
    return {name: row["allocated"] for name, row in stats if name.startswith(("victim-", "kmalloc-"))}


def run_rounds(mm: KernelMM, kind: str, errors: set[str], seed: int, rounds: int) -> None:
    """So many errors of a kind, each reported as it was made; then everything is as before."""
    dice = Dice(mm, seed)
    before = live_objects(mm)
    last = mm.last_misuse()
    number, ns = (last.number, last.caught.ns) if last else (0, 0)
    for turn in range(rounds):
        owner, planted = dice.draw(kind)
        said = f"seed {seed}, round {turn}: break heap {planted}"
        broken = mm.break_heap(planted)
        report = mm.last_misuse()
        assert broken.why, f"{said}: unnoticed"
        assert report is not None, said
        assert report.error in errors, said
        assert report.number == number + 1, said
        assert report.caught.ns >= ns, said
        try:
            check_report(mm, owner, planted, broken, report, guarded=dice.guarded)
        except AssertionError as error:
            raise AssertionError(f"{said}\n{report}\n{error}") from error
        number, ns = report.number, report.caught.ns
    assert live_objects(mm) == before, "an error that was refused has changed nothing"
    mm.walk().check()


@pytest.mark.parametrize("kind", ALWAYS_ON)
def test_the_release_profile_reports_what_was_done(
    release_mm: KernelMM, kind: str, coronel_seed: int
) -> None:
    run_rounds(release_mm, kind, ALWAYS_ON[kind], coronel_seed, ROUNDS)


@pytest.mark.parametrize("kind", GUARDED)
def test_the_guarded_profile_reports_all_eleven(guarded_mm: KernelMM, kind: str, coronel_seed: int) -> None:
    run_rounds(guarded_mm, kind, GUARDED[kind], coronel_seed, ROUNDS)


def test_an_overflow_into_a_free_frame_is_reported_too(guarded_mm: KernelMM) -> None:
    """`break` holds the frame behind the object: writing to a free one, which is not mapped, is fatal."""
    mm = guarded_mm
    taken = [frame for _ in range(256) if (frame := mm.alloc_pages(0)) is not None]
    for frame in taken:
        if frame % 4 in (1, 2):
            mm.free_pages(frame, 0)
    for object_ in range(OBJECTS):
        planted = Break("overflow_into_next_page", KMALLOC, 200, object_)
        assert mm.break_heap(planted).why, planted
        report = mm.last_misuse()
        assert report is not None, planted
        assert report.error == "overflow", planted
    for frame in taken:
        if frame % 4 not in (1, 2):
            mm.free_pages(frame, 0)
    mm.walk().check()


def test_a_released_object_waits_its_turn(guarded_mm: KernelMM) -> None:
    """The quarantine: nobody has it again before as many others were released as its cache keeps waiting."""
    mm = guarded_mm
    with mm.still() as tables:
        waiting_kib = tables.option("quarantine_kib")
    assert waiting_kib > 0
    first = mm.kmalloc(64)
    assert first is not None
    mm.kfree(first)
    assert mm.who(first)["object_state"] == "quarantined"
    stride = 64 + 64  # with its zones, as slabinfo says
    met = 0
    while met < 2 * waiting_kib * 1024 // stride:
        other = mm.kmalloc(64)
        assert other is not None
        mm.kfree(other)
        if other == first:
            break
        met += 1
    assert met >= waiting_kib * 1024 // stride, "it came back too soon"
    mm.walk().check()
    mm.shrink()
    assert mm.get_slab_stats()["kmalloc-64"]["cached"] == 0
    assert mm.valid()


def test_a_write_is_found_when_the_object_leaves_the_quarantine(guarded_mm: KernelMM) -> None:
    mm = guarded_mm
    victim = mm.kmalloc(64)
    assert victim is not None
    mm.kfree(victim)
    mm.write_memory(victim + 13, b"!")
    mm.shrink()
    report = mm.last_misuse()
    assert report is not None
    assert (report.error, report.address, report.object) == ("use_after_free", victim + 13, victim)
    assert report.requested == 64
    mm.walk().check()
    assert mm.valid()


def test_the_debug_profile_does_so_too(mm: KernelMM, coronel_seed: int) -> None:
    for kind, errors in ALWAYS_ON.items():
        run_rounds(mm, kind, errors, coronel_seed, 8)


def test_errors_that_make_no_sense_are_not_made(mm: KernelMM) -> None:
    cache = mm.create_cache("sane", 100)
    for wanted in (
        Break("no_such_error"),
        Break("interior_free", size=10, offset=10),
        Break("interior_free", cache=cache, size=1000, offset=100),
        Break("double_free", object=OBJECTS),
        Break("double_free", site=SITES),
        Break("double_free", cache=239),
        Break("wrong_size_free", cache=cache, offset=5),
    ):
        with pytest.raises(MMError):
            mm.break_heap(wanted)
    assert mm.last_misuse() is None
    mm.walk().check()
