"""Rows that are neither time nor a count of instructions: what programs tell besides, and what is held."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from coronel.bench import held, host
from coronel.bench.result import Figure, Measured
from coronel.bench.rows import ROWS, Held, HostCase, HostFigure, Target
from coronel.mm import idle
from coronel.mm.kernel_mm import KernelMM
from coronel.mm.slab_view import slabinfo
from coronel.pytest_plugin import Build


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two allocators and a program that tells of each what it asks and what it takes; who was run."""
    asked: list[str] = []

    def run(command: Sequence[str], who: host.Allocator) -> str:
        asked.append(who.name)
        ours = "heap-blocks\t1000000\t1054600\n" if who.word == host.OURS else ""
        return f"heap-churn\t10\t270\n{ours}heap-held\t400\t{500 + len(asked)}\n"

    both = [host.Allocator("Coronel", host.OURS), host.Allocator("glibc", "malloc")]
    monkeypatch.setattr(host, "_run", run)
    monkeypatch.setattr(host, "built", lambda source: host.PROGRAMS / source.profile / source.program)
    monkeypatch.setattr(host, "allocators", lambda: both)
    return asked


def test_a_figure_that_a_program_tells_is_shown_beside_those_who_tell_it(told: list[str]) -> None:
    rows = {
        row.source.case: row
        for row in ROWS
        if isinstance(row.source, HostFigure) and not row.source.case.startswith("growing")
    }
    found = host.measure_figures(list(rows.values()))
    assert told == ["Coronel", "glibc"], "one run of each is enough"
    assert found == {
        rows["heap-blocks"]: Measured(1.055),
        rows["heap-held"]: Measured(1.252, (("glibc", 1.255),)),
    }
    assert Figure.of(rows["heap-blocks"], found[rows["heap-blocks"]], "abc").missed, "1.05 is not 1.055"


def test_the_heap_is_beside_those_whose_figures_are_known() -> None:
    rows = {
        row.source.case: row
        for row in ROWS
        if isinstance(row.source, HostCase | HostFigure) and row.source.program == "heap_bench"
    }
    with_target = {case: (row.target, row.peers) for case, row in rows.items() if row.target or row.peers}
    assert with_target == {
        "heap-churn": (Target(200), (("o1heap", 137), ("TLSF", 231))),
        "heap-blocks": (Target(1.05), (("o1heap", 1.47), ("TLSF", 1.03))),
    }


def test_what_is_held_is_counted_once_for_each_body(artifact: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {row.source: row for row in ROWS if isinstance(row.source, Held)}
    assert {(row.unit, row.target) for row in rows.values()} == {("MiB", Target(2)), ("KiB", Target(64))}
    peaks: list[KernelMM] = []

    def after_a_peak(mm: KernelMM, chance: random.Random) -> idle.Held:
        peaks.append(mm)
        return idle.Held(47 << 20, 48 << 20, 3 << 19, 40 << 10)

    monkeypatch.setattr(idle, "after_a_peak", after_a_peak)
    of_host = [rows[Held("host", moment)] for moment in ("released", "shrunk")]
    assert held.measure(of_host, artifact.elf.parent) == dict(
        zip(of_host, (Measured(1.5), Measured(40)), strict=True)
    )
    assert len(peaks) == 1


def test_bytes_of_slabs_are_those_of_slabinfo(artifact: Build) -> None:
    with held.machine("host", artifact.elf.parent) as mm:
        before = idle.slab_bytes(mm)
        objects = [mm.kmalloc(8192) for _ in range(100)]
        assert None not in objects
        with mm.still() as tables:
            rows = slabinfo(tables)
        assert (
            idle.slab_bytes(mm) == sum(int(row["num_slabs"]) * int(row["pagesperslab"]) for row in rows) << 12
        )
        assert idle.slab_bytes(mm) >= before + 100 * 8192
