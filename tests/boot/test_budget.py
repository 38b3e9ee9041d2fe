"""What a boot costs in guest instructions: exact, so this is no timing. `make bench` measures the seconds."""

from __future__ import annotations

import re

import pytest

from coronel.guest import Guest
from coronel.pytest_plugin import Build

MOST = 10_000_000  # kmain to the first prompt, release, 256 MiB, PVH


@pytest.fixture(scope="module")
def release(artifact: Build) -> Guest:
    """With icount the time-stamp counter counts instructions: shift 0 is one nanosecond each."""
    elf = artifact.sibling("release").elf
    return Guest(kernel=elf, memory="256M", cpu="qemu64,+rdrand", icount=0, timeout=30)


def test_from_kmain_to_the_prompt(release: Guest) -> None:
    with release as guest:
        guest.wait_ready()
        ready = guest.channel.event("ready")
        assert ready is not None
        spent = ready["prompt_tsc"] - ready["kmain_tsc"]
        assert 100_000 < spent <= MOST, "less than a hundred thousand would be no boot"
        assert guest.channel.call("uptime")["kmain_to_prompt"] == spent
        assert re.search(rf"^kmain_to_prompt: +{spent}\b", guest.shell.run("uptime"), re.MULTILINE)


def test_the_figure_is_the_same_every_time(release: Guest) -> None:
    figures = set()
    for _ in range(3):
        with Guest(release.options, timeout=30) as guest:
            guest.wait_ready()
            ready = guest.channel.event("ready")
            assert ready is not None
            figures.add((ready["kmain_tsc"], ready["prompt_tsc"]))
    assert len(figures) == 1


def test_more_memory_costs_only_its_frame_array(release: Guest) -> None:
    """2 MiB of memory need 16 KiB of frame records, cleared once: the rest of a boot does not grow."""
    spent = {}
    for memory in ("256M", "1G"):
        with Guest(
            kernel=release.options.kernel, memory=memory, cpu="qemu64,+rdrand", icount=0, timeout=30
        ) as guest:
            guest.wait_ready()
            ready = guest.channel.event("ready")
            assert ready is not None
            spent[memory] = ready["prompt_tsc"] - ready["kmain_tsc"]
    frames = (768 << 20) // 4096
    assert (spent["1G"] - spent["256M"]) / frames < 40
