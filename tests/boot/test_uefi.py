"""The same image under UEFI firmware: one machine, looked at from all sides (a boot takes some seconds)."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from coronel import KernelState
from coronel.build import efi
from coronel.build.image import Module, build_image
from coronel.errors import ArtifactError
from coronel.guest import Guest, GuestOptions
from coronel.mappings import physical_ranges, shown_memory
from coronel.mm.guards import hidden_frames
from coronel.pytest_plugin import Build

KIB, MIB = 1 << 10, 1 << 20
# One fits where firmware leaves little, the other only in the large range.
MODULES = {"small": 5 * KIB, "large": 3 * MIB}


def content(name: str) -> bytes:
    return random.Random(name).randbytes(MODULES[name])


@pytest.fixture(scope="module")
def uefi(artifact: Build, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    folder = tmp_path_factory.mktemp("uefi")
    for name in MODULES:
        (folder / name).write_bytes(content(name))
    modules = [Module(folder / name, name) for name in MODULES]
    image = folder / "test.iso"
    build_image(artifact.elf, image, arguments="seed=77 hold=32M+4M", modules=modules)
    with Guest(iso=image, firmware="uefi", machine="q35", memory="128M", timeout=60) as guest:
        guest.wait_ready()
        yield guest


def test_it_reaches_the_prompt(uefi: Guest) -> None:
    text = uefi.shell.wait_prompt()
    lines = text[text.index("MCTLHI\n") :].splitlines()
    assert re.fullmatch(r"Coronel( \(debug\))?", lines[1])
    assert lines[2:4] == [
        "boot: multiboot2, 2 modules, command line: seed=77 hold=32M+4M",
        "boot: held 4 MiB at 0x2000000",
    ]
    assert not [line for line in lines if "error" in line or "remark" in line]
    assert "Random numbers start from seed=77" in lines


def test_the_memory_of_its_scattered_map_is_in_service(uefi: Guest, artifact: Build) -> None:
    meminfo = uefi.channel.call("meminfo")
    assert 118 * MIB < (meminfo["MemPresent"] + 4 * 1024) * KIB < 128 * MIB
    assert meminfo["MemTotal"] + meminfo["MemReserved"] == meminfo["MemPresent"]
    with uefi.paused(), KernelState(uefi, artifact.elf).still() as tables:
        usable = shown_memory(uefi.mappings())
        hidden = hidden_frames(tables)
    assert sum(m.size for m in usable) + len(hidden) * 4 * KIB == meminfo["MemPresent"] * KIB
    pieces = [(start, end) for start, end in physical_ranges(usable) if start // (4 * KIB) - 1 not in hidden]
    holes = len(pieces) - 1
    assert holes >= 4, "the firmware keeps pieces in the middle: an odd map, as it should be"
    assert KernelState(uefi, artifact.elf).walk().problems == []


def test_allocations_and_modules_leave_each_other_alone(uefi: Guest) -> None:
    """Of every copy that the disc's drivers have left behind the frames of one are reserved, and stay."""
    copies: dict[str, list[int]] = {name: [] for name in MODULES}
    with uefi.paused():
        for start, size in uefi.ram.populated():
            data = uefi.ram.read(start, size)
            for name, places in copies.items():
                found = re.finditer(re.escape(content(name)[:64]), data)
                places += [start + match.start() for match in found if (start + match.start()) % 4096 == 0]
    kept = {}
    for name, places in copies.items():
        for place in places:
            (frame,) = uefi.channel.call("frames", place >> 12, 1)
            if frame["state"] == "reserved" and uefi.ram.read(place, MODULES[name]) == content(name):
                kept[name] = place
    assert set(kept) == set(MODULES)
    uefi.channel.call("quiesce")
    before = uefi.channel.call("buddyinfo")
    uefi.channel.call("stress", "pages", 20000, "seed=3")
    uefi.channel.call("quiesce")
    assert uefi.channel.call("buddyinfo") == before
    for name, place in kept.items():
        assert uefi.ram.read(place, MODULES[name]) == content(name)


# ---- the image


def test_the_same_inputs_give_the_same_image(artifact: Build, tmp_path: Path) -> None:
    images = [tmp_path / name for name in ("one.iso", "two.iso")]
    for image in images:
        build_image(artifact.elf, image, arguments="seed=1")
    assert images[0].read_bytes() == images[1].read_bytes()


def test_without_grub_for_uefi_the_image_starts_under_bios_only(
    artifact: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(efi, "GRUB_PLATFORM", tmp_path / "nowhere")
    image = tmp_path / "bios.iso"
    build_image(artifact.elf, image)
    with Guest(iso=image, timeout=20) as guest:
        guest.wait_ready()
    with pytest.raises(ArtifactError, match="starts under BIOS only: install the package grub-efi-amd64-bin"):
        GuestOptions(iso=image, firmware="uefi", machine="q35", memory="128M")
