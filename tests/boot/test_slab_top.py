"""`coronel top --slabs` on real guests: what it shows is what the guest's memory holds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.boot.test_object_pictures import coronel

from coronel.guest import Guest
from coronel.mm.guest_mm import GuestKernelMM
from coronel.mm.kernel import KernelState
from coronel.mm.slab_use import SlabUse, Totals
from coronel.picture.slab_activity import SlabActivity
from coronel.pytest_plugin import Build

WORK = ("--objects", "600", "--seed", "5", "--memory", "64M")
STRESS = "stress cpus 20000 seed=3"


def numbers(*words: object) -> Any:
    return json.loads(coronel(*words, "--json").stdout)


def test_top_says_what_slabs_says(artifact: Build) -> None:
    machine = ("--kernel", artifact.elf, *WORK, "--command", STRESS)
    found = numbers("top", "--slabs", "--once", "--sort", "held", *machine)
    told = {row["name"]: row for row in numbers("slabs", *machine)}
    assert {one["name"]: {name: one[name] for name in told[one["name"]]} for one in found["caches"]} == told
    held = [one["held_free"] for one in found["caches"]]
    assert held == sorted(held, reverse=True)
    assert found["total"]["active"] == sum(row["active_objs"] for row in told.values())
    assert not found["unreadable"]
    assert all(one["per_second"] is not None for one in found["caches"])


def test_top_in_a_pipe_is_complete(artifact: Build) -> None:
    machine = ("--kernel", artifact.elf, *WORK)
    done = coronel("top", "--slabs", "--once", *machine)
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in done.stdout
    assert "held but free" in done.stdout
    assert all(any(row["name"] in line.split() for line in lines) for row in numbers("slabs", *machine))


@pytest.mark.guest(memory="64M", timeout=60.0)
def test_rates_are_those_between_two_samples(guest: Guest, artifact: Build) -> None:
    guest.wait_ready()
    mm = GuestKernelMM(guest, artifact.artifact)
    view = SlabActivity("a machine", "rate")
    held = [mm.kmalloc(60) for _ in range(5)]
    with mm.state.still() as tables:
        view.take(tables)
    for address in held:
        assert address is not None
        mm.kfree(address)
    for _ in range(70):
        mm.kmalloc(1000)
    with mm.state.still() as tables:
        view.take(tables)
    first, second = view.samples
    rates = {one.name: one.per_second or 0.0 for one in view.caches()}
    passed = second.seconds - first.seconds
    small, large = ("kmalloc-64", "kmalloc-1024")
    assert rates[large] * passed == pytest.approx(70)
    assert rates[small] * passed == pytest.approx(-5)
    assert view.caches()[0].name == large


def test_objects_of_the_guard_pool_are_counted(artifact: Build) -> None:
    build = artifact.sibling("release")
    with Guest(kernel=build.elf, memory="512M", cmdline="sample=1", timeout=60) as guest:
        mm = GuestKernelMM(guest, build.artifact)
        before = _totals(mm.state)
        for _ in range(3):
            mm.kmalloc(100)
        after = _totals(mm.state)
        (row,) = (row for row in guest.channel.call("slabinfo") if row["name"] == "kmalloc-112")
        with mm.still() as tables:
            use = SlabUse.take(tables)
        (mine,) = (one for one in use.caches.values() if one.name == "kmalloc-112")
    assert after.guarded - before.guarded == mine.levels.guarded > 0
    assert after.active - before.active >= 3
    assert mine.row == row
    assert all(min(one.parts.values()) >= 0 for one in use.caches.values()), "what is guarded lies in no slab"


def _totals(state: KernelState) -> Totals:
    with state.still() as tables:
        return Totals.of(list(SlabUse.take(tables).caches.values()))


def test_lists_that_change_are_followed_to_their_end(artifact: Build) -> None:
    """Two CPUs at work, and a frame that is free is not even mapped: nearly every picture is whole."""
    kernel = artifact.sibling("guarded").elf
    machine = ("--kernel", kernel, "--memory", "128M", "--cpus", 2)
    lines = ("--command", "stress cpus 600000 seed=3", "--command", "poweroff")
    said = coronel("top", "--slabs", "--interval", "0.05", *machine, *lines).stdout
    pictures, torn = said.count("Object caches of"), said.count("read in part") + said.count("cannot be read")
    assert pictures >= 10
    assert torn <= pictures // 5


@pytest.mark.parametrize("words", [["--sort", "size"], ["--sort", "name", "--once"]])
def test_an_order_without_slabs_is_2(words: list[str]) -> None:
    done = coronel("top", *words, status=2)
    assert done.stderr == "coronel: --sort is the order of the object caches: add --slabs\n"


def test_an_order_that_there_is_not_is_2() -> None:
    assert "invalid choice: 'colour'" in coronel("top", "--slabs", "--sort", "colour", status=2).stderr
