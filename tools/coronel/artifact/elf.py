"""Artifact: an ELF64 executable for x86-64, read once, whole and bounds-checked."""

import io
import struct
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.construct import ConstructError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from coronel.errors import ArtifactError

EXECUTE, WRITE, READ = 1, 2, 4
ALLOCATED = 2  # SHF_ALLOC
HEADER_BYTES = 64


@dataclass(frozen=True)
class Segment:
    """One program header."""

    type: str
    flags: int
    offset: int
    address: int
    physical: int
    file_bytes: int
    memory_bytes: int

    @property
    def access(self) -> str:
        """Return the flags as `rwx`, with a dash for what is not allowed."""
        return "".join(
            letter if self.flags & bit else "-" for letter, bit in (("r", READ), ("w", WRITE), ("x", EXECUTE))
        )

    def covers_file(self, offset: int, size: int) -> bool:
        """Return whether these bytes of the file are loaded by this segment."""
        return self.offset <= offset and offset + size <= self.offset + self.file_bytes


@dataclass(frozen=True)
class Section:
    """One section header."""

    name: str
    address: int
    offset: int
    bytes: int
    allocated: bool


@dataclass(frozen=True)
class Symbol:
    """One row of the symbol table."""

    name: str
    address: int
    bytes: int
    is_function: bool
    is_defined: bool


@dataclass(frozen=True)
class Note:
    """One ELF note and where it lies in the file."""

    owner: str
    type: int
    description: bytes
    offset: int
    bytes: int


@dataclass(frozen=True)
class Artifact:
    """An ELF file on disk, as it was when it was opened."""

    path: Path
    entry: int
    segments: tuple[Segment, ...]
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]
    notes: tuple[Note, ...]
    data: bytes = field(repr=False)

    @classmethod
    def open(cls, path: str | Path) -> "Artifact":
        """Read the ELF file at `path`.

        Raises ArtifactError, in one line: missing, not readable, empty, not ELF, truncated, damaged, or not
        for x86-64.
        """
        path = Path(path)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise ArtifactError(f"{path}: there is no such file; `make all` builds it") from None
        except OSError as error:
            raise ArtifactError(f"{path}: cannot be read: {error.strerror}") from None
        if not data:
            raise ArtifactError(f"{path}: is empty; build it again")
        if data[:4] != b"\x7fELF":
            raise ArtifactError(f"{path}: is not an ELF file")
        if len(data) < HEADER_BYTES:
            raise ArtifactError(f"{path}: is truncated: {len(data)} bytes are less than an ELF header")
        if data[4:6] != b"\x02\x01" or data[18:20] != b"\x3e\x00":
            raise ArtifactError(f"{path}: is not a 64-bit x86-64 ELF file")
        try:
            return cls._parse(path, data)
        except ArtifactError:
            raise
        except (ELFError, ConstructError, UnicodeDecodeError, ValueError, KeyError, IndexError, TypeError,
                AttributeError, OverflowError, AssertionError) as error:  # fmt: skip
            raise ArtifactError(f"{path}: is truncated or damaged: {error or type(error).__name__}") from None

    @classmethod
    def _parse(cls, path: Path, data: bytes) -> "Artifact":
        elf = ELFFile(io.BytesIO(data))
        for what, place, count, size in (
            ("program headers", elf["e_phoff"], elf["e_phnum"], elf["e_phentsize"]),
            ("section headers", elf["e_shoff"], elf["e_shnum"], elf["e_shentsize"]),
        ):
            if count and place + count * size > len(data):
                raise ArtifactError(
                    f"{path}: is truncated: its {what} end at {place + count * size} of {len(data)}"
                )
        segments = tuple(_segment(segment) for segment in elf.iter_segments())
        for segment in segments:
            if segment.offset + segment.file_bytes > len(data):
                raise ArtifactError(
                    f"{path}: is truncated: a {segment.type} segment ends at byte "
                    f"{segment.offset + segment.file_bytes} of {len(data)}"
                )
        return cls(
            path=path,
            entry=elf["e_entry"],
            segments=segments,
            sections=tuple(_section(section) for section in elf.iter_sections() if section.name),
            symbols=tuple(_symbols(elf)),
            notes=tuple(_notes(segments, data)),
            data=data,
        )

    @cached_property
    def build_id(self) -> str:
        """Return the GNU build id in hexadecimal. Raises ArtifactError when there is none."""
        for note in self.notes:
            if note.owner == "GNU" and note.type == 3:
                return note.description.hex()
        raise ArtifactError(f"{self.path}: has no build id; the linker script must keep .note.gnu.build-id")

    @cached_property
    def _by_name(self) -> dict[str, Symbol]:
        return {symbol.name: symbol for symbol in self.symbols if symbol.is_defined}

    @cached_property
    def _functions(self) -> tuple[list[int], list[Symbol]]:
        functions = sorted(
            (symbol for symbol in self.symbols if symbol.is_function and symbol.is_defined),
            key=lambda symbol: (symbol.address, symbol.bytes),
        )
        return [symbol.address for symbol in functions], functions

    def symbol(self, name: str) -> Symbol:
        """Return the defined symbol of that ELF name. Raises ArtifactError when there is none."""
        try:
            return self._by_name[name]
        except KeyError:
            raise ArtifactError(f"{self.path}: has no symbol {name}") from None

    def function_at(self, address: int) -> Symbol | None:
        """Return the function that covers `address`, if one does."""
        starts, functions = self._functions
        place = bisect_right(starts, address) - 1
        if place < 0:
            return None
        found = functions[place]
        return found if address < found.address + max(found.bytes, 1) else None

    def section(self, name: str) -> Section | None:
        """Return the section of that name, if there is one."""
        return next((section for section in self.sections if section.name == name), None)

    def read(self, address: int, size: int) -> bytes:
        """Return bytes at a virtual address as the file holds them (zeros beyond a segment's file part).

        Raises ArtifactError when no segment loads them.
        """
        for segment in self.segments:
            start = address - segment.address
            if segment.type == "PT_LOAD" and start >= 0 and start + size <= segment.memory_bytes:
                end = min(start + size, segment.file_bytes)
                loaded = self.data[segment.offset + start : segment.offset + max(start, end)]
                return loaded.ljust(size, b"\0")
        raise ArtifactError(f"{self.path}: no segment loads {size} bytes at {address:#x}")


def _segment(segment: object) -> Segment:
    head = segment.header  # type: ignore[attr-defined]
    return Segment(
        type=str(head.p_type),
        flags=head.p_flags,
        offset=head.p_offset,
        address=head.p_vaddr,
        physical=head.p_paddr,
        file_bytes=head.p_filesz,
        memory_bytes=head.p_memsz,
    )


def _section(section: object) -> Section:
    head = section.header  # type: ignore[attr-defined]
    return Section(
        name=str(section.name),  # type: ignore[attr-defined]
        address=head.sh_addr,
        offset=head.sh_offset,
        bytes=head.sh_size,
        allocated=bool(head.sh_flags & ALLOCATED),
    )


def _symbols(elf: ELFFile) -> list[Symbol]:
    table = elf.get_section_by_name(".symtab")
    if not isinstance(table, SymbolTableSection):
        return []
    return [
        Symbol(
            name=symbol.name,
            address=symbol["st_value"],
            bytes=symbol["st_size"],
            is_function=symbol["st_info"]["type"] == "STT_FUNC",
            is_defined=symbol["st_shndx"] != "SHN_UNDEF",
        )
        for symbol in table.iter_symbols()
        if symbol.name
    ]


def _notes(segments: tuple[Segment, ...], data: bytes) -> list[Note]:
    """Return the notes of all PT_NOTE segments (gABI, "Note Section"); stops at a damaged one."""
    notes = []
    for segment in segments:
        place, end = segment.offset, segment.offset + segment.file_bytes
        while segment.type == "PT_NOTE" and place + 12 <= end:
            owner_bytes, description_bytes, kind = struct.unpack_from("<III", data, place)
            description = place + 12 + _padded(owner_bytes)
            following = description + _padded(description_bytes)
            if description + description_bytes > end:
                break
            owner = data[place + 12 : place + 12 + owner_bytes].rstrip(b"\0").decode("ascii", "replace")
            notes.append(
                Note(
                    owner, kind, data[description : description + description_bytes], place, following - place
                )
            )
            place = following
    return notes


def _padded(size: int) -> int:
    return (size + 3) & ~3
