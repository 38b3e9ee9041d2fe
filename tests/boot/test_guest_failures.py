"""A guest that hangs, resets, floods, lies or dies: each gets its own clear error within its deadline."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from coronel.errors import BootTimeout, GuestError, KernelPanic, MMError
from coronel.guest import Cause, Guest

Broken = Callable[..., Path]
DEADLINE = 0.7


def test_a_silent_guest_is_a_timeout_that_says_so(broken: Broken) -> None:
    started = time.monotonic()
    with pytest.raises(BootTimeout) as caught, Guest(kernel=broken("silent"), memory="16M") as guest:
        guest.wait_ready(DEADLINE)

    assert time.monotonic() - started < DEADLINE + 5
    assert "the event 'ready' on COM2" in caught.value.summary
    assert "said nothing at all" in caught.value.summary
    assert caught.value.exit_status == 4


def test_a_hung_guest_leaves_registers_serial_and_a_command(broken: Broken) -> None:
    with (
        pytest.raises(BootTimeout) as caught,
        Guest(kernel=broken("hang_after_words"), memory="16M") as guest,
    ):
        guest.console.expect("never said", timeout=DEADLINE)

    report = caught.value.report
    assert report.serial == "one word, then"
    assert "EIP=001000" in report.registers, "stands inside the kernel"
    assert "XMM" not in report.registers
    assert report.command.startswith("qemu-system-x86_64")
    assert "mon:stdio" in report.command
    assert "'never said' on the console" in caught.value.summary


def test_a_hung_guest_explains_itself_before_the_verdict(broken: Broken) -> None:
    with pytest.raises(BootTimeout) as caught, Guest(kernel=broken("explain", 0x11), memory="16M") as guest:
        guest.wait_ready(DEADLINE)

    assert caught.value.report.serial.endswith("stopped by an NMI in the endless loop")
    assert "after an NMI: the guest panicked" in caught.value.report.process


@pytest.mark.parametrize("way", ["triple_fault", "reset"])
def test_a_reset_that_nobody_announced_is_a_crash(broken: Broken, way: str) -> None:
    guest = Guest(kernel=broken(way), memory="16M")
    with guest, pytest.raises(GuestError, match="reset without announcing it") as caught:
        guest.wait_ready(5)

    assert "about to reset" in caught.value.report.serial
    assert not isinstance(caught.value, BootTimeout)


def test_an_announced_reset_is_a_reboot(broken: Broken) -> None:
    with Guest(kernel=broken("announced_reset"), memory="16M") as guest:
        assert guest.wait_ended(5).cause is Cause.reboot


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        (0x10, Cause.poweroff),
        (0x11, Cause.panic),
        (0x12, Cause.unusable),
        (0x33, Cause.code),
        (0, Cause.code),
    ],
)
def test_every_exit_code_has_its_meaning(broken: Broken, value: int, cause: Cause) -> None:
    with Guest(kernel=broken("exit_in_a_line", value), memory="16M") as guest:
        ending = guest.wait_ended(5)

    assert (ending.cause, ending.status) == (cause, value << 1 | 1)
    assert guest.console.log.tail() == "the first line\nhalf of the sec", "the unfinished line is kept"


def test_an_end_while_something_is_awaited_is_an_error(broken: Broken) -> None:
    guest = Guest(kernel=broken("exit_in_a_line", 0x10), memory="16M")
    with guest, pytest.raises(GuestError, match="powered off, while waiting for 'more'") as caught:
        guest.console.expect_exact("more", timeout=5)

    assert "half of the sec" in str(caught.value)


def test_a_forged_success_proves_nothing(broken: Broken) -> None:
    with Guest(kernel=broken("forge"), memory="16M") as guest:
        guest.console.expect("ready", timeout=5)  # it is there for people to see
        with pytest.raises(BootTimeout):
            guest.wait_ready(DEADLINE)
        assert guest.channel.decoder.damaged == 1, "the record with a wrong CRC was seen and refused"


def test_invalid_text_is_escaped(broken: Broken) -> None:
    with Guest(kernel=broken("invalid_text"), memory="16M") as guest:
        guest.console.expect("after", timeout=5)
        assert guest.console.before == "before \\xff\\xc3( \x1b[31m \x01 "
        guest.wait_ended(5)

    assert guest.console.log.tail() == "before \\xff\\xc3( \\x1b[31m \\x01 after"


def test_a_flood_is_bounded(broken: Broken) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BootTimeout), Guest(kernel=broken("flood"), memory="16M") as guest:
        guest.console.expect("nothing like this", timeout=3)

    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert guest.console.log.total > 2 * guest.console.log.HEAD_LIMIT // 3
    assert len(guest.console.log.bytes()) < 1_300_000
    assert grown < 48 << 10, f"{grown} KiB"
    assert guest.console.log.tail().count("\n") == 39


@pytest.mark.parametrize("code", [0x11, 0])
def test_a_panic_names_its_reason(broken: Broken, code: int) -> None:
    """Also when the kernel then hangs instead of leaving."""
    with Guest(kernel=broken("announced_panic", code), memory="16M") as guest:
        guest.wait(lambda: guest.channel.event("panic"), "the panic", 5)
        with pytest.raises(KernelPanic, match="a list lost its end") as caught:
            guest.wait_ready(0.2)

    assert caught.value.reason == "a list lost its end"
    assert "the report's last line" in caught.value.report.serial, "the report was waited for"
    assert isinstance(caught.value, MMError)


def test_pvpanic_is_seen_and_the_kernel_may_go_on_talking(broken: Broken) -> None:
    with Guest(kernel=broken("tell_pvpanic"), memory="16M") as guest:
        guest.wait_monitor_event("GUEST_PANICKED", 5)
        with pytest.raises(KernelPanic) as caught:
            guest.wait_ready(5)

    assert "still talking" in caught.value.report.serial


def test_a_killed_qemu_is_told_from_a_guest_that_ended(broken: Broken) -> None:
    with Guest(kernel=broken("hang_after_words"), memory="16M") as guest:
        guest.console.expect("then", timeout=5)
        threading.Timer(0.2, os.kill, (guest.pid, signal.SIGKILL)).start()
        with pytest.raises(GuestError, match="QEMU was killed by SIGKILL"):
            guest.wait_ready(5)


def test_the_ram_of_a_dead_guest_can_be_read(broken: Broken) -> None:
    with Guest(kernel=broken("exit_in_a_line", 0x11), memory="16M") as guest:
        guest.wait_ended(5)
        assert guest.ram.read(0x100010, 4) != bytes(4)
