"""`coronel bench`: measures every row (or those that hold a word), prints the table with targets and peers
and the table of misses, and writes one JSON file. `make bench` builds what it needs first.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("bench", help="measure, beside targets and peers", description=__doc__)
    parser.add_argument(
        "words", nargs="*", metavar="WORD", help="only rows whose group, name or case holds it"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="(default: build/bench/result.json)")
    parser.add_argument("--show", type=Path, metavar="FILE", help="show this result; measure nothing")
    parser.add_argument(
        "--reference", action="store_true", help="put the figures into bench/results and bench/README.md"
    )
    parser.add_argument("--no-profiles", action="store_true", help="do not look where misses spend it")
    parser.add_argument("--build", type=Path, default=Path("build/release"), metavar="DIR")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Prints and writes it; 0, whatever the figures are."""
    from rich.console import Console  # noqa: PLC0415

    from coronel.bench import render  # noqa: PLC0415
    from coronel.bench.result import Result  # noqa: PLC0415
    from coronel.bench.rows import ROWS  # noqa: PLC0415
    from coronel.bench.run import chosen  # noqa: PLC0415
    from coronel.bench.run import run as measure  # noqa: PLC0415
    from coronel.checkout import ROOT  # noqa: PLC0415

    console = Console(width=None if sys.stdout.isatty() else 150)
    if given.show:
        render.print_tables(Result.read(given.show), console)
        return 0

    def say(text: str) -> None:
        print(f"bench: {text}", file=sys.stderr, flush=True)

    result = measure(chosen(given.words), given.build, say, profiles=not given.no_profiles)
    output = given.output or ROOT / "build" / "bench" / "result.json"
    result.write(output)
    render.print_tables(result, console)
    if given.reference:
        if render.REFERENCE.exists():
            order = [(row.group, row.name) for row in ROWS]
            result = Result.read(render.REFERENCE).updated(result, order)
        result.write(render.REFERENCE)
        render.write_readme(result)
    return 0
