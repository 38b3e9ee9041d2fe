"""`kmemleak`: what the guarded kernel finds that nothing leads to, and nothing where all is held."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from coronel.guest import Channel, Guest, Shell
from coronel.pytest_plugin import Build

UNSUPPORTED = 95


@pytest.fixture(scope="module")
def guarded(artifact: Build) -> Iterator[Guest]:
    with Guest(kernel=artifact.sibling("guarded").elf, memory="128M", cpus=4, timeout=60.0) as guest:
        guest.wait_ready()
        yield guest


@pytest.fixture
def channel(guarded: Guest) -> Channel:
    return guarded.channel


def scan(channel: Channel, *held: int) -> dict[str, Any]:
    found: dict[str, Any] = channel.call("kmemleak", "scan", *held)
    return found


def allocate(channel: Channel, size: int) -> None:
    """An object that no word of the kernel points to."""
    channel.call("objects", f"m{size}/1")


def test_a_clean_boot_has_no_leak_nor_has_work_on_all_cpus(channel: Channel) -> None:
    assert scan(channel)["leaks"] == 0
    for seed in range(3):
        channel.call("stress", "cpus", 2000, seed=seed, timeout=120.0)
        channel.call("stress", "pages", 2000, seed=seed, timeout=120.0)
        found = scan(channel)
        assert (found["leaks"], found["leaked_bytes"]) == (0, 0), channel.call("kmemleak", "list")
        assert found["objects"] > 10


def test_what_nobody_holds_is_listed_until_it_is_known(channel: Channel) -> None:
    allocate(channel, 100)
    allocate(channel, 70_000)
    before = scan(channel)
    assert (before["leaks"], before["leaked_bytes"]) == (2, 70_100)
    listed = channel.call("kmemleak", "list")
    assert (listed["leaks"], listed["bytes"]) == (2, 70_100)
    by_size = {leak["bytes"]: leak for leak in listed["list"]}
    assert (by_size[100]["keeper"], by_size[100]["name"]) == ("cache", "kmalloc-112")
    assert (by_size[70_000]["keeper"], by_size[70_000]["name"]) == ("large object", "kmalloc")
    assert all("perform" in leak["site"] for leak in listed["list"])
    assert [leak["bytes"] for leak in channel.call("kmemleak", "list", 1)["list"]] == [
        listed["list"][1]["bytes"]
    ]
    addresses = [int(leak["address"], 16) for leak in listed["list"]]
    assert scan(channel, *addresses)["leaks"] == 0, "whoever drives the kernel holds them"
    assert channel.call("kmemleak", "list")["leaks"] == 0
    assert scan(channel, addresses[0])["leaks"] == 1
    assert scan(channel)["leaks"] == 2
    assert channel.call("kmemleak", "clear") == {"known": 2}
    assert scan(channel)["leaks"] == 0
    allocate(channel, 300)
    assert scan(channel)["leaked_bytes"] == 300, "only what is new"


def test_a_kernel_without_it_says_who_has_it(shared_guest: Guest, shell: Shell) -> None:
    for line in ("kmemleak scan", "kmemleak list", "kmemleak clear"):
        (refused,) = shared_guest.channel.batch([line])
        assert refused.status == UNSUPPORTED
        assert "make guarded" in refused.error
        assert shell.run(line) == f"kmemleak: {refused.error}\n"
