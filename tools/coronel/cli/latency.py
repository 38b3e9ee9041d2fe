"""`coronel latency`: how long calls of the frame allocator take in a guest, by path, as a histogram. It runs
under -icount, where a tick is one instruction; with --clock it runs freely, and ticks are the host's.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("latency", help="how long allocations take, by path", description=__doc__)
    from coronel.checkout import add_build_arguments  # noqa: PLC0415

    parser.add_argument("--operations", type=int, default=100_000, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="(default: %(default)s)")
    parser.add_argument("--memory", default="256M", metavar="SIZE", help="(default: %(default)s)")
    parser.add_argument("--clock", action="store_true", help="TSC ticks of a machine that runs freely")
    parser.add_argument("--json", action="store_true", help="for programs")
    add_build_arguments(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Prints it; 0."""
    from coronel.bench.guest import exact, machine  # noqa: PLC0415

    elf = Path(given.build) / given.profile / "coronel.elf"
    other: dict[str, Any] = {"memory": given.memory, **({"icount": None} if given.clock else {})}
    with machine(elf, **other) as guest:
        answer = guest.channel.call("latency", given.operations, seed=given.seed)
    if not given.clock:
        exact(answer)
    if given.json:
        import json  # noqa: PLC0415

        print(json.dumps(answer, indent=1))
        return 0
    _print(answer)
    return 0


def _print(answer: dict[str, Any]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    title = f"{answer['operations']} calls, seed {answer['seed']}, by {answer['unit']}: from ... on"
    table = Table("call", title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("order", "path", "calls", "least", "mean", "most", *map(str, answer["from"])):
        table.add_column(name, justify="left" if name == "path" else "right")
    for path in answer["paths"]:
        figures = [str(count or ".") for count in path["buckets"]]
        names = ("call", "order", "path", "calls", "least", "mean", "most")
        table.add_row(*(str(path[name]) for name in names), *figures)
    Console(width=None if sys.stdout.isatty() else 180).print(table)
