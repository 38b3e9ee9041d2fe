"""Poison: the flag of each free frame against its first bytes, where the kernel fills what is freed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coronel.errors import DecodeError
from coronel.memory import PAGE_SHIFT, KernelMemory
from coronel.mm.check_frames import frame_name
from coronel.mm.frames import Bools, FrameArray, Numbers
from coronel.mm.problem import Findings
from coronel.mm.record import Tables
from coronel.mm.zones import Physical


def poison_flag(tables: Tables) -> int:
    """The bit of `flags` that says that a frame is filled; 0 where the kernel fills none."""
    return tables.enum("FrameFlag")["poisoned"] if tables.option("poison_frames") else 0


def check_poison(
    tables: Tables, physical: Physical, array: FrameArray, owned_by_none: Bools, end: int, findings: Findings
) -> bool:
    """Poisoned frames hold the pattern, no other frame that nobody owns does. Looks at frames below `end`
    only; False when some could not be read.
    """
    flag = poison_flag(tables)
    pattern = bytes([tables.enum("platform::Poison")["free_frame"]]) * 8
    read = frame_reader(tables, physical, len(pattern))
    places = np.flatnonzero(owned_by_none)
    numbers: Numbers = array.numbers(places)
    places, numbers = places[numbers < end], numbers[numbers < end]
    flags: NDArray[Any] = array.frame_column("flags")[places] & flag
    for number, flagged in zip(numbers.tolist(), flags.tolist(), strict=True):
        try:
            begin = read(number)
        except DecodeError:
            return False
        if (begin == pattern) == bool(flagged):
            continue
        expected = pattern.hex() if flagged else "no poison"
        why = "flag and contents disagree: written to after its release, or a wrong flag"
        address = array.frame_address(number, "flags")
        findings.add(
            frame_name(number), "flags", f"contents {expected}", f"contents {begin.hex()}", why, address
        )
    return True


def frame_reader(tables: Tables, physical: Physical, size: int) -> Callable[[int], bytes]:
    """The first bytes of a frame, by its number."""
    memory: Any = tables.memory
    if isinstance(memory, KernelMemory):
        return lambda number: memory.physical.read(number << PAGE_SHIFT, size)
    direct_map = int(physical.map["direct_map"])
    return lambda number: bytes(memory.read(direct_map + (number << PAGE_SHIFT), size))
