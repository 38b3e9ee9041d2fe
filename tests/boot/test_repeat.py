"""The same boot twice is the same machine: what is random comes from the seed, and nothing else differs."""

from __future__ import annotations

from typing import Any

import pytest

from coronel.guest import Guest
from coronel.pytest_plugin import Build

LINES = ["meminfo", "buddyinfo", "zoneinfo", "stats", "held", "frames 0 40"]
WORK = ["alloc 0 7", "alloc 5 3", "stress pages 4000 seed=12", "free all", "stress pages 500 seed=13"]


def life(build: Build, **fields: Any) -> list[Any]:
    """Everything that one machine shows, before and after the same work."""
    with Guest(kernel=build.elf, memory="48M", **fields) as guest:
        guest.wait_ready()
        return [outcome.take() for outcome in guest.channel.batch([*LINES, *WORK, *LINES])]


@pytest.mark.parametrize("board", ["pc", "q35"])
def test_two_boots_are_one(artifact: Build, board: str) -> None:
    first, *others = [life(artifact, machine=board, cmdline="seed=9") for _ in range(3)]
    assert all(other == first for other in others)


def test_counters_begin_at_zero(artifact: Build) -> None:
    """Handing memory over at boot is no traffic."""
    with Guest(kernel=artifact.elf, memory="48M") as guest:
        stats = guest.channel.call("stats")
    gauges = {"frames_present", "frames_managed", "frames_free", "frames_early"}
    assert all(stats[name] > 0 for name in gauges)
    assert {name: value for name, value in stats.items() if value and name not in gauges} == {}


def test_a_cpu_beyond_maxcpus_is_left_alone(artifact: Build) -> None:
    work = slice(len(LINES), len(LINES) + len(WORK))
    one = life(artifact, cmdline="seed=9")
    assert life(artifact, cpus=2, cmdline="seed=9 maxcpus=1")[work] == one[work]


def test_booting_again_and_again(artifact: Build) -> None:
    for _ in range(10):
        with Guest(kernel=artifact.elf, memory="16M") as guest:
            guest.wait_ready()
            assert guest.shell.run("held").startswith("count:")
