"""Machines of every size: what is there is used; what is too small says so in one line."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from coronel.errors import UsageError
from coronel.guest import Channel, Guest, Shell
from coronel.guest.options import GuestOptions
from coronel.mappings import shown_memory
from coronel.mm.guards import hidden_frames
from coronel.mm.kernel import KernelState
from coronel.pytest_plugin import Build

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
FIRMWARE = MIB  # of the whole memory: the hole below 1 MiB and the firmware's tables at the top
UNUSABLE = 37  # docs/formats.md, section 3
POWEROFF = 33

SIZES = {"16M": 16 * MIB, "64M": 64 * MIB, "256M": 256 * MIB, "1G": GIB, "5G": 5 * GIB}
all_sizes = pytest.mark.parametrize(
    "size", [pytest.param(size, marks=pytest.mark.guest(memory=size, boot="pvh")) for size in SIZES]
)


def check_accounts(guest: Guest, build: Build, size: int) -> dict[str, int]:
    """Every view of the memory says the same; the value of meminfo."""
    meminfo, zones, counters, blocks = (
        outcome.take() for outcome in guest.channel.batch(["meminfo", "zoneinfo", "stats", "buddyinfo"])
    )
    present = meminfo["MemPresent"] * KIB
    assert size - FIRMWARE < present < size
    assert meminfo["MemTotal"] + meminfo["MemReserved"] == meminfo["MemPresent"]

    in_kib = {name: counters[f"frames_{name}"] * 4 for name in ("present", "managed", "free")}
    assert in_kib == {
        "present": meminfo["MemPresent"],
        "managed": meminfo["MemTotal"],
        "free": meminfo["MemFree"] - meminfo["MemPerCpu"],
    }
    sums = {key: sum(zone["pages"][key] for zone in zones) * 4 for key in in_kib}
    assert sums == in_kib
    names = [zone["zone"] for zone in zones]
    assert names == ["DMA", "DMA32", "Normal"][: 1 + (size > 16 * MIB) + (size > 4 * GIB)]
    free = sum(count << order for row in blocks for order, count in enumerate(row["free_blocks"]))
    assert free == counters["frames_free"]

    with guest.paused(), KernelState(guest, build.artifact).still() as tables:
        shown = sum(mapping.size for mapping in shown_memory(guest.mappings()))
        assert shown + 4 * KIB * len(hidden_frames(tables)) == present
    return dict(meminfo)


@all_sizes
def test_it_boots_and_knows_its_memory(guest: Guest, artifact: Build, size: str) -> None:
    check_accounts(guest, artifact, SIZES[size])


@pytest.mark.parametrize("size", ["16M", "1G", "5G"])
def test_the_boot_loader_shows_the_same_sizes(artifact: Build, size: str) -> None:
    with Guest(iso=artifact.iso, memory=size, timeout=20) as guest:
        guest.wait_ready()
        check_accounts(guest, artifact, SIZES[size])


def largest_blocks(zones: list[dict[str, Any]]) -> tuple[int, list[int]]:
    """The largest order that some zone has a free block of, and how many each zone has."""
    order = max(order for zone in zones for order, count in enumerate(zone["free_blocks"]) if count)
    return order, [zone["free_blocks"][order] for zone in zones]


def spare(zones: list[dict[str, Any]], number: int) -> int:
    """Frames of a zone that a plain request may have: not its minimum, and not the share of the zones above,
    which keep a 256th of their memory below.
    """
    pages = zones[number]["pages"]
    above = sum(zone["pages"]["present"] for zone in zones[number + 1 :])
    return int(max(pages["free"] - pages["min"] - above // 256, 0))


@pytest.mark.parametrize("size", SIZES)
def test_all_of_it_can_be_allocated_and_comes_back(artifact: Build, size: str) -> None:
    """The largest blocks until a plain request is refused: some lie beyond 4 GiB where memory does, and each
    zone keeps what it must.

    The release kernel: the other one fills every frame that comes back, and the host would have to have them.
    """
    with Guest(kernel=artifact.sibling("release").elf, memory=size) as guest:
        before = guest.channel.batch(["buddyinfo", "stats"])
        zones = guest.channel.call("zoneinfo")
        order, blocks = largest_blocks(before[0].value)
        room = [spare(zones, number) >> order for number in range(len(zones))]
        taken = sum(map(min, blocks, room))
        frames = guest.channel.call("alloc", order, taken)["frames"]
        assert len(set(frames)) == taken
        assert (max(frames) >= 4 * GIB // 4096) == (SIZES[size] > 4 * GIB)
        (refused,) = guest.channel.batch([f"alloc {order}"])
        assert (refused.status, "out of memory" in refused.error) == (12, True)
        left = guest.channel.call("zoneinfo")
        assert all(zone["pages"]["free"] >= zone["pages"]["min"] for zone in left)
        guest.channel.call("free", "all")
        guest.channel.call("quiesce")  # a large zone's magazines keep some
        after = guest.channel.batch(["buddyinfo", "stats"])
        assert after[0].value == before[0].value
        assert after[1].value["frames_free"] == before[1].value["frames_free"]


@pytest.mark.parametrize(("size", "most"), [("256M", 3.0), ("1G", 1.5)])
@pytest.mark.parametrize("profile", ["release", "debug"])
def test_little_memory_is_lost(artifact: Build, profile: str, size: str, most: float) -> None:
    with Guest(kernel=artifact.sibling(profile).elf, memory=size) as guest:
        guest.wait_ready()
        (line,) = re.findall(r"^Memory: .*$", guest.shell.wait_prompt(), re.MULTILINE)
        meminfo = guest.channel.call("meminfo")
    match = re.fullmatch(
        r"Memory: ([\d.]+) MiB, not usable by allocations: ([\d.]+) MiB \((\d+\.\d\d) %\)", line
    )
    assert match, line
    present, free = meminfo["MemPresent"], meminfo["MemFree"]
    assert float(match[1]) == pytest.approx(present / KIB, abs=0.06)
    assert float(match[2]) == pytest.approx((present - free) / KIB, abs=0.06)
    assert float(match[3]) == pytest.approx(100 * (present - free) / present, abs=0.011)
    assert float(match[3]) <= most
    # Also of all that is built into the machine, which no kernel can use wholly.
    assert 100 * (1 - free * KIB / SIZES[size]) <= most


def boot_by_hand(elf: Path, kib: int) -> tuple[int, str]:
    """QEMU's exit status and COM1 of a machine too small for the package. It is told to power off."""
    template = GuestOptions(kernel=elf, memory="16M")
    arguments = template.machine_arguments()
    arguments[arguments.index("-m") + 1] = f"{kib}K"
    done = subprocess.run(
        [template.qemu, "-machine", "pc", *arguments, "-serial", "stdio"],
        input=b"poweroff\n",
        capture_output=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout.decode("utf-8", "backslashreplace").replace("\r\n", "\n")


# The debug kernel carries its unit tests.
@pytest.mark.parametrize(("profile", "enough"), [("release", 3), ("debug", 5)])
def test_below_the_minimum_it_says_so_and_stops(artifact: Build, profile: str, enough: int) -> None:
    """No size in between may hang, reset or crash; the minimum is one edge."""
    elf = artifact.sibling(profile).elf
    verdicts = []
    for kib in range(1152, enough * 1024 + 1, 128):
        status, text = boot_by_hand(elf, kib)
        if status == UNUSABLE:
            assert re.fullmatch(r"P\nboot error 3: the machine is too small [^\n]*\n", text), (kib, text)
        else:
            assert (status, text.endswith("power off\n")) == (POWEROFF, True), (kib, status, text)
        verdicts.append(status)
    refused = verdicts.count(UNUSABLE)
    assert verdicts == [UNUSABLE] * refused + [POWEROFF] * (len(verdicts) - refused)
    assert refused > 0, "1152K are too small for any build"
    assert verdicts[-1] == POWEROFF, f"{enough} MiB are enough"


def test_a_machine_at_the_minimum_works(artifact: Build) -> None:
    with Guest(kernel=artifact.sibling("release").elf, memory="3M") as guest:
        guest.wait_ready()
        check_accounts(guest, artifact.sibling("release"), 3 * MIB)
        guest.channel.call("stress", "pages", 3000)
        check_accounts(guest, artifact.sibling("release"), 3 * MIB)


@pytest.mark.parametrize("size", ["1M", "1", "0", "-1", "abc", "1T"])
def test_sizes_that_no_machine_has_never_start_qemu(artifact: Build, size: str) -> None:
    with pytest.raises(UsageError, match=re.escape(repr(size))):
        GuestOptions(kernel=artifact.elf, memory=size)


@pytest.mark.guest(memory="64M")
def test_memory_that_runs_out_is_an_error_and_nothing_else(shell: Shell, channel: Channel) -> None:
    before = channel.batch(["buddyinfo", "meminfo"])
    statuses = []
    for order in (11, 10, 9, 5, 3):
        earlier = channel.call("meminfo")["MemFree"]
        (outcome,) = channel.batch([f"alloc {order} 1024"])
        statuses.append(outcome.status)
        if outcome.status:
            assert channel.call("meminfo")["MemFree"] == earlier, "all blocks or none"
    assert set(statuses) <= {0, 7, 12}
    assert 12 in statuses
    said = shell.run("alloc 4 1024")
    assert re.match(r"alloc: (out of memory after \d+ of 1024 blocks|room for \d+)", said)
    channel.call("free", "all")
    channel.call("quiesce")
    after = channel.batch(["buddyinfo", "meminfo"])
    assert [outcome.value for outcome in after] == [outcome.value for outcome in before]
