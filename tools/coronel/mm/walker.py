"""`walk`: reads the frame array and the free structures on its own and says what they are, and what is wrong
with them.

    found = walk(tables)
    found.free_blocks                 # per order, from the bits alone
    found.state(4711)                 # State.inside
    found.problems                    # each names object, address, field, expected and found

Nothing that memory holds makes it fail or run long: every structure is read once, by its size; links are
followed at most as often as there are pageblocks; what cannot be read becomes a problem, and the rest is
walked. For one wrong bit there is one object named, the right one, because nearly everything is said at least
three times. Where something stands in one place only, nothing is promised:

  pointers to the arrays, from record to record, and to the caches: what hangs on them is gone
  MagazinePair.limit, while it is one that the pair may have; FrameMap.direct_frames, while no frame lies
  between what it says and what it should say; bit 0 of FrameCache.taken, which makes a note and no problem
  entries of a magazine from `count` on: they are what is left of blocks that are gone
  the CacheRecord of an object cache, whose cut says what its slabs must be

Stop the machine first: a walk over memory that changes finds problems that are none. So may a walk over a
machine that was stopped in the middle of an operation; a note says so where a cache is taken.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from coronel.errors import DecodeError
from coronel.mm.check_blocks import check_blocks, check_unused
from coronel.mm.check_frames import FrameCheck, FrameTruth, Witnesses
from coronel.mm.check_lists import ListCheck, Membership, check_membership
from coronel.mm.check_magazines import MagazineCheck, check_caches, claimed, notes, try_caches
from coronel.mm.check_map import check_map
from coronel.mm.check_poison import check_poison, poison_flag
from coronel.mm.check_slabs import SlabCheck, try_heap
from coronel.mm.check_tables import check_tables
from coronel.mm.check_totals import Counters, Truth, check_totals
from coronel.mm.check_zones import Edges, check_block_zones, check_zones, find_edges, read_zones
from coronel.mm.derive import Derived, derive_blocks, free_blocks
from coronel.mm.frames import Bools, FrameArray
from coronel.mm.problem import Findings
from coronel.mm.ranges import AddressRanges, check_counted, check_mapped, read_ranges
from coronel.mm.record import Tables
from coronel.mm.walk import Walk
from coronel.mm.zones import ZONE_NAMES, Physical, State, Zone

__all__ = ["Walk", "walk"]


def walk(tables: Tables, *, contents: bool = True) -> Walk:
    """Walks everything. DecodeError only where there is nothing to walk: no manager, or no way to its frame
    map.

    `contents` also reads page tables, and the first bytes of every free frame where the kernel poisons them
    (option poison_frames).
    """
    return _Walker(tables, contents).walk()


class _Walker:
    def __init__(self, tables: Tables, contents: bool) -> None:
        self.tables = tables
        self.contents = contents
        self.findings = Findings()
        self.complete = True

    def walk(self) -> Walk:
        physical = Physical.of(self.tables)
        present_ranges, array = check_map(self.tables, physical, self.findings)
        present = array.mask(present_ranges)
        zones = read_zones(self.tables, physical, self.findings)
        caches = try_caches(self.tables, physical, self.findings)
        counters = Counters.read(self.tables, self.findings)
        self.complete = (
            bool(zones)
            and caches is not None
            and counters is not None
            and np.array_equal(array.known, present.reshape(-1, array.shape.block_frames).any(axis=1))
        )
        edges = find_edges(self.tables, physical, zones, array, present, present_ranges, self.findings)
        check_block_zones(physical, array, edges, present, self.findings)
        of_frames, of_groups = edges.of_frames(array, present), edges.of_groups(array)

        heap = try_heap(self.tables, self.findings)
        self.complete = self.complete and heap is not None and not heap.unreadable
        slabs = SlabCheck(self.tables, physical, array, self.findings)
        if heap is not None:
            self._guard(functools.partial(slabs.run, heap))
        free, blocks = check_blocks(array, self.findings)
        check_unused(array, self.findings)
        witnesses = Witnesses(
            present=present,
            free=free,
            zones=of_frames,
            cached=claimed(caches or []),
            managed_claims=self._managed_claims(zones, counters),
            table_tag=self.tables.enum("FrameTag")["page_table"],
            poison_flag=poison_flag(self.tables),
            poison_end=edges.direct_frames,
            slabs=slabs.claims,
        )
        frame_check = FrameCheck(array, witnesses, self.findings)
        truth = frame_check.run()
        if self.contents:
            readable = check_tables(self.tables, physical, array, frame_check.tables(), self.findings)
            self.complete = self.complete and readable
        if caches is not None:
            check_caches(caches, self.findings)
            MagazineCheck(array, truth, of_frames, caches, self.tables, self.findings).run()
        states = self._states(array, truth, free)
        self._check_lists(array, blocks, zones, of_groups)
        totals = self._totals(array, states, blocks, of_groups)
        edge = 1 << array.shape.max_order
        check_zones(zones, present_ranges, edges, totals.managed, edge, self.findings)
        if zones and counters is not None:
            self._guard(lambda: check_totals(self.tables, physical, zones, counters, totals, self.findings))
        found = Walk(
            array=array,
            states=states,
            orders=truth.order,
            zone_free_blocks=self._zone_free_blocks(array, free, of_groups),
            present_ranges=present_ranges,
            direct_frames=edges.direct_frames,
            zones=zones,
            caches=caches or [],
            object_caches=heap.caches if heap is not None else [],
            counters=counters.values() if counters is not None else {},
            generation=self.tables.record.generation,
            problems=self.findings.problems,
            notes=notes(caches or []),
        )
        found.addresses = self._addresses(counters)
        if self.contents and witnesses.poison_flag:
            self._check_poison(physical, found, edges)
        found.left_out, found.complete = self.findings.left_out, self.complete
        return found

    def _addresses(self, counters: Counters | None) -> AddressRanges | None:
        """The kernel's address ranges, and the pages behind them where there are page tables."""
        try:
            ranges = read_ranges(self.tables, self.findings)
        except DecodeError as error:
            self.complete = False
            self.findings.add("ManagerRecord", "ranges", "the record of ranges", "none", str(error))
            return None
        if ranges is not None:
            self.complete = self.complete and ranges.complete
            translate = getattr(self.tables.memory, "translate", None)
            if translate is not None and ranges.complete:
                check_mapped(ranges, translate, self.findings)
        if counters is not None and (ranges is None or ranges.complete):
            taken = ranges.taken if ranges is not None else []
            self._guard(lambda: check_counted(taken, counters, self.findings))
        return ranges

    def _guard(self, check: Callable[[], object]) -> None:
        try:
            check()
        except DecodeError as error:
            self.complete = False
            self.findings.add("tables", "all of it", "", "", str(error))

    def _managed_claims(self, zones: list[Zone], counters: Counters | None) -> list[int]:
        claims = [sum(int(zone.lists["managed_frames"]) for zone in zones)]
        return claims + ([counters["frames_managed"]] if counters is not None else [])

    def _states(self, array: FrameArray, truth: FrameTruth, free: Bools) -> NDArray[np.uint8]:
        """FrameState and free bit as one State."""
        kinds = array.frame_type.enumeration("state")
        table = np.zeros(256, np.uint8)
        for name, state in (
            ("reserved", State.reserved),
            ("managed", State.inside),
            ("allocated", State.allocated),
            ("cached", State.cached),
        ):
            table[kinds[name]] = state
        states: NDArray[np.uint8] = table[truth.state]
        states[free & (states == State.inside)] = State.free
        return states

    def _check_lists(
        self, array: FrameArray, blocks: Derived, zones: list[Zone], of_groups: NDArray[np.uint8]
    ) -> None:
        member = Membership.of(array, blocks)
        check_membership(array, member, self.findings)
        owners = np.repeat(of_groups, array.group_blocks)
        for zone in zones:
            places = np.flatnonzero((owners == zone.number) & array.known)
            ListCheck(array, member, places, zone, self.findings).run()

    def _zone_free_blocks(
        self, array: FrameArray, free: Bools, of_groups: NDArray[np.uint8]
    ) -> tuple[tuple[int, ...], ...]:
        rows = free.reshape(len(array.groups), array.group_frames)
        return tuple(
            free_blocks(rows[of_groups == zone].reshape(-1), array.shape.max_order)
            for zone in range(len(ZONE_NAMES))
        )

    def _totals(
        self, array: FrameArray, states: NDArray[np.uint8], blocks: Derived, of_groups: NDArray[np.uint8]
    ) -> Truth:
        managed, free = states >= State.free, states == State.free

        def by_zone(frames: Bools) -> tuple[int, ...]:
            counts = frames.reshape(len(array.groups), array.group_frames).sum(axis=1)
            sums = np.bincount(of_groups, weights=counts, minlength=len(ZONE_NAMES))
            return tuple(map(int, sums))

        return Truth(
            present=int(np.count_nonzero(states)),
            managed=by_zone(managed),
            free=by_zone(free),
            allocated_blocks=int(np.count_nonzero(states == State.allocated)),
            cached_blocks=int(np.count_nonzero(states == State.cached)),
            free_blocks=sum(free_blocks(free, array.shape.max_order)) + self._unmerged(free, blocks, array),
            first_free_blocks=sum(free_blocks(managed, array.shape.max_order)),
        )

    @staticmethod
    def _unmerged(free: Bools, blocks: Derived, array: FrameArray) -> int:
        """How many blocks more there are while uncounted pageblocks do not merge: each free frame is one."""
        merged = derive_blocks(free, array.shape).blocks
        return int((blocks.blocks - merged).sum())

    def _check_poison(self, physical: Physical, found: Walk, edges: Edges) -> None:
        shown = found.whole_states()
        nobodys = (shown == State.free) | (shown == State.cached)
        read = check_poison(self.tables, physical, found.array, nobodys, edges.direct_frames, self.findings)
        self.complete = self.complete and read
