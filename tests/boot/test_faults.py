"""Each fault on purpose, in a boot of its own: its reason, its exit code, a report that names the culprit."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from coronel.errors import BootTimeout, GuestError, KernelPanic, MMError
from coronel.guest import Cause, Channel, Guest, Shell
from coronel.pytest_plugin import Build

pytestmark = pytest.mark.guest(memory="32M", timeout=20)

PANIC, POWEROFF = 35, 33  # exit statuses, docs/formats.md, section 3


@dataclass(frozen=True)
class Expected:
    """`reason` is the whole of it, as a regular expression. `names` are in the backtrace, in that order."""

    reason: str
    names: tuple[str, ...]
    registers: bool = True  # a trap shows them; a function that calls panic() does not


STACK = "0x[0-9a-f]{16}"
COMMAND = ("run_break", "run_for_person", "kernel::shell::run", "kmain")

FAULTS = {
    "check": Expected(r"CHECK\(expected == .*\) failed", ("failed_check", *COMMAND), registers=False),
    "clobbered-link": Expected(
        r"CHECK\(linked\(next, list\) && .*\) failed",
        ("Buddy::take", "clobber_link", *COMMAND),
        registers=False,
    ),
    "divide": Expected("divide error", COMMAND),
    "double-free": Expected(
        "double free: frame 0x[0-9a-f]+, order 2",
        ("MemoryManager::meet_misuse", "free_again", *COMMAND),
        False,
    ),
    "exec-data": Expected(
        rf"page fault: execution of {STACK} \(the kernel's data\), which is not executable",
        ("exec_data", *COMMAND),
    ),
    "exec-rodata": Expected(
        rf"page fault: execution of {STACK} \(the kernel's read-only data\), which is not executable",
        ("exec_rodata", *COMMAND),
    ),
    "exec-stack": Expected(
        rf"page fault: execution of {STACK} \(the boot stack\), which is not executable",
        ("exec_stack", *COMMAND),
    ),
    "int3": Expected("breakpoint", COMMAND),
    "int80": Expected("interrupt without a handler", COMMAND),
    "interior-free": Expected(
        "free of the inside of a block: frame 0x[0-9a-f]+, order 0",
        ("meet_misuse", "free_inside", *COMMAND),
        False,
    ),
    "nested-panic": Expected("the first of two panics", ("nested_panic", *COMMAND), registers=False),
    "noncanonical": Expected(
        r"general protection fault: not a canonical address in r\w\w?(, r\w\w?)*", COMMAND
    ),
    "null-exec": Expected(
        r"page fault: execution of 0x0{16} \(the zero page: .*\), which is not mapped",
        ("null_exec", *COMMAND),
    ),
    "null-read": Expected(r"page fault: read of 0x0{16} \(the zero page: .*\), which is not mapped", COMMAND),
    "null-write": Expected(
        r"page fault: write to 0x0{16} \(the zero page: .*\), which is not mapped", COMMAND
    ),
    "reserved-free": Expected(
        "free of a reserved frame: frame 0x0, order 0", ("meet_misuse", "free_frame_zero", *COMMAND), False
    ),
    "stack-overflow": Expected(
        "stack overflow: the boot stack ran into its guard page", ("recurse", "recurse")
    ),
    "cpu-stack-overflow": Expected("stack overflow: the NMI stack ran into its guard page", ()),
    "stack-smash": Expected(
        "the stack canary was overwritten: a function wrote past the end of a local array",
        ("__stack_chk_fail", "stack_smash"),
        registers=False,
    ),
    "thread-stack-canary": Expected(
        rf"stack of thread 9: its canary at {STACK} was overwritten",
        ("KernelStacks::release", "thread_stack_canary", *COMMAND),
        registers=False,
    ),
    "thread-stack-guard": Expected(
        rf"page fault: write to {STACK} \(the guard page of the stack of CPU 3, "
        rf"from {STACK} \S.*thread_stack_guard\+0x[0-9a-f]+\), which is not mapped",
        COMMAND,
    ),
    "thread-stack-overflow": Expected("stack overflow of thread 7: it ran into its guard page", ()),
    "ud2": Expected("invalid opcode", COMMAND),
    "vfree-inside": Expected(
        rf"free of the inside of a block: kernel address {STACK}, in the vmalloc range of break at {STACK}",
        ("meet_range_misuse", "vfree_inside", *COMMAND),
        registers=False,
    ),
    "vfree-twice": Expected(
        f"double free: kernel address {STACK}",
        ("meet_range_misuse", "vfree_twice", *COMMAND),
        registers=False,
    ),
    "vfree-wild": Expected(
        f"free of kernel addresses that nobody has: kernel address {STACK}",
        ("meet_range_misuse", "vfree_wild", *COMMAND),
        registers=False,
    ),
    "vmalloc-after-free": Expected(
        rf"page fault: write to {STACK} \(kernel addresses that nobody has\), which is not mapped", COMMAND
    ),
    "vmalloc-execute": Expected(
        rf"page fault: execution of {STACK} \(in the vmalloc range \[{STACK}, {STACK}\) of break, "
        rf"from {STACK} .*some_pages.*\), which is not executable",
        ("vmalloc_execute", *COMMAND),
    ),
    "vmalloc-overrun": Expected(
        rf"page fault: write to {STACK} \(the guard page of the vmalloc range \[{STACK}, {STACK}\) of break, "
        rf"from {STACK} .*some_pages.*\), which is not mapped",
        COMMAND,
    ),
    "wild-free": Expected(
        "free of a frame that does not exist: frame 0x2005, order 0",
        ("meet_misuse", "free_beyond", *COMMAND),
        False,
    ),
    "writable-text": Expected(
        f"the page at {STACK} is writable and executable",
        ("verify_protection", "writable_text", *COMMAND),
        registers=False,
    ),
    "write-after-free": Expected(
        "write after free: 0x[0-9a-f]{16} holds 0x42 .* where every byte was 0xf0",
        ("verify_poison", "Physical::verify_poison", "write_after_free", *COMMAND),
        registers=False,
    ),
    "write-rodata": Expected(
        rf"page fault: write to {STACK} \(the kernel's read-only data\), which is not writable", COMMAND
    ),
    "write-text": Expected(
        rf"page fault: write to {STACK} \(the kernel's text\), which is not writable", COMMAND
    ),
    "wrong-order": Expected(
        "freed with another order than it was allocated with: frame 0x[0-9a-f]+, order 1, "
        "allocated with order 2",
        ("meet_misuse", "free_as_smaller", *COMMAND),
        registers=False,
    ),
}
OTHER_ENDS = {"hang", "reset", "silent", "triple-fault"}
SEVERAL_CPUS = {"all-panic", "cpu-panic", "deaf-cpu", "lock-abba", "thread-overflow"}  # test_smp.py
MISUSES = {
    "double-free": "double free",
    "interior-free": "free of the inside of a block",
    "reserved-free": "free of a reserved frame",
    "wild-free": "free of a frame that does not exist",
    "wrong-order": "freed with another order than it was allocated with",
}


def provoke(guest: Guest, line: str) -> tuple[KernelPanic, str]:
    """Types `line`, which must end in a panic: the error, and the panic's text on COM1."""
    guest.shell.wait_prompt()
    guest.shell.type(line)
    with pytest.raises(KernelPanic) as caught:
        guest.shell.wait_prompt()
    assert guest.ending is not None
    assert (guest.ending.cause, guest.ending.status) == (Cause.panic, PANIC)
    text = guest.console.log.bytes().decode().replace("\r\n", "\n")
    return caught.value, text[text.index("\npanic: ") :]


def backtrace(report: str) -> list[str]:
    start = report.index("backtrace, innermost first:\n")
    end = re.compile(r"^(?!  )", re.MULTILINE).search(report, start + len("backtrace, innermost first:\n"))
    return report[start : end.start() if end else None].splitlines()[1:]


def in_order(lines: list[str], names: tuple[str, ...]) -> None:
    position = 0
    for name in names:
        found = [
            n for n, line in enumerate(lines) if n >= position and re.search(rf"{re.escape(name)}\+0x", line)
        ]
        assert found, f"{name} is missing after line {position} of:\n" + "\n".join(lines)
        position = found[0] + (name == "recurse")


def test_the_guarded_profile_stops_at_the_line_that_uses_a_freed_frame(artifact: Build) -> None:
    """Where the others find the write when the frame is handed out again."""
    guarded = artifact.sibling("guarded")
    with Guest(kernel=guarded.elf, memory="64M", timeout=60) as guest:
        _, text = provoke(guest, "break write-after-free")
    reason = text.splitlines()[1]
    at = r"write to 0x[0-9a-f]{16} \(in free frame \d+ of the direct map\), which is not mapped"
    assert re.fullmatch(f"panic: page fault: {at}", reason), reason
    in_order(backtrace(text), ("run_break", "kmain"))  # the rest is inlined


@pytest.mark.parametrize("fault", FAULTS)
def test_the_fault_is_reported(guest: Guest, artifact: Build, fault: str) -> None:
    if fault == "write-after-free" and not artifact.options["poison_frames"]:
        pytest.skip("freed frames are not filled in this build")
    expected = FAULTS[fault]
    error, text = provoke(guest, f"break {fault}")

    lines = text.splitlines()
    assert re.fullmatch(f"panic: {expected.reason}", lines[1]), lines[1]
    assert error.reason == lines[1].removeprefix("panic: "), "COM2 and COM1 give the same reason"
    assert [event["event"] for event in guest.channel.events] == ["ready", "panic"]
    in_order(backtrace(text), expected.names)
    assert ("registers:\n" in text) == expected.registers
    if expected.registers:
        assert re.search(r"^  rip    0x[0-9a-f]{16}", text, re.MULTILINE)
        assert len(re.findall(r"\b(?:r[a-z0-9]{1,5}|cr\d|cs|ss|error) +0x[0-9a-f]{16}", text)) == 25
    if fault != "nested-panic":
        assert re.search(r"^counters:\nframes_present: +\d+\n", text, re.MULTILINE)
        assert text.endswith("\nend of panic\n")


@pytest.mark.parametrize(
    "fault",
    [
        "stack-overflow",
        "null-write",
        "exec-stack",
        "write-text",
        "double-free",
        "stack-smash",
        "thread-stack-overflow",
        "vfree-twice",
    ],
)
def test_the_release_kernel_detects_it_too(artifact: Build, fault: str) -> None:
    elf = artifact.sibling("release").elf
    with Guest(kernel=elf, memory="32M") as guest:
        _, text = provoke(guest, f"break {fault}")
    assert re.match(f"\npanic: {FAULTS[fault].reason}\n", text)
    assert backtrace(text)


# Of the heap, where misuse panics: what the reason says, and the call that did it in the backtrace.
FOREIGN = "freed to another cache than it was allocated from"
HEAP_BREAKS = {
    "double_free kmalloc 100 3 0": rf"double free: cache kmalloc-112, address {STACK}, "
    rf"object at {STACK} of 112 bytes",
    "late_double_free heap 100 3 0": rf"double free: kernel heap, address {STACK}, block at {STACK}",
    "interior_free kmalloc 64 3 9": rf"free of the inside of an object: cache kmalloc-64, address {STACK}, "
    rf"object at {STACK} of 64 bytes",
    "wild_free kmalloc 8 3 100": rf"free of an address that is no object: address {STACK}, given to kmalloc",
    "foreign_free kmalloc 20000 3 0": rf"{FOREIGN}: kmalloc, address {STACK}, "
    rf"object at {STACK} of 32768 bytes, given to stranger",
    "wrong_size_free kmalloc 64 3 100": "freed with another size than it was allocated with: "
    rf"cache kmalloc-64, address {STACK}, object at {STACK} of 64 bytes, told 100",
}


@pytest.mark.parametrize("error", HEAP_BREAKS)
def test_a_misuse_of_the_heap_stops_the_kernel(guest: Guest, error: str) -> None:
    _, text = provoke(guest, f"break heap {error} 5")
    reason = text.splitlines()[1].removeprefix("panic: ")
    found = re.fullmatch(rf"{HEAP_BREAKS[error]}, caught at ({STACK}) by CPU 0, \d+ us", reason)
    assert found, reason
    lines = backtrace(text)
    in_order(lines, ("MemoryManager::tell", "heap_site<7u>", "Breaker::run", "break_heap", *COMMAND))
    assert any(found[1] in line for line in lines), "the report names the call in the backtrace"


def test_every_fault_of_the_kernel_is_tested(shell: Shell, channel: Channel) -> None:
    listed = {row["fault"] for row in channel.call("break")["faults"]}
    assert listed == set(FAULTS) | OTHER_ENDS | SEVERAL_CPUS
    assert listed == {line.split()[0] for line in shell.run("break").splitlines()}


def test_a_panic_inside_a_panic_ends_at_once(guest: Guest) -> None:
    _, text = provoke(guest, "break nested-panic")
    assert text.endswith("panic inside a panic: the details of the panic panicked\n")
    assert text.count("backtrace") == 1


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("panic", "asked for on the console"),
        ("panic because", "because"),
        ("panic   two  words  ", "two  words"),
        ("panic --json", "--json"),
        ("panic " + "x" * 900, "x" * 900),
        ('panic "quoted" \\ back', '"quoted" \\ back'),
    ],
)
def test_panic_says_what_it_was_told(guest: Guest, line: str, reason: str) -> None:
    error, text = provoke(guest, line)
    assert text.startswith(f"\npanic: {reason}\n")
    assert error.reason == reason[:320], "an event has room for that much"
    in_order(backtrace(text), ("run_panic", "kmain"))


@pytest.mark.parametrize("command", ["panic from a program", "break null-read", "break stack-overflow"])
def test_a_panic_ends_what_a_program_waits_for(guest: Guest, channel: Channel, command: str) -> None:
    with pytest.raises(KernelPanic) as caught:
        channel.batch(["meminfo", command, "meminfo"])
    assert guest.ending is not None
    assert guest.ending.status == PANIC
    assert isinstance(caught.value, MMError)
    assert "Link::" in caught.value.report.serial or "stack overflow" in caught.value.reason


# ---- ends that are no panic


@pytest.mark.guest(memory="32M")
@pytest.mark.parametrize("fault", ["hang", "silent"])
def test_a_hung_kernel_tells_where_when_asked_from_outside(guest: Guest, fault: str) -> None:
    guest.shell.wait_prompt()
    with pytest.raises(BootTimeout) as caught:
        guest.shell.run(f"break {fault}", timeout=0.7)
    text = caught.value.report.serial
    assert "panic: NMI: asked from outside where this CPU is" in text
    in_order(backtrace(text), (*COMMAND,))
    # Unless the NMI came while the tick was being handled.
    assert (
        re.search(rf"^  rip    0x[0-9a-f]{{16}} .*::{fault}\+0x", text, re.MULTILINE)
        or "normal_entry" in text
    )
    assert guest.wait_ended().status == PANIC


def test_an_nmi_at_the_prompt_is_a_panic(guest: Guest) -> None:
    guest.shell.wait_prompt()
    guest.inject_nmi()
    with pytest.raises(KernelPanic, match="NMI: asked from outside"):
        guest.shell.run("help")
    assert guest.ending is not None
    assert guest.ending.status == PANIC


@pytest.mark.parametrize("fault", ["triple-fault", "reset"])
def test_an_end_without_a_word_is_a_crash(guest: Guest, fault: str) -> None:
    guest.shell.wait_prompt()
    guest.shell.type(f"break {fault}")
    with pytest.raises(GuestError, match="reset without announcing it") as caught:
        guest.shell.wait_prompt()
    assert not isinstance(caught.value, KernelPanic)
    assert guest.ending is not None
    assert guest.ending.cause is Cause.crash


def test_reboot_announces_itself(guest: Guest) -> None:
    guest.shell.wait_prompt()
    guest.shell.type("reboot")
    assert guest.wait_ended().cause is Cause.reboot
    assert [event["event"] for event in guest.channel.events] == ["ready", "reboot"]
    assert guest.console.log.bytes().endswith(b"reboot\r\nrebooting\r\n")


def test_poweroff_has_its_own_exit_code(guest: Guest) -> None:
    guest.shell.wait_prompt()
    guest.shell.type("poweroff")
    ending = guest.wait_ended()
    assert (ending.cause, ending.status) == (Cause.poweroff, POWEROFF)
    assert [event["event"] for event in guest.channel.events] == ["ready", "poweroff"]


# ---- on_misuse=refuse


@pytest.mark.guest(memory="32M", cmdline="on_misuse=refuse")
def test_misuse_can_be_refused_instead(shell: Shell, channel: Channel) -> None:
    channel.call("quiesce")
    before = channel.batch(["buddyinfo", "meminfo"])
    misuses = channel.call("stats")["frame_misuses"]
    for number, (fault, reason) in enumerate(MISUSES.items(), start=1):
        assert shell.run(f"break {fault}") == f"break: refused: {reason}\n"
        assert channel.call("stats")["frame_misuses"] == misuses + number
    channel.call("quiesce")
    after = channel.batch(["buddyinfo", "meminfo"])
    assert [outcome.value for outcome in after] == [outcome.value for outcome in before]
    channel.call("stress", "pages", 2000)


@pytest.mark.guest(memory="32M", cmdline="on_misuse=refuse")
def test_misuse_of_kernel_addresses_can_be_refused(shell: Shell, channel: Channel) -> None:
    reasons = {
        "vfree-twice": "double free",
        "vfree-inside": "free of the inside of a block",
        "vfree-wild": "free of kernel addresses that nobody has",
    }
    for number, (fault, reason) in enumerate(reasons.items(), start=1):
        assert shell.run(f"break {fault}") == f"break: refused: {reason}\n"
        assert channel.call("stats")["range_misuses"] == number
    assert channel.call("vmallocinfo") == []


@pytest.mark.guest(memory="32M", cmdline="on_misuse=refuse")
def test_refusing_misuse_forgives_nothing_else(guest: Guest) -> None:
    error, _ = provoke(guest, "break write-text")
    assert "not writable" in error.reason
