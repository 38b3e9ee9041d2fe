"""Every CPU at work on the same memory: frames, translations, ranges, objects and threads.

The full run, in the release kernel: 20 million operations on blocks of frames, more than 200 000 shootdowns.

    CORONEL_STRESS=20000000 make test PYTEST="-k test_all_paths_on_all_cpus"
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from coronel.guest import Guest
from coronel.mm.kernel import KernelState
from coronel.pytest_plugin import Build

OPERATIONS = int(os.environ.get("CORONEL_STRESS", "20000"))
FULL = 20_000_000
SECONDS = 240 + OPERATIONS / 2000  # that a machine at work may take
# Who meets whom under way is chance, so a short run need not see it.
BY_CHANCE = {"crossings"}
# What is made is given back.
PAIRS = {
    "allocations": ("releases",),
    "maps": ("unmaps",),
    "ranges": ("ranges_freed_here", "ranges_freed_elsewhere"),
    "objects": ("objects_freed_here", "objects_freed_elsewhere"),
}


def stress(
    guest: Guest, operations: int, seed: int, timeout: float = 300
) -> tuple[dict[str, Any], dict[str, int]]:
    """The report, and how often each path was gone."""
    report: dict[str, Any] = guest.channel.call("stress", "cpus", operations, seed=seed, timeout=timeout)
    return report, {row["path"]: row["count"] for row in report["paths"]}


def flushes(guest: Guest) -> list[int]:
    """How many each CPU has answered."""
    return [row["flushes"] for row in guest.channel.call("cpus")["cpus"]]


def settle(guest: Guest) -> None:
    """Nothing is kept for later: stacks, records, magazines."""
    guest.channel.call("shrink")
    guest.channel.call("quiesce")


@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.parametrize("cpus", [2, 4])
def test_all_paths_on_all_cpus(artifact: Build, cpus: int, coronel_seed: int) -> None:
    """The kernel checks every stamp, and every access through a page that another CPU changes."""
    build = artifact if OPERATIONS < FULL else artifact.sibling("release")
    with Guest(kernel=build.elf, memory="128M", cpus=cpus, timeout=60) as guest:
        guest.wait_ready()
        stress(guest, 100, seed=1)  # makes the page tables that stay
        settle(guest)
        before = guest.channel.call("meminfo")
        report, paths = stress(guest, OPERATIONS, coronel_seed, timeout=SECONDS)
        print(report)
        assert (report["operations"], report["refused"], report["cpus"]) == (OPERATIONS, 0, cpus)
        missing = [name for name, count in paths.items() if count == 0]
        assert set(missing) <= (BY_CHANCE if OPERATIONS < FULL else set())
        for made, ends in PAIRS.items():
            assert paths[made] == sum(paths[name] for name in ends), made
        assert paths["allocations"] + paths["releases"] >= OPERATIONS
        changes = paths["remaps"] + paths["protects"] + paths["unmaps"]
        assert report["shootdowns"] >= changes + paths["ranges"] > OPERATIONS // 128
        if OPERATIONS >= FULL:
            assert report["shootdowns"] >= 200_000
        assert paths["reads"] + paths["read_faults"] >= OPERATIONS // 8
        assert paths["writes"] + paths["write_faults"] >= OPERATIONS // 32
        assert all(count > 0 for count in flushes(guest))
        settle(guest)
        assert guest.channel.call("meminfo") == before
        KernelState(guest, build.artifact).walk().check()


@pytest.mark.guest(memory="64M", cpus=3, timeout=60)
def test_people_see_one_table(guest: Guest) -> None:
    guest.shell.wait_prompt()
    report, paths = stress(guest, 500, seed=3)
    lines = guest.shell.run("stress cpus 500 seed=3").splitlines()
    assert [line.split(":")[0] for line in lines if ":" in line.split(" ")[0]] == [
        name for name in report if name != "paths"
    ]
    rows = {
        line.split()[0]: line.split(maxsplit=2)[1:]
        for line in lines
        if line.split() and line.split()[0] in paths
    }
    assert list(rows) == list(paths)
    assert all(count.isdigit() and what for count, what in rows.values())
