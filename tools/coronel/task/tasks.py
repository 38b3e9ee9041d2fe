"""Everything about CPUs and threads that the kernel's own tables lead to, as it stands there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from coronel.errors import DecodeError
from coronel.mm.layout import Enumerator, Struct
from coronel.mm.record import Tables
from coronel.mm.slabs import List, follow

ANY_CPU = 0xFFFF_FFFF
NEVER = (1 << 64) - 1
MOST_QUEUES = 4096
WORD = 8


@dataclass(frozen=True)
class Stack:
    """What a thread runs on; its guard page ends where it begins."""

    bottom: int
    top: int

    def holds(self, address: int) -> bool:
        """Whether an address lies in it; its top, where nothing is pushed yet, counts too."""
        return self.bottom <= address <= self.top


@dataclass(frozen=True)
class Thread:
    """One thread as it was read."""

    record: Struct
    stack: Stack | None  # None: there is no way to it

    @property
    def address(self) -> int:
        """Where its record lies."""
        return self.record.address

    @property
    def number(self) -> int:
        """Its number; no other thread has it ever."""
        return int(self.record["number"])

    @property
    def name(self) -> str:
        """As it was made with."""
        return str(self.record["name"])

    @property
    def label(self) -> str:
        """How problems call it."""
        return f"Thread {self.number}"

    @property
    def state(self) -> Enumerator:
        """ThreadState."""
        found: Enumerator = self.record["state"]
        return found

    @property
    def pinned(self) -> bool:
        """Whether it may run on one CPU only."""
        return int(self.record["pinned"]) != ANY_CPU

    @property
    def on_cpu(self) -> bool:
        """Whether its registers are in a CPU, so that `stack_pointer` says nothing."""
        return int(self.record["on_cpu"]) != 0

    def stack_used(self, tables: Tables) -> int:
        """The most bytes of its stack that were ever in use; DecodeError when it cannot be read."""
        if self.stack is None:
            raise DecodeError(f"{self.label} has no stack")
        first = self.stack.bottom + WORD  # above the canary
        data = tables.memory.read(first, self.stack.top - first)
        return -(-len(data.lstrip(b"\0")) // WORD) * WORD


@dataclass(frozen=True)
class Queue:
    """A locked list of threads as it was followed."""

    label: str  # how problems call what it is part of
    field: str
    record: Struct  # LockedList
    followed: List
    members: tuple[int, ...]  # addresses of Threads

    @property
    def locked(self) -> bool:
        """Whether a CPU stopped while it worked on it."""
        return int(self.record["word"]) != 0

    @property
    def size(self) -> int:
        """How many members it says that it has."""
        return int(self.record["list"]["size"])


@dataclass(frozen=True)
class Cpu:
    """One CPU that runs."""

    number: int  # its place in the table
    block: Struct  # PerCpu
    home: Struct  # Cpu
    queue: Struct  # RunQueue
    ready: Queue
    sleepers: Queue

    @property
    def label(self) -> str:
        """How problems call it."""
        return f"Cpu {self.number}"


@dataclass(frozen=True)
class Waiters:
    """The threads that wait on words of one hash."""

    number: int
    record: Struct  # WaitQueue
    queue: Queue


@dataclass
class Tasks:
    """What was read. What could not be is in `unreadable`."""

    tables: Tables
    record: Struct  # KernelRecord
    all_threads: Queue
    threads: dict[int, Thread] = field(default_factory=dict)  # by address, in the order of their list
    cpus: list[Cpu] = field(default_factory=list)
    waiters: list[Waiters] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)  # what, and why

    def running_on(self, cpu: Cpu) -> Thread | None:
        """The thread that a CPU says it runs."""
        return self.threads.get(int(cpu.block["thread"]))

    def queues(self) -> Iterator[Queue]:
        """Every queue that a thread may be in, all but the list of all."""
        for cpu in self.cpus:
            yield cpu.ready
            yield cpu.sleepers
        for one in self.waiters:
            yield one.queue

    def held(self) -> Iterator[tuple[str, Struct]]:
        """The lock ranks of CPUs and threads: (who, HeldRanks)."""
        for cpu in self.cpus:
            yield f"CPU {cpu.number}", cpu.block["held_spin"]
        for thread in self.threads.values():
            yield thread.name, thread.record["held"]

    def waiting(self) -> Iterator[tuple[str, Struct]]:
        """Who waits for a lock: (who, HeldRanks). Only kernels that check locks know."""
        return ((who, held) for who, held in self.held() if held["wanted"] and held["holder"])


@dataclass(frozen=True)
class Registers:
    """Of one CPU that stands still, what tells where it is."""

    ip: int
    stack_pointer: int
    frame: int
    interrupts_on: bool


# Of each CPU, by the address of its PerCpu, where %gs points.
CpuRegisters = Mapping[int, Registers]


def read_tasks(tables: Tables) -> Tasks:
    """Reads everything. DecodeError only where there is nothing to read: a kernel without threads yet, or no
    way to their list.
    """
    pointer = int(tables.manager()["home"])
    if pointer == 0:
        raise DecodeError(
            "there are no CPUs and threads to be seen: this is no kernel, only its memory manager"
        )
    record = tables.read("KernelRecord", pointer)
    if record["threads"] == 0:
        raise DecodeError("the kernel has no threads yet: let it come to its prompt first")
    everything = tables.read("LockedList", record["threads"])
    found = Tasks(tables, record, _queue(tables, "ThreadList", "list", everything, "list_link"))
    for address in found.all_threads.members:
        _read_thread(found, address)
    for number, address in enumerate(tables.cpus):
        try:
            found.cpus.append(_read_cpu(found, number, address))
        except DecodeError as error:
            found.unreadable[f"Cpu {number}"] = str(error)
    for cpu in found.cpus:  # known by their CPU, too, where the list does not lead to them
        for address in (cpu.home.address_of("idle"), int(cpu.block["thread"])):
            if address and address not in found.threads:
                _read_thread(found, address)
    _read_waiters(found)
    return found


def _queue(tables: Tables, label: str, field_name: str, record: Struct, link: str) -> Queue:
    """Follows a LockedList whose members are linked by that field of Thread."""
    offset = tables.type("Thread")[link].offset
    followed = follow(tables, record["list"])
    return Queue(label, field_name, record, followed, tuple(node - offset for node in followed.members))


def _read_thread(found: Tasks, address: int) -> None:
    try:
        record = found.tables.read("Thread", address)
    except DecodeError as error:
        found.unreadable[f"Thread at {address:#x}"] = str(error)
        return
    found.threads[address] = Thread(record, _stack_of(found.tables, record))


def _stack_of(tables: Tables, thread: Struct) -> Stack | None:
    stack = Stack(int(thread["stack"]["bottom"]), int(thread["stack"]["top"]))
    if stack.top - stack.bottom != tables.option("kernel_stack_kib") << 10:
        return None
    try:
        tables.memory.read(stack.bottom, 8)
        tables.memory.read(stack.top - 8, 8)
    except DecodeError:
        return None
    return stack


def _read_cpu(found: Tasks, number: int, address: int) -> Cpu:
    tables, kind = found.tables, found.tables.type("RunQueue")
    block = tables.read("PerCpu", address)
    home = tables.read("Cpu", block["home"])
    queue = tables.read(kind, int(found.record["run_queues"]) + number * kind.size)
    label = f"RunQueue {number}"
    return Cpu(
        number,
        block,
        home,
        queue,
        _queue(tables, label, "ready", queue["ready"], "queue_link"),
        _queue(tables, label, "sleepers", queue["sleepers"], "timer_link"),
    )


def _read_waiters(found: Tasks) -> None:
    tables, kind = found.tables, found.tables.type("WaitQueue")
    count = min(int(found.record["wait_queue_count"]), MOST_QUEUES)
    try:
        for number in range(count):
            record = tables.read(kind, int(found.record["wait_queues"]) + number * kind.size)
            queue = _queue(tables, f"WaitQueue {number}", "waiters", record["waiters"], "queue_link")
            found.waiters.append(Waiters(number, record, queue))
    except DecodeError as error:
        found.unreadable["WaitQueues"] = str(error)
