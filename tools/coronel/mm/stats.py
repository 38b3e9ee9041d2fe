"""Counters: each CPU counts for itself, the reader sums, or takes the largest of a peak."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from coronel.errors import DecodeError
from coronel.mm.record import CounterInfo, Tables


def shares(tables: Tables, cpu: int) -> tuple[int, ...]:
    """What one CPU has counted, in the order of `tables.counters`; DecodeError where it is unreadable."""
    field = tables.type("PerCpu")["counters"]
    if len(tables.counters) > field.count:
        raise DecodeError(f"{len(tables.counters)} counters, but a PerCpu has room for {field.count}")
    data = tables.memory.read(tables.cpus[cpu] + field.offset, 8 * len(tables.counters))
    return struct.unpack(f"<{len(tables.counters)}q", data)


def address_of(tables: Tables, counter: CounterInfo, cpu: int = 0) -> int:
    """Where a CPU keeps its share of a counter."""
    return tables.cpus[cpu] + tables.type("PerCpu")["counters"].offset + 8 * counter.index


def total(counter: CounterInfo, values: Sequence[int]) -> int:
    """The value of a counter from the shares of all CPUs."""
    return max(values) if counter.kind == "peak" else sum(values)


def counters(tables: Tables) -> dict[str, int]:
    """Every counter's value now, by name. Exact only while the CPUs stand still."""
    per_cpu = [shares(tables, cpu) for cpu in range(len(tables.cpus))]
    return {info.name: total(info, [values[info.index] for values in per_cpu]) for info in tables.counters}
