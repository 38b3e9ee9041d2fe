"""Every command: bad arguments are one line and change nothing; people and programs get the same values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from coronel.guest import Channel, Guest, Shell

pytestmark = pytest.mark.guest(memory="32M", timeout=20)

INVALID, NOT_FOUND, TOO_BIG, EXISTS, UNKNOWN = 22, 2, 7, 17, 38  # Linux's errno


@pytest.fixture
def channel(shared_guest: Guest) -> Channel:
    return shared_guest.channel


@pytest.fixture
def shell(shared_guest: Guest) -> Shell:
    return shared_guest.shell


def state(channel: Channel) -> list[Any]:
    """Everything that a refused command must leave as it was."""
    return [
        outcome.take() for outcome in channel.batch(["stats", "buddyinfo", "meminfo", "held", "frames 0 64"])
    ]


@pytest.fixture
def unchanged(channel: Channel) -> Iterator[None]:
    before = state(channel)
    yield
    assert state(channel) == before


# ---- what is refused

FRAMES = "frames"  # its limit depends on the machine
HUGE = 99999999999999999999
BAD = {
    "alloc": ["", "-1", "12", "0x", "x", str(HUGE), "0x10000000000000000", "0 0", "0 1025", "0 -1", "0 x",
              "0 1 1", "0 1 dma,highmem", "0 1 kernel 1", "1.5", "0x0z", "+1", "0 " * 40],
    "free": ["", "0", "1234", "-1", str(HUGE), "0x", "all all", "ALL", "1 2", "4294967296", "*"],
    "frames": ["-1", "x", str(HUGE), "0 0", "0 4097", "0 -1", "8192", "4294967295", "0 1 1",
               "0xffffffffffffffff 1"],
    "stress": ["", "pages", "pages 0", "pages -1", "pages x", f"pages {HUGE}", "pages 1000000001",
               "pages 10 seed=",
               "pages 10 seed=x", "pages 10 hold hold extra", "pages 10 fold", "frames 10", "release now",
               "pages 10 seed=18446744073709551616"],
    "ktest": ["no-such-suite", "list no-such", "seed=x", "seed=", "a b c"],
    "help": ["nothing", "alloc free"],
    "break": ["nothing", "null read", "NULL-READ"],
    "pages": ["", "a", "a0", "a0/", "f/0", "f-1/0", "b0/1", "a0/1 f0/0 x", "a0/1,a0/1", f"a{HUGE}/1"],
    "addmem": ["", "0", "0 0", "0 4096", "1 4097", "4096 0", "x 4096", f"0 {HUGE}", "0 4096 1",
               "0x10000000 0x10001000"],
    "failnth": ["x", "-1", "1 2", str(HUGE)],
    "quiesce": ["now"],
    "bench": ["nothing", "PAGES", "fragmentation 1", "pages nothing", "pages pair-0 pair-3", "pages rounds=0",
              "pages rounds=x", "pages rounds=", "pages rounds=1 pair-0", "pages pair-0 rounds=1 more",
              f"pages rounds={HUGE}"],
    "latency": ["x", "0", "-1", "10 20", "seed=1 10", "seed=", "seed=x", "10 seed=1 more", f"{HUGE}",
                "1000000001"],
    "extfrag": ["0", "DMA"],
    "slabinfo": ["x"],
    "kmallocinfo": ["1"],
    "heapinfo": ["x", "0"],
    "callsites": ["x", "-1", "0 1", "9223372036854775808", str(HUGE)],
    "kmemleak": ["", "x", "SCAN", "scan x", "scan -1", f"scan 1 {HUGE}", "list x", "list -1", "list 0 1",
                 "clear all", "scan" + " 1" * 14],
    "who": ["", "x", "-1", "0", "0x800000000000", f"{HUGE}", "1 2"],
    "shrink": ["all"],
    "newcache": ["", "x", "x 0", "x 32769", "x y", "x 8 3", "x 8 8192", "x 8 12", "x 8 8 high", "x 8 8 dma 1",
                 f"{'n' * 32} 8", f"x {HUGE}", "x -1"],
    "delcache": ["", "0", "1", "239", "240", "-1", "x", str(HUGE), "1 2"],
    "objects": ["", "a", "a1", "q1/1", "m/1", "m10", "m10/x", f"m{HUGE}/1", "m10/1,m10/1", "m10/1 k"],
    "meminfo": ["now", "--jsonx"],
    "acpi": ["APIC", "-1", "--jsonx"],
    "buddyinfo": ["0"],
    "zoneinfo": ["0"],
    "stats": ["all"],
    "held": ["1"],
    "stacks": ["x"],
    "uptime": ["-s"],
    "reboot": ["now"],
    "poweroff": ["now"],
}  # fmt: skip
BAD_LINES = [f"{command} {arguments}".strip() for command, many in BAD.items() for arguments in many]


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("line", BAD_LINES)
def test_bad_arguments_are_one_line_and_change_nothing(shell: Shell, channel: Channel, line: str) -> None:
    (refused,) = channel.batch([line])
    assert refused.status in (INVALID, NOT_FOUND, TOO_BIG, EXISTS)
    assert refused.value is None
    assert refused.error
    assert "\n" not in refused.error
    if line.startswith("ktest"):
        return  # tells people of each test that it ran
    said = shell.run(line)
    assert said == f"{line.split(maxsplit=1)[0]}: {refused.error}\n", (
        "people and programs read the same reason"
    )


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "line",
    ["x", "MEMINFO", "mem", "meminfox", "--json", "help,", "1", "\\", "peek 0xffff800000000000", "run init"],
)
def test_unknown_commands_are_named(shell: Shell, channel: Channel, line: str) -> None:
    (refused,) = channel.batch([line])
    name = line.split(maxsplit=1)[0]
    assert (refused.status, refused.error) == (UNKNOWN, f"unknown command '{name}'; try 'help'")
    assert shell.run(line) == refused.error + "\n"


def test_the_reason_says_what_was_wrong_and_what_to_do(channel: Channel) -> None:
    reasons = {outcome.line: outcome.error for outcome in channel.batch(BAD_LINES)}
    assert reasons["alloc -1"] == "ORDER must be a number from 0 to 11, not '-1'"
    assert reasons["alloc"] == "too few arguments; usage: alloc ORDER [COUNT [FLAGS]]"
    assert reasons["alloc 0 1 1"].startswith("FLAGS must be ")
    assert reasons["alloc 0 1 1"].endswith(", not '1'")
    assert reasons["alloc 0 1 kernel 1"] == "too many arguments; usage: alloc ORDER [COUNT [FLAGS]]"
    assert reasons["free 1234"] == "no block that 'alloc' holds begins at frame 1234; 'held' lists them"
    assert reasons["frames 8192"] == "FIRST must be a number from 0 to 8191, not '8192'"
    assert reasons["help nothing"] == "no command 'nothing'; 'help' lists them"


def test_free_twice_is_refused_the_second_time(shell: Shell, channel: Channel) -> None:
    (frame,) = channel.call("alloc", 0)["frames"]
    after_alloc = channel.call("stats")
    assert channel.call("free", frame) == {"freed": 1}
    counters = channel.call("stats")
    assert counters["frame_releases"] == after_alloc["frame_releases"] + 1
    (second,) = channel.batch([f"free {frame}"])
    assert second.status == INVALID
    assert shell.run(f"free {frame}").startswith("free: no block that 'alloc' holds begins at frame")
    assert channel.call("stats") == counters, "the frame allocator was never asked"


def test_the_inside_and_the_buddy_of_a_block_are_not_its_beginning(channel: Channel) -> None:
    (frame,) = channel.call("alloc", 3)["frames"]
    before = channel.call("stats")
    outcomes = channel.batch([f"free {n}" for n in (frame + 1, frame + 4, frame + 7, frame ^ 8)])
    assert {outcome.status for outcome in outcomes} == {INVALID}
    assert channel.call("stats") == before
    assert channel.call("held") == {"count": 1, "blocks": [{"frame": frame, "order": 3}]}
    channel.call("free", f"{frame:#x}")
    assert channel.call("held") == {"count": 0, "blocks": []}


def test_the_table_of_held_blocks_has_an_end(channel: Channel) -> None:
    channel.call("quiesce")
    before = channel.call("buddyinfo")
    assert len(channel.call("alloc", 0, 1024)["frames"]) == 1024
    counters = channel.call("stats")
    (refused,) = channel.batch(["alloc 0"])
    assert (refused.status, refused.error) == (TOO_BIG, "room for 0 more blocks, not 1; 'free' some first")
    assert channel.call("stats") == counters
    assert channel.call("free", "all") == {"freed": 1024}
    channel.call("quiesce")
    assert channel.call("buddyinfo") == before


@pytest.mark.guest(memory="64M")  # the kernel itself leaves less than all of these in 32
def test_blocks_of_every_order_are_aligned_disjoint_and_come_back(guest: Guest) -> None:
    channel = guest.channel
    channel.call("quiesce")
    before, free = channel.call("buddyinfo"), channel.call("meminfo")["MemFree"]
    taken: set[int] = set()
    for order in range(12):
        for frame in channel.call("alloc", order, 2 if order < 11 else 1)["frames"]:
            assert frame % (1 << order) == 0
            block = set(range(frame, frame + (1 << order)))
            assert not block & taken
            taken |= block
            (head,) = channel.call("frames", frame, 1)
            assert (head["state"], head["order"], head["references"]) == ("allocated", order, 1)
    meminfo = channel.call("meminfo")
    assert meminfo["MemFree"] == free - 4 * len(taken)
    assert channel.call("stats")["frames_free"] == (meminfo["MemFree"] - meminfo["MemPerCpu"]) // 4
    channel.call("free", "all")
    channel.call("quiesce")
    assert channel.call("buddyinfo") == before


# ---- one description, two renderings

# What a program gets of these does not change between two calls.
STEADY = ["meminfo", "buddyinfo", "zoneinfo", "extfrag", "stats", "frames", "frames 0 200", "frames 4000 5",
          "held", "help", "help alloc", "break", "acpi", "stress pages 3000 seed=11"]  # fmt: skip


def leaves(value: Any) -> Iterator[object]:
    if isinstance(value, dict):
        for member in value.values():
            yield from leaves(member)
    elif isinstance(value, list):
        for member in value:
            yield from leaves(member)
    else:
        yield value


def keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {key for member in value.values() for key in keys(member)}
    return {key for member in value for key in keys(member)} if isinstance(value, list) else set()


def numbers(values: Iterator[object]) -> list[int]:
    return [int(str(value), 0) for value in values if re.fullmatch(r"-?(0x[0-9a-f]+|\d+)", str(value))]


def start_alike(line: str, channel: Channel) -> None:
    """How many requests of a stress run are refused depends on where its free blocks are."""
    if line.startswith("stress"):
        channel.call("quiesce")


@pytest.mark.parametrize("line", STEADY)
def test_json_holds_what_the_text_shows(shell: Shell, channel: Channel, line: str) -> None:
    start_alike(line, channel)
    value = channel.call(*line.split())
    start_alike(line, channel)
    text = shell.run(line)
    if not line.startswith(("help", "break")):  # these are texts, which may speak of numbers
        assert numbers(iter(re.split(r"[\s,]+", text))) == numbers(leaves(value)), (
            "the same numbers in the same order"
        )
    for word in (leaf for leaf in leaves(value) if isinstance(leaf, str)):
        assert word in text


@pytest.mark.parametrize(
    "line", ["meminfo", "zoneinfo", "stats", "frames", "stress pages 10", "held", "uptime", "stacks"]
)
def test_every_key_is_shown_to_people(shell: Shell, channel: Channel, line: str) -> None:
    assert all(key in shell.run(line) for key in keys(channel.call(*line.split())) if key not in ("stacks",))


@pytest.mark.parametrize(
    "line", [*STEADY, "uptime", "stacks", "alloc 0", "free all", "nonsense", "alloc -1", ""]
)
def test_json_on_the_console_is_the_programs_answer(shell: Shell, channel: Channel, line: str) -> None:
    start_alike(line, channel)
    text = shell.run(f"{line} --json")
    if not line:
        assert text == "unknown command '--json'; try 'help'\n"
        return
    assert text.count("\n") == 1
    reply = json.loads(text)
    assert set(reply) in ({"status", "value"}, {"status", "error"})
    assert (reply["status"] == 0) == ("value" in reply)
    start_alike(line, channel)
    if line in STEADY:
        assert reply == {"status": 0, "value": channel.call(*line.split())}
    (again,) = channel.batch([line])
    assert again.status == reply["status"]
    assert again.error == reply.get("error", "")


@pytest.mark.parametrize(
    "line", ["--json meminfo", "frames --json 0 2", "frames 0 --json 2", "frames 0 2 --json"]
)
def test_the_word_json_may_stand_anywhere_behind_the_command(
    shell: Shell, channel: Channel, line: str
) -> None:
    text = shell.run(line)
    if line.startswith("--json"):
        assert text.startswith("unknown command '--json'")
    else:
        assert json.loads(text)["value"] == channel.call("frames", 0, 2)


def test_help_knows_every_command_and_every_command_has_help(shell: Shell, channel: Channel) -> None:
    listed = channel.call("help")["commands"]
    names = [row["command"] for row in listed]
    assert names == sorted(names)
    wanted = "help meminfo buddyinfo zoneinfo frames stats alloc free stress ktest break panic reboot"
    wanted += " poweroff acpi"
    assert set(wanted.split()) <= set(names)
    for row in listed:
        assert channel.call("help", row["command"])["commands"] == [row]
        assert row["command"] in shell.run(f"help {row['command']}")
        assert row["help"]
        (told,) = channel.batch([f"help {row['command']} too many"])
        assert told.status == INVALID


def test_the_columns_are_those_of_proc(shell: Shell) -> None:
    """As far as the meaning is Linux's: what reads /proc/meminfo and /proc/buddyinfo reads these too."""
    for line in shell.run("meminfo").splitlines():
        assert re.fullmatch(r"\w+: +\d+ kB", line)
    for line in shell.run("buddyinfo").splitlines():
        assert re.fullmatch(r"Node \d, zone +\w+( +\d+){12} ?", line)
    assert re.match(r"Node 0, zone +\w+\n  pages free +\d+\n", shell.run("zoneinfo"))


def test_time_goes_on(channel: Channel) -> None:
    first, second = channel.call("uptime"), channel.call("uptime")
    assert second["uptime"] > first["uptime"]
    assert second["ticks"] >= first["ticks"]


def test_stacks_know_how_deep_they_were(channel: Channel) -> None:
    stacks = {row["stack"]: row for row in channel.call("stacks")["stacks"]}
    assert set(stacks) == {"boot", "double fault", "NMI", "machine check", "debug", "idle"}
    boot = stacks["boot"]
    assert 0 < boot["used_at_most"] < boot["bytes"] * 3 // 4, "the deepest path leaves a quarter"
    assert int(boot["top"], 16) - int(boot["guard"], 16) == boot["bytes"] + 4096


def test_stress_repeats_with_its_seed(channel: Channel, coronel_seed: int) -> None:
    channel.call("quiesce")
    before = channel.call("buddyinfo")
    runs = []
    for seed in (coronel_seed, coronel_seed, coronel_seed + 1):
        runs.append(channel.call("stress", "pages", 5000, seed=seed))
        channel.call("quiesce")
    assert runs[0] == runs[1] != runs[2]
    assert runs[0]["misuses"] > 0
    assert channel.call("buddyinfo") == before


def test_stress_can_hold_its_blocks(channel: Channel) -> None:
    before = channel.call("meminfo")["MemFree"]
    report = channel.call("stress", "pages", 2000, "seed=3", "hold")
    table = 16  # frames in which it remembers its blocks
    assert channel.call("meminfo")["MemFree"] == before - 4 * (report["live_frames"] + table)
    channel.call("stress", "release")
    assert channel.call("meminfo")["MemFree"] == before
