"""The promises that the kernel's ELF file keeps, each a function that returns what is wrong.

Run after every link, by `coronel image --check`, and by the tests.
"""

import re
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

from coronel.artifact.elf import EXECUTE, WRITE, Artifact
from coronel.errors import ArtifactError

IMAGE_BASE = 0xFFFF_FFFF_8000_0000
PAGE = 4096

MULTIBOOT2_MAGIC = 0xE85250D6  # Multiboot2 specification 2.0, section 3.1
MULTIBOOT2_SEARCH = 32768
MULTIBOOT1_MAGIC = 0x1BADB002  # Multiboot specification 0.6.96, section 3.1
MULTIBOOT1_SEARCH = 8192
PVH_NOTE = 18  # XEN_ELFNOTE_PHYS32_ENTRY, Xen's public/elfnote.h

# Registers of SSE, AVX, MMX and x87, and x87 instructions that name none. Saving and loading a thread's whole
# state (fxsave, xsave, fninit, ...) is what a kernel does for others, so it is allowed.
_VECTOR_REGISTER = re.compile(r"%(?:[xyz]mm\d+|mm[0-7]|st\b)")
_X87 = re.compile(r"f(?!xsave|xrstor|n?init\b|s\b)[a-z0-9]+")
_INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\t(.+)$")


class Profile(Enum):
    """How the kernel was built; the release profile promises more."""

    release = "release"
    debug = "debug"


@dataclass(frozen=True)
class Finding:
    """One broken promise: the check's name and one line that says what is wrong."""

    check: str
    text: str

    def __str__(self) -> str:
        return f"{self.check}: {self.text}"


def entry(artifact: Artifact) -> Iterator[str]:
    """e_entry is virtual and inside executable code, or GRUB stops with "entry point isn't in a segment"."""
    for segment in artifact.segments:
        inside = segment.address <= artifact.entry < segment.address + segment.file_bytes
        if segment.type == "PT_LOAD" and inside and segment.flags & EXECUTE:
            if artifact.entry < IMAGE_BASE:
                yield f"the entry {artifact.entry:#x} is not in the kernel's half"
            return
    yield f"the entry {artifact.entry:#x} is in no executable segment"


def segments(artifact: Artifact) -> Iterator[str]:
    """Loaded segments are W^X, start on pages of their own, and lie at physical address + IMAGE_BASE."""
    loaded = sorted((s for s in artifact.segments if s.type == "PT_LOAD"), key=lambda s: s.address)
    if not loaded:
        yield "nothing is loaded"
    for segment in loaded:
        place = f"the segment at {segment.address:#x} ({segment.access})"
        if segment.flags & WRITE and segment.flags & EXECUTE:
            yield f"{place} is writable and executable"
        if segment.address % PAGE:
            yield f"{place} does not start on a page"
        if segment.address - segment.physical != IMAGE_BASE:
            yield f"{place} is loaded at {segment.physical:#x}, not at {segment.address - IMAGE_BASE:#x}"
        if segment.file_bytes > segment.memory_bytes:
            yield f"{place} has more bytes in the file than in memory"
    for one, next_one in pairwise(loaded):
        if -(-(one.address + one.memory_bytes) // PAGE) > next_one.address // PAGE:
            yield f"the segments at {one.address:#x} and {next_one.address:#x} share a page"
    for segment in artifact.segments:
        if segment.type in {"PT_INTERP", "PT_DYNAMIC"}:
            yield f"a {segment.type} segment: the kernel must be linked statically"


def integer_only(artifact: Artifact) -> Iterator[str]:
    """Kernel code uses no SSE, MMX or x87 register: user programs own them. Needs objdump."""
    command = ["objdump", "--disassemble", "--no-show-raw-insn", str(artifact.path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=True)
    except FileNotFoundError:
        raise ArtifactError(
            "objdump is not installed (package binutils); `make doctor` says what else"
        ) from None
    except subprocess.CalledProcessError as error:
        raise ArtifactError(f"objdump cannot read {artifact.path}: {error.stderr.strip()}") from None
    # What runs before long mode is written by hand, and objdump reads 32-bit code and texts as 64-bit code.
    by_hand = [
        (part.address, part.address + part.bytes) for part in artifact.sections if part.name == ".boot"
    ]
    for line in done.stdout.splitlines():
        found = _INSTRUCTION.match(line)
        if not found:
            continue
        text = found[2].split("#")[0].split("<")[0]
        if _VECTOR_REGISTER.search(text) or _X87.fullmatch(text.split()[0]):
            address = int(found[1], 16)
            if any(start <= address < end for start, end in by_hand):
                continue
            function = artifact.function_at(address)
            yield f"`{' '.join(text.split())}` at {address:#x} in {function.name if function else '?'}"


def multiboot2(artifact: Artifact) -> Iterator[str]:
    """A complete multiboot2 header lies, 8-byte aligned, within the first 32 KiB of the file."""
    head = artifact.data[:MULTIBOOT2_SEARCH]
    for place in range(0, len(head) - 15, 8):
        magic, architecture, size, checksum = struct.unpack_from("<IIII", head, place)
        if magic != MULTIBOOT2_MAGIC:
            continue
        if (magic + architecture + size + checksum) % 2**32:
            yield f"the header at byte {place} has a wrong checksum"
        elif architecture:
            yield f"the header at byte {place} is for architecture {architecture}, not 0 (i386)"
        elif place + size > len(head):
            yield f"the header at byte {place} ends beyond the first 32 KiB"
        else:
            yield from _multiboot2_tags(head[place + 16 : place + size])
        return
    yield "there is no header (aligned to 8, within the first 32 KiB)"


def _multiboot2_tags(tags: bytes) -> Iterator[str]:
    place = 0
    while place + 8 <= len(tags):
        kind, _flags, size = struct.unpack_from("<HHI", tags, place)
        if size < 8 or place + size > len(tags):
            yield f"the header's tag of type {kind} has the impossible size {size}"
            return
        if kind == 0:
            return
        place += (size + 7) & ~7
    yield "the header has no end tag"


def no_multiboot1(artifact: Artifact) -> Iterator[str]:
    """No multiboot1 header: it makes QEMU's -kernel take a path that refuses ELF64."""
    head = artifact.data[:MULTIBOOT1_SEARCH]
    for place in range(0, len(head) - 11, 4):
        magic, flags, checksum = struct.unpack_from("<III", head, place)
        if magic == MULTIBOOT1_MAGIC and (magic + flags + checksum) % 2**32 == 0:
            yield f"there is one at byte {place}"


def pvh(artifact: Artifact) -> Iterator[str]:
    """The PVH note lies in a PT_NOTE and in a PT_LOAD and names a physical address of loaded code."""
    notes = [note for note in artifact.notes if note.owner == "Xen" and note.type == PVH_NOTE]
    if len(notes) != 1:
        yield f"{len(notes)} notes of type {PVH_NOTE} by Xen in PT_NOTE segments, not 1"
        return
    note = notes[0]
    loaded = [segment for segment in artifact.segments if segment.type == "PT_LOAD"]
    if not any(segment.covers_file(note.offset, note.bytes) for segment in loaded):
        yield "the note is in no PT_LOAD segment, where QEMU looks for it"
    if len(note.description) not in (4, 8):
        yield f"the note holds {len(note.description)} bytes, not an address of 4 or 8"
        return
    target = int.from_bytes(note.description, "little")
    if not any(s.physical <= target < s.physical + s.file_bytes and s.flags & EXECUTE for s in loaded):
        yield f"the note's entry {target:#x} is in no executable segment"


def build_id(artifact: Artifact) -> Iterator[str]:
    """The build id is kept: debuggers and the layout cache go by it."""
    try:
        _ = artifact.build_id
    except ArtifactError:
        yield "there is none; the linker script must keep .note.gnu.build-id"


def no_initialisers(artifact: Artifact) -> Iterator[str]:
    """Nothing is initialised dynamically: .init_array and .ctors are empty."""
    for section in artifact.sections:
        if section.name.startswith((".init_array", ".ctors", ".preinit_array")) and section.bytes:
            names = [
                found.name if (found := artifact.function_at(int.from_bytes(address, "little"))) else "?"
                for address in _words(artifact.read(section.address, section.bytes))
            ]
            yield f"{section.name} calls {', '.join(names)}"


def _words(data: bytes) -> list[bytes]:
    return [data[place : place + 8] for place in range(0, len(data), 8)]


def defined(artifact: Artifact) -> Iterator[str]:
    """No symbol is left undefined."""
    missing = sorted(symbol.name for symbol in artifact.symbols if not symbol.is_defined)
    if missing:
        yield f"undefined: {', '.join(missing)}"
    if not artifact.symbols:
        yield "the file has no symbol table"


_ALWAYS: dict[str, Callable[[Artifact], Iterator[str]]] = {
    "entry": entry,
    "segments": segments,
    "integer only": integer_only,
    "multiboot2": multiboot2,
    "no multiboot1": no_multiboot1,
    "PVH": pvh,
    "build id": build_id,
    "symbols": defined,
}
# Unit tests register themselves by constructors, so they are linked into the debug profile only.
_RELEASE = {"no initialisers": no_initialisers}


def check(artifact: Artifact, profile: Profile) -> list[Finding]:
    """Return every broken promise of `artifact`, in the order of the checks; nothing when it is sound."""
    checks = _ALWAYS | (_RELEASE if profile is Profile.release else {})
    return [Finding(name, text) for name, run in checks.items() for text in run(artifact)]


def require(artifact: Artifact, profile: Profile) -> None:
    """Raise ArtifactError, one line for each finding (the first ten), unless the artifact is sound."""
    findings = check(artifact, profile)
    if findings:
        more = [f"... and {len(findings) - 10} more"] if len(findings) > 10 else []
        raise ArtifactError("\n".join([f"{artifact.path}: {finding}" for finding in findings[:10]] + more))
