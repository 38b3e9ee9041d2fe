"""Whether a file is worth giving to QEMU, whose own answers to broken ones are poor, or silence.

Only what decides about starting at all is looked at here; the promises a kernel keeps are
`coronel.artifact`'s.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from coronel.checkout import PROFILES, ROOT, built
from coronel.errors import ArtifactError

_PVH_ENTRY = 18  # XEN_ELFNOTE_PHYS32_ENTRY
_PT_LOAD, _PT_NOTE = 1, 4
_SECTOR = 2048
_ISO_DESCRIPTOR = 16 * _SECTOR
_BOOT_DESCRIPTOR = 17 * _SECTOR
_CATALOGUE_ENTRY = 32
_UEFI_PLATFORM = 0xEF


def default_kernel() -> Path:
    """The kernel that is built in this checkout, release before debug; ArtifactError when none is."""
    path = built("coronel.elf")
    if path is None:
        raise ArtifactError(
            f"no kernel is built in {ROOT / 'build'}/{{{','.join(PROFILES)}}}: run `make all`"
        )
    return path


def check_readable(path: Path, noun: str) -> None:
    """ArtifactError unless `path` is a file that can be read. It may be empty."""
    if not path.exists():
        raise ArtifactError(f"{noun} {path} does not exist")
    if not path.is_file():
        raise ArtifactError(f"{noun} {path} is not a file")
    try:
        path.open("rb").close()
    except OSError as error:
        raise ArtifactError(f"{noun} {path} cannot be read: {error.strerror}") from None


def check_kernel(path: Path) -> None:
    """ArtifactError unless `path` is a whole ELF file for x86 with the note for QEMU's direct start."""
    check_readable(path, "kernel")
    with path.open("rb") as file:
        size = path.stat().st_size
        head = file.read(64)
        if head[:4] != b"\x7fELF":
            raise ArtifactError(
                f"kernel {path} is {'empty' if not head else 'not an ELF file'}: build it with `make`"
            )
        try:
            notes = _notes(file, head, size)
        except (struct.error, IndexError, EOFError):
            raise ArtifactError(f"kernel {path} is cut off after {size} bytes: build it again") from None
        if _PVH_ENTRY not in notes:
            raise ArtifactError(
                f"kernel {path} has no PVH note (type {_PVH_ENTRY}): QEMU cannot start it directly"
            )


def _notes(file: BinaryIO, head: bytes, size: int) -> set[int]:
    """Types of Xen's notes. EOFError when a segment ends beyond the file."""
    wide = head[4] == 2  # ELFCLASS64
    table, entry_bytes, entries = (
        (*struct.unpack_from("<Q", head, 32), *struct.unpack_from("<HH", head, 54))
        if wide
        else (*struct.unpack_from("<I", head, 28), *struct.unpack_from("<HH", head, 42))
    )
    found: set[int] = set()
    for index in range(entries):
        file.seek(table + index * entry_bytes)
        entry = file.read(entry_bytes)
        kind = struct.unpack_from("<I", entry)[0]
        offset, length = (
            (struct.unpack_from("<Q", entry, 8)[0], struct.unpack_from("<Q", entry, 32)[0])
            if wide
            else (struct.unpack_from("<I", entry, 4)[0], struct.unpack_from("<I", entry, 16)[0])
        )
        if kind in (_PT_LOAD, _PT_NOTE) and offset + length > size:
            raise EOFError
        if kind == _PT_NOTE:
            file.seek(offset)
            found |= _xen_types(file.read(length))
    return found


def _xen_types(notes: bytes) -> set[int]:
    found, position = set(), 0
    while position + 12 <= len(notes):
        name_bytes, value_bytes, kind = struct.unpack_from("<III", notes, position)
        name = notes[position + 12 : position + 12 + name_bytes]
        if name == b"Xen\0":
            found.add(kind)
        position += 12 + (name_bytes + 3 & ~3) + (value_bytes + 3 & ~3)
    return found


def check_iso(path: Path) -> None:
    """ArtifactError unless `path` is a whole ISO 9660 image (ECMA-119, section 8.4)."""
    check_readable(path, "image")
    with path.open("rb") as file:
        file.seek(_ISO_DESCRIPTOR)
        descriptor = file.read(2048)
    if descriptor[1:6] != b"CD001":
        raise ArtifactError(f"image {path} is not an ISO 9660 image, or cut off: build it with `make image`")
    blocks = struct.unpack_from("<I", descriptor, 80)[0]
    block_bytes = struct.unpack_from("<H", descriptor, 128)[0]
    missing = blocks * block_bytes - path.stat().st_size
    if missing > 0:
        raise ArtifactError(
            f"image {path} is cut off, {missing} bytes are missing: build it again with `make image`"
        )


def check_uefi_entry(path: Path) -> None:
    """ArtifactError unless the image's boot catalogue has a section for UEFI (El Torito 1.0, section 2.3)."""
    with path.open("rb") as file:
        file.seek(_BOOT_DESCRIPTOR)
        descriptor = file.read(_SECTOR)
        if descriptor[:5] == b"\0CD00" and descriptor[7:30] == b"EL TORITO SPECIFICATION":
            file.seek(struct.unpack_from("<I", descriptor, 71)[0] * _SECTOR)
            catalogue = file.read(_SECTOR)
            # Section headers begin with 0x90, the last one with 0x91.
            for start in range(0, len(catalogue) - 1, _CATALOGUE_ENTRY):
                if catalogue[start] in (0x90, 0x91) and catalogue[start + 1] == _UEFI_PLATFORM:
                    return
    raise ArtifactError(
        f"image {path} starts under BIOS only: install the package grub-efi-amd64-bin and build it again"
    )
