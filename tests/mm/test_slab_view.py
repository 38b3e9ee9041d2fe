"""`slabs`: Python over raw memory shows of the object caches what the console and GDB show."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from coronel.errors import DecodeError
from coronel.gdb.session import gdb_answers
from coronel.guest import Guest
from coronel.mm.guest_mm import GuestKernelMM
from coronel.mm.kernel import KernelState
from coronel.mm.kernel_mm import KernelMM
from coronel.mm.slab_view import cache_named, cells, slabinfo
from coronel.pytest_plugin import Build
from coronel.task.views import table

SIZES = (8, 24, 64, 100, 700, 1024, 5000)


def work(mm: KernelMM, seed: int) -> dict[int, int]:
    """Leaves objects of seeded sizes: how many of each."""
    chance = random.Random(seed)
    held: list[tuple[int, int]] = []
    for _ in range(300):
        size = chance.choice(SIZES)
        address = mm.kmalloc(size)
        assert address is not None
        held.append((address, size))
        if chance.random() < 0.4:
            mm.kfree(held.pop(chance.randrange(len(held)))[0])
    return {size: sum(one == size for _, one in held) for size in SIZES}


def test_tables_and_cells_say_what_is_allocated(mm: KernelMM, coronel_seed: int) -> None:
    left = work(mm, coronel_seed)
    with mm.state.still() if isinstance(mm, GuestKernelMM) else mm.machine.still() as tables:  # type: ignore[attr-defined]
        rows = {str(row["name"]): row for row in slabinfo(tables)}
        heading, *lines = cells(tables, cache_named(tables, "kmalloc-64"))
        with pytest.raises(DecodeError, match="kmalloc-64"):
            cache_named(tables, "nonsense")
    for size, name in ((8, "kmalloc-8"), (64, "kmalloc-64"), (100, "kmalloc-112"), (5000, "kmalloc-8192")):
        assert rows[name]["active_objs"] == left[size]
    drawn = "".join(line.strip() for line in lines if not line.startswith("slab"))
    assert "objects of 64 bytes" in heading
    assert drawn.count("#") == left[64]
    assert drawn.count("o") == rows["kmalloc-64"]["cached"]
    assert len(drawn) == rows["kmalloc-64"]["num_objs"]
    assert sum(line.startswith("slab 0x") for line in lines) == rows["kmalloc-64"]["num_slabs"]
    if isinstance(mm, GuestKernelMM):
        assert mm.guest.channel.call("slabinfo") == list(rows.values())


@pytest.mark.skipif(shutil.which("gdb") is None, reason="there is no gdb")
def test_the_console_and_gdb_show_the_same_table(artifact: Build, tmp_path: Path, coronel_seed: int) -> None:
    socket = tmp_path / "gdb"
    with Guest(kernel=artifact.elf, memory="64M", gdb=socket, timeout=60) as guest:
        work(GuestKernelMM(guest, artifact.artifact), coronel_seed)
        console = guest.shell.run("slabinfo")
        with KernelState(guest, artifact.artifact).still() as tables:
            wanted = table(slabinfo(tables))
            picture = list(cells(tables, cache_named(tables, "kmalloc-64")))
            shown, drawn = gdb_answers(artifact.elf, socket, ["coronel slabs", "coronel slabs kmalloc-64"])
    assert console.rstrip("\n").split("\n") == wanted
    assert shown.split("\n") == wanted
    assert drawn.split("\n") == picture
