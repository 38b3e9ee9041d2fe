"""Where the checkout is that this package belongs to and what is built in it, or where it was installed."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROFILES = ("release", "debug")
# Never taken without being asked for:
COVERAGE_PROFILE = "gcov"
GUARDED_PROFILE = "guarded"

# The host library and its headers: in the checkout, and below the PREFIX of `make install`.
LIBRARY = "libcoronel_mm.so"
HEADERS = ("mm/mm.h", "mm/host/mm_host.h")
INSTALLED_LIBRARY = f"lib/{LIBRARY}"
INSTALLED_HEADERS = tuple(f"include/coronel/{Path(name).name}" for name in HEADERS)


def in_checkout() -> bool:
    """Whether this package lies in a checkout; if not, it was installed."""
    return (ROOT / "Makefile").is_file() and (ROOT / HEADERS[0]).is_file()


def installed(name: str) -> Path | None:
    """The file of that name below the PREFIX that this package was installed to, or None."""
    if in_checkout():
        return None
    found = (folder / name for folder in Path(__file__).resolve().parents)
    return next((path for path in found if path.is_file()), None)


def built(name: str, profile: str | None = None) -> Path | None:
    """The file of that name in the build of `profile` (by default of the first that has it), or None."""
    for folder in (profile,) if profile else PROFILES:
        path = ROOT / "build" / folder / name
        if path.is_file():
            return path
    return None


def system_path(path: str) -> Path:
    """Where a file of a Debian package is: in .tools, if the set-up unpacked it there, else in the system."""
    unpacked = ROOT / ".tools" / "root" / path.lstrip("/")
    return unpacked if unpacked.exists() and uses_unpacked_tools() else Path(path)


def uses_unpacked_tools() -> bool:
    """Whether programs of .tools (tools/rootless.sh) count; ROOTLESS=0 says no."""
    return os.environ.get("ROOTLESS") != "0" and (ROOT / ".tools" / "bin").is_dir()


def find_unpacked_tools() -> None:
    """Lets this process find the programs of .tools; make has done so for its own."""
    folder = str(ROOT / ".tools" / "bin")
    path = os.environ.get("PATH", os.defpath)
    if uses_unpacked_tools() and folder not in path.split(os.pathsep):
        os.environ["PATH"] = folder + os.pathsep + path


def add_build_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of every command that takes a build: --profile and --build."""
    parser.add_argument(
        "--profile",
        choices=(*PROFILES, GUARDED_PROFILE, COVERAGE_PROFILE),
        default=PROFILES[0],
        help="which build (default: %(default)s)",
    )
    parser.add_argument("--build", type=Path, default=Path("build"), metavar="DIR", help="where builds are")
