"""The package against Coronel itself, started directly and by GRUB."""

from __future__ import annotations

import pytest

from coronel.artifact import Artifact
from coronel.errors import GuestError, KernelPanic, MMError
from coronel.guest import Cause, Channel, Guest, Shell
from coronel.pytest_plugin import Build

both_ways = pytest.mark.parametrize(
    "way", [pytest.param(way, marks=pytest.mark.guest(boot=way)) for way in ("pvh", "iso")]
)


@both_ways
def test_it_reaches_its_prompt(guest: Guest, shell: Shell, way: str) -> None:
    guest.wait_ready(30)
    assert "meminfo" in shell.run("help")


def test_people_and_programs_get_the_same_numbers(shell: Shell, channel: Channel) -> None:
    value = channel.call("meminfo")
    text = shell.run("meminfo")

    assert f"{value['MemTotal']} kB" in text
    assert not text.startswith("meminfo"), "the echo is left out"
    assert "coronel>" not in text


def test_many_lines_in_one_record_and_over_its_limits(channel: Channel) -> None:
    outcomes = channel.batch(["meminfo", "no-such-command", *["uptime"] * 100])

    assert [outcome.status == 0 for outcome in outcomes] == [True, False] + [True] * 100
    assert "no-such-command" in outcomes[1].error


def test_a_refused_command_is_an_mm_error_in_the_kernels_words(channel: Channel) -> None:
    with pytest.raises(MMError, match="alloc -1: ORDER must be") as caught:
        channel.call("alloc", -1)
    assert caught.value.errno == 22


def test_a_long_reply_comes_in_parts(channel: Channel) -> None:
    assert len(str(channel.call("help"))) > 0
    assert channel.repeats == 0


def test_a_panic_reaches_the_caller_with_the_kernels_report(guest: Guest, channel: Channel) -> None:
    with pytest.raises(KernelPanic, match="asked for") as caught:
        channel.call("panic")

    assert "backtrace" in caught.value.report.serial
    assert "end of panic" in caught.value.report.serial
    assert guest.ending is not None
    assert guest.ending.status == 35


def test_poweroff_and_reboot_are_told_apart(artifact: Build) -> None:
    for command, cause in (("poweroff", Cause.poweroff), ("reboot", Cause.reboot)):
        with Guest(kernel=artifact.elf, memory="64M") as guest:
            guest.wait_ready()
            guest.shell.type(command)
            assert guest.wait_ended().cause is cause
            with pytest.raises(GuestError, match=guest.ending.text if guest.ending else ""):
                guest.channel.call("meminfo")


def test_kernel_memory_is_what_the_file_says(guest: Guest, artifact: Build) -> None:
    """Text read by virtual address, through the guest's own page tables, equals the ELF file's bytes."""
    guest.wait_ready()
    elf: Artifact = artifact.artifact
    kmain = elf.symbol("kmain")
    with guest.paused():
        memory = guest.kernel_memory()
        assert memory.read(kmain.address, kmain.bytes) == elf.read(kmain.address, kmain.bytes)


@pytest.mark.guest(cpu="max,la57=off")
def test_four_levels_where_the_cpu_has_no_five(guest: Guest) -> None:
    guest.wait_ready()
    assert guest.kernel_memory().levels == 4


@pytest.mark.guest(memory="16M", cpus=2, machine="q35", cmdline="seed=7")
def test_the_marker_describes_the_machine(guest: Guest) -> None:
    guest.wait_ready()
    assert guest.options.memory_bytes == 16 << 20
    assert (guest.options.cpus, guest.options.machine, guest.options.cmdline) == (2, "q35", "seed=7")
    assert len(guest.registers()) == 2


def test_every_guest_gets_the_sessions_seed(guest: Guest, coronel_seed: int) -> None:
    assert f"seed={coronel_seed}" in guest.options.cmdline


@pytest.mark.guest(icount=0)
def test_counting_instructions_repeats_exactly(guest: Guest, artifact: Build) -> None:
    guest.wait_ready(30)
    with Guest(guest.options) as again:
        again.wait_ready(30)
    assert guest.channel.event("ready") == again.channel.event("ready")
