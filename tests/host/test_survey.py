"""The quick decoder of the pictures against the walker, which shares none of its derivations."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from coronel.errors import DecodeError
from coronel.mm.host import HostLibrary, HostMachine
from coronel.mm.record import Tables
from coronel.mm.walker import Walk
from coronel.mm.zones import Physical, State, Zone
from coronel.picture.cells import Survey, largest_block, survey, unusable_index
from coronel.picture.legend import exactly, in_bytes
from coronel.picture.palette import CACHED, FREE, RESERVED, SHADES, USED, Kind

# As a PC has it: a hole below 1 MiB, an uneven end, and a second range far above, all with reserved frames.
HOLES = (
    [(1, 159), (256, 9001), (20480, 23500), (262144, 264200)],
    [(1, 2), (256, 600), (3000, 3001), (23499, 23500)],
)
KINDS = {
    State.absent: Kind.absent,
    State.reserved: Kind.reserved,
    State.free: Kind.free,
    State.allocated: Kind.used,
    State.cached: Kind.cached,
}


def in_band(order: int, orders: tuple[int, int] | None) -> bool:
    return orders is not None and orders[0] <= order <= orders[1]


def require_agreement(seen: Survey, walk: Walk) -> None:
    """Every frame is in the class that the walker's findings mean; the numbers follow."""
    wanted = np.vectorize({state: kind.value for state, kind in KINDS.items()}.get)(walk.whole_states())
    found = np.array([shade.kind.value for shade in SHADES])[seen.classes]
    assert (wanted == found).all()
    assert seen.counts[CACHED.index] == walk.cached
    assert sum(seen.counts[1:]) == seen.present == walk.present
    assert (seen.free, seen.counts[RESERVED.index]) == (walk.free, walk.reserved)
    assert seen.free_blocks == walk.free_blocks
    for shade in FREE:
        blocks = ((order, count) for order, count in enumerate(walk.free_blocks))
        assert seen.counts[shade.index] == sum(
            count << order for order, count in blocks if in_band(order, shade.orders)
        )
    for shade in USED:
        sizes = [1 << int(order) for _, order in walk.allocated_blocks if in_band(int(order), shade.orders)]
        assert seen.counts[shade.index] == sum(sizes)
    for name in ("present", "managed", "free"):
        assert sum(getattr(zone, name) for zone in seen.zones) == getattr(walk, name)


def test_the_survey_is_what_the_walker_finds(library: HostLibrary, coronel_seed: int) -> None:
    chance = random.Random(coronel_seed)
    for _ in range(8):
        shape = chance.choice([HOLES, ([(0, 6144)], [])])
        with HostMachine(*shape, library=library) as machine:
            machine.stress(
                chance.choice([0, 1, 500, 5000]), chance.getrandbits(64), hold=chance.random() < 0.8
            )
            require_agreement(survey(machine.tables), machine.walk())


def test_a_machine_full_of_large_blocks(library: HostLibrary) -> None:
    with HostMachine("64M", library=library) as machine:
        first = machine.alloc_pages(11)
        assert first is not None
        atomic, dma = machine.library.call.GFP_ATOMIC, machine.library.call.GFP_DMA
        for flags in (atomic, atomic | dma):  # without them a zone keeps some
            while machine.alloc_pages(5, flags) is not None:
                pass
        seen = survey(machine.tables)
        require_agreement(seen, machine.walk())
        assert seen.counts[USED[3].index] == 2048
        assert (seen.free, largest_block(seen.free_blocks)) == (0, None)
        assert unusable_index(seen.free_blocks) == 0


def test_the_blocks_of_one_size_are_where_they_were_given(library: HostLibrary) -> None:
    with HostMachine("64M", library=library) as machine:
        for order in range(12):
            first = machine.alloc_pages(order)
            assert first is not None
            seen = survey(machine.tables)
            place = seen.array.index(first)
            assert place is not None
            (shade,) = {SHADES[index] for index in seen.classes[place : place + (1 << order)]}
            assert shade.kind is Kind.used
            assert in_band(order, shade.orders)


def test_gaps_are_what_the_picture_leaves_out(library: HostLibrary) -> None:
    with HostMachine(*HOLES, library=library) as machine:
        assert survey(machine.tables).gaps() == [(10240, 20480), (24576, 262144)]
    with HostMachine([(4096, 8192)], library=library) as machine:
        assert survey(machine.tables).gaps() == [(0, 4096)]


@pytest.mark.parametrize("edges", [(0, 4096, 16384), (0, 4096, 4096, 6144, 16384, 16384), (0, 4100, 16384)])
def test_each_zone_counts_its_own(
    library: HostLibrary, edges: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    with HostMachine("64M", library=library) as machine:
        machine.stress(3000, 5)
        only = Physical.of(machine.tables).zones(machine.tables)[1]

        def cut(_self: Physical, _tables: Tables) -> list[Zone]:
            records: list[Any] = [
                {"name": f"zone {first}", "first": first, "end": end, "present_frames": end - first}
                for first, end in pairwise(edges)
            ]
            return [Zone(number, record, only.lists) for number, record in enumerate(records)]

        whole = survey(machine.tables)
        monkeypatch.setattr(Physical, "zones", cut)
        seen = survey(machine.tables)
    assert [(zone.first, zone.end) for zone in seen.zones] == list(pairwise(edges))
    for zone in seen.zones:
        assert zone.free == np.count_nonzero(whole.free_frames[zone.first : zone.end])
        assert zone.free == sum(count << order for order, count in enumerate(zone.free_blocks))
    if not any(edge % 2048 for edge in edges):  # no block reaches over these edges
        assert (
            tuple(map(sum, zip(*(zone.free_blocks for zone in seen.zones), strict=True))) == whole.free_blocks
        )


def test_a_block_in_pieces_is_of_no_use_to_a_large_request() -> None:
    assert unusable_index((0,) * 9 + (3,)) == 0
    assert unusable_index((512,) + (0,) * 9) == 1
    assert unusable_index((512, 0, 0, 0, 0, 0, 0, 0, 0, 1)) == 0.5
    assert unusable_index((0, 0, 4, 1), order=3) == pytest.approx(16 / 24)
    assert unusable_index((0, 0, 0)) == 0


@pytest.mark.parametrize(
    ("frames", "amount", "exact"),
    [
        (0, "0 KiB", "0 KiB"),
        (1, "4 KiB", "4 KiB"),
        (249, "996 KiB", "996 KiB"),
        (251, "1.0 MiB", "1004 KiB"),
        (512, "2.0 MiB", "2 MiB"),
        (14301, "55.9 MiB", "55.9 MiB"),
        (65407, "255.5 MiB", "255.5 MiB"),
        (65536, "256.0 MiB", "256 MiB"),
        (262144, "1.0 GiB", "1 GiB"),
        (1 << 24, "64.0 GiB", "64 GiB"),
    ],
)
def test_sizes_for_people(frames: int, amount: str, exact: str) -> None:
    assert (in_bytes(frames), exactly(frames)) == (amount, exact)


def test_what_cannot_be_read_is_an_error_and_no_picture(library: HostLibrary) -> None:
    with HostMachine("16M", library=library) as machine:

        class Holed:
            def read(self, address: int, size: int) -> bytes:
                if size > 65536:
                    raise DecodeError("a hole")
                return machine.memory.read(address, size)

        tables = Tables.load(Holed(), machine.tables.record.address)
        # Pageblocks are read one by one after a failure, and each is small: only all of them together fail.
        assert survey(tables).present == survey(machine.tables).present

        frames = int(Physical.of(machine.tables).map["frames"])
        array_bytes = (16 << 20) // 4096 * machine.tables.type("Frame").size

        class Blind(Holed):
            def read(self, address: int, size: int) -> bytes:
                if size >= 16384 and frames <= address < frames + array_bytes:
                    raise DecodeError("a hole")
                return machine.memory.read(address, size)

        with pytest.raises(DecodeError, match="cannot be read"):
            survey(Tables.load(Blind(), machine.tables.record.address))
