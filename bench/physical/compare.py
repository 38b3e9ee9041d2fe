"""Compares frame allocators: builds the benchmark in the release configuration, counts, times, tabulates.

Run from the root of the repository: `python bench/physical/compare.py`. Needs g++ and valgrind. Instructions
are exact and repeatable (callgrind, harness included), with the machine's seam: a counter costs what it costs
in the kernel. Times are the best of a few runs and only their ratios mean something.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "bench" / "physical"
FLAGS = [
    "-std=gnu++20", "-O2", "-flto=auto", "-g", "-fno-omit-frame-pointer", "-fcf-protection=none",
    "-Wall", "-Wextra", "-I", str(ROOT), "-I", str(ROOT / "kernel/arch/x86_64/seam"), "-I", str(BUILD),
]  # fmt: skip

SOURCES = [
    "bench/physical/frames_bench.cpp", "mm/physical/buddy.cpp", "mm/physical/buddy_check.cpp",
    "mm/physical/pageblock.cpp", "mm/physical/frames.cpp",
]  # fmt: skip
ROUNDS = 5  # times are the best of so many runs

Key = tuple[str, str]  # allocator, case


def build() -> Path:
    """Compile the program against this checkout's mm/ and return its path."""
    BUILD.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [sys.executable, "-IS", "tools/coronel/build/config.py", "--definitions", "mm/base/config.def",
         "--profile", "release", "--output", str(BUILD / "config_values.h")],
        cwd=ROOT, check=True,
    )  # fmt: skip
    program = BUILD / "frames_bench"
    subprocess.run(["g++", *FLAGS, "-o", str(program), *SOURCES], cwd=ROOT, check=True)
    return program


def count(program: Path, only: Sequence[str]) -> dict[Key, float]:
    """Return instructions per operation of every case, from callgrind's dumps."""
    for stale in BUILD.glob("callgrind.*"):
        stale.unlink()
    subprocess.run(
        ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--quiet",
         f"--callgrind-out-file={BUILD}/callgrind", str(program), "--count", *only],
        check=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    instructions: dict[Key, float] = {}
    for dump in sorted(BUILD.glob("callgrind.*")):
        text = dump.read_text()
        title = re.search(r"^desc: Trigger: Client Request: (.*)$", text, re.MULTILINE)
        total = re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)
        if title and total:
            allocator, case, operations = title.group(1).split("\t")
            instructions[allocator, case] = int(total.group(1)) / int(operations)
    return instructions


def time(program: Path, only: Sequence[str]) -> tuple[dict[Key, float], dict[Key, float]]:
    """Return nanoseconds per operation of every case, and the results that are no times."""
    times: dict[Key, float] = {}
    results: dict[Key, float] = {}
    for _ in range(ROUNDS):
        printed = subprocess.run(
            [str(program), "--time", *only], check=True, capture_output=True, text=True
        ).stdout
        for line in printed.splitlines():
            allocator, case, operations, value = line.split("\t")
            if int(operations) > 0:
                each = float(value) / int(operations)
                times[allocator, case] = min(each, times.get((allocator, case), each))
            else:
                results[allocator, case] = float(value)
    return times, results


def table(instructions: dict[Key, float], times: dict[Key, float], results: dict[Key, float]) -> str:
    """Return the comparison as a Markdown table: instructions, and time as a ratio to the first allocator."""
    allocators = list(dict.fromkeys(allocator for allocator, _ in [*times, *results]))
    lines = [
        "| per allocation + release: instructions (time against the first) | "
        + " | ".join(allocators)
        + " |",
        "|---|" + "--:|" * len(allocators),
    ]
    for case in dict.fromkeys(case for _, case in times):
        first = times[allocators[0], case]
        cells = [f"{instructions.get((a, case), 0):.0f} ({times[a, case] / first:.2f})" for a in allocators]
        lines.append(f"| {case} | " + " | ".join(cells) + " |")
    for case in dict.fromkeys(case for _, case in results):
        cells = [f"{results[a, case]:.2f}".rstrip("0").rstrip(".") for a in allocators]
        lines.append(f"| {case} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; 3 when a tool is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--ours", action="store_true", help="measure Coronel's allocator only")
    options = parser.parse_args(arguments)
    for tool in ("g++", "valgrind"):
        if shutil.which(tool) is None:
            print(f"compare: {tool} is not installed", file=sys.stderr)
            return 3
    os.chdir(ROOT)
    only = ["ours"] if options.ours else []
    program = build()
    instructions = count(program, only)
    print(table(instructions, *time(program, only)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
