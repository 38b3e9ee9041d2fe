"""`coronel run`: boots Coronel with its console in this terminal, or feeds it the lines of a file.

In a terminal the keys are QEMU's: Ctrl-A X quits, Ctrl-A C reaches QEMU's monitor, Ctrl-A H lists the others.
Input that comes from a pipe or a file is typed line by line, each at the prompt; the machine ends at
`poweroff` or after the last line.
"""

from __future__ import annotations

import argparse
import os
import queue
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from coronel.checkout import add_build_arguments
from coronel.errors import CoronelError, GuestError, SetupError

if TYPE_CHECKING:
    from coronel.guest import Ending, Guest, GuestOptions


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "run", help="boot it with the console in this terminal", description=__doc__
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--kernel", type=Path, metavar="ELF", help="start this kernel directly, without a boot loader"
    )
    what.add_argument("--iso", type=Path, help="start this image (default: build/PROFILE/coronel.iso)")
    what.add_argument("--direct", action="store_true", help="start build/PROFILE/coronel.elf directly")
    add_build_arguments(parser)
    parser.add_argument(
        "--memory", default="256M", metavar="SIZE", help="RAM, 2M to 512G (default: %(default)s)"
    )
    parser.add_argument("--cpus", type=int, metavar="N", help="(default: 2; with --icount 1)")
    parser.add_argument("--machine", help="pc or q35 (default: pc; q35 under UEFI)")
    parser.add_argument("--firmware", default="bios", help="bios or uefi (default: %(default)s)")
    parser.add_argument(
        "--cpu", default="max", metavar="MODEL", help="QEMU's CPU model (default: %(default)s)"
    )
    parser.add_argument(
        "--cmdline", default="", metavar="TEXT", help="the kernel's command line; implies --direct"
    )
    parser.add_argument("--module", type=Path, metavar="FILE", help="a boot module; implies --direct")
    parser.add_argument("--icount", type=int, metavar="SHIFT", help="count instructions: 2^SHIFT ns each")
    parser.add_argument("--accel", default="tcg", help="tcg or kvm (default: %(default)s)")
    parser.add_argument(
        "--gdb", type=Path, metavar="SOCKET", help="stand still until GDB, at this socket, continues"
    )
    parser.add_argument(
        "--qemu", default=None, metavar="PROGRAM", help="(default: $QEMU or qemu-system-x86_64)"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="for each piped line (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Boots as told. 0 when the machine was left in good order, 1 when it failed."""
    if given.timeout <= 0:
        from coronel.errors import UsageError  # noqa: PLC0415

        raise UsageError(f"timeout {given.timeout:g} is out of range: seconds, more than 0")
    if sys.stdin.isatty() and sys.stdout.isatty():
        return _interactive(given)
    return _piped(given)


def _options(given: argparse.Namespace, *, terminal: bool) -> GuestOptions:
    from coronel.guest import GuestOptions, Wiring  # noqa: PLC0415  # 0.15 s that --help need not pay

    folder = given.build / given.profile
    kernel, iso = given.kernel, given.iso
    if kernel is None and iso is None:
        if given.direct or given.cmdline or given.module:
            kernel = folder / "coronel.elf"
        else:
            iso = folder / "coronel.iso"
    chosen = {"qemu": given.qemu} if given.qemu else {}
    return GuestOptions(
        kernel=kernel,
        iso=iso,
        memory=given.memory,
        # Counted instructions are of one thread of QEMU: a second CPU would only take turns with the first.
        cpus=given.cpus if given.cpus is not None else 1 if given.icount is not None else 2,
        machine=given.machine or ("q35" if given.firmware == "uefi" else "pc"),
        firmware=given.firmware,
        cpu=given.cpu,
        cmdline=given.cmdline,
        modules=(given.module,) if given.module else (),
        icount=given.icount,
        accel=given.accel,
        gdb=given.gdb,
        wiring=Wiring.terminal if terminal else Wiring.program,
        **chosen,
    )


def _judge(ending: Ending) -> int:
    """The exit status for an end that the user brought about or not; a failure is raised."""
    from coronel.guest import Cause  # noqa: PLC0415

    if ending.cause in (Cause.poweroff, Cause.quit):
        return 0
    raise GuestError(f"the guest {ending.text}")


def _start(guest: Guest, given: argparse.Namespace) -> None:
    guest.start(paused=given.gdb is not None)
    if given.gdb is not None:
        print(f"coronel: waiting for GDB: target remote {given.gdb}", file=sys.stderr)


def _interactive(given: argparse.Namespace) -> int:
    """QEMU has the terminal; this process only watches. A reboot that the kernel announced boots again."""
    import termios  # noqa: PLC0415

    from coronel.guest import Cause, Guest  # noqa: PLC0415

    options = _options(given, terminal=True)
    print("coronel: Ctrl-A X quits, Ctrl-A H helps", file=sys.stderr)
    saved = termios.tcgetattr(sys.stdin)
    try:
        while True:
            guest = Guest(options)
            try:
                _start(guest, given)
                ending = guest.wait_ended(float("inf"))
            finally:
                guest.close()
            if ending.cause is not Cause.reboot:
                return _judge(ending)
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, saved)


def _piped(given: argparse.Namespace) -> int:
    from coronel.guest import Cause, Guest  # noqa: PLC0415

    printer = _Printer()
    guest = Guest(_options(given, terminal=False), timeout=given.timeout)
    guest.console.tap = printer
    try:
        _start(guest, given)
        _feed(guest)
    except GuestError as error:
        # An end is what the last line may have been for.
        if guest.ending is None or guest.ending.cause is not Cause.poweroff:
            raise _without_serial(error) from None
    finally:
        guest.close()
        printer.finish()
    return 0


def _feed(guest: Guest) -> None:
    """Types standard input, line by line, each at the prompt; the last prompt ends it. The guest's end does,
    too.
    """
    lines: queue.SimpleQueue[bytes] = (
        queue.SimpleQueue()
    )  # an empty line is the end: lines keep their line ends

    def read() -> None:
        # Not through sys.stdin: a thread inside its lock would abort the interpreter's end.
        rest = b""
        while data := os.read(0, 65536):
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                lines.put(line + b"\n")
        if rest:
            lines.put(rest)
        lines.put(b"")

    def next_line() -> bytes | None:
        with suppress(queue.Empty):
            return lines.get_nowait()
        return None

    # A thread of its own: a guest that fails must be noticed while the input has nothing to say.
    threading.Thread(target=read, daemon=True, name="coronel-input").start()
    while True:
        guest.shell.wait_prompt()
        line = guest.wait(next_line, "a line of input", float("inf"))
        if not line:
            return
        guest.shell.type(line.rstrip(b"\r\n"))


def _without_serial(error: GuestError) -> CoronelError:
    """The same error without the console's last lines, which have just been printed."""
    from dataclasses import replace  # noqa: PLC0415

    error.report = replace(error.report, serial="")
    return error


class _Printer:
    """Prints what the console says as it comes, unchanged, and ends its last line."""

    def __init__(self) -> None:
        self._last = b"\n"

    def __call__(self, data: bytes) -> None:
        """Prints; BrokenPipeError when nobody reads any more."""
        last, self._last = data[-1:], b"\n"
        try:
            while data:
                data = data[os.write(1, data) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise SetupError(f"the output cannot be written: {error.strerror}") from None
        self._last = last

    def finish(self) -> None:
        """Leaves the cursor at the beginning of a line. After the guest has been closed."""
        if self._last != b"\n":
            self(b"\n")
