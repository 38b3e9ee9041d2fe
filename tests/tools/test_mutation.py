"""The mutation runner, on a tree of three files and a Makefile of ten lines."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from coronel.build import mutation as mutation_module
from coronel.build.mutation import Copy, Mutation, load, parse
from coronel.errors import UsageError

MAKEFILE = """\
.PHONY: setup force
build/asan/unit: code.txt | setup
\t@mkdir -p build/asan
\t@if grep -q endless code.txt; then sleep 60; fi
\t@if grep -q broken code.txt; then echo 'no such word' >&2; exit 1; fi
\t@cp unit.sh $@; cat code.txt >>$@; chmod +x $@
setup:
\t@echo 'the copy must not set anything up' >&2; exit 1
"""
# Fails for the suite `sum` unless the code says right; `slow` hangs when it says hang; `none` is no suite.
UNIT = """\
#!/bin/sh
[ "$1" != none ] || exit 2
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "Makefile").write_text(MAKEFILE, encoding="utf-8")
    (tmp_path / "unit.sh").write_text(UNIT, encoding="utf-8")
    (tmp_path / "code.txt").write_text("case $1 in sum) true;; sore) false;; esac\n", encoding="utf-8")
    (tmp_path / "tests" / "mutations").mkdir(parents=True)
    (tmp_path / "tests" / "test_it.py").write_text(
        "from pathlib import Path\ndef test_it():\n    assert 'true' in Path('code.txt').read_text()\n",
        encoding="utf-8",
    )
    for target in ("release", "debug", "guarded"):
        with (tmp_path / "Makefile").open("a") as file:
            file.write(f"{target}: ;\n")
    (tmp_path / ".venv").mkdir()
    return tmp_path


def defect(old: str, new: str, test: str = "unit:sum", file: str = "code.txt") -> Mutation:
    return Mutation("a", file, old, new, test)


def judge(tree: Path, mutation: Mutation, limit: float = 20) -> tuple[bool, bool, str]:
    with Copy(tree, jobs=1, limit=limit) as copy:
        verdict = copy.judge(mutation)
        for name in ("code.txt", "Makefile"):
            assert (copy.path / name).read_bytes() == (tree / name).read_bytes()
    assert not (tree / "build" / "mutate").exists()
    return verdict.noticed, verdict.survived, verdict.reason


def test_a_noticed_defect(tree: Path) -> None:
    before = (tree / "code.txt").read_text(encoding="utf-8")
    assert judge(tree, defect("true", "false")) == (True, False, "")
    assert (tree / "code.txt").read_text(encoding="utf-8") == before


def test_a_surviving_defect(tree: Path) -> None:
    noticed, survived, reason = judge(tree, defect("sore", "sour"))
    assert (noticed, survived) == (False, True)
    assert "the test passes" in reason


def test_a_hanging_defect_is_noticed_by_the_deadline(tree: Path) -> None:
    assert judge(tree, defect("true", "sleep 60"), limit=1)[0]


@pytest.mark.parametrize(
    ("mutation", "says"),
    [
        (defect("true", "broken"), "it does not build"),
        (defect("absent", "x"), "occurs 0 times"),
        (defect("s", "x"), "times, not once"),
        (defect("true", "false", file="none.txt"), "no such file"),
        (defect("true", "false", test="unit:sore"), "fails without the defect too"),
        (defect("true", "false", test="unit:none"), "did not run"),
        (defect("true", "false", test="pytest:tests/none.py"), "did not run"),
    ],
)
def test_defects_that_cannot_be_tried(tree: Path, mutation: Mutation, says: str) -> None:
    noticed, survived, reason = judge(tree, mutation)
    assert (noticed, survived) == (False, False)
    assert says in reason


def test_a_build_that_takes_too_long_tries_nothing(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the program that is there, without the defect, would pass."""
    monkeypatch.setattr(mutation_module, "BUILD_LIMIT", 2.0)
    noticed, survived, reason = judge(tree, defect("true", "endless"))
    assert (noticed, survived) == (False, False)
    assert "was not built in 2 s" in reason


def test_pytest_nodes(tree: Path) -> None:
    node = "pytest:tests/test_it.py::test_it"
    assert judge(tree, defect("true", "false", test=node))[0]
    assert judge(tree, defect("sore", "sour", test=node))[1]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"name": "a"}, "needs exactly"),
        ({"name": "a", "file": "f", "old": "o", "new": "n", "test": "unit"}, "KIND:WHAT"),
        ({"name": "a", "file": "f", "old": "o", "new": "n", "test": "magic:x"}, "KIND:WHAT"),
        ({"name": "a", "file": "f", "old": "o", "new": "o", "test": "unit:x"}, "the same"),
        ({"name": "a", "file": "f", "old": "o", "new": 1, "test": "unit:x"}, "needs exactly"),
    ],
)
def test_malformed_rows(row: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse(row, "here")


def test_tables(tree: Path) -> None:
    with pytest.raises(UsageError, match="has no mutation"):
        load(tree)
    table = tree / "tests" / "mutations" / "a.toml"
    row = '[[mutation]]\nname = "a"\nfile = "f"\nold = "o"\nnew = "n"\ntest = "unit:x"\n'
    table.write_text(row, encoding="utf-8")
    assert [mutation.name for mutation in load(tree)] == ["a"]
    table.write_text(row + row, encoding="utf-8")
    with pytest.raises(UsageError, match="used twice"):
        load(tree)
    table.write_text("[[mutation]", encoding="utf-8")
    with pytest.raises(UsageError, match=r"a\.toml"):
        load(tree)


def test_the_real_table_is_well_formed() -> None:
    root = Path(__file__).resolve().parents[2]
    for mutation in load(root):
        text = (root / mutation.file).read_text(encoding="utf-8")
        assert text.count(mutation.old) == 1, f"{mutation.name}: `old` must occur once in {mutation.file}"


def test_every_test_that_is_named_exists() -> None:
    """One that was split or renamed kills nothing any more, which only a run of the whole list would tell."""
    root = Path(__file__).resolve().parents[2]
    named = [mutation.test.partition(":") for mutation in load(root)]
    nodes = sorted({what for kind, _, what in named if kind == "pytest"})
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *nodes],
        cwd=root, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    sources = "".join(path.read_text(encoding="utf-8") for path in (root / "tests").glob("*/*_test.cpp"))
    tests = {f"{suite}.{name}" for suite, name in re.findall(r"\bTEST\((\w+), (\w+)\)", sources)}
    suites = {test.partition(".")[0] for test in tests}
    units = {what for kind, _, what in named if kind != "pytest"}
    assert units - tests - suites == set()
