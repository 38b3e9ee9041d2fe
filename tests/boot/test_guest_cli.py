"""`coronel` as a command: its exit statuses, its one-line errors, its terminal, and no QEMU left behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect
import pytest

from coronel.pytest_plugin import Build

Broken = Callable[..., Path]
Terminal = Callable[..., Any]  # of pexpect.spawn, whose types do not know what a match is
COMMAND = [sys.executable, "-m", "coronel"]


def coronel(*words: object, text: str | None = "", timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, words)], input=text, capture_output=True, text=True, timeout=timeout, check=False
    )


def children_of(pid: int) -> list[int]:
    """From /proc, for ps and pgrep are not on every machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            parent = path.read_text().rpartition(")")[2].split()[1]
            if int(parent) == pid:
                found.append(int(path.parent.name))
    return sorted(found)


def test_help_is_quick_and_names_the_commands() -> None:
    best = min(timed_help() for _ in range(3))
    assert best < 0.3 or os.getloadavg()[0] > 2, f"{best:.2f} s"


def timed_help() -> float:
    started = time.monotonic()
    done = coronel("--help")
    assert done.returncode == 0
    assert {"run", "test", "image", "doctor"} <= set(done.stdout.split())
    return time.monotonic() - started


@pytest.mark.parametrize("memory", ["0", "-1", "1", "abc", "1T"])
def test_a_senseless_size_is_one_line_and_2(broken: Broken, memory: str) -> None:
    done = coronel("run", "--kernel", broken("silent"), f"--memory={memory}")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(rf"coronel: memory '{memory}' .*\n", done.stderr)


@pytest.mark.parametrize("words", [["frobnicate"], ["run", "--frobnicate"], ["run", "--cpus", "x"], []])
def test_a_wrong_command_line_is_2(words: list[str]) -> None:
    done = coronel(*words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_what_the_environment_lacks_is_one_line_and_3(broken: Broken, tmp_path: Path) -> None:
    cut = tmp_path / "cut.elf"
    cut.write_bytes(broken("silent").read_bytes()[:200])
    for words, text in (
        (["--kernel", tmp_path / "none.elf"], "does not exist"),
        (["--iso", tmp_path / "none.iso"], "does not exist"),
        (["--kernel", cut], "cut off"),
        (["--build", tmp_path], "does not exist"),
        (["--kernel", broken("silent"), "--qemu", "no-such-qemu"], "no-such-qemu is not there"),
        (["--kernel", broken("silent"), "--cpu", "i8080"], "unable to find CPU model"),
    ):
        done = coronel("run", *words)
        assert (done.returncode, done.stdout) == (3, ""), done.stderr
        assert done.stderr.count("\n") == 1
        assert text in done.stderr


def test_a_silent_guest_is_4(broken: Broken) -> None:
    done = coronel("run", "--kernel", broken("silent"), "--timeout", "1")
    assert done.returncode == 4
    assert "said nothing at all" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_failing_guest_is_1_and_its_words_are_passed_on(broken: Broken) -> None:
    done = coronel("run", "--kernel", broken("exit_in_a_line", 0x11))
    assert done.returncode == 1
    assert done.stdout.splitlines() == ["the first line", "half of the sec"]
    assert "panicked" in done.stderr


def test_bytes_that_are_no_text_pass_unchanged(broken: Broken) -> None:
    done = subprocess.run(
        [*COMMAND, "run", "--kernel", broken("invalid_text")],
        input=b"",
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert b"before \xff\xc3( \x1b[31m \x01 after" in done.stdout


def test_piped_lines_are_answered_in_order(artifact: Build) -> None:
    done = coronel("run", "--kernel", artifact.elf, text="help\nuptime\nno-such-command\n")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    places = [
        done.stdout.index(text) for text in ("coronel> help", "coronel> uptime", "coronel> no-such-command")
    ]
    assert places == sorted(places)
    assert done.stdout.endswith("\n")


@pytest.mark.parametrize(
    ("words", "cpus"),
    [([], 2), (["--cpus", "3"], 3), (["--icount", "0"], 1), (["--cpus", "2", "--icount", "0"], 2)],
)
def test_two_cpus_run_unless_told_otherwise(artifact: Build, words: list[str], cpus: int) -> None:
    done = coronel("run", "--kernel", artifact.elf, *words, text="cpus\n")
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^ +\d+ +\d+  running ", done.stdout, re.MULTILINE)) == cpus


def test_poweroff_ends_it_and_a_panic_fails_it(artifact: Build) -> None:
    off = coronel("run", "--kernel", artifact.elf, text="poweroff\nhelp\n")
    assert (off.returncode, off.stderr) == (0, "")
    panic = coronel("run", "--kernel", artifact.elf, text="panic\nhelp\n")
    assert panic.returncode == 1
    assert "end of panic" in panic.stdout
    assert panic.stderr.startswith("coronel: the kernel panicked: ")
    assert "end of panic" not in panic.stderr, "printed once"


def test_no_input_at_all_boots_the_image_and_ends(artifact: Build) -> None:
    done = coronel("run", "--build", artifact.iso.parents[1], "--profile", artifact.profile)
    assert (done.returncode, done.stderr) == (0, "")
    assert "coronel> " in done.stdout


def test_a_guest_that_dies_is_noticed_while_the_input_waits(broken: Broken) -> None:
    with subprocess.Popen(
        [*COMMAND, "run", "--kernel", str(broken("tell_pvpanic"))],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.wait(20) == 1


@pytest.mark.usefixtures("heeded_signals")
@pytest.mark.parametrize(
    ("blow", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -15), (signal.SIGKILL, -9)]
)
def test_an_interrupted_run_leaves_no_qemu(broken: Broken, blow: signal.Signals, status: int) -> None:
    process = subprocess.Popen(
        [*COMMAND, "run", "--kernel", str(broken("hang_after_words"))], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "one word, then\n"
    children = children_of(process.pid)
    assert len(children) == 1
    process.send_signal(blow)
    _, errors = process.communicate(timeout=20)

    assert process.returncode == status
    assert "Traceback" not in errors
    deadline = time.monotonic() + 2
    while Path(f"/proc/{children[0]}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{children[0]}").exists()


def test_a_reader_that_leaves_is_no_error(broken: Broken) -> None:
    process = subprocess.Popen(
        [*COMMAND, "run", "--kernel", str(broken("flood"))], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline().startswith("ABC")
    process.stdout.close()
    assert process.wait(20) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""


def test_gdb_finds_a_guest_that_stands_still(artifact: Build, tmp_path: Path) -> None:
    socket = tmp_path / "gdb"
    process = subprocess.Popen(
        [*COMMAND, "run", "--kernel", str(artifact.elf), "--gdb", str(socket)], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    assert process.stderr.readline() == f"coronel: waiting for GDB: target remote {socket}\n"
    script = [f"target remote {socket}", "hbreak kmain", "continue", "info symbol $pc", "delete", "detach"]
    words = [word for line in script for word in ("-ex", line)]
    gdb = ["timeout", "-k", "2", "30", "gdb", "-nx", "-batch", *words, str(artifact.elf)]
    seen = subprocess.run(gdb, capture_output=True, text=True, check=False)
    output, _ = process.communicate(timeout=30)

    assert "kmain in section .text" in seen.stdout, seen.stderr
    assert process.returncode == 0
    assert "coronel> " in output
    assert not socket.exists()


def test_the_wrapper_of_pytest_passes_everything_on(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "def test_yes(coronel_seed): assert coronel_seed == 5\ndef test_no(): assert 0\n"
    )
    words = ["-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "--coronel-seed=5", str(tmp_path)]
    assert coronel("test", *words, "-k", "yes").returncode == 0
    assert coronel("test", *words).returncode == 1
    assert coronel("test", *words, "-k", "neither").returncode == 2
    assert coronel("test", "--no-such-option").returncode == 2


@pytest.fixture
def terminal(artifact: Build, pseudo_terminals: None) -> Terminal:
    def start(*words: str) -> Any:
        return pexpect.spawn(
            COMMAND[0], [*COMMAND[1:], "run", "--kernel", str(artifact.elf), *words], timeout=20
        )

    return start


def test_a_terminal_gets_a_console_and_qemus_keys(terminal: Terminal) -> None:
    console = terminal()
    console.expect_exact("coronel> ")
    console.send("uptime\r")
    console.expect_exact("coronel> ")
    assert b"uptime" in console.before
    console.send("\x01x")
    console.expect(pexpect.EOF)
    console.close()
    assert console.exitstatus == 0


def test_poweroff_and_reboot_in_a_terminal(terminal: Terminal) -> None:
    console = terminal()
    console.expect_exact("coronel> ")
    console.send("reboot\r")
    console.expect_exact("coronel> ")  # it boots again
    console.send("poweroff\r")
    console.expect(pexpect.EOF)
    console.close()
    assert console.exitstatus == 0


def test_a_panic_in_a_terminal_is_1(terminal: Terminal) -> None:
    console = terminal()
    console.expect_exact("coronel> ")
    console.send("panic\r")
    console.expect(pexpect.EOF)
    console.close()
    assert console.exitstatus == 1
    assert b"coronel: the guest panicked" in console.before


def test_ctrl_c_belongs_to_the_guest(terminal: Terminal) -> None:
    console = terminal()
    console.expect_exact("coronel> ")
    console.send("\x03")
    console.send("\ruptime\r")
    console.expect_exact("coronel> ")
    assert console.isalive()
    console.send("\x01x")
    console.expect(pexpect.EOF)
    console.close()


@pytest.mark.usefixtures("pseudo_terminals")
def test_the_terminal_is_left_as_it_was(artifact: Build) -> None:
    shell: Any = pexpect.spawn("/bin/sh", timeout=20)
    shell.setecho(False)
    shell.sendline("stty echo; stty -g; PS1='$ '")
    shell.expect(r"([0-9a-f]+:[0-9a-f:]+)")
    before = shell.match[1]
    shell.sendline(f"{' '.join(COMMAND)} run --kernel {artifact.elf}")
    shell.expect_exact("coronel> ")
    (pid,) = children_of(shell.pid)
    os.kill(children_of(pid)[0], signal.SIGKILL)
    shell.expect_exact("killed by SIGKILL")
    shell.sendline("stty -g")
    shell.expect(r"([0-9a-f]+:[0-9a-f:]+)")
    assert shell.match[1] == before
    shell.close(force=True)
