"""`kmemleak`: what the guarded kernel finds that nothing leads to, and nothing where all is held."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coronel.gdb.session import gdb_answers
from coronel.guest import Channel, Guest, Shell
from coronel.mm.kernel import KernelState
from coronel.mm.leaks import leaks
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


@pytest.mark.parametrize("run", range(20))
def test_no_false_report_in_20_boots(artifact: Build, coronel_seed: int, run: int) -> None:
    seed = coronel_seed * 100 + run
    with Guest(
        kernel=artifact.sibling("guarded").elf,
        memory="96M",
        cpus=1 + run % 4,
        cmdline=f"seed={seed}",
        timeout=60.0,
    ) as guest:
        guest.wait_ready()
        call = guest.channel.call
        assert scan(guest.channel)["leaks"] == 0
        call("stress", "pages", 1000, "hold", seed=seed, timeout=120.0)
        call("stress", "cpus", 500 + seed % 500, seed=seed, timeout=120.0)
        address = call("vmalloc", 20_000)["address"]
        cache = call("newcache", "passing", 1 + seed % 300)["cache"]
        assert scan(guest.channel)["leaks"] == 0, call("kmemleak", "list")
        call("vfree", address)
        call("delcache", cache)
        call("quiesce")
        assert scan(guest.channel)["leaks"] == 0, call("kmemleak", "list")


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


@pytest.mark.skipif(shutil.which("gdb") is None, reason="there is no gdb")
def test_console_python_and_gdb_say_the_same(artifact: Build, tmp_path: Path) -> None:
    build, socket = artifact.sibling("guarded"), tmp_path / "gdb"
    with Guest(kernel=build.elf, memory="96M", gdb=socket, timeout=60.0) as guest:
        guest.wait_ready()
        for size in (100, 70_000, 8):
            allocate(guest.channel, size)
        scan(guest.channel)
        listed = guest.channel.call("kmemleak", "list")["list"]
        with KernelState(guest, build.artifact).still() as tables:
            found = leaks(tables)
            (answer,) = gdb_answers(build.elf, socket, ["coronel leaks"])
    console = [(int(one["address"], 16), one["bytes"], len(one["callers"])) for one in listed]
    assert console == [(one.address, one.size, len(one.callers)) for one in found]
    heading, *said = answer.splitlines()
    assert heading == "3 leaks, 70108 bytes"
    assert [line for line in said if not line.startswith("  ")] == [
        f"{one.address:#x}, {one.size} bytes of {one.name}" for one in found
    ]
    calls = [call for one in found for call in (one.allocated.site, *one.callers)]
    assert [int(line.split()[0], 16) for line in said if line.startswith("  ")] == calls


@pytest.mark.parametrize("json_wanted", [True, False])
def test_the_command_shows_what_a_guest_has_lost(artifact: Build, *, json_wanted: bool) -> None:
    words = [
        "leaks",
        "--memory=96M",
        f"--build={artifact.elf.parents[1]}",
        "--command=objects m100/1 m70000/1",
    ]
    words += ["--json"] if json_wanted else []
    done = subprocess.run(
        [sys.executable, "-m", "coronel", *words], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    if json_wanted:
        assert sorted(one["size"] for one in json.loads(done.stdout)) == [100, 70_000]
    else:
        assert done.stdout.startswith("2 leaks, 70100 bytes\n")
        assert "100 bytes of kmalloc-112" in done.stdout
        assert " kmain\n" in done.stdout


def test_a_kernel_without_it_says_who_has_it(shared_guest: Guest, shell: Shell) -> None:
    for line in ("kmemleak scan", "kmemleak list", "kmemleak clear"):
        (refused,) = shared_guest.channel.batch([line])
        assert refused.status == UNSUPPORTED
        assert "make guarded" in refused.error
        assert shell.run(line) == f"kmemleak: {refused.error}\n"
