"""The Makefile: what is rebuilt and what is not, options, refusals. On a tree of five small sources."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {
    "mm/base/config.hpp": '#pragma once\n#include "config_values.h"\n',
    "mm/base/a.hpp": "int a();\n",
    "mm/base/a.cpp": '#include "mm/base/a.hpp"\n#include "mm/base/config.hpp"\n'
    "int a() { return CONFIG_max_cpus; }\n",
    "mm/base/b.cpp": "int b();\nint b() { return 2; }\n",
    "tests/unit/host_main.cpp": '#include <cstdio>\n#include "mm/base/a.hpp"\n'
    'int main() { std::printf("%d\\n", a()); }\n',
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("Makefile", "mm/base/config.def", "tools/coronel/build/config.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for name, text in SOURCES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    # The set-up has its own tests; here it says that it was called.
    (tmp_path / "tools/bootstrap.sh").write_text("echo setup $* >>setup.log\n", encoding="utf-8")
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").symlink_to(sys.executable)
    return tmp_path


def ask_make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make, without what the make that runs these tests tells its children: its flags, its jobs."""
    foreign = ("MAKE", "MFLAGS", "ROOTLESS")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def make(tree: Path, *arguments: str, code: int = 0) -> list[str]:
    """Run make; return the sources it compiled and what it linked."""
    done = ask_make(tree, *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    if code:
        return (done.stdout + done.stderr).splitlines()
    return [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("  ")]


UNIT = "build/asan/unit"
_OPTION = re.search(r"max_cpus, *(\d+)", (ROOT / "mm/base/config.def").read_text(encoding="utf-8"))
assert _OPTION is not None
MAX_CPUS = _OPTION[1]  # what the program of the tree prints
ALL = {"mm/base/a.cpp", "mm/base/b.cpp", "tests/unit/host_main.cpp", UNIT}


def output(tree: Path) -> str:
    return subprocess.run([tree / UNIT], capture_output=True, text=True, check=True).stdout.strip()


def test_what_is_rebuilt(tree: Path) -> None:
    assert set(make(tree, UNIT)) == ALL
    assert make(tree, UNIT) == []
    assert output(tree) == MAX_CPUS

    os.utime(tree / "mm/base/a.hpp")
    assert set(make(tree, UNIT)) == {"mm/base/a.cpp", "tests/unit/host_main.cpp", UNIT}

    (tree / "mm/base/c.cpp").write_text("int c();\nint c() { return 3; }\n", encoding="utf-8")
    assert set(make(tree, UNIT)) == {"mm/base/c.cpp", UNIT}

    os.utime(tree / "mm/base/config.def")
    assert "mm/base/a.cpp" in make(tree, UNIT)
    assert make(tree, UNIT) == []

    (tree / "mm/base/a.hpp").rename(tree / "mm/base/z.hpp")
    for name in ("mm/base/a.cpp", "tests/unit/host_main.cpp"):
        (tree / name).write_text((tree / name).read_text().replace("a.hpp", "z.hpp"), encoding="utf-8")
    assert set(make(tree, UNIT)) == {"mm/base/a.cpp", "tests/unit/host_main.cpp", UNIT}


def test_a_changed_option_rebuilds_what_reads_it(tree: Path) -> None:
    make(tree, UNIT)
    rebuilt = make(tree, UNIT, "max_cpus=4")
    assert "mm/base/a.cpp" in rebuilt
    assert output(tree) == "4"
    assert make(tree, UNIT, "max_cpus=4") == []
    assert make(tree, UNIT, "max_cpus=4", "V=", "FUZZ_SECONDS=5") == []
    assert make(tree, "-q", UNIT, "max_cpus=4", "-o", "setup") == []
    assert make(tree, UNIT, "max_cpus=4", "debug=true") == []  # the profile's value anyway
    make(tree, UNIT)
    assert output(tree) == MAX_CPUS


def test_changed_flags_and_lost_files_are_noticed(tree: Path) -> None:
    make(tree, UNIT)
    makefile = tree / "Makefile"
    makefile.write_text(
        makefile.read_text().replace("asan_flags := $(gcc_flags) -O1", "asan_flags := -O0"), encoding="utf-8"
    )
    assert set(make(tree, UNIT)) == ALL
    assert make(tree, UNIT) == []
    (tree / "build/asan/config_values.h").unlink()
    make(tree, UNIT)
    assert (tree / "build/asan/config_values.h").exists()
    assert make(tree, UNIT) == []


@pytest.mark.parametrize(
    ("setting", "says"), [("max_cpu=4", "did you mean max_cpus?"), ("max_cpus=x", "a number from 0 to")]
)
def test_a_wrong_setting_stops_before_anything_is_compiled(tree: Path, setting: str, says: str) -> None:
    lines = make(tree, UNIT, setting, code=2)
    assert any(says in line for line in lines)
    assert not any("CXX" in line for line in lines)


def test_a_setting_that_is_hostile_to_the_shell_is_only_wrong(tree: Path) -> None:
    make(tree, UNIT, "max_cpus=$$(touch hurt)'; touch hurt; '`touch hurt`", code=2)
    assert not (tree / "hurt").exists()


def test_each_goal_asks_for_its_own_set_up(tree: Path) -> None:
    def asked(*goals: str) -> str:
        (tree / "setup.log").unlink(missing_ok=True)
        ask_make(tree, "-k", *goals)
        log = tree / "setup.log"
        return log.read_text(encoding="utf-8").strip() if log.exists() else ""

    assert asked("help") == asked("clean") == asked("doctor") == asked() == ""
    assert asked(UNIT) == "setup run"
    assert asked("setup") == "setup run"
    assert asked("format") == "setup test"
    assert asked("test_python") == asked("install") == asked("uninstall") == "setup build"
    assert asked("valgrind") == "setup valgrind"
    assert asked("components") == "setup build"
    assert asked("coverage") == "setup coverage"
    (tree / "tests/fuzz").mkdir()
    (tree / "tests/fuzz/buddy_fuzz.cpp").touch()
    assert asked("fuzz") == "setup --clang-version\nsetup fuzz"
    assert asked("build/fuzz/buddy_fuzz") == "setup --clang-version\nsetup run fuzz"


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_valgrind_ends_at_an_error(tree: Path) -> None:
    make(tree, "valgrind")
    main = tree / "tests/unit/host_main.cpp"
    leak = "int main() { int* volatile lost = new int(a()); lost = nullptr; return lost != nullptr; }"
    main.write_text(f'#include "mm/base/a.hpp"\n{leak}\n', encoding="utf-8")
    assert any("definitely lost" in line for line in make(tree, "valgrind", code=2))


def test_unpacked_tools_come_first(tree: Path) -> None:
    (tree / "tools/bootstrap.sh").write_text('echo "$ROOTLESS $PATH" >setup.log\n', encoding="utf-8")

    def seen(*arguments: str) -> str:
        make(tree, "setup", *arguments)
        return (tree / "setup.log").read_text(encoding="utf-8").strip()

    ours = f"{tree}/.tools/bin:"
    assert ours not in seen()
    assert seen("ROOTLESS=1").startswith(f"1 {ours}")
    (tree / ".tools/root").mkdir(parents=True)
    assert seen().startswith(f"1 {ours}")
    assert seen("ROOTLESS=0").startswith("0 ")
    assert ours not in seen("ROOTLESS=0")


def test_cpus_and_arguments_reach_the_command() -> None:
    def command(*words: str) -> str:
        done = ask_make(ROOT, "-n", *words, "run")
        return " ".join(done.stdout.splitlines()[-1].split()[3:])

    assert command() == "run"
    assert command("CPUS=3") == "run --cpus '3'"
    words = command("CPUS=$$(touch hurt)", "ARGS=--direct", "profile=debug")
    assert words == "run --profile debug --cpus '$(touch hurt)' --direct"


def test_help_needs_nothing_and_lists_everything(tree: Path) -> None:
    shutil.rmtree(tree / "tools")
    text = ask_make(tree).stdout
    listed = (
        "all debug release run test test_python unit components valgrind bench profile coverage image gdb"
        " analyze fuzz mutate install uninstall clean doctor help"
    )
    for target in listed.split():
        assert f"\n  {target} " in text
    assert "max_cpus" in text
    assert not (tree / "build").exists()


def test_nothing_to_do_takes_no_time(cpu_seconds: Callable[[], float]) -> None:
    """In this checkout as it is: what `make all` makes, with nothing to do, set-up included."""
    names = ("coronel.elf", "coronel.iso", "libcoronel_mm.so")
    made = [f"build/{profile}/{name}" for profile in ("release", "debug") for name in names]
    if not all((ROOT / name).exists() for name in [*made, ".venv/coronel.installed"]):
        pytest.skip("not built by make")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    times = []
    for _ in range(5):
        start = cpu_seconds()
        # -q: a phony target is never up to date, so the files are named; -o: the set-up would count as work.
        done = subprocess.run(["make", "-q", "-o", "setup", *made], cwd=ROOT, env=environment, check=False)
        if done.returncode == 1:
            pytest.skip("a source is newer than what was made of it")
        subprocess.run(["sh", "tools/bootstrap.sh", "run"], cwd=ROOT, check=True)
        times.append(cpu_seconds() - start)
    assert min(times) < 0.3
