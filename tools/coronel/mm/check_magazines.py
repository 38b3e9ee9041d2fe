"""The CPUs' magazines against the Frames: every cached block is in exactly one magazine, one of its zone
and order (M1, M2).

A magazine says only which blocks it has, and the Frames say only that a block is in one. So a wrong entry or
count is looked for: what single change of which magazine lets all of one zone and order agree with the
Frames? Where two different ones do, both magazines are named. Entries from `count` on mean nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coronel.errors import DecodeError
from coronel.mm.check_frames import FrameTruth, frame_name
from coronel.mm.frames import FrameArray
from coronel.mm.layout import Struct
from coronel.mm.magazines import Cache, Magazine, Places, read_caches
from coronel.mm.problem import Findings
from coronel.mm.record import Tables
from coronel.mm.zones import Physical

COUNT_BITS = 64
IN_FLIGHT = "no magazine has it (right only for a CPU that stopped in the middle of an operation)"


def try_caches(tables: Tables, physical: Physical, findings: Findings) -> list[Cache] | None:
    """Every CPU's cache, or None and a finding where they cannot be read."""
    said, wanted = int(physical.record["cache_count"]), tables.option("max_cpus")
    if said != wanted:
        address = physical.record.address_of("cache_count")
        why = "there is a cache for each CPU that there may be"
        findings.add("PhysicalRecord", "cache_count", wanted, said, why, address)
    try:
        return read_caches(tables, physical)
    except DecodeError as error:
        address = physical.record.address_of("caches")
        found = int(physical.record["caches"])
        findings.add("PhysicalRecord", "caches", "the caches of the CPUs", found, str(error), address)
        return None


def claimed(caches: list[Cache]) -> frozenset[int]:
    """Every frame number that a magazine names."""
    return frozenset(block for cache in caches for magazine in cache.magazines for block in magazine.blocks)


def notes(caches: list[Cache]) -> list[str]:
    """What is no problem, but worth to know."""
    return [
        f"{cache.name} is taken: a CPU was stopped in the middle of an operation, or the word is wrong"
        for cache in caches
        if cache.taken == 1
    ]


def check_caches(caches: list[Cache], findings: Findings) -> None:
    """Each cache by itself, and their sizes against each other's."""
    for cache in caches:
        if cache.taken > 1:
            address = cache.record.address_of("taken")
            findings.add(cache.name, "taken", "0 or 1", cache.taken, "a cache is taken or not", address)
        for place, pair in enumerate(cache.pairs):
            _check_pair(cache, place, pair, findings)
    _check_most(caches, findings)


def _check_pair(cache: Cache, place: int, pair: Struct, findings: Findings) -> None:
    own, said = cache.own(place), (pair["loaded"], pair["previous"])
    if sorted(said) != sorted(own):
        field = "loaded" if said[0] not in own else "previous"
        if said[0] == said[1]:
            field = "loaded, previous"
        expected = " and ".join(hex(address) for address in own)
        found = " and ".join(hex(address) for address in said)
        why = "not the two magazines of its place"
        findings.add(cache.name, f"pairs[{place}].{field}", expected, found, why, pair.address_of("loaded"))


def _check_most(caches: list[Cache], findings: Findings) -> None:
    """The same for a zone and order on every CPU; `limit` is between: it stands nowhere else."""
    for place in range(len(caches[0].pairs) if caches else 0):
        said = [int(cache.pairs[place]["most"]) for cache in caches]
        votes = {value: said.count(value) for value in said}
        first = max(votes.values())
        winners = [value for value, count in votes.items() if count == first]
        for cache, value in zip(caches, said, strict=True):
            pair = cache.pairs[place]
            most = value if len(winners) > 1 else winners[0]
            if value != most:
                address, why = pair.address_of("most"), "the other CPUs have another"
                findings.add(cache.name, f"pairs[{place}].most", most, value, why, address)
            limit = int(pair["limit"])
            if limit > most or (limit == 0) != (most == 0):
                address = pair.address_of("limit")
                wanted = f"1 to {most}" if most else "0"
                why = "a magazine may hold that many blocks"
                findings.add(cache.name, f"pairs[{place}].limit", wanted, limit, why, address)
        if len(winners) > 1:
            names = tuple(cache.name for cache in caches)
            findings.add(
                names, f"pairs[{place}].most", "one for all", str(said), "CPUs contradict each other"
            )


@dataclass(frozen=True)
class _Change:
    """What would make a magazine right."""

    magazine: Magazine
    field: str
    right: int
    found: int
    address: int


class MagazineCheck:
    """What the magazines of all CPUs hold against the Frames that say `cached`."""

    def __init__(
        self,
        array: FrameArray,
        truth: FrameTruth,
        zones: NDArray[np.uint8],
        caches: list[Cache],
        tables: Tables,
        findings: Findings,
    ) -> None:
        self.array = array
        self.caches = caches
        self.findings = findings
        self.places = Places.of(tables)
        heads = np.flatnonzero(truth.state == array.frame_type.enumeration("state")["cached"])
        self.numbers = array.numbers(heads)
        self.orders = truth.order[heads].astype(np.int64)
        self.of_zone = zones[heads].astype(np.int64)

    def run(self) -> None:
        """Reports every disagreement."""
        never = self.numbers[self.orders >= self.places.orders]
        for number in never[: self.findings.room(len(never))].tolist():
            address = self.array.frame_address(number, "order")
            self.findings.add(frame_name(number), "state", "free or in use", "cached", IN_FLIGHT, address)
        for place in range(self.places.pairs):
            mine = (self.of_zone == self.places.zone(place)) & (self.orders == self.places.order(place))
            magazines = [one for cache in self.caches for one in cache.magazines[2 * place : 2 * place + 2]]
            self._check_place(place, magazines, self.numbers[mine])

    def _check_place(self, place: int, magazines: list[Magazine], numbers: NDArray[np.int64]) -> None:
        entries = [block for magazine in magazines for block in magazine.blocks]
        if all(magazine.count <= magazine.room for magazine in magazines) and (
            sorted(entries) == numbers.tolist()
        ):
            return
        changes = (
            list(self._changes(magazines, numbers))
            if len(numbers) <= sum(magazine.room + 1 for magazine in magazines)
            else []
        )
        if not changes:
            self._report_all(magazines, set(numbers.tolist()))
            return
        # A count beyond its room cannot be right, whatever else would explain the blocks.
        beyond = {magazine.name for magazine in magazines if magazine.count > magazine.room}
        changes = [change for change in changes if change.magazine.name in beyond] or changes
        names = tuple(dict.fromkeys(change.magazine.name for change in changes))
        first = changes[0]
        why = "only so are the magazines of its zone and order the blocks that the Frames call cached"
        if len(names) > 1:
            why = "one of them: either would explain which blocks the Frames call cached"
        self.findings.add(names, first.field, first.right, first.found, why, first.address)

    def _changes(self, magazines: list[Magazine], numbers: NDArray[np.int64]) -> Iterator[_Change]:
        """Every single wrong bit of a count, and every single wrong entry, that explains everything."""
        right = numbers.tolist()  # ascending
        total = sum(len(magazine.blocks) for magazine in magazines)
        for index, magazine in enumerate(magazines):
            others = [block for one in magazines[:index] + magazines[index + 1 :] for block in one.blocks]
            for bit in range(COUNT_BITS):
                count = magazine.count ^ 1 << bit
                if count > magazine.room or len(others) + count != len(right):
                    continue
                if sorted(others + list(magazine.slots[:count])) == right:
                    yield _Change(magazine, "count", count, magazine.count, magazine.count_address)
            if magazine.count > magazine.room or total != len(right):
                continue
            missing = set(right).difference(others, magazine.blocks)
            if len(missing) != 1:
                continue
            (block,) = missing
            for at, found in enumerate(magazine.blocks):
                changed = [*magazine.blocks[:at], block, *magazine.blocks[at + 1 :]]
                if sorted(others + changed) == right:
                    yield _Change(magazine, f"blocks[{at}]", block, found, magazine.entry_address(at))

    def _report_all(self, magazines: list[Magazine], cached: set[int]) -> None:
        """More than one thing is wrong: each by itself."""
        holder: dict[int, Magazine] = {}
        for magazine in magazines:
            if magazine.count > magazine.room:
                address, wanted = magazine.count_address, f"at most {magazine.room}"
                why = "more than it has room for"
                self.findings.add(magazine.name, "count", wanted, magazine.count, why, address)
            for at, block in enumerate(magazine.blocks):
                address = magazine.entry_address(at)
                other = holder.setdefault(block, magazine)
                if block not in cached:
                    why = "no cached block of its zone and order, by the Frames"
                    self.findings.add(magazine.name, f"blocks[{at}]", "a block", block, why, address)
                elif other is not magazine or magazine.blocks.index(block) != at:
                    names = tuple(dict.fromkeys((other.name, magazine.name)))
                    why = "a block lies in one magazine only"
                    self.findings.add(names, f"blocks[{at}]", "another block", block, why, address)
        lost = sorted(cached - holder.keys())
        for block in lost[: self.findings.room(len(lost))]:
            address = self.array.frame_address(block, "state")
            self.findings.add(frame_name(block), "state", "free or in use", "cached", IN_FLIGHT, address)
