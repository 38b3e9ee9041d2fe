"""What a boot loader can hand over that is odd: long command lines, strange modules, broken kernels."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coronel.build.image import Module, build_image
from coronel.cli import main
from coronel.errors import ArtifactError, GuestError, MonitorError, UsageError
from coronel.guest import Cause, Guest
from coronel.guest.options import GuestOptions
from coronel.pytest_plugin import Build

KIB, MIB = 1 << 10, 1 << 20
MOST_MODULES = 16  # max_modules

Disc = Callable[..., Path]


@pytest.fixture
def disc(artifact: Build, tmp_path: Path) -> Disc:
    """`disc(arguments=..., modules=[...])`: an image of the kernel with these."""

    def build(**given: object) -> Path:
        image = tmp_path / "test.iso"
        build_image(artifact.elf, image, **given)  # type: ignore[arg-type]
        return image

    return build


def file_of(folder: Path, name: str, size: int) -> Path:
    path = folder / name
    with path.open("wb") as file:
        file.truncate(size)
    return path


def boot_text(guest: Guest) -> str:
    guest.wait_ready(30)
    return guest.shell.wait_prompt()


def works(guest: Guest) -> None:
    before = guest.channel.call("meminfo")["MemFree"]
    guest.channel.call("stress", "pages", 500)
    assert guest.channel.call("meminfo")["MemFree"] == before


# ---- the command line


@pytest.mark.parametrize(("length", "cut"), [(1024, False), (1025, True), (4095, True)])  # command_line_bytes
def test_a_long_command_line_is_cut_and_said_so(artifact: Build, length: int, cut: bool) -> None:
    line = "seed=5 ".ljust(length, "x")
    with Guest(kernel=artifact.elf, memory="32M", cmdline=line) as guest:
        text = boot_text(guest)
        assert ("boot: the kernel command line was cut to 6 characters" in text) == cut, "never inside a word"
        assert "seed=5" in text, "the beginning counts"
        shown = re.search(r"command line: (.*)$", text, re.MULTILINE)
        assert shown
        assert line.startswith(shown[1].removesuffix("..."))
        works(guest)


def test_grub_passes_ten_thousand_characters(disc: Disc) -> None:
    with Guest(iso=disc(arguments="seed=6 ".ljust(10_000, "y")), memory="64M", timeout=30) as guest:
        text = boot_text(guest)
        assert "command line was cut to" in text
        assert "Random numbers start from seed=6" in text
        works(guest)


def test_a_line_that_qemu_would_spill_over_is_refused(artifact: Build) -> None:
    with pytest.raises(UsageError, match="10000 bytes is too long"):
        GuestOptions(kernel=artifact.elf, cmdline="x" * 10_000)


def test_boot_information_that_qemu_spilt_over_is_refused_by_the_kernel(artifact: Build) -> None:
    template = GuestOptions(kernel=artifact.elf, memory="32M")
    command = [template.qemu, "-machine", "pc", *template.machine_arguments(), "-append", "x" * 10_000]
    done = subprocess.run(
        [*command, "-serial", "stdio"], capture_output=True, timeout=30, check=False, stdin=-3
    )
    assert done.returncode == 37
    assert b"boot error: the PVH start information at 0x" in done.stdout


# ---- modules


def test_an_empty_module_is_a_module(disc: Disc, tmp_path: Path) -> None:
    empty = Module(file_of(tmp_path, "empty", 0), "empty")
    with Guest(iso=disc(modules=[empty]), memory="32M", timeout=30) as guest:
        assert "boot: multiboot2, 1 modules" in boot_text(guest)
        works(guest)


def test_an_empty_module_is_nothing_to_qemu(artifact: Build, tmp_path: Path) -> None:
    with Guest(kernel=artifact.elf, memory="32M", modules=[file_of(tmp_path, "empty", 0)]) as guest:
        assert re.search(r"^boot: PVH(, command|$)", boot_text(guest), re.MULTILINE)
        works(guest)


@pytest.mark.parametrize("way", ["pvh", "iso"])
def test_the_kernel_as_its_own_module(artifact: Build, disc: Disc, way: str) -> None:
    elf = artifact.elf
    start: dict[str, Any] = {"kernel": elf, "modules": [elf]}
    if way == "iso":
        start = {"iso": disc(modules=[Module(elf, "coronel")])}
    with Guest(memory="64M", timeout=30, **start) as guest:
        assert ", 1 modules" in boot_text(guest)
        assert guest.channel.call("meminfo")["MemReserved"] * KIB > elf.stat().st_size
        works(guest)


def test_two_modules(disc: Disc, tmp_path: Path) -> None:
    modules = [Module(file_of(tmp_path, name, 100 * KIB), f"{name} with words") for name in ("one", "two")]
    with Guest(iso=disc(modules=modules), memory="32M", timeout=30) as guest:
        assert "boot: multiboot2, 2 modules" in boot_text(guest)
        works(guest)


def test_more_modules_than_there_is_room_for(disc: Disc, tmp_path: Path) -> None:
    modules = [Module(file_of(tmp_path, f"m{n}", 5000), f"m{n}") for n in range(MOST_MODULES + 2)]
    with Guest(iso=disc(modules=modules), memory="32M", timeout=30) as guest:
        text = boot_text(guest)
        assert "boot: 2 modules did not fit in the table of 16; not used" in text
        assert f"boot: multiboot2, {MOST_MODULES} modules" in text
        works(guest)


def test_a_module_larger_than_the_machine_is_qemus_error(artifact: Build, tmp_path: Path) -> None:
    big = file_of(tmp_path, "big", 80 * MIB)
    with (
        pytest.raises(MonitorError, match="initrd is too large"),
        Guest(kernel=artifact.elf, memory="64M", modules=[big]) as guest,
    ):
        guest.wait_ready()


def test_a_module_larger_than_the_machine_under_grub(disc: Disc, tmp_path: Path) -> None:
    """GRUB says that it has no room; the kernel starts without the module."""
    image = disc(modules=[Module(file_of(tmp_path, "big", 80 * MIB), "big")])
    with Guest(iso=image, memory="64M", timeout=60) as guest:
        guest.wait_ready(60)
        text = guest.shell.wait_prompt()
        assert "out of memory" in text
        assert re.search(r"^boot: multiboot2$", text, re.MULTILINE)
        works(guest)


def test_a_missing_module_is_named(artifact: Build, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    with pytest.raises(ArtifactError, match=f"module {missing} does not exist"):
        Guest(kernel=artifact.elf, modules=[missing])


def test_a_missing_module_is_one_line_of_the_command(
    artifact: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "nowhere"
    status = main(["run", "--kernel", str(artifact.elf), "--module", str(missing)])
    said = capsys.readouterr().err.strip()
    assert (status, len(said.splitlines())) == (3, 1)
    assert str(missing) in said


# ---- kernels that are none


@pytest.mark.parametrize("length", [0, 3, 40, 63, 100, 4096, 70_000])
def test_a_cut_kernel_is_refused_before_qemu_starts(artifact: Build, tmp_path: Path, length: int) -> None:
    path = tmp_path / "cut.elf"
    path.write_bytes(artifact.elf.read_bytes()[:length])
    with pytest.raises(ArtifactError, match=re.escape(str(path))) as caught:
        Guest(kernel=path)
    assert re.search("cut off|empty|not an ELF", str(caught.value))


@pytest.mark.parametrize("length", [0, 3, 40, 100, 70_000])
def test_qemu_refuses_a_cut_kernel_too(artifact: Build, tmp_path: Path, length: int) -> None:
    """Without the package in between: an error of QEMU's, never a machine that runs half a kernel."""
    path = tmp_path / "cut.elf"
    path.write_bytes(artifact.elf.read_bytes()[:length])
    template = GuestOptions(kernel=artifact.elf, memory="32M")
    arguments = [str(path) if word == str(artifact.elf) else word for word in template.machine_arguments()]
    done = subprocess.run(
        [template.qemu, *arguments, "-serial", "stdio"],
        capture_output=True,
        timeout=30,
        check=False,
        stdin=-3,
    )
    assert done.returncode == 1
    assert done.stderr
    assert b"Coronel" not in done.stdout


@pytest.mark.parametrize("damage", ["no ELF magic", "no multiboot2 header"])
def test_grub_says_why_it_cannot_load_a_kernel(artifact: Build, tmp_path: Path, damage: str) -> None:
    data = bytearray(artifact.iso.read_bytes())
    kernel = data.find(b"\x7fELF\x02\x01")
    assert kernel > 0
    header = data.find((0xE852_50D6).to_bytes(4, "little"), kernel)
    assert 0 < header - kernel < 32 * KIB
    place = kernel if damage == "no ELF magic" else header
    data[place : place + 4] = b"\0\0\0\0"
    image = tmp_path / "damaged.iso"
    image.write_bytes(data)
    with Guest(iso=image, memory="64M", timeout=30) as guest:
        with pytest.raises(GuestError, match="unusable"):
            guest.wait_ready()
        assert guest.ending is not None
        assert (guest.ending.cause, guest.ending.status) == (Cause.unusable, 37)
        assert "boot error: GRUB could not load /boot/coronel.elf" in guest.report().serial
