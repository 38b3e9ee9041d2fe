"""`Problem`: one thing that is wrong in memory, with everything a person needs to look at it themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """What is wrong, where it lies, what was expected there and what was found.

    `objects` has one name where the state itself proves which object is wrong, and the names of all that it
    may be where two sources contradict each other and there is no third.
    """

    objects: tuple[
        str, ...
    ]  # "Frame 4711", "Pageblock 9", "FrameMap", "BuddyLists of zone 0", "counter NAME"
    address: int  # of the field; 0 where there is no one place
    field: str
    expected: str
    found: str
    why: str

    @property
    def object(self) -> str:
        """The object's name, or all names that come into question."""
        return " or ".join(self.objects)

    def __str__(self) -> str:
        place = f" (at {self.address:#x})" if self.address else ""
        values = f" is {self.found}, expected {self.expected}" if self.expected or self.found else ""
        return f"{self.object}: {self.field}{values}: {self.why}{place}"


class Findings:
    """Collects problems, a bounded number of each kind and in all: memory full of nonsense is one finding,
    not 10^6.
    """

    LIMIT = 500
    LIMIT_OF_KIND = 50

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.left_out = 0
        self._of_kind: dict[tuple[str, str], int] = {}

    def add(
        self,
        objects: str | Sequence[str],
        field: str,
        expected: object,
        found: object,
        why: str,
        address: int = 0,
    ) -> None:
        """Notes a problem, or counts it where there are too many like it."""
        names = (objects,) if isinstance(objects, str) else tuple(objects)
        kind = (names[0].partition(" ")[0], why)
        seen = self._of_kind.get(kind, 0)
        self._of_kind[kind] = seen + 1
        if seen >= self.LIMIT_OF_KIND or len(self.problems) >= self.LIMIT:
            self.left_out += 1
            return
        self.problems.append(Problem(names, address, field, _shown(expected), _shown(found), why))

    def room(self, count: int) -> int:
        """How many of `count` suspects are worth looking at one by one; the rest is counted as left out."""
        looked_at = min(count, self.LIMIT)
        self.left_out += count - looked_at
        return looked_at

    def __len__(self) -> int:
        return len(self.problems)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self.problems)


def _shown(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int):
        return str(value)
    return f"{value:#x}" if value > 0xFFFF_FFFF else str(value)
