"""`make doctor`: what it finds, and that it changes nothing."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.tools.conftest import Machine

ROOT = Path(__file__).resolve().parents[2]


def snapshot(*folders: Path) -> dict[Path, tuple[int, int]]:
    return {
        path: (path.lstat().st_mtime_ns, stat.S_IFMT(path.lstat().st_mode))
        for folder in folders
        for path in [folder, *folder.rglob("*")]
    }


def test_doctor_on_a_bare_machine_changes_nothing(machine: Machine) -> None:
    before = snapshot(machine.checkout, machine.sysroot)
    report = machine.run(script="doctor.sh")
    assert report.code == 1
    assert snapshot(machine.checkout, machine.sysroot) == before
    assert list(report.calls) == []
    for name in [
        *machine.RUN_TOOLS,
        "gdb",
        "grub-pc-bin",
        "grub-efi-amd64-bin",
        "ovmf",
        "python3",
        "clang++-16",
    ]:
        assert any(line.split()[:2] == [name, "MISSING"] for line in report.text.splitlines()), name
    assert "make run        lacks" in report.text


def test_doctor_on_a_ready_machine(machine: Machine) -> None:
    machine.complete()
    machine.install("gdb")
    machine.run("test")
    before = snapshot(machine.checkout, machine.sysroot)
    report = machine.run(script="doctor.sh")
    assert snapshot(machine.checkout, machine.sysroot) == before
    assert "make test       ready" in report.text
    assert "make fuzz       lacks" in report.text
    assert any(line.split()[:2] == ["gdb", "1.2.3"] for line in report.text.splitlines())


def test_doctor_finds_what_does_not_run_and_what_differs(machine: Machine) -> None:
    machine.complete()
    machine.install("gdb")
    machine.run("test")
    machine.install(
        "xorriso", text="#!/bin/sh\necho 'libburn.so.4: cannot open shared object file' >&2\nexit 127\n"
    )
    packages = machine.checkout / ".venv/lib/python3.11/site-packages"
    (packages / "pytest-1.0.dist-info").mkdir()
    report = machine.run(script="doctor.sh")
    assert report.code == 1
    assert "DOES NOT RUN   libburn.so.4" in report.text
    assert any(
        line.split()[:2] == ["pytest", "1.0"] and "the lock says" in line for line in report.text.splitlines()
    )


def test_doctor_of_this_checkout_agrees_with_the_lock() -> None:
    if not (ROOT / ".venv/coronel.installed").exists():
        pytest.skip("this checkout's .venv was not made by tools/bootstrap.sh")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CORONEL_")}
    report = subprocess.run(
        ["sh", "tools/doctor.sh"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert "the lock says" not in report.stdout
    assert sys.version.split()[0] in report.stdout or "/usr/bin/python3" in report.stdout
