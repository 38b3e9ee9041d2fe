"""Puts the kernel's own function symbols into its image (docs/formats.md, section 4).

The build links twice: first without a table, then with the table made from the first link. The linker script
puts it behind the code, so no function moves; `--verify` proves it on the second link.
"""

import argparse
import functools
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from coronel.artifact import Artifact, Symbol
from coronel.errors import ArtifactError

IMAGE_BASE = 0xFFFF_FFFF_8000_0000
MAGIC = 0x4D595343  # "CSYM"
NAME_BYTES = 95
SECTION = ".rodata.symbols"


@dataclass(frozen=True)
class Entry:
    """From `offset` (bytes from IMAGE_BASE) on, code belongs to `name`; an empty name is a gap."""

    offset: int
    name: str


def demangle(names: Sequence[str]) -> list[str]:
    """Return the names as people write them, without parameters and without the compiler's clone suffixes."""
    if not names:
        return []
    done = subprocess.run(
        ["c++filt", "--no-params"], input="\n".join(names), capture_output=True, text=True, check=True
    )
    plain = done.stdout.splitlines()
    return [name.split(" [clone", 1)[0] for name in plain]


def call_names(program: Artifact, slide: int, calls: Iterable[int]) -> Callable[[int], str]:
    """What puts these addresses, to which calls return, into words as the console does: kernel::kmain+0x34;
    into none where no function is known. `slide`: how far from its own addresses the program runs.
    """
    symbols = {call: program.function_at(call - slide - 1) for call in calls}
    known = {call: symbol for call, symbol in symbols.items() if symbol is not None}
    names = demangle([symbol.name for symbol in known.values()])
    words = {
        call: f"{clipped(name)}+{call - slide - symbol.address:#x}"
        for (call, symbol), name in zip(known.items(), names, strict=True)
    }
    return lambda call: words.get(call, "")


def call_namer(program: Artifact, slide: int) -> Callable[[int], str]:
    """The same for who does not know them before: each is looked up once."""

    @functools.cache
    def name(call: int) -> str:
        return call_names(program, slide, [call])(call)

    return name


def clipped(name: str) -> str:
    """Return `name` cut to what the format allows, on a character's boundary."""
    return name.encode()[:NAME_BYTES].decode(errors="ignore")


def table_of(symbols: Iterable[Symbol]) -> list[Entry]:
    """Return the table for these symbols: sorted, every offset once, every gap closed by an empty name.

    Where several names share an address the one with a size wins, then the shortest, then the first by
    alphabet. A function without a size (assembly that lacks .size) reaches to the next one.
    """
    functions = sorted(
        (symbol for symbol in symbols if symbol.is_function and symbol.address >= IMAGE_BASE),
        key=lambda symbol: (symbol.address, symbol.bytes == 0, len(symbol.name), symbol.name),
    )
    names = demangle([symbol.name for symbol in functions])
    entries: list[Entry] = []
    end = 0  # of the code covered so far; 0 when the last function has no size
    for symbol, name in zip(functions, names, strict=True):
        offset = symbol.address - IMAGE_BASE
        if entries and entries[-1].offset == offset:
            continue
        if 0 < end < offset:
            entries.append(Entry(end, ""))
        entries.append(Entry(offset, clipped(name)))
        end = offset + symbol.bytes if symbol.bytes else 0
    if end:
        entries.append(Entry(end, ""))
    return entries


def encode(entries: Sequence[Entry]) -> bytes:
    """Return the section's bytes; nothing at all for an empty table."""
    if not entries:
        return b""
    names = bytearray(b"\0")
    places = {"": 0}
    rows = bytearray()
    for entry in entries:
        if entry.name not in places:
            places[entry.name] = len(names)
            names += entry.name.encode() + b"\0"
        rows += struct.pack("<II", entry.offset, places[entry.name])
    return struct.pack("<II", MAGIC, len(entries)) + bytes(rows) + bytes(names)


def decode(data: bytes) -> list[Entry]:
    """Return the table that encode() made. Raises ArtifactError when the bytes are none."""
    if not data:
        return []
    if len(data) < 8:
        raise ArtifactError(f"symbol table: {len(data)} bytes are too few for its head")
    magic, count = struct.unpack_from("<II", data)
    if magic != MAGIC or 8 + 8 * count > len(data):
        raise ArtifactError(
            f"symbol table: magic {magic:#x} and {count} entries do not fit its {len(data)} bytes"
        )
    names = data[8 + 8 * count :]
    entries = []
    for offset, place in struct.iter_unpack("<II", data[8 : 8 + 8 * count]):
        end = names.find(b"\0", place)
        if end < 0:
            raise ArtifactError(f"symbol table: the name at {place} leaves the table")
        entries.append(Entry(offset, names[place:end].decode()))
    return entries


def assembly(data: bytes) -> str:
    """Return the assembly source of the section."""
    lines = [
        "// The kernel's symbol table, generated by tools/coronel/build/symbols.py.",
        "// SPDX-License-Identifier: MIT",
        f'.section {SECTION}, "a", @progbits',
        ".balign 8",
    ]
    lines += [
        "  .byte " + ",".join(str(byte) for byte in data[start : start + 32])
        for start in range(0, len(data), 32)
    ]
    lines.append('.section .note.GNU-stack, "", @progbits')
    return "\n".join(lines) + "\n"


def verify(artifact: Artifact) -> None:
    """Raise ArtifactError unless the table inside the image is the one that its symbols ask for."""
    ends = {
        symbol.name: symbol.address
        for symbol in artifact.symbols
        if symbol.name.startswith("coronel_symbols_")
    }
    try:
        start, end = ends["coronel_symbols_start"], ends["coronel_symbols_end"]
    except KeyError as error:
        raise ArtifactError(f"{artifact.path}: the label {error.args[0]} is missing") from None
    there = decode(artifact.read(start, end - start))
    wanted = table_of(artifact.symbols)
    if there != wanted:
        wrong = next((pair for pair in zip(there, wanted, strict=False) if pair[0] != pair[1]), None)
        raise ArtifactError(
            f"{artifact.path}: the symbol table does not describe this link: "
            + (f"{wrong[0]} is really {wrong[1]}" if wrong else f"{len(there)} entries for {len(wanted)}")
        )


def main(arguments: Sequence[str]) -> int:
    """Entry point; returns 1 with one line on stderr when the ELF is no good."""
    parser = argparse.ArgumentParser(prog="symbols.py", description="Writes the kernel's symbol table.")
    parser.add_argument("elf", type=Path)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--output", type=Path, help="write the table of the ELF's functions, as assembly")
    action.add_argument("--verify", action="store_true", help="check the table inside the ELF")
    given = parser.parse_args(arguments)
    try:
        artifact = Artifact.open(given.elf)
        if given.verify:
            verify(artifact)
            return 0
    except ArtifactError as error:
        print(f"symbols: {error}", file=sys.stderr)
        return 1
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(assembly(encode(table_of(artifact.symbols))), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
