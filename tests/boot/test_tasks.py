"""CPUs, threads and locks of a running kernel seen from outside: raw RAM and GDB say what the console says,
and notice what is wrong.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from coronel.errors import DecodeError
from coronel.gdb.session import gdb_answers
from coronel.guest import Guest
from coronel.mm.corruption import Corruption
from coronel.mm.kernel import KernelState
from coronel.mm.layout import Struct
from coronel.pytest_plugin import Build
from coronel.task.backtrace import backtrace
from coronel.task.check import TaskWalk
from coronel.task.views import VIEWS, text

# What goes on while the console answers. Everything else stays as it is in a guest at its prompt.
GOES_ON = {"ticks", "switches", "stack_used"}
SHELL = {"state", "waits_on", "thread"}  # the shell runs while it answers, and waits when it does not


def rows_of(shown: str) -> list[dict[str, str]]:
    """The rows of the first table in what a command shows."""
    lines = [line.split() for line in shown.splitlines()]
    head = next(n for n, line in enumerate(lines) if len(line) > 2)
    names = lines[head]
    rows = itertools.takewhile(lambda line: len(line) >= len(names), lines[head + 1 :])
    return [
        dict(zip(names, [*line[: len(names) - 1], " ".join(line[len(names) - 1 :])], strict=True))
        for line in rows
    ]


def check_between(command: str, before: str, seen: str, after: str) -> None:
    """What was seen from outside lies between what the console said before and after it."""
    tables = [rows_of(shown) for shown in (before, seen, after)]
    assert list(tables[0][0]) == list(tables[1][0]) == list(tables[2][0])
    around = [
        [line for line in shown.splitlines() if len(line.split()) < len(tables[0][0])]
        for shown in (before, seen)
    ]
    assert around[0] == around[1], "what is not in the table"
    for old, now, new in zip(*tables, strict=True):
        for name, value in now.items():
            if name in GOES_ON:
                assert int(old[name]) <= int(value) <= int(new[name]), (command, name)
            elif name not in SHELL:
                assert old[name] == value == new[name], (command, name)


@pytest.mark.guest(memory="64M", cpus=3, timeout=60)
def test_raw_memory_says_what_the_console_says(guest: Guest, kernel: KernelState) -> None:
    guest.channel.call("stress", "cpus", 500, seed=1)
    if kernel.tables.option("debug"):
        assert guest.channel.call("ktest", "thread.a_mutex_lets", timeout=60)["failed"] == 0
    guest.shell.wait_prompt()
    before = {name: guest.shell.run(name) for name in VIEWS}
    with guest.paused():
        walk = kernel.tasks()
        views = {name: view(walk.tasks) for name, view in VIEWS.items()}
    after = {name: guest.shell.run(name) for name in VIEWS}
    walk.check()
    for name, view in views.items():
        assert list(view) == list(guest.channel.call(name)), "the keys are the command's"
        check_between(name, before[name], text(view), after[name])
    assert [row["apic"] for row in views["cpus"]["cpus"]] == [0, 1, 2]
    if kernel.tables.option("debug"):
        assert views["locks"]["locks"][0]["contended"] > 0, (
            "that test gives up its CPU while it holds the lock"
        )


@pytest.mark.skipif(shutil.which("gdb") is None, reason="there is no gdb")
@pytest.mark.parametrize("cpus", [1, 4])
def test_gdb_says_the_same_and_where_each_thread_is(artifact: Build, tmp_path: Path, cpus: int) -> None:
    socket = tmp_path / "gdb"
    with Guest(kernel=artifact.elf, memory="64M", cpus=cpus, gdb=socket, timeout=60) as guest:
        guest.wait_ready()
        kernel = KernelState(guest, artifact.artifact)
        guest.shell.wait_prompt()
        guest.shell.type("stress cpus 100000000")
        while "stress" not in {thread.name for thread in kernel.tasks().tasks.threads.values()}:
            time.sleep(0.05)
        with guest.paused():
            walk = kernel.tasks()
            expected = [text(view(walk.tasks)) for view in VIEWS.values()]
            traces = {
                thread.number: backtrace(walk.tasks, thread, walk.registers)
                for thread in walk.tasks.threads.values()
            }
            lines = [*VIEWS, "threads all", "threads 0"]
            shown = gdb_answers(artifact.elf, socket, [f"coronel {line}" for line in lines])
        problems = "\n" + walk.summary() if walk.notes else ""
        for said, wanted in zip(shown, expected, strict=False):
            assert said == wanted + problems
    found: dict[int, list[int]] = {}
    for part in re.split(r"^thread ", shown[3], flags=re.MULTILINE)[1:]:
        found[int(part.split()[0])] = [int(at, 16) for at in re.findall(r"^  #\d+ +(0x\w+)", part, re.M)]
    assert found == traces
    assert all(traces.values()), "every thread is somewhere"
    assert re.search(r" higher_half at boot/entry\.S:\d+$", shown[4], re.MULTILINE), "where it began"
    if artifact.options["debug"]:  # in a release build it is inlined
        assert " kmain at kernel/main.cpp:" in shown[4]
        assert "stress_cpus at kernel/shell/stress_cpus.cpp:" in shown[4], "that is what the shell does"
    assert shown[4].count("\nthread ") == 0, "of one thread only"


@pytest.mark.needs("debug")
@pytest.mark.guest(memory="64M", cpus=2, timeout=60)
def test_a_deadlock_is_seen_when_the_console_is_part_of_it(guest: Guest, kernel: KernelState) -> None:
    """Who waits for what, where, and where it was taken: from raw memory, as the kernel's own report says."""
    assert VIEWS["locks"](kernel.tasks().tasks)["waiters"] == []
    guest.shell.wait_prompt()
    guest.shell.type("break lock-abba")
    end = time.monotonic() + 30
    walk = kernel.tasks()
    while len(list(walk.tasks.waiting())) < 2 and time.monotonic() < end:
        time.sleep(0.01)
        walk = kernel.tasks()
    walk.check()
    view = VIEWS["locks"](walk.tasks)
    rows = {row["rank"]: row for row in view["waiters"]}
    assert {rank: row["who"] for rank, row in rows.items()} == {"heap": "forward", "object": "backward"}
    assert {row["rank"] for row in view["locks"] if row["waiting"] == 1} == set(rows)
    place = re.compile(r"kernel/shell/faults\.cpp:(\d+)")
    lines = {name: [place.fullmatch(row[name]) for row in rows.values()] for name in ("waits_at", "taken_at")}
    assert all(all(found) for found in lines.values())
    shown = text(view)
    assert all(f"  {row['waits_at']}  {row['taken_at']}  " in shown for row in rows.values())
    # Each waits in the function that took the other's lock, behind the line that took it.
    source = (Path(__file__).parents[2] / "kernel/shell/faults.cpp").read_text().splitlines()
    for row in rows.values():
        for name in ("waits_at", "taken_at"):
            found = place.fullmatch(row[name])
            assert found is not None
            assert re.search(r"\.take\(", source[int(found[1]) - 1]), row[name]


@pytest.mark.needs("debug")
@pytest.mark.guest(memory="64M", cpus=4, timeout=60)
def test_a_scheduler_at_work_is_sound_at_any_moment(guest: Guest, kernel: KernelState) -> None:
    """Wherever the CPUs are stopped, the walk finds nothing wrong; and it sees threads in every state."""
    guest.shell.wait_prompt()
    seen: Counter[str] = Counter()
    for _ in range(3):
        guest.shell.type("ktest thread")
        end = guest.console.log.bytes().count(b"passed:") + 1
        while guest.console.log.bytes().count(b"passed:") < end:
            walk = kernel.tasks()
            walk.check()
            seen.update(str(thread.state) for thread in walk.tasks.threads.values())
            for cpu in walk.tasks.cpus:
                seen.update(sleepers=len(cpu.sleepers.members), queued=len(cpu.ready.members))
    assert all(seen[name] > 0 for name in ("running", "ready", "sleeping", "sleepers", "queued")), seen


# ---- what is wrong is found


@pytest.fixture
def still(guest: Guest, kernel: KernelState) -> Iterator[TaskWalk]:
    """A guest that stands still in the middle of the tests of threads, with a thread in a run queue and one
    that waits, and nobody in the middle of an operation.
    """
    for turn in range(1, 20):
        guest.shell.wait_prompt()
        guest.shell.type("ktest thread")
        while guest.console.log.bytes().count(b"passed:") < turn:
            with guest.paused():
                walk = kernel.tasks()
                queued = sum(len(cpu.ready.members) for cpu in walk.tasks.cpus)
                waits = sum(len(waiters.queue.members) for waiters in walk.tasks.waiters)
                settled = all(one.interrupts_on for one in walk.registers.values())
                if queued and waits and settled and not walk.notes:
                    walk.check()
                    yield walk
                    return
    raise AssertionError("no such moment")


class Draw:
    """Draws single wrong bits of CPUs, threads and queues: what check.py promises something about."""

    def __init__(self, chance: random.Random, walk: TaskWalk) -> None:
        self.chance = chance
        self.tasks = walk.tasks

    def _bit(self, names: tuple[str, ...], record: Struct, name: str) -> Corruption:
        field = record.type[name]
        bit = self.chance.randrange(8 * field.size)
        return Corruption(names, name, record.address_of(name) + bit // 8, bit % 8)

    def _thread(self, where: Any = None) -> Any:
        every = [one for one in self.tasks.threads.values() if where is None or where(one)]
        return self.chance.choice(every)

    def state(self) -> Corruption:
        """Of any thread."""
        thread = self._thread()
        return self._bit((thread.label,), thread.record, "state")

    def on_cpu(self) -> Corruption:
        """Any bit: none of a bool but the lowest may be set."""
        thread = self._thread(lambda one: not one.on_cpu)
        return self._bit((thread.label,), thread.record, "on_cpu")

    def cpu(self) -> Corruption:
        """Of a thread that runs."""
        thread = self._thread(lambda one: str(one.state) == "running")
        return self._bit((thread.label,), thread.record, "cpu")

    def pinned(self) -> Corruption:
        """Of an idle thread, which stays where it is."""
        idle = {cpu.home.address_of("idle") for cpu in self.tasks.cpus}
        thread = self._thread(lambda one: one.address in idle)
        return self._bit((thread.label,), thread.record, "pinned")

    def waits_on(self) -> Corruption:
        """Of a thread that waits; above the two bits that no word's address has and the hash does not see."""
        waits = {at for one in self.tasks.waiters for at in one.queue.members}
        thread = self._thread(lambda one: one.address in waits)
        return self._bit((thread.label,), thread.record, "waits_on")

    def stack(self) -> Corruption:
        """Where the stack of any thread begins or ends."""
        thread = self._thread()
        return self._bit((thread.label,), thread.record["stack"], self.chance.choice(["bottom", "top"]))

    def cpu_stacks(self) -> Corruption:
        """The same of a CPU's, as the CPU has it; of the idle one, which its thread says, too."""
        cpu = self.chance.choice(self.tasks.cpus)
        record = cpu.home["stacks"]["stacks"][-1]
        return self._bit((cpu.label,), record, self.chance.choice(["bottom", "top"]))

    def queue_link(self) -> Corruption:
        """A link of a thread in a queue: named with the queue, and with what is next to it."""
        inside = {
            at: queue for queue in self.tasks.queues() for at in queue.members if queue.field != "sleepers"
        }
        thread = self._thread(lambda one: one.address in inside)
        queue = inside[thread.address]
        names = (queue.label, *(self.tasks.threads[at].label for at in queue.members))
        return self._bit(names, thread.record["queue_link"], self.chance.choice(["next", "previous"]))

    def size(self) -> Corruption:
        """Of any queue's list, and of the list of all threads."""
        queue = self.chance.choice([self.tasks.all_threads, *self.tasks.queues()])
        return self._bit((queue.label,), queue.record["list"], "size")

    def length(self) -> Corruption:
        """Of a run queue."""
        cpu = self.chance.choice(self.tasks.cpus)
        return self._bit((cpu.ready.label,), cpu.queue, "length")

    def block(self) -> Corruption:
        """A CPU's own number, its home's, and the way back."""
        cpu = self.chance.choice(self.tasks.cpus)
        record, name = self.chance.choice([(cpu.block, "number"), (cpu.home, "number"), (cpu.home, "block")])
        return self._bit((cpu.label,), record, name)

    def running(self) -> Corruption:
        """The thread that a CPU runs."""
        cpu = self.chance.choice(self.tasks.cpus)
        running = self.tasks.running_on(cpu)
        assert running is not None
        return self._bit((cpu.label, running.label), cpu.block, "thread")


KINDS = (
    *("state", "on_cpu", "cpu", "pinned", "waits_on", "stack", "cpu_stacks", "queue_link", "size", "length"),
    *("block", "running"),
)


@pytest.mark.needs("debug")
@pytest.mark.guest(memory="64M", cpus=3, timeout=60)
def test_a_single_wrong_bit_is_named(kernel: KernelState, still: TaskWalk, coronel_seed: int) -> None:
    chance = random.Random(coronel_seed)
    draw = Draw(chance, still)
    missed, same_queue = [], 0
    for kind in KINDS:
        for _ in range(12):
            wrong: Corruption = getattr(draw, kind)()
            wrong.flip(kernel.memory)
            found = kernel.tasks()
            wrong.flip(kernel.memory)
            named = [name for problem in found.problems for name in problem.objects]
            if not any(name in wrong.objects for name in named):
                same_queue += kind == "waits_on"  # another word, but one with the same hash
                if kind != "waits_on" or same_queue > 3:
                    missed.append(f"{kind}: {wrong}\n{found.summary()}")
    assert not missed, f"seed {coronel_seed}: {len(missed)}\n" + "\n".join(missed[:5])
    kernel.tasks().check()


@pytest.mark.needs("debug")
@pytest.mark.guest(memory="64M", cpus=3, timeout=60)
def test_a_lost_thread_is_named(kernel: KernelState, still: TaskWalk) -> None:
    """Taken out of its run queue without a trace: every list is whole, but it will never run again."""
    cpu = next(cpu for cpu in still.tasks.cpus if cpu.ready.members)
    thread = still.tasks.threads[cpu.ready.members[0]]
    head, node = cpu.ready.record["list"], thread.record["queue_link"]

    def put(address: int, value: int, size: int = 8) -> None:
        undo.append((address, kernel.memory.read(address, size)))
        kernel.memory.write(address, value.to_bytes(size, "little"))

    undo: list[tuple[int, bytes]] = []
    next_offset, previous_offset = (node.type[name].offset for name in ("next", "previous"))
    put(node["previous"] + next_offset, node["next"])
    put(node["next"] + previous_offset, node["previous"])
    put(node.address + next_offset, 0)
    put(node.address + previous_offset, 0)
    put(head.address_of("size"), head["size"] - 1)
    put(cpu.queue.address_of("length"), cpu.queue["length"] - 1, 4)
    found = kernel.tasks()
    for address, data in reversed(undo):
        kernel.memory.write(address, data)
    assert [problem.objects for problem in found.problems] == [(thread.label,)]
    assert "0 run queues" in str(found.problems[0])
    kernel.tasks().check()


@pytest.mark.guest(memory="64M", cpus=3, timeout=60)
def test_a_stack_of_somebody_else_is_named(kernel: KernelState) -> None:
    """A CPU that would take NMIs on the stack of another."""
    walk = kernel.tasks()
    walk.check()
    cpu = walk.tasks.cpus[2]
    stack = cpu.home["stacks"]["stacks"][2]  # of NMIs
    other = walk.tasks.cpus[1].home["stacks"]["stacks"][2]
    for name in ("bottom", "top"):
        kernel.memory.write(stack.address_of(name), int(other[name]).to_bytes(8, "little"))
    found = kernel.tasks()
    assert [problem.objects[0] for problem in found.problems] == ["Cpu 2"]
    assert "('stack'" in str(found.problems[0])
    assert "'CPU', 1)" in str(found.problems[0])


@pytest.mark.needs("debug")
@pytest.mark.guest(memory="64M", cpus=3, timeout=60)
def test_nonsense_is_survived(kernel: KernelState, still: TaskWalk, coronel_seed: int) -> None:
    """Random bytes over CPUs, threads and queues: an answer in bounded time, whatever is asked for."""
    chance = random.Random(coronel_seed)
    tasks = still.tasks
    records = [tasks.record, *(one.record for one in tasks.threads.values())]
    records += [record for cpu in tasks.cpus for record in (cpu.home, cpu.queue)]
    records += [one.record for one in tasks.waiters]
    records += [cpu.block["held_spin"] for cpu in tasks.cpus]
    for _ in range(150):
        undo = []
        for _ in range(chance.choice((1, 2, 8))):
            record = chance.choice(records)
            count = min(record.type.size, chance.choice((1, 8, 64, 1000)))
            address = record.address + chance.randrange(record.type.size - count + 1)
            undo.append((address, kernel.memory.read(address, count)))
            noise = chance.choice((chance.randbytes(count), bytes(count), b"\xff" * count))
            kernel.memory.write(address, noise)
        with suppress(DecodeError):  # there may be no way to the list of threads
            walk = kernel.tasks()
            for view in VIEWS.values():
                assert text(view(walk.tasks))
            for thread in walk.tasks.threads.values():
                backtrace(walk.tasks, thread, walk.registers)
            walk.summary()
        for address, data in reversed(undo):
            kernel.memory.write(address, data)
    kernel.tasks().check()


# ---- the commands


def command(artifact: Build, *words: str) -> str:
    """What `coronel ...` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "coronel", *words, "--kernel", str(artifact.elf), "--memory", "64M"],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_the_commands_show_a_guest_at_work(artifact: Build) -> None:
    value = json.loads(command(artifact, "cpus", "--cpus", "3", "--json"))
    assert [row["cpu"] for row in value["cpus"]] == [0, 1, 2]
    assert (value["problems"], value["controllers"]) == ([], "APIC")
    shown = command(artifact, "threads", "--cpus", "2", "--during", "stress cpus 100000000", "--backtrace")
    assert re.search(r"^ +0 +0 +yes +\w+ +\d+ +\d+ +0x[0-9a-f]+ +shell$", shown, re.MULTILINE), shown
    assert shown.count(" higher_half+") == 1
    if artifact.options["debug"]:  # in a release build it is inlined
        assert shown.count("kernel::shell::stress_cpus+") == shown.count(" kmain+") == 1
    ranks = re.findall(r"^ +\d+ +\d+ +(\w+)$", command(artifact, "locks"), re.MULTILINE)
    assert (ranks[0], ranks[-1], len(ranks)) == ("process", "log", 13)
