"""What the live kernel's page tables allow, walked in raw RAM: nothing is writable and executable."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from coronel.artifact import Artifact
from coronel.errors import DecodeError
from coronel.guest import Guest
from coronel.mappings import Mapping, merged
from coronel.memory import PAGE_SIZE
from coronel.mm.guards import hidden_frames
from coronel.mm.kernel import KernelState
from coronel.pytest_plugin import Build

# mm/virtual/kernel_space.hpp
DIRECT_MAP = 0xFFFF_8000_0000_0000
FRAME_ARRAY = 0xFFFF_E000_0000_0000
PAGEBLOCKS = 0xFFFF_E800_0000_0000
IMAGE = 0xFFFF_FFFF_8000_0000
DEVICES = 0xFFFF_FFFF_C000_0000
SCRATCH = 0xFFFF_FFFF_F000_0000
VMALLOC = 0xFFFF_C000_0000_0000  # ranges, which stacks of threads are, too
FRAME_BYTES, PAGEBLOCK_BYTES, FRAMES_IN_BLOCK = 32, 128, 512

CR0_WRITE_PROTECT, CR4_GLOBAL, EFER_NO_EXECUTE = 1 << 16, 1 << 7, 1 << 11
CR4_FIVE_LEVELS = 1 << 12

# One machine with small pages only and memory on both sides of 4 GiB, one with pages of 1 GiB.
SHAPES: dict[str, dict[str, Any]] = {
    "small": {"memory": "64M"},
    "two-sides": {"memory": "5G", "cpu": "qemu64"},
    "gib-pages": {"memory": "5G", "machine": "q35", "cpu": "max"},
    "four-levels": {"memory": "5G", "machine": "q35", "cpu": "max", "cmdline": "la57=off"},
}


@dataclass(frozen=True)
class Space:
    """Everything that a kernel which stands at its prompt has mapped."""

    all: list[Mapping]
    root: int
    registers: dict[str, int]
    stacks: list[dict[str, object]]
    guest: Guest
    constant: tuple[int, int]  # physical: the image's text and constants
    hidden: set[int]  # frames that the direct map does not show

    def memory(self) -> list[Mapping]:
        """The direct map without what firmware keeps (see the test of that): writable, but for what shows
        the image's text and constants.
        """
        return [m for m in self.window(DIRECT_MAP, FRAME_ARRAY) if m.writable or self.is_constant(m)]

    def is_constant(self, mapping: Mapping) -> bool:
        """Whether it shows what the image maps to read or to execute only."""
        start, end = self.constant
        return start <= mapping.physical and mapping.physical + mapping.size <= end

    def window(self, start: int, end: int) -> list[Mapping]:
        return [mapping for mapping in self.all if start <= mapping.address < end]


@pytest.fixture(scope="module", params=SHAPES)
def space(request: pytest.FixtureRequest, artifact: Build) -> Iterable[Space]:
    with Guest(kernel=artifact.elf, timeout=20, **SHAPES[request.param]) as guest:
        guest.wait_ready()
        stacks = guest.channel.call("stacks")["stacks"]
        with guest.paused():
            registers = guest.registers()[0].values
            root = registers["cr3"] & ~0xFFF
            found = guest.mappings()
        with KernelState(guest, artifact.artifact).still() as tables:
            hidden = hidden_frames(tables)
        names = ("kernel_image_start", "rodata_end")
        start, end = (artifact.artifact.symbol(name).address - IMAGE for name in names)
        yield Space(found, root, registers, stacks, guest, (start, end), hidden)


def test_nothing_is_writable_and_executable(space: Space) -> None:
    both = [str(mapping) for mapping in space.all if mapping.writable and mapping.executable]
    assert not both


def test_the_cpu_enforces_it(space: Space) -> None:
    assert space.registers["cr0"] & CR0_WRITE_PROTECT
    assert space.registers["efer"] & EFER_NO_EXECUTE
    assert space.registers["cr4"] & CR4_GLOBAL


def test_the_kernel_runs_on_the_root_that_it_shows(space: Space, artifact: Build) -> None:
    record = artifact.artifact.symbol("coronel_record").address
    shown = space.guest.kernel_memory(space.root).read(record + 24, 8)  # docs/formats.md, section 1
    assert int.from_bytes(shown, "little") == space.root


def test_user_mode_has_nothing(space: Space) -> None:
    assert not [str(mapping) for mapping in space.all if mapping.user]
    assert not [str(mapping) for mapping in space.all if mapping.address < 1 << 63], (
        "page zero, and all the lower half"
    )


def test_only_the_text_is_executable(space: Space, artifact: Build) -> None:
    executable = merged(mapping for mapping in space.all if mapping.executable)
    start, end = (artifact.artifact.symbol(name).address for name in ("kernel_image_start", "text_end"))
    assert [(mapping.address, mapping.end, mapping.writable) for mapping in executable] == [
        (start, end, False)
    ]


SECTIONS = [
    ("text_start", "text_end", "r-x"),
    ("rodata_start", "rodata_end", "r--"),
    ("data_start", "bss_end", "rw-"),
]


@pytest.mark.parametrize(("first", "last", "rights"), SECTIONS)
def test_each_section_has_its_rights_and_its_bytes(
    space: Space, artifact: Build, first: str, last: str, rights: str
) -> None:
    elf: Artifact = artifact.artifact
    start, end = elf.symbol(first).address, elf.symbol(last).address
    pages = {mapping.address: mapping for mapping in space.window(start, end)}
    guards = {int(str(stack["guard"]), 16) for stack in space.stacks}
    assert set(pages) == set(range(start, end, PAGE_SIZE)) - guards
    for mapping in pages.values():
        assert (mapping.size, mapping.rights) == (PAGE_SIZE, rights), str(mapping)
        assert mapping.physical == mapping.address - IMAGE, "where the loader has put it"
    if "w" not in rights:
        data = space.guest.kernel_memory(space.root).read(start, end - start)
        assert data == elf.read(start, end - start), "nothing has changed since the link"


def test_nothing_else_is_where_the_image_is(space: Space, artifact: Build) -> None:
    found = space.window(IMAGE, DEVICES)
    assert found[0].address == artifact.artifact.symbol("kernel_image_start").address
    assert found[-1].end == artifact.artifact.symbol("kernel_image_end").address


def test_the_window_of_devices_has_the_interrupt_controllers_uncached(space: Space) -> None:
    found = space.window(DEVICES, SCRATCH)
    assert {mapping.physical for mapping in found} == {0xFEC0_0000, 0xFEE0_0000}
    assert {(mapping.rights, mapping.size) for mapping in found} == {("rw-", PAGE_SIZE)}
    for mapping in found:
        table = space.root
        five = space.registers["cr4"] & CR4_FIVE_LEVELS
        for shift in (48, 39, 30, 21)[0 if five else 1 :]:
            entry = space.guest.ram.read(table + 8 * (mapping.address >> shift & 511), 8)
            table = int.from_bytes(entry, "little") & 0x000F_FFFF_FFFF_F000
        entry = space.guest.ram.read(table + 8 * (mapping.address >> 12 & 511), 8)
        assert int.from_bytes(entry, "little") & 0x18 == 0x18, "write-through and not cached: entry 3 of PAT"


def test_one_cpu_makes_no_stacks(space: Space) -> None:
    assert space.window(SCRATCH, 1 << 64) == []
    assert space.window(VMALLOC, FRAME_ARRAY) == []


def test_below_every_stack_is_a_page_that_is_not_there(space: Space) -> None:
    memory = space.guest.kernel_memory(space.root)
    assert len(space.stacks) == 6
    for stack in space.stacks:
        guard, top = int(str(stack["guard"]), 16), int(str(stack["top"]), 16)
        with pytest.raises(DecodeError, match="not mapped"):
            memory.translate(guard)
        for page in range(guard + PAGE_SIZE, top, PAGE_SIZE):
            assert memory.translate(page) == page - IMAGE


def test_page_zero_is_nowhere(space: Space) -> None:
    memory = space.guest.kernel_memory(space.root)
    for address in (0, 8, PAGE_SIZE - 1, PAGE_SIZE, 1 << 20):
        with pytest.raises(DecodeError, match="not mapped"):
            memory.translate(address)


def test_the_direct_map_is_the_memory_and_nothing_else(space: Space) -> None:
    """Every address shows itself; its bytes are those that the kernel counts; no device, no hole."""
    found = merged(space.memory())
    assert all(mapping.physical == mapping.address - DIRECT_MAP for mapping in found)
    start, end = space.constant
    for mapping in found:
        inside = start <= mapping.physical < end
        assert (mapping.rights, mapping.everywhere) == ("r--" if inside else "rw-", True), str(mapping)
    assert sum(m.size for m in found if not m.writable) == end - start
    shown = sum(mapping.size for mapping in found) + len(space.hidden) * PAGE_SIZE
    assert shown == space.guest.channel.call("meminfo")["MemPresent"] << 10
    assert not {m.physical // PAGE_SIZE for m in space.memory() if m.size == PAGE_SIZE} & space.hidden
    for mapping in found:
        assert space.guest.ram.contains(mapping.physical, mapping.size), str(mapping)
        assert not (mapping.physical < 1 << 20 and mapping.physical + mapping.size > 0xA0000), (
            "video memory, firmware"
        )
    assert (found[-1].physical >= 1 << 32) == (space.guest.options.memory_bytes > 1 << 32)


def test_what_firmware_keeps_is_shown_read_only(space: Space) -> None:
    """Its tables lie at the end of memory below 4 GiB, and below 1 MiB: RAM that the map reserves."""
    shown = (m for m in space.window(DIRECT_MAP, FRAME_ARRAY) if not m.writable)
    tables = merged(m for m in shown if not space.is_constant(m))
    assert {mapping.rights for mapping in tables} == {"r--"}
    assert all(mapping.physical == mapping.address - DIRECT_MAP for mapping in tables)
    assert [mapping.physical for mapping in tables][:2] == [0x9F000, 0xF0000]
    low = space.guest.options.segments()[0]
    assert [mapping.physical + mapping.size for mapping in tables][2:] == [low.size]
    assert sum(mapping.size for mapping in tables) < 1 << 20


def test_every_present_frame_is_in_the_direct_map_and_no_other(space: Space) -> None:
    """The kernel's own account of its frames, at the edges of every range."""
    ranges: list[tuple[int, int]] = []
    for mapping in merged(space.memory()):
        first, end = mapping.physical // PAGE_SIZE, (mapping.physical + mapping.size) // PAGE_SIZE
        if ranges and ranges[-1][1] == first:  # with other rights
            first = ranges.pop()[0]
        ranges.append((first, end))
    last = max(end for _, end in ranges)
    for first, end in ranges:
        inside = [first, (first + end) // 2, end - 1]
        around = {first - 1, end} - space.hidden
        outside = [frame for frame in around if 0 <= frame < last]
        rows = space.guest.channel.batch(f"frames {frame} 1" for frame in [*inside, *outside])
        assert [len(row.take()) for row in rows] == [1] * len(inside) + [0] * len(outside)


def test_large_pages_are_used_where_they_fit(space: Space) -> None:
    sizes = {mapping.size for mapping in space.memory()}
    large = space.guest.options.memory_bytes >= 1 << 32
    has_gib = large and space.guest.options.cpu == "max"
    assert sizes == {PAGE_SIZE, 2 << 20, *([1 << 30] if has_gib else [])}


@pytest.mark.parametrize(
    ("base", "end", "record", "per_block"),
    [(FRAME_ARRAY, PAGEBLOCKS, FRAME_BYTES, FRAMES_IN_BLOCK), (PAGEBLOCKS, IMAGE, PAGEBLOCK_BYTES, 1)],
    ids=["frames", "pageblocks"],
)
def test_both_arrays_are_there_for_every_block_of_memory_and_no_other(
    space: Space, base: int, end: int, record: int, per_block: int
) -> None:
    bytes_per_block = record * per_block
    wanted = set()
    for mapping in merged(space.memory()):
        frames = mapping.physical // PAGE_SIZE, (mapping.physical + mapping.size - 1) // PAGE_SIZE
        for block in range(frames[0] // FRAMES_IN_BLOCK, frames[1] // FRAMES_IN_BLOCK + 1):
            first = base + block * bytes_per_block
            wanted |= set(range(first & -PAGE_SIZE, first + bytes_per_block, PAGE_SIZE))
    found = space.window(base, end)
    assert {mapping.address for mapping in found} == wanted
    assert {(mapping.size, mapping.rights, mapping.everywhere) for mapping in found} == {
        (PAGE_SIZE, "rw-", True)
    }


def test_no_frame_backs_two_things(space: Space) -> None:
    """The direct map shows every frame once; beside it the image and the arrays show some, each its own."""
    shown = [mapping.physical for mapping in space.all if not DIRECT_MAP <= mapping.address < FRAME_ARRAY]
    assert len(shown) == len(set(shown))
    root_and_arrays = {*shown, space.root}
    rows = space.guest.channel.batch(
        f"frames {frame // PAGE_SIZE} 1" for frame in sorted(root_and_arrays)[:200]
    )
    assert {row.take()[0]["state"] for row in rows} == {"reserved"}, "never to be handed out"


def test_qemus_translation_agrees_at_every_edge(space: Space) -> None:
    """For the monitor, at both ends of every range and beside them; with four and with five levels."""
    found = merged(space.all)
    starts, ends = {mapping.address for mapping in found}, {mapping.end for mapping in found}
    with space.guest.paused():
        for mapping in found:
            asked: dict[int, int | None] = {
                mapping.address: mapping.physical,
                mapping.end - 1: mapping.physical + mapping.size - 1,
            }
            asked |= {mapping.address - 1: None} if mapping.address not in ends else {}
            asked |= {mapping.end: None} if mapping.end not in starts | {1 << 64} else {}
            for address, wanted in asked.items():
                said = space.guest.hmp(f"gva2gpa {address:#x}").strip()
                assert said == ("Unmapped" if wanted is None else f"gpa: {wanted:#x}" if wanted else "gpa: 0")


def test_qemu_finds_the_same_pages_with_the_same_rights(space: Space) -> None:
    """QEMU's monitor lists every page of the tables, with four levels and with five: where it is, what it
    maps, and the bits of its entry.
    """
    with space.guest.paused():
        shown = space.guest.hmp("info tlb", timeout=60)
    line = r"^([0-9a-f]{16}): ([0-9a-f]{16}) ([X-])[G-][P-][D-][A-][C-][T-]([U-])([W-])\r?$"
    qemus = [
        (int(at, 16), int(to, 16), write == "W", no_execute == "-", user == "U")
        for at, to, no_execute, user, write in re.findall(line, shown, re.MULTILINE)
    ]
    assert len(qemus) == len(shown.split("\n")) - shown.endswith("\n"), "every line was understood"
    assert qemus == [(m.address, m.physical, m.writable, m.executable, m.user) for m in space.all]


def test_qemus_own_walk_agrees(space: Space) -> None:
    """QEMU walks the same tables for its monitor: the same ranges, writable or not, by all entries on it."""
    if space.registers["cr4"] & CR4_FIVE_LEVELS:
        pytest.skip("QEMU's `info mem` lists nothing with five levels (7.2); the test above asks `info tlb`")
    with space.guest.paused():
        shown = space.guest.hmp("info mem", timeout=20)
    found = re.findall(r"^([0-9a-f]{16})-([0-9a-f]{16}) [0-9a-f]{16} (u|-)r(w|-)$", shown, re.MULTILINE)
    qemus = [(int(first, 16), int(end, 16), writable == "w") for first, end, _, writable in found]
    ours: list[tuple[int, int, bool]] = []
    for mapping in space.all:
        if ours and ours[-1][1:] == (mapping.address, mapping.writable):
            ours[-1] = (ours[-1][0], mapping.end, mapping.writable)
        else:
            ours.append((mapping.address, mapping.end, mapping.writable))
    assert qemus == ours


def test_qemu_gave_the_memory_that_the_kernel_has(space: Space) -> None:
    summary = space.guest.qmp("query-memory-size-summary")
    assert summary["base-memory"] == space.guest.options.memory_bytes
    present = space.guest.channel.call("meminfo")["MemPresent"] << 10
    assert 0 < summary["base-memory"] - present < 1 << 20
