"""`who` says of every address what the log of a seeded run says, on both bodies and in every profile; and the
kernel's console and GDB say the same as Python, which reads raw memory.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.mm.conftest import PROFILES
from tests.mm.who_log import Log, Owned, direct_map

from coronel.errors import DecodeError, MMError
from coronel.gdb.session import gdb_answers
from coronel.guest import Guest
from coronel.mm.body import Body
from coronel.mm.guest_mm import GuestKernelMM
from coronel.mm.kernel_mm import KernelMM
from coronel.mm.who import Answer, who
from coronel.pytest_plugin import Build
from coronel.task.views import text

PAGE = 4096
ADDRESSES = 1000
IN_GDB = 40
IN_A_REPLY = 8


def python_says(mm: KernelMM, addresses: list[int]) -> list[Answer]:
    """While nothing changes."""
    assert isinstance(mm, Body)
    with mm.still() as tables:
        return [who(tables, address, mm.name_call) for address in addresses]


def one_of_each(asked: list[tuple[int, Owned]]) -> list[int]:
    """Places of questions, one for each kind of thing."""
    return list({one.kind: place for place, (_, one) in enumerate(asked)}.values())


def test_every_address_is_whose_the_log_says(every_mm: KernelMM, coronel_seed: int) -> None:
    mm = every_mm
    log = Log(mm, random.Random(coronel_seed)).run()
    asked = log.questions(ADDRESSES)
    answers = python_says(mm, [address for address, _ in asked])
    for (address, one), said in zip(asked, answers, strict=True):
        log.check(said, address, one)
    if log.tracked:
        log.check_order(answers, asked)
    if not isinstance(mm, GuestKernelMM):
        return
    for at in range(0, len(asked), IN_A_REPLY):
        some = slice(at, at + IN_A_REPLY)
        outcomes = mm.guest.channel.batch([f"who {address:#x}" for address, _ in asked[some]])
        assert [outcome.take() for outcome in outcomes] == answers[some]
    for place in one_of_each(asked):
        assert mm.guest.shell.run(f"who {asked[place][0]:#x}").rstrip("\n") == text(answers[place])


def test_all_of_memory_has_an_answer(mm: KernelMM, coronel_seed: int) -> None:
    """Any frame, present or not: the state is the walk's, and the kernel's answer is Python's."""
    chance = random.Random(coronel_seed)
    mm.stress_test(300, coronel_seed)
    walk, direct = mm.walk(), direct_map(mm)
    reserved = {"reserved", "page table", "guard pool"}
    uses = {"reserved": reserved, "free": {"free"}, "cached": {"free, in a magazine"}}
    numbers = chance.sample(range(walk.direct_frames), 400)
    for number in numbers:
        try:
            said = mm.who(direct + number * PAGE + chance.randrange(PAGE))
        except DecodeError:
            continue  # not mapped
        state = walk.state(number).name
        if state in uses:
            assert said["use"] in uses[state], number
        if state == "absent":
            assert said["use"] == "no memory", number
        if isinstance(mm, GuestKernelMM):
            assert mm.guest.channel.call("who", said["address"]) == said


def test_a_range_of_kernel_addresses_has_its_owner(body_guest: KernelMM) -> None:
    assert isinstance(body_guest, GuestKernelMM)
    channel = body_guest.guest.channel
    address = int(channel.call("vmalloc", 20_000)["address"], 16)
    there = channel.call("who", address + 9000)
    assert there == body_guest.who(address + 9000)
    assert (there["range"], there["kind"], there["use"]) == (f"{address:#x}", "vmalloc", "allocated frames")
    channel.call("vfree", address)


@pytest.mark.parametrize("words", ["", "x", "-1", "1 2", str(1 << 64), "0x800000000000"])
def test_what_is_no_address(body_guest: KernelMM, words: str) -> None:
    assert isinstance(body_guest, GuestKernelMM)
    with pytest.raises(MMError):
        body_guest.guest.channel.call("who", *words.split())
    with pytest.raises(MMError, match="nothing is mapped"):
        body_guest.guest.channel.call("who", 0)


@pytest.fixture
def body_guest(open_body: Any) -> Any:
    """A guest only."""
    with open_body("guest") as made:
        yield made.mm


@pytest.mark.parametrize("where", ["guest", "host"])
def test_the_command_names_the_calls_too(artifact: Build, where: str) -> None:
    place = [f"--build={artifact.elf.parents[1]}", "--profile=guarded", "--memory=64M", "--objects=300"]
    offsets = [f"+{frame * PAGE + 1000}" for frame in range(256, 64 << 8, 4)]
    words = ["who", *place, *(["--host"] if where == "host" else []), "--json", *offsets]
    done = subprocess.run(
        [sys.executable, "-m", "coronel", *words], capture_output=True, text=True, timeout=120, check=False
    )
    said = json.loads(done.stdout)
    sites = [one["allocated"]["site"] for one in said if "allocated" in one]
    assert len(said) == len(offsets)
    assert any("::perform" in site for site in sites), done.stderr


@pytest.mark.skipif(shutil.which("gdb") is None, reason="there is no gdb")
@pytest.mark.parametrize("profile", PROFILES)
def test_gdb_says_the_same(artifact: Build, tmp_path: Path, coronel_seed: int, profile: str) -> None:
    build, chance, socket = artifact.sibling(profile), random.Random(coronel_seed), tmp_path / "gdb"
    refuse = "on_misuse=refuse"
    with Guest(kernel=build.elf, memory="64M", cmdline=refuse, gdb=socket, timeout=60) as guest:
        mm = GuestKernelMM(guest, build.artifact)
        asked = Log(mm, chance).run().questions(ADDRESSES)
        each = one_of_each(asked)
        rest = [place for place in range(len(asked)) if place not in each]
        addresses = [asked[place][0] for place in each + chance.sample(rest, IN_GDB - len(each))]
        expected = [text(answer) for answer in python_says(mm, addresses)]
        with guest.paused():
            shown = gdb_answers(build.elf, socket, [f"coronel who {address:#x}" for address in addresses])
    assert shown == expected
