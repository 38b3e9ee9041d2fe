"""How a guest ended, judged from everything that saw it: exit status, QMP events and what the kernel said on
COM2.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Cause(Enum):
    """Why QEMU is no longer there."""

    poweroff = "poweroff"
    reboot = "reboot"
    panic = "panic"
    unusable = "unusable"
    crash = "crash"
    code = "code"
    failed = "failed"
    quit = "quit"
    killed = "killed"


@dataclass(frozen=True)
class Ending:
    """How it ended, in one clause: "the guest {text}". `status` is QEMU's, negative for a signal."""

    cause: Cause
    status: int
    text: str


# docs/formats.md section 3
_STATUSES = {33: Cause.poweroff, 35: Cause.panic, 37: Cause.unusable}
_TEXTS = {
    Cause.poweroff: "powered off",
    Cause.panic: "panicked",
    Cause.unusable: "found its boot information or its machine unusable",
    Cause.reboot: "rebooted",
}


def judge(  # a list of verdicts, read from the top
    status: int, monitor_events: Sequence[Mapping[str, Any]], said: Sequence[Mapping[str, Any]], stderr: str
) -> Ending:
    """The verdict. `said` are the kernel's own events. A reset it did not announce is a crash."""
    announced = {event.get("event") for event in said}
    reasons = [event["data"].get("reason") for event in monitor_events if event.get("event") == "SHUTDOWN"]
    if status < 0:
        return Ending(Cause.killed, status, f"is gone: QEMU was killed by {signal.Signals(-status).name}")
    if status in _STATUSES:
        return Ending(_STATUSES[status], status, _TEXTS[_STATUSES[status]])
    if "guest-reset" in reasons:
        if "reboot" in announced:
            return Ending(Cause.reboot, status, _TEXTS[Cause.reboot])
        return Ending(Cause.crash, status, "reset without announcing it (a triple fault, most likely)")
    if "guest-panic" in reasons or "panic" in announced:
        return Ending(Cause.panic, status, _TEXTS[Cause.panic])
    if "guest-shutdown" in reasons and "poweroff" in announced and status == 0:
        return Ending(Cause.poweroff, status, _TEXTS[Cause.poweroff])
    if status == 0:
        return Ending(Cause.quit, status, "is gone: QEMU was told to quit")
    if stderr.strip():
        return Ending(Cause.failed, status, f"is gone: QEMU gave up with {stderr.strip().splitlines()[-1]!r}")
    value = f", value {status >> 1:#x}" if status & 1 else ""
    return Ending(Cause.code, status, f"ended by itself with exit status {status}{value}")
