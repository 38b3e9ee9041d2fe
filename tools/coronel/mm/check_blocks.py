"""Pageblocks against themselves: their bits, `runs` and `free_frames` are three witnesses of one thing (P1,
P2). An uncounted one has two, and the Frames.
"""

from __future__ import annotations

import numpy as np

from coronel.mm.derive import Derived, cover, derive_blocks
from coronel.mm.frames import Bools, FrameArray
from coronel.mm.problem import Findings


def block_name(number: int) -> str:
    """How problems call a pageblock."""
    return f"Pageblock {number}"


def check_blocks(array: FrameArray, findings: Findings) -> tuple[Bools, Derived]:
    """The free bits that are to be believed, and what follows from them.

    A wrong bit contradicts both other fields, and the Frames say which bit it is; a wrong field only the
    bits. Where `runs` says nothing of the bits, the Frames decide between them and the count.
    """
    bits = array.free_bits()
    uncounted = _uncounted(array)
    derived = derive_blocks(bits, array.shape).uncounted(uncounted, array.shape)
    runs, counts = array.block_column("runs"), array.block_column("free_frames")
    runs_wrong, count_wrong = derived.runs != runs, derived.free_frames != counts
    _report_fields(array, derived, runs_wrong & ~count_wrong, "runs", findings)
    _report_fields(array, derived, count_wrong & ~runs_wrong & ~uncounted, "free_frames", findings)
    suspects = np.flatnonzero(count_wrong & (runs_wrong | uncounted))
    if len(suspects) == 0:
        return bits, derived
    bits = bits.copy()
    by_frames = _free_by_frames(array)
    by_frames_derived = derive_blocks(by_frames, array.shape).uncounted(uncounted, array.shape)
    for index in suspects[: findings.room(len(suspects))].tolist():
        span = slice(index * array.shape.block_frames, (index + 1) * array.shape.block_frames)
        if (
            by_frames_derived.runs[index] == runs[index]
            and by_frames_derived.free_frames[index] == counts[index]
        ):
            _report_bits(array, index, bits[span], by_frames[span], findings)
            bits[span] = by_frames[span]
        elif not runs_wrong[index] and np.array_equal(by_frames[span], bits[span]):
            _report_fields(array, derived, np.arange(len(runs)) == index, "free_frames", findings)
        else:
            number = array.block_number(index)
            findings.add(
                block_name(number),
                "free, runs, free_frames",
                f"runs {int(derived.runs[index]):#x}, {derived.free_frames[index]} free frames, by the bits",
                f"runs {int(runs[index]):#x}, {counts[index]} free frames",
                "bits and counts contradict each other, and the Frames agree with neither",
                array.block_address(number, "free"),
            )
    return bits, derive_blocks(bits, array.shape).uncounted(uncounted, array.shape)


def _uncounted(array: FrameArray) -> Bools:
    """Which pageblocks say that they are not counted; wholly free ones say the same. One wrong bit in `runs`
    could as well make a counted one of them, or the other way round: then the list decides.
    """
    shape = array.shape
    wrong = array.block_column("runs") ^ np.uint64(shape.uncounted)
    lists = array.block_column("list").astype(np.int64)
    listed = (lists <= shape.partial_lists) & (lists % (shape.whole_order + 1) == 0) & (lists > 0)
    said: Bools = (wrong == 0) | (listed & (wrong & (wrong - np.uint64(1)) == 0))
    return said


def _free_by_frames(array: FrameArray) -> Bools:
    """Managed, and in no block that is out: what the Frames say without the bits."""
    states = array.frame_type.enumeration("state")
    state, order = array.frame_column("state"), array.frame_column("order").astype(np.int64)
    out = (state == states["allocated"]) | (state == states["cached"])
    heads = np.flatnonzero(out & (order <= array.shape.max_order))
    managed: Bools = state == states["managed"]
    return managed & ~cover(heads, order[heads], len(state), array.group_frames)


def _report_fields(array: FrameArray, derived: Derived, wrong: Bools, field: str, findings: Findings) -> None:
    right = getattr(derived, field)
    indexes = np.flatnonzero(wrong)
    for index in indexes[: findings.room(len(indexes))].tolist():
        number = array.block_number(index)
        wanted, found = int(right[index]), int(array.block_column(field)[index])
        form = "#x" if field == "runs" else ""
        findings.add(
            block_name(number),
            field,
            format(wanted, form),
            format(found, form),
            "contradicts its bits, with which all else agrees",
            array.block_address(number, field),
        )


def _report_bits(array: FrameArray, index: int, found: Bools, right: Bools, findings: Findings) -> None:
    number = array.block_number(index)
    words = [np.packbits(bits, bitorder="little").view(np.uint64) for bits in (right, found)]
    for word in np.flatnonzero(words[0] != words[1]).tolist():
        positions = np.flatnonzero(found != right)
        frames = [number * array.shape.block_frames + int(at) for at in positions if at // 64 == word]
        findings.add(
            block_name(number),
            f"free[{word}]",
            f"{int(words[0][word]):#x}",
            f"{int(words[1][word]):#x}",
            f"runs, count and Frames say otherwise of frame {', '.join(map(str, frames[:8]))}",
            array.block_address(number, "free", word),
        )


def check_unused(array: FrameArray, findings: Findings) -> None:
    """The bytes of a Pageblock that have no use are zero."""
    unused = array.block_column("unused")
    for index in np.flatnonzero(unused.any(axis=1))[: Findings.LIMIT].tolist():
        number = array.block_number(index)
        for byte in np.flatnonzero(unused[index]).tolist():
            address = array.block_address(number, "unused", byte)
            findings.add(
                block_name(number), f"unused[{byte}]", 0, int(unused[index][byte]), "has no use", address
            )
