"""The benchmark's Python: rows, results, tables, and what it reads from QEMU's log and from callgrind."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from coronel.bench import guest, host, profile, python, render
from coronel.bench.result import Figure, Measured, Result, Share, shares
from coronel.bench.rows import (
    GUARDED,
    RELEASE,
    ROWS,
    GuestCase,
    GuestRate,
    Held,
    HostCase,
    HostFigure,
    PythonRate,
    Row,
    Sense,
    Target,
    guest_case,
)
from coronel.bench.run import chosen
from coronel.cli import main
from coronel.errors import ArtifactError, SetupError, UsageError, ValidationError
from coronel.mm.host import HostLibrary, HostMachine
from coronel.mm.host_mm import HostKernelMM
from coronel.pytest_plugin import Build

ROOT = Path(__file__).resolve().parents[2]
AT_MOST, AT_LEAST = Target(60), Target(95, Sense.at_least)


def figure(name: str, value: float, target: Target | None, *profile: Share) -> Figure:
    row = Row("Frames", name, "instructions/pair", GuestCase("pages", name), target, (("Linux", 693),))
    return Figure.of(row, Measured(value, (("jemalloc", 12.25),)), "abc", profile)


def result(*figures: Figure) -> Result:
    return Result("2026-01-02", "abc", "release", {"CPU": "a|b (2)", "QEMU": "7.2"}, figures)


TWO = result(
    figure("pair", 61, AT_MOST, Share("memory::Buddy::take", 40.5, 0.66), Share("pairs", 20.5, 0.34)),
    figure("whole", 95, AT_LEAST),
    figure("mixed", 1234.6, None),
)


# ---- rows


def test_no_two_rows_are_the_same() -> None:
    assert max(Counter((row.group, row.name) for row in ROWS).values()) == 1
    assert max(Counter(row.source for row in ROWS).values()) == 1
    assert {row.unit for row in ROWS if isinstance(row.source, GuestCase)} == {
        f"instructions/{one}" for one in ("pair", "frame", "call", "object", "page")
    }


def test_rows_are_chosen_by_a_word_of_their_group_name_or_case() -> None:
    assert chosen([]) == list(ROWS)
    assert {row.source for row in chosen(["pair-9"])} == {GuestCase("pages", "pair-9")}
    assert {type(row.source) for row in chosen(["host library"])} == {HostCase, HostFigure, Held}
    with pytest.raises(UsageError, match="no row has nonsense"):
        chosen(["nonsense"])


def test_a_case_is_found_by_its_name_with_and_without_its_set() -> None:
    assert guest_case("batch-free") == guest_case("pages/batch-free") == GuestCase("pages", "batch-free", 10)
    assert guest_case("slab/pair-64") == GuestCase("slab", "pair-64")


def test_every_count_of_objects_is_there_with_guards_too() -> None:
    def cases(profile: str) -> dict[tuple[str, str, str], Row]:
        counts = (row for row in ROWS if row.group.startswith("Objects, ") and "instructions" in row.unit)
        return {
            (row.group.removesuffix(", guarded"), row.name, row.unit): row
            for row in counts
            if row.profile == profile
        }

    release, guarded = cases(RELEASE), cases(GUARDED)
    assert guarded.keys() == release.keys()
    assert len(guarded) == sum(row.profile == GUARDED for row in ROWS), "and nothing else is"
    for key, row in guarded.items():
        source = release[key].source
        assert isinstance(source, GuestCase | HostCase)
        assert row.source == dataclasses.replace(source, profile=GUARDED)
    targets = [row.target.value for row in guarded.values() if row.target is not None]
    assert targets == [110, 130, 150, 120]


def test_what_has_guards_is_measured_with_its_own_library_and_without_peers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def instructions(program: Path, who: host.Allocator) -> dict[str, float]:
        asked.append((str(program.relative_to(host.PROGRAMS)), who.name))
        return {"object-pair-64": 100.0 + len(asked)}

    monkeypatch.setattr(host, "instructions", instructions)
    monkeypatch.setattr(host, "built", lambda case: host.PROGRAMS / case.profile / case.program)
    monkeypatch.setattr(
        host, "allocators", lambda: [host.Allocator(name, "") for name in ("Coronel", "glibc")]
    )
    wanted = ("object-pair-64", "instructions")
    rows = [
        row
        for row in ROWS
        if isinstance(row.source, HostCase) and (row.source.case, row.source.measure) == wanted
    ]
    assert [row.profile for row in rows] == [RELEASE, GUARDED]
    assert list(host.measure(rows).values()) == [Measured(101, (("glibc", 102),)), Measured(103)]
    assert asked == [
        ("release/objects_bench", "Coronel"),
        ("release/objects_bench", "glibc"),
        ("guarded/objects_bench", "Coronel"),
    ]


def test_a_hosts_case_is_found_by_its_name_and_profile() -> None:
    for profile_name in (RELEASE, GUARDED):
        found = host.case_of("object-churn", profile_name)
        assert found == HostCase("objects_bench", "object-churn", "instructions", profile_name)
    with pytest.raises(UsageError, match="guarded host library's case 'pair-4k'"):
        host.case_of("pair-4k", GUARDED)
    with pytest.raises(SetupError, match="build/bench/lost/objects_bench is not built"):
        host.built(HostCase("objects_bench", "object-churn", "instructions", "lost"))


def test_rates_are_beside_koss_and_peers_only_where_they_have_the_case() -> None:
    rates = [row for row in ROWS if row.unit == "pairs/s"]
    assert {type(row.source) for row in rates} == {GuestRate, HostCase, PythonRate}
    kos = {"page": 1e6, "cache": 5e6, "kmalloc": 2e6, "map": 1e5, "pair": 1e5}
    for row in rates:
        if isinstance(row.source, PythonRate):
            assert (row.target, row.peers) == (None, ())
            continue
        assert isinstance(row.source, GuestRate | HostCase)
        said = kos[
            "page" if row.source == GuestRate("pages", "pair-0", 10**6) else row.source.case.partition("-")[0]
        ]
        assert (row.target, row.peers) == (Target(said, Sense.at_least), (("KOS", said),))
    ours, malloc = host.allocators()[:2]
    figures: dict[str, dict[str, float]] = {ours.name: {"map-4k": 7.126}, malloc.name: {}}
    assert host._beside("map-4k", ours, [malloc], figures) == Measured(7.13)


def test_python_makes_the_pairs_that_its_rows_name(artifact: Build) -> None:
    """How many a second is not asked here; that they are made, and everything given back, is."""
    rows = [row for row in ROWS if isinstance(row.source, PythonRate)]
    assert {row.source.case for row in rows if isinstance(row.source, PythonRate)} == set(python.LOOPS)
    assert all(one.value > 0 for one in python.measure(rows, artifact.elf.parent, pairs=3).values())
    with HostKernelMM(HostMachine("16M", library=HostLibrary.at(artifact.elf.parent))) as mm:
        for loop in python.LOOPS.values():
            before = mm.walk().counters
            loop(mm, 3)
            mm.shrink()
            mm.quiesce()
            assert mm.get_memory_info().used == 0
            assert mm.walk().counters["frame_allocations"] > before["frame_allocations"]


# ---- results


@pytest.mark.parametrize(
    ("value", "target", "missed"),
    [
        (60, AT_MOST, False),
        (60.1, AT_MOST, True),
        (95, AT_LEAST, False),
        (94.9, AT_LEAST, True),
        (9, None, False),
    ],
)
def test_a_miss_is_on_the_wrong_side_of_its_target(value: float, target: Target | None, missed: bool) -> None:
    assert figure("x", value, target).missed is missed


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "result.json"
    TWO.write(path)
    assert Result.read(path) == TWO
    plain = json.loads(path.read_text(encoding="utf-8"))
    assert plain["format"] == 1
    assert [row["missed"] for row in plain["figures"]] == [True, False, False]
    assert plain["figures"][1]["target"] == {"value": 95, "sense": "at_least"}


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 99}', '{"format": 1}', '{"format": 1, "figures": [{"name": "x"}]}']
)
def test_what_is_no_result_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ArtifactError, match=re.escape(str(path))):
        Result.read(path)
    with pytest.raises(ArtifactError, match="cannot be read"):
        Result.read(tmp_path / "nothing.json")


def test_new_figures_replace_old_ones_and_lost_rows_go() -> None:
    later = dataclasses.replace(figure("pair", 50, AT_MOST), commit="def")
    new = dataclasses.replace(result(later), commit="def")
    order = [("Frames", name) for name in ("mixed", "pair", "not measured")]
    both = TWO.updated(new, order)
    assert [(one.name, one.value, one.commit) for one in both.figures] == [
        ("mixed", 1234.6, "abc"), ("pair", 50, "def")
    ]  # fmt: skip
    assert both.commit == "def"
    assert render.head_text(both).endswith(" Rows of older runs: 1 at abc.")
    assert "older" not in render.head_text(new)


def test_shares_are_of_one_operation_and_the_largest_comes_first() -> None:
    found = shares({"a": 100, "c": 300, "b": 100}, 50)
    assert found == (Share("c", 6, 0.6), Share("a", 2, 0.2), Share("b", 2, 0.2))
    assert shares({}, 1) == ()


# ---- tables


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.2934, "0.293"), (1.5, "1.5"), (60, "60"), (88.04, "88"), (1234.6, "1 235"), (1e7, "10 000 000")],
)
def test_numbers_have_three_figures_or_all_before_the_point(value: float, text: str) -> None:
    assert render.number(value) == text


def test_the_tables_show_every_figure_and_only_misses_as_misses() -> None:
    text = render.markdown(TWO)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert rows[1] == "| pair | instructions/pair | &lt;= 60 | 61 | 1.02 miss | Linux 693, jemalloc 12.2 |"
    assert rows[2] == "| whole | instructions/pair | >= 95 | 95 | 1.00 | Linux 693, jemalloc 12.2 |"
    assert rows[3] == "| mixed | instructions/pair |  | 1 235 |  | Linux 693, jemalloc 12.2 |"
    assert "**Misses: 1 of 2 rows with a target**" in text
    assert rows[5:] == ["| Frames: pair | &lt;= 60 | 61 | 1.02 | Buddy::take 40.5 (66%), pairs 20.5 (34%) |"]
    assert "| " not in render.markdown(result(TWO.figures[1])).partition("Misses")[2]


@pytest.mark.parametrize(
    ("function", "plain"),
    [
        ("memory::FrameTable::operator[]", "FrameTable::operator[]"),
        ("memory::(anonymous namespace)::pairs<0u>", "pairs<0u>"),
        ("(anonymous namespace)::release(memory::Machine&, unsigned long) [clone .part.0]", "release"),
        ("QEMU's own start", "QEMU's own start"),
    ],
)
def test_a_profile_names_functions_as_people_do(function: str, plain: str) -> None:
    assert render.plain_name(function) == plain


def test_a_terminal_shows_the_same_cells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    TWO.write(tmp_path / "result.json")
    assert main(["bench", "--show", str(tmp_path / "result.json")]) == 0
    shown = capsys.readouterr().out
    for one in TWO.figures:
        assert all(cell in shown for cell in render.cells(one))
    assert "Misses: 1 of 2" in shown


def test_the_readme_is_rewritten_between_its_marks_only() -> None:
    text = "before\n<!-- figures -->\nold\n<!-- end of figures -->\nafter\n"
    new = render.rewritten(text, TWO)
    assert render.shown_in(new) == render.markdown(TWO)
    assert new.startswith("before\n")
    assert new.endswith("\nafter\n")
    assert render.rewritten(new, TWO) == new
    with pytest.raises(ArtifactError, match="marks"):
        render.rewritten("no marks", TWO)


def test_the_readme_shows_the_reference() -> None:
    shown = render.shown_in(render.README.read_text(encoding="utf-8"))
    assert shown == render.markdown(Result.read(render.REFERENCE)), (
        "`make bench ARGS=--reference` renews both"
    )


def test_the_reference_has_every_row_as_it_is_declared() -> None:
    reference = {one.key: one for one in Result.read(render.REFERENCE).figures}
    declared = {(row.group, row.name): row for row in ROWS}
    advice = "`make bench ARGS='--reference WORD'` measures the rows that hold WORD"
    assert list(reference) == list(declared), advice
    for key, row in declared.items():
        assert (reference[key].unit, reference[key].target) == (row.unit, row.target), advice
        assert reference[key].peers[: len(row.peers)] == row.peers, advice
    for one in reference.values():
        assert one.profile or not one.missed or not isinstance(declared[one.key].source, GuestCase), one.name


# ---- what is read


def test_only_a_guest_that_counts_instructions_is_believed() -> None:
    assert guest.exact({"unit": "instructions"}) == {"unit": "instructions"}
    with pytest.raises(ValidationError, match="TSC ticks"):
        guest.exact({"unit": "TSC ticks"})


LOG = b"""Trace 0: 0x7f80681ced00 [0000000000000000/ffffffff8011fbf0/0000c4b0/ff020201] isr_doors
Trace 0: 0x7f80681cee80 [0000000000000000/ffffffff8011fbf2/0000c4b0/ff020201]
Stopped execution of TB chain before 0x7f80681cee80 [ffffffff8011fbf2] isr_doors
Trace 0: 0x7f80681cee80 [0000000000000000/ffffffff8011fbf2/0000c4b0/ff020201] isr_doors
Trace 0: 0x7f80681cf2c0 [0000000000000000/ffffffff8011fbf0/0000c4b0/ff020201] isr_doors
"""


def test_an_instruction_that_was_announced_and_put_off_counts_once() -> None:
    log: list[bytes] = []
    profile.append_addresses(log, LOG)
    assert log == [b"ffffffff8011fbf0", b"ffffffff8011fbf2", b"ffffffff8011fbf0"]


def test_what_is_measured_lies_between_an_odd_reading_and_an_even_one() -> None:
    log = [word.encode() for word in "x clock a b clock y z clock c clock w".split()]
    windows = list(profile.windows_of(log, b"clock"))
    assert windows == [[b"clock", b"a", b"b"], [b"clock", b"c"]]


DUMP = f"""# callgrind format
desc: Trigger: Client Request: pair-4k\t10
positions: line
events: Ir
fl=(1) {ROOT}/mm/host/capi.cpp
fn=(1) release
63 50
+2 10
fi=(2) /usr/include/atomic
-5 7
fe=(1)
* 3
calls=10 4
cfn=(2) Buddy::give
65 900
fn=(2)
4 30
totals: 100
"""


def test_callgrind_counts_each_function_and_line_once() -> None:
    dump = host._dump(DUMP)
    assert dump is not None
    assert (dump.case, dump.operations, dump.total) == ("pair-4k", 10, 100)
    assert dump.functions() == {"release": 70, "Buddy::give": 30}
    assert sum(dump.lines().values()) == dump.total
    assert dump.lines()["mm/host/capi.cpp:63"] == 50
    assert dump.lines()["/usr/include/atomic:60"] == 7
    assert host._dump(DUMP.replace("Client Request", "Program termination")) is None


def test_ours_and_the_c_library_are_always_among_the_allocators() -> None:
    found = host.allocators()
    assert [who.name for who in found[:2]] == ["Coronel", "glibc"]
    assert all(Path(who.preload).is_file() for who in found[2:])


def test_make_bench_sets_up_builds_and_measures() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "-n", "bench", "ARGS=pair-0"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    assert "sh tools/bootstrap.sh bench" in said
    assert said[-1].endswith("-m coronel bench pair-0")
    done = subprocess.run(
        [*command, "--always-make"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    made = re.findall(r" -o (build/\S+)", done.stdout)
    for profile_name in (RELEASE, GUARDED):
        assert {f"build/{profile_name}/coronel.elf", f"build/{profile_name}/libcoronel_mm.so"} <= set(made)
    measured = {row.source for row in ROWS if isinstance(row.source, HostCase)}
    programs = {f"build/bench/{source.profile}/{source.program}" for source in measured}
    assert programs == {path for path in made if path.endswith("_bench")}
