"""Tables of a result: for a terminal, and for bench/README.md. Both show the same cells."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from coronel.bench.result import Figure, Result
from coronel.bench.rows import Sense
from coronel.checkout import ROOT
from coronel.errors import ArtifactError

if TYPE_CHECKING:
    from rich.console import Console

README = ROOT / "bench" / "README.md"
REFERENCE = ROOT / "bench" / "results" / "reference.json"
HEAD = ("case", "unit", "target", "Coronel", "of target", "others")
MISSES_HEAD = ("case", "target", "Coronel", "over", "where it goes")
SHARES_SHOWN = 6


def number(value: float) -> str:
    """Three figures or all before the point, with thin groups: 0.123, 12.3, 1 234."""
    if value == int(value) or abs(value) >= 100:
        return f"{round(value):,}".replace(",", " ")
    return f"{value:.3g}"


def target_text(figure: Figure) -> str:
    """Such as <= 60."""
    if figure.target is None:
        return ""
    sign = "<=" if figure.target.sense is Sense.at_most else ">="
    return f"{sign} {number(figure.target.value)}"


def cells(figure: Figure) -> tuple[str, ...]:
    """One line of the table, in the order of HEAD."""
    ratio = figure.of_target
    return (
        figure.name,
        figure.unit,
        target_text(figure),
        number(figure.value),
        "" if ratio is None else f"{ratio:.2f}" + (" miss" if figure.missed else ""),
        ", ".join(f"{name} {number(value)}" for name, value in figure.peers),
    )


def plain_name(function: str) -> str:
    """A C++ function's name as people say it: without its parameters and what every name here begins with."""
    for word in ("(anonymous namespace)::", "memory::"):
        function = function.replace(word, "")
    return re.sub(r"(?<=\w)\(.*", "", function)


def miss_cells(figure: Figure) -> tuple[str, ...]:
    """One line of the table of misses, in the order of MISSES_HEAD."""
    shares = [
        f"{plain_name(one.where)} {number(one.each)} ({one.share:.0%})"
        for one in figure.profile[:SHARES_SHOWN]
    ]
    return (
        f"{figure.group}: {figure.name}",
        target_text(figure),
        number(figure.value),
        f"{figure.of_target or 0:.2f}",
        ", ".join(shares) or "not profiled",
    )


def head_text(result: Result) -> str:
    """What the figures were taken on, in one sentence. Rows that an older run left say so in a second one."""
    machine = ", ".join(f"{name} {value}" for name, value in result.machine.items())
    head = f"Taken {result.taken} at commit {result.commit}, profile {result.profile}; {machine}."
    older = Counter(figure.commit for figure in result.figures if figure.commit != result.commit)
    if older:
        head += f" Rows of older runs: {', '.join(f'{rows} at {commit}' for commit, rows in older.items())}."
    return head


def markdown(result: Result) -> str:
    """Everything between the two marks of bench/README.md."""
    lines = [head_text(result), ""]
    for group in dict.fromkeys(figure.group for figure in result.figures):
        lines += [f"**{group}**", "", *_markdown_table(HEAD, "--rrr-", _rows_of(result, group)), ""]
    lines += [f"**Misses: {len(result.misses)} of {_with_target(result)} rows with a target**", ""]
    if result.misses:
        lines += _markdown_table(MISSES_HEAD, "-rrr-", [miss_cells(figure) for figure in result.misses])
    return "\n".join(lines).rstrip() + "\n"


def _rows_of(result: Result, group: str) -> list[tuple[str, ...]]:
    return [cells(figure) for figure in result.figures if figure.group == group]


def _with_target(result: Result) -> int:
    return sum(figure.target is not None for figure in result.figures)


def _markdown_table(head: Sequence[str], align: str, rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"

    return [line(head), "|" + "".join("--:|" if side == "r" else "---|" for side in align), *map(line, rows)]


def print_tables(result: Result, console: Console) -> None:
    """The same for people at a terminal."""
    from rich.table import Table  # noqa: PLC0415

    def table(title: str, head: Sequence[str], align: str, rows: Sequence[Sequence[str]]) -> None:
        shown = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for name, side in zip(head, align, strict=True):
            shown.add_column(name, justify="right" if side == "r" else "left")
        for row in rows:
            shown.add_row(*row, style="bold red" if any(cell.endswith(" miss") for cell in row) else None)
        console.print(shown)
        console.print()

    console.print(head_text(result), highlight=False, markup=False)
    console.print()
    for group in dict.fromkeys(figure.group for figure in result.figures):
        table(group, HEAD, "--rrr-", _rows_of(result, group))
    title = f"Misses: {len(result.misses)} of {_with_target(result)} rows with a target"
    if result.misses:
        table(title, MISSES_HEAD, "-rrr-", [miss_cells(figure) for figure in result.misses])
    else:
        console.print(title)


_MARKED = re.compile(r"(<!-- figures -->\n)(.*?)(<!-- end of figures -->)", re.DOTALL)


def shown_in(text: str) -> str:
    """What a README shows between its marks. ArtifactError: it has none."""
    found = _MARKED.search(text)
    if found is None:
        raise ArtifactError(f"{README}: the marks of the figures are missing")
    return found[2]


def rewritten(text: str, result: Result) -> str:
    """The README with this result between its marks."""
    shown_in(text)
    insert: Callable[[re.Match[str]], str] = lambda found: found[1] + markdown(result) + found[3]  # noqa: E731
    return _MARKED.sub(insert, text)


def write_readme(result: Result, path: Path = README) -> None:
    """Lets bench/README.md show this result."""
    path.write_text(rewritten(path.read_text(encoding="utf-8"), result), encoding="utf-8")
