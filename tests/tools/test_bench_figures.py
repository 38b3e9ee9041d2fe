"""Rows that are neither time nor a count of instructions: what programs tell besides."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from coronel.bench import host
from coronel.bench.result import Figure, Measured
from coronel.bench.rows import ROWS, HostCase, HostFigure, Target


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
