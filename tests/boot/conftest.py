"""Fixtures of the boot tests: tiny guests that do one thing, compiled when they are asked for; free blocks
sent home.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from coronel.guest import Guest
from coronel.mm.kernel import KernelState
from coronel.pytest_plugin import Build

SOURCES = Path(__file__).parent / "guests"
FLAGS = """
    -m32 -std=gnu++20 -O1 -ffreestanding -fno-exceptions -fno-rtti -fno-pic -fno-pie -fno-stack-protector
    -fcf-protection=none -mgeneral-regs-only -fno-asynchronous-unwind-tables -Wall -Wextra -Werror
    -nostdlib -static -no-pie -Wl,--build-id=none -Wl,-z,noexecstack
"""

TinyGuest = Callable[..., Path]


@pytest.fixture
def kernel(guest: Guest, artifact: Build) -> KernelState:
    """The state of the guest's kernel, at its first prompt."""
    guest.wait_ready()
    return KernelState(guest, artifact.artifact)


@pytest.fixture(scope="session")
def tiny_guest(tmp_path_factory: pytest.TempPathFactory) -> TinyGuest:
    """`tiny_guest("behaviours", RUN="silent")`: the path of that source, compiled with these definitions."""
    folder = tmp_path_factory.mktemp("guests")

    def build(source: str, **definitions: object) -> Path:
        words = [f"{name}={value}" for name, value in definitions.items()]
        target = folder / ("-".join([source, *words]) + ".elf")
        if not target.exists():
            inputs = [SOURCES / "start.S", SOURCES / f"{source}.cpp"]
            command = [
                "g++",
                *FLAGS.split(),
                f"-Wl,-T,{SOURCES / 'guest.ld'}",
                *(f"-D{word}" for word in words),
            ]
            done = subprocess.run(
                [*command, *inputs, "-o", target], capture_output=True, text=True, timeout=60, check=False
            )
            assert done.returncode == 0, done.stderr
        return target

    return build


@pytest.fixture(scope="session")
def broken(tiny_guest: TinyGuest) -> TinyGuest:
    """`broken("silent")`: a guest of behaviours.cpp."""

    def build(name: str, value: int = 0) -> Path:
        return tiny_guest("behaviours", RUN=name, VALUE=value)

    return build
