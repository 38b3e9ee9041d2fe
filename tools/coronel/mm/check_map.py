"""Which frames are present: the ranges, the sections, the limit and the Frames all say it, and must say the
same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coronel.mm.frames import FrameArray, Numbers, read_frames
from coronel.mm.problem import Findings
from coronel.mm.record import Tables
from coronel.mm.zones import Physical, Shape

MAP = "FrameMap"
RUNS_LIMIT = 1000  # of more, memory is nonsense anyway
Ranges = list[tuple[int, int]]


@dataclass
class MapView:
    """What FrameMap says, and what of it is to be believed."""

    shape: Shape
    physical: Physical
    said: Ranges  # rows of `range` as they are
    sections: Numbers  # numbers of the pageblocks whose bit is set
    limit: int
    present_frames: int

    @classmethod
    def of(cls, tables: Tables, physical: Physical) -> MapView:
        """Reads it."""
        words = np.array(physical.map["sections"], np.uint64)
        bits = np.unpackbits(words.view(np.uint8), bitorder="little")
        rows = physical.map["range"]
        count = min(int(physical.map["ranges"]), len(rows))
        said = [(row["first"], row["end"]) for row in rows[:count]]
        numbers = np.flatnonzero(bits).astype(np.int64)
        return cls(
            Shape.of(tables),
            physical,
            said,
            numbers,
            int(physical.map["limit"]),
            int(physical.map["present_frames"]),
        )

    def well_formed(self) -> bool:
        """Whether the ranges ascend, do not touch, end in time, and nothing stands behind the last one."""
        rows = self.physical.map["range"]
        top = 64 * len(self.physical.map["sections"]) * self.shape.block_frames
        before = -1
        for first, end in self.said:
            if not before < first < end <= top:
                return False
            before = end
        rest = rows[len(self.said) :]
        return int(self.physical.map["ranges"]) <= len(rows) and not any(
            row["first"] or row["end"] for row in rest
        )

    def blocks_of(self, ranges: Ranges) -> Numbers:
        """The pageblocks that those frames lie in."""
        size = self.shape.block_frames
        parts = [np.arange(first // size, (end - 1) // size + 1) for first, end in ranges]
        return np.unique(np.concatenate(parts)).astype(np.int64) if parts else np.zeros(0, np.int64)

    def plausible_blocks(self, formed: bool) -> Numbers:
        """Where to look for Frames when the map contradicts itself: nonsense in `sections` names half of all
        memory.
        """
        by_ranges = self.blocks_of(self.said) if formed else self.sections
        return self.sections if len(self.sections) <= 4 * len(by_ranges) + 64 else by_ranges

    def limit_of(self, ranges: Ranges) -> int:
        """The first frame number above every pageblock that they touch."""
        size = self.shape.block_frames
        return -(-ranges[-1][1] // size) * size if ranges else 0


def frames_in(ranges: Ranges) -> int:
    """How many frames they are."""
    return sum(end - first for first, end in ranges)


def check_map(tables: Tables, physical: Physical, findings: Findings) -> tuple[Ranges, FrameArray]:
    """The ranges of present frames that are to be believed, and the frame array read accordingly.

    Of the four witnesses (ranges, sections, limit and present_frames, the Frames' states) a single liar is
    outvoted.
    """
    view = MapView.of(tables, physical)
    sum_agrees = frames_in(view.said) == view.present_frames
    formed = view.well_formed()
    if formed and sum_agrees:
        truth = view.said
        array = read_frames(tables, physical, view.blocks_of(truth), findings)
    else:
        array = read_frames(tables, physical, view.plausible_blocks(formed), findings)
        shown = array.runs(array.frame_column("state") != 0)[:RUNS_LIMIT]
        truth = _judge(view, formed, shown)
        _report_ranges(view, truth, findings)
    if frames_in(truth) != view.present_frames:
        _add(
            view,
            findings,
            "present_frames",
            frames_in(truth),
            view.present_frames,
            "not the frames of its ranges",
        )
    _report_sections(view, view.blocks_of(truth), findings)
    if view.limit_of(truth) != view.limit:
        _add(
            view,
            findings,
            "limit",
            view.limit_of(truth),
            view.limit,
            "not the end of the last present pageblock",
        )
    return truth, array


def _judge(view: MapView, formed: bool, shown: Ranges) -> Ranges:
    """The ranges, or what the Frames show instead of them."""
    consistent = (
        formed
        and np.array_equal(view.blocks_of(view.said), view.sections)
        and view.limit_of(view.said) == view.limit
    )
    return view.said if consistent and frames_in(shown) != view.present_frames else shown


def _report_ranges(view: MapView, truth: Ranges, findings: Findings) -> None:
    rows = view.physical.map["range"]
    count = int(view.physical.map["ranges"])
    same_rows = [(row["first"], row["end"]) for row in rows[: len(truth)]] == truth
    if count != len(truth):
        _add(view, findings, "ranges", len(truth), count, "not the number of ranges in use")
        if same_rows:
            return
    for index, row in enumerate(rows):
        wanted = truth[index] if index < len(truth) else (0, 0)
        for name, value in zip(("first", "end"), wanted, strict=True):
            if row[name] != value:
                why = "not where the Frames begin or end to be present"
                findings.add(MAP, f"range[{index}].{name}", value, row[name], why, row.address_of(name))


def _report_sections(view: MapView, blocks: Numbers, findings: Findings) -> None:
    words = view.physical.map["sections"]
    wanted = np.zeros(64 * len(words), np.uint8)
    wanted[blocks] = 1
    expected = np.packbits(wanted, bitorder="little").view(np.uint64)
    for index in np.flatnonzero(expected != np.array(words, np.uint64)).tolist():
        found, right = int(words[index]), int(expected[index])
        why = "not the pageblocks that the ranges touch"
        address = view.physical.map.address_of("sections", index)
        findings.add(MAP, f"sections[{index}]", f"{right:#x}", f"{found:#x}", why, address)


def _add(view: MapView, findings: Findings, field: str, expected: int, found: int, why: str) -> None:
    findings.add(MAP, field, expected, found, why, view.physical.map.address_of(field))
