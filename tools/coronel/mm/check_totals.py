"""What is counted: levels and counters against the walk, and against each other where it cannot know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from coronel.errors import DecodeError
from coronel.mm import stats
from coronel.mm.problem import Findings
from coronel.mm.record import CounterInfo, Tables
from coronel.mm.zones import Physical, Zone

WORD = 1 << 64


@dataclass(frozen=True)
class Claim:
    """A number that something in memory says about the walk, or about another claim."""

    object: str
    field: str
    value: int
    address: int


@dataclass(frozen=True)
class Truth:
    """What the walk has counted itself."""

    present: int
    managed: tuple[int, ...]  # of each zone
    free: tuple[int, ...]  # of each zone
    allocated_blocks: int
    cached_blocks: int
    free_blocks: int
    first_free_blocks: int  # there were when nothing was out of the zones yet


class Counters:
    """Counters of all CPUs as they were read."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.shares = [stats.shares(tables, cpu) for cpu in range(len(tables.cpus))]
        self.infos = {info.name: info for info in tables.counters}

    @classmethod
    def read(cls, tables: Tables, findings: Findings) -> Counters | None:
        """None, and a finding, when a PerCpu cannot be read."""
        try:
            found = cls(tables)
            for cpu in range(len(tables.cpus)):
                found._check_cpu(cpu, findings)
        except DecodeError as error:
            findings.add("PerCpu", "all of it", "memory", "none", str(error))
            return None
        return found

    def values(self) -> dict[str, int]:
        """By name."""
        return {name: self[name] for name in self.infos}

    def __getitem__(self, name: str) -> int:
        info = self._info(name)
        return stats.total(info, [shares[info.index] for shares in self.shares])

    def claim(self, name: str) -> Claim:
        """A counter's value as a claim."""
        info = self._info(name)
        return Claim(f"counter {name}", name, self[name], stats.address_of(self.tables, info))

    def could_be(self, name: str, excess: int, limit: int) -> bool:
        """Whether one flipped bit explains that a counter is too large by `excess` (modulo 2^64)."""
        index = self._info(name).index
        for shares in self.shares:
            for bit in range(64):
                before = (shares[index] ^ 1 << bit) % WORD
                change = (shares[index] - before) % WORD
                if change == excess % WORD and 0 <= self[name] - _signed(change) <= limit:
                    return True
        return False

    def _info(self, name: str) -> CounterInfo:
        if name not in self.infos:
            raise DecodeError(f"the kernel has no counter {name!r}")
        return self.infos[name]

    def _check_cpu(self, cpu: int, findings: Findings) -> None:
        block = self.tables.read("PerCpu", self.tables.cpus[cpu])
        name = f"PerCpu {cpu}"
        if block["number"] != cpu:
            findings.add(name, "number", cpu, block["number"], "not its place", block.address_of("number"))
        slots = block["counters"]
        for index in range(len(self.infos), len(slots)):
            if slots[index]:
                address = block.address_of("counters", index)
                findings.add(name, f"counters[{index}]", 0, slots[index], "belongs to no counter", address)


def _signed(value: int) -> int:
    return value - WORD if value >= WORD // 2 else value


def check_totals(
    tables: Tables,
    physical: Physical,
    zones: list[Zone],
    counters: Counters,
    truth: Truth,
    findings: Findings,
) -> None:
    """Compares everything that counts something."""
    for claim, wanted, what in _exact(zones, counters, truth):
        if claim.value != wanted:
            findings.add(
                claim.object, claim.field, wanted, claim.value, f"the walk found other {what}", claim.address
            )
    poisoning = bool(tables.option("poison_frames"))
    pairs = (
        ("frame_failures", "failures", None),
        ("frame_misuses", "misuses", None),
        ("frames_poisoned", "poisoned_frames", None),
        ("memory_additions", "additions", None),
        ("frames_early", "early_frames", truth.present - sum(truth.managed)),
    )
    for name, field, most in pairs:
        never = name == "frames_poisoned" and not poisoning
        address = physical.record.address_of(field)
        exact = Claim("PhysicalRecord", field, physical.record[field], address)
        _check_pair(counters.claim(name), exact, 0 if never else None, findings, most)
    # What is added joins blocks that were there, and those that were out join it later: no count tells these
    # two apart.
    added = bool(physical.record["additions"]) and bool(counters["memory_additions"])
    _check_traffic(counters, truth, findings, blocks_add_up=not added)


def _exact(zones: list[Zone], counters: Counters, truth: Truth) -> Iterator[tuple[Claim, int, str]]:
    """Claims about what the walk has counted."""
    yield counters.claim("frames_present"), truth.present, "present frames"
    yield counters.claim("frames_managed"), sum(truth.managed), "managed frames"
    yield counters.claim("frames_free"), sum(truth.free), "free frames"
    for zone in zones:
        for field, wanted in (("managed_frames", truth.managed), ("free_frames", truth.free)):
            lists = zone.lists
            claim = Claim(zone.lists_name, field, int(lists[field]), lists.address_of(field))
            yield claim, wanted[zone.number], field.replace("_", " ")


def _check_pair(
    counter: Claim, other: Claim, both: int | None, findings: Findings, most: int | None = None
) -> None:
    """Two numbers that must be equal. `both`: what they are, where it is known; `most`: the upper bound."""
    if counter.value == other.value and both in (None, counter.value):
        return
    wrong = [claim for claim in (counter, other) if both is not None and claim.value != both]
    if not wrong:
        top = WORD // 2 if most is None else most + 1
        wrong = [claim for claim in (counter, other) if not 0 <= claim.value < top]
    if len(wrong) != 1:
        wrong = [counter, other]
    expected: object = other.value if wrong[0] is counter else counter.value
    why = "counted twice, with two results"
    first = wrong[0]
    findings.add([claim.object for claim in wrong], first.field, expected, first.value, why, first.address)


def _check_traffic(counters: Counters, truth: Truth, findings: Findings, *, blocks_add_up: bool) -> None:
    """Every block that is allocated was handed out and not taken back. Every block in a zone came from a
    split or came back, and those that left it are allocated or cached:

    free blocks now - free blocks at first = splits - merges - blocks allocated - blocks cached

    `blocks_add_up`: no memory was added since the start.
    """
    out = truth.allocated_blocks + truth.cached_blocks
    grown = truth.free_blocks - truth.first_free_blocks + out
    checks = (
        (
            "frame_allocations",
            "frame_releases",
            truth.allocated_blocks,
            "the difference is not the blocks allocated",
        ),
        ("frame_splits", "frame_merges", grown, "the difference does not explain the free blocks"),
    )
    for more, less, difference, why in checks:
        excess = counters[more] - counters[less] - difference
        if excess == 0 or (more == "frame_splits" and not blocks_add_up):
            continue
        limit = WORD // 4
        suspects = [
            name for name, sign in ((more, 1), (less, -1)) if counters.could_be(name, sign * excess, limit)
        ]
        if len(suspects) != 1:
            suspects = [more, less]
        claims = [counters.claim(name) for name in suspects]
        expected = claims[0].value - excess if suspects[0] == more else claims[0].value + excess
        objects = [claim.object for claim in claims]
        findings.add(objects, claims[0].field, expected, claims[0].value, why, claims[0].address)
