"""`coronel top --slabs`: its numbers on host machines, and how they look in terminals of every size."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from coronel.mm.host import HostLibrary, HostMachine
from coronel.mm.random_objects import RandomObjects
from coronel.mm.slab_use import SORTS, SlabUse, Totals, sorted_by
from coronel.mm.slab_view import slabinfo
from coronel.picture.slab_activity import COLUMNS, SlabActivity, _rate, _use

NEXT = 2.0  # seconds from one sample to the next


@pytest.fixture
def machine(coronel_seed: int) -> Iterator[HostMachine]:
    with HostMachine("64M", library=HostLibrary.open()) as one:
        RandomObjects(one.run_objects, coronel_seed).run(2000)
        yield one


def viewed(machine: HostMachine, sort: str = "size") -> SlabActivity:
    view = SlabActivity("a machine of tests", sort)
    view.take(machine.tables)
    return view


def later(sample: SlabUse, changes: dict[str, int]) -> SlabUse:
    """The same machine when some caches have gained callers' objects."""
    caches = {
        key: replace(one, row={**one.row, "active_objs": one.active + changes.get(one.name, 0)})
        for key, one in sample.caches.items()
    }
    return replace(sample, caches=caches, seconds=sample.seconds + NEXT)


def drawn(view: SlabActivity, width: int, height: int, system: Any = None, **more: Any) -> list[str]:
    """Its lines; `more` are options of the console."""
    file = io.StringIO()
    options = {"force_terminal": True, **more}
    Console(file=file, width=width, height=height, color_system=system, **options).print(view)
    return file.getvalue().splitlines()


def shown(view: SlabActivity, width: int, height: int, system: Any = None, **more: Any) -> list[str]:
    """The same as text."""
    return [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in drawn(view, width, height, system, **more)]


def names_in(lines: list[str], view: SlabActivity) -> list[str]:
    """The caches that have a row, in order."""
    known = {one.name for one in view.caches()}
    rows = (line.split() for line in lines if re.match(r" *\d+ +\d+ +(<?\d+%|-) ", line))
    return [next(word for word in row if word in known) for row in rows]


def test_the_rows_are_those_of_slabinfo_and_their_sums_agree(machine: HostMachine) -> None:
    told, found = slabinfo(machine.tables), viewed(machine, "name").as_json()
    by_name = {row["name"]: row for row in found["caches"]}
    for row in told:
        mine = by_name[row["name"]]
        assert {name: mine[name] for name in row} == row
        assert mine["bytes"] == int(row["num_slabs"]) * int(row["pagesperslab"]) * 4096
    assert len(by_name) == len(told) == found["total"]["caches"]
    total = found["total"]
    assert total["active"] == sum(int(row["active_objs"]) for row in told) > 0
    assert total["objects"] == sum(int(row["num_objs"]) for row in told)
    assert total["active_slabs"] == sum(int(row["active_slabs"]) for row in told)
    assert total["active_caches"] == sum(int(row["active_objs"]) > 0 for row in told) < len(told)
    assert 0 <= total["held"] // 1024 - sum(int(row["held_free"]) for row in told) < len(told)


def test_the_parts_of_a_cache_are_all_of_it(machine: HostMachine) -> None:
    with machine.still() as tables:
        caches = SlabUse.take(tables).caches.values()
    for one in caches:
        assert sum(one.parts.values()) == one.bytes
        assert min(one.parts.values()) >= 0
        assert one.parts["cached"] == int(one.row["cached"]) * int(one.row["objsize"])
        assert one.parts["waste"] < (one.bytes or 1), one.name
    assert any(one.parts["cached"] for one in caches)


def test_a_cache_is_active_while_somebody_has_an_object_of_it(machine: HostMachine) -> None:
    first = SlabUse.take(machine.tables)
    one = next(one for one in first.caches.values() if one.active)
    then = later(first, {one.name: -one.active})
    before, after = (Totals.of(list(sample.caches.values())) for sample in (first, then))
    assert (before.active_caches - after.active_caches, before.caches) == (1, after.caches)


@pytest.mark.parametrize("sort", SORTS)
def test_the_order_is_the_one_that_was_asked_for(machine: HostMachine, sort: str) -> None:
    view = viewed(machine, sort)
    view.add(later(view.samples[-1], {"kmalloc-8": -30, "kmalloc-64": 40, "kmalloc-16": 5}))
    caches = view.caches()
    values = [SORTS[sort](one) for one in caches]
    assert values == sorted(values, reverse=True)
    names = [one.name for one in caches]
    if sort == "name":
        assert names.index("kmalloc-8") < names.index("kmalloc-16") < names.index("kmalloc-128")
    if sort == "rate":
        assert names[:3] == ["kmalloc-64", "kmalloc-8", "kmalloc-16"]
        assert [one.bytes for one in caches[3:]] == sorted((one.bytes for one in caches[3:]), reverse=True)
    (heading,) = (line for line in drawn(view, 80, 24, "truecolor") if "bytes \x1b" in line)
    assert re.findall(r"\x1b\[1m *([^\x1b]+?) *\x1b", heading) == ["+/- per s" if sort == "rate" else sort]


def test_rates_are_changes_and_unknown_ones_are_no_numbers(machine: HostMachine) -> None:
    view = viewed(machine)
    assert {one.per_second for one in view.caches()} == {None}
    first = view.samples[-1]
    view.add(later(first, {"kmalloc-64": 40, "kmalloc-8": -30}))
    rates = {one.name: one.per_second for one in view.caches()}
    assert (rates["kmalloc-64"], rates["kmalloc-8"], rates["kmalloc-16"]) == (20.0, -15.0, 0.0)

    ((key, one),) = (item for item in first.caches.items() if item[1].name == "kmalloc-32")
    without = replace(first, caches={k: v for k, v in first.caches.items() if k != key})
    now = later(first, {})
    assert now.rate(key, without) == one.active / NEXT > 0, "a new cache began with nothing"
    assert now.rate(key, replace(without, unreadable={key[0]: "torn"})) is None
    torn = replace(first, caches={**first.caches, key: replace(one, broken="torn")})
    assert now.rate(key, torn) is None
    assert later(torn, {}).rate(key, first) is None
    assert now.rate(key, first) == 0.0


@pytest.mark.parametrize("system", ["truecolor", None])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (60, 10), (200, 80)])
def test_it_fits_the_terminal_and_counts_the_rest(
    machine: HostMachine, width: int, height: int, system: Any
) -> None:
    view = viewed(machine)
    view.note = "Ctrl-C ends"
    lines = shown(view, width, height, system)
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    caches = view.caches()
    seen = names_in(lines, view)
    assert seen == [one.name for one in caches][: len(seen)]
    rest = Totals.of(caches[len(seen) :])
    if height > len(caches) + 10:
        assert rest.caches == 0
    else:
        assert len(lines) == height - 1, "no line is left empty"
        assert lines[-1].startswith(f"and {rest.caches} caches more: {rest.active} of {rest.objects} objects")
    assert ("what lies in its slabs" in "\n".join(lines)) == (width >= 120)
    assert ("#" in "\n".join(lines)) == (system is None), "letters where there are no colours"


def test_large_numbers_move_columns_and_break_nothing(machine: HostMachine) -> None:
    view = viewed(machine)
    many = {one.name: 123_456_789 for one in view.caches()}
    view.add(later(view.samples[-1], many))
    lines = shown(view, 80, 24)
    assert max(map(len, lines)) <= 80
    heading = next(line for line in lines if line.startswith("objects"))
    row = lines[lines.index(heading) + 1]
    active = heading.index("active") + len("active")
    assert row[:active].split()[1] == str(view.caches()[0].active), "a number ends where its heading does"
    assert "+61728394" in row


def test_all_caches_are_shown_where_there_is_no_terminal(machine: HostMachine) -> None:
    view = viewed(machine)
    lines = shown(view, 80, 24, force_terminal=False)
    assert names_in(lines, view) == [one.name for one in view.caches()]
    assert not lines[-1].startswith("and ")


def test_what_cannot_be_read_is_said(machine: HostMachine) -> None:
    view = viewed(machine)
    sample = view.samples[-1]
    key, one = next(iter(sample.caches.items()))
    broken = {**sample.caches, key: replace(one, broken="next of 0x1000: runs in a circle")}
    view.add(replace(sample, caches=broken, unreadable={7: "no such page"}))
    lines = shown(view, 80, 24)
    assert len(lines) == 23
    assert lines[-2:] == [
        "cache 7 cannot be read: no such page",
        f"{one.name} is read in part: next of 0x1000: runs in a circle",
    ]
    assert view.as_json()["unreadable"] == {"7": "no such page"}


def test_a_machine_without_slabs_has_no_bar() -> None:
    view = SlabActivity("nothing", "size")
    view.add(SlabUse({}, {}, 0, 0.0))
    text = "\n".join(shown(view, 80, 24))
    assert "active objects 0 of 0" in text
    assert "guard pool" not in text
    assert all(column.heading in text for column in COLUMNS)
    assert sorted_by([], "held") == []


@pytest.mark.parametrize(
    ("active", "objects", "text"),
    [(0, 0, "-"), (0, 9, "0%"), (1, 101, "<1%"), (1, 100, "1%"), (999, 1000, "99%"), (5, 5, "100%")],
)
def test_a_share_never_reads_as_what_it_is_not(active: int, objects: int, text: str) -> None:
    assert _use(active, objects) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [(None, "-"), (0.0, "0"), (12.4, "+12"), (-1234.5, "-1234"), (0.3, "+0.3"), (-0.004, "-4e-03")],
)
def test_a_rate_has_its_sign(rate: float | None, text: str) -> None:
    assert _rate(rate) == text
