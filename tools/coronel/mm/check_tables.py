"""Page tables: what each table's Frame says of it, against the entries that it holds.

A table's Frame has the tag `page_table`; `mappings` counts its present entries, `index` is its level, `owner`
the address of its root, which is a table of its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coronel.errors import DecodeError
from coronel.memory import PAGE_SHIFT, PAGE_SIZE
from coronel.mm.check_frames import frame_name
from coronel.mm.check_poison import frame_reader
from coronel.mm.frames import Bools, FrameArray
from coronel.mm.problem import Findings
from coronel.mm.record import Tables
from coronel.mm.zones import Physical

LEVELS = 5
_PRESENT, _LARGE, _ADDRESS = np.uint64(1), np.uint64(1 << 7), np.uint64(0x000F_FFFF_FFFF_F000)


def check_tables(
    tables: Tables, physical: Physical, array: FrameArray, chosen: Bools, findings: Findings
) -> bool:
    """Looks at every chosen frame as a page table. False when one could not be read."""
    check = _TableCheck(tables, physical, array, chosen, findings)
    unread = 0
    for place in np.flatnonzero(chosen):
        unread += not check.run(int(place))
    return unread == 0


class _TableCheck:
    def __init__(
        self, tables: Tables, physical: Physical, array: FrameArray, chosen: Bools, findings: Findings
    ) -> None:
        self.array, self.chosen, self.findings = array, chosen, findings
        self.read = frame_reader(tables, physical, PAGE_SIZE)
        self.level = array.frame_column("index")
        self.owner = array.frame_column("owner")
        self.live = array.frame_column("mappings")

    def run(self, place: int) -> bool:
        number = self.array.number(place)
        level, owner = int(self.level[place]), int(self.owner[place])
        if level >= LEVELS:
            self._add(number, "index", f"below {LEVELS}", level, "the level of a page table")
            return True
        root = self._table(owner)
        if owner % PAGE_SIZE or root is None or int(self.owner[root]) != owner:
            self._add(number, "owner", "the address of a root table", owner, "whose tree a page table is in")
        try:
            entries = np.frombuffer(self.read(number), np.uint64)
        except DecodeError:
            return False
        present = entries[(entries & _PRESENT) != 0]
        if len(present) != int(self.live[place]):
            why = "present entries of a page table"
            self._add(number, "mappings", len(present), int(self.live[place]), why)
        if level > 0:
            self._below(number, level, present[(present & _LARGE) == 0])
        return True

    def _below(self, number: int, level: int, pointers: NDArray[np.uint64]) -> None:
        """What a table points to are tables, one level lower."""
        for address in np.unique(pointers & _ADDRESS).tolist():
            below = self._table(address)
            if below is None or int(self.level[below]) != level - 1:
                found = "no table" if below is None else f"level {int(self.level[below])}"
                name = frame_name(address >> PAGE_SHIFT)
                why = f"the page table in frame {number} points to it"
                self.findings.add(name, "index", f"a table of level {level - 1}", found, why)

    def _table(self, address: int) -> int | None:
        """The place of the table at a physical address; None where there is none."""
        place = self.array.index(address >> PAGE_SHIFT)
        return place if place is not None and self.chosen[place] else None

    def _add(self, number: int, field: str, expected: object, found: object, why: str) -> None:
        self.findings.add(
            frame_name(number), field, expected, found, why, self.array.frame_address(number, field)
        )
