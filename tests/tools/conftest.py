"""Machines that do not exist, for tests of the set-up: a PATH of stubs, a root and a checkout of their own.

Every stub writes its command line to a log, so a test sees what was run and what was not.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

ROOT = Path(__file__).resolve().parents[2]
UTILITIES = (
    "sh cat cmp cp env getconf grep head ls mkdir mv printf rm rmdir sed tail tar tr true uname chmod ln"
    " dirname"
)
RUN_TOOLS = [
    "qemu-system-x86_64",
    "grub-mkrescue",
    "xorriso",
    "mformat",
    "g++",
    "ld",
    "objdump",
    "setarch",
    "make",
]
INSTALL_RUN = (
    "apt-get update && env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends"
    " qemu-system-x86 grub-common grub-pc-bin xorriso mtools g++ binutils util-linux make"
    " python3 python3-venv ca-certificates"
)
DEBIAN_12 = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n'

# A python3 that says it is $FAKE_VERSION, makes virtual environments of itself, and is pip as well.
PYTHON = """#!/bin/sh
echo "python $*" >>"$LOG"
case "$*" in
  *'sys.version_info < (3, 11)'*) echo 3.11.2; exit "${FAKE_PYTHON_OLD:-0}" ;;
  *ensurepip*) exit "${FAKE_NO_ENSUREPIP:-0}" ;;
  '-m venv .venv')
    mkdir -p .venv/bin .venv/lib/python3.11/site-packages/numpy
    : >.venv/pyvenv.cfg; : >.venv/bin/pip; : >.venv/bin/ruff; ln -s "$SELF" .venv/bin/python ;;
  '-m venv --without-pip .venv')
    mkdir -p .venv/bin; : >.venv/pyvenv.cfg; ln -s "$SELF" .venv/bin/python ;;
  *'.whl/pip install'*) : >.venv/bin/pip ;;
  *realpath*) echo "$SELF" ;;
  *'-r .venv/coronel.rows'*) echo "rows $(tr '\\n' ' ' <.venv/coronel.rows)" >>"$LOG"
    printf '%s\\n' "${FAKE_PIP_SAYS:-}" >&2; exit "${FAKE_PIP:-0}" ;;
  -V) echo 'Python 3.9.2' ;;
esac
"""
# What it installs goes to the machine's root; what it only downloads is an archive that our dpkg-deb reads.
APT_GET = """#!/bin/sh
echo "apt-get $*" >>"$LOG"
case $1 in
  update) exit "${FAKE_APT_UPDATE:-0}" ;;
  autoclean) exit 0 ;;
esac
[ -z "${FAKE_APT_USELESS:-}" ] || exit 0
[ -z "${APT_CONFIG:-}" ] || archives=$(sed -n 's/^Dir::Cache::archives "\\(.*\\)";$/\\1/p' "$APT_CONFIG")
put() { mkdir -p "$tree/$1"; : >"$tree/$1/$2"; }
# Makes the files of a package: under the machine's root, or in an archive that nobody installs.
for package; do
  tree=$STUBS/tree; rm -rf "$tree"; mkdir -p "$tree/usr/bin"
  names=''
  case $package in
    qemu-system-x86) names=qemu-system-x86_64 ;; grub-common) names=grub-mkrescue ;; mtools) names=mformat ;;
    binutils) names='ld objdump' ;; util-linux) names=setarch ;; python3) names=python3 ;;
    grub-pc-bin) put usr/lib/grub/i386-pc modinfo.sh ;;
    grub-efi-amd64-bin) put usr/lib/grub/x86_64-efi modinfo.sh ;;
    ovmf) put usr/share/OVMF OVMF_CODE_4M.fd ;;
    ca-certificates) mkdir -p "$tree/etc/ssl/certs" "$tree/usr/share/ca-certificates/mozilla"
      echo x >"$tree/usr/share/ca-certificates/mozilla/One.crt"
      [ -n "${archives:-}" ] || echo x >"$tree/etc/ssl/certs/ca-certificates.crt" ;;
    python3-pip-whl) mkdir -p "$tree/usr/share/python-wheels"; : >"$tree/usr/share/python-wheels/pip-1.whl" ;;
    xorriso | g++ | gdb | make | valgrind) names=$package ;;
    install | -*) continue ;;
  esac
  for name in $names; do
    case $name in python3) stub=python3 ;; *) stub=tool ;; esac
    cp "$STUBS/$stub" "$tree/usr/bin/$name"
  done
  if [ -n "${archives:-}" ]; then
    tar -c -C "$tree" . >"$archives/${package}_1_amd64.deb"
  else
    for name in $names; do cp "$tree/usr/bin/$name" "$BIN"; done
    rm -rf "$tree/usr/bin"; cp -r "$tree/." "$CORONEL_SYSROOT"
  fi
done
"""
DPKG_DEB = """#!/bin/sh
echo "dpkg-deb ${2##*/}" >>"$LOG"
case $2 in *"/${FAKE_KILL_AT:-none}_"*) head -c 600 "$2"; kill -9 "$PPID"; exit 1 ;; esac
exec cat "$2"
"""
SUDO = """#!/bin/sh
echo "sudo $*" >>"$LOG"
case $1 in -n) shift; [ -n "${FAKE_SUDO_FREE:-}" ] || exit 1 ;; esac
exec "$@"
"""
UV = """#!/bin/sh
echo "uv $*" >>"$LOG"
[ -z "${FAKE_UV_BROKEN:-}" ] || exit 1
case $1 in venv) exec "$BIN/python3" -m venv .venv ;; esac
"""


@dataclass
class Machine:
    """A pretended computer with a checkout of the project."""

    RUN_TOOLS: ClassVar = RUN_TOOLS
    INSTALL_RUN: ClassVar = INSTALL_RUN
    DEBIAN_12: ClassVar = DEBIAN_12
    SUDO: ClassVar = SUDO
    UV: ClassVar = UV
    checkout: Path
    sysroot: Path
    bin: Path
    stubs: Path
    log: Path
    environment: dict[str, str]

    def install(self, *names: str, text: str = '#!/bin/sh\necho "tool version 1.2.3"\n') -> None:
        for name in names:
            self.bin.joinpath(name).write_text(text, encoding="utf-8")
            self.bin.joinpath(name).chmod(0o755)

    def be_root(self, root: bool) -> None:
        self.install("id", text=f"#!/bin/sh\necho {0 if root else 1000}\n")

    def complete(self) -> None:
        """Give it everything but .venv."""
        self.install(*RUN_TOOLS)
        shutil.copy(self.stubs / "python3", self.bin / "python3")
        for name in ("usr/lib/grub/i386-pc/modinfo.sh", "etc/ssl/certs/ca-certificates.crt"):
            path = self.sysroot / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x", encoding="utf-8")

    def run(self, *goals: str, script: str = "bootstrap.sh", **environment: str) -> Run:
        self.log.write_text("", encoding="utf-8")
        done = subprocess.run(
            ["sh", f"tools/{script}", *goals],
            cwd=self.checkout,
            env=self.environment | environment,
            input="for the kernel's console",
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.stdout == "" or script != "bootstrap.sh", "standard output belongs to make's target"
        return Run(
            done.returncode, done.stdout + done.stderr, self.log.read_text(encoding="utf-8").splitlines()
        )


@dataclass
class Run:
    """What one call of the set-up did."""

    code: int
    text: str
    calls: Sequence[str]

    def called(self, start: str) -> list[str]:
        return [call for call in self.calls if call.startswith(start)]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A bare Debian 12 with root, without python3."""
    made = {name: tmp_path / name for name in ("checkout", "sysroot", "bin", "stubs")}
    for path in made.values():
        path.mkdir()
    (made["checkout"] / "tools").mkdir()
    for name in (
        "bootstrap.sh",
        "rootless.sh",
        "doctor.sh",
        "setup_needs.sh",
        "requirements.lock",
        "pyproject.toml",
    ):
        shutil.copy(ROOT / "tools" / name, made["checkout"] / "tools")
    for name in UTILITIES.split():
        found = shutil.which(name)
        assert found, name
        (made["bin"] / name).symlink_to(found)
    log = tmp_path / "log"
    environment = {
        "PATH": str(made["bin"]),
        "CORONEL_SYSROOT": str(made["sysroot"]),
        "LOG": str(log),
        "BIN": str(made["bin"]),
        "STUBS": str(made["stubs"]),
        "SELF": str(made["bin"] / "python3"),
    }
    computer = Machine(made["checkout"], made["sysroot"], made["bin"], made["stubs"], log, environment)
    for name, text in (("python3", PYTHON), ("tool", '#!/bin/sh\necho "tool version 1.2.3"\n')):
        (made["stubs"] / name).write_text(text, encoding="utf-8")
        (made["stubs"] / name).chmod(0o755)
    computer.install("apt-get", text=APT_GET)
    computer.install("dpkg-deb", text=DPKG_DEB)
    computer.be_root(True)
    (made["sysroot"] / "etc").mkdir()
    (made["sysroot"] / "etc/os-release").write_text(DEBIAN_12, encoding="utf-8")
    return computer


@pytest.fixture
def cpu_seconds() -> Callable[[], float]:
    """What finished child processes took of the CPU so far, which does not grow with a loaded machine."""

    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    return spent
