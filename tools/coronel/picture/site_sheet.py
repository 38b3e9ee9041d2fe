"""`site_sheet`: the page with live bytes by the call that allocated them, as bars and texts.

The longest bar is the call with the most; the rest have bars to the same scale. svg.py and png.py draw the
page.
"""

from __future__ import annotations

from collections.abc import Iterator

from coronel.mm.call_sites import CallSite, CallSites
from coronel.mm.tracks import NameCaller
from coronel.picture.palette import FAINT, OBJECTS, RULE, WASTE
from coronel.picture.sheet import MARGIN, Box, Item, Sheet, Text, page_head
from coronel.picture.space import amount

WIDTH = 1180
INSIDE = WIDTH - 2 * MARGIN
NUMBERS = 330  # right of the bars
ROW = 40
BAR = 12
MOST_BARS = 24
NAME_LETTERS = 100
HEAP = "kernel heap: calls are not recorded"
BAR_COLOUR, REST_COLOUR = OBJECTS["allocated"], WASTE


def site_sheet(found: CallSites, machine: str, name: NameCaller) -> Sheet:
    """The page. `name` says in words where a call returns to."""
    rows = bars(found, name, MOST_BARS)
    most = longest(rows)
    items: list[Item] = []
    y = 96.0
    for label, objects, size, detail, known in rows:
        items += _bar(label, objects, size, detail, most, found.size, BAR_COLOUR if known else REST_COLOUR, y)
        y += ROW
    height = round(y + 24)
    page = Sheet(f"Call sites of {machine}", facts(found), WIDTH, height)
    page.items += [
        *page_head("Live bytes by call site", machine, facts(found), WIDTH, height),
        Box(MARGIN, 80, INSIDE, 1, RULE),
        *items,
    ]
    return page


def longest(rows: list[Bar]) -> int:
    """What the longest bar stands for: the kernel heap has none, or it would leave no room to the others."""
    return max((size for label, _, size, _, _ in rows if label != HEAP), default=0)


Bar = tuple[str, int, int, str, bool]  # words, objects, bytes, what serves it, whether it is one call's


def bars(found: CallSites, name: NameCaller, most: int) -> list[Bar]:
    """The calls with the most bytes, then those that have no bar of their own, objects of no known call, and
    the kernel heap, of which nobody writes down the calls.
    """
    rows: list[Bar] = [
        (short_name(name(one.site)) or f"{one.site:#x}", one.objects, one.size, _served(one), True)
        for one in found.sites[:most]
    ]
    rest = found.sites[most:]
    if rest:
        objects, size = sum(one.objects for one in rest), sum(one.size for one in rest)
        rows.append((f"{len(rest)} calls more", objects, size, "", False))
    if found.unknown.objects:
        rows.append(("no call known", found.unknown.objects, found.unknown.size, "", False))
    if found.heap_blocks:
        rows.append((HEAP, found.heap_blocks, found.heap_bytes, "", False))
    return rows


def things(label: str, count: int) -> str:
    """A number of objects, or of blocks."""
    return f"{count} {'block' if label == HEAP else 'object'}{'' if count == 1 else 's'}"


def short_name(words: str) -> str:
    """A function's name and the place in it, without what its templates are given, which may be cut off."""
    name, plus, place = words.rpartition("+")
    kept, depth = [], 0
    for letter in name:
        depth += letter == "<"
        if depth == 0:
            kept.append(letter)
        depth -= letter == ">" and depth > 0
    return "".join(kept) + plus + place


def _served(one: CallSite) -> str:
    more = len(one.names) - 2
    return ", ".join(one.names[:2]) + (f" and {more} caches more" if more > 0 else "")


def facts(found: CallSites) -> str:
    """The sums, in one line."""
    return f"{found.objects} live objects, {amount(found.size)} that {len(found.sites)} calls asked for"


def _bar(
    label: str, objects: int, size: int, detail: str, most: int, total: int, colour: str, y: float
) -> Iterator[Item]:
    right = WIDTH - MARGIN
    room = INSIDE - NUMBERS
    short = label if len(label) <= NAME_LETTERS else f"{label[: NAME_LETTERS - 3]}..."
    yield Text(MARGIN, y + 11, short, 12.5)
    if label != HEAP:
        yield Box(MARGIN, y + 18, room, BAR, RULE, radius=2)
    if label != HEAP and size and most:
        yield Box(MARGIN, y + 18, max(1.5, room * size / most), BAR, colour, radius=2)
    share = f"{100 * size / total:.1f} %" if total and colour == BAR_COLOUR else ""
    yield Text(right - 230, y + 28, amount(size), 13, anchor="end", bold=True)
    yield Text(right - 150, y + 28, share, 12.5, FAINT, "end")
    yield Text(right, y + 28, things(label, objects), 12.5, FAINT, "end")
    yield Text(right, y + 11, detail, 11, FAINT, "end")
