"""What can go wrong, as one tree.

    CoronelError
    ├── UsageError          an argument makes no sense                                  exit 2
    ├── SetupError          the environment lacks something: QEMU, /dev/kvm, a library  exit 3
    ├── ArtifactError       a kernel or image is missing, unreadable, cut or wrong      exit 3
    ├── GuestError          a running guest failed                                      exit 1
    │   ├── BootTimeout     it did not do in time what was waited for                   exit 4
    │   ├── KernelPanic     the kernel stopped itself (also an MMError)                 exit 1
    │   └── ProtocolError   COM2 spoke nonsense                                         exit 1
    │       └── MonitorError    QMP did, or refused a command                           exit 3
    ├── DecodeError         bytes of memory do not mean what they should                exit 1
    ├── ValidationError     two views of the same state disagree                        exit 1
    └── MMError             the memory manager refused an operation                     exit 1

The first line of every text is one sentence that says what was wrong; `summary` is that line. `exit_status`
is what the command `coronel` ends with.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar


class CoronelError(Exception):
    """Anything that this package reports on purpose. Never raised itself."""

    exit_status: ClassVar[int] = 1

    @property
    def summary(self) -> str:
        """The first line: one sentence, without the report."""
        return str(self).partition("\n")[0]


class UsageError(CoronelError, ValueError):
    """An argument makes no sense, whatever the environment. Nothing was started."""

    exit_status = 2


class SetupError(CoronelError):
    """The environment lacks something. The text says what, and what to do about it."""

    exit_status = 3


class ArtifactError(CoronelError):
    """The kernel's ELF file or image is missing, unreadable, damaged, or breaks a promise."""

    exit_status = 3


@dataclass(frozen=True)
class GuestReport:
    """What a guest showed at the moment of an error. Empty texts are unknown and not printed."""

    serial: str = ""  # the last 40 lines of COM1, unprintable bytes escaped
    registers: str = ""  # of every CPU, as QEMU prints them
    counters: str = ""
    threads: str = ""  # every thread and where it is
    process: str = ""  # how QEMU ended, or that it runs
    stderr: str = ""  # what QEMU itself complained about
    command: str = ""  # a line for a shell that starts the same machine with the console in the terminal

    TITLES: ClassVar[dict[str, str]] = {
        "serial": "serial console (COM1), last lines",
        "registers": "registers",
        "counters": "counters",
        "threads": "threads",
        "process": "QEMU",
        "stderr": "QEMU's standard error",
        "command": "to repeat by hand",
    }

    def sections(self) -> list[tuple[str, str]]:
        """Pairs of title and text, of what is known."""
        found = ((self.TITLES[field.name], getattr(self, field.name)) for field in fields(self))
        return [(title, text) for title, text in found if text]

    def __str__(self) -> str:
        return "\n".join(f"--- {title}\n{text}" for title, text in self.sections())


class GuestError(CoronelError):
    """A running guest failed. `report` holds what it showed; `str()` is the message and the report."""

    def __init__(self, message: str, report: GuestReport | None = None) -> None:
        super().__init__(message)
        self.report = report or GuestReport()

    def __str__(self) -> str:
        return "\n".join(filter(None, (str(self.args[0]), str(self.report))))


class BootTimeout(GuestError):  # noqa: N818  # named for what happened
    """The guest did not do in time what was waited for. It was sent an NMI first, so it could say why."""

    exit_status = 4


class ProtocolError(GuestError):
    """COM2 spoke nonsense, and went on after the repeats that docs/formats.md section 2 allows."""


class MonitorError(ProtocolError):
    """QMP refused a command, did not answer, or is not QMP at all."""

    exit_status = 3


class DecodeError(CoronelError):
    """Bytes of memory do not mean what they should: unmapped, outside RAM, wrong magic, unknown version."""


class ValidationError(CoronelError):
    """Two views of the same state disagree. The text shows both."""


class MMError(CoronelError):
    """The memory manager refused an operation. `errno` is Linux's number, 0 where there is none."""

    def __init__(self, message: str, errno: int = 0) -> None:
        super().__init__(message)
        self.errno = errno


class KernelPanic(GuestError, MMError):  # noqa: N818  # named for what happened
    """The kernel stopped itself. `reason` is its own word for why."""

    def __init__(self, message: str, report: GuestReport | None = None, reason: str = "") -> None:
        GuestError.__init__(self, message, report)
        self.errno = 0
        self.reason = reason
