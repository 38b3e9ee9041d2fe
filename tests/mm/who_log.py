"""The log of a seeded run that Python drives: what it was given, of every kind there is, which calls it made
for that, and so what `who` is to say of each byte.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from tests.mm.test_misuse import site_of

from coronel.mm.body import Body
from coronel.mm.guest_mm import GuestKernelMM
from coronel.mm.host_mm import HostKernelMM
from coronel.mm.kernel_mm import KernelMM
from coronel.mm.misuse import KMALLOC, SITES, Break
from coronel.mm.objects import ObjectOperation, operation
from coronel.mm.pages import GFPFlags
from coronel.mm.tables import PTEFlags
from coronel.mm.who import Answer
from coronel.mm.zones import Physical, State

PAGE = 4096
OBJECT_SIZES = (8, 24, 64, 100, 700, 1024, 4000)
LARGE_SIZES = (9000, 10_000, 40_000, 100_000)
BLOCK_SIZES = (24, 100, 4073, 30_000)
ORDERS = (0, 0, 0, 1, 3, 5, 9)
RANGE_SIZES = (1, 20_000, 3 << 20)
GONE = ("cached", "free", "quarantined")
FREE = ("free", "free, in a magazine")
# Words of the log for calls: an allocation, its release.
PAIRS = {"kmalloc": "kfree", "kzalloc": "kfree_sized", "krealloc": "kfree", "cache_alloc": "cache_free"}


@dataclass(frozen=True)
class Calls:
    """What the guarded profile is to know of an object: calls by the log's word, and each one's CPU."""

    number: int  # in the order of the allocations
    requested: int
    allocated: str
    cpu: int
    freed: str = ""  # it lives
    freed_cpu: int = 0


@dataclass(frozen=True)
class Owned:
    """Something that the run was given, and what is to be said of it: a value, or one of a tuple of them."""

    kind: str
    address: int
    size: int
    expected: dict[str, Any]
    calls: Calls | None = None
    cache: int = 0  # its own; 0: kmalloc's, or no object
    keeps_offset: bool = True  # the answer counts from `address`


@dataclass
class Log:
    """The run, on a body where a misuse is refused."""

    mm: KernelMM
    chance: random.Random
    owned: list[Owned] = field(default_factory=list)
    words: dict[int, str] = field(default_factory=dict)  # of calls, by their site
    numbers: Iterator[int] = field(default_factory=itertools.count)  # of allocations

    def __post_init__(self) -> None:
        assert isinstance(self.mm, Body)
        with self.mm.still() as tables:
            self.direct = int(Physical.of(tables).map["direct_map"])
            self.tracked = bool(tables.option("debug_slab"))
            self.hides = bool(tables.option("debug_pagealloc")) and isinstance(self.mm, GuestKernelMM)

    def run(self) -> Log:
        """What is where in the end."""
        if self.tracked:
            self._learn()
        for _ in range(160):
            self._object(self.chance.choice(list(PAIRS)), self.chance.choice(OBJECT_SIZES))
        for size in LARGE_SIZES:
            self._object(self.chance.choice(("kmalloc", "kzalloc", "krealloc")), size)
        for _ in range(24):
            self._block(self.chance.choice(BLOCK_SIZES))
        self.owned += [self._frames(order) for order in ORDERS]
        self._tables()
        self._ranges()
        for kind, count, release in (("object", 40, self._release), ("block", 6, self._release_block)):
            for one in self.chance.sample([one for one in self.owned if one.kind.startswith(kind)], count):
                self.owned.remove(one)
                self.owned.append(release(one))
        self.owned += [self._planted(n % SITES) for n in range(2 * SITES)]
        self.owned += self._nobodys()
        return self

    def questions(self, count: int) -> list[tuple[int, Owned]]:
        """Random bytes of what is owned; each thing is asked for once at least."""
        assert len(self.owned) <= count
        chosen = self.owned + self.chance.choices(self.owned, k=count - len(self.owned))
        return [(one.address + self.chance.randrange(one.size), one) for one in chosen]

    def check(self, said: Answer, address: int, one: Owned) -> None:
        """The answer is what the log says."""
        where = f"{address:#x}: {said}, not {one}"
        if said["use"] == "guard pool":
            said = self._as_in_a_slab(said, one)
        for key, value in one.expected.items():
            allowed = value if isinstance(value, tuple) else (value,)
            assert said.get(key) in allowed, f"{key} of {where}"
        assert not one.keeps_offset or said["offset"] == address - one.address, where
        calls = one.calls if self.tracked else None
        assert said.get("requested") == (calls.requested if calls else None), where
        for key, word, cpu in (
            ("allocated", calls.allocated if calls else "", calls.cpu if calls else 0),
            ("freed", calls.freed if calls else "", calls.freed_cpu if calls else 0),
        ):
            assert (key in said) == bool(word), f"{key} of {where}"
            if word:
                assert (self._word(said[key]["site"]), said[key]["cpu"]) == (word, cpu), f"{key} of {where}"
        if calls and calls.freed:
            assert said["allocated"]["ns"] <= said["freed"]["ns"], where

    def _as_in_a_slab(self, said: Answer, one: Owned) -> Answer:
        """What `who` says of an object of the sample, less what a slab's object has not here: a track."""
        assert not self.tracked
        assert said["requested"] == one.size
        assert "allocated" in said
        assert ("freed" in said) == (said["object_state"] == "free") == ("mapped" in said)
        kept = {key: value for key, value in said.items() if key not in ("requested", "allocated", "freed")}
        return kept | {"use": "slab"}

    def check_order(self, answers: list[Answer], asked: list[tuple[int, Owned]]) -> None:
        """What was allocated later has a later time."""
        made = {
            one.calls.number: said["allocated"]["ns"]
            for said, (_, one) in zip(answers, asked, strict=True)
            if one.calls
        }
        times = [made[number] for number in sorted(made)]
        assert times == sorted(times)
        assert len(set(times)) > 1

    def _word(self, site: str) -> str:
        """The log's word for a site as `who` puts it; its name must be that of the function around it."""
        address, _, name = site.partition(" ")
        number = int(address, 16)
        if planted := re.match(r"memory::\(anonymous namespace\)::heap_site<(\d+)u>\+", name):
            assert int(planted[1]) == site_of(self.mm, number)
            return f"site {planted[1]}"
        assert "perform" in name, site
        return self.words[number]

    def _learn(self) -> None:
        """Where the words' calls return to: as the heap's own report of a second release says."""
        cache = self.mm.create_cache("who-learns", 48)
        for made, freed in PAIRS.items():
            address = self._call(self._allocation(made, 48, cache))
            release = self._freeing(freed, address, 48, cache)
            self._call(release)
            (refused,) = self.mm.run_objects([release])
            report = self.mm.last_misuse()
            assert refused.why
            assert report is not None
            for word, site in ((made, report.allocated.site), (freed, report.freed.site)):
                assert self.words.setdefault(site, word) == word
        assert len(self.words) == len({*PAIRS, *PAIRS.values()})

    def _allocation(self, word: str, size: int, cache: int) -> ObjectOperation:
        numbers = {"krealloc": (0, size), "cache_alloc": (cache, GFPFlags.KERNEL)}
        return operation(word, *numbers.get(word, (size, GFPFlags.KERNEL)))

    def _freeing(self, word: str, address: int, size: int, cache: int) -> ObjectOperation:
        return operation(word, *((cache, address) if word == "cache_free" else (address, size)))

    def _call(self, one: ObjectOperation) -> int:
        (done,) = self.mm.run_objects([one])
        assert not done.why, f"{one}: {done.why}"
        return done.value

    def _cpu(self) -> int:
        """Draws the one that the next call runs on; a guest has one."""
        if isinstance(self.mm, HostKernelMM):
            self.mm.machine.cpu = self.chance.randrange(2)
            return self.mm.machine.cpu
        return 0

    def _object(self, word: str, size: int) -> None:
        cpu, name = self._cpu(), f"who-{len(self.owned)}"
        cache = self.mm.create_cache(name, size) if word == "cache_alloc" else 0
        address = self._call(self._allocation(word, size, cache))
        calls = Calls(next(self.numbers), size, word, cpu)
        # Where a red zone and a page's alignment do not fit into a class, frames serve.
        if cache or size <= (PAGE if self.tracked else 2 * PAGE):
            expected: dict[str, Any] = {"use": "slab", "object_state": "allocated"}
            if cache:
                expected["cache"] = name
            self.owned.append(Owned(f"object of {word}", address, size, expected, calls, cache))
        else:
            expected = {"use": "object of kmalloc", "references": 2}
            self.owned.append(Owned(f"large object of {word}", address, size, expected, calls))

    def _release(self, one: Owned) -> Owned:
        assert one.calls is not None
        word = PAIRS[one.calls.allocated]
        calls = replace(one.calls, freed=word, freed_cpu=self._cpu())
        self._call(self._freeing(word, one.address, one.size, one.cache))
        expected = one.expected | {"object_state": GONE}
        return replace(one, kind=f"released {one.kind}", expected=expected, calls=calls)

    def _block(self, size: int) -> None:
        self._cpu()
        address = self.mm.heap_malloc(size)
        assert address is not None
        expected = {"use": "kernel heap", "heap_block": f"{address:#x}", "object_state": "allocated"}
        self.owned.append(Owned("block", address, size, expected))

    def _release_block(self, one: Owned) -> Owned:
        """What is left of it is part of a free block, unless its range went home."""
        self.mm.heap_free(one.address)
        expected = {"use": ("kernel heap", *FREE), "object_state": ("free", None)}
        return Owned("released block", one.address, one.size, expected, keeps_offset=False)

    def _frames(self, order: int) -> Owned:
        block = self.mm.alloc_pages(order)
        assert block is not None
        expected = {"use": "allocated frames", "block": block, "order": order, "references": 1}
        return Owned("frames", self.direct + block * PAGE, PAGE << order, expected, keeps_offset=False)

    def _tables(self) -> None:
        pgd = self.mm.pgd_alloc()
        assert pgd is not None
        self.mm.map_page(pgd, 0x40_0000, 0x123_4000, PTEFlags.WRITE | PTEFlags.NX)
        self.owned.append(
            Owned("page table", self.direct + pgd, PAGE, {"use": "page table"}, keeps_offset=False)
        )

    def _ranges(self) -> None:
        """Kernel addresses, which the host's machine has none of."""
        if not isinstance(self.mm, GuestKernelMM):
            return
        for size in RANGE_SIZES:
            address = int(self.mm.guest.channel.call("vmalloc", size)["address"], 16)
            expected = {
                "use": "allocated frames",
                "range": f"{address:#x}",
                "kind": "vmalloc",
                "owner": "console",
            }
            self.owned.append(Owned("range", address, size, expected, keeps_offset=False))

    def _planted(self, site: int) -> Owned:
        """An object that is released again, by calls of Python's choice: `break` allocates it at that site,
        releases it at the next one, and releases it once more at the one after.
        """
        # Of a size that kmalloc's quarantine holds all of: else the next ones get a released object again.
        size, cache = self.chance.choice((17, 100)), KMALLOC
        if self.chance.random() < 0.5:
            size = self.chance.choice((17, 100, 1000))
            cache = self.mm.create_cache(f"planted-{len(self.owned)}-{site}", size)
        cpu = self._cpu()
        kind = self.chance.choice(("double_free", "interior_free"))
        broken = self.mm.break_heap(Break(kind, cache, size, self.chance.randrange(3), 5, site))
        assert broken.why
        calls = Calls(next(self.numbers), size, f"site {site}", cpu, f"site {(site + 1) % SITES}", cpu)
        expected = {"use": "slab", "object_state": GONE}
        return Owned("planted object", broken.object, size, expected, calls, cache)

    def _nobodys(self) -> Iterator[Owned]:
        """Frames that are free again, where the kernel has them in sight, and one that was never free."""
        if not self.hides:
            gone = [self._frames(order) for order in (0, 4)]
            for one in gone:
                self.mm.free_pages(one.expected["block"], one.expected["order"])
                yield Owned("free frames", one.address, one.size, {"use": FREE}, keeps_offset=False)
        walk = self.mm.walk()
        number = next(n for n in range(1, walk.direct_frames) if walk.state(n) is State.reserved)
        uses = {"use": ("reserved", "page table")}
        yield Owned("reserved", self.direct + number * PAGE, PAGE, uses, keeps_offset=False)


def direct_map(mm: KernelMM) -> int:
    """Where physical address 0 would appear."""
    assert isinstance(mm, Body)
    with mm.still() as tables:
        return int(Physical.of(tables).map["direct_map"])
