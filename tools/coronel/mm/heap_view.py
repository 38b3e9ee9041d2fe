"""The kernel heap for people and programs: what the console's `heapinfo` says, but counted in raw memory.
Needs nothing but Python: GDB's commands use it too.
"""

from __future__ import annotations

from coronel.mm.heap import HEADER, HeapWalk
from coronel.task.views import Row, View, text


def heapinfo(found: HeapWalk) -> View:
    """Keys and values of the kernel's own. Levels are those of the blocks that were met; the totals of what
    was done stand in the kernel's memory only.
    """
    used, free = sum(one.size for one in found.used), sum(one.size for one in found.free)
    total = sum(end - first for first, end in found.ranges)
    allocated = used - HEADER * len(found.used)
    return {
        "total_bytes": total,
        "allocated_bytes": allocated,
        "used_bytes": used,
        "free_bytes": free,
        "largest_free": max((one.size - HEADER for one in found.free), default=0),
        "fill_percent": 100 * allocated // total if total else 0,
        "active_blocks": len(found.used),
        **{
            name: int(found.state[name])
            for name in ("allocations", "frees", "failures", "misuses", "expansions", "contractions")
        },
        "ranges": [_range(found, first, end) for first, end in found.ranges],
    }


def _range(found: HeapWalk, first: int, end: int) -> Row:
    last = next((one for one in reversed(found.blocks) if one.place + one.size == end - HEADER), None)
    tail = last.size if last is not None and not last.used else 0
    return {"first": f"{first:#x}", "bytes": end - first, "free_at_end": tail}


def lines(found: HeapWalk) -> list[str]:
    """The same as the console shows it, and one line for each problem."""
    said = [*text(heapinfo(found)).split("\n"), *(f"problem: {problem}" for problem in found.problems)]
    return said + [f"problem: and {found.left_out} more"] * bool(found.left_out)
