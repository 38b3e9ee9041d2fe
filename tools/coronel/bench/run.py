"""A whole run: measures rows, profiles what missed, says what it was taken on."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from coronel.bench import boot, guest, held, host, profile, python
from coronel.bench.result import Figure, Measured, Result, Share, shares
from coronel.bench.rows import GUARDED, RELEASE, ROWS, BootTime, GuestCase, HostCase, Row
from coronel.checkout import ROOT
from coronel.errors import UsageError
from coronel.guest import process

SHARES_KEPT = 12
Say = Callable[[str], None]


def chosen(words: Sequence[str]) -> list[Row]:
    """The rows whose group, name or case holds one of the words; all without words."""
    if not words:
        return list(ROWS)
    found = [row for row in ROWS if any(word in f"{row.group} {row.name} {row.source}" for word in words)]
    if not found:
        raise UsageError(f"no row has {' or '.join(words)} in its group, name or case")
    return found


def run(rows: Sequence[Row], build: Path, say: Say, *, profiles: bool = True) -> Result:
    """Measures the rows of a build, those of the guarded profile on the build of that name beside it. Misses
    are profiled, where a profile can be taken.
    """
    measured: dict[Row, Measured] = {}
    unguarded, guarded = ([row for row in rows if row.profile == one] for one in (RELEASE, GUARDED))
    bodies: list[tuple[str, Callable[[], dict[Row, Measured]]]] = [
        ("in a guest", lambda: guest.measure(unguarded, elf_for(RELEASE, build))),
        ("in a guarded guest", lambda: guest.measure(guarded, elf_for(GUARDED, build))),
        ("CPUs at once", lambda: guest.measure_cpus(rows, build / "coronel.elf")),
        ("rates", lambda: guest.measure_rates(rows, build / "coronel.elf")),
        ("boots", lambda: boot.measure(rows, build)),
        ("on the host", lambda: host.measure(rows)),
        ("what the host's programs tell", lambda: host.measure_figures(rows)),
        ("what is held", lambda: held.measure(rows, build)),
        ("from Python", lambda: python.measure(rows, build)),
    ]
    for name, body in bodies:
        say(f"measuring {name}")
        measured |= body()
    commit = commit_text()
    figures = []
    for row in rows:
        figure = Figure.of(row, measured[row], commit)
        if profiles and figure.missed:
            say(f"profiling {row.name}")
            figure = Figure.of(row, measured[row], commit, profile_of(row, build)[:SHARES_KEPT])
        figures.append(figure)
    taken = time.strftime("%Y-%m-%d", time.gmtime())
    return Result(taken, commit, build.name, machine_text(), tuple(figures))


def elf_for(profile: str, build: Path) -> Path:
    """The kernel that rows of a profile are measured on: the build's for release, else its neighbour's."""
    return (build if profile == RELEASE else build.parent / profile) / "coronel.elf"


def profile_of(row: Row, build: Path) -> tuple[Share, ...]:
    """By function, or by phase of a boot; nothing for a row that is a plain count."""
    if isinstance(row.source, GuestCase):
        elf = elf_for(row.profile, build)
        taken = profile.take(elf, row.source, row.source.rounds)
        return shares(taken.by_function(profile.places_of(elf, taken.counts)), taken.operations)
    if isinstance(row.source, BootTime):
        spent = boot.phases(row.source.start, build)
        total = sum(spent.values())
        return tuple(Share(name, round(each, 3), round(each / total, 4)) for name, each in spent.items())
    if isinstance(row.source, HostCase):
        return shares(*host.profile(row.source, by_line=False))
    return ()


def commit_text() -> str:
    """The commit that is checked out, with a + when what is measured differs from it."""
    commit = _output("git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD")
    if not commit:
        return "unknown"
    measured = ("boot", "kernel", "mm", "linker.ld", "Makefile", "bench/host")
    changed = _output("git", "-C", str(ROOT), "status", "--porcelain", "--", *measured)
    return commit + ("+" if changed else "")


def machine_text() -> dict[str, str]:
    """What the figures depend on."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        "",
    )
    system = next((line[13:-1] for line in _lines("/etc/os-release") if line.startswith("PRETTY_NAME=")), "")
    return {
        "CPU": f"{cpu or platform.machine()} ({os.cpu_count()})",
        "system": system or platform.system(),
        "QEMU": _version(process.default_qemu()),
        "g++": _output("g++", "-dumpfullversion"),
    }


def _version(program: str) -> str:
    words = _output(program, "--version").split()
    return words[3] if len(words) > 3 else "unknown"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
