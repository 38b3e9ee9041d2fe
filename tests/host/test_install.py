"""`make install` into a staging folder: what lies there works by itself, and goes without a trace."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from coronel.build import install
from coronel.checkout import ROOT, installed
from coronel.mm.host import find_library

PREFIX = Path("/usr/somewhere")
USE = """
import mm_wrapper, coronel.mm.host
mm = mm_wrapper.get_kernel_mm()
assert mm.alloc_pages(2) is not None
print(mm.machine.library.path, mm_wrapper.__file__, sep="\\n")
"""


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prefix inside the staging folder."""
    staging = tmp_path_factory.mktemp("staging")
    words = ["--destdir", str(staging), "--library", str(find_library("release"))]
    assert install.main(["install", "--prefix", str(PREFIX), *words]) == 0
    return staging / PREFIX.relative_to("/")


def packages(staged: Path) -> Path:
    (found,) = staged.glob("lib/python3.*/*-packages")
    return found


def isolated(staged: Path, *arguments: str | Path, path: str) -> subprocess.CompletedProcess[str]:
    """Python with the installed package, and what the package needs; not the checkout."""
    libraries = [p for p in sys.path if p.endswith("site-packages")]
    first = f"import sys; sys.path[:0] = {[path, *libraries]!r}; import importlib; exec({USE!r})"
    return subprocess.run(
        [sys.executable, "-IS", "-c", first, *arguments],
        cwd=staged,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_installed_wrapper_uses_the_installed_library(staged: Path) -> None:
    done = isolated(staged, path=str(packages(staged)))
    assert done.returncode == 0, done.stderr
    library, wrapper = done.stdout.splitlines()
    assert Path(library) == staged / "lib/libcoronel_mm.so"
    assert Path(wrapper) == packages(staged) / "mm_wrapper.py"


def test_without_its_library_it_says_so(staged: Path) -> None:
    library = staged / "lib/libcoronel_mm.so"
    library.rename(staged / "moved")
    try:
        done = isolated(staged, path=str(packages(staged)))
    finally:
        (staged / "moved").rename(library)
    assert "SetupError" in done.stderr


def test_c_programs_find_headers_and_library(staged: Path, tmp_path: Path) -> None:
    source = tmp_path / "use.c"
    source.write_text(
        "#include <coronel/mm.h>\n#include <coronel/mm_host.h>\n"
        "int main(void) { return alloc_pages(99, GFP_KERNEL) < 0 ? 0 : 1; }\n",
        encoding="utf-8",
    )
    flags = ["-Wall", "-Werror", f"-I{staged}/include", f"-L{staged}/lib", f"-Wl,-rpath,{staged}/lib"]
    program = tmp_path / "use"
    subprocess.run(["g++", "-x", "c", source, *flags, "-lcoronel_mm", "-o", program], check=True)
    assert subprocess.run([program], check=False).returncode == 0


def test_pytest_and_pip_know_the_package(staged: Path) -> None:
    (description,) = packages(staged).glob("coronel-*.dist-info/entry_points.txt")
    assert "[pytest11]" in description.read_text(encoding="utf-8")
    assert not list(packages(staged).rglob("*.egg-info"))
    script = (staged / "bin/coronel").read_text(encoding="utf-8")
    assert str(ROOT) not in script
    shown = subprocess.run([staged / "bin/coronel", "--version"], capture_output=True, text=True, check=False)
    assert shown.stdout.startswith("coronel "), shown.stderr


def test_the_checkout_never_takes_an_installed_file() -> None:
    assert installed("README.md") is None


def test_uninstall_leaves_what_is_not_ours(tmp_path: Path) -> None:
    words = ["--prefix", "/p", "--destdir", str(tmp_path)]
    library = str(find_library("release"))
    for _ in range(2):  # the second replaces the first
        assert install.main(["install", *words, "--library", library]) == 0
    (tmp_path / "p/lib/other.so").touch()
    assert install.main(["uninstall", *words]) == 0
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "p/lib/other.so"]
    assert install.main(["uninstall", *words]) == 0


def test_a_relative_prefix_is_refused(tmp_path: Path) -> None:
    assert install.main(["install", "--prefix", "here", "--destdir", str(tmp_path)]) == 2
    assert not list(tmp_path.iterdir())
