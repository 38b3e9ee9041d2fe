"""The words of the kernel command line on a whole machine: each is taken, or named with what is used."""

from __future__ import annotations

import re

import pytest

from coronel import KernelState
from coronel.guest import Guest
from coronel.pytest_plugin import Build

KIB, MIB = 1 << 10, 1 << 20
DIRECT_MAP = 0xFFFF_8000_0000_0000
DIRECT_MAP_END = 0xFFFF_E000_0000_0000

OPTIONS = [
    ("seed=77", "Random numbers start from seed=77"),
    ("seed=0x10", "Random numbers start from seed=16"),
    ("seed=1 seed=9", "Random numbers start from seed=9"),
    ("seed=", "boot: seed='' is not a number"),
    ("seed=12monkeys", "boot: seed='12monkeys' is not a number"),
    ("seed=99999999999999999999999", "seed=1 is used"),
    ("seed=-1", "seed=1 is used"),
    ("on_misuse=never", "on_misuse=panic is used"),
    ("frobnicate", "boot: 'frobnicate' is no option"),
    ("seedling=3", "boot: 'seedling=3' is no option"),
    ("la57=5", "boot: la57='5' is unknown: choose on or off; la57=on is used"),
    ("maxcpus=9999", "boot: maxcpus=9999 is out of range: from 1 to "),
    ("directmap=1M", "boot: directmap=1 MiB is too small: at least 16 MiB; all memory is mapped"),
    ("hold=12", "boot: hold='12' is neither FIRST-END nor FIRST+SIZE"),
    ("hold=1M+64K", "boot: hold of 64 KiB at 0x100000: a part of it holds the kernel, boot data or a module"),
    ("hold=0xe0000-1M", "boot: hold of 128 KiB at 0xe0000: a part of it is no usable memory; not held"),
    ("hold=8M+1G", "boot: hold of 1 GiB at 0x800000: a part of it is no usable memory; not held"),
    ("  seed=5   ", "Random numbers start from seed=5"),
]


@pytest.mark.parametrize(("line", "answer"), OPTIONS)
def test_each_option_is_taken_or_named(artifact: Build, line: str, answer: str) -> None:
    with Guest(kernel=artifact.elf, memory="16M", cmdline=line) as guest:
        guest.wait_ready()
        text = guest.shell.wait_prompt()
        assert answer in text
        complaints = [
            said for said in text.splitlines() if said.startswith("boot: ") and "command line:" not in said
        ]
        wrong = "Random" not in answer
        assert len(complaints) == wrong, complaints


def test_a_wrong_seed_leaves_the_default(artifact: Build) -> None:
    with Guest(kernel=artifact.elf, memory="16M", cmdline="seed=x") as guest:
        assert "Random numbers start from seed=1\n" in guest.shell.wait_prompt()


def test_good_options_are_taken_in_silence(artifact: Build) -> None:
    with Guest(kernel=artifact.elf, memory="64M", cmdline="la57=off directmap=32M on_misuse=refuse") as guest:
        guest.wait_ready()
        said = [line for line in guest.shell.wait_prompt().splitlines() if line.startswith("boot: ")]
        assert len(said) == 1
        assert "command line" in said[0]


def test_the_number_of_cpus_is_said(artifact: Build) -> None:
    with Guest(kernel=artifact.elf, memory="16M", cmdline="maxcpus=2") as guest:
        assert "boot: at most 2 CPUs are used\n" in guest.shell.wait_prompt()


def test_held_memory_is_out_of_service(artifact: Build, coronel_seed: int) -> None:
    """Neither described, nor mapped, nor handed out, and not a byte of it is touched."""
    holds = [(24 * MIB, 8 * MIB), (0x280_0000, 0x5000), (0x280_5000, 0x1000)]
    words = " ".join(f"hold={first:#x}+{size}" for first, size in holds)
    present = []
    for line in ("", words):
        with Guest(kernel=artifact.elf, memory="64M", cmdline=line) as guest:
            guest.wait_ready()
            present.append(guest.channel.call("meminfo")["MemPresent"] * KIB)
            if not line:
                continue
            said = re.findall("^boot: held .*$", guest.shell.wait_prompt(), re.MULTILINE)
            assert said == [
                "boot: held 8 MiB at 0x1800000",
                "boot: held 20 KiB at 0x2800000",
                "boot: held 4 KiB at 0x2805000",
            ]
            guest.channel.call("stress", "pages", 20000, f"seed={coronel_seed}")
            assert KernelState(guest).walk().problems == []
            with guest.paused():
                tables = guest.mappings()
            for first, size in holds:
                frames = guest.channel.call("frames", first >> 12, 1)
                assert [frame["state"] for frame in frames] in ([], ["absent"])
                assert not any(guest.ram.read(first, size)), "nothing was written there"
                assert not [
                    m
                    for m in tables
                    if DIRECT_MAP <= m.address < DIRECT_MAP_END
                    and m.physical < first + size
                    and first < m.physical + m.size
                ]
    assert present[0] - present[1] == sum(size for _, size in holds)


def test_a_machine_may_hold_all_that_it_can_spare(artifact: Build) -> None:
    with Guest(kernel=artifact.elf, memory="64M", cmdline="hold=16M-63M") as guest:
        guest.wait_ready()
        assert guest.channel.call("meminfo")["MemPresent"] < 17 * 1024
        guest.channel.call("stress", "pages", 1000)
        assert KernelState(guest).walk().problems == []
