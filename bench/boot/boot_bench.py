"""How long a boot takes: seconds from QEMU's start to the prompt, and guest instructions from kmain to it.

    make release && .venv/bin/python bench/boot/boot_bench.py [--runs N]

Seconds are of this host, QEMU's own start included, and the smallest of all runs counts: all else that runs
here only adds to them. Instructions are exact (TCG, -icount shift=0, PVH) and the same on every host. Both
are compared with their goals; only instructions decide the exit status, because nobody can promise seconds of
a host that he does not know.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from coronel.errors import CoronelError
from coronel.guest import Guest

MEMORY = "256M"
GOAL_SECONDS = {"PVH": 0.3, "GRUB": 0.8}
GOAL_INSTRUCTIONS = 10_000_000


@dataclass(frozen=True)
class Boot:
    """Seconds since QEMU was started."""

    first_byte: float
    prompt: float


def boot_once(**start: Any) -> Boot:
    """One machine, from the start of its QEMU to the prompt."""
    began = time.monotonic()
    with Guest(memory=MEMORY, timeout=60, **start) as guest:
        guest.wait_ready()
        prompt = time.monotonic() - began
        first = guest.seconds_to_first_byte or 0.0
    return Boot(first, prompt)


def instructions(elf: Path) -> tuple[int, int]:
    """(from the CPU's reset to kmain, from kmain to the prompt), in guest instructions."""
    with Guest(kernel=elf, memory=MEMORY, cpu="qemu64,+rdrand", icount=0, timeout=60) as guest:
        ready = guest.channel.wait_event("ready")
    return ready["kmain_tsc"], ready["prompt_tsc"] - ready["kmain_tsc"]


def verdict(value: float, goal: float) -> str:
    """Whether the goal is reached, for the table's last column."""
    return "reached" if value <= goal else "[bold red]missed[/]"


def main() -> int:
    """Prints the table. 0: the budget of instructions is kept, 1: it is not, 3: nothing could be measured."""
    parser = argparse.ArgumentParser(prog="boot_bench.py", description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="boots of each kind (default: %(default)s)")
    parser.add_argument("--build", type=Path, default=Path("build/release"), metavar="DIR")
    given = parser.parse_args()
    if given.runs < 1:
        parser.error("--runs must be at least 1")
    elf, iso = given.build / "coronel.elf", given.build / "coronel.iso"

    table = Table(title=f"Boot at {MEMORY}, {given.runs} runs each", title_justify="left")
    for column in ("", "fastest", "median", "first byte", "goal", ""):
        table.add_column(column, justify="right" if column else "left")
    try:
        for name, start in (("PVH", {"kernel": elf}), ("GRUB", {"iso": iso})):
            boots = [boot_once(**start) for _ in range(given.runs)]
            prompts = [boot.prompt for boot in boots]
            fastest, goal = min(prompts), GOAL_SECONDS[name]
            table.add_row(
                f"QEMU's start to the prompt, {name}",
                f"{fastest:.3f} s",
                f"{statistics.median(prompts):.3f} s",
                f"{min(boot.first_byte for boot in boots):.3f} s",
                f"{goal} s",
                verdict(fastest, goal),
            )
        before, spent = instructions(elf)
    except CoronelError as error:
        print(f"boot_bench: {error.summary}", file=sys.stderr)
        return 3
    goal_text = f"{GOAL_INSTRUCTIONS:,}"
    table.add_row(
        "instructions, kmain to the prompt",
        f"{spent:,}",
        "",
        "",
        goal_text,
        verdict(spent, GOAL_INSTRUCTIONS),
    )
    table.add_row("instructions before kmain (firmware)", f"{before:,}", "", "", "", "")
    Console(width=100 if not sys.stdout.isatty() else None).print(table)
    return 0 if spent <= GOAL_INSTRUCTIONS else 1


if __name__ == "__main__":
    sys.exit(main())
