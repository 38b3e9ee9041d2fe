"""PVH and GRUB, on two machines and three CPUs: the same prompt with the same boot information."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coronel.build.image import Module, build_image
from coronel.guest import Guest
from coronel.mappings import physical_ranges, shown_memory
from coronel.mm.guards import hidden_frames
from coronel.mm.kernel import KernelState
from coronel.pytest_plugin import Build

LETTERS = {"pvh": "PCTLHI", "iso": "MCTLHI"}  # one for each stage before C++, boot/entry.S
PROTOCOLS = {"pvh": "PVH", "iso": "multiboot2"}

Machine = Callable[..., Guest]


@pytest.fixture
def machine(artifact: Build) -> Machine:
    def make(way: str, **fields: Any) -> Guest:
        start: dict[str, Any] = {"iso": artifact.iso} if way == "iso" else {"kernel": artifact.elf}
        return Guest(timeout=20, **{**start, **fields})

    return make


def boot_lines(guest: Guest) -> list[str]:
    """What the kernel printed before its first prompt."""
    guest.wait_ready()
    lines = guest.shell.wait_prompt().splitlines()
    return lines[next(n for n, line in enumerate(lines) if re.search("[PM]C?T?L?H?I?$", line)) :]


def available_memory(guest: Guest) -> list[tuple[int, int]]:
    """The physical ranges that the kernel took for its memory: its direct map, walked in raw RAM."""
    with guest.paused():
        return physical_ranges(shown_memory(guest.mappings()))


@pytest.mark.parametrize("cpu", ["qemu64", "max,la57=off", "max"])
@pytest.mark.parametrize("board", ["pc", "q35"])
@pytest.mark.parametrize("way", ["pvh", "iso"])
def test_it_reaches_the_prompt_everywhere(
    machine: Machine, artifact: Build, way: str, board: str, cpu: str
) -> None:
    image = sum(segment.memory_bytes for segment in artifact.artifact.segments if segment.type == "PT_LOAD")
    with machine(way, machine=board, cpu=cpu) as guest:
        lines = boot_lines(guest)
        assert lines[0].endswith(LETTERS[way]), "every stage of the assembly reported"
        assert re.fullmatch(r"Coronel( \(debug\))?", lines[1])
        assert lines[2].startswith(f"boot: {PROTOCOLS[way]}")
        assert not [line for line in lines if "error" in line or "remark" in line]

        ready = guest.channel.event("ready")
        assert ready is not None
        assert 0 < ready["kmain_tsc"] < ready["prompt_tsc"]
        value = guest.channel.call("meminfo")
        assert value["MemFree"] == value["MemTotal"] > (62 << 10) - image // 1024
        assert f"MemTotal: {value['MemTotal']:>15} kB" in guest.shell.run("meminfo")
        assert [event["event"] for event in guest.channel.events] == ["ready"], "said once, and nothing else"


@pytest.mark.parametrize("board", ["pc", "q35"])
def test_both_ways_find_the_same_memory(machine: Machine, artifact: Build, board: str) -> None:
    # The same disc for both: the firmware keeps memory for its driver.
    disc = ["-drive", f"file={artifact.iso},format=raw,if=ide,index=2,media=cdrom,readonly=on"]
    found = []
    for way in ("pvh", "iso"):
        extra = disc if way == "pvh" else []
        with machine(way, machine=board, memory="96M", extra=extra) as guest:
            guest.wait_ready()
            present = guest.channel.call("meminfo")["MemPresent"]
            ranges = available_memory(guest)
            with KernelState(guest, artifact.artifact).still() as tables:
                hidden = len(hidden_frames(tables)) << 12
            shown = sum(end - start for start, end in ranges)
            assert shown + hidden == present << 10, "the direct map is the memory"
            found.append((present, ranges))
    assert found[0] == found[1]


def test_both_ways_hand_over_the_same_line_and_module(
    machine: Machine, artifact: Build, tmp_path: Path
) -> None:
    line = "seed=4242 on_misuse=refuse"
    module = tmp_path / "module"
    module.write_bytes(bytes(300 << 10))
    image = tmp_path / "with_module.iso"
    build_image(artifact.elf, image, arguments=line, modules=[Module(module, "module")])

    said = []
    for guest in (machine("pvh", cmdline=line, modules=[module]), machine("iso", iso=image)):
        with guest:
            lines = boot_lines(guest)
            reserved = guest.channel.call("meminfo")["MemReserved"]
            said.append(
                [
                    re.sub("^boot: (PVH|multiboot2)", "boot:", text)
                    for text in lines[2:]
                    if "Memory" not in text
                ]
            )
            assert reserved >= 300, "nobody is handed the module's frames"
    assert said[0] == said[1]
    assert said[0][0] == f"boot:, 1 modules, command line: {line}"
    assert "Random numbers start from seed=4242" in said[0]


def test_the_modules_bytes_stay_as_they_were(machine: Machine, tmp_path: Path, coronel_seed: int) -> None:
    """The allocator may hand out everything else: a module that it hands out would be overwritten."""
    content = coronel_seed.to_bytes(8, "little") * (64 << 10)
    module = tmp_path / "module"
    module.write_bytes(content)
    with machine("pvh", memory="16M", modules=[module]) as guest:
        guest.wait_ready()
        place = find_in_ram(guest, content)
        guest.channel.call("stress", "pages", 20000, f"seed={coronel_seed}")
        first = place >> 12
        frames = guest.channel.batch([f"frames {n} 1" for n in range(first, first + (len(content) >> 12))])
        assert {outcome.value[0]["state"] for outcome in frames} == {"reserved"}
        assert guest.ram.read(place, len(content)) == content


def find_in_ram(guest: Guest, content: bytes) -> int:
    with guest.paused():
        for start, size in guest.ram.populated():
            position = guest.ram.read(start, size).find(content)
            if position >= 0:
                return start + position
    raise AssertionError("the module is nowhere in RAM")
