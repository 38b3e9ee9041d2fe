"""Which lines the tests reach, in the host library and in the kernel: run by `make coverage`.

The host's part is the unit tests and the tests of the library from Python; the kernel's is the boot tests, of
which each guest's counters are read from its RAM. Reports: build/coverage/host and build/coverage/kernel.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from coronel.artifact import Artifact
from coronel.build.coverage_plugin import SUFFIX
from coronel.build.gcov import Counters
from coronel.checkout import COVERAGE_PROFILE, ROOT
from coronel.errors import CoronelError, SetupError

BUILD = ROOT / "build" / COVERAGE_PROFILE
REPORTS = ROOT / "build" / "coverage"
LIBRARY_TESTS = ("tests/host/test_host_machine.py", "tests/host/test_mm_wrapper.py")
DEADLINE = 600  # seconds for a boot test: nothing is optimised, and every branch counts
FOLDERS = {"host": ("mm/", "boot/"), "kernel": ("mm/", "boot/", "kernel/")}


def main(arguments: Sequence[str]) -> int:
    """Entry point for make: 1 when a test fails, after the reports."""
    parser = argparse.ArgumentParser(prog="coverage", description=__doc__)
    parser.add_argument("--gcov", default="gcov", metavar="PROGRAM", help="of the compiler's version")
    parser.add_argument("--jobs", default="1")
    parser.add_argument("pytest", nargs="*", help="arguments for the boot tests")
    given = parser.parse_args(arguments)
    try:
        forget(BUILD)
        passed = [run_host(), run_kernel(given.jobs, given.pytest)]
        for name in FOLDERS:
            report(name, given.gcov)
    except CoronelError as error:
        print(f"coverage: {error}", file=sys.stderr)
        return error.exit_status
    return 0 if all(passed) else 1


def forget(build: Path) -> None:
    """Removes what earlier runs counted."""
    for path in [*build.rglob("*.gcda"), *build.glob(f"*{SUFFIX}")]:
        path.unlink()


def run_host() -> bool:
    """The unit tests, then the library's from Python. Not in processes of pytest-xdist, whose end forgets to
    save the counters.
    """
    print("coverage: the unit tests and the library's tests on the host", flush=True)
    unit = subprocess.run([BUILD / "unit"], stdout=subprocess.DEVNULL, check=False)
    return unit.returncode == 0 and _pytest(*LIBRARY_TESTS, library=BUILD / "libcoronel_mm.so")


def run_kernel(jobs: str, arguments: Sequence[str]) -> bool:
    """The boot tests; each guest's counters are written as gcov wants them."""
    print("coverage: the boot tests", flush=True)
    passed = _pytest(
        "tests/boot",
        *["-n", jobs, "-p", "coronel.build.coverage_plugin", "--coronel-profile", BUILD.name],
        *[f"--timeout={DEADLINE}", *arguments],
        library=ROOT / "build" / "debug" / "libcoronel_mm.so",
    )
    counters = Counters(Artifact.open(BUILD / "coronel.elf"))
    for path in BUILD.glob(f"*{SUFFIX}"):
        counters.load(path)
    counters.write()
    return passed


def _pytest(*arguments: str, library: Path) -> bool:
    command = [sys.executable, "-m", "pytest", "-r", "f", *arguments]
    environment = os.environ | {"CORONEL_MM_LIBRARY": str(library)}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


def report(name: str, gcov: str) -> None:
    """One table by file on standard output, pages in build/coverage/NAME/index.html."""
    gcovr = Path(sys.executable).parent / "gcovr"
    if not gcovr.exists():
        raise SetupError("gcovr is not there: `make coverage` installs it")
    pages = REPORTS / name
    shutil.rmtree(pages, ignore_errors=True)
    pages.mkdir(parents=True)
    command = [str(gcovr), "--root", str(ROOT), "--gcov-executable", gcov, "--exclude-throw-branches"]
    command += [word for folder in FOLDERS[name] for word in ("--filter", folder)]
    # A guest that was stopped has counted the way into a branch and not yet the way out: what gcov concludes
    # of the other way is then -1.
    command += ["--gcov-ignore-parse-errors", "negative_hits.warn_once_per_file"]
    command += ["--txt", "-", "--txt-summary", "--html-details", str(pages / "index.html")]
    print(f"\ncoverage: {name}, {pages.relative_to(ROOT)}/index.html", flush=True)
    done = subprocess.run([*command, str(BUILD / name)], cwd=ROOT, check=False)
    if done.returncode:
        raise SetupError(f"gcovr failed with {done.returncode}; is {gcov} the compiler's?")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
