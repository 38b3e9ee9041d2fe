"""Arguments that make no sense, and files that cannot be started, before anything is started."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest

from coronel.errors import (
    ArtifactError,
    BootTimeout,
    CoronelError,
    GuestReport,
    KernelPanic,
    MMError,
    SetupError,
    UsageError,
)
from coronel.guest import GuestOptions, firmware, parse_memory
from coronel.guest.console import SerialLog, printable
from coronel.guest.registers import parse


def elf(note: bool = True, wide: bool = False) -> bytes:
    """A whole ELF file: header, one note segment, its bytes."""
    body = struct.pack("<III4sI", 4, 4, 18 if note else 1, b"Xen\0", 0x100000)
    if wide:
        head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
            "<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0
        )
        table = struct.pack("<IIQQQQQQ", 4, 4, 120, 0, 0, len(body), len(body), 4)
    else:
        head = b"\x7fELF\x01\x01\x01".ljust(16, b"\0") + struct.pack(
            "<HHIIIIIHHHHHH", 2, 3, 1, 0, 52, 0, 0, 52, 32, 1, 0, 0, 0
        )
        table = struct.pack("<IIIIIIII", 4, 84, 0, 0, len(body), len(body), 4, 4)
    return head + table + body


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    path = tmp_path / "kernel.elf"
    path.write_bytes(elf())
    return path


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("16M", 16 << 20),
        ("1G", 1 << 30),
        ("64", 64 << 20),
        (256, 256 << 20),
        ("2mib", 2 << 20),
        ("512G", 512 << 30),
    ],
)
def test_sizes(text: str | int, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize(
    "text", ["0", "-1", "1", "abc", "1T", "", "16 M M", "1.5G", "64K", "9" * 30, "513G", "1e3"]
)
def test_sizes_that_make_no_sense(text: str) -> None:
    with pytest.raises(UsageError, match=r"memory .* (is not a size|is out of range)") as caught:
        parse_memory(text)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"memory": "abc"}, "memory 'abc'"),
        ({"cpus": 0}, "cpus 0"),
        ({"cpus": 256}, "cpus 256"),
        ({"cpus": "two"}, "cpus 'two'"),
        ({"machine": "isapc"}, "pc and q35"),
        ({"firmware": "coreboot"}, "firmware 'coreboot' is unknown: there are bios and uefi"),
        ({"firmware": "uefi", "machine": "q35", "memory": "128M"}, "firmware uefi starts an iso"),
        ({"cpu": "-help"}, "not a CPU model"),
        ({"accel": "xen"}, "tcg and kvm"),
        ({"icount": 11}, "icount 11"),
        ({"icount": 0, "accel": "kvm"}, "accel tcg"),
        ({"cmdline": "a\nb"}, "line end"),
        ({"iso": "also.iso"}, "give one of them"),
        ({"modules": ("a", "b")}, "one module"),
    ],
)
def test_options_that_make_no_sense(kernel: Path, wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        GuestOptions(**{"kernel": kernel, **wrong})


@pytest.mark.parametrize("wide", [False, True])
def test_a_whole_kernel_passes_and_every_cut_is_found(tmp_path: Path, wide: bool) -> None:
    path = tmp_path / "kernel.elf"
    whole = elf(wide=wide)
    path.write_bytes(whole)
    GuestOptions(kernel=path)
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(ArtifactError, match=r"empty|not an ELF|cut off"):
            GuestOptions(kernel=path)


def test_files_that_cannot_be_started(tmp_path: Path) -> None:
    for name, content, text in (
        ("none", None, "does not exist"),
        ("empty", b"", "is empty"),
        ("text", b"#!/bin/sh\n", "is not an ELF file"),
        ("no-note", elf(note=False), "no PVH note"),
    ):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ArtifactError, match=text) as caught:
            GuestOptions(kernel=path)
        assert caught.value.exit_status == 3
    with pytest.raises(ArtifactError, match="is not a file"):
        GuestOptions(kernel=tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_a_file_without_read_permission(kernel: Path) -> None:
    kernel.chmod(0)
    with pytest.raises(ArtifactError, match="cannot be read: Permission denied"):
        GuestOptions(kernel=kernel)


def test_images(tmp_path: Path) -> None:
    path = tmp_path / "image.iso"
    descriptor = bytearray(2048)
    descriptor[:6] = b"\x01CD001"
    struct.pack_into("<I", descriptor, 80, 20)
    struct.pack_into("<H", descriptor, 128, 2048)
    whole = bytes(16 * 2048) + bytes(descriptor) + bytes(3 * 2048)
    path.write_bytes(whole)
    GuestOptions(iso=path)
    with pytest.raises(UsageError, match=r"grub\.cfg"):
        GuestOptions(iso=path, cmdline="seed=1")
    path.write_bytes(whole[:-1])
    with pytest.raises(ArtifactError, match="1 bytes are missing"):
        GuestOptions(iso=path)
    for size in (0, 100, 16 * 2048, 16 * 2048 + 5):
        path.write_bytes(whole[:size])
        with pytest.raises(ArtifactError, match="cut off"):
            GuestOptions(iso=path)


@pytest.fixture
def uefi_image(tmp_path: Path) -> Path:
    """A whole image with a boot catalogue that has a section for UEFI."""
    image = bytearray(20 * 2048)
    image[16 * 2048 : 16 * 2048 + 6] = b"\x01CD001"
    struct.pack_into("<I", image, 16 * 2048 + 80, 20)
    struct.pack_into("<H", image, 16 * 2048 + 128, 2048)
    image[17 * 2048 : 17 * 2048 + 30] = b"\0CD001\x01EL TORITO SPECIFICATION"
    struct.pack_into("<I", image, 17 * 2048 + 71, 19)
    image[19 * 2048 + 64 : 19 * 2048 + 66] = b"\x91\xef"
    path = tmp_path / "uefi.iso"
    path.write_bytes(image)
    return path


@pytest.fixture
def flash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretends that OVMF is installed."""
    found = firmware.Uefi(Path("/c.fd"), Path("/v.fd"))
    monkeypatch.setattr(firmware.Uefi, "find", classmethod(lambda _: found))


def uefi_options(image: Path, **fields: Any) -> GuestOptions:
    return GuestOptions(**{"iso": image, "firmware": "uefi", "machine": "q35", "memory": "128M", **fields})


def test_a_machine_with_uefi(uefi_image: Path, flash: None) -> None:
    words = uefi_options(uefi_image).machine_arguments()
    chips = [word for word in words if word.startswith("if=pflash")]
    assert chips == [
        "if=pflash,format=raw,unit=0,readonly=on,file=/c.fd",
        "if=pflash,format=raw,unit=1,snapshot=on,file=/v.fd",
    ]
    for wrong, text in (
        ({"machine": "pc"}, "needs machine q35"),
        ({"memory": "127M"}, "'127M' is too little for firmware uefi: at least 128M"),
    ):
        with pytest.raises(UsageError, match=text):
            uefi_options(uefi_image, **wrong)
    assert not [word for word in GuestOptions(iso=uefi_image).machine_arguments() if "pflash" in word]


@pytest.mark.parametrize("place", [17 * 2048 + 8, 19 * 2048 + 64, 19 * 2048 + 65])
def test_an_image_without_uefi(uefi_image: Path, place: int, flash: None) -> None:
    data = bytearray(uefi_image.read_bytes())
    data[place] ^= 0x40
    uefi_image.write_bytes(data)
    GuestOptions(iso=uefi_image)
    with pytest.raises(
        ArtifactError, match=r"starts under BIOS only: install the package grub-efi-amd64-bin"
    ):
        uefi_options(uefi_image)


def test_where_the_firmware_is(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"firmware uefi needs .*OVMF_CODE_4M\.fd: install the package ovmf"):
        firmware.Uefi.find(tmp_path)
    for name in ("OVMF_CODE.fd", "OVMF_VARS.fd", "OVMF_CODE_4M.fd"):
        (tmp_path / name).touch()
    assert firmware.Uefi.find(tmp_path).code.name == "OVMF_CODE.fd"
    (tmp_path / "OVMF_VARS_4M.fd").touch()  # Debian 13 has only these
    assert firmware.Uefi.find(tmp_path).variables.name == "OVMF_VARS_4M.fd"


def test_a_missing_module(kernel: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"module .* does not exist"):
        GuestOptions(kernel=kernel, modules=(tmp_path / "none",))


def test_the_line_to_repeat_is_one_that_a_shell_takes(kernel: Path) -> None:
    import shlex

    words = shlex.split(GuestOptions(kernel=kernel, cmdline="seed=1 note='a b'").shell_line())
    assert words[words.index("-append") + 1] == "seed=1 note='a b'"
    assert words[-2:] == ["-serial", "mon:stdio"]
    assert not any("/dev/fd" in word or "chardev" in word for word in words)


def test_a_log_keeps_its_beginning_and_its_end() -> None:
    log = SerialLog()
    log.add(b"the beginning\n")
    for number in range(40_000):
        log.add(f"line {number:06d} of a flood of text that does not end soon\n".encode())
    log.add(b"the end")

    kept = log.bytes()
    assert kept.startswith(b"the beginning\n")
    assert kept.endswith(b"the end")
    assert len(kept) < log.HEAD_LIMIT + log.TAIL_LIMIT + 100
    assert f"{log.dropped} bytes dropped".encode() in kept
    assert log.total == log.dropped + len(kept) - len(f"\n[... {log.dropped} bytes dropped ...]\n")
    assert log.tail().split("\n")[-1] == "the end"
    assert len(log.tail().split("\n")) == 40


def test_the_end_of_a_log_has_the_whole_report_of_a_panic() -> None:
    log = SerialLog()
    log.add(b"before\n" * 300)
    log.add(b"panic: it ended\n" + b"a counter: 1\n" * 120 + b"end of panic\n")
    assert log.tail().startswith("panic: it ended\n")
    log.add(b"after\n" * 300)
    assert log.tail() == "\n".join(["after"] * 40)


def test_what_cannot_be_printed_is_escaped() -> None:
    assert printable(b"a\r\nb\xffc\x1b[0m\x00\tz") == "a\nb\\xffc\\x1b[0m\\x00\tz"
    assert printable("Größe".encode()) == "Größe"


def test_registers_in_both_modes() -> None:
    wide = (
        "\nCPU#0\nRAX=00000000000000ff RBX=0000000000000001\nR8 =0000000000000002\n"
        "RIP=ffffffff80100000 RFL=00000046 [---]\nCR0=80010033 CR3=0000000000001000 CR4=00000020\n"
        "EFER=0000000000000d01\nFCW=037f\n"
    )
    (cpu,) = parse(wide)
    assert (cpu["rax"], cpu["r8"], cpu["rip"], cpu["cr3"], cpu["efer"]) == (
        255,
        2,
        0xFFFFFFFF80100000,
        0x1000,
        0xD01,
    )
    assert "FCW" in cpu.text
    assert "FCW" not in cpu.core_text
    narrow = "\nCPU#0\nEAX=00000060 EBX=000021e0\nEIP=00100012 EFL=00000046\n\nCPU#1\nEAX=00000001\n"
    first, second = parse(narrow)
    assert (first["rip"], first["rax"], second.cpu, second["rax"]) == (0x100012, 0x60, 1, 1)
    assert parse("nonsense") == []


def test_the_tree_of_errors() -> None:
    panic = KernelPanic("the kernel panicked: x", GuestReport(serial="last words", command="qemu"), "x")

    assert isinstance(panic, MMError)
    assert panic.reason == "x"
    assert panic.summary == "the kernel panicked: x"
    assert "last words" in str(panic)
    assert "to repeat by hand\nqemu" in str(panic)
    assert [error.exit_status for error in (UsageError, ArtifactError, BootTimeout, KernelPanic)] == [
        2,
        3,
        4,
        1,
    ]
    assert issubclass(UsageError, CoronelError)
    assert issubclass(UsageError, ValueError)
