"""Coronel's laboratory: boots the kernel, drives it, and reads its whole memory state as typed objects.

    from coronel import Guest, KernelState

    with Guest(memory="64M") as guest:
        guest.wait_ready()
        print(guest.shell.run("meminfo"))
        print(KernelState(guest).walk().summary())

The names below are imported when they are first used, so that `import coronel` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coronel.artifact import Artifact
    from coronel.errors import (
        ArtifactError,
        BootTimeout,
        CoronelError,
        DecodeError,
        GuestError,
        KernelPanic,
        MMError,
        ProtocolError,
        ValidationError,
    )
    from coronel.guest import Channel, Guest, GuestOptions, Shell
    from coronel.memory import Memory
    from coronel.mm.host import HostMachine
    from coronel.mm.kernel import KernelState
    from coronel.mm.record import Tables
    from coronel.mm.walker import Walk

__version__ = "0.1.0"

_HOMES = {
    "Artifact": "coronel.artifact",
    "ArtifactError": "coronel.errors",
    "BootTimeout": "coronel.errors",
    "Channel": "coronel.guest",
    "CoronelError": "coronel.errors",
    "DecodeError": "coronel.errors",
    "Guest": "coronel.guest",
    "GuestError": "coronel.errors",
    "GuestOptions": "coronel.guest",
    "HostMachine": "coronel.mm.host",
    "KernelPanic": "coronel.errors",
    "KernelState": "coronel.mm.kernel",
    "MMError": "coronel.errors",
    "Memory": "coronel.memory",
    "ProtocolError": "coronel.errors",
    "Shell": "coronel.guest",
    "Tables": "coronel.mm.record",
    "ValidationError": "coronel.errors",
    "Walk": "coronel.mm.walker",
}

__all__ = [
    "Artifact",
    "ArtifactError",
    "BootTimeout",
    "Channel",
    "CoronelError",
    "DecodeError",
    "Guest",
    "GuestError",
    "GuestOptions",
    "HostMachine",
    "KernelPanic",
    "KernelState",
    "MMError",
    "Memory",
    "ProtocolError",
    "Shell",
    "Tables",
    "ValidationError",
    "Walk",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'coronel' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
