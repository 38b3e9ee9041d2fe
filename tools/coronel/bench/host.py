"""Rows of the host library beside the allocators of other people: programs of bench/host/ on each of them.

Instructions are callgrind's: exact, of the user space, loop and call included. Times are the best of a few
rounds in which all allocators take turns, and only their ratios mean something.
"""

from __future__ import annotations

import glob
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from coronel.bench.result import Measured
from coronel.bench.rows import RELEASE, ROWS, HostCase, HostFigure, Row
from coronel.checkout import ROOT, system_path
from coronel.errors import SetupError, UsageError

PROGRAMS = ROOT / "build" / "bench"
ROUNDS = 5
OURS = "coronel"
FOLDER = "/usr/lib/x86_64-linux-gnu"
PRELOADS = {
    "mimalloc": f"{FOLDER}/libmimalloc.so.*",
    "jemalloc": f"{FOLDER}/libjemalloc.so.2",
    "tcmalloc": f"{FOLDER}/libtcmalloc_minimal.so.4",
}


@dataclass(frozen=True)
class Allocator:
    """Who is measured: `word` is the program's, `preload` a library that stands before the C library's."""

    name: str
    word: str
    preload: str = ""

    def environment(self) -> dict[str, str]:
        """This process's, with the library before all others."""
        return {**os.environ, "LD_PRELOAD": self.preload} if self.preload else dict(os.environ)


def allocators() -> list[Allocator]:
    """Ours, the C library's, and those peers that are installed."""
    found = [Allocator("Coronel", OURS), Allocator("glibc", "malloc")]
    for name, pattern in PRELOADS.items():
        paths = sorted(glob.glob(str(system_path(pattern)))) or sorted(glob.glob(pattern))
        if not paths and (ROOT / ".tools/root").is_dir():
            paths = sorted(glob.glob(str(ROOT / ".tools/root") + pattern))
        if paths:
            found.append(Allocator(name, "malloc", paths[0]))
    return found


def times(program: Path, who: Allocator) -> dict[str, float]:
    """Nanoseconds for one operation of every case, and what else the program tells, in one run."""
    done = _run([str(program), who.word], who)
    rows = (line.split("\t") for line in done.splitlines())
    return {case: float(spent) / int(operations) for case, operations, spent in rows}


def instructions(program: Path, who: Allocator) -> dict[str, float]:
    """Instructions for one operation of every case."""
    return {dump.case: dump.total / dump.operations for dump in dumps(program, who)}


@dataclass(frozen=True)
class Dump:
    """What callgrind counted of one case."""

    case: str
    operations: int
    total: int
    text: str

    def functions(self) -> dict[str, int]:
        """Instructions by function, without those of the functions that it calls."""
        return self._counted(lambda function, file, line: function)

    def lines(self) -> dict[str, int]:
        """Instructions by line of the source."""
        return self._counted(lambda function, file, line: f"{_short(file)}:{line}")

    def _counted(self, key: object) -> dict[str, int]:
        assert callable(key)
        found: dict[str, int] = {}
        for function, file, line, cost in _costs(self.text):
            where = key(function, file, line)
            found[where] = found.get(where, 0) + cost
        return found


def dumps(program: Path, who: Allocator) -> list[Dump]:
    """A run under callgrind, which dumps what it counted after each case."""
    with tempfile.TemporaryDirectory(prefix="coronel-bench-") as folder:
        out = Path(folder) / "callgrind"
        _run(["valgrind", "--tool=callgrind", "--instr-atstart=no", "--quiet", f"--callgrind-out-file={out}",
              str(program), who.word, "--count"], who)  # fmt: skip
        return [dump for path in sorted(Path(folder).iterdir()) if (dump := _dump(path.read_text()))]


def measure(rows: Sequence[Row]) -> dict[Row, Measured]:
    """The rows of `rows` that the host library measures."""
    wanted = [(row, row.source) for row in rows if isinstance(row.source, HostCase)]
    if not wanted:
        return {}
    measured: dict[Row, Measured] = {}
    for program in dict.fromkeys(built(source) for _, source in wanted):
        measured |= _measure(program, [(row, source) for row, source in wanted if built(source) == program])
    return measured


def _measure(program: Path, wanted: Sequence[tuple[Row, HostCase]]) -> dict[Row, Measured]:
    ours, *peers = allocators()
    if any(source.profile != RELEASE for _, source in wanted):
        peers = []  # those that are installed have no guards
    measured = {}
    if any(source.measure == "instructions" for _, source in wanted):
        counted = {who.name: instructions(program, who) for who in (ours, *peers)}
        for row, source in wanted:
            if source.measure == "instructions":
                measured[row] = _beside(source.case, ours, peers, counted)
    if any(source.measure == "time" for _, source in wanted):
        best = best_times(program, [ours, *peers])
        for row, source in wanted:
            if source.measure == "time":
                fastest = min(best[who.name][source.case] for who in peers)
                ratios = {name: {source.case: of[source.case] / fastest} for name, of in best.items()}
                measured[row] = _beside(source.case, ours, peers, ratios)
    if any(source.measure == "rate" for _, source in wanted):
        spent = best_times(program, [ours])[ours.name]
        for row, source in wanted:
            if source.measure == "rate":
                measured[row] = Measured(float(round(1e9 / spent[source.case])))
    return measured


def measure_figures(rows: Sequence[Row]) -> dict[Row, Measured]:
    """The rows of `rows` that a program tells besides, once of each allocator."""
    wanted = [(row, row.source) for row in rows if isinstance(row.source, HostFigure)]
    told: dict[Path, dict[str, dict[str, float]]] = {}
    measured = {}
    for row, source in wanted:
        program = built(source)
        ours, *peers = allocators()
        if program not in told:
            told[program] = {who.name: times(program, who) for who in (ours, *peers)}
        measured[row] = _beside(source.case, ours, peers, told[program], digits=3)
    return measured


def best_times(program: Path, who: Sequence[Allocator], rounds: int = ROUNDS) -> dict[str, dict[str, float]]:
    """By allocator and case, nanoseconds in the best of the rounds."""
    best: dict[str, dict[str, float]] = {one.name: {} for one in who}
    for _ in range(rounds):
        for one in who:
            for case, spent in times(program, one).items():
                best[one.name][case] = min(spent, best[one.name].get(case, spent))
    return best


def _beside(
    case: str,
    ours: Allocator,
    peers: Sequence[Allocator],
    figures: dict[str, dict[str, float]],
    digits: int = 2,
) -> Measured:
    return Measured(
        round(figures[ours.name][case], digits),
        tuple(
            (who.name, round(figures[who.name][case], digits)) for who in peers if case in figures[who.name]
        ),
    )


def case_of(name: str, profile: str) -> HostCase:
    """The case of that name, as a row of that profile has it."""
    sources = (row.source for row in ROWS if isinstance(row.source, HostCase) and row.profile == profile)
    found = next((source for source in sources if source.case == name), None)
    if found is None:
        raise UsageError(f"no row has the {profile} host library's case {name!r}; --host alone lists them")
    return found


def profile(case: HostCase, by_line: bool) -> tuple[dict[str, int], int]:
    """Where our instructions of a case go, and how many operations they were."""
    dump = next(dump for dump in dumps(built(case), allocators()[0]) if dump.case == case.case)
    return (dump.lines() if by_line else dump.functions()), dump.operations


def built(case: HostCase | HostFigure) -> Path:
    """The case's program, on the library of its profile. SetupError: it is not built."""
    path = PROGRAMS / case.profile / case.program
    if not path.exists():
        raise SetupError(f"{path.relative_to(ROOT)} is not built: `make bench` builds it")
    return path


def _run(command: Sequence[str], who: Allocator) -> str:
    try:
        done = subprocess.run(
            command, env=who.environment(), capture_output=True, text=True, timeout=600, check=False
        )
    except FileNotFoundError:
        raise SetupError(f"{command[0]} is not installed: `make bench` installs it") from None
    if done.returncode != 0:
        raise SetupError(f"{' '.join(command)} ({who.name}) failed: {done.stderr.strip()[-300:]}")
    return done.stdout


# -- callgrind's format (valgrind's manual, "Callgrind Format Specification")

_TRIGGER = re.compile(r"^desc: Trigger: Client Request: (.+)\t(\d+)$", re.MULTILINE)
_TOTAL = re.compile(r"^totals: (\d+)$", re.MULTILINE)
_NAME = re.compile(r"(c?)(fl|fi|fe|fn)=(\(\d+\))(?: (.*))?")
_COST = re.compile(r"([+-]?\d+|\*) (\d+)")


def _dump(text: str) -> Dump | None:
    trigger, total = _TRIGGER.search(text), _TOTAL.search(text)
    if trigger is None or total is None:
        return None
    return Dump(trigger[1], int(trigger[2]), int(total[1]), text)


def _costs(text: str) -> Iterator[tuple[str, str, int, int]]:
    """(function, file, line, instructions) of every line of costs; what was called is not counted again."""
    names: dict[tuple[str, str], str] = {}
    function = file = ""
    line = 0
    called = False
    for row in text.splitlines():
        if name := _NAME.fullmatch(row):
            kind = "fn" if name[2] == "fn" else "file"
            if name[4] is not None:  # said once, also where it is called for the first time
                names[kind, name[3]] = name[4]
            if name[1]:
                continue
            if kind == "fn":
                function = names[kind, name[3]]
            else:
                file = names[kind, name[3]]
        elif row.startswith("calls="):
            called = True
        elif cost := _COST.fullmatch(row):
            line = _line(cost[1], line)
            if not called:
                yield function, file, line, int(cost[2])
            called = False


def _line(text: str, last: int) -> int:
    if text == "*":
        return last
    return last + int(text) if text[0] in "+-" else int(text)


def _short(file: str) -> str:
    """A source's name from the root of the checkout, as far as it is ours."""
    path = os.path.normpath(file)
    return path.removeprefix(f"{ROOT}/")
