"""`walk`: reads the frame array and the free structures on its own and says what they are, and what is wrong
with them.

    found = walk(tables)
    found.free_blocks                 # per order, from the bits alone
    found.state(4711)                 # State.inside
    found.problems                    # each names object, address, field, expected and found

Nothing that memory holds makes it fail or run long: every structure is read once, by its size; links are
followed at most as often as there are pageblocks; what cannot be read becomes a problem, and the rest is
walked. For one wrong bit there is one object named, the right one, because nearly everything is said at least
three times. Stop the machine first: a walk over memory that changes finds problems that are none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coronel.errors import DecodeError, ValidationError
from coronel.memory import PAGE_SHIFT, KernelMemory
from coronel.mm.check_blocks import check_blocks, check_unused
from coronel.mm.check_frames import FrameCheck, FrameTruth, frame_name
from coronel.mm.check_lists import ListCheck, Membership, check_membership
from coronel.mm.check_map import Ranges, check_map
from coronel.mm.check_totals import Counters, Truth, check_totals
from coronel.mm.check_zones import check_zones, read_zones
from coronel.mm.derive import free_blocks
from coronel.mm.frames import Bools, FrameArray
from coronel.mm.problem import Findings, Problem
from coronel.mm.record import Tables
from coronel.mm.zones import Physical, State, Zone


@dataclass
class Walk:
    """What was found. With problems, the numbers are those of the corrected state, as far as it could be
    corrected.
    """

    array: FrameArray
    states: NDArray[np.uint8]  # State of every frame of `array`
    orders: NDArray[np.uint8]  # of allocated heads
    free_blocks: tuple[int, ...]  # of each order
    present_ranges: Ranges  # frame numbers [first, end)
    zones: list[Zone]
    counters: dict[str, int]
    generation: int
    problems: list[Problem] = field(default_factory=list)
    left_out: int = 0  # problems beyond the bound
    complete: bool = True  # whether everything could be read

    @property
    def present(self) -> int:
        """Frames of memory."""
        return int(np.count_nonzero(self.states))

    @property
    def free(self) -> int:
        """Free frames."""
        return self._count(State.free)

    @property
    def reserved(self) -> int:
        """Frames that are never handed out."""
        return self._count(State.reserved)

    @property
    def managed(self) -> int:
        """Frames that belong to the frame allocator."""
        return self.present - self.reserved

    @property
    def reserved_ranges(self) -> Ranges:
        """Frame numbers [first, end) of runs of reserved frames, none reaching from one present range into
        another.
        """
        return self.array.runs(self.states == State.reserved)

    @property
    def allocated_blocks(self) -> NDArray[np.int64]:
        """A row (first frame, order) for each allocated block, ascending."""
        heads = np.flatnonzero(self.states == State.allocated)
        return np.column_stack((self.array.numbers(heads), self.orders[heads].astype(np.int64)))

    def state(self, frame: int) -> State:
        """What a frame is; absent where there is nothing."""
        index = self.array.index(frame)
        return State.absent if index is None else State(int(self.states[index]))

    def ranges(self) -> list[tuple[int, int, State]]:
        """Runs (first, end, state) of frames in one state, ascending, absent ones left out; a block's head
        counts as part of it, and so every allocated stretch is one run.
        """
        found = []
        shown = np.where(self.states == State.inside, State.allocated, self.states)
        for state in (State.reserved, State.free, State.allocated):
            found += [(first, end, state) for first, end in self.array.runs(shown == state)]
        return sorted(found)

    def check(self) -> None:
        """ValidationError that lists every problem, when there are any."""
        if self.problems or not self.complete:
            raise ValidationError(self.summary())

    def summary(self) -> str:
        """A few lines for people: levels, free blocks, problems."""
        blocks = " ".join(map(str, self.free_blocks))
        lines = [
            f"{self.present} frames present, {self.managed} managed, {self.free} free, "
            f"{len(self.allocated_blocks)} blocks allocated",
            f"free blocks of order 0 to {len(self.free_blocks) - 1}: {blocks}",
        ]
        more = f" and {self.left_out} more" if self.left_out else ""
        if self.problems:
            lines = [
                f"{len(self.problems)}{more} problems in the state of memory",
                *map(str, self.problems),
                *lines,
            ]
        if not self.complete:
            lines.append("not everything could be read")
        return "\n".join(lines)

    def _count(self, state: State) -> int:
        return int(np.count_nonzero(self.states == state))


def walk(tables: Tables, *, contents: bool = True) -> Walk:
    """Walks everything. DecodeError only where there is nothing to walk: no manager, or no way to its frame
    map.

    `contents` also reads the first bytes of every free frame where the kernel poisons them (option
    poison_frames).
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
        counters = Counters.read(self.tables, self.findings)
        self.complete = (
            bool(zones)
            and counters is not None
            and len(np.flatnonzero(array.known))
            == len(np.unique(np.flatnonzero(present) // array.shape.block_frames))
        )

        free, _ = check_blocks(array, self.findings)
        check_unused(array, self.findings)
        truth = FrameCheck(
            array, present, free, self._managed_claims(zones, counters), self._poison_flag(), self.findings
        ).run()
        states = self._states(array, truth, free)
        blocks = free_blocks(free, array.shape.max_order)
        self._check_lists(array, free, zones)
        check_zones(zones, present_ranges, array.shape, self.findings)
        if self.contents and self._poison_flag():
            self._check_poison(array, physical, states)
        if zones and counters is not None:
            totals = self._totals(array, states, blocks)
            self._guard(lambda: check_totals(self.tables, physical, zones, counters, totals, self.findings))
        return Walk(
            array=array,
            states=states,
            orders=truth.order,
            free_blocks=blocks,
            present_ranges=present_ranges,
            zones=zones,
            counters=counters.values() if counters is not None else {},
            generation=self.tables.record.generation,
            problems=self.findings.problems,
            left_out=self.findings.left_out,
            complete=self.complete,
        )

    def _guard(self, check: Callable[[], None]) -> None:
        try:
            check()
        except DecodeError as error:
            self.complete = False
            self.findings.add("tables", "all of it", "", "", str(error))

    def _managed_claims(self, zones: list[Zone], counters: Counters | None) -> list[int]:
        claims = [sum(int(zone.lists["managed_frames"]) for zone in zones)]
        return claims + ([counters["frames_managed"]] if counters is not None else [])

    def _poison_flag(self) -> int:
        if not self.tables.option("poison_frames"):
            return 0
        return self.tables.enum("FrameFlag")["poisoned"]

    def _states(self, array: FrameArray, truth: FrameTruth, free: Bools) -> NDArray[np.uint8]:
        """FrameState and free bit as one State."""
        kinds = array.frame_type.enumeration("state")
        table = np.zeros(256, np.uint8)
        for name, state in (
            ("reserved", State.reserved),
            ("managed", State.inside),
            ("allocated", State.allocated),
        ):
            table[kinds[name]] = state
        states: NDArray[np.uint8] = table[truth.state]
        states[free & (states == State.inside)] = State.free
        return states

    def _check_lists(self, array: FrameArray, free: Bools, zones: list[Zone]) -> None:
        from coronel.mm.derive import derive_blocks  # noqa: PLC0415

        member = Membership.of(array, derive_blocks(free, array.shape))
        check_membership(array, member, self.findings)
        owners = self._zone_of_blocks(array, zones)
        for number, zone in enumerate(zones):
            places = np.flatnonzero((owners == number) & array.known)
            ListCheck(array, member, places, zone, self.findings).run()

    def _zone_of_blocks(self, array: FrameArray, zones: list[Zone]) -> NDArray[np.int64]:
        """Which zone each pageblock belongs to; an only zone has them all, whatever its edges say."""
        owners = np.full(len(array.known), 0 if len(zones) == 1 else -1, np.int64)
        if len(zones) > 1:
            first = np.repeat(array.groups, array.group_blocks) * array.group_frames
            for number, zone in enumerate(zones):
                owners[(first >= zone.record["first"]) & (first < zone.record["end"])] = number
        return owners

    def _totals(self, array: FrameArray, states: NDArray[np.uint8], blocks: tuple[int, ...]) -> Truth:
        managed = states >= State.free
        return Truth(
            present=int(np.count_nonzero(states)),
            managed=int(np.count_nonzero(managed)),
            free=int(np.count_nonzero(states == State.free)),
            allocated_blocks=int(np.count_nonzero(states == State.allocated)),
            free_blocks=sum(blocks),
            first_free_blocks=sum(free_blocks(managed, array.shape.max_order)),
        )

    def _check_poison(self, array: FrameArray, physical: Physical, states: NDArray[np.uint8]) -> None:
        """The flag against the contents: poisoned frames hold the pattern, no other free frame does."""
        pattern = bytes([self.tables.enum("platform::Poison")["free_frame"]]) * 8
        read = self._frame_reader(physical)
        free = np.flatnonzero(states == State.free)
        flags = array.frame_column("flags")[free] & self._poison_flag()
        for number, flag in zip(array.numbers(free).tolist(), flags.tolist(), strict=True):
            try:
                begin = read(number)
            except DecodeError:
                self.complete = False
                return
            if (begin == pattern) == bool(flag):
                continue
            expected = pattern.hex() if flag else "no poison"
            why = "flag and contents disagree: written to after its release, or a wrong flag"
            address = array.frame_address(number, "flags")
            self.findings.add(
                frame_name(number), "flags", f"contents {expected}", f"contents {begin.hex()}", why, address
            )

    def _frame_reader(self, physical: Physical) -> Callable[[int], bytes]:
        """The first eight bytes of a frame."""
        memory: Any = self.tables.memory
        if isinstance(memory, KernelMemory):
            return lambda number: memory.physical.read(number << PAGE_SHIFT, 8)
        direct_map = int(physical.map["direct_map"])
        return lambda number: bytes(memory.read(direct_map + (number << PAGE_SHIFT), 8))
