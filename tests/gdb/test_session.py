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
from coronel.gdb.session import debug, gdb_answers
from coronel.guest import Guest, GuestOptions
from coronel.mm.kernel import KernelState
from coronel.mm.walker import Walk
from coronel.mm.zones import State
from coronel.pytest_plugin import Build

pytestmark = pytest.mark.skipif(shutil.which("gdb") is None, reason="there is no gdb")
FREE, INSIDE, HEAD, RESERVED = State.free, State.inside, State.allocated, State.reserved
COMMANDS = ("stats", "zones", "buddy", "magazines", "walk")


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
            numbers = {kind: _one(walk, kind) for kind in (FREE, INSIDE, HEAD, State.cached, RESERVED)}
            frames = [f"coronel frame {number}" for number in numbers.values()]
            lines = [*(f"coronel {name}" for name in COMMANDS), *frames]
            stats, zones, buddy, magazines, walked, *shown = gdb_answers(artifact.elf, socket, lines)
        assert {name: int(value) for name, value in _rows(stats).items()} == walk.counters
        check_zones(walk, zones)
        check_buddy(walk, buddy)
        check_magazines(walk, magazines)
        assert walked.strip() == walk.summary()
        for (kind, number), text in zip(numbers.items(), shown, strict=True):
            rows = _rows(text)
            assert (int(rows["frame"]), rows["state"]) == (number, kind.name)
            assert int(rows["references"]) == (kind is HEAD)


def check_zones(walk: Walk, text: str) -> None:
    """`coronel zones`: a part for each zone that has memory, and its levels add up to the walk's."""
    _, *parts = re.split(r"^zone ", text, flags=re.MULTILINE)
    assert [part.partition(",")[0] for part in parts] == ["DMA", "DMA32"]
    rows = [{name: int(value) for name, value in _rows(part).items()} for part in parts]
    sums = {name: sum(row[name] for row in rows) for name in ("free", "present", "managed")}
    assert sums == {"free": walk.free, "present": walk.present, "managed": walk.managed}
    assert all(row["minimum"] == row["managed"] // 256 < row["low"] < row["high"] for row in rows)


def check_buddy(walk: Walk, text: str) -> None:
    """`coronel buddy`: the blocks that the walk derived from the bits."""
    _, *parts = re.split(r"^zone ", text, flags=re.MULTILINE)
    for part, zone, blocks in zip(parts, walk.zones[:2], walk.zone_free_blocks[:2], strict=True):
        assert part.splitlines()[0] == zone.name
        numbers = re.findall(r"free blocks:([ \d]+)", part)[0].split()
        assert tuple(map(int, numbers)) == blocks
        largest = max(order for order, count in enumerate(blocks) if count)
        assert f"order {largest}, {1 << largest} frames" in part


def check_magazines(walk: Walk, text: str) -> None:
    """`coronel magazines`: what each pair of the only CPU holds."""
    rows = [line.split() for line in text.splitlines()[1:]]
    assert len(rows) == 2 * 12, "two zones have memory, and every order may be cached"
    held = {(row[1], int(row[2])): int(row[3]) + int(row[4]) for row in rows}
    expected = dict.fromkeys(held, 0)
    for magazine in walk.magazines:
        expected[walk.zones[magazine.zone].name, magazine.order] += len(magazine.blocks)
    assert held == expected
    assert sum(held.values()) > 0
    present = {zone.name: int(zone.record["present_frames"]) for zone in walk.zones}
    for row in rows:
        order = int(row[2])
        assert (int(row[5]) > 0) == (order < 4 or 128 << order <= present[row[1]]), "two are a 64th at most"


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
