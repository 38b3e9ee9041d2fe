"""`Guest`: one machine in QEMU, from its first instruction to its last, and everything that can be seen of
it.

    with Guest(kernel="build/release/coronel.elf", memory="64M") as guest:
        guest.channel.call("meminfo")          # typed, checked, over COM2
        guest.shell.run("meminfo")             # as a person sees it, over COM1
        with guest.paused():
            guest.ram.read(0x100000, 16)       # raw RAM, no one asked

Its RAM is a memfd, its ports are pipes and a socket pair: no path, no port number, nothing to clean up. QEMU
dies with this process, however that ends.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from coronel.errors import (
    BootTimeout,
    CoronelError,
    GuestError,
    GuestReport,
    KernelPanic,
    MonitorError,
    SetupError,
    UsageError,
)
from coronel.guest import process, registers
from coronel.guest.channel import Channel
from coronel.guest.console import Console, printable
from coronel.guest.ending import Cause, Ending, judge
from coronel.guest.monitor import Monitor
from coronel.guest.options import GuestOptions, Wiring
from coronel.guest.registers import Registers
from coronel.guest.shell import Shell
from coronel.guest.watch import Watch
from coronel.mappings import Mapping as PageMapping
from coronel.mappings import mappings
from coronel.memory import KernelMemory, PhysicalMemory

MINIMUM_QEMU = (7, 2)  # Debian 12's; older ones were never tried
PANIC_GRACE = 3.0  # seconds a panicking kernel has to finish its report
NMI_GRACE = 1.0  # seconds a hung kernel has to explain itself
STALL = 0.25  # seconds of silence inside a record after which its rest is lost
CLOSE_TIMEOUT = 3.0
_CR4_LA57 = 1 << 12


def _levels(cpu: Registers) -> int:
    return 5 if cpu["cr4"] & _CR4_LA57 else 4


class Guest:
    """A machine. Make it, enter it (or `start()`), use it, leave it (or `close()`).

    `timeout` is the deadline, in seconds, of every wait that names none. Whatever is waited for, the guest's
    failure ends the wait: KernelPanic for a panic, GuestError for a crash or an end, BootTimeout at the
    deadline, each with a `GuestReport`. Methods may be called from any one thread at a time, never from the
    loop's.
    """

    _living: ClassVar[weakref.WeakSet[Guest]] = weakref.WeakSet()

    def __init__(self, options: GuestOptions | None = None, *, timeout: float = 10.0, **fields: Any) -> None:
        self.options = options if options is not None else GuestOptions(**fields)
        self.timeout = timeout
        self.ending: Ending | None = None  # None while it runs
        self.monitor_events: deque[Mapping[str, Any]] = deque(maxlen=1000)
        self.failure_seen = False  # whether its failure has been raised to somebody
        self._watch = Watch(self._failure, self._expire)
        self.console = Console(self._watch, self._send_to("com1"), timeout)
        self.channel = Channel(self._watch, self._send_to("com2"), self.report, timeout)
        self.shell = Shell(self.console, timeout)
        self._process = process.Process()
        self._monitor = Monitor(self._on_monitor_event)
        self._inputs: dict[str, int] = {}
        self._ram_fd = -1
        self._ram: PhysicalMemory | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._pause_depth = 0
        self._panicked_at = 0.0
        self._started_at = 0.0
        self.seconds_to_first_byte: float | None = None

    # -- life

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self, *, paused: bool = False) -> None:
        """Once: starts QEMU, attaches to everything, lets the guest run unless it should stay `paused`."""
        if self._process.pid:
            raise UsageError("this guest was started already: a machine that starts anew is another Guest")
        program = process.find(self.options.qemu)
        try:
            self._launch(program)
            if self._monitor.version < MINIMUM_QEMU:
                found, needed = (".".join(map(str, v)) for v in (self._monitor.version, MINIMUM_QEMU))
                raise SetupError(f"{program} is version {found}: Coronel needs {needed} or later")
            for port in self._inputs:
                self._plug(port)
            Guest._living.add(self)
            if not paused:
                self._started_at = time.monotonic()
                self.qmp("cont")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends QEMU and gives everything back. Can be called at any time and again."""
        Guest._living.discard(self)
        if self._process.pid and self.ending is None:
            with suppress(CoronelError):
                self._monitor.execute("quit", timeout=CLOSE_TIMEOUT)
            if not self._wait_ended(CLOSE_TIMEOUT):
                self._process.kill()
                self._wait_ended(CLOSE_TIMEOUT)
        for fd in self._inputs.values():
            os.close(fd)
        self._inputs.clear()
        if self._ram is not None:
            self._ram.close()
            self._ram = None
        if self._ram_fd >= 0:
            os.close(self._ram_fd)
            self._ram_fd = -1
        if self.options.gdb is not None:
            Path(self.options.gdb).unlink(missing_ok=True)

    # -- what it says

    def wait(self, probe: Callable[[], Any], what: str, timeout: float | None = None) -> Any:
        """The first value of `probe` that is not None; see `Watch.wait`. `what` completes "waiting for"."""
        return self._watch.wait(probe, what, self.timeout if timeout is None else timeout)

    def wait_ready(self, timeout: float | None = None) -> None:
        """Until the kernel has announced its first prompt on COM2. What COM1 shows proves nothing."""
        self.channel.wait_event("ready", timeout)

    def wait_ended(self, timeout: float | None = None) -> Ending:
        """Until QEMU is gone, however it ended: that is for the caller to judge."""
        ending: Ending = self.wait(lambda: self.ending, "the guest's end", timeout)
        self.failure_seen = True
        return ending

    def wait_monitor_event(self, name: str, timeout: float | None = None) -> Mapping[str, Any]:
        """Until QMP has sent an event of that name; a past one counts."""

        def look() -> Mapping[str, Any] | None:
            return next((event for event in self.monitor_events if event["event"] == name), None)

        event: Mapping[str, Any] = self.wait(look, f"the QMP event {name}", timeout)
        return event

    def failure(self, waiting_for: str) -> Exception | None:
        """Why nothing more is to be expected of the guest, as the exception that a wait would raise; None if
        it runs.
        """
        return self._failure(waiting_for)

    # -- what it is

    @property
    def running(self) -> bool:
        """Whether QEMU has been started and not ended (the guest itself may be paused)."""
        return self._process.pid != 0 and self.ending is None

    @property
    def pid(self) -> int:
        """QEMU's process, 0 before the start."""
        return self._process.pid

    @property
    def ram(self) -> PhysicalMemory:
        """Its RAM by physical address, live. Stays readable after the guest has ended, until `close()`."""
        if self._ram is None:
            raise GuestError("the guest's RAM is there from start() to close() only")
        return self._ram

    def kernel_memory(self, root: int | None = None) -> KernelMemory:
        """Its virtual memory as mapped by the tables at physical `root`, by default those that CPU 0 uses
        now.
        """
        cpu = self.registers()[0]
        return KernelMemory(self.ram, cpu["cr3"] if root is None else root, _levels(cpu))

    def mappings(self) -> list[PageMapping]:
        """Everything that the tables map which CPU 0 uses now, read from raw RAM. Pause it before."""
        cpu = self.registers()[0]
        return list(mappings(self.ram, cpu["cr3"], _levels(cpu)))

    def registers(self, timeout: float = 5.0) -> list[Registers]:
        """Of every CPU. Pause the guest first when they have to agree with each other or with memory."""
        return registers.parse(self.hmp("info registers -a", timeout))

    # -- what can be done to it

    def qmp(self, command: str, timeout: float = 10.0, **arguments: Any) -> Any:
        """A QMP command's return value; MonitorError with QMP's text. Underscores in names become hyphens."""
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        return self._monitor.execute(command, named, timeout)

    def hmp(self, line: str, timeout: float = 10.0) -> str:
        """The output of a command of QEMU's human monitor."""
        return str(self.qmp("human-monitor-command", timeout, command_line=line)).replace("\r\n", "\n")

    def resume(self) -> None:
        """Lets a guest run that was started paused."""
        self.qmp("cont")

    @contextmanager
    def paused(self) -> Iterator[None]:
        """All CPUs stand still inside. Nests; a guest that was already stopped stays so."""
        if self._pause_depth == 0:
            was_running = bool(self.qmp("query-status")["running"])
            self.qmp("stop")
        self._pause_depth += 1
        try:
            yield
        finally:
            self._pause_depth -= 1
            if self._pause_depth == 0 and was_running and self.ending is None:
                self.qmp("cont")

    def inject_nmi(self) -> None:
        """A non-maskable interrupt on every CPU."""
        self.qmp("inject-nmi")

    # -- what it leaves

    def report(self) -> GuestReport:
        """Everything that helps to understand its state, as text. Asks a living guest for its registers."""
        return self._report_with("" if self.ending else self._registers_text(), self._state_text())

    def _report_with(self, registers_text: str, state_text: str) -> GuestReport:
        with self._watch.lock:
            return GuestReport(
                serial=self.console.log.tail(),
                registers=registers_text,
                process=state_text,
                stderr=printable(bytes(self._process.stderr)).rstrip(),
                command=self.options.shell_line(),
            )

    def _state_text(self) -> str:
        if self.ending is not None:
            return f"the guest {self.ending.text} (exit status {self.ending.status})"
        return "the guest runs" if self._process.pid else "the guest was never started"

    def _registers_text(self) -> str:
        with suppress(CoronelError):
            return "\n".join(f"CPU {cpu.cpu}\n{cpu.core_text}" for cpu in self.registers(2.0))
        return ""

    # -- inside

    def _launch(self, program: str) -> None:
        size = self.options.memory_bytes
        self._ram_fd = os.memfd_create("coronel-ram", os.MFD_CLOEXEC)
        os.ftruncate(self._ram_fd, size)
        self._ram = PhysicalMemory(self._ram_fd, self.options.segments())
        ours, theirs = socket.socketpair()
        # `share=on`: what the guest writes is what we read.
        backend = f"memory-backend-file,id=ram,mem-path=/dev/fd/{self._ram_fd},size={size},share=on"
        command = [
            program,
            "-machine",
            f"{self.options.machine},memory-backend=ram",
            "-object",
            backend,
            "-S",
        ]
        command += ["-chardev", f"socket,id=qmp,fd={theirs.fileno()}", "-mon", "chardev=qmp,mode=control"]
        command += self.options.machine_arguments()

        receive = {"com1": self._on_console, "com2": self._on_channel}
        if self.options.wiring is Wiring.terminal:
            del receive["com1"]
            command += ["-serial", "mon:stdio"]
        pipes = {port: (process.Pipe(), process.Pipe()) for port in receive}  # into the guest, out of it
        self._inputs = {port: into.write_end for port, (into, _) in pipes.items()}
        self._theirs = {port: (into.read_end, out.write_end) for port, (into, out) in pipes.items()}
        for port in receive:
            command += ["-chardev", f"null,id={port}", "-serial", f"chardev:{port}"]
        handed = [theirs.fileno(), self._ram_fd, *(fd for ends in self._theirs.values() for fd in ends)]
        try:
            self._process.start(
                command,
                inherit=handed,
                readers={pipes[port][1].read_end: receive[port] for port in receive},
                ended=lambda: asyncio.ensure_future(self._on_exit()),
                foreground=self.options.wiring is Wiring.terminal,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            for ends in self._theirs.values():
                for fd in ends:
                    os.close(fd)
        try:
            self._monitor.connect(ours)
        except MonitorError as error:
            raise self._launch_failure(error) from None

    def _launch_failure(self, error: MonitorError) -> CoronelError:
        if not self._wait_ended(1.0):
            return MonitorError(error.summary, self.report())
        text = printable(bytes(self._process.stderr)).strip()
        cause = text.splitlines()[-1] if text else f"exit status {self._process.status}, and no word why"
        return MonitorError(f"QEMU ended before the guest started: {cause}", self.report())

    def _plug(self, port: str) -> None:
        """Connects a serial port to its pipes. QEMU's command line knows no chardev with two files before
        8.1.
        """
        source, sink = self._theirs[port]
        data = {"in": f"/dev/fd/{source}", "out": f"/dev/fd/{sink}"}
        self.qmp("chardev-change", id=port, backend={"type": "file", "data": data})

    def _send_to(self, port: str) -> Callable[[bytes], None]:
        def send(data: bytes) -> None:
            fd = self._inputs.get(port)
            if fd is None:
                raise GuestError(
                    f"{port.upper()} is not connected: the guest was not started, or has been closed"
                )
            os.set_blocking(fd, False)
            deadline = time.monotonic() + self.timeout
            while data:
                failure = self._failure(f"room in {port.upper()}'s input")
                if failure is not None:
                    raise failure
                if time.monotonic() > deadline:
                    raise self._expire(f"the guest to read {port.upper()}", self.timeout)
                if select.select([], [fd], [], 0.1)[1]:
                    try:
                        data = data[os.write(fd, data) :]
                    except BrokenPipeError:
                        time.sleep(0.01)  # QEMU is gone; the loop will have noticed by the next turn

        return send

    def _on_console(self, data: bytes) -> None:
        if self.seconds_to_first_byte is None:
            self.seconds_to_first_byte = time.monotonic() - self._started_at
        self.console.receive(data)

    def _on_channel(self, data: bytes) -> None:
        self.channel.receive(data)
        if self._stall is not None:
            self._stall.cancel()
        if self.channel.decoder.unfinished:
            self._stall = asyncio.get_running_loop().call_later(STALL, self.channel.stalled)
        if not self._panicked_at and self.channel.event("panic") is not None:
            self._on_panic()

    def _on_monitor_event(self, event: Mapping[str, Any]) -> None:
        with self._watch.lock:
            self.monitor_events.append(event)
            self._watch.changed()
        if event["event"] == "GUEST_PANICKED" and not self._panicked_at:
            self._on_panic()

    def _on_panic(self) -> None:
        with self._watch.lock:
            self._panicked_at = time.monotonic()
            self._watch.grace_until = self._panicked_at + PANIC_GRACE
            self._watch.changed()

    async def _on_exit(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._monitor.finished(), 2.0)
        status = self._process.status
        assert status is not None
        with self._watch.lock:
            stderr = printable(bytes(self._process.stderr))
            self.ending = judge(status, list(self.monitor_events), list(self.channel.events), stderr)
            self._watch.changed()

    def _wait_ended(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        with self._watch.lock:
            while self.ending is None:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return False
                self._watch.lock.wait(remaining)
        return True

    def _failure(self, what: str) -> Exception | None:
        """Why nothing more is to be expected of the guest, or None."""
        with self._watch.lock:
            ending, panicked = self.ending, self._panicked_at
        if ending is None:
            if not panicked or time.monotonic() < panicked + PANIC_GRACE:
                return None
            self.failure_seen = True
            return self._panic(what, " and did not leave the machine")
        self.failure_seen = True
        if ending.cause is Cause.panic:
            return self._panic(what, "")
        return GuestError(f"the guest {ending.text}, while waiting for {what}", self.report())

    def _panic(self, what: str, more: str) -> KernelPanic:
        event = self.channel.event("panic") or {}
        reason = str(event.get("reason") or event.get("why") or "")
        because = f": {reason}" if reason else ""
        return KernelPanic(
            f"the kernel panicked{more}{because} (while waiting for {what})", self.report(), reason
        )

    def _expire(self, what: str, timeout: float) -> Exception:
        """A deadline has passed: take the registers, ask the guest by NMI, listen for a moment, then say it
        all.
        """
        state, registers_text = self._state_text(), self._registers_text()
        with suppress(CoronelError):
            self.inject_nmi()
            if not self._wait_ended(NMI_GRACE) and self._panicked_at:
                self._wait_ended(PANIC_GRACE)  # it has begun to explain: let it finish
            state += f"; after an NMI: {self._state_text()}"
        self.failure_seen = True
        silent = "" if self.console.log.total else "; the guest has said nothing at all on its console"
        return BootTimeout(
            f"no sign of {what} within {timeout:g} s{silent}", self._report_with(registers_text, state)
        )

    @classmethod
    def living(cls) -> list[Guest]:
        """Every guest of this process that has been started and not closed."""
        return list(cls._living)
