"""Kernel addresses of a running kernel: what the console says, what raw memory holds, and a model of both."""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from coronel import cli
from coronel.errors import DecodeError, MMError
from coronel.guest import Channel, Guest
from coronel.mappings import Mapping, mappings
from coronel.memory import PAGE_SIZE
from coronel.mm.kernel import KernelState
from coronel.mm.ranges import AddressRanges, read_ranges
from coronel.mm.zones import Physical
from coronel.pytest_plugin import Build

pytestmark = pytest.mark.guest(memory="64M", timeout=60, cmdline="on_misuse=refuse")

MIB = 1 << 20
WINDOW, WINDOW_BYTES = 0xFFFF_C000_0000_0000, 512 << 30
LAPIC, FLASH = 0xFEE0_0000, 0xFFFC_0000


@pytest.fixture
def channel(guest: Guest) -> Channel:
    guest.wait_ready()
    return guest.channel


def ranges_of(kernel: KernelState) -> AddressRanges:
    with kernel.still() as tables:
        found = read_ranges(tables)
    assert found is not None
    return found


def window_mappings(kernel: KernelState) -> list[Mapping]:
    with kernel.still():
        memory = kernel.memory
        return [
            one
            for one in mappings(memory.physical, memory.root, memory.levels)
            if WINDOW <= one.address < WINDOW + WINDOW_BYTES
        ]


def take(channel: Channel, size: int, *words: str) -> int:
    return int(channel.call("vmalloc", str(size), *words)["address"], 16)


def test_the_console_says_what_memory_holds(kernel: KernelState, channel: Channel) -> None:
    take(channel, 5000)
    take(channel, 3 * MIB + 1, "zero")
    channel.call("ioremap", hex(LAPIC + 0x20), "4096", "wc")
    found = ranges_of(kernel)
    rows = channel.call("vmallocinfo")
    assert [
        (row["range"], row["bytes"], row["pages"], row["owner"], row["number"], int(row["phys"], 16))
        for row in rows
    ] == [
        (
            f"{one.first:#018x}-{one.end:#018x}",
            one.end - one.first,
            one.pages,
            one.owner,
            int(one.record["number"]),
            int(one.record["physical"]),
        )
        for one in found.taken
    ]
    mine = [row for row in rows if row["owner"] == "console"]
    assert [row["kind"] for row in mine] == ["vmalloc", "ioremap", "vmalloc"]
    assert [row["pages"] for row in mine] == [2, 2, 769]
    assert all("run_" in row["caller"] for row in mine)
    kernel.walk().check()


def test_only_bodies_are_mapped_and_only_to_write(kernel: KernelState, channel: Channel) -> None:
    for size in (1, 4096, 40_000, 2 * MIB, 5 * MIB + 4096):
        take(channel, size)
    channel.call("ioremap", hex(FLASH), "8192")
    found = ranges_of(kernel)
    mapped = window_mappings(kernel)
    assert all((one.rights, one.user, one.everywhere) == ("rw-", False, True) for one in mapped)
    pages = {at for one in mapped for at in range(one.address, one.end, PAGE_SIZE)}
    bodies = {at for one in found.taken for part in one.parts for at in range(*part, PAGE_SIZE)}
    assert pages == bodies
    guards = {at for one in found.taken for part in one.guards for at in range(*part, PAGE_SIZE)}
    assert len(guards) >= len(found.taken), "a guard behind every range"
    assert not guards & pages
    assert sum(one.size == 2 * MIB for one in mapped) == 1 + 2, "what is whole is mapped in large pages"


def test_ram_is_never_shown_as_a_device(kernel: KernelState, channel: Channel) -> None:
    """Neither its middle nor its last page, above which firmware keeps its tables."""
    with kernel.still() as tables:
        frame_map = Physical.of(tables).map
        end = max(int(one["end"]) for one in frame_map["range"][: int(frame_map["ranges"])]) * PAGE_SIZE
    for physical, size in ((0x10_0000, 4096), (end - 4096, 8192), (end - 1, 1), (end // 2, 1)):
        (outcome,) = channel.batch([f"ioremap {physical:#x} {size}"])
        assert "access denied" in outcome.error, hex(physical)
    channel.call("iounmap", channel.call("ioremap", hex(end), "4096")["address"])
    for line in ("ioremap 0xfee00000 0", "ioremap 0xfffffffffffff000 8192", "vmalloc 0", "ioremap 1 1 xx"):
        (outcome,) = channel.batch([line])
        assert outcome.status == 22
    assert [row for row in channel.call("vmallocinfo") if row["owner"] == "console"] == []


@dataclass
class Model:
    """What is taken by pages, and each range's kind, pages and contents by its first address."""

    taken: set[int]
    held: dict[int, tuple[str, int, bytes]] = field(default_factory=dict)
    gone: list[int] = field(default_factory=list)

    def first_fit(self, pages: int) -> int:
        """The lowest place for so many pages and a guard."""
        step = PAGE_SIZE if pages < 512 else 512 * PAGE_SIZE
        places = itertools.count(WINDOW, step)
        return next(at for at in places if not self.taken.intersection(self.pages(at, pages)))

    def take(self, at: int, kind: str, pages: int, text: bytes) -> None:
        """Has that range from now on."""
        self.held[at] = (kind, pages, text)
        self.taken.update(self.pages(at, pages))

    def give(self, at: int) -> None:
        """Has it no longer."""
        self.taken.difference_update(self.pages(at, self.held.pop(at)[1]))
        self.gone.append(at)

    @staticmethod
    def pages(at: int, pages: int) -> range:
        """Its pages and its guard."""
        return range(at, at + (pages + 1) * PAGE_SIZE, PAGE_SIZE)


def take_by_chance(kernel: KernelState, channel: Channel, model: Model, chance: random.Random) -> None:
    pages = chance.choice((1, 1, 2, 5, 16, 40, 513))
    expected, text = model.first_fit(pages), chance.randbytes(64)
    last = expected + (pages - 1) * PAGE_SIZE
    if chance.random() < 0.25:
        line = ["ioremap", hex(0xE000_0000), str(pages * PAGE_SIZE)]
    else:
        line = ["vmalloc", str(pages * PAGE_SIZE - chance.randrange(PAGE_SIZE)), "zero"]
    assert int(channel.call(*line)["address"], 16) == expected
    if line[0] == "vmalloc":
        with kernel.still():
            assert kernel.memory.read(last, PAGE_SIZE) == bytes(PAGE_SIZE)
            kernel.memory.write(last + 16, text)
    model.take(expected, line[0], pages, text)


def give_back(kernel: KernelState, channel: Channel, model: Model, at: int) -> None:
    kind, pages, text = model.held[at]
    if kind == "vmalloc":
        with kernel.still():
            assert kernel.memory.read(at + (pages - 1) * PAGE_SIZE + 16, len(text)) == text
    channel.call("vfree" if kind == "vmalloc" else "iounmap", hex(at))
    model.give(at)
    with kernel.still(), pytest.raises(DecodeError, match="not mapped"):
        kernel.memory.read(at, 1)


def test_a_model_of_addresses_and_contents(kernel: KernelState, channel: Channel, coronel_seed: int) -> None:
    """Random vmalloc, vfree and ioremap; contents are written and read in raw RAM."""
    chance = random.Random(coronel_seed)
    before = ranges_of(kernel).taken
    model = Model({at for one in before for at in range(one.first, one.end, PAGE_SIZE)})
    frames = channel.call("stats")["vmalloc_frames"]
    for _ in range(120):
        if model.held and chance.random() < 0.45:
            give_back(kernel, channel, model, chance.choice(sorted(model.held)))
        else:
            take_by_chance(kernel, channel, model, chance)
    walk = kernel.walk()
    walk.check()
    assert walk.addresses is not None
    mine = [one for one in walk.addresses.taken if one.owner == "console"]
    assert {one.body[0]: one.pages for one in mine} == {at: pages for at, (_, pages, _) in model.held.items()}
    for at in sorted(model.held):
        give_back(kernel, channel, model, at)
    stats = channel.call("stats")
    assert stats["vmalloc_frames"] == frames
    assert [str(one) for one in ranges_of(kernel).taken] == [str(one) for one in before]
    kernel.walk().check()


def test_the_walk_survives_and_names_a_wrong_record(
    kernel: KernelState, channel: Channel, coronel_seed: int
) -> None:
    for size in (1, 9000, 1, 50_000, 1, 1, 20_000):
        take(channel, size)
    chance = random.Random(coronel_seed)
    fields = ("first", "bytes", "largest_free", "node", "state", "kind", "guard_above")
    missed = []
    for n in range(60):
        with kernel.guest.paused():
            tables = kernel.refresh()
            found = read_ranges(tables)
            assert found is not None
            one = chance.choice(found.ranges)
            name = fields[n % len(fields)]
            member = one.record.type[name]
            bits = 8 * (25 if name == "node" else member.size)  # behind the balance is padding
            place, bit = divmod(chance.randrange(bits), 8)
            address = one.record.address + member.offset + place
            sound = kernel.memory.read(address, 1)
            kernel.memory.write(address, bytes([sound[0] ^ 1 << bit]))
            try:
                problems = kernel.walk().problems
            finally:
                kernel.memory.write(address, sound)
        if not any(one.name in problem.objects for problem in problems):
            missed.append(f"{one.name} {name} byte {place} bit {bit}: {list(map(str, problems))[:3]}")
    assert missed == []
    kernel.walk().check()


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_the_picture_shows_every_range(
    tmp_path: Path, artifact: Build, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"space.{suffix}"
    words = ["map", "--virtual", "--kernel", str(artifact.elf), "--memory", "64M", "--json"]
    words += ["--command", "vmalloc 5000", "--command", "ioremap 0xfee00000 4096", "--output", str(path)]
    assert cli.main(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert {"direct map", "vmalloc", "frame array", "pageblocks", "kernel image"} <= {
        section["name"] for section in said["sections"]
    }
    assert [one["kind"] for one in said["ranges"] if one["owner"] == "console"] == ["vmalloc", "device"]
    data = path.read_bytes()
    if suffix == "png":
        assert data.startswith(b"\x89PNG")
    else:
        for one in said["ranges"]:
            assert one["first"] in data.decode()
            assert "run_" in one["caller"] or one["owner"] != "console"
    assert all(
        run["rights"] in ("r-x", "r--", "rw-") for section in said["sections"] for run in section["runs"]
    )


def test_the_picture_in_a_terminal(artifact: Build, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "map",
        "--virtual",
        "--kernel",
        str(artifact.elf),
        "--memory",
        "64M",
        "--command",
        "vmalloc 9000",
    ]
    assert cli.main(words) == 0
    text = capsys.readouterr().out
    assert "direct map" in text
    assert "kernel image" in text
    assert "console" in text


def test_misuse_is_refused_by_its_name(channel: Channel) -> None:
    at = take(channel, 9000)
    for line, reason in (
        (f"vfree {at + PAGE_SIZE:#x}", "free of the inside of a block"),
        (f"iounmap {at:#x}", "free of kernel addresses that are for something else"),
        ("vfree 0x1000", "free of kernel addresses that nobody has"),
    ):
        with pytest.raises(MMError, match=reason):
            channel.call(*line.split())
    channel.call("vfree", hex(at))
    with pytest.raises(MMError, match="double free"):
        channel.call("vfree", hex(at))
    assert channel.call("stats")["range_misuses"] == 4
