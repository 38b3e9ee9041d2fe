"""What measures: bench, latency and profiles, on machines under -icount, where a tick is an instruction."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coronel.artifact import Artifact
from coronel.bench import held, profile
from coronel.bench.guest import machine, measure_rates
from coronel.bench.rows import GUARDED, RELEASE, ROWS, GuestCase, GuestRate, Held
from coronel.bench.run import run
from coronel.cli import main
from coronel.errors import MMError
from coronel.guest import Channel, Guest, Shell
from coronel.mm import idle
from coronel.pytest_plugin import Build

MEMORY = "256M"
ROUNDS = 200


@pytest.fixture(scope="module")
def release(artifact: Build) -> Path:
    """What is measured is the release profile, whatever else the tests run on."""
    return artifact.sibling("release").elf


@pytest.fixture(scope="module")
def counting(release: Path) -> Iterator[Guest]:
    with machine(release, memory=MEMORY) as guest:
        yield guest


@pytest.fixture
def channel(counting: Guest) -> Channel:
    return counting.channel


@pytest.fixture
def shell(counting: Guest) -> Shell:
    return counting.shell


@pytest.fixture
def unchanged(channel: Channel) -> Iterator[None]:
    """The free memory after it is the free memory before it, block for block."""
    channel.call("quiesce")
    before = channel.call("buddyinfo")
    yield
    channel.call("quiesce")
    assert channel.call("buddyinfo") == before
    assert channel.call("held")["count"] == 0


def measured(channel: Channel, case: str, rounds: int = ROUNDS) -> dict[str, Any]:
    channel.call("quiesce")
    answer = channel.call("bench", "pages", case, rounds=rounds)
    assert answer["unit"] == "instructions"
    (found,) = answer["cases"]
    return dict(found)


# ---- bench


def test_every_row_has_its_case_in_the_kernel(channel: Channel) -> None:
    cases = {(row["set"], row["case"]) for row in channel.call("bench")}
    assert {(row.source.set, row.source.case) for row in ROWS if isinstance(row.source, GuestCase)} <= cases


def test_the_list_shows_its_texts_whole(shell: Shell, channel: Channel) -> None:
    text = shell.run("bench")
    for row in channel.call("bench"):
        assert re.search(rf"\b{row['set']} +{row['case']} +{row['of']} +{re.escape(row['what'])}\n", text)


@pytest.mark.usefixtures("unchanged")
def test_every_case_counts_what_it_did_and_leaves_memory_as_it_was(shell: Shell, channel: Channel) -> None:
    answer = channel.call("bench", "pages", rounds=ROUNDS)
    for row in answer["cases"]:
        assert row["operations"] == ROUNDS * (256 if row["case"].startswith("batch") else 1)
        assert row["each"] == (row["ticks"] + row["operations"] // 2) // row["operations"]
        assert 20 < row["each"] < 1_000_000
    lines = shell.run(f"bench pages rounds={ROUNDS}").splitlines()
    assert lines[:2] == ["unit:            instructions", "cases"]
    shown = [line.split() for line in lines[3:]]
    assert [(words[0], int(words[1]), words[-1]) for words in shown] == [
        (row["case"], row["operations"], row["of"]) for row in answer["cases"]
    ]
    for name, operations, ticks, each, _ in shown:
        assert int(each) == (int(ticks) + int(operations) // 2) // int(operations), name


@pytest.mark.usefixtures("unchanged")
def test_magazines_are_what_makes_a_pair_cheap(channel: Channel) -> None:
    pair, zone = measured(channel, "pair-0"), measured(channel, "zone-pair-0")
    assert pair["each"] * 2 < zone["each"]
    assert measured(channel, "pair-0", 10 * ROUNDS)["each"] <= pair["each"], "a refill counts once"


@pytest.mark.usefixtures("unchanged")
def test_fragmentation_is_undone_by_churn(shell: Shell, channel: Channel) -> None:
    found = channel.call("bench", "fragmentation")
    half, churn = found["after_half"], found["after_churn"]
    zones = sum(zone["pages"]["managed"] > 0 for zone in channel.call("zoneinfo"))
    assert abs(churn["possible"] - half["possible"]) < zones, "as much is free, but each zone rounds down"
    assert half["free_2mib"] <= half["possible"]
    assert churn["possible"] >= churn["free_2mib"] >= 0.95 * churn["possible"]
    text = shell.run("bench fragmentation")
    assert re.search(rf"^possible: +{half['possible']}$", text, re.MULTILINE)
    assert re.findall(r"^(?:after_\w+$|\w+:)", text, re.MULTILINE) == [
        "after_half", "free_2mib:", "possible:", "after_churn", "free_2mib:", "possible:"
    ]  # fmt: skip


def test_without_icount_the_unit_says_so(release: Path) -> None:
    with machine(release, memory="64M", icount=None) as guest:
        assert guest.channel.call("bench", "pages", "pair-0", rounds=10)["unit"] == "TSC ticks"
        assert guest.channel.call("latency", 100)["unit"] == "TSC ticks"


@pytest.mark.usefixtures("unchanged")
def test_page_tables_are_measured_and_come_back(channel: Channel) -> None:
    channel.call("bench", "tables", rounds=1)  # the first tree's record keeps its slab
    channel.call("quiesce")
    before = channel.call("stats")
    found = {row["case"]: row for row in channel.call("bench", "tables", rounds=ROUNDS)["cases"]}
    after = channel.call("stats")
    for name, row in found.items():
        assert row["operations"] == ROUNDS * (512 if name.startswith("batch") else 1)
        assert 50 < row["each"] < 20_000
    assert found["pair-4k"]["each"] < found["pair-2m"]["each"] < found["pair-alone"]["each"]
    made = after["frame_allocations"] - before["frame_allocations"]
    assert made > 3 * ROUNDS, "a page that is alone takes three tables each time"


def test_guards_are_measured_on_the_guarded_kernel(release: Path) -> None:
    rows = [row for row in ROWS if isinstance(row.source, GuestCase) and row.source.case == "kmalloc-64"]
    assert [row.profile for row in rows] == [RELEASE, GUARDED]
    unguarded, guarded = run(rows, release.parent, lambda text: None, profiles=False).figures
    assert unguarded.group != guarded.group
    assert unguarded.value * 2 < guarded.value, "zones, poison and a track for each pair"


def test_rates_are_by_the_guests_clock(release: Path) -> None:
    few = [
        replace(row, source=replace(row.source, rounds=2000))
        for row in ROWS
        if isinstance(row.source, GuestRate)
    ]
    measured = measure_rates(few, release)
    assert set(measured) == set(few)
    assert all(found.value > 0 and not found.peers for found in measured.values())
    with machine(release, memory="64M", icount=None) as guest:
        answer = guest.channel.call("bench", "tables", "pair-4k", rounds=2000, clock="ns")
        assert answer["unit"] == "ns"
        (row,) = answer["cases"]
        assert row["operations"] == 2000
        assert 0 < row["ticks"] < 60_000_000_000, "nanoseconds, and the command did not take a minute"
        for words in (("clock=s",), ("clock=",), ("clock",)):
            with pytest.raises(MMError, match="clock"):
                guest.channel.call("bench", "tables", *words)


def test_cpus_at_once(release: Path) -> None:
    """Times are not asserted; that every CPU did what it was asked is."""
    with machine(release, memory="64M", cpus=3, icount=None) as guest:
        guest.channel.call("bench", "cpus", rounds=1)  # the first threads' slab stays
        before = guest.channel.call("stats")
        rows = guest.channel.call("bench", "cpus", rounds=ROUNDS)
        assert [(row["cpus"], row["pairs"]) for row in rows] == [(1, ROUNDS), (2, ROUNDS), (3, ROUNDS)]
        assert all(row["ns"] > 0 for row in rows)
        after = guest.channel.call("stats")
        made = after["frame_allocations"] - before["frame_allocations"]
        assert made >= 6 * ROUNDS
        assert made == after["frame_releases"] - before["frame_releases"]
        for words in (("round=1",), ("rounds=0",), ("rounds=1", "rounds=1")):
            with pytest.raises(MMError, match="rounds"):
                guest.channel.call("bench", "cpus", *words)


def test_what_is_held_is_counted_in_a_guest_too(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tests/mm/test_idle.py does it in full."""
    monkeypatch.setattr(idle, "LIVE", 4 << 20)
    rows = [row for row in ROWS if isinstance(row.source, Held) and row.source.body == "guest"]
    released, shrunk = (found.value for found in held.measure(rows, release.parent).values())
    assert shrunk / 1024 < released <= 2, (
        "MiB, of more than four that were live; KiB, of what was left of them"
    )


# ---- latency


def rows_of(answer: dict[str, Any]) -> dict[tuple[str, int, str], dict[str, Any]]:
    return {(row["call"], row["order"], row["path"]): row for row in answer["paths"]}


@pytest.mark.usefixtures("unchanged")
def test_every_call_is_in_one_bucket_of_its_path(channel: Channel) -> None:
    answer = channel.call("latency", 20_000, seed=7)
    assert (answer["unit"], answer["seed"], answer["operations"]) == ("instructions", "0x7", 20_000)
    assert answer["from"] == [
        1 << n for n in range(answer["first_bucket"], answer["first_bucket"] + len(answer["from"]))
    ]
    for row in answer["paths"]:
        assert sum(row["buckets"]) == row["calls"] > 0
        assert row["least"] <= row["mean"] <= row["most"]
        filled = [answer["from"][n] for n, count in enumerate(row["buckets"]) if count]
        assert filled[0] <= row["least"] < 2 * filled[0]
        assert filled[-1] <= row["most"] < 2 * filled[-1]
    assert sum(row["calls"] for row in answer["paths"]) == 20_000
    rows = rows_of(answer)
    for call in ("alloc", "free"):
        fast, slow = rows[call, 0, "fast"], rows[call, 0, "slow"]
        assert fast["calls"] > 10 * slow["calls"], "magazines serve most calls"
        assert fast["most"] < slow["least"], "a call that asks no zone is shorter than one that does"
        assert (call, 11, "fast") not in rows, "no magazine holds the largest blocks"


def test_the_same_seed_is_the_same_histogram(channel: Channel) -> None:
    answers = []
    for seed in (5, 5, 6):
        channel.call("quiesce")
        answers.append(channel.call("latency", 5000, seed=seed))
    assert answers[0] == answers[1] != answers[2]


def test_people_see_the_same_histogram(shell: Shell, channel: Channel) -> None:
    channel.call("quiesce")
    answer = channel.call("latency", 3000, seed=9)
    channel.call("quiesce")
    lines = shell.run("latency 3000 seed=9").splitlines()
    assert lines[0] == "unit:            instructions"
    assert [int(word) for word in lines[5].split()[1:]] == answer["from"]
    for line, row in zip(lines[7:], answer["paths"], strict=True):
        plain = [int(word) for word in re.findall(r"\d+", line)]
        assert plain == [row[key] for key in ("order", "calls", "least", "mean", "most")] + row["buckets"]
        assert row["call"] in line
        assert row["path"] in line


def test_the_command_line_shows_it_too(
    artifact: Build, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(artifact.elf.parents[2])
    words = [
        "latency",
        "--operations",
        "500",
        "--seed",
        "3",
        "--memory",
        "64M",
        "--profile",
        artifact.profile,
    ]
    assert main([*words, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["unit"], sum(row["calls"] for row in answer["paths"])) == ("instructions", 500)
    assert main(words) == 0
    assert "500 calls, seed 0x3, by instructions" in capsys.readouterr().out


# ---- profiles


def test_a_profile_holds_every_instruction_of_the_case(release: Path) -> None:
    with machine(release, memory="64M") as guest:
        each = min(measured(guest.channel, "pair-3", 100)["ticks"] for _ in range(3))  # less the clock's tick
    profiles = (profile.take(release, GuestCase("pages", "pair-3"), 100, "64M") for _ in range(3))
    taken = min(profiles, key=lambda one: one.total)
    assert taken.operations == 100
    assert 0 <= taken.total - each < 20, "what reading the clock costs is in the profile, once"
    places = profile.places_of(release, taken.counts)
    for counts in (taken.by_function(places), taken.by_line(places)):
        assert sum(counts.values()) == taken.total
        assert not any("?" in where for where in counts)
    rows = profile.rows_of(release, taken.counts)  # what stands in where addr2line finds nothing
    assert rows.keys() == taken.counts.keys()
    ours = {at: row for at, row in rows.items() if row.startswith(("kernel/", "mm/"))}
    assert len(ours) > len(rows) / 2
    assert ours == {at: places[at].line for at in ours}
    functions = taken.by_function(places)
    assert functions["memory::FrameCaches::take"] >= 100
    assert not any(name.startswith("std::") for name in functions)
    assert any(line.startswith("mm/physical/magazine.hpp:") for line in taken.by_line(places))


def test_what_addr2line_does_not_find_is_in_the_line_table(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As binutils 2.44: it knows the function, and not the line."""
    clock = Artifact.open(release).symbol(profile.CLOCK).address
    wanted = profile.places_of(release, [clock, clock + 2])
    lossy = tmp_path / "addr2line"
    lossy.write_text(f"#!/bin/sh\n{shutil.which('addr2line')} \"$@\" | sed '3s/.*/??:?/'\n", encoding="utf-8")
    lossy.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert profile.places_of(release, [clock, clock + 2]) == wanted
    assert wanted[clock].line.startswith("kernel/shell/commands_bench.cpp:")


def test_a_case_that_is_none_is_refused(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "nonsense", "--build", str(release.parent), "--memory", "64M"]) == 1
    assert "no case 'nonsense' here" in capsys.readouterr().err
