"""Where the instructions of one case go, in the kernel: every one of them, not a sample.

QEMU can translate each instruction by itself and log each block before it runs. Its monitor switches both on
for as long as the case runs, and the log goes into a pipe. What lies between two calls of the kernel's
`read_ticks` is what the case measures, so as many instructions must have been logged there as the kernel
counted: the two are compared, and a profile that is not exact is an error.
"""

from __future__ import annotations

import bisect
import itertools
import os
import re
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from elftools.dwarf.compileunit import CompileUnit
from elftools.dwarf.lineprogram import LineProgram
from elftools.elf.elffile import ELFFile

from coronel.artifact import Artifact
from coronel.bench.guest import machine, run_case
from coronel.bench.rows import GuestCase
from coronel.build.symbols import demangle
from coronel.checkout import ROOT
from coronel.errors import MonitorError, SetupError, ValidationError
from coronel.guest import Guest

CLOCK = "_ZN6kernel5shell10read_ticksEv"
CALIBRATIONS = 8  # pairs of readings before the first measured one (mm/benchmark.cpp)
_ADDRESS = re.compile(rb"^Trace \d+: 0x[0-9a-f]+ \[[0-9a-f]+/([0-9a-f]+)/|^(Stopped) ", re.MULTILINE)


@dataclass(frozen=True)
class Profile:
    """How often the instruction at each address ran, within what the case measured."""

    case: GuestCase
    operations: int
    counts: dict[int, int]

    @property
    def total(self) -> int:
        """Instructions of all operations."""
        return sum(self.counts.values())

    def by_function(self, places: dict[int, Place]) -> dict[str, int]:
        """By the function whose source it is, inlined or not."""
        return self._by(lambda address: places[address].function)

    def by_line(self, places: dict[int, Place]) -> dict[str, int]:
        """By line of the source, with its function."""
        return self._by(lambda address: f"{places[address].line} {places[address].function}")

    def _by(self, key: object) -> dict[str, int]:
        assert callable(key)
        found: Counter[str] = Counter()
        for address, count in self.counts.items():
            found[key(address)] += count
        return dict(found)


@dataclass(frozen=True)
class Place:
    """Where an instruction comes from in our source: what the C++ library inlines belongs to its caller."""

    function: str
    line: str  # file:line, the file from the root of the checkout


def take(elf: Path, case: GuestCase, rounds: int, memory: str = "1G") -> Profile:
    """Boots a machine and profiles one case. ValidationError when log and kernel count differently."""
    clock = f"{Artifact.open(elf).symbol(CLOCK).address:016x}".encode()
    with machine(elf, memory=memory) as guest:
        guest.wait_ready()
        with logged(guest) as log:
            found = run_case(guest, case, rounds)
    windows = list(windows_of(log, clock))
    own = {len(window) for window in windows[:CALIBRATIONS]}
    measured = windows[CALIBRATIONS:]
    if len(own) != 1 or not measured:
        raise ValidationError(f"the log of {len(log)} instructions holds no measured part of {case.case}")
    (price,) = own  # of reading the clock
    counts = Counter(int(address, 16) for window in measured for address in window)
    total = sum(counts.values()) - price * len(measured)
    if total != found["ticks"]:
        raise ValidationError(
            f"{case.case}: the log has {total} instructions, and the kernel counted {found['ticks']}"
        )
    return Profile(case, found["operations"], dict(counts))


@contextmanager
def logged(guest: Guest) -> Iterator[list[bytes]]:
    """A block in which every instruction of the guest is logged; the list is complete when it ends."""
    log: list[bytes] = []
    with tempfile.TemporaryDirectory(prefix="coronel-profile-") as folder:
        pipe = Path(folder) / "log"
        os.mkfifo(pipe)
        reader = threading.Thread(target=_read, args=(pipe, log), daemon=True)
        reader.start()
        with guest.paused():
            one_at_a_time(guest, "on")
            guest.hmp(f"logfile {pipe}")
            guest.hmp("log exec,nochain")
        try:
            yield log
        finally:
            with guest.paused():
                guest.hmp("log none")
                guest.hmp(f"logfile {os.devnull}")
                one_at_a_time(guest, "off")
            reader.join(60)


def one_at_a_time(guest: Guest, state: str) -> None:
    """Blocks of one instruction, `on` or `off`, by this QEMU's name for them (8.1 has a new one)."""
    for word in ("one-insn-per-tb", "singlestep"):
        if "unknown command" not in guest.hmp(f"{word} {state}"):
            return
    raise MonitorError("this QEMU cannot translate instructions one by one")


def _read(pipe: Path, log: list[bytes]) -> None:
    with pipe.open("rb", buffering=0) as source:
        rest = b""
        while data := source.read(1 << 20):
            data, newline, rest = (rest + data).rpartition(b"\n")
            append_addresses(log, data + newline)


def append_addresses(log: list[bytes], text: bytes) -> None:
    """Appends the address of every instruction that ran, as QEMU writes it."""
    for found in _ADDRESS.finditer(text):
        if found[2]:
            log.pop()  # it was announced, and then something else came first
        else:
            log.append(found[1])


def windows_of(log: list[bytes], clock: bytes) -> Iterator[list[bytes]]:
    """What ran between the first reading of the clock and the second, the third and the fourth, and so on."""
    readings = [place for place, address in enumerate(log) if address == clock]
    for start, end in zip(readings[::2], readings[1::2], strict=False):
        yield log[start:end]


def places_of(elf: Path, addresses: Iterable[int]) -> dict[int, Place]:
    """Where each address comes from, by the debug information of the ELF file."""
    ordered = sorted(addresses)
    try:
        done = subprocess.run(
            ["addr2line", "-e", str(elf), "-f", "-i", "-a"],
            input="\n".join(map(hex, ordered)), capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError) as error:
        raise SetupError(f"addr2line (package binutils) does not run: {error}") from None
    lines = done.stdout.splitlines()
    raw = sorted({line for line in lines if not line.startswith("0x")})
    names = dict(zip(raw, demangle(raw), strict=True))
    places: dict[int, Place] = {}
    heads = [number for number, line in enumerate(lines) if line.startswith("0x")]
    for head, end in zip(heads, [*heads[1:], len(lines)], strict=True):
        chain = [
            Place(names[lines[n]], _short(lines[n + 1])) for n in range(head + 1, end, 2)
        ]  # innermost first
        ours = (place for place in chain if not place.function.startswith("std::"))
        places[int(lines[head], 16)] = next(ours, chain[0])
    lost = [address for address, place in places.items() if place.line.startswith("??")]
    found = rows_of(elf, lost) if lost else {}
    return places | {address: Place(places[address].function, row) for address, row in found.items()}


def rows_of(elf: Path, addresses: Iterable[int]) -> dict[int, str]:
    """file:line of addresses by the rows of the line table alone, whatever was inlined there; those that no
    row covers are left out. For what addr2line of binutils 2.44 does not find: the first row of some
    sequences.
    """
    ordered, found = sorted(addresses), {}
    with elf.open("rb") as file:
        dwarf = ELFFile(file).get_dwarf_info()
        for unit in dwarf.iter_CUs():
            program = dwarf.line_program_for_CU(unit)
            if program is None:
                continue
            states = [entry.state for entry in program.get_entries() if entry.state is not None]
            for row, following in itertools.pairwise(states):
                if row.end_sequence:
                    continue
                first = bisect.bisect_left(ordered, row.address)
                for address in ordered[first : bisect.bisect_left(ordered, following.address)]:
                    found[address] = f"{_short_file(_file_name(unit, program, row.file))}:{row.line}"
    return found


def _file_name(unit: CompileUnit, program: LineProgram, number: int) -> str:
    """The path of a file of a line table: DWARF 5, section 6.2.4, and before it."""
    header = program.header
    base = str(unit.get_top_DIE().attributes["DW_AT_comp_dir"].value.decode())
    entry = header.file_entry[number if header.version >= 5 else number - 1]
    folders = [base, *(name.decode() for name in header.include_directory)]
    folder = folders[entry.dir_index + (1 if header.version >= 5 else 0)]
    return os.path.join(base, folder, entry.name.decode())


def _short(where: str) -> str:
    """file:line without the way to the checkout and without what addr2line adds."""
    file, _, line = where.partition(" (")[0].rpartition(":")
    return f"{_short_file(file)}:{line}"


def _short_file(path: str) -> str:
    return os.path.normpath(path).removeprefix(f"{ROOT}/")
