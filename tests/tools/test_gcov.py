"""The kernel's coverage: counters out of RAM that nobody but us has written, read again by gcov itself."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from coronel.artifact import Artifact
from coronel.build.gcov import Counters, compiler, units
from coronel.errors import ArtifactError

BASE = 0xFFFF_FFFF_8000_0000
SOURCE = """\
extern "C" int sign(int x) {
  if (x < 0)
    return -1;
  return 1;
}
extern "C" void start() { sign(1); }
"""
SCRIPT = """\
ENTRY(start)
SECTIONS {
  . = 0xffffffff80100000;
  .text : AT(ADDR(.text) - 0xffffffff80000000) { *(.text*) }
  .rodata : AT(ADDR(.rodata) - 0xffffffff80000000) {
    *(.rodata*)
    . = ALIGN(8); coverage_start = .; KEEP(*(.gcov_info)) coverage_end = .;
  }
  .data ALIGN(4K) : AT(ADDR(.data) - 0xffffffff80000000) { *(.data*) *(.bss*) }
  /DISCARD/ : { *(.comment) *(.eh_frame) *(.note*) }
}
"""
MAKEFILE = (Path(__file__).resolve().parents[2] / "Makefile").read_text(encoding="utf-8")


class Ram:
    """What a guest holds that has just been loaded."""

    def __init__(self, kernel: Artifact) -> None:
        loaded = [segment for segment in kernel.segments if segment.type == "PT_LOAD"]
        self.bytes = bytearray(max(s.physical + s.memory_bytes for s in loaded))
        for segment in loaded:
            data = kernel.read(segment.address, segment.file_bytes)
            self.bytes[segment.physical : segment.physical + len(data)] = data

    def read(self, address: int, size: int) -> bytes:
        return bytes(self.bytes[address : address + size])


@pytest.fixture
def kernel(tmp_path: Path) -> Artifact:
    """Two functions, compiled with the Makefile's own flags."""
    (tmp_path / "sign.cpp").write_text(SOURCE, encoding="utf-8")
    (tmp_path / "kernel.ld").write_text(SCRIPT, encoding="utf-8")
    found = re.search(r"^gcov_flags := \$\(gcc_flags\) (.*)$", MAKEFILE, re.MULTILINE)
    link = re.search(r"^gcov_link_flags := (.*)$", MAKEFILE, re.MULTILINE)
    assert found
    assert link
    flags = [*found[1].split(), "-fprofile-info-section", "-ffreestanding", "-fno-pic", "-mcmodel=kernel"]
    subprocess.run(["g++", *flags, "-c", "sign.cpp", "-o", "sign.o"], cwd=tmp_path, check=True)
    link_flags = ["-nostdlib", "-static", "-no-pie", "-Wl,-T,kernel.ld", *link[1].split()]
    subprocess.run(["g++", *link_flags, "sign.o", "-o", "kernel.elf"], cwd=tmp_path, check=True)
    return Artifact.open(tmp_path / "kernel.elf")


def lines(kernel: Artifact) -> dict[int, int]:
    """How often gcov says that each line was run."""
    command = ["gcov", "--json-format", "--stdout", "sign.o"]
    done = subprocess.run(command, cwd=kernel.path.parent, capture_output=True, text=True, check=True)
    assert "mismatch" not in done.stderr
    (file,) = json.loads(done.stdout)["files"]
    return {line["line_number"]: line["count"] for line in file["lines"]}


def test_gcov_reads_what_the_guests_counted(kernel: Artifact) -> None:
    counters = Counters(kernel)
    start, sign = counters.units[0].functions  # in the order of the record
    ram = Ram(kernel)
    for function, values in ((sign, [12, 5]), (start, [7, 7])):
        assert function.counters == len(values)
        for index, value in enumerate(values):
            at = function.address - BASE + 8 * index
            ram.bytes[at : at + 8] = value.to_bytes(8, "little")
    assert counters.add(ram)
    assert counters.add(ram)  # another guest that did the same
    counters.write()
    counted = lines(kernel)
    assert (counted[1], counted[6]) == (24, 14)
    assert {counted[3], counted[4]} == {10, 14}


def test_sums_survive_a_file(kernel: Artifact, tmp_path: Path) -> None:
    one, other = Counters(kernel), Counters(kernel)
    one.values = [1 << 40, 2, 3, 4]
    one.save(tmp_path / "sums")
    other.values = [1, 0, 0, 0]
    other.load(tmp_path / "sums")
    assert other.values == [(1 << 40) + 1, 2, 3, 4]


def test_another_guests_ram_is_not_counted(kernel: Artifact) -> None:
    counters = Counters(kernel)
    ram = Ram(kernel)
    ram.bytes = bytearray(len(ram.bytes))
    assert not counters.add(ram)
    assert not any(counters.values)


def test_a_kernel_without_counters_is_refused(kernel: Artifact) -> None:
    text = SCRIPT.replace("KEEP(*(.gcov_info))", "").replace("*(.comment)", "*(.comment) *(.gcov_info)")
    folder = kernel.path.parent
    (folder / "kernel.ld").write_text(text, encoding="utf-8")
    flags = ["-nostdlib", "-static", "-no-pie", "-Wl,-T,kernel.ld", "-Wl,--defsym=__gcov_merge_add=1"]
    subprocess.run(["g++", *flags, "sign.o", "-o", "kernel.elf"], cwd=folder, check=True)
    with pytest.raises(ArtifactError, match="was not built for coverage"):
        units(Artifact.open(folder / "kernel.elf"))


def test_compilers_tell_their_version() -> None:
    assert [compiler(int.from_bytes(text, "big")) for text in (b"B22*", b"B42*", b"A94*")] == [12, 14, 9]
