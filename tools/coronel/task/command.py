"""What the commands `coronel cpus`, `threads` and `locks` have in common."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coronel.guest import Guest
    from coronel.mm.kernel import KernelState
    from coronel.task.check import TaskWalk

HEAD_START = 0.3  # seconds for a line of --during to get going


def register(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    help_text: str,
    doc: str | None,
) -> argparse.ArgumentParser:
    """Adds the command of that name."""
    from coronel.mm.source import add_arguments  # noqa: PLC0415  # numpy stays out until the command runs

    parser: argparse.ArgumentParser = subparsers.add_parser(name, help=help_text, description=doc)
    add_arguments(parser, host=False)
    parser.add_argument(
        "--during", metavar="LINE", help="start this line of the guest's console, and look while it runs"
    )
    parser.set_defaults(run=run, backtrace=False, cpus=2)
    return parser


def run(given: argparse.Namespace) -> int:
    """Prints the view; 1 when something is wrong with CPUs, threads or queues."""
    from coronel.mm.kernel import KernelState  # noqa: PLC0415
    from coronel.mm.source import opened  # noqa: PLC0415

    with opened(given) as source:
        assert isinstance(source, KernelState)
        if given.during:
            _start(source.guest, given.during)
        with source.guest.paused():
            return _show(given, source, source.tasks())


def _start(guest: Guest, line: str) -> None:
    """Types the line, and returns when it has been read and ran for a moment."""
    guest.shell.wait_prompt()
    guest.shell.type(line)
    read = line.encode() + b"\r\n"  # what comes back at its end
    guest.wait(lambda: read in guest.console.log.bytes() or None, f"the start of {line!r}", guest.timeout)
    time.sleep(HEAD_START)


def _show(given: argparse.Namespace, source: KernelState, walk: TaskWalk) -> int:
    from coronel.task.report import backtraces  # noqa: PLC0415
    from coronel.task.views import VIEWS, text  # noqa: PLC0415

    view = VIEWS[given.command](walk.tasks)
    if given.backtrace:
        for row, trace in zip(view["threads"], backtraces(walk, source.artifact), strict=True):
            row["backtrace"] = trace
    if given.json:
        import json  # noqa: PLC0415
        from dataclasses import asdict  # noqa: PLC0415

        problems: dict[str, Any] = {
            "problems": [asdict(problem) for problem in walk.problems],
            "problems_left_out": walk.left_out,
            "unreadable": walk.tasks.unreadable,
            "notes": walk.notes,
        }
        print(json.dumps(view | problems, indent=2))
    else:
        calls = [(str(row["name"]), row.pop("backtrace", [])) for row in view.get("threads", [])]
        print(text(view))
        for name, lines in calls:
            if lines:
                print("", name, *(f"  {line}" for line in lines), sep="\n")
        if walk.problems or walk.tasks.unreadable or walk.notes:
            print("", walk.summary(), sep="\n")
    return 1 if walk.problems or walk.tasks.unreadable else 0
