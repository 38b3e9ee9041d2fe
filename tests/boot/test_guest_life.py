"""Processes, files, descriptors: a guest gives back what it takes, whatever happens to its starter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from coronel.errors import ArtifactError, CoronelError, MonitorError, SetupError, UsageError
from coronel.guest import Guest
from coronel.guest import guest as guest_module
from coronel.pytest_plugin import Build

Broken = Callable[..., Path]

STARTER = """
import os, sys, time
from coronel.guest import Guest
guest = Guest(kernel=sys.argv[1], memory="16M", extra=["-name", sys.argv[2]])
guest.start()
guest.console.expect("then", timeout=10)
print(guest.pid, flush=True)
time.sleep(60)
"""


def alive(pid: int) -> bool:
    """Whether the process runs (a zombie that nobody has reaped does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone_within(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


def commands_with(marker: str) -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if marker in words and "qemu" in words:
            found.append(words)
    return found


@pytest.mark.usefixtures("heeded_signals")
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_nothing_outlives_its_starter(broken: Broken, tmp_path: Path, blow: signal.Signals) -> None:
    marker = f"coronel-{os.getpid()}-{blow.name}"
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(broken("hang_after_words")), marker],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert starter.stdout is not None
    qemu = int(starter.stdout.readline())
    assert alive(qemu)
    assert len(commands_with(marker)) == 1, "only QEMU itself: the helpers have become it"

    starter.send_signal(blow)
    starter.wait(10)
    starter.stdout.close()

    assert gone_within(qemu, 2)
    assert commands_with(marker) == []
    assert list(tmp_path.iterdir()) == []


def test_a_guest_outlives_the_thread_that_started_it(broken: Broken) -> None:
    """PR_SET_PDEATHSIG goes by thread: QEMU must hang on the one that lasts."""
    guest = Guest(kernel=broken("echo"), memory="16M")
    thread = threading.Thread(target=guest.start)
    thread.start()
    thread.join()
    try:
        guest.console.expect("!", timeout=5)
        time.sleep(0.3)
        assert alive(guest.pid)
        guest.console.send("still here")
        guest.console.expect("still here", timeout=5)
    finally:
        guest.close()


def test_a_hundred_descriptors_later_there_are_no_more_than_before(broken: Broken) -> None:
    def one() -> None:
        with Guest(kernel=broken("exit_in_a_line", 0x10), memory="16M") as guest:
            guest.wait_ended(5)
            guest.ram.view(0, 4096)

    one()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        one()
        with pytest.raises(MonitorError), Guest(kernel=broken("silent"), memory="16M", extra=["-bogus"]):
            pass
    assert len(os.listdir("/proc/self/fd")) == before


def test_closing_twice_and_before_the_start_is_nothing(broken: Broken) -> None:
    guest = Guest(kernel=broken("silent"), memory="16M")
    guest.close()
    guest.start()
    pid = guest.pid
    guest.close()
    guest.close()
    assert not alive(pid)


def test_an_exception_in_the_body_ends_the_guest(broken: Broken) -> None:
    guest = Guest(kernel=broken("silent"), memory="16M")
    with pytest.raises(ZeroDivisionError), guest:
        raise ZeroDivisionError
    assert guest.pid != 0
    assert not alive(guest.pid)


def test_a_child_of_this_process_can_have_guests_too(broken: Broken) -> None:
    """The loop's thread does not survive a fork: the child makes its own."""
    kernel = broken("exit_in_a_line", 0x10)
    with Guest(kernel=broken("silent"), memory="16M"):
        child = os.fork()
        if child == 0:
            try:
                with Guest(kernel=kernel, memory="16M") as guest:
                    os._exit(guest.wait_ended(5).status)
            finally:
                os._exit(99)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 33


def test_a_bad_argument_is_told_in_qemus_words(broken: Broken) -> None:
    with pytest.raises(MonitorError, match="-bogus: invalid option") as caught:
        Guest(kernel=broken("silent"), memory="16M", extra=["-bogus"]).start()
    assert caught.value.exit_status == 3


def test_an_unknown_cpu_is_told_in_qemus_words(broken: Broken) -> None:
    with pytest.raises(MonitorError, match="unable to find CPU model 'i8080'"):
        Guest(kernel=broken("silent"), memory="16M", cpu="i8080").start()


@pytest.mark.parametrize(
    ("program", "error", "text"),
    [
        ("no-such-qemu", SetupError, "no-such-qemu is not there"),
        ("/bin/true", MonitorError, "exit status 0, and no word why"),
        ("/bin/false", MonitorError, "exit status 1, and no word why"),
    ],
)
def test_what_is_not_qemu_is_found_out(
    broken: Broken, program: str, error: type[CoronelError], text: str
) -> None:
    with pytest.raises(error, match=text):
        Guest(kernel=broken("silent"), memory="16M", qemu=program).start()


def test_a_program_that_never_greets(broken: Broken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeper = tmp_path / "qemu"
    sleeper.write_text("#!/bin/sh\nexec sleep 60\n")
    sleeper.chmod(0o755)
    monkeypatch.setattr("coronel.guest.monitor.GREETING_TIMEOUT", 0.5)
    guest = Guest(kernel=broken("silent"), memory="16M", qemu=str(sleeper))
    with pytest.raises(MonitorError, match="did not greet within"):
        guest.start()
    assert not alive(guest.pid)


def test_an_old_qemu_is_refused(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_module, "MINIMUM_QEMU", (99, 0))
    guest = Guest(kernel=broken("silent"), memory="16M")
    with pytest.raises(SetupError, match=r"is version \d+\.\d+\.\d+: Coronel needs 99.0 or later"):
        guest.start()
    assert not alive(guest.pid)


def test_a_kernel_that_qemu_itself_refuses(broken: Broken, tmp_path: Path) -> None:
    """The note is there, the entry point is not: only QEMU can tell."""
    gone = tmp_path / "gone.elf"
    guest = Guest(kernel=broken("silent"), memory="16M", extra=["-device", "loader,file=" + str(gone)])
    with pytest.raises((MonitorError, ArtifactError), match=r"gone\.elf"):
        guest.start()


def test_two_guests_at_once_do_not_mix(broken: Broken) -> None:
    with Guest(kernel=broken("echo"), memory="16M") as one, Guest(kernel=broken("echo"), memory="16M") as two:
        for guest, word in ((one, "first"), (two, "second")):
            guest.console.expect("!", timeout=5)
            guest.console.send(word)
        two.console.expect("second", timeout=5)
        one.console.expect("first", timeout=5)
        assert b"second" not in one.console.log.bytes()


def test_a_second_start_is_refused_and_harms_nothing(artifact: Build) -> None:
    with Guest(kernel=artifact.elf, memory="16M") as guest:
        with pytest.raises(UsageError, match="started already"):
            guest.start()
        guest.wait_ready()
        assert guest.channel.call("uptime")
    with pytest.raises(UsageError, match="started already"):
        guest.start()
