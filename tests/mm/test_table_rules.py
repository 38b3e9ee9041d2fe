"""Hypothesis drives trees of page tables on both bodies against a dictionary: any call after any other, pages
of 4 KiB, 2 MiB and 1 GiB, ranges that split them, and the n-th table that cannot be had. After each step
every word of every table is what the dictionary says it is, and memory holds as many tables as that takes.

The runs follow from the session's seed, which pytest prints. The host has four levels here, the guest five.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from coronel.errors import MMError
from coronel.mm.page_tables import Tree, maps, page_size
from coronel.mm.tables import TableOperation, table_operation, told_flags
from coronel.mm.zones import Physical, frame_at
from mm_wrapper import PTEFlags

if TYPE_CHECKING:
    from tests.mm.conftest import RunRules

P = PTEFlags
PAGE, LARGE, HUGE = page_size(0), page_size(1), page_size(2)
LARGEST = 2  # the level of an entry that maps 1 GiB
EDGE = 0x5080_0000_0000  # a multiple of 512 GiB: tables of every level meet here
FIRST = EDGE - 2 * HUGE
MEMORY = 1 << 40  # what FIRST is mapped to, if nothing is shifted
FEW = 8 << 20  # bytes that may be mapped by small pages alone
RIGHTS = P.WRITE | P.USER | P.GLOBAL | P.NX
ADDRESS = 0x000F_FFFF_FFFF_F000

SOME_PAGES = st.sampled_from((0, 0, 0, 1, 2, 255, 511))
PLACES = st.builds(
    lambda huge, large, page: FIRST + huge * HUGE + large * LARGE + page * PAGE,
    st.integers(0, 3), SOME_PAGES, SOME_PAGES,
)  # fmt: skip
SIZES = st.sampled_from(
    (PAGE, PAGE, 2 * PAGE, 5 * PAGE, LARGE, LARGE, LARGE + PAGE, 3 * LARGE, HUGE, HUGE - PAGE, HUGE + LARGE)
)
SHIFTS = st.sampled_from((0, 0, 0, PAGE, LARGE))
FLAGS = st.builds(
    lambda rights, cache: int(rights | cache),
    st.sampled_from((P.WRITE | P.NX, P.NX, P(0), P.WRITE | P.NX | P.USER, P.USER, P.NX | P.GLOBAL)),
    st.sampled_from((P(0), P(0), P.PWT, P.PCD, P.PCD | P.PWT, P.PAT, P.PAT | P.PWT)),
)
FAILURES = st.sampled_from((0, 0, 0, 1, 2, 3, 4, 6, 9))  # which allocation fails; 0: none
PICKS = st.integers(0, 1 << 16)  # which page that is mapped, counted around


@dataclass(frozen=True)
class Leaf:
    """A page that is mapped, of the size that an entry of that level maps."""

    level: int
    physical: int
    flags: int
    noted: int = 0  # accessed, dirty

    @property
    def word(self) -> int:
        """Its entry (Intel SDM volume 3A, tables 4-18 to 4-20): PAT is bit 12 where bit 7 says large."""
        bits = self.physical | P.PRESENT | self.flags & (RIGHTS | P.PWT | P.PCD) | self.noted
        if self.level > 0:
            bits |= P.HUGE
        if self.flags & P.PAT:
            bits |= 1 << 12 if self.level > 0 else 1 << 7
        return int(bits)

    def part(self, number: int) -> Leaf:
        """One of the 512 pages of the next smaller size."""
        return replace(
            self, level=self.level - 1, physical=self.physical + number * page_size(self.level - 1)
        )


def noted_at_first(flags: int) -> int:
    """What the kernel marks of its own pages, so that no CPU needs to."""
    if flags & P.USER:
        return 0
    return int(P.ACCESSED | (P.DIRTY if flags & P.WRITE else 0))


class Refused(Exception):  # noqa: N818  # an answer, and nothing that went wrong
    """With a negative errno."""


class Model:
    """The pages of one tree by address."""

    def __init__(self, levels: int) -> None:
        self.levels = levels
        self.leaves: dict[int, Leaf] = {}

    def copy(self) -> Model:
        """One that may be changed."""
        other = Model(self.levels)
        other.leaves = dict(self.leaves)
        return other

    def at(self, address: int) -> tuple[int, Leaf] | None:
        """The page that holds it, and where that begins."""
        for level in range(LARGEST + 1):
            first = address & -page_size(level)
            leaf = self.leaves.get(first)
            if leaf is not None and leaf.level == level:
                return first, leaf
        return None

    def tables(self) -> set[tuple[int, int]]:
        """(level, number) of every table that the pages take, and the root."""
        found = {(self.levels - 1, 0)}
        for first, leaf in self.leaves.items():
            for level in range(leaf.level, self.levels - 1):
                found.add((level, first // page_size(level + 1)))
        return found

    def mapped(self, first: int, size: int) -> Iterator[tuple[int, Leaf | None]]:
        """The pages from `first` to the end, and each missing page of 4 KiB as None."""
        at = first
        while at < first + size:
            found = self.at(at)
            yield (at, None) if found is None else found
            at = at + PAGE if found is None else found[0] + page_size(found[1].level)

    def map(self, first: int, size: int, to: int, flags: int) -> int:
        """The largest pages that fit; how many tables that takes."""
        spans = ((at, at + page_size(leaf.level)) for at, leaf in self.leaves.items())
        if any(at < first + size and first < end for at, end in spans):
            raise Refused(-errno.EEXIST)
        before = len(self.tables())
        for offset in self._offsets(first, size, to):
            at, physical = first + offset[0], to + offset[0]
            self.leaves[at] = Leaf(offset[1], physical, flags, noted_at_first(flags))
        return len(self.tables()) - before

    @staticmethod
    def _offsets(first: int, size: int, to: int) -> Iterator[tuple[int, int]]:
        done = 0
        while done < size:
            level = LARGEST
            while level > 0 and (
                (first + done | to + done) % page_size(level) or size - done < page_size(level)
            ):
                level -= 1
            yield done, level
            done += page_size(level)

    def split(self, first: int, size: int) -> int:
        """Lets no page reach over an edge of the range; how many tables that takes."""
        if any(leaf is None for _, leaf in self.mapped(first, size)):
            raise Refused(-errno.ENOENT)
        made = 0
        for edge in (first, first + size):
            while (found := self.at(edge - 1 if edge > first else edge)) is not None:
                at, leaf = found
                if at >= first and at + page_size(leaf.level) <= first + size:
                    break
                del self.leaves[at]
                for number in range(512):
                    part = leaf.part(number)
                    self.leaves[at + number * page_size(part.level)] = part
                made += 1
        return made

    def unmap(self, first: int, size: int) -> int:
        """How many tables it takes to split what reaches over an edge."""
        made = self.split(first, size)
        for at, _ in list(self.mapped(first, size)):
            del self.leaves[at]
        return made

    def protect(self, first: int, size: int, flags: int) -> int:
        """The same."""
        made = self.split(first, size)
        for at, leaf in list(self.mapped(first, size)):
            assert leaf is not None
            self.leaves[at] = replace(leaf, flags=flags, noted=leaf.noted | noted_at_first(flags))
        return made


class TableRules(RuleBasedStateMachine):
    """One run, on a tree of its own."""

    def __init__(self, place: Any) -> None:
        super().__init__()
        self.place = place
        body = place.enter()
        self.room = body.room
        self.mm: Any = body.mm  # a KernelMM over raw memory
        self.mm.shrink()
        self.mm.quiesce()
        self.used_without = self.mm.get_memory_info().used
        pgd = self.mm.pgd_alloc()
        assert pgd
        self.pgd = pgd
        with self.mm._state.still() as tables:
            tree = Tree.at(tables, pgd)
            self.model = Model(tree.levels)
            self.kernels = sum(word & 1 for word in tree.table(pgd))  # entries of the upper half
        self.mm.fail_nth(1)  # sends home what caches hold, as every planned failure does
        self.mm.fail_nth(0)
        self.used_empty = self.mm.get_memory_info().used
        self.sound = True

    # -- what is done

    def perform(self, name: str, numbers: tuple[int, ...], fail: int = 0) -> None:
        """A call of the body and of the dictionary: both say the same, and the dictionary knows how many
        tables the body will ask for.
        """
        self.sound = False
        after = self.model.copy()
        try:
            needed = getattr(after, name)(*numbers)
            expected = -errno.ENOMEM if 0 < fail <= needed else 0
        except Refused as refused:
            expected = refused.args[0]
        self.mm.fail_nth(fail)
        (outcome,) = self.mm.run_tables([table_operation(f"{name}_range", self.pgd, *numbers)])
        if fail:
            assert self.mm.fail_pending() == (expected != -errno.ENOMEM)
        self.mm.fail_nth(0)
        assert outcome.value == expected, f"{name} {[hex(one) for one in numbers]}: {outcome.why}"
        if expected == 0:
            self.model = after
        self.sound = True

    @rule(place=PLACES, size=SIZES, shift=SHIFTS, flags=FLAGS, fail=FAILURES)
    def map(self, place: int, size: int, shift: int, flags: int, fail: int) -> None:
        """Where `shift` is not a large page's, only small pages fit."""
        if shift == PAGE and size > FEW:
            shift = LARGE
        self.perform("map", (place, size, MEMORY + (place - FIRST) + shift, flags), fail)

    @rule(place=PLACES, size=SIZES, flags=st.one_of(st.none(), FLAGS), fail=FAILURES)
    def change_anything(self, place: int, size: int, flags: int | None, fail: int) -> None:
        """Often something is missing."""
        self._change(place, size, flags, fail)

    @rule(pick=PICKS, part=st.sampled_from((PAGE, LARGE, HUGE)), first=PICKS, count=st.integers(1, 600),
          flags=st.one_of(st.none(), FLAGS), fail=FAILURES)  # fmt: skip
    def change_a_part(
        self, pick: int, part: int, first: int, count: int, flags: int | None, fail: int
    ) -> None:
        """Some parts of a page that is mapped, which split it; or too many of them."""
        if not self.model.leaves:
            return
        at = sorted(self.model.leaves)[pick % len(self.model.leaves)]
        size = page_size(self.model.leaves[at].level)
        part = min(part, size)
        self._change(at + first * part % size, count % 5 * part or part, flags, fail)

    @rule(pick=PICKS, count=st.integers(1, 40), flags=st.one_of(st.none(), FLAGS))
    def change_neighbours(self, pick: int, count: int, flags: int | None) -> None:
        """Whole pages one after the other, as far as they touch."""
        at = sorted(self.model.leaves)
        if not at:
            return
        first = at[pick % len(at)]
        last = at[min(pick % len(at) + count, len(at)) - 1]
        self._change(first, last + page_size(self.model.leaves[last].level) - first, flags, 0)

    def _change(self, place: int, size: int, flags: int | None, fail: int) -> None:
        if flags is None:
            self.perform("unmap", (place, size), fail)
        else:
            self.perform("protect", (place, size, flags), fail)

    @rule(place=PLACES, large=st.booleans(), shift=st.sampled_from((0, PAGE, LARGE)), flags=FLAGS)
    def map_page(self, place: int, large: bool, shift: int, flags: int) -> None:
        """KOS's call."""
        size = LARGE if large else PAGE
        to = MEMORY + (place - FIRST) + shift
        after, wanted = self.model.copy(), 0
        try:
            if (place | to) % size:
                raise Refused(-errno.EINVAL)
            after.map(place, size, to, flags)
        except Refused as refused:
            wanted = refused.args[0]
        assert self._errno_of("map_page", place, to, flags | (P.HUGE if large else 0)) == wanted
        if wanted == 0:
            self.model = after

    @rule(pick=PICKS, place=PLACES, known=st.booleans(), inside=st.sampled_from((0, 0, 0, 1, PAGE, LARGE)))
    def unmap_page(self, pick: int, place: int, known: bool, inside: int) -> None:
        """KOS's call: a page of any size by its first address."""
        if known and self.model.leaves:
            place = sorted(self.model.leaves)[pick % len(self.model.leaves)]
        place += inside
        found = self.model.at(place)
        wanted = -errno.ENOENT if found is None else 0 if found[0] == place else -errno.EINVAL
        assert self._errno_of("unmap_page", place) == wanted
        if wanted == 0:
            del self.model.leaves[place]

    def _errno_of(self, name: str, *numbers: int) -> int:
        self.sound = False
        try:
            getattr(self.mm, name)(self.pgd, *numbers)
        except MMError as error:
            self.sound = True
            return -(error.errno or 0)
        self.sound = True
        return 0

    @rule(number=st.integers(0, 1 << 16), place=PLACES, flags=FLAGS)
    def call_it_wrong(self, number: int, place: int, flags: int) -> None:
        """What no tree takes, whatever is mapped."""
        noncanonical = 1 << (47 if self.model.levels == 4 else 56)
        to = MEMORY
        wrong: list[tuple[str, tuple[int, ...]]] = [
            ("map_range", (place + 1, PAGE, to, flags)),
            ("map_range", (place, PAGE + 1, to, flags)),
            ("map_range", (place, 0, to, flags)),
            ("map_range", (place, PAGE, to + 8, flags)),
            ("map_range", (place, PAGE, 1 << 52, flags)),
            ("map_range", (place, 2 * PAGE, (1 << 52) - PAGE, flags)),
            ("map_range", (noncanonical, PAGE, to, flags)),
            ("map_range", (noncanonical - PAGE, 2 * PAGE, to, flags)),
            ("map_range", (0xFFFF_C000_0000_0000, PAGE, to, flags)),
            ("map_range", ((1 << 64) - PAGE, 2 * PAGE, to, flags)),
            ("map_range", (place, PAGE, to, P.WRITE)),
            ("map_range", (place, PAGE, to, P.NX | P.USER | P.GLOBAL)),
            ("map_range", (place, PAGE, to, flags | 1 << 40)),
            ("map_range", (place, PAGE, to, P.PAT | P.PCD | P.NX)),
            ("unmap_range", (place, PAGE - 1)),
            ("unmap_range", (place + 8, PAGE)),
            ("unmap_range", (noncanonical, PAGE)),
            ("unmap_range", (0xFFFF_C000_0000_0000, PAGE)),
            ("protect_range", (place, 0, flags)),
            ("protect_range", (place, PAGE, P.WRITE)),
            ("protect_range", ((1 << 64) - PAGE, 2 * PAGE, flags)),
            ("virt_to_phys", (noncanonical,)),
        ]
        name, numbers = wrong[number % len(wrong)]
        other = table_operation(name, self.pgd + PAGE, *numbers)
        for one in (table_operation(name, self.pgd, *numbers), other):
            (outcome,) = self.mm.run_tables([one])
            assert outcome.value == -errno.EINVAL, f"{name} {[hex(number) for number in one.numbers]}"

    # -- what holds after each step

    @invariant()
    def every_word_is_as_it_must_be(self) -> None:
        """The tables in raw memory are the dictionary's, and memory holds no other."""
        with self.mm._state.still() as tables:
            found = dict(words_of(Tree.at(tables, self.pgd)))
            pages = Physical.of(tables)
            below = [word & ADDRESS for (_, level), word in found.items() if not maps(word, level)]
            records = [frame_at(tables, pages, table // PAGE).frame for table in (self.pgd, *below)]
            live = sum(int(record["mappings"]) for record in records)
        wanted = {(at, leaf.level): leaf.word for at, leaf in self.model.leaves.items()}
        made = self.model.tables()
        pointers = {key for key in found if key not in wanted}
        assert {key: found[key] for key in found if key in wanted} == wanted
        assert pointers == {(number * page_size(level + 1), level + 1) for level, number in made
                            if level < self.model.levels - 1}  # fmt: skip
        assert {found[key] & ~ADDRESS for key in pointers} <= {int(P.PRESENT | P.WRITE | P.USER)}
        assert len({found[key] for key in pointers}) == len(pointers), "no table has two places"
        assert live == len(found) + self.kernels, "each table's Frame counts its entries"
        assert self.mm.valid()
        used = self.mm.get_memory_info().used - self.used_empty
        assert used == PAGE * (len(made) - 1)

    @invariant()
    def the_body_finds_what_is_there(self) -> None:
        """Its own answers, at both ends of some pages and beside them."""
        some = sorted(self.model.leaves)
        some = some[:6] + some[len(some) // 2 : len(some) // 2 + 6] + some[-6:]
        ends = [at + page_size(self.model.leaves[at].level) for at in some]
        asked = sorted({EDGE, FIRST, *some, *(at - 1 for at in some), *ends, *(end - 1 for end in ends)})
        calls: list[TableOperation] = []
        for address in asked:
            calls += [table_operation(name, self.pgd, address) for name in ("virt_to_phys", "look")]
        results = self.mm.run_tables(calls)
        for address, (physical, why), (told, _) in zip(asked, results[::2], results[1::2], strict=True):
            found = self.model.at(address)
            if found is None:
                assert why == "not found", hex(address)
                continue
            at, leaf = found
            assert (why, physical) == ("", leaf.physical + address - at), hex(address)
            wanted = leaf.flags | P.PRESENT | leaf.noted | (P.HUGE if leaf.level else 0)
            assert told_flags(told) == (wanted, leaf.level), hex(address)

    def teardown(self) -> None:
        """The tree goes with everything in it."""
        if not self.sound:
            return
        self.mm.pgd_free(self.pgd)
        self.mm.shrink()
        self.mm.quiesce()
        assert self.mm.get_memory_info().used == self.used_without
        self.mm.walk().check()
        self.place.leave(self.room)


def words_of(tree: Tree) -> Iterator[tuple[tuple[int, int], int]]:
    """((address, level), word) of every present entry of the lower half."""

    def visit(table: int, level: int, base: int) -> Iterator[tuple[tuple[int, int], int]]:
        words = tree.table(table)
        for index, word in enumerate(words[:256] if level == tree.levels - 1 else words):
            if not word:
                continue
            at = base + index * page_size(level)
            yield (at, level), word
            if not maps(word, level):
                yield from visit(word & ADDRESS, level - 1, at)

    yield from visit(tree.root, tree.levels - 1, 0)


@pytest.mark.timeout(300)
def test_every_run_of_calls_leaves_the_tables_that_the_dictionary_says(run_rules: RunRules) -> None:
    run_rules(TableRules, host=(20, 30), guest=(5, 18))
