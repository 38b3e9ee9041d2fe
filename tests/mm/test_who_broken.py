"""`who` over metadata that somebody wrote over: a partial answer, the same from the kernel and from Python,
which says what is wrong.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

from tests.mm.who_log import direct_map

from coronel.mm.body import Body
from coronel.mm.guest_mm import GuestKernelMM
from coronel.mm.kernel_mm import KernelMM
from coronel.mm.record import Tables
from coronel.mm.slabs import read_heap
from coronel.mm.tracks import large_track_at, slab_track_at
from coronel.mm.who import Answer
from coronel.mm.zones import Physical, State

PAGE = 4096
SIZE, LARGE = 200, 9000
ROUNDS = 150


@contextmanager
def broken(mm: KernelMM, at: int, data: bytes) -> Iterator[None]:
    """Other bytes there, for a while."""
    before = _read(mm, at, len(data))
    _write(mm, at, data)
    yield
    _write(mm, at, before)


def _read(mm: KernelMM, at: int, size: int) -> bytes:
    assert isinstance(mm, Body)
    with mm.still() as tables:
        return bytes(tables.memory.read(at, size))


def _write(mm: KernelMM, at: int, data: bytes) -> None:
    assert isinstance(mm, Body)
    with mm.still() as tables:
        tables.memory.write(at, data)  # type: ignore[attr-defined]  # both kinds can


def ask(mm: KernelMM, address: int) -> Answer:
    """Python's answer, which is the kernel's too, where there is one to ask."""
    said = mm.who(address)
    if isinstance(mm, GuestKernelMM):
        there = mm.guest.channel.call("who", hex(address))
        assert there == {key: value for key, value in said.items() if key != "note"}
    return said


class Victims:
    """Objects of a cache of their own: only `who` reads what is broken. And where their records lie."""

    def __init__(self, mm: KernelMM) -> None:
        assert isinstance(mm, Body)
        self.mm = mm
        cache = mm.create_cache("victims", SIZE)
        found = [mm.cache_alloc(cache), mm.kmalloc(LARGE), mm.cache_alloc(cache)]
        self.small, self.large, self.gone = [address for address in found if address is not None]
        mm.cache_free(cache, self.gone)
        with mm.still() as tables:
            self.tracked = bool(tables.option("debug_slab"))
            self._find(tables)

    def _find(self, tables: Tables) -> None:
        (cache,) = (one for one in read_heap(tables).caches if one.name == "victims")
        (slab,) = cache.slabs.values()
        stride, first = int(cache.cut["stride"]), int(slab.record["first"])
        self.slab, self.cut = slab.address, cache.record.address_of("cut")
        self.owner_of = {one: self._owner(tables, one) for one in (self.small, self.gone, self.large)}
        self.track_of = {
            one: slab_track_at(tables, slab, (one - first) // stride) for one in (self.small, self.gone)
        }
        said = self.mm.who(self.large)
        self.track_of[self.large] = large_track_at(tables, self.large, PAGE << said["order"])
        self.track_size, self.slab_size = tables.type("ObjectTrack").size, tables.type("Slab").size
        self.site = tables.type("ObjectTrack")["allocated"].offset

    @staticmethod
    def _owner(tables: Tables, address: int) -> int:
        """Where the Frame of that address says whose it is."""
        physical, kind = Physical.of(tables), tables.type("Frame")
        number = (address - int(physical.map["direct_map"])) // PAGE
        return int(physical.map["frames"]) + number * kind.size + kind["owner"].offset


def test_broken_records_leave_a_partial_answer(every_mm: KernelMM) -> None:
    mm, here = every_mm, Victims(every_mm)
    assert isinstance(mm, Body)
    with mm.still() as tables:
        number = here.slab + tables.type("Slab")["number"].offset
    sound = ask(mm, here.small)
    assert sound["object_state"] == "allocated"
    for at, data, left_out in (
        (number, b"\xff", "object"),
        (here.owner_of[here.small], b"\xf8" * 8, "slab"),
        (here.owner_of[here.small], bytes(8), "slab"),
        (here.cut, b"\xff" * 8, "object"),
        (here.cut, bytes(4), "slab"),  # a stride of 0
    ):
        with broken(mm, at, data):
            said = ask(mm, here.small)
        assert said["frame"] == sound["frame"]
        assert left_out not in said
        assert said["note"]
    assert ask(mm, here.small) == sound


def test_a_record_in_a_free_frame_is_none(every_mm: KernelMM) -> None:
    """The kernel of the guarded profile does not even have them in sight."""
    mm, here, direct = every_mm, Victims(every_mm), direct_map(every_mm)
    once = [number for _ in range(4) if (number := mm.alloc_pages(0)) is not None]
    for number in once:
        mm.free_pages(number, 0)
    walk = mm.walk()
    free = next(n for n in range(walk.direct_frames) if walk.state(n) is State.free)
    for number in (free, *once):
        with broken(mm, here.owner_of[here.small], (direct + number * PAGE).to_bytes(8, "little")):
            said = ask(mm, here.small)
        assert "slab" not in said
        assert "no record can lie" in said["note"]


def test_a_broken_track_says_nothing_of_calls(guarded_mm: KernelMM) -> None:
    mm, here = guarded_mm, Victims(guarded_mm)
    for victim in (here.small, here.gone, here.large):
        sound = ask(mm, victim + 7)
        assert sound["requested"] == (LARGE if victim == here.large else SIZE)
        with broken(mm, here.track_of[victim], b"A" * here.track_size):
            said = ask(mm, victim + 7)
        lost = ("requested", "allocated", "freed")
        assert said == {key: value for key, value in sound.items() if key not in lost} | {
            "note": said["note"]
        }
        assert ask(mm, victim + 7) == sound
    # What runs over the end of a large object meets the site first.
    with broken(mm, here.track_of[here.large] + here.site, b"A"):
        said = ask(mm, here.large)
    assert "written over" in said["note"]
    assert "allocated" not in said


def test_whatever_is_written_there_is_an_answer(every_mm: KernelMM, coronel_seed: int) -> None:
    mm, here, chance = every_mm, Victims(every_mm), random.Random(coronel_seed)
    partial = 0
    for _ in range(ROUNDS):
        victim = chance.choice((here.small, here.gone, here.large))
        at, size = chance.choice(places(here, victim))
        length = chance.choice((1, 1, 8, size))
        begin = at + chance.randrange(size - length + 1)
        data = chance.choice((bytes(length), b"\xff" * length, chance.randbytes(length)))
        sound = ask(mm, victim)
        with broken(mm, begin, data):
            said = ask(mm, victim)
        assert said["frame"] == sound["frame"], (hex(begin), data)
        partial += said != sound
        assert ask(mm, victim) == sound
    assert partial > ROUNDS // 10


def places(here: Victims, victim: int) -> list[tuple[int, int]]:
    """What the answer about it is read from."""
    found = [(here.owner_of[victim], 8)]
    if victim != here.large:
        found.append((here.slab, here.slab_size))
    if here.tracked:
        found.append((here.track_of[victim], here.track_size + (8 if victim == here.large else 0)))
    return found
