"""Bars of characters, as the terminal can show them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.segment import Segment
from rich.style import Style

from coronel.picture.terminal import FAINT, can_say, colour_system

BLOCK = "\N{LOWER SEVEN EIGHTHS BLOCK}"  # a line stays between one bar and the next
STEPS = "".join(
    chr(0x2581 + step) for step in range(8)
)  # one eighth to eight eighths of a character's height


@dataclass(frozen=True)
class Part:
    """A kind of part of a bar: its name, its colour, and its letter where there are no colours."""

    name: str
    colour: str
    letter: str


@dataclass(frozen=True)
class Bars:
    """What a console can show."""

    colours: bool
    eighths: bool  # whether there are block characters

    @classmethod
    def of(cls, console: Console) -> Bars:
        """That one's."""
        return cls(colour_system(console) is not None, can_say(console, BLOCK + STEPS))

    def one(self, share: float, width: int, colour: str) -> Iterable[Segment]:
        """A bar of that share of `width`; what is there is at least one character."""
        length = min(width, max(round(share * width), 1 if share else 0))
        style = Style(color=colour) if self.colours else None
        yield Segment((BLOCK if self.eighths else "=") * length, style)

    def side_by_side(self, parts: Sequence[tuple[Part, float]], width: int) -> Iterable[Segment]:
        """Parts with their shares, which add up to 1, over the whole width."""
        done, share_done = 0, 0.0
        for part, share in parts:
            share_done += share
            end = min(round(share_done * width), width)
            yield self._run(part, end - done)
            done = end

    def key(self, parts: Iterable[Part]) -> Iterable[Segment]:
        """What the parts are."""
        for part in parts:
            yield self._run(part, 2)
            yield Segment(f" {part.name}  ", FAINT)

    def _run(self, part: Part, length: int) -> Segment:
        if self.colours:
            return Segment(BLOCK * length, Style(color=part.colour))
        return Segment(part.letter * length)
