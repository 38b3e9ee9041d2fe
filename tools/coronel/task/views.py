"""The tables that the console shows as `cpus`, `threads` and `locks`: the same columns, the same text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coronel.errors import DecodeError
from coronel.mm import stats
from coronel.mm.layout import Struct
from coronel.task.tasks import Cpu, Tasks, Thread

Row = dict[str, int | str]
View = dict[str, Any]  # as the command's JSON

COLUMN = 7  # characters: no column of the console is narrower
KEY, VALUE = 17, 8
NAME_BYTES = 80  # of a file's name in the kernel, at most
CONTROLLERS = {"apic": "APIC", "pic": "8259"}


def cpus(tasks: Tasks) -> View:
    """What the command `cpus` says."""
    return {
        "controllers": CONTROLLERS.get(str(tasks.record["controllers"]), str(tasks.record["controllers"])),
        "timer_hz": int(tasks.record["timer_hz"]),
        "cpus": [_cpu(tasks, cpu) for cpu in tasks.cpus],
    }


def threads(tasks: Tasks) -> View:
    """What the command `threads` says."""
    return {"threads": [_thread(tasks, thread) for thread in tasks.threads.values()]}


def locks(tasks: Tasks) -> View:
    """What the command `locks` says: outermost first."""
    ranks = tasks.tables.enum("Rank")
    rows: list[Row] = []
    for name, rank in sorted(ranks.values.items(), key=lambda item: -item[1]):
        if rank == 0:
            continue
        contended = sum(cpu.block["contended"][rank] for cpu in tasks.cpus)
        waiting = sum(int(held["wanted"]) == rank for _, held in tasks.held())
        rows.append({"contended": contended, "waiting": waiting, "rank": name})
    return {"locks": rows, "waiters": [_waiter(tasks, who, held) for who, held in tasks.waiting()]}


VIEWS = {"cpus": cpus, "threads": threads, "locks": locks}


def text(view: View) -> str:
    """A view as the console prints it: lines of keys and values, below its name what has keys of its own, and
    tables.
    """
    lines = []
    for name, value in view.items():
        if isinstance(value, list):
            lines += [name, *table(value)]
        elif isinstance(value, dict):
            lines += [name, text(value)]
        else:
            is_number = isinstance(value, int) or str(value).startswith("0x")
            shown = f"{value:>{VALUE}}" if is_number else str(value)
            lines.append(f"{name + ':':<{KEY}}{shown}")
    return "\n".join(lines)


def table(rows: Sequence[Row]) -> list[str]:
    """A column is as wide as its key or its value in the first row; a longer value only shifts its line."""
    if not rows:
        return []
    widths = {name: max(len(name), len(str(value)), COLUMN) for name, value in rows[0].items()}

    def line(cells: Sequence[object]) -> str:
        return "".join(f"  {cell!s:>{width}}" for cell, width in zip(cells, widths.values(), strict=True))

    return [line(list(widths)), *(line(list(row.values())) for row in rows)]


def _cpu(tasks: Tasks, cpu: Cpu) -> Row:
    home, running = cpu.home, tasks.running_on(cpu)
    flushes = next(info for info in tasks.tables.counters if info.name == "flushes_answered")
    return {
        "cpu": home["number"],
        "apic": home["apic"],
        "state": str(home["state"]),
        "ticks": home["ticks"],
        "switches": home["switches"],
        "steals": home["steals"],
        "calls": home["calls"],
        "flushes": stats.shares(tasks.tables, cpu.number)[flushes.index],
        "queued": cpu.queue["length"],
        "thread": running.name if running is not None else "?",
    }


def _waiter(tasks: Tasks, who: str, held: Struct) -> Row:
    return {
        "rank": str(held["wanted"]),
        "since_ms": held["since_ns"] // 1_000_000,
        "waits_at": _site(tasks, held["file"], held["line"]),
        "taken_at": _taken_at(tasks, held["holder"]),
        "who": who,
    }


def _taken_at(tasks: Tasks, holder: int) -> str:
    """Where a LockSite says that the lock was taken: the text's address, and below it 16 bits of line."""
    try:
        word = int.from_bytes(tasks.tables.memory.read(holder, 8), "little")
    except DecodeError:
        return "?"
    address = word >> 16 | (0xFFFF << 48 if word >> 63 else 0)
    return _site(tasks, address, word & 0xFFFF)


def _site(tasks: Tasks, text: int, line: int) -> str:
    """A place in the source; `text` is where the file's name lies."""
    try:
        name = tasks.tables.memory.read(text, NAME_BYTES).partition(b"\0")[0] if text else b"?"
    except DecodeError:
        name = b"?"
    return f"{name.decode('ascii', 'backslashreplace')}:{line}"


def _thread(tasks: Tasks, thread: Thread) -> Row:
    record = thread.record
    try:
        used: int | str = thread.stack_used(tasks.tables)
    except DecodeError:
        used = "?"
    return {
        "thread": thread.number,
        "cpu": record["cpu"],
        "pinned": "yes" if thread.pinned else "no",
        "state": str(thread.state),
        "switches": record["switches"],
        "stack_used": used,
        "waits_on": f"{record['waits_on']:#x}",
        "name": thread.name,
    }
