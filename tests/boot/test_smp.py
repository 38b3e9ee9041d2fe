"""Several CPUs: who comes up, on what firmware, how they stop; threads and messages on all of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from coronel.errors import BootTimeout, KernelPanic
from coronel.gdb.session import gdb_command
from coronel.guest import Channel, Guest
from coronel.mm.kernel import KernelState
from coronel.pytest_plugin import Build

MOST = 16  # max_cpus
SAID = re.compile(r"^boot: (\d+) CPUs$", re.MULTILINE)


def cpus_of(guest: Guest) -> list[dict[str, Any]]:
    """The rows of the command, by number."""
    rows: list[dict[str, Any]] = guest.channel.call("cpus")["cpus"]
    assert [row["cpu"] for row in rows] == list(range(len(rows)))
    return rows


# ---- who comes up


@pytest.mark.parametrize("cpus", [1, 2, 4, 16, 20])
@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_every_cpu_that_there_is_room_for_runs(artifact: Build, cpus: int, machine: str) -> None:
    with Guest(kernel=artifact.elf, memory="64M", cpus=cpus, machine=machine, timeout=60) as guest:
        guest.wait_ready()
        text = guest.shell.wait_prompt()
        rows = cpus_of(guest)
        assert len(rows) == min(cpus, MOST)
        assert SAID.findall(text) == ([str(len(rows))] if cpus > 1 else [])
        left = f"boot: {cpus - MOST} CPUs are left alone: the kernel has room for {MOST} (max_cpus)"
        assert text.count("left alone") == text.count(left) == (cpus > MOST)
        assert {row["state"] for row in rows} == {"running"}
        assert len({row["apic"] for row in rows}) == len(rows)
        assert guest.channel.call("cpus")["controllers"] == "APIC"
        check_ticks(guest)


def check_ticks(guest: Guest) -> None:
    """Every CPU's timer goes on."""
    before = [row["ticks"] for row in cpus_of(guest)]

    def all_went_on() -> bool:
        return all(row["ticks"] > old for row, old in zip(cpus_of(guest), before, strict=True))

    guest.wait(lambda: all_went_on() or None, "a tick of every CPU", 30)


@pytest.mark.parametrize(("cpus", "most"), [(4, 2), (4, 1), (2, 8)])
def test_the_command_line_limits_them(artifact: Build, cpus: int, most: int) -> None:
    with Guest(kernel=artifact.elf, memory="64M", cpus=cpus, cmdline=f"maxcpus={most}", timeout=30) as guest:
        guest.wait_ready()
        assert len(cpus_of(guest)) == min(cpus, most)


@pytest.mark.parametrize("start", ["pvh", "bios", "uefi"])
def test_every_way_to_boot(artifact: Build, start: str) -> None:
    ways: dict[str, dict[str, Any]] = {
        "pvh": {"kernel": artifact.elf},
        "bios": {"iso": artifact.iso},
        "uefi": {"iso": artifact.iso, "firmware": "uefi", "machine": "q35"},
    }
    with Guest(memory="128M", cpus=3, timeout=60, **ways[start]) as guest:
        guest.wait_ready()
        assert len(cpus_of(guest)) == 3


@pytest.mark.guest(memory="64M", cpus=4, timeout=30)
@pytest.mark.parametrize("cpu", ["max", "qemu64"])
def test_all_cpus_are_set_up_alike(artifact: Build, cpu: str) -> None:
    with Guest(kernel=artifact.elf, memory="64M", cpus=4, cpu=cpu, timeout=30) as guest:
        guest.wait_ready()
        with guest.paused():
            registers = [one.values for one in guest.registers()]
    assert len(registers) == 4
    for name in ("cr0", "cr3", "cr4", "efer"):
        assert len({values[name] for values in registers}) == 1, name


@pytest.mark.guest(memory="64M", cpus=4, timeout=30)
def test_each_cpu_has_stacks_with_guards(guest: Guest) -> None:
    guest.wait_ready()
    stacks = guest.channel.call("stacks")["stacks"]
    names = {row["stack"] for row in stacks}
    uses = ("double fault", "NMI", "machine check", "debug", "idle")
    assert names >= {f"CPU {cpu} {use}" for cpu in (1, 2, 3) for use in uses}
    for cpu in (1, 2, 3):
        rows = [
            row for row in guest.channel.call("vmallocinfo") if (row["owner"], row["number"]) == ("CPU", cpu)
        ]
        assert {(row["kind"], row["pages"]) for row in rows} == {("stack", 4)}
        assert all("make_cpu_stacks" in row["caller"] or "start_others" in row["caller"] for row in rows)
        mine = {int(row["guard"], 16) for row in stacks if row["stack"].startswith(f"CPU {cpu} ")}
        assert mine == {int(row["range"].split("-")[0], 16) for row in rows}
        assert len(rows) == len(uses)
    memory = guest.kernel_memory()
    for row in stacks:
        guard, top = int(row["guard"], 16), int(row["top"], 16)
        assert memory.read(top - 8, 8) is not None
        with pytest.raises(Exception, match="not mapped"):
            memory.translate(guard)


def test_the_timer_is_calibrated(artifact: Build) -> None:
    """Under icount both clocks count instructions; QEMU's timer runs at 1 GHz, divided by 16."""
    with Guest(kernel=artifact.elf, memory="64M", icount=0, timeout=30) as guest:
        guest.wait_ready()
        assert guest.channel.call("cpus")["timer_hz"] == pytest.approx(62_500_000, rel=0.002)


# ---- firmware that is broken: one CPU, and the old controllers


def find_table(ram: bytearray, signature: bytes) -> int:
    """Where that ACPI table lies. The kernel has the signature in its text, too, before bytes whose sum may
    be right by chance: QEMU's tables are QEMU's by their OEM ID.
    """
    data = ram
    at = data.find(signature)
    while at >= 0:
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        is_qemus = data[at + 10 : at + 16] == b"BOCHS "
        if is_qemus and 36 <= size < 65536 and sum(data[at : at + size]) % 256 == 0:
            return at
        at = data.find(signature, at + 1)
    raise AssertionError(f"no table {signature!r}")


def fix(ram: bytearray, at: int) -> None:
    """Makes the sum right again."""
    size = int.from_bytes(ram[at + 4 : at + 8], "little")
    ram[at + 9] = 0
    ram[at + 9] = -sum(ram[at : at + size]) % 256


def wrong_sum(ram: bytearray) -> None:
    ram[find_table(ram, b"APIC") + 40] ^= 0x10


def zero_length(ram: bytearray) -> None:
    at = find_table(ram, b"APIC")
    ram[at + 44 + 8 + 1] = 0  # of the second CPU's entry
    fix(ram, at)


def truncated(ram: bytearray) -> None:
    at = find_table(ram, b"APIC")
    ram[at + 4] -= 5
    fix(ram, at)


def half_head(ram: bytearray) -> None:
    at = find_table(ram, b"APIC")
    ram[at + 4] = 40
    fix(ram, at)


def missing(ram: bytearray) -> None:
    at = find_table(ram, b"APIC")
    ram[at : at + 4] = b"XXXX"
    fix(ram, at)


def no_timer(ram: bytearray) -> None:
    at = find_table(ram, b"FACP")
    ram[at + 91] = 0
    fix(ram, at)


def no_io_apic(ram: bytearray) -> None:
    at = find_table(ram, b"APIC")
    entry = at + 44
    while ram[entry] != 1:
        entry += ram[entry + 1]
    ram[entry] = 0x7F
    fix(ram, at)


BROKEN: dict[str, tuple[Callable[[bytearray], None], str]] = {
    "wrong-sum": (wrong_sum, "the ACPI table 'APIC' at 0x[0-9a-f]+ has a wrong checksum; skipped"),
    "zero-length": (
        zero_length,
        "its entry of type 0 at offset 52 says that it is 0 bytes long, which cannot be; one CPU is used",
    ),
    "truncated": (truncated, "the ACPI table 'APIC'.*; one CPU is used"),
    "half-head": (half_head, "is 40 bytes long, too short for its head; one CPU is used"),
    "missing": (missing, "no ACPI table 'APIC'; one CPU is used, and the 8259 interrupt controllers"),
    "no-timer": (no_timer, "no ACPI power-management timer; one CPU is used"),
    "no-io-apic": (no_io_apic, "no usable local APIC or I/O APIC; one CPU is used"),
}


def change(guest: Guest, spoil: Callable[[bytearray], None]) -> None:
    """Writes what `spoil` did to a copy of RAM back, page by page."""
    before = guest.ram.read(0, guest.options.memory_bytes)
    after = bytearray(before)
    spoil(after)
    changed = [at for at in range(0, len(before), 4096) if before[at : at + 4096] != after[at : at + 4096]]
    assert changed
    for at in changed:
        guest.ram.write(at, bytes(after[at : at + 4096]))


def stop_at_kmain(guest: Guest, artifact: Build, socket: Path) -> None:
    """Starts the guest and leaves it at the kernel's first line."""
    guest.start(paused=True)
    stop = ["hbreak kmain", "continue", "delete", "disconnect"]
    done = subprocess.run(
        gdb_command("gdb", artifact.elf, socket, stop, batch=True),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "kmain" in done.stdout, done.stderr


@pytest.mark.skipif(shutil.which("gdb") is None, reason="there is no gdb")
@pytest.mark.parametrize("name", BROKEN)
def test_broken_tables_leave_one_cpu(artifact: Build, tmp_path: Path, name: str) -> None:
    """Firmware makes its tables at its start, so the machine is stopped at the kernel's first line."""
    spoil, answer = BROKEN[name]
    socket = tmp_path / "gdb"
    guest = Guest(kernel=artifact.elf, memory="64M", cpus=4, gdb=socket, timeout=60)
    try:
        stop_at_kmain(guest, artifact, socket)
        change(guest, spoil)
        guest.resume()
        guest.wait_ready()
        text = guest.shell.wait_prompt()
        assert re.search(rf"^boot: .*{answer}", text, re.MULTILINE), text
        assert "CPUs" not in text
        value = guest.channel.call("cpus")
        assert (value["controllers"], len(value["cpus"])) == ("8259", 1)
        check_ticks(guest)
        if artifact.options["debug"]:
            assert guest.channel.call("ktest", "thread", timeout=60)["failed"] == 0
    finally:
        guest.close()


@pytest.mark.skipif(shutil.which("gdb") is None, reason="there is no gdb")
def test_a_cpu_that_does_not_exist_is_left_alone(artifact: Build, tmp_path: Path) -> None:
    """The table names one that nobody has: the others run, and so do threads and messages among them."""

    def stranger(ram: bytearray) -> None:
        at = find_table(ram, b"APIC")
        entry = at + 44 + 8  # of the second CPU
        assert (ram[entry], ram[entry + 3]) == (0, 1)
        ram[entry + 3] = 77
        fix(ram, at)

    guest = Guest(kernel=artifact.elf, memory="64M", cpus=3, gdb=tmp_path / "gdb", timeout=60)
    try:
        stop_at_kmain(guest, artifact, tmp_path / "gdb")
        change(guest, stranger)
        guest.resume()
        guest.wait_ready(60)
        text = guest.shell.wait_prompt()
        assert text.count("boot: the CPU with APIC number 77 does not answer; it is left alone") == 1
        assert SAID.findall(text) == ["2"]
        assert [row["apic"] for row in cpus_of(guest)] == [0, 2]
        owners = [(row["owner"], row["number"]) for row in guest.channel.call("vmallocinfo")]
        assert owners == [("CPU", 1)] * 5, "the stacks of the one that never came were given back"
        assert [row["name"] for row in guest.channel.call("threads")["threads"]] == [
            "shell",
            "idle 0",
            "idle 1",
        ]
        assert guest.channel.call("stress", "cpus", 500, seed=1)["cpus"] == 2
        KernelState(guest, artifact.artifact).tasks().check()
    finally:
        guest.close()


def short_of_memory(artifact: Build) -> Iterator[Guest]:
    """Machines of 16 CPUs with less and less memory, by what is held back."""
    loaded = [one for one in artifact.artifact.segments if one.type == "PT_LOAD"]
    kernel_end = max(one.physical + one.memory_bytes for one in loaded) // (256 << 10) * 256  # KiB
    for first in range(kernel_end + 1792, kernel_end, -256):
        cmdline = f"hold={first}K-15872K hold=64K-512K"
        with Guest(kernel=artifact.elf, memory="16M", cpus=MOST, cmdline=cmdline, timeout=60) as guest:
            guest.wait_ready()
            yield guest


def test_cpus_without_memory_for_their_stacks_are_left_alone(artifact: Build) -> None:
    """Nearly everything is held back: some CPUs come up, the next is named once, nothing hangs or is lost."""
    for guest in short_of_memory(artifact):
        text = guest.shell.wait_prompt()
        rows = cpus_of(guest)
        said = re.findall(r"^boot: no memory for the stacks of CPU (\d+); it is left alone$", text, re.M)
        if not said:
            assert len(rows) == MOST
            continue
        assert said == [str(len(rows))]
        assert 1 < len(rows) < MOST
        assert SAID.findall(text) == [str(len(rows))]
        assert {row["state"] for row in rows} == {"running"}
        check_ticks(guest)
        names = [row["name"] for row in guest.channel.call("threads")["threads"]]
        assert names == ["shell", *(f"idle {cpu}" for cpu in range(len(rows)))]
        stacks = [row["stack"] for row in guest.channel.call("stacks")["stacks"]]
        assert not any(name.startswith(f"CPU {len(rows)} ") for name in stacks), (
            "what was made was given back"
        )
        state = KernelState(guest, artifact.artifact)
        state.tasks().check()
        state.walk().check()
        return
    raise AssertionError("there was always enough")


# ---- threads and messages


@pytest.mark.needs("debug")
@pytest.mark.parametrize("cpus", [2, 4])
@pytest.mark.parametrize("suite", ["thread", "ipi"])
def test_threads_and_messages_on_several_cpus(artifact: Build, cpus: int, suite: str) -> None:
    with Guest(kernel=artifact.elf, memory="64M", cpus=cpus, timeout=60) as guest:
        guest.wait_ready()
        result = guest.channel.call("ktest", suite, timeout=120)
        assert (result["failures"], result["failed"]) == ([], 0)
        rows = cpus_of(guest)
        assert all(row["calls"] > 0 for row in rows[1:]) == (suite == "ipi")
        assert all(row["switches"] > 0 for row in rows)


@pytest.mark.needs("debug")
@pytest.mark.guest(memory="256M", cpus=4, timeout=60)
def test_the_unit_tests_pass_beside_other_cpus(channel: Channel, coronel_seed: int) -> None:
    result = channel.call("ktest", seed=coronel_seed, timeout=300)
    assert (result["failures"], result["failed"]) == ([], 0)


@pytest.mark.guest(memory="64M", cpus=2, timeout=30)
def test_threads_are_listed(guest: Guest) -> None:
    guest.wait_ready()
    rows = guest.channel.call("threads")["threads"]
    assert [row["name"] for row in rows] == ["shell", "idle 0", "idle 1"]
    assert rows[0]["state"] == "running"
    assert {row["pinned"] for row in rows} == {"yes"}
    shown = guest.shell.run("threads")
    assert all(row["name"] in shown for row in rows)
    assert "idle 1" in guest.shell.run("cpus")


# ---- locks


@pytest.mark.needs("debug")
@pytest.mark.guest(memory="64M", cpus=2, timeout=60)
def test_contention_is_counted_by_rank(guest: Guest) -> None:
    guest.wait_ready()
    ranks = [row["rank"] for row in guest.channel.call("locks")["locks"]]
    assert (ranks[0], ranks[-1], len(ranks)) == ("process", "log", 13)
    assert guest.channel.call("ktest", "thread.a_mutex_lets", timeout=60)["failed"] == 0
    rows = {row["rank"]: row for row in guest.channel.call("locks")["locks"]}
    assert rows["process"]["contended"] > 0, "that test gives up its CPU while it holds the lock"
    assert {row["waiting"] for row in rows.values()} == {0}


@pytest.mark.needs("debug")
@pytest.mark.guest(memory="64M", cpus=2, cmdline="locklimit=150", timeout=60)
def test_a_deadlock_is_reported_once_with_both_places(guest: Guest) -> None:
    guest.shell.wait_prompt()
    guest.shell.type("break lock-abba")
    place = r"kernel/shell/faults\.cpp:\d+"
    report = re.compile(
        rf"a (\w+) lock is held too long: (\w+) waits for it at {place} for (\d+) ms, taken at {place}"
    )

    def reports() -> list[tuple[str, str, str]]:
        return report.findall(guest.console.log.bytes().decode())

    guest.wait(lambda: len(reports()) >= 2 or None, "two reports", 30)
    time.sleep(1)
    found = reports()
    assert sorted((rank, who) for rank, who, _ in found) == [("heap", "forward"), ("object", "backward")]
    assert all(int(milliseconds) >= 150 for _, _, milliseconds in found)


# ---- how they stop


def panic_of(guest: Guest, line: str) -> str:
    """What a panic says on COM1."""
    guest.wait_ready()
    guest.shell.wait_prompt()
    guest.shell.type(line)
    with pytest.raises(KernelPanic):
        guest.shell.wait_prompt(30)
    text = guest.console.log.bytes().decode().replace("\r\n", "\n")
    return text[text.index("\npanic: ") :]


@pytest.mark.guest(memory="64M", cpus=4, timeout=60)
def test_a_panic_of_one_cpu_shows_every_stack_once(guest: Guest) -> None:
    text = panic_of(guest, "break cpu-panic")
    assert text.startswith("\npanic: asked for on the last CPU\n")
    assert "  cpu 3, " in text
    assert "in thread errand" in text
    assert text.count("backtrace, innermost first") == 1
    stopped = re.findall(r"^CPU (\d), in thread (\w+)", text, re.MULTILINE)
    assert [number for number, _ in stopped] == ["0", "1", "2"]
    assert {name for _, name in stopped[1:]} == {"idle"}
    assert text.count("kernel::scheduler::idle+") >= 2
    assert text.count("end of panic") == 1


@pytest.mark.guest(memory="64M", cpus=4, timeout=60)
def test_when_all_panic_one_has_the_word(guest: Guest) -> None:
    text = panic_of(guest, "break all-panic")
    first = re.match(r"\npanic: CPU (\d) panics with all others\n", text)
    assert first
    # The others panicked too, or were stopped on their way to it: each is there once, and says only its own.
    others = re.findall(
        r"^CPU (\d), in thread \w+(?:, panicked too: CPU (\d) panics .*)?$", text, re.MULTILINE
    )
    assert sorted([*(number for number, _ in others), first[1]]) == ["0", "1", "2", "3"]
    assert all(said in ("", number) for number, said in others)
    assert text.count("panic: ") == 1
    assert text.endswith("\nend of panic\n")


@pytest.mark.guest(memory="64M", cpus=2, timeout=60)
def test_a_cpu_with_its_interrupts_off_is_stopped_too(guest: Guest) -> None:
    text = panic_of(guest, "break deaf-cpu")
    assert text.startswith("\npanic: while another CPU is deaf\n")
    assert re.search(r"^CPU 1, in thread deaf\n  0x[0-9a-f]{16} ", text, re.MULTILINE)


@pytest.mark.guest(memory="64M", cpus=2, timeout=60)
def test_a_threads_stack_overflow_names_the_thread(guest: Guest) -> None:
    text = panic_of(guest, "break thread-overflow")
    assert re.match(r"\npanic: stack overflow of thread \d+ errand: it ran into its guard page\n", text)


@pytest.mark.guest(memory="64M", cpus=3, timeout=60)
def test_a_cpus_stack_overflow_names_the_cpu_and_the_stack(guest: Guest) -> None:
    text = panic_of(guest, "break cpu-stack-overflow")
    assert text.startswith("\npanic: stack overflow of CPU 2 NMI: it ran into its guard page\n")
    assert "  cpu 2, " in text


@pytest.mark.guest(memory="64M", cpus=4)
def test_an_nmi_from_outside_shows_every_cpu(guest: Guest) -> None:
    guest.shell.wait_prompt()
    with pytest.raises(BootTimeout):
        guest.shell.run("break hang", timeout=1.0)
    text = guest.console.log.bytes().decode()
    assert text.count("panic: NMI") == 1
    assert len(re.findall(r"^CPU \d, in thread", text, re.MULTILINE)) == 3
    assert text.count("end of panic") == 1
