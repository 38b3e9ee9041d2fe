"""`coronel map` and `coronel top` on real guests: what they show is what the guest's memory holds."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pexpect
import pytest
from PIL import Image
from rich.console import Console

from coronel.guest import Guest
from coronel.mm.kernel import KernelState
from coronel.picture.activity import Activity, Sample
from coronel.picture.cells import survey
from coronel.picture.palette import CACHED, FREE, SHADES, USED
from coronel.picture.terminal import MapView
from coronel.pytest_plugin import Build

COMMAND = [sys.executable, "-m", "coronel"]
HOLD = "stress pages 20000 seed=7 hold"
ALTERNATE, BACK = "\x1b[?1049h", "\x1b[?1049l"
CURSOR_BACK = "\x1b[?25h"


def coronel(*words: object, columns: int = 80) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"COLUMNS": str(columns), "LINES": "24"}
    return subprocess.run(
        [*COMMAND, *map(str, words)],
        env=environment,
        input="",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def numbers(artifact: Build, *words: object) -> dict[str, Any]:
    """What `coronel ... --json` says."""
    done = coronel(*words, "--kernel", artifact.elf, "--memory", "64M", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.guest(memory="64M", timeout=60.0)
def test_the_survey_of_a_guest_is_the_walkers(guest: Guest, artifact: Build, coronel_seed: int) -> None:
    guest.wait_ready()
    kernel = KernelState(guest, artifact.artifact)
    for line in ("stress pages 5000 hold", "stress release"):
        guest.channel.call(line, f"seed={coronel_seed}" if "hold" in line else "", timeout=60.0)
        with guest.paused():
            walk = kernel.walk()
            walk.check()
            seen = survey(kernel.refresh())
        assert (seen.present, seen.free, seen.free_blocks) == (walk.present, walk.free, walk.free_blocks)
        used = sum(seen.counts[shade.index] for shade in USED)
        assert used == walk.managed - walk.available
        assert seen.counts[CACHED.index] == walk.cached
        assert sum(seen.counts[1:]) == walk.present
        assert sum(zone.free for zone in seen.zones) == walk.free


@pytest.mark.guest(memory="1G", timeout=60.0)
def test_a_gibibyte_is_decoded_and_drawn_at_once(guest: Guest, artifact: Build) -> None:
    """50 ms to decode and 13 ms of a core for each picture of 256 MiB are the aims; ten times that is a
    defect anywhere.
    """
    guest.wait_ready()
    tables = KernelState(guest, artifact.artifact).tables
    guest.channel.call("stress", "pages", 20000, "hold", "seed=7", timeout=60.0)
    console = Console(file=io.StringIO(), width=80, height=24, color_system="truecolor", force_terminal=True)
    spent = []
    for _ in range(4):
        began = time.process_time()
        seen = survey(tables)
        decoded = time.process_time()
        console.print(MapView(seen, "a guest"))
        spent.append((decoded - began, time.process_time() - decoded))
    assert min(decode for decode, _ in spent) < 0.5
    assert min(draw for _, draw in spent) < 0.13


def test_the_map_says_what_the_other_commands_say(artifact: Build) -> None:
    found = numbers(artifact, "map", "--command", HOLD)
    walked = numbers(artifact, "frames", "--command", HOLD)
    assert found["frames"] == {name: walked["frames"][name] for name in ("present", "free")}
    assert found["free_blocks"] == walked["free_blocks"]
    assert sum(found["classes"].values()) - found["classes"]["absent"] == walked["frames"]["present"]
    assert sum(zone["managed"] for zone in found["zones"]) == walked["frames"]["managed"]


def test_the_map_in_a_pipe_is_letters(artifact: Build) -> None:
    done = coronel("map", "--kernel", artifact.elf, "--memory", "64M", "--command", HOLD)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert f"64 MiB, 1 CPU, after {HOLD}" in lines[0]
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in done.stdout
    assert all(shade.letter * 2 in done.stdout for shade in (FREE[1], FREE[3], USED[1], USED[3]))


def test_the_map_in_files(artifact: Build, tmp_path: Path) -> None:
    machine = ("--kernel", artifact.elf, "--memory", "64M", "--command", HOLD)
    found = numbers(artifact, "map", "--command", HOLD, "--output", tmp_path / "map.png")
    image = Image.open(io.BytesIO((tmp_path / "map.png").read_bytes())).convert("RGB")
    colours = {colour for _, colour in image.getcolors(1 << 24) or []}
    assert {shade.rgb for shade in SHADES if found["classes"][shade.key]} <= colours

    done = coronel("map", *machine, "--output", tmp_path / "map.svg")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'map.svg'}\n")
    texts = ElementTree.parse(tmp_path / "map.svg").iter("{http://www.w3.org/2000/svg}text")
    legend = {key: int(text.get("data-frames", -1)) for text in texts if (key := text.get("data-class"))}
    assert legend == {key: found["classes"][key] for key in legend}
    assert sum(legend.values()) == found["frames"]["present"]


def test_the_map_of_the_host_library(artifact: Build) -> None:
    place = ("--build", artifact.elf.parent.parent, "--profile", artifact.profile)
    done = coronel("map", "--host", "--memory", "64M", "--stress", "5000", *place)
    assert (done.returncode, done.stderr) == (0, "")
    assert "the host library: 64 MiB, 1 CPU, after stress 5000 seed=1" in done.stdout


def test_top_once_shows_one_picture(artifact: Build) -> None:
    done = coronel("top", "--once", "--kernel", artifact.elf, "--memory", "64M", "--command", HOLD)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80
    assert [
        int(found[1]) for line in lines if (found := re.match(r" {3,4}(\d+) +\d+ [KM]iB ", line))
    ] == list(range(12))
    assert [line.split()[0] for line in lines if line.startswith(("DMA", "Normal"))] == ["DMA", "DMA32"]
    (rates,) = [line for line in lines if line.startswith("per s")]
    assert int(rates.split()[2].replace(",", "")) > 0


def test_top_counts_what_the_kernel_counts(artifact: Build) -> None:
    found = numbers(artifact, "top", "--once", "--command", HOLD)
    counted = numbers(artifact, "stats", "--command", HOLD)
    assert found["counters"] == {name: row["value"] for name, row in counted.items()}
    assert found["frames"]["free"] == counted["frames_free"]["value"]
    rates = found["per_second"]
    ratio = counted["frame_releases"]["value"] / counted["frame_allocations"]["value"]
    assert rates["frame_releases"] / rates["frame_allocations"] == pytest.approx(ratio)


@pytest.mark.guest(memory="64M", timeout=60.0)
def test_rates_are_those_between_two_samples(guest: Guest, artifact: Build) -> None:
    guest.wait_ready()
    tables = KernelState(guest, artifact.artifact).tables
    guest.channel.call("stress", "pages", 1000, "seed=2")
    view = Activity("a machine")
    first = Sample.take(tables)
    view.add(first)
    assert set(view.rates().values()) == {0.0}
    said = guest.channel.call("stress", "pages", 2000, "seed=3")
    second = Sample.take(tables)
    view.add(second)
    passed = second.seconds - first.seconds
    assert view.rates()["frame_misuses"] * passed == pytest.approx(said["misuses"])
    assert view.rates()["frame_allocations"] * passed == pytest.approx(said["allocations"], rel=0.1)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["map", "--output", "map.gif"], "output 'map.gif' is neither an SVG nor a PNG file"),
        (["map", "--output", "map"], "neither an SVG nor a PNG file"),
        (["map", "--rate", "0"], "rate 0 is out of range"),
        (["map", "--rate", "nan"], "rate nan is out of range"),
        (["map", "--live", "--host"], "--live is for a guest"),
        (["map", "--live", "--output", "map.svg"], "--live is for a guest"),
        (["map", "--host", "--command", "help"], "--command is for a guest"),
        (["map", "--command", ""], "--command is one line"),
        (["map", "--command", "help\nhelp"], "--command is one line"),
        (["map", "--stress", "-1"], "0 or more"),
        (["map", "--memory", "1"], "memory '1' "),
        (["top", "--interval", "0"], "interval 0 is out of range"),
        (["top", "--interval", "-1"], "interval -1 is out of range"),
        (["top", "--json"], "--json is for programs"),
    ],
)  # fmt: skip
def test_nonsense_is_one_line_and_2(words: list[str], text: str, tmp_path: Path) -> None:
    done = coronel(*words, "--build", tmp_path)  # where there is no kernel: nothing is started
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert text in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [["map", "--rate", "x"], ["top", "--interval", "x"], ["top", "--host"]])
def test_what_no_option_means_is_2(words: list[str]) -> None:
    done = coronel(*words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_place_that_cannot_be_written_is_one_line_and_3(artifact: Build, tmp_path: Path) -> None:
    path = tmp_path / "no" / "map.svg"
    done = coronel("map", "--kernel", artifact.elf, "--memory", "64M", "--output", path)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"coronel: the picture cannot be written to {path}: No such file or directory\n"


def test_a_line_that_the_guest_refuses_is_1(artifact: Build) -> None:
    for words in (["map"], ["top", "--once"], ["top"], ["top", "--slabs"]):
        done = coronel(*words, "--kernel", artifact.elf, "--memory", "64M", "--command", "alloc twelve")
        assert done.returncode == 1, words
        assert done.stderr.startswith("coronel: alloc twelve: "), words
        assert "Traceback" not in done.stderr


# ---- live, in a terminal
class Terminal:
    """A command in a terminal of 80 columns by 24 lines."""

    def __init__(self, *words: object) -> None:
        environment = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        environment.pop("NO_COLOR", None)
        self.spawn: Any = pexpect.spawn(
            COMMAND[0],
            [*COMMAND[1:], *map(str, words)],
            env=environment,
            dimensions=(24, 80),
            timeout=60,
            encoding="utf-8",
            codec_errors="replace",  # the terminal's ^C may come in the middle of a character
        )

    def expect(self, *texts: str) -> None:
        """Waits for these, in this order."""
        for text in texts:
            self.spawn.expect_exact(text)

    def ended(self) -> tuple[int, str]:
        """The exit status and what was said until then."""
        rest = str(self.spawn.read())
        self.spawn.close()
        status = self.spawn.exitstatus
        return (-self.spawn.signalstatus if status is None else int(status)), rest


def processes_of(kernel: Path, session: int) -> list[str]:
    """Command lines of QEMU with that kernel that this command has left."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"CORONEL_TEST_MARK={session}".encode() in path.read_bytes():
                found.append((path.parent / "cmdline").read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return [line for line in found if str(kernel) in line]


@pytest.mark.usefixtures("pseudo_terminals", "heeded_signals")
@pytest.mark.parametrize(
    "words", [["map", "--live"], ["top", "--interval", "0.1"], ["top", "--slabs", "--interval", "0.1"]]
)
@pytest.mark.parametrize("end", ["interrupt", "terminate", "poweroff"])
def test_a_live_view_moves_and_leaves_nothing_behind(
    artifact: Build, words: list[str], end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = time.monotonic_ns()
    monkeypatch.setenv("CORONEL_TEST_MARK", str(mark))
    lines = ["--command", "stress pages 20000 seed=1 hold"]
    lines += (
        ["--command", "poweroff"] if end == "poweroff" else ["--command", "stress pages 900000000 seed=2"]
    )
    terminal = Terminal(*words, *lines, "--kernel", artifact.elf, "--memory", "64M")
    terminal.expect(ALTERNATE, "64 MiB, 1 CPU")
    if end != "poweroff":
        terminal.expect("\x1b[H", "\x1b[H", "\x1b[H")  # drawn over, not below
        assert len(processes_of(artifact.elf, mark)) == 2, "QEMU and the command itself"
    if end == "interrupt":
        terminal.spawn.sendintr()
    elif end == "terminate":
        terminal.spawn.kill(15)
    status, rest = terminal.ended()
    assert status == (143 if end == "terminate" else 0), rest[-2000:]
    assert CURSOR_BACK in rest
    assert rest.endswith(BACK), repr(rest[-200:])
    assert "\x1b[2J" not in rest.partition("\x1b[H")[2], "what is erased flickers"
    assert processes_of(artifact.elf, mark) == []


@pytest.mark.usefixtures("pseudo_terminals")
@pytest.mark.parametrize("which", [[], ["--slabs"]])
def test_a_panic_ends_a_live_view_with_its_words(artifact: Build, which: list[str]) -> None:
    machine = ["--kernel", artifact.elf, "--memory", "64M", "--command", "panic"]
    terminal = Terminal("top", *which, "--interval", "0.1", *machine)
    terminal.expect(ALTERNATE)
    status, rest = terminal.ended()
    assert status == 1
    assert "the kernel panicked" in rest.rpartition(BACK)[2]


def test_top_in_a_pipe_prints_one_picture_after_another(artifact: Build) -> None:
    words = ["--interval", "0.2", "--kernel", artifact.elf, "--memory", "64M"]
    done = coronel("top", *words, "--command", "stress pages 200000 seed=1", "--command", "poweroff")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("unusable free index") >= 2
    assert "\x1b" not in done.stdout
