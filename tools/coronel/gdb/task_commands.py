"""GDB's commands `coronel cpus|threads|locks`: what the console shows, and where each thread is."""

from __future__ import annotations

from collections.abc import Callable

import gdb

from coronel.gdb.inferior import registers, tables
from coronel.task.backtrace import backtrace
from coronel.task.check import TaskWalk, check_tasks
from coronel.task.tasks import Thread, read_tasks
from coronel.task.views import VIEWS, text


def _walk() -> TaskWalk:
    return check_tasks(read_tasks(tables()), registers())


def _show(name: str, walk: TaskWalk) -> None:
    gdb.write(text(VIEWS[name](walk.tasks)) + "\n")
    if walk.problems or walk.tasks.unreadable or walk.notes:
        gdb.write(walk.summary() + "\n")


def cpus(argument: str) -> None:
    """`coronel cpus`: what each CPU does and did."""
    _nothing("cpus", argument)
    _show("cpus", _walk())


def locks(argument: str) -> None:
    """`coronel locks`: how often the locks of each rank were not free, and who waits."""
    _nothing("locks", argument)
    _show("locks", _walk())


def threads(argument: str) -> None:
    """`coronel threads`: every thread. `coronel threads all`, `coronel threads N`: where all are, or that
    one: the functions on their stacks, innermost first.
    """
    wanted = argument.strip()
    walk = _walk()
    every = list(walk.tasks.threads.values())
    if not wanted:
        return _show("threads", walk)
    chosen = every if wanted == "all" else [one for one in every if str(one.number) == wanted]
    if not chosen:
        numbers = ", ".join(str(one.number) for one in every)
        raise gdb.GdbError(f"coronel threads: no thread {wanted!r}: all, or one of {numbers}")
    for thread in chosen:
        _show_stack(walk, thread)
    return None


def _show_stack(walk: TaskWalk, thread: Thread) -> None:
    gdb.write(f"thread {thread.number} {thread.name}, {thread.state}\n")
    calls = backtrace(walk.tasks, thread, walk.registers)
    for depth, address in enumerate(calls):
        # Where a call returns to may be behind the end of its function and on another line.
        gdb.write(f"  #{depth:<3}{address:#018x} {_place(address - (depth > 0))}\n")
    if not calls:
        gdb.write("  its CPU's registers are not known\n")


def _place(address: int) -> str:
    """Function, file and line."""
    block = gdb.block_for_pc(address)
    while block is not None and block.function is None:
        block = block.superblock
    if block is not None:
        name = block.function.print_name.partition("(")[0]
    else:
        name = gdb.execute(f"info symbol {address:#x}", to_string=True).partition(" in section")[0]
        name = "?" if name.startswith("No symbol") else name.strip()
    line = gdb.find_pc_line(address)
    return f"{name} at {line.symtab.filename}:{line.line}" if line.symtab is not None else name


def _nothing(name: str, argument: str) -> None:
    if argument.strip():
        raise gdb.GdbError(f"coronel {name} takes no argument")


BODIES: dict[str, Callable[[str], None]] = {"cpus": cpus, "threads": threads, "locks": locks}
