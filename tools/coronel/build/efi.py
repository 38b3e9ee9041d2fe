"""Makes what UEFI firmware starts from: a small FAT file system whose only file is GRUB, in one piece.

It holds no configuration of its own: it looks for the disc with the kernel and goes on with that disc's
boot/grub/grub.cfg, so that both firmwares do the same.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from coronel.checkout import system_path

GRUB_PLATFORM = system_path("/usr/lib/grub/x86_64-efi")
GRUB_PACKAGE = "grub-efi-amd64-bin"
MODULES = (
    "normal multiboot2 boot serial terminal echo test true configfile iorw halt iso9660 search search_fs_file"
)
# UEFI Specification, section "Removable Media Boot Behavior": the file that is looked for in \EFI\BOOT.
BOOT_FILE = "BOOTX64.EFI"
_FIND_DISC = "search --file --set=root /boot/coronel.elf\nset prefix=($root)/boot/grub\n"
_TRACK_BYTES = 2 * 18 * 512  # of a disk with two heads and 18 sectors a track
_SPARE_BYTES = 64 << 10  # for the file system itself

Run = Callable[[Sequence[str], dict[str, str]], None]


def available() -> bool:
    """Whether GRUB for UEFI is installed. Without it an image starts under BIOS only."""
    return (GRUB_PLATFORM / "modinfo.sh").exists()


def make_file_system(folder: Path, output: Path, run: Run, environment: dict[str, str]) -> None:
    """Write the file system to `output`, with `folder` for what is made on the way.

    `run` starts a program and raises ArtifactError when it fails.
    """
    search = folder / "early.cfg"
    search.write_text(_FIND_DISC, encoding="utf-8")
    program = folder / BOOT_FILE
    command = ["grub-mkimage", "-O", "x86_64-efi", "-d", str(GRUB_PLATFORM), "-p", "/boot/grub"]
    run([*command, "-c", str(search), "-o", str(program), *MODULES.split()], environment)
    tracks = -(-(program.stat().st_size + _SPARE_BYTES) // _TRACK_BYTES)
    shape = ["-T", str(tracks * _TRACK_BYTES // 512), "-h", "2", "-s", "18", "-N", "0"]
    run(["mformat", "-C", "-i", str(output), *shape, "::"], environment)
    run(["mmd", "-i", str(output), "::/EFI", "::/EFI/BOOT"], environment)
    run(["mcopy", "-i", str(output), str(program), f"::/EFI/BOOT/{BOOT_FILE}"], environment)
