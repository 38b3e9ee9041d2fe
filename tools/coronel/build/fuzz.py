"""Runs libFuzzer programs for a while and prints, for each, its executions and the lines its corpus covers.

A program NAME keeps its corpus in build/fuzz/corpus/NAME between runs and begins with tests/fuzz/seeds/NAME,
if that folder exists. What it finds is left as build/fuzz/findings/NAME-*, with the command that repeats it.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

GRACE_SECONDS = 60  # beyond its time, for a program to end on its own
_EXECUTIONS = re.compile(r"stat::number_of_executed_units:\s*(\d+)")


@dataclass(frozen=True)
class Outcome:
    """How one program fared."""

    name: str
    executions: int
    seconds: float
    corpus: int
    failed: bool
    log: Path


@dataclass(frozen=True)
class Coverage:
    """Lines of one source file that the corpus reaches."""

    file: str
    lines: int
    covered: int

    @property
    def percent(self) -> float:
        """Return the share of lines that are covered."""
        return 100 * self.covered / self.lines if self.lines else 100.0


def folders(program: Path) -> tuple[Path, Path | None]:
    """Return the corpus of `program`, made if need be, and its seeds if there are any."""
    corpus = program.parent / "corpus" / program.name
    corpus.mkdir(parents=True, exist_ok=True)
    seeds = Path("tests/fuzz/seeds") / program.name
    return corpus, seeds if seeds.is_dir() else None


def environment(program: Path, purpose: str) -> dict[str, str]:
    """Return the environment: where the coverage profile goes, and what the sanitizers print."""
    profile = program.parent / "profiles" / f"{program.name}.{purpose}.profraw"
    return os.environ | {
        "LLVM_PROFILE_FILE": str(profile),
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "ASAN_OPTIONS": "detect_leaks=1",
    }


def fuzz(program: Path, seconds: int) -> Outcome:
    """Run `program` for that long, from its corpus and seeds."""
    corpus, seeds = folders(program)
    findings = program.parent / "findings"
    findings.mkdir(exist_ok=True)
    log = program.with_suffix(".log")
    command = [str(program), str(corpus), *([str(seeds)] if seeds else [])]
    command += [f"-max_total_time={seconds}", "-print_final_stats=1", "-timeout=10", "-rss_limit_mb=2048"]
    command += [f"-artifact_prefix={findings}/{program.name}-"]
    start = time.monotonic()
    with log.open("wb") as output:
        try:
            code = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment(program, "fuzz"),
                timeout=seconds + GRACE_SECONDS,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            code = -1
    found = _EXECUTIONS.search(log.read_text(errors="replace"))
    executions = int(found[1]) if found else 0
    corpus_size = sum(1 for _ in corpus.iterdir())
    elapsed = time.monotonic() - start
    return Outcome(program.name, executions, elapsed, corpus_size, code != 0 or not executions, log)


def profile(program: Path) -> Path:
    """Run the corpus of `program` once more and return the raw profile of what it reached.

    Measured apart from the fuzzing, so it is repeatable and does not depend on how the fuzzer ended.
    """
    corpus, seeds = folders(program)
    subprocess.run(
        [str(program), "-runs=0", str(corpus), *([str(seeds)] if seeds else [])],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment(program, "corpus"),
        timeout=600,
        check=False,
    )
    return program.parent / "profiles" / f"{program.name}.corpus.profraw"


def coverage(programs: Sequence[Path], profiles: Sequence[Path], llvm: str) -> list[Coverage]:
    """Return what these profiles of these programs cover together, of the project's own sources."""
    existing = [str(path) for path in profiles if path.exists()]
    if not existing:
        return []
    name = programs[0].name if len(programs) == 1 else "together"
    merged = profiles[0].with_name(f"{name}.profdata")
    subprocess.run([f"llvm-profdata-{llvm}", "merge", "-sparse", *existing, "-o", str(merged)], check=True)
    first, *others = programs
    objects = [f"-object={program}" for program in others]
    exported = subprocess.run(
        [f"llvm-cov-{llvm}", "export", "-summary-only", f"-instr-profile={merged}", str(first), *objects],
        capture_output=True,
        check=True,
    )
    return summary(json.loads(exported.stdout), Path.cwd())


def summary(exported: object, root: Path) -> list[Coverage]:
    """Return the files of mm/ and boot/ of which llvm-cov's JSON reports a covered line."""
    rows = []
    for entry in exported["data"][0]["files"]:  # type: ignore[index]
        path = Path(entry["filename"])
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
        lines = entry["summary"]["lines"]
        if name.startswith(("mm/", "boot/")) and lines["covered"]:
            rows.append(Coverage(name, lines["count"], lines["covered"]))
    return sorted(rows, key=lambda row: row.file)


def table(rows: Sequence[Coverage]) -> list[str]:
    """Return a line for each file."""
    return [f"         {row.percent:5.1f} % of {row.lines:4} lines  {row.file}" for row in rows]


def report(outcome: Outcome, rows: Sequence[Coverage]) -> str:
    """Return what people read of one program."""
    rate = outcome.executions / outcome.seconds if outcome.seconds else 0
    lines = [
        f"{'FAILED' if outcome.failed else 'ok    '} {outcome.name}: {outcome.executions} executions in "
        f"{outcome.seconds:.0f} s ({rate:.0f}/s), corpus of {outcome.corpus}"
    ]
    lines += table(rows)
    if outcome.failed:
        tail = outcome.log.read_text(errors="replace").splitlines()[-40:]
        lines += [f"  its log, {outcome.log}, ends:", *(f"    {line}" for line in tail)]
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Entry point; exits 1 when a program found something, 2 when there is nothing to run."""
    parser = argparse.ArgumentParser(prog="fuzz.py", description=__doc__)
    parser.add_argument("--seconds", type=int, required=True)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--llvm", required=True, help="version of llvm-cov and llvm-profdata")
    parser.add_argument("programs", nargs="*", type=Path)
    given = parser.parse_args(arguments)
    if not given.programs:
        print("fuzz: there is no tests/fuzz/*_fuzz.cpp", file=sys.stderr)
        return 2
    failed = False

    def one(program: Path) -> tuple[Outcome, Path]:
        return fuzz(program, given.seconds), profile(program)

    profiles: list[Path] = []
    with ThreadPoolExecutor(given.jobs) as pool:
        for program, (outcome, raw) in zip(given.programs, pool.map(one, given.programs), strict=True):
            print(report(outcome, coverage([program], [raw], given.llvm)), flush=True)
            profiles.append(raw)
            failed |= outcome.failed
    print("\n".join(["together:", *table(coverage(given.programs, profiles, given.llvm))]))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
