"""`make install` and `make uninstall`: the host library, its headers and the Python package below a prefix.

    lib/libcoronel_mm.so   include/coronel/*.h   bin/coronel   lib/python3.N/...   share/coronel/installed

The last lists the others, for `uninstall`. Needs no network. What the package depends on is not installed: it
belongs to whoever owns the prefix's Python (`pip install cffi numpy ...`).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from coronel.checkout import HEADERS, INSTALLED_HEADERS, INSTALLED_LIBRARY, ROOT
from coronel.errors import CoronelError, SetupError, UsageError

MANIFEST = "share/coronel/installed"
SCRIPT = """\
#!{python}
# The command `coronel`, of the package that was installed with it.
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / {packages!r}))
from coronel.cli import main

sys.exit(main())
"""


def main(arguments: Sequence[str]) -> int:
    """Entry point for make."""
    parser = argparse.ArgumentParser(prog="install", description=__doc__)
    parser.add_argument("action", choices=("install", "uninstall"))
    parser.add_argument("--prefix", type=Path, required=True, help="where it will be used")
    parser.add_argument("--destdir", default="", help="goes before the prefix: a staging folder")
    parser.add_argument("--library", type=Path)
    given = parser.parse_args(arguments)
    try:
        if not given.prefix.is_absolute():
            raise UsageError(f"PREFIX={given.prefix} is no absolute path")
        target = Path(os.path.abspath(given.destdir + str(given.prefix)))
        removed = uninstall(target)
        if given.action == "install":
            print(f"install: {install(target, given.prefix, given.library)} files below {target}")
        else:
            print(f"uninstall: {removed} files below {target}")
    except CoronelError as error:
        print(f"install: {error}", file=sys.stderr)
        return error.exit_status
    except OSError as error:
        print(f"install: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def install(target: Path, prefix: Path, library: Path) -> int:
    """Puts everything below `target`, to be used as `prefix`; the number of files."""
    packages = packages_folder(prefix)
    files = {INSTALLED_LIBRARY: library.read_bytes()}
    for name, installed in zip(HEADERS, INSTALLED_HEADERS, strict=True):
        files[installed] = (ROOT / name).read_bytes()
    files |= {f"{packages}/{name}": data for name, data in wheel(ROOT / "tools").items()}
    python = getattr(sys, "_base_executable", sys.executable)
    files["bin/coronel"] = SCRIPT.format(python=python, packages=packages).encode()
    files[MANIFEST] = "".join(f"{name}\n" for name in sorted([*files, MANIFEST])).encode()
    for name, data in files.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # a library that runs somewhere keeps its old file
        path.write_bytes(data)
        path.chmod(0o755 if name in ("bin/coronel", INSTALLED_LIBRARY) else 0o644)
    return len(files)


def uninstall(target: Path) -> int:
    """Removes what the last `install` listed, and the folders that are empty then; the number of files."""
    manifest = target / MANIFEST
    if not manifest.exists():
        return 0
    paths = [target / name for name in manifest.read_text(encoding="utf-8").splitlines()]
    folders = {path.parent for path in paths}
    for path in paths:
        path.unlink(missing_ok=True)
    for folder in folders:
        shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    folders |= {parent for folder in folders for parent in folder.parents if target in parent.parents}
    for folder in sorted(folders, key=lambda folder: -len(folder.parts)):
        with suppress(OSError):  # something else is in it
            folder.rmdir()
    return len(paths)


def packages_folder(prefix: Path) -> str:
    """Where the Python of .venv looks for packages below `prefix`, as a path below it; or the usual one."""
    python = getattr(sys, "_base_executable", sys.executable)
    command = [python, "-IBc", "import site; print(*site.getsitepackages(), sep='\\n')"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for line in done.stdout.splitlines():
        if version in line and Path(line).is_relative_to(prefix):
            return str(Path(line).relative_to(prefix))
    return f"lib/{version}/site-packages"


def wheel(source: Path) -> dict[str, bytes]:
    """The files of the package, its description for pip and pytest among them, by name."""
    with tempfile.TemporaryDirectory(prefix="coronel-install-") as name:
        copy = Path(name) / "tools"  # setuptools writes into the folder that it reads
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
        done = subprocess.run(
            [sys.executable, "-c", build, name], cwd=copy, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SetupError(f"setuptools failed: {done.stderr.strip().splitlines()[-1]}")
        (path,) = Path(name).glob("*.whl")
        with zipfile.ZipFile(path) as archive:
            return {entry: archive.read(entry) for entry in archive.namelist()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
