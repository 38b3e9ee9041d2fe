"""What can be seen of a machine and done to it: ports that lose nothing, RAM, registers, pausing."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from coronel.errors import DecodeError, GuestError, MonitorError
from coronel.guest import Guest, GuestOptions
from coronel.guest.loop import loop_thread

Broken = Callable[..., Path]


@pytest.mark.parametrize("reader_is_late", [False, True], ids=["prompt", "late"])
def test_no_byte_is_lost(broken: Broken, reader_is_late: bool) -> None:
    """Not even from a guest that never looks whether the line is free, when nobody reads for a while."""
    count = 200_000
    with Guest(kernel=broken("count_up", count), memory="16M") as guest:
        if reader_is_late:
            loop_thread().call(lambda: time.sleep(0.5))  # the thread that reads
        guest.wait_ended(30)
        # The log keeps the beginning and the end; together more than there is.
        assert guest.console.log.bytes() == bytes(n % 251 for n in range(count))


def test_what_is_typed_arrives(broken: Broken) -> None:
    """64 KiB at full speed, far more than the port's 16 bytes."""
    text = "".join(chr(ord("a") + n % 26) for n in range(16 << 10))
    with Guest(kernel=broken("echo"), memory="16M") as guest:
        guest.console.expect("!", timeout=5)
        time.sleep(0.05)
        guest.console.send(text)
        guest.wait(lambda: guest.console.log.total > len(text) or None, "the echo", 30)
        assert guest.console.log.bytes() == b"!" + text.encode()


def test_a_pattern_at_the_beginning_of_much_text_is_found(broken: Broken) -> None:
    with Guest(kernel=broken("echo"), memory="16M") as guest:
        guest.console.expect("!", timeout=5)
        time.sleep(0.05)
        guest.console.send("needle" + "." * 8000 + "end")
        guest.wait(lambda: guest.console.log.total > 8000 or None, "the echo", 30)
        guest.console.expect("needle", timeout=5)
        guest.console.expect("end", timeout=5)
        assert guest.console.before == "." * 8000


@pytest.mark.parametrize("machine", ["pc", "q35"])
@pytest.mark.parametrize("memory", ["16M", "2815M", "2816M", "3583M", "3584M", "5G"])
def test_ram_lies_where_qemu_puts_it(broken: Broken, machine: str, memory: str) -> None:
    options = GuestOptions(kernel=broken("silent"), machine=machine, memory=memory)
    with Guest(options) as guest:
        tree = guest.hmp("info mtree -f", timeout=20)
    flat = tree[tree.index("Root memory region: system") :].split("FlatView")[0]
    pattern = r"([0-9a-f]{16})-([0-9a-f]{16}) \(prio \d+, ram\): ram(?: @([0-9a-f]+))?"
    seen = [
        (int(first, 16), int(last, 16), int(at or "0", 16)) for first, last, at in re.findall(pattern, flat)
    ]
    ours = [(segment.address, segment.end - 1, segment.offset) for segment in options.segments()]

    assert seen, tree
    for first, last, offset in seen:
        assert any(start <= first and last <= end and offset - at == first - start for start, end, at in ours)
    assert max(last for _, last, _ in seen) == ours[-1][1]
    if len(ours) == 2:
        assert max(last for _, last, _ in seen if last < 1 << 32) == ours[0][1]


def test_ram_is_the_guests_own(broken: Broken) -> None:
    with Guest(kernel=broken("echo"), memory="64M") as guest:
        guest.console.expect("!", timeout=5)
        code = guest.ram.read(0x100000, 4096)
        assert b"Xen\0" in code
        assert bytes(guest.ram.view(0x100000, 4096)) == code
        assert guest.ram.array(0x100000, "<u4", 3).tolist() == [4, 4, 18]

        runs = list(guest.ram.populated())
        assert any(start <= 0x100000 < start + size for start, size in runs)
        held = sum(size for _, size in runs)
        assert held < 8 << 20
        guest.ram.read(32 << 20, 1 << 20)
        assert sum(size for _, size in guest.ram.populated()) == held, "a read of a hole leaves it one"

        guest.ram.write(48 << 20, b"written from outside")
        assert guest.hmp(f"xp /4xb {48 << 20:#x}").split()[1:] == ["0x77", "0x72", "0x69", "0x74"]
        for address, size in ((64 << 20, 1), ((64 << 20) - 1, 2), (0, -1), (1 << 40, 8)):
            with pytest.raises(DecodeError):
                guest.ram.read(address, size)
    with pytest.raises(GuestError, match="from start"):
        _ = guest.ram


def test_a_pause_stands_still_and_nests(broken: Broken) -> None:
    with Guest(kernel=broken("flood"), memory="16M") as guest:
        guest.console.expect("XYZ", timeout=5)
        with guest.paused():
            with guest.paused():
                pass
            assert not guest.qmp("query-status")["running"]
            time.sleep(0.1)
            before = guest.console.log.total
            time.sleep(0.1)
            assert guest.console.log.total == before
        assert guest.qmp("query-status")["running"]
        guest.wait(lambda: guest.console.log.total > before or None, "more", 5)

        guest.qmp("stop")
        with guest.paused():
            pass
        assert not guest.qmp("query-status")["running"], "who stopped it wants it stopped"


def test_registers_of_every_cpu(broken: Broken) -> None:
    with Guest(kernel=broken("hang_after_words"), memory="16M", cpus=2) as guest:
        guest.console.expect("then", timeout=5)
        first, second = guest.registers()
    assert 0x100000 <= first["rip"] < 0x101000
    assert (first.cpu, second.cpu) == (0, 1)
    assert first["cr0"] & 1
    with pytest.raises(KeyError):
        _ = first["r99"]


def test_qmp_refusals_are_told_in_qmps_words(broken: Broken) -> None:
    with Guest(kernel=broken("silent"), memory="16M") as guest:
        with pytest.raises(
            MonitorError, match="QMP no-such-thing: The command no-such-thing has not been found"
        ):
            guest.qmp("no-such-thing")
        guest.qmp("quit")
        guest.wait_ended(5)
        with pytest.raises(MonitorError):
            guest.qmp("query-status")


def test_a_guest_can_be_started_paused(broken: Broken) -> None:
    guest = Guest(kernel=broken("hang_after_words"), memory="16M")
    try:
        guest.start(paused=True)
        time.sleep(0.2)
        assert guest.console.log.total == 0
        guest.resume()
        guest.console.expect("then", timeout=5)
    finally:
        guest.close()
