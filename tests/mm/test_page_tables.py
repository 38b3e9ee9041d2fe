"""Trees of page tables on both bodies: KOS's calls, what fails changes nothing, random ranges against a
dictionary, and three walkers that agree: the kernel's, Python's over raw memory, and (boot tests) QEMU's.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from typing import Any

import pytest

from coronel.errors import MMError
from coronel.mm.kernel_mm import KernelMM
from coronel.mm.page_tables import ENTRIES, Tree, page_size
from coronel.mm.tables import LETTERS, TableOperation, table_operation, told_flags
from mm_wrapper import PTEFlags

P = PTEFlags
DATA = P.WRITE | P.NX
PAGE, LARGE = 4096, 2 << 20
PRIVATE = 0x5000_0000_0000  # in the lower half


def tree_of(mm: Any, pgd: int) -> Tree:
    """Python's own view of it, over raw memory."""
    with mm._state.still() as tables:
        return Tree.at(tables, pgd)


def make(mm: KernelMM) -> int:
    pgd = mm.pgd_alloc()
    assert pgd
    return pgd


def test_kos_names_map_find_and_unmap(mm: KernelMM) -> None:
    before = mm.get_memory_info().used
    pgd = make(mm)
    assert mm.virt_to_phys_pgtable(pgd, PRIVATE) is None
    mm.map_page(pgd, PRIVATE, 0x123_4000, DATA)
    mm.map_page(pgd, PRIVATE + LARGE, 0x4060_0000, DATA | P.HUGE | P.USER | P.PCD | P.PWT)
    assert mm.virt_to_phys_pgtable(pgd, PRIVATE + 0xABC) == 0x123_4ABC
    assert mm.virt_to_phys_pgtable(pgd, PRIVATE + LARGE + 0x12_3456) == 0x4072_3456
    small, large = mm.run_tables(
        [table_operation("look", pgd, PRIVATE), table_operation("look", pgd, PRIVATE + LARGE)]
    )
    kernels = P.PRESENT | P.ACCESSED | P.DIRTY
    assert told_flags(small.value) == (DATA | kernels, 0)
    assert told_flags(large.value) == (DATA | P.PRESENT | P.USER | P.PCD | P.PWT | P.HUGE, 1)
    with pytest.raises(MMError, match="already present"):
        mm.map_page(pgd, PRIVATE, 0, DATA)
    with pytest.raises(MMError, match="inside of a page"):
        mm.unmap_page(pgd, PRIVATE + LARGE + PAGE)
    mm.unmap_page(pgd, PRIVATE + LARGE)
    mm.unmap_page(pgd, PRIVATE)
    with pytest.raises(MMError, match="not found"):
        mm.unmap_page(pgd, PRIVATE)
    mm.map_page(pgd, PRIVATE, 0x123_4000, DATA)
    mm.pgd_free(pgd)  # with something mapped
    with pytest.raises(MMError, match="invalid argument") as caught:
        mm.pgd_free(pgd)
    assert caught.value.errno == errno.EINVAL
    mm.shrink()
    mm.quiesce()
    mm.walk().check()
    assert mm.valid()
    assert mm.get_memory_info().used == before


BAD: list[tuple[str, tuple[int, ...], int]] = [
    ("map_range", (PRIVATE + 1, PAGE, 0, DATA), errno.EINVAL),  # unaligned
    ("map_range", (PRIVATE, PAGE + 1, 0, DATA), errno.EINVAL),
    ("map_range", (PRIVATE, 0, 0, DATA), errno.EINVAL),
    ("map_range", (PRIVATE, PAGE, 1, DATA), errno.EINVAL),
    ("map_range", (PRIVATE, PAGE, 1 << 52, DATA), errno.EINVAL),  # beyond physical addresses
    ("map_range", (0x0100_0000_0000_0000, PAGE, 0, DATA), errno.EINVAL),  # not canonical at any height
    ("map_range", (0xFFFF_C000_0000_0000, PAGE, 0, DATA), errno.EINVAL),  # the kernel's half
    ("map_range", ((1 << 64) - PAGE, 2 * PAGE, 0, DATA), errno.EINVAL),  # around the end
    ("map_range", (PRIVATE, PAGE, 0, P.WRITE), errno.EINVAL),  # written and executed
    ("map_range", (PRIVATE, PAGE, 0, DATA | P.USER | P.GLOBAL), errno.EINVAL),
    ("map_range", (PRIVATE, PAGE, 0, DATA | 1 << 40), errno.EINVAL),  # bits that mean nothing
    ("map_range", (PRIVATE, PAGE, 0, DATA | P.PCD | P.PWT | P.PAT), errno.EINVAL),  # no such cache type
    ("map_range", (PRIVATE, LARGE, 0, DATA), errno.EEXIST),  # its second page is mapped
    ("unmap_range", (PRIVATE, 3 * PAGE), errno.ENOENT),  # its first is not
    ("unmap_range", (PRIVATE + PAGE, 2 * PAGE), errno.ENOENT),  # its second is not
    ("unmap_range", (PRIVATE + PAGE, 7), errno.EINVAL),
    ("protect_range", (PRIVATE + PAGE, 2 * PAGE, P.NX), errno.ENOENT),
    ("protect_range", (PRIVATE + PAGE, PAGE, P.WRITE), errno.EINVAL),
]


def test_what_fails_changes_nothing(mm: KernelMM) -> None:
    pgd = make(mm)
    mm.map_page(pgd, PRIVATE + PAGE, 0x1000, DATA)
    before, used = words_of(tree_of(mm, pgd)), mm.get_memory_info().used
    for name, numbers, wanted in BAD:
        (outcome,) = mm.run_tables([table_operation(name, pgd, *numbers)])
        assert (outcome.value, bool(outcome.why)) == (-wanted, True), f"{name} {numbers}"
        assert words_of(tree_of(mm, pgd)) == before, f"{name} {numbers} changed the tree"
    for name in ("pgd_free", "unmap_range", "virt_to_phys"):
        numbers = (0x5000, PRIVATE, PAGE)[: {"pgd_free": 1, "virt_to_phys": 2}.get(name, 3)]
        (outcome,) = mm.run_tables([table_operation(name, *numbers)])
        assert outcome == (-errno.EINVAL, "invalid argument")
    with pytest.raises(MMError, match="no call 'z'"):
        mm.run_tables([TableOperation("z", ())])
    assert mm.get_memory_info().used == used
    assert mm.valid()


def words_of(tree: Tree) -> dict[int, tuple[int, ...]]:
    """Every table of the lower half, by its address."""
    found: dict[int, tuple[int, ...]] = {}

    def visit(table: int, level: int) -> None:
        words = tree.table(table)
        found[table] = words
        for word in words[: ENTRIES // 2 if level == tree.levels - 1 else ENTRIES]:
            if word & 1 and level > 0 and not word & 1 << 7:
                visit(word & 0x000F_FFFF_FFFF_F000, level - 1)

    visit(tree.root, tree.levels - 1)
    return found


def until_it_succeeds(mm: KernelMM, act: Callable[[], bool], check: Callable[[], None]) -> int:
    for n in range(1, 30):
        mm.fail_nth(n)
        worked, struck = act(), not mm.fail_pending()
        mm.fail_nth(0)
        assert worked != struck, f"n = {n}"
        if worked:
            return n
        check()
    raise AssertionError("it never worked")


def test_the_nth_failure_leaves_trees_as_they_were(mm: KernelMM) -> None:
    roots: list[int] = []

    def allocate() -> bool:
        pgd = mm.pgd_alloc()
        roots.extend([pgd] if pgd else [])
        return pgd is not None

    assert until_it_succeeds(mm, allocate, lambda: mm.walk().check()) > 2  # a root, and its record
    pgd = roots[0]
    mm.map_page(pgd, PRIVATE, 0, DATA | P.HUGE)
    before = words_of(tree_of(mm, pgd))

    def unchanged() -> None:
        assert words_of(tree_of(mm, pgd)) == before
        assert mm.valid()

    for name, numbers in (
        ("map_range", (0x1000_0000_0000 - PAGE, 2 * PAGE, 0x7000, DATA)),  # six new tables
        ("unmap_range", (PRIVATE + PAGE, PAGE)),  # a split
        ("protect_range", (PRIVATE + 8 * PAGE, PAGE, P.NX)),  # and none any more
    ):
        one = table_operation(name, pgd, *numbers)

        def act(one: TableOperation = one) -> bool:
            return not mm.run_tables([one])[0].why

        needed = until_it_succeeds(mm, act, unchanged)
        assert needed > (6 if name == "map_range" else 1 if name == "unmap_range" else 0), name
        before = words_of(tree_of(mm, pgd))
    mm.pgd_free(pgd)
    mm.walk().check()


def test_letters_are_the_kernels(mm: KernelMM) -> None:
    pgd = make(mm)
    for name, letter in LETTERS.items():
        if name != "pgd_alloc":
            numbers = (0,) * {"d": 1, "m": 5, "u": 3, "p": 4, "M": 4, "U": 2, "q": 2, "l": 2}[letter]
            assert mm.run_tables([TableOperation(letter, numbers)])[0].why == "invalid argument", name
    mm.pgd_free(pgd)


# -- the model


class Model:
    """What is mapped, page by page: a dictionary of physical address and flags."""

    SPAN = 2048  # pages: four tables' worth, around an edge of 1 GiB
    BASE = PRIVATE + (1 << 30) - 2 * LARGE

    def __init__(self, mm: KernelMM, seed: int) -> None:
        self.mm = mm
        self.chance = random.Random(seed)
        self.pgd = make(mm)
        self.pages: dict[int, tuple[int, int]] = {}

    def range(self) -> tuple[int, int]:
        """First page and number of pages; often at the edges of large ones."""
        first = self.chance.randrange(self.SPAN)
        count = self.chance.choice((1, 1, 2, 5, 40, 512, 700))
        if self.chance.random() < 0.4:
            first, count = first // 512 * 512, self.chance.choice((512, 1024, 513, 511))
        return first, min(count, self.SPAN - first)

    def flags(self) -> int:
        rights = self.chance.choice((DATA, P.NX, P(0), DATA | P.USER, P.USER, P.NX | P.GLOBAL))
        return int(rights | self.chance.choice((P(0), P(0), P.PWT, P.PCD, P.PCD | P.PWT, P.PAT)))

    def step(self) -> tuple[TableOperation, int]:
        """One operation, and what must come of it: 0 or a negative errno. The dictionary has changed."""
        first, count = self.range()
        place, size = self.BASE + first * PAGE, count * PAGE
        span = range(first, first + count)
        match self.chance.choice(("map", "map", "unmap", "protect")):
            case "map":
                flags = self.flags()
                to = self.chance.randrange(1 << 20) * PAGE
                if self.chance.random() < 0.5:
                    to = to // LARGE * LARGE + first % 512 * PAGE
                if any(page in self.pages for page in span):
                    expected = -errno.EEXIST
                else:
                    expected = 0
                    for page in span:
                        self.pages[page] = (to + (page - first) * PAGE, flags)
                return table_operation("map_range", self.pgd, place, size, to, flags), expected
            case "unmap":
                if not all(page in self.pages for page in span):
                    return table_operation("unmap_range", self.pgd, place, size), -errno.ENOENT
                for page in span:
                    del self.pages[page]
                return table_operation("unmap_range", self.pgd, place, size), 0
        flags = self.flags()
        if not all(page in self.pages for page in span):
            return table_operation("protect_range", self.pgd, place, size, flags), -errno.ENOENT
        for page in span:
            self.pages[page] = (self.pages[page][0], flags)
        return table_operation("protect_range", self.pgd, place, size, flags), 0

    def check(self) -> None:
        """The kernel's walker and Python's say the same of every page as the dictionary."""
        asked = self.mm.run_tables(
            table_operation(name, self.pgd, self.BASE + page * PAGE)
            for page in range(self.SPAN)
            for name in ("virt_to_phys", "look")
        )
        tree = tree_of(self.mm, self.pgd)
        for page in range(self.SPAN):
            (physical, missing), (told, _) = asked[2 * page], asked[2 * page + 1]
            path = tree.path(self.BASE + page * PAGE)
            if page not in self.pages:
                assert missing == "not found", f"page {page}"
                assert path.physical is None
                continue
            wanted, flags = self.pages[page]
            assert physical == path.physical == wanted, f"page {page}"
            seen, level = told_flags(told)
            assert seen & ~(P.PRESENT | P.ACCESSED | P.DIRTY | P.HUGE) == flags, f"page {page}"
            assert level == path.steps[-1].level
            assert page_size(level) <= LARGE


@pytest.mark.parametrize("round_number", range(3))
def test_random_ranges_against_a_dictionary(mm: KernelMM, coronel_seed: int, round_number: int) -> None:
    before = mm.get_memory_info().used
    model = Model(mm, coronel_seed * 10 + round_number)
    succeeded = 0
    for _ in range(6):
        steps = [model.step() for _ in range(60)]
        results = mm.run_tables(operation for operation, _ in steps)
        for (operation, expected), (value, why) in zip(steps, results, strict=True):
            assert value == expected, f"seed {coronel_seed}: {operation}: {why}"
            succeeded += expected == 0
        model.check()
        assert mm.valid()
    assert succeeded > 20
    mm.walk().check()
    mm.pgd_free(model.pgd)
    mm.shrink()
    mm.quiesce()
    assert mm.get_memory_info().used == before, "every table came back"
