"""HostMachine: the library's face, its errors, and reads that survive any address."""

from __future__ import annotations

import errno
import os
import random
import threading
from pathlib import Path

import pytest

from coronel import checkout
from coronel.errors import DecodeError, MMError, SetupError, UsageError
from coronel.mm import host
from coronel.mm.host import HostLibrary, HostMachine, declarations
from coronel.mm.zones import State

MISUSES = [
    (lambda machine, pfn: machine.free_pages(pfn, 1), "freed with another order"),
    (lambda machine, pfn: machine.free_pages(pfn + 1, 0), "free of the inside of a block"),
    (lambda machine, pfn: machine.free_pages(1 << 20, 2), "free of a frame that does not exist"),
    (lambda machine, pfn: machine.free_pages(5, 0), "free of a reserved frame"),
    (lambda machine, pfn: (machine.free_pages(pfn, 2), machine.free_pages(pfn, 2)), "double free"),
]


def machine_of(library: HostLibrary, **options: object) -> HostMachine:
    """16 MiB less 64 reserved frames at its beginning."""
    return HostMachine([(0, 4096)], [(0, 64)], library=library, **options)  # type: ignore[arg-type]


def test_hands_out_and_takes_back(library: HostLibrary) -> None:
    with machine_of(library) as machine:
        pfn = machine.alloc_pages(3)
        assert pfn is not None
        assert pfn % 8 == 0
        walk = machine.walk()
        assert [walk.state(pfn + n) for n in (0, 1, 7)] == [State.allocated, State.inside, State.inside]
        machine.free_pages(pfn, 3)
        assert machine.walk().state(pfn) is State.cached
        machine.quiesce()
        assert machine.walk().state(pfn) is State.free
        assert machine.valid()


def test_says_none_when_memory_is_out(library: HostLibrary) -> None:
    with machine_of(library) as machine:
        taken = []
        while (pfn := machine.alloc_pages(11)) is not None:
            taken.append(pfn)
        assert taken == [2048]
        assert machine.counters()["frame_failures"] == 1


def test_plain_requests_leave_what_others_need(library: HostLibrary) -> None:
    """Each zone keeps its minimum for urgent requests, and DMA a 256th of what lies above for devices."""
    call = library.call

    def left(machine: HostMachine, flags: int) -> tuple[int, ...]:
        """What the zones have when no more single frames are to be had."""
        while machine.alloc_pages(0, flags) is not None:
            pass
        walk = machine.walk(contents=False)
        walk.check()
        assert walk.cached == 0, "the magazines were emptied before a request was refused"
        return tuple(int(zone.lists["free_frames"]) for zone in walk.zones[:2])

    # Of this size no whole number of trips with magazines ends at the minimum by itself.
    with HostMachine("66M", library=library) as machine:
        dma, dma32 = 4096, 12800
        assert left(machine, call.GFP_KERNEL) == (dma // 256 + dma32 // 256, dma32 // 256)
        assert left(machine, call.GFP_ATOMIC) == (dma32 // 256, 0)
        assert left(machine, call.GFP_DMA) == (dma // 256, 0)
        assert left(machine, call.GFP_ATOMIC | call.GFP_DMA) == (0, 0)


@pytest.mark.parametrize(("misuse", "text"), MISUSES)
def test_misuse_raises_the_librarys_words(library: HostLibrary, misuse, text: str) -> None:  # type: ignore[no-untyped-def]
    with machine_of(library) as machine:
        pfn = machine.alloc_pages(2)
        with pytest.raises(MMError, match=text) as caught:
            misuse(machine, pfn)
        assert caught.value.errno == errno.EINVAL
        assert machine.valid()
        assert machine.counters()["frame_misuses"] == 1


def test_a_panic_kills_the_machine_and_no_other(library: HostLibrary) -> None:
    with machine_of(library, on_misuse="panic") as machine, machine_of(library) as other:
        with pytest.raises(MMError, match="it panicked: free of a frame that does not exist"):
            machine.free_pages(1 << 20, 0)
        with pytest.raises(MMError, match="is dead"):
            machine.alloc_pages(0)
        assert other.alloc_pages(0) is not None


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda machine: machine.alloc_pages(12), "invalid argument: order 12"),
        (lambda machine: machine.alloc_pages(-1), "invalid argument: order -1"),
        (lambda machine: machine.alloc_pages(1 << 40), "invalid argument: order"),
        (lambda machine: machine.alloc_pages(0, 32), "invalid argument: order 0, gfp_flags 0x20"),
        (lambda machine: machine.alloc_pages(0, 8 | 16), "invalid argument: order 0, gfp_flags 0x18"),
        (lambda machine: machine.free_pages(-1, 0), "invalid argument: pfn -1"),
        (lambda machine: machine.free_pages(1 << 64, 0), "invalid argument: pfn"),
        (lambda machine: machine.stress(10, -1), "invalid argument: seed"),
    ],
)
def test_refuses_arguments_that_make_no_sense(library: HostLibrary, call, text: str) -> None:  # type: ignore[no-untyped-def]
    with machine_of(library) as machine, pytest.raises(MMError, match=text):
        call(machine)


@pytest.mark.parametrize(
    ("memory", "reserved"),
    [
        ([(0, 4096), (2048, 8192)], []),
        ([(4096, 8192), (0, 512)], []),
        ([(0, 4096)], [(8192, 8193)]),
        ([], []),
    ],
)
def test_refuses_maps_that_make_no_sense(
    library: HostLibrary, memory: list[tuple[int, int]], reserved: list[tuple[int, int]]
) -> None:
    with pytest.raises(MMError, match="no host machine: its ranges must ascend"):
        HostMachine(memory, reserved, library=library)
    with pytest.raises(UsageError, match="makes no sense"):
        HostMachine([(7, 3)], library=library)


def test_stress_repeats_from_its_seed(library: HostLibrary, coronel_seed: int) -> None:
    with machine_of(library) as one, machine_of(library) as other:
        assert one.stress(5000, coronel_seed) == other.stress(5000, coronel_seed)
        assert one.counters() == other.counters()
    with machine_of(library) as machine:
        assert machine.stress(100, 1, hold=False).live_blocks > 0


def test_wild_addresses_are_errors_and_no_crash(library: HostLibrary, coronel_seed: int) -> None:
    chance = random.Random(coronel_seed)
    with machine_of(library) as machine:
        wild = [0, 1, 0x1000, (1 << 47) - 8, 1 << 47, 1 << 63, (1 << 64) - 4, 1 << 64, -8]
        wild += [chance.getrandbits(64) for _ in range(200)]
        for address in wild:
            with pytest.raises(DecodeError):
                machine.memory.read(address, 8)
        with pytest.raises(DecodeError, match="makes no sense"):
            machine.memory.read(machine.tables.record.address, 1 << 40)
        with pytest.raises(DecodeError, match="makes no sense"):
            machine.memory.read(machine.tables.record.address, -1)
        with pytest.raises(DecodeError, match="is not of this machine"):
            machine.memory.read(id(machine), 8)  # memory of this process, but none of the machine's


def test_a_closed_machine_is_an_error(library: HostLibrary) -> None:
    machine = machine_of(library)
    machine.close()
    machine.close()
    with pytest.raises(MMError, match="has been closed"):
        machine.alloc_pages(0)
    with pytest.raises(DecodeError, match="has been closed"):
        machine.walk()


def test_threads_share_a_machine(library: HostLibrary) -> None:
    with machine_of(library) as machine:

        def work() -> None:
            for _ in range(300):
                pfn = machine.alloc_pages(1)
                if pfn is not None:
                    machine.free_pages(pfn, 1)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        machine.walk().check()
        assert machine.counters()["frame_allocations"] == 1200


def test_frame_addresses_lead_to_bytes(library: HostLibrary) -> None:
    with machine_of(library) as machine:
        pfn = machine.alloc_pages(0)
        assert pfn is not None
        address = machine.frame_address(pfn)
        assert address is not None
        machine.memory.write(address, b"coronel")
        assert machine.memory.read(address, 7) == b"coronel"
        assert machine.frame_address(1 << 30) is None


def test_a_missing_library_says_how_to_build_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(host.LIBRARY_VARIABLE, raising=False)
    monkeypatch.setattr(checkout, "ROOT", tmp_path)
    with pytest.raises(SetupError, match="is not built: run `make all`"):
        host.find_library()
    with pytest.raises(SetupError, match="run `make debug`"):
        host.find_library("debug")
    monkeypatch.setenv(host.LIBRARY_VARIABLE, str(tmp_path / "none.so"))
    with pytest.raises(SetupError, match="CORONEL_MM_LIBRARY names"):
        host.find_library()


def test_a_file_that_is_no_library_is_an_error(tmp_path: Path) -> None:
    broken = tmp_path / "libcoronel_mm.so"
    broken.write_bytes(b"\x7fELF")
    with pytest.raises(SetupError, match="cannot be loaded"):
        HostLibrary(broken)


def test_a_forked_child_is_refused(library: HostLibrary) -> None:
    with machine_of(library) as machine:
        pid = os.fork()
        if pid == 0:
            try:
                machine.memory.read(machine.tables.record.address, 8)
            except DecodeError:
                os._exit(0)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_declarations_keep_plain_c_only() -> None:
    header = """
#ifndef GUARD_H
#define GUARD_H
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
#define FLAG 0x10u
#define TEXT "no number"
/* a comment */
int call(unsigned order);
#ifdef __cplusplus
}
#else
int only_in_c(void);
#endif
#endif
"""
    lines = [line for line in declarations(header).splitlines() if line]
    assert lines == [
        "#define FLAG 0x10u",
        "int call(unsigned order);",
        "int only_in_c(void);",
    ]
