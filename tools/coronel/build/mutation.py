"""Known defects, and a copy of the tree in which each is built and its test run.

The copy has its own build folder, begun from the original's, so a defect costs the compilation of what it
touches. Nothing outside build/mutate is written.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from coronel.errors import UsageError

_FIELDS = {"name", "file", "old", "new", "test"}
_KINDS = ("unit", "tsan", "pytest")
_NOT_COPIED = shutil.ignore_patterns("__pycache__", ".*_cache", "*.egg-info")
_BUILDS = ("asan", "tsan", "release", "debug", "guarded")
BUILD_LIMIT = 600.0


@dataclass(frozen=True)
class Mutation:
    """One defect: in `file` the text `old` becomes `new`, and `test` (KIND:WHAT) must fail."""

    name: str
    file: str
    old: str
    new: str
    test: str

    @property
    def kind(self) -> str:
        """Return which runner the test has: unit, tsan or pytest."""
        return self.test.partition(":")[0]

    @property
    def what(self) -> str:
        """Return the filter of the unit tests, or pytest's node."""
        return self.test.partition(":")[2]


@dataclass(frozen=True)
class Verdict:
    """What became of a defect. `reason` says why it was not noticed; neither flag: it could not be tried."""

    noticed: bool
    survived: bool
    build_seconds: float = 0.0
    test_seconds: float = 0.0
    reason: str = ""


class NotTriedError(Exception):
    """The defect, or the tree without it, cannot be judged; the text says why."""


def load(root: Path) -> list[Mutation]:
    """Return the mutations of tests/mutations/*.toml. Raises UsageError for one that is malformed."""
    found: list[Mutation] = []
    for path in sorted((root / "tests" / "mutations").glob("*.toml")):
        where = path.relative_to(root)
        try:
            rows = tomllib.loads(path.read_text(encoding="utf-8")).get("mutation", [])
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"{where}: {error}") from None
        found += [parse(row, f"{where}, mutation {number}") for number, row in enumerate(rows, 1)]
    names = [mutation.name for mutation in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"tests/mutations: the name {twice[0]} is used twice")
    if not found:
        raise UsageError("tests/mutations has no mutation")
    return found


def parse(row: Mapping[str, object], where: str) -> Mutation:
    """Return one row as a Mutation. Raises UsageError."""
    if set(row) != _FIELDS or not all(isinstance(value, str) for value in row.values()):
        raise UsageError(f"{where}: needs exactly the texts {', '.join(sorted(_FIELDS))}")
    mutation = Mutation(**{name: str(value) for name, value in row.items()})
    if mutation.kind not in _KINDS or not mutation.what:
        raise UsageError(f"{where}: test is KIND:WHAT, KIND one of {', '.join(_KINDS)}")
    if mutation.old == mutation.new:
        raise UsageError(f"{where}: old and new are the same")
    return mutation


def mutated(text: str, mutation: Mutation) -> str:
    """Return `text` with the defect. Raises NotTriedError unless `old` occurs exactly once."""
    count = text.count(mutation.old)
    if count != 1:
        raise NotTriedError(f"`old` occurs {count} times, not once: {mutation.old!r}")
    return text.replace(mutation.old, mutation.new)


class Copy:
    """A copy of the tree at `root`, removed at the end. Tests that pass without a defect are judged in it."""

    def __init__(self, root: Path, *, jobs: int, limit: float) -> None:
        self.root = root
        self.path = root / "build" / "mutate"
        self._jobs = jobs
        self._limit = limit
        self._failing: dict[str, str | None] = {}  # without a defect: its output, None when it passes

    def __enter__(self) -> Copy:
        shutil.rmtree(self.path, ignore_errors=True)
        for item in sorted(self.root.iterdir()):
            if item.name in {".git", ".venv", "build"}:
                continue
            if item.is_dir():
                shutil.copytree(item, self.path / item.name, symlinks=True, ignore=_NOT_COPIED)
            else:
                self.path.mkdir(parents=True, exist_ok=True)
                shutil.copy2(item, self.path / item.name)
        for name in _BUILDS:
            if (self.root / "build" / name).is_dir():
                shutil.copytree(self.root / "build" / name, self.path / "build" / name, symlinks=True)
        (self.path / ".venv").symlink_to(self.root / ".venv")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def judge(self, mutation: Mutation) -> Verdict:
        """Apply the defect, run its test, take the defect back."""
        path = self.path / mutation.file
        try:
            if not path.is_file():
                raise NotTriedError("there is no such file")
            original = path.read_text(encoding="utf-8")
            defective = mutated(original, mutation)
            self._require_sound(mutation)
            start = time.monotonic()
            path.write_text(defective, encoding="utf-8")
            try:
                self._build(mutation)
                built = time.monotonic()
                failed, output = self._test(mutation)
            finally:
                path.write_text(original, encoding="utf-8")
        except NotTriedError as error:
            return Verdict(noticed=False, survived=False, reason=str(error))
        reason = "" if failed else f"the test passes:\n{_tail(output, 5)}"
        return Verdict(failed, not failed, built - start, time.monotonic() - built, reason)

    def _require_sound(self, mutation: Mutation) -> None:
        """Raise NotTriedError unless the test passes without the defect. Each test is asked once."""
        if mutation.test not in self._failing:
            self._build(mutation)
            failed, output = self._test(mutation)
            self._failing[mutation.test] = _tail(output, 15) if failed else None
        output_without = self._failing[mutation.test]
        if output_without is not None:
            raise NotTriedError(f"the test fails without the defect too:\n{output_without}")

    def _build(self, mutation: Mutation) -> None:
        targets = {
            "unit": ["build/asan/unit"],
            "tsan": ["build/tsan/unit"],
            "pytest": ["release", "debug", "guarded"],
        }
        # -o setup: the set-up is the original's.
        command = ["make", "-o", "setup", f"-j{self._jobs}", *targets[mutation.kind]]
        code, output = self._run(command, BUILD_LIMIT)
        if code is None:
            raise NotTriedError(f"it was not built in {BUILD_LIMIT:g} s")
        if code != 0:
            raise NotTriedError(f"it does not build:\n{_tail(output, 15)}")

    def _test(self, mutation: Mutation) -> tuple[bool, str]:
        """Return whether the test failed, and what it printed. Raises NotTriedError when it did not run."""
        if mutation.kind == "pytest":
            command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", mutation.what]
        else:
            wrapper = ["setarch", platform.machine(), "-R"] if mutation.kind == "tsan" else []
            folder = "tsan" if mutation.kind == "tsan" else "asan"
            command = [*wrapper, f"build/{folder}/unit", mutation.what]
        code, output = self._run(command, self._limit)
        if code is None:
            return True, output  # hung: noticed, by the deadline that every test has
        # Exit 2: no such test (unit), interrupted (pytest); 3-5: pytest itself. Everything else is a failed
        # test, a sanitizer's report or a crash.
        if code == 2 or (mutation.kind == "pytest" and code > 2):
            raise NotTriedError(f"the test did not run (exit {code}):\n{_tail(output, 15)}")
        return code != 0, output

    def _run(self, command: Sequence[str], limit: float) -> tuple[int | None, str]:
        """Return the exit code (None: the time was up and it was killed with its children) and the output."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        inherited.pop("MFLAGS", None)
        process = subprocess.Popen(
            command,
            cwd=self.path,
            env=inherited | {"PYTHONPATH": str(self.path / "tools"), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            output, _ = process.communicate()
            return None, output
        except BaseException:
            os.killpg(process.pid, 9)
            process.wait()
            raise
        return process.returncode, output


def _tail(text: str, lines: int) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])
