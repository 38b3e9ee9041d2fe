"""`check_tasks`: whether CPUs, threads and queues agree with each other, and what does not.

    walk = check_tasks(read_tasks(tables), registers)
    walk.problems                # each names object, field, expected and found
    walk.notes                   # what stopped in the middle of an operation

Shares no code with the kernel. Nothing that memory holds makes it fail or run long. For one wrong bit there
is one object named, or those that contradict each other, in: state, on_cpu, stack and the links of a Thread,
cpu of one that runs, pinned, waits_on of one that waits; the size and links of each list; length of a
RunQueue; thread, home and number of a PerCpu; block, number and apic of a Cpu. Names, totals (ticks,
switches ...), deadlines and the words of locks are said once: nothing is promised about these, nor about a
number, a cpu or a stack pointer that is still one that might be.

A CPU that works on a queue has its interrupts off, so where `registers` say that all have theirs on, every
thread must be where its state says. Where they say otherwise, or nothing is known of them, a thread may be on
its way: that is a note and no problem.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from coronel.errors import DecodeError, ValidationError
from coronel.mm.layout import Struct
from coronel.mm.problem import Findings, Problem
from coronel.mm.ranges import KernelRange, read_ranges
from coronel.task.tasks import ANY_CPU, NEVER, Cpu, CpuRegisters, Queue, Stack, Tasks, Thread

SAVED = 7 * 8  # bytes that the change of threads leaves on a stack: six registers and where it returns to
HASH = 0x9E37_79B9_7F4A_7C15
MASK = (1 << 64) - 1
STRAY = "is on its way between two queues"


def wait_queue_of(word: int, queues: int) -> int:
    """The number of the WaitQueue for threads that wait on that word."""
    return (word // 4 * HASH & MASK) >> (64 - (queues.bit_length() - 1))


@dataclass
class TaskWalk:
    """What was found."""

    tasks: Tasks
    problems: list[Problem] = field(default_factory=list)
    left_out: int = 0
    notes: list[str] = field(default_factory=list)  # no problems, but worth to know
    registers: CpuRegisters = field(default_factory=dict)  # that were looked at

    def check(self) -> None:
        """ValidationError that lists every problem, when there are any."""
        if self.problems or self.tasks.unreadable:
            raise ValidationError(self.summary())

    def summary(self) -> str:
        """A few lines for people."""
        lines = [f"{len(self.tasks.cpus)} CPUs, {len(self.tasks.threads)} threads"]
        lines += [f"problem: {problem}" for problem in self.problems]
        if self.left_out:
            lines.append(f"problem: and {self.left_out} more")
        lines += [f"problem: {what} cannot be read: {why}" for what, why in self.tasks.unreadable.items()]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def check_tasks(tasks: Tasks, registers: CpuRegisters | None = None) -> TaskWalk:
    """Checks everything that was read. Never fails. `registers` are those of CPUs that stand still."""
    return _Check(tasks, registers or {}).run()


def _stack_ranges(tasks: Tasks) -> dict[int, KernelRange]:
    """The kernel ranges that somebody has, by where their bodies begin."""
    try:
        found = read_ranges(tasks.tables)
    except DecodeError:
        return {}
    return {one.body[0]: one for one in found.taken} if found is not None else {}


class _Check:
    def __init__(self, tasks: Tasks, registers: CpuRegisters) -> None:
        self.tasks = tasks
        self.registers = registers
        self.findings = Findings()
        self.notes: list[str] = []
        # Nobody is in the middle of anything.
        self.settled = all(
            cpu.block.address in registers and registers[cpu.block.address].interrupts_on
            for cpu in tasks.cpus
        ) and bool(tasks.cpus)
        self.idle = {cpu.home.address_of("idle") for cpu in tasks.cpus}
        self.ranges = _stack_ranges(tasks)
        # Of each thread: the queues of each kind that it is in.
        self.ready: dict[int, list[Cpu]] = {}
        self.sleeps: dict[int, list[Cpu]] = {}
        self.waits: dict[int, list[int]] = {}

    def run(self) -> TaskWalk:
        self._list()
        for cpu in self.tasks.cpus:
            self._cpu(cpu)
        for cpu in self.tasks.cpus:
            self._run_queue(cpu)
        for waiters in self.tasks.waiters:
            self._wait_queue(waiters.number)
        for thread in self.tasks.threads.values():
            self._thread(thread)
        for who, held in self.tasks.held():
            self._held(who, held.address, list(held["ranks"]), int(held["depth"]))
        found = self.findings
        return TaskWalk(self.tasks, found.problems, found.left_out, self.notes, self.registers)

    # -- lists

    def _list(self) -> None:
        """The list of all threads."""
        queue = self.tasks.all_threads
        self._links(queue)
        numbers = [self.tasks.threads[at].number for at in queue.members if at in self.tasks.threads]
        known = set(queue.members)
        for before, after in itertools.pairwise(numbers):
            if after <= before:
                names = (f"Thread {after}", f"Thread {before}")
                self.findings.add(names, "number", f"more than {before}", after, "the list is by number")
        for address, thread in self.tasks.threads.items():
            if address not in known:
                self.findings.add(
                    (thread.label, "ThreadList"),
                    "list_link",
                    "",
                    "",
                    "a CPU has it, the list has not",
                    address,
                )

    def _links(self, queue: Queue) -> None:
        """Its links, its size, and that it has threads only."""
        if queue.locked:
            self.notes.append(f"{queue.label} is locked: it stopped in the middle of an operation")
            if queue.followed.broken or queue.size != len(queue.members):
                return
        if queue.followed.broken:
            self._broken(queue)
        elif queue.size != len(queue.members):
            head = queue.record["list"]
            self.findings.add(
                queue.label,
                queue.field,
                len(queue.members),
                queue.size,
                "members and size",
                head.address_of("size"),
            )
        for address in queue.members:
            if address not in self.tasks.threads:
                self.findings.add(queue.label, queue.field, "a thread", f"{address:#x}", "a member is none")

    def _broken(self, queue: Queue) -> None:
        """Both ends of the link that is wrong are named."""
        at = queue.followed.broken_at
        names = [queue.label]
        kind = self.tasks.tables.type("Thread")
        for thread in self.tasks.threads.values():
            for link in ("queue_link", "timer_link", "list_link"):
                node = thread.record[link]
                near = (node.address, int(node["next"]), int(node["previous"]))
                if at in near and thread.address in {*queue.members, at - kind[link].offset}:
                    names.append(thread.label)
        unique = list(dict.fromkeys(names))
        self.findings.add(unique, queue.field, "", "", f"the list is cut: {queue.followed.broken}", at)

    # -- CPUs

    def _cpu(self, cpu: Cpu) -> None:
        add, number = self.findings.add, cpu.number
        for record, name, expected in (
            (cpu.block, "number", number),
            (cpu.home, "number", number),
            (cpu.home, "block", cpu.block.address),
        ):
            if record[name] != expected:
                why = "its place in the table of CPUs says otherwise"
                add(cpu.label, name, expected, record[name], why, record.address_of(name))
        if not cpu.home["state"].known:
            add(cpu.label, "state", "a CpuState", str(cpu.home["state"]), "", cpu.home.address_of("state"))
        self._cpu_stacks(cpu)
        twins = [one for one in self.tasks.cpus if one.home["apic"] == cpu.home["apic"]]
        if twins[0] is not cpu:
            names = (cpu.label, twins[0].label)
            add(names, "apic", "", cpu.home["apic"], "two have one number", cpu.home.address_of("apic"))
        running = self.tasks.running_on(cpu)
        if running is None:
            place = cpu.block.address_of("thread")
            add(cpu.label, "thread", "a thread", f"{cpu.block['thread']:#x}", "it runs none", place)
            return
        at = self.registers.get(cpu.block.address)
        if at is None or not at.interrupts_on:
            return  # between two threads, it may be
        if running.record["cpu"] != number or not running.on_cpu or str(running.state) != "running":
            found = f"{running.state} on {running.record['cpu']}, on_cpu {running.record['on_cpu']}"
            add((running.label, cpu.label), "state", f"running on {number}", found, "the CPU runs it")
        if running.stack is not None and not running.stack.holds(at.stack_pointer):
            where = f"{running.stack.bottom:#x} to {running.stack.top:#x}"
            why = "the CPU's stack pointer is not in the stack of its thread"
            add((cpu.label, running.label), "rsp", where, f"{at.stack_pointer:#x}", why)

    def _cpu_stacks(self, cpu: Cpu) -> None:
        """A CPU's own; the last one is also its idle thread's. Those of the boot CPU are no ranges."""
        stacks = cpu.home["stacks"]["stacks"]
        for record in stacks:
            found = Stack(int(record["bottom"]), int(record["top"]))
            if found.top == 0 or not self._is_range(found):
                continue
            self._owner((cpu.label,), record, found, ("CPU", cpu.number))
        idle = cpu.home["idle"]["stack"]
        for name in ("bottom", "top"):
            if stacks[-1][name] != idle[name]:
                names = (cpu.label, f"Thread {cpu.home['idle']['number']}")
                why, place = "the stack of its idle thread", stacks[-1].address_of(name)
                self.findings.add(names, "stacks", f"{idle[name]:#x}", f"{stacks[-1][name]:#x}", why, place)

    # -- queues

    def _run_queue(self, cpu: Cpu) -> None:
        add, queue = self.findings.add, cpu.queue
        for one in (cpu.ready, cpu.sleepers):
            self._links(one)
        for address in cpu.ready.members:
            self.ready.setdefault(address, []).append(cpu)
        for address in cpu.sleepers.members:
            self.sleeps.setdefault(address, []).append(cpu)
        length, size = queue["length"], cpu.ready.size
        if not cpu.ready.locked and length != size and not cpu.ready.followed.broken:
            add(cpu.ready.label, "length", size, length, "its list's size", queue.address_of("length"))
        self._sleepers(cpu)

    def _sleepers(self, cpu: Cpu) -> None:
        """The earliest first, and none before the CPU looks again."""
        add, queue = self.findings.add, cpu.queue
        sleepers = [self.tasks.threads[at] for at in cpu.sleepers.members if at in self.tasks.threads]
        times = [int(thread.record["wake_ns"]) for thread in sleepers]
        if times and not cpu.sleepers.locked:
            if times != sorted(times):
                names = (cpu.sleepers.label, *(thread.label for thread in sleepers))
                add(names, "sleepers", "the earliest first", times, "wake_ns")
            elif queue["next_wake_ns"] > times[0]:
                names = (cpu.sleepers.label, sleepers[0].label)
                add(names, "next_wake_ns", f"at most {times[0]}", queue["next_wake_ns"], "it would oversleep")

    def _wait_queue(self, number: int) -> None:
        waiters = self.tasks.waiters[number]
        self._links(waiters.queue)
        for address in waiters.queue.members:
            self.waits.setdefault(address, []).append(number)
        least, most = waiters.queue.size, waiters.queue.size + len(self.tasks.cpus)
        if self.settled:
            most = least
        count = waiters.record["count"]
        if not least <= count <= most and not waiters.queue.locked and not waiters.queue.followed.broken:
            place = waiters.record.address_of("count")
            self.findings.add(waiters.queue.label, "count", least, count, "its list's size", place)

    # -- threads

    def _thread(self, thread: Thread) -> None:
        record, add = thread.record, self.findings.add
        if not thread.state.known:
            add(thread.label, "state", "a ThreadState", str(thread.state), "", record.address_of("state"))
        cpus = len(self.tasks.cpus)
        if record["cpu"] >= cpus:
            add(
                thread.label,
                "cpu",
                f"less than {cpus}",
                record["cpu"],
                "no such CPU",
                record.address_of("cpu"),
            )
        if record["pinned"] != ANY_CPU and record["pinned"] != record["cpu"]:
            place = record.address_of("pinned")
            add(thread.label, "pinned", record["cpu"], record["pinned"], "the CPU where it is", place)
        self._stack(thread)
        self._place(thread)
        self._holders(thread)

    def _stack(self, thread: Thread) -> None:
        place = thread.record.address_of("stack")
        if thread.stack is None:
            found = "{bottom:#x} to {top:#x}".format(
                **{n: thread.record["stack"][n] for n in ("bottom", "top")}
            )
            self.findings.add(thread.label, "stack", "a stack", found, "none is there", place)
            return
        if self._is_range(thread.stack) and thread.address not in self.idle:
            owner = ("thread", thread.number)
            self._owner((thread.label,), thread.record["stack"], thread.stack, owner)
        pointer = int(thread.record["stack_pointer"])
        if thread.on_cpu:
            return
        if pointer % 8 or not thread.stack.bottom <= pointer <= thread.stack.top - SAVED:
            where = f"{thread.stack.bottom:#x} to {thread.stack.top - SAVED:#x}"
            why = "it is not in the thread's stack"
            place = thread.record.address_of("stack_pointer")
            self.findings.add(thread.label, "stack_pointer", where, f"{pointer:#x}", why, place)

    def _is_range(self, stack: Stack) -> bool:
        """Whether a range begins there. One may be missed: who changes ranges has its interrupts on."""
        return stack.bottom in self.ranges

    def _owner(self, names: tuple[str, ...], record: Struct, stack: Stack, owner: tuple[str, int]) -> None:
        """The range has that stack's size, kind, and owner."""
        one = self.ranges[stack.bottom]
        found = (one.kind, one.body[1], one.owner, int(one.record["number"]))
        if found != ("stack", stack.top, *owner):
            why = f"the range is {one}"
            wanted = f"a stack of {owner[0]} {owner[1]}, to {stack.top:#x}"
            self.findings.add((*names, one.name), "stack", wanted, str(found), why, record.address)

    def _place(self, thread: Thread) -> None:
        """In exactly the queues that its state says."""
        ready = len(self.ready.get(thread.address, []))
        waits = len(self.waits.get(thread.address, []))
        sleeps = len(self.sleeps.get(thread.address, []))
        state = str(thread.state)
        wanted = {"ready": (1, 0), "sleeping": (0, 1)}.get(state, (0, 0))
        if thread.address in self.idle:
            wanted = (0, 0)
        if (ready, waits) != wanted or sleeps > (state != "ended"):
            found = f"{ready} run queues, {waits} wait queues, {sleeps} lists of sleepers"
            expected = f"{wanted[0]} run queues, {wanted[1]} wait queues"
            if not self.settled and ready + waits <= 1 and sleeps <= 1:
                self.notes.append(f"{thread.label} {STRAY}: {state}, {found}")
            else:
                names = (thread.label, *self._near(thread))
                self.findings.add(names, "state", expected, found, f"it is {state}")
        for cpu in self.sleeps.get(thread.address, []):
            if thread.record["timer_cpu"] != cpu.number:
                place = thread.record.address_of("timer_cpu")
                why = "the CPU among whose sleepers it is"
                self.findings.add(
                    thread.label, "timer_cpu", cpu.number, thread.record["timer_cpu"], why, place
                )
            if thread.record["wake_ns"] == NEVER:
                place = thread.record.address_of("wake_ns")
                self.findings.add(thread.label, "wake_ns", "a time", "never", "it is among sleepers", place)
        for number in self.waits.get(thread.address, []):
            word = int(thread.record["waits_on"])
            hashed = wait_queue_of(word, len(self.tasks.waiters))
            if hashed != number:
                place = thread.record.address_of("waits_on")
                names = (thread.label, f"WaitQueue {number}")
                self.findings.add(names, "waits_on", f"of queue {number}", f"{word:#x}", "its queue", place)
        for cpu in self.ready.get(thread.address, []):
            pinned = thread.record["pinned"]
            if pinned not in (ANY_CPU, cpu.number):
                place = thread.record.address_of("pinned")
                names = (thread.label, cpu.ready.label)
                self.findings.add(names, "pinned", pinned, cpu.number, "the queue that it is in", place)

    def _near(self, thread: Thread) -> list[str]:
        """The queues whose broken lists may have lost it."""
        return [queue.label for queue in self.tasks.queues() if queue.followed.broken]

    def _holders(self, thread: Thread) -> None:
        """It is on a CPU exactly when a CPU runs it."""
        runs = [cpu for cpu in self.tasks.cpus if cpu.block["thread"] == thread.address]
        if len(runs) > 1:
            names = (thread.label, *(cpu.label for cpu in runs))
            self.findings.add(names, "thread", "one CPU", f"{len(runs)}", "several run it")
        if not self.settled:
            return
        state = str(thread.state)
        if (state == "ended") != (thread.record["done"] != 0):
            why, place = "a thread has ended when it says so twice", thread.record.address_of("state")
            self.findings.add(thread.label, "state", f"as done, {thread.record['done']}", state, why, place)
        if thread.address in self.idle and not runs and state != "ready":
            why, place = "an idle thread that does not run", thread.record.address_of("state")
            self.findings.add(thread.label, "state", "ready", state, why, place)
        if thread.on_cpu != bool(runs) or (state == "running") != bool(runs):
            names = (thread.label, *(cpu.label for cpu in runs))
            found = f"{state}, on_cpu {thread.record['on_cpu']}"
            expected = "running, on_cpu 1" if runs else "neither"
            why = f"CPU {runs[0].number} runs it" if runs else "no CPU runs it"
            self.findings.add(names, "on_cpu", expected, found, why, thread.record.address_of("on_cpu"))

    def _held(self, who: str, address: int, ranks: list[int], depth: int) -> None:
        """Ranks of held locks descend."""
        most = len(ranks)
        if depth > most:
            self.findings.add(
                f"HeldRanks of {who}", "depth", f"at most {most}", depth, "no such depth", address
            )
            return
        held = ranks[:depth]
        if any(not 0 < rank < most for rank in held) or any(a <= b for a, b in itertools.pairwise(held)):
            self.findings.add(
                f"HeldRanks of {who}", "ranks", "descending", held, "the order of locks", address
            )
