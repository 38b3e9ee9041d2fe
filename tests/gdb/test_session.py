"""GDB on a running kernel: its commands must say what Python's own walk over raw RAM and the counters say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from coronel.errors import SetupError
from coronel.gdb.session import debug, gdb_command
from coronel.guest import Guest, GuestOptions
from coronel.mm.kernel import KernelState
from coronel.mm.walker import Walk
from coronel.mm.zones import State
from coronel.pytest_plugin import Build

pytestmark = pytest.mark.skipif(shutil.which("gdb") is None, reason="there is no gdb")
FREE, INSIDE, HEAD, RESERVED = State.free, State.inside, State.allocated, State.reserved


def _rows(text: str) -> dict[str, str]:
    """The `name:   value` lines of a command."""
    return dict(re.findall(r"^ *([\w.]+): +(\S+)", text, re.MULTILINE))


def test_commands_agree_with_the_walk(artifact: Build, tmp_path: Path, coronel_seed: int) -> None:
    socket = tmp_path / "gdb"
    with Guest(kernel=artifact.elf, memory="64M", gdb=socket) as guest:
        guest.wait_ready()
        guest.channel.call("stress", "pages", 2000, "hold", seed=coronel_seed)
        state = KernelState(guest, artifact.artifact)
        with guest.paused():
            walk = state.walk()
            walk.check()
            numbers = {kind: _one(walk, kind) for kind in (FREE, INSIDE, HEAD, RESERVED)}
            frames = [f"coronel frame {number}" for number in numbers.values()]
            steps = [
                step
                for line in ["coronel stats", "coronel zones", "coronel walk", *frames]
                for step in (line, "echo =\\n")
            ]
            done = subprocess.run(
                gdb_command("gdb", artifact.elf, socket, ["echo =\\n", *steps], batch=True),
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        _, stats, zones, walked, *shown, _ = re.split(r"^=\n", done.stdout, flags=re.MULTILINE)
        assert {name: int(value) for name, value in _rows(stats).items()} == walk.counters, done.stderr
        levels = {name: int(value) for name, value in _rows(zones).items()}
        assert levels == {"free": walk.free, "present": walk.present, "managed": walk.managed}
        assert walked.strip() == walk.summary()
        for (kind, number), text in zip(numbers.items(), shown, strict=True):
            rows = _rows(text)
            assert (int(rows["frame"]), rows["state"]) == (number, kind.name)
            assert int(rows["references"]) == (kind is HEAD)


def _one(walk: Walk, kind: State) -> int:
    """The last frame of a kind."""
    for first, end, _ in reversed(walk.ranges()):
        for number in range(end - 1, first - 1, -1):
            if walk.state(number) is kind:
                return number
    raise AssertionError(f"no frame is {kind.name}")


def test_breaks_at_kmain_and_leaves_nothing_behind(
    artifact: Build, capfd: pytest.CaptureFixture[str]
) -> None:
    said: list[bytes] = []
    options = GuestOptions(kernel=artifact.elf, memory="64M")
    steps = ["coronel stats", "hbreak kmain", "continue", "backtrace", "quit"]
    status = debug(options, steps, batch=True, timeout=60, write=said.append, stdin=subprocess.DEVNULL)
    shown = capfd.readouterr()
    assert status == 0
    assert re.search(r"^#0 +kmain", shown.out, re.MULTILINE)
    assert "coronel: " in shown.err, "before kmain there are no tables, and one line says so"
    assert "Traceback" not in shown.err
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    assert not children.exists() or "qemu" not in _names(children.read_text().split())


def _names(pids: list[str]) -> str:
    found = []
    for pid in pids:
        try:
            found.append(Path(f"/proc/{pid}/comm").read_text())
        except OSError:
            continue
    return " ".join(found)


def test_types_on_the_console(artifact: Build) -> None:
    said: list[bytes] = []
    options = GuestOptions(kernel=artifact.elf, memory="64M")
    steps = ["coronel type poweroff", "continue"]
    debug(
        options,
        steps,
        batch=True,
        timeout=60,
        write=said.append,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    assert b"power off" in b"".join(said)


def test_says_when_there_is_no_gdb(artifact: Build) -> None:
    with pytest.raises(SetupError, match="no-such-gdb is not there"):
        debug(GuestOptions(kernel=artifact.elf), program="no-such-gdb")


def test_the_command_runs_it(artifact: Build) -> None:
    command = [sys.executable, "-m", "coronel", "debug", "--batch", "--kernel", str(artifact.elf)]
    done = subprocess.run(
        [*command, "--timeout", "60", "-ex", "info line kmain"],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    assert "main.cpp" in done.stdout
