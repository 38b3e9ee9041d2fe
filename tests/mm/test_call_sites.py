"""Live objects by call site: a seeded run whose calls are known, told alike by console, Python and GDB."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from coronel.build.symbols import call_names
from coronel.errors import DecodeError
from coronel.gdb.session import gdb_answers
from coronel.guest import Guest
from coronel.mm.call_sites import CallSites, call_sites, view
from coronel.mm.guest_mm import GuestKernelMM
from coronel.mm.kernel import KernelState
from coronel.mm.kernel_mm import KernelMM
from coronel.mm.objects import ObjectOperation, cache_alloc, heap_malloc, kfree, kmalloc, operation
from coronel.mm.random_objects import RandomObjects
from coronel.pytest_plugin import Build
from coronel.task.views import text

UNSUPPORTED = 95
OBJECTS = 400


def made(mm: KernelMM, operations: list[ObjectOperation]) -> list[int]:
    results = mm.run_objects(operations)
    assert not [one.why for one in results if one.why]
    return [one.value for one in results]


def grown(after: CallSites, before: CallSites) -> dict[int, tuple[int, int]]:
    """Objects and bytes that came since, by site."""
    had = {one.site: (one.objects, one.size) for one in before.sites}
    zero = (0, 0)
    found = {
        one.site: (one.objects - had.get(one.site, zero)[0], one.size - had.get(one.site, zero)[1])
        for one in after.sites
    }
    return {site: more for site, more in found.items() if more != zero}


def test_each_call_has_what_it_asked_for(guarded_mm: KernelMM, coronel_seed: int) -> None:
    mm, chance = guarded_mm, random.Random(coronel_seed)
    cache = mm.create_cache(f"crew-{chance.randrange(1000)}", 48)
    kinds: dict[str, Callable[[], ObjectOperation]] = {
        "m": lambda: kmalloc(chance.randrange(1, 20_000)),
        "z": lambda: operation("kzalloc", chance.randrange(1, 300), 1),
        "a": lambda: cache_alloc(cache),
    }
    site_of: dict[str, int] = {}
    for letter, kind in kinds.items():  # one of each says which site is whose
        before = mm.get_call_sites()
        (address,) = made(mm, [kind()])
        ((site_of[letter], (objects, _)),) = grown(mm.get_call_sites(), before).items()
        assert objects == 1
        made(mm, [kfree(address) if letter != "a" else operation("cache_free", cache, address)])
        assert grown(mm.get_call_sites(), before) == {}
    assert len(set(site_of.values())) == len(kinds)
    assert all("perform" in str(mm.function_at(site - 1)) for site in site_of.values())

    before, heap_before = mm.get_call_sites(), mm.get_heap_stats()
    calls = [kinds[chance.choice("mza")]() for _ in range(OBJECTS)]
    addresses = made(mm, calls)
    kept = [(one, address) for one, address in zip(calls, addresses, strict=True) if chance.random() < 0.6]
    gone = set(addresses) - {address for _, address in kept}
    pairs = zip(calls, addresses, strict=True)
    made(
        mm,
        [
            operation("cache_free", cache, address) if one.letter == "a" else kfree(address)
            for one, address in pairs
            if address in gone
        ],
    )
    wanted: dict[int, Counter[str]] = {site: Counter() for site in site_of.values()}
    for one, _ in kept:
        wanted[site_of[one.letter]].update(objects=1, size=48 if one.letter == "a" else one.first)
    after = mm.get_call_sites()
    assert grown(after, before) == {site: (sums["objects"], sums["size"]) for site, sums in wanted.items()}
    sizes = [one.size for one in after.sites]
    assert sizes == sorted(sizes, reverse=True)
    (held,) = made(mm, [heap_malloc(1000)])
    assert mm.get_call_sites().heap_blocks == heap_before["active_blocks"] + 1, "of no site"
    mm.heap_free(held)


@pytest.mark.skipif(shutil.which("gdb") is None, reason="there is no gdb")
def test_console_python_and_gdb_say_the_same(artifact: Build, tmp_path: Path, coronel_seed: int) -> None:
    build, socket = artifact.sibling("guarded"), tmp_path / "gdb"
    with Guest(kernel=build.elf, memory="64M", gdb=socket, timeout=60.0) as guest:
        RandomObjects(GuestKernelMM(guest).run_objects, coronel_seed).run(OBJECTS)
        console, told = guest.shell.run("callsites"), guest.channel.call("callsites")
        rest = guest.channel.call("callsites", len(told["list"]))
        state = KernelState(guest, build.artifact)
        with state.still() as tables:
            found = call_sites(tables)
            (shown,) = gdb_answers(build.elf, socket, ["coronel sites"])
    names = call_names(build.artifact, state.tables.record.slide, [one.site for one in found.sites])
    mine = view(found, names)
    assert (told["sites"], told["objects"], told["bytes"]) == (len(mine["list"]), found.objects, found.size)
    assert told["list"] + rest["list"] == mine["list"]
    assert console.rstrip("\n") == text({**mine, "list": told["list"]})
    assert shown == text(mine)
    assert found.objects == sum(one.objects for one in found.sites) > OBJECTS // 10
    assert found.heap_blocks > 0


def test_a_build_without_tracks_says_who_has_them(shared_guest: Guest, artifact: Build, mm: KernelMM) -> None:
    (refused,) = shared_guest.channel.batch(["callsites"])
    assert refused.status == UNSUPPORTED
    assert "make guarded" in refused.error
    with pytest.raises(DecodeError, match="debug_slab is off; `make guarded` sets it"):
        mm.get_call_sites()
    place = [f"--build={artifact.elf.parents[1]}", f"--profile={artifact.profile}", "--memory=64M", "--host"]
    done = subprocess.run(
        [sys.executable, "-m", "coronel", "slabs", "--sites", *place],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "make guarded" in done.stderr


@pytest.mark.parametrize("where", ["guest", "host"])
def test_the_command_shows_them(artifact: Build, where: str) -> None:
    place = [f"--build={artifact.elf.parents[1]}", "--profile=guarded", "--memory=64M", "--objects=300"]
    words = ["slabs", "--sites", *place, *(["--host"] if where == "host" else [])]
    done = subprocess.run(
        [sys.executable, "-m", "coronel", *words, "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["sites"] == len(found["list"]) > 1
    assert found["objects"] == found["no_site_objects"] + sum(one["objects"] for one in found["list"])
    assert any("perform" in one["site"] for one in found["list"])
