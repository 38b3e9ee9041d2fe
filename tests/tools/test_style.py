"""What decides about form is run here, so that a run of the tests is all there is to run."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
CXX_SUFFIXES = {".cpp", ".hpp", ".h"}
SOURCE_FOLDERS = ("boot", "kernel", "mm", "user", "tests", "bench")


def sources(suffixes: set[str]) -> list[Path]:
    found = (path for folder in SOURCE_FOLDERS for path in (ROOT / folder).rglob("*"))
    return sorted(path for path in found if path.suffix in suffixes)


def run(*command: str | Path) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]


def test_ruff_finds_nothing() -> None:
    run(BIN / "ruff", "check", "--no-cache", "--output-format", "concise", ".")


def test_ruff_would_format_nothing() -> None:
    run(BIN / "ruff", "format", "--no-cache", "--check", ".")


@pytest.mark.timeout(300)
def test_mypy_finds_nothing() -> None:
    run(BIN / "mypy", "--config-file", "tools/pyproject.toml", "tools", "tests")


def test_clang_format_would_change_nothing() -> None:
    files = sources(CXX_SUFFIXES)
    assert len(files) > 20
    run(BIN / "clang-format", "--dry-run", "--Werror", *files)


@pytest.mark.parametrize(
    "path", sources({*CXX_SUFFIXES, ".S"}), ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_a_source_says_its_purpose_and_licence(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    # A .cpp may begin with its header's include: the purpose is said there.
    starts = ("// ", "/* ") if path.suffix != ".cpp" else ("// ", "#include")
    assert lines[0].startswith(starts), "the first line is one sentence of purpose"
    assert "SPDX-License-Identifier: MIT" in text
    if path.suffix == ".hpp":
        assert "#pragma once" in lines or "without #pragma once" in text
