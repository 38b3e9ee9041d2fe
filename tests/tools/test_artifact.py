"""The artifact checks: a small sound kernel passes, and each promise, when broken, is named.

The kernel here is a few lines of assembly with the project's own linker script, so the checks are tested
without the real one; `test_the_built_kernel_is_sound` is about that.
"""

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from coronel.artifact import Artifact, Profile, check, require
from coronel.build import symbols
from coronel.errors import ArtifactError

ROOT = Path(__file__).resolve().parents[2]
SOUND = """
.section .boot.header, "a"
.balign 8
header: .long 0xe85250d6, 0, header_end - header, -(0xe85250d6 + (header_end - header))
.short 0, 0
.long 8
header_end:
.section .boot.text, "ax"
.globl entry_multiboot2
.type entry_multiboot2, @function
entry_multiboot2: hlt
.size entry_multiboot2, . - entry_multiboot2
.section .note.Xen, "a", @note
.long 4, 4, 18
.asciz "Xen"
.long entry_multiboot2 - 0xffffffff80000000
.text
.globl _ZN6memory5BuddyC1Ev
.type _ZN6memory5BuddyC1Ev, @function
_ZN6memory5BuddyC1Ev: fxsave (%rax)
fninit
movq %fs:0, %rax
ret
.size _ZN6memory5BuddyC1Ev, . - _ZN6memory5BuddyC1Ev
.data
.quad 1
.bss
.skip 100
.section .note.GNU-stack, "", @progbits
"""
Maker = Callable[..., Artifact]


@pytest.fixture
def link(tmp_path: Path) -> Maker:
    """Link assembly with linker.ld; `script` changes the script's text, `more` is appended."""

    def build(more: str = "", *, source: str = SOUND, script: tuple[str, str] = ("", "")) -> Artifact:
        text = (ROOT / "linker.ld").read_text(encoding="utf-8")
        assert script[0] in text
        (tmp_path / "linker.ld").write_text(text.replace(*script) if script[0] else text, encoding="utf-8")
        (tmp_path / "kernel.S").write_text(source + more, encoding="utf-8")
        command = ["g++", "-nostdlib", "-static", "-no-pie", "-Wl,-T,linker.ld", "-Wl,--build-id=sha1"]
        command += ["-Wl,-z,max-page-size=4096", "-Wl,--no-warn-rwx-segments", "-o", "kernel.elf", "kernel.S"]
        subprocess.run(command, cwd=tmp_path, check=True)
        return Artifact.open(tmp_path / "kernel.elf")

    return build


def findings(artifact: Artifact, profile: Profile = Profile.release) -> str:
    return "\n".join(str(finding) for finding in check(artifact, profile))


def patched(artifact: Artifact, offset: int, data: bytes) -> Artifact:
    changed = artifact.data[:offset] + data + artifact.data[offset + len(data) :]
    artifact.path.write_bytes(changed)
    return Artifact.open(artifact.path)


def test_a_sound_kernel_passes(link: Maker) -> None:
    artifact = link()
    assert findings(artifact) == ""
    assert len(artifact.build_id) == 40
    assert artifact.entry == artifact.symbol("entry_multiboot2").address
    require(artifact, Profile.release)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (".text\n movaps %xmm0, %xmm1", "integer only: `movaps"),
        (".text\n paddb %mm0, %mm1", "integer only: `paddb"),
        (".text\n fldl (%rax)", "integer only: `fldl"),
        (".text\n fadd %st(1), %st", "integer only: `fadd"),
        (
            ".text\n .byte 0xc5, 0xfc, 0x77",
            "",
        ),  # vzeroupper names no register: nothing to find, nothing harmed
        (
            '.section .init_array, "aw"\n.quad entry_multiboot2',
            "no initialisers: .init_array calls entry_multiboot2",
        ),
        (
            '.section .boot.header, "a"\n.balign 4\n.long 0x1badb002, 0, -0x1badb002',
            "no multiboot1: there is one",
        ),
        ('.section .note.Xen, "a"\n.long 4, 4, 18\n.asciz "Xen"\n.long 0x100000', "PVH: 2 notes"),
    ],
)
def test_broken_promises_in_code(link: Maker, more: str, says: str) -> None:
    text = findings(link(more))
    assert says in text
    assert bool(text) == bool(says)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("text   PT_LOAD FLAGS(5)", "text PT_LOAD FLAGS(7)", "is writable and executable"),
        ("note   PT_NOTE FLAGS(4)", "note PT_NULL", "PVH: 0 notes"),
        ("AT(ADDR(.text) - kernel_base)", "AT(ADDR(.text) - kernel_base + 64M)", "segments: the segment"),
    ],
)
def test_broken_promises_of_the_linker_script(link: Maker, old: str, new: str, says: str) -> None:
    assert says in findings(link(script=(old, new)))


def test_a_missing_build_id_is_found(link: Maker) -> None:
    artifact = link()
    place = artifact.data.index(b"\3\0\0\0GNU\0")
    assert (
        findings(patched(artifact, place, b"\4"))
        == "build id: there is none; the linker script must keep .note.gnu.build-id"
    )


@pytest.mark.parametrize(
    ("word", "value", "says"),
    [
        (0, 0, "there is no header"),
        (1, 4, "wrong checksum"),
        (3, 1, "wrong checksum"),
        (5, 4, "impossible size 4"),
        (4, 9, "no end tag"),
    ],
)
def test_broken_multiboot2_header(link: Maker, word: int, value: int, says: str) -> None:
    artifact = link()
    place = artifact.data.index(struct.pack("<I", 0xE85250D6))
    assert says in findings(patched(artifact, place + 4 * word, struct.pack("<I", value)))


def test_a_multiboot2_header_beyond_32_kib_is_not_found(link: Maker) -> None:
    far = SOUND.replace(".balign 8\nheader:", ".skip 32768 - 4096 + 8\n.balign 8\nheader:")
    assert "no header" in findings(link(source=far))


def test_the_pvh_entry_must_be_code(link: Maker) -> None:
    assert "PVH: the note's entry" in findings(
        link(source=SOUND.replace("- 0xffffffff80000000", "- 0xffffffff7f000000"))
    )


def test_an_entry_outside_the_segments_is_found(link: Maker) -> None:
    artifact = link()
    assert "entry: the entry 0x100000" in findings(patched(artifact, 24, struct.pack("<Q", 0x100000)))


def test_initialisers_are_allowed_in_the_debug_profile(link: Maker) -> None:
    assert findings(link('.section .init_array, "aw"\n.quad entry_multiboot2'), Profile.debug) == ""


def test_require_raises_with_every_finding(link: Maker) -> None:
    with pytest.raises(ArtifactError, match=r"(?s)movaps.*addps"):
        require(link(".text\n movaps %xmm0, %xmm1\n addps %xmm0, %xmm1"), Profile.release)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"MZ\0\0", "is not an ELF file"),
        (b"\x7fELF\x02\x01", "truncated"),
        (b"\x7fELF\x01\x01" + bytes(60), "not a 64-bit x86-64"),
    ],
)
def test_files_that_are_no_kernel(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "kernel.elf"
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=says) as caught:
        Artifact.open(path)
    assert "\n" not in str(caught.value)


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="there is no such file"):
        Artifact.open(tmp_path / "none")
    with pytest.raises(ArtifactError, match="cannot be read: Is a directory"):
        Artifact.open(tmp_path)


def test_every_truncation_is_one_clear_error(link: Maker) -> None:
    whole = link()
    ends = {*range(1, 400, 7), *range(400, len(whole.data) - 1, 997), len(whole.data) - 1}
    for end in sorted(ends):
        whole.path.write_bytes(whole.data[:end])
        with pytest.raises(ArtifactError) as caught:
            Artifact.open(whole.path)
        assert "\n" not in str(caught.value)


def test_damaged_headers_raise_nothing_else(link: Maker) -> None:
    whole = link()
    table = struct.unpack_from("<Q", whole.data, 40)[0]
    for place in [*range(20, 64 + 56 * 3), *range(table, len(whole.data), 5)]:
        data = bytearray(whole.data)
        data[place] ^= 0xFF
        whole.path.write_bytes(data)
        try:
            artifact = Artifact.open(whole.path)
            check(artifact, Profile.debug)
        except ArtifactError:
            pass


# ---- the symbol table --------------------------------------------------------------------------------------
def test_symbol_table_names_gaps_and_order(link: Maker) -> None:
    artifact = link()
    table = symbols.table_of(artifact.symbols)
    assert [entry.name for entry in table] == ["entry_multiboot2", "", "memory::Buddy::Buddy", ""]
    assert [entry.offset for entry in table] == sorted({entry.offset for entry in table})
    assert symbols.decode(symbols.encode(table)) == table


def test_symbol_table_survives_the_second_link(link: Maker, tmp_path: Path) -> None:
    first = link()
    text = symbols.assembly(symbols.encode(symbols.table_of(first.symbols)))
    symbols.verify(link(text))
    with pytest.raises(ArtifactError, match="does not describe this link"):
        symbols.verify(link(text + "\n.text\n.type late, @function\nlate: ret\n.size late, 1\n"))
    assert symbols.main([str(tmp_path / "kernel.elf"), "--output", str(tmp_path / "s.S")]) == 0


def test_an_empty_table_has_no_bytes(link: Maker) -> None:
    assert symbols.encode([]) == b""
    assert symbols.decode(b"") == []
    with pytest.raises(ArtifactError, match="0 entries for 4"):
        symbols.verify(link())


@pytest.mark.parametrize(
    "data",
    [b"CSYM", b"XXXX\1\0\0\0" + bytes(8), b"CSYM\xff\0\0\0", b"CSYM\1\0\0\0" + b"\0" * 4 + b"\7\0\0\0x"],
)
def test_a_damaged_symbol_table_is_refused(data: bytes) -> None:
    with pytest.raises(ArtifactError, match="symbol table"):
        symbols.decode(data)


def test_clones_and_long_names() -> None:
    assert symbols.demangle(["_ZN6memory5Buddy7releaseEv.constprop.0", "kmain"]) == [
        "memory::Buddy::release",
        "kmain",
    ]
    assert len(symbols.clipped("ä" * 95).encode()) <= symbols.NAME_BYTES


@pytest.mark.parametrize("profile", list(Profile))
def test_the_built_kernel_is_sound(profile: Profile) -> None:
    artifact = Artifact.open(ROOT / "build" / profile.value / "coronel.elf")
    require(artifact, profile)
    symbols.verify(artifact)
