"""The set-up without root: packages unpacked into .tools of the checkout, and that they work from there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from coronel import checkout

if TYPE_CHECKING:
    from tests.tools.conftest import Machine, Run

SPEAKING_TOOL = '#!/bin/sh\necho "version 1.2.3 libraries=$LD_LIBRARY_PATH arguments=$*"\n'


@pytest.fixture
def user(machine: Machine) -> Machine:
    """A machine with Python and nothing else, and a user without rights."""
    machine.complete()
    for name in machine.RUN_TOOLS:
        machine.bin.joinpath(name).unlink()
    machine.sysroot.joinpath("usr/lib/grub/i386-pc/modinfo.sh").unlink()
    machine.stubs.joinpath("tool").write_text(SPEAKING_TOOL, encoding="utf-8")
    machine.be_root(False)
    return machine


def rootless(machine: Machine, *goals: str, **environment: str) -> Run:
    return machine.run(*goals or ("run",), ROOTLESS="1", **environment)


def says(machine: Machine, program: str) -> str:
    """What a program of .tools says when it is called with the argument `x`."""
    path = machine.checkout / ".tools/bin" / program
    return subprocess.run([path, "x"], capture_output=True, text=True, check=True).stdout


def test_everything_is_unpacked_and_nothing_installed(user: Machine) -> None:
    before = sorted(user.bin.iterdir()), sorted(user.sysroot.rglob("*"))
    done = rootless(user)
    assert done.code == 0, done.text
    packages = user.INSTALL_RUN.partition("recommends ")[2].partition(" python3")[0]
    assert f"--download-only {packages}, unpacked into .tools" in done.text
    assert done.called("apt-get")[-1].endswith(f"--download-only {packages}")
    assert (sorted(user.bin.iterdir()), sorted(user.sysroot.rglob("*"))) == before
    assert not list(user.checkout.glob(".tools/apt/archives/*.deb"))


def test_later_runs_start_nothing_and_use_what_is_there(user: Machine) -> None:
    rootless(user)
    again = user.run("run")  # .tools is there: the word need not be repeated
    assert (again.code, again.text, list(again.calls)) == (0, "", [])
    refused = user.run("run", ROOTLESS="0")
    assert refused.code == 2
    assert "missing: qemu-system-x86_64" in refused.text


# What `test` adds to `run`.
TEST_PACKAGES = ["gdb", "grub-efi-amd64-bin", "ovmf"]
TEST_ARCHIVES = [f"dpkg-deb {name}_1_amd64.deb" for name in TEST_PACKAGES]


def test_another_goal_adds_what_it_needs(user: Machine) -> None:
    rootless(user)
    test = rootless(user, "test")
    assert test.called("apt-get install")[0].endswith("--download-only " + " ".join(TEST_PACKAGES))
    assert test.called("dpkg-deb") == TEST_ARCHIVES
    assert rootless(user, "test").calls == []


def test_programs_are_told_where_their_parts_are(user: Machine) -> None:
    rootless(user, "test")
    root = user.checkout / ".tools/root"
    assert f"libraries={root}/usr/lib/x86_64-linux-gnu" in says(user, "xorriso")
    assert says(user, "xorriso").endswith("arguments=x\n")
    assert f"arguments=-L {root}/usr/share/qemu -L {root}/usr/share/seabios x" in says(
        user, "qemu-system-x86_64"
    )
    assert f"arguments=--sysroot={root} -Wl,-rpath," in says(user, "g++")
    assert f"arguments=--data-directory {root}/usr/share/gdb x" in says(user, "gdb")


def test_a_checkout_with_a_difficult_name(user: Machine) -> None:
    user.checkout = user.checkout.rename(user.checkout.with_name("it's a $(name)"))
    assert rootless(user).code == 0
    assert f"-L {user.checkout}/.tools/root/usr/share/qemu -L" in says(user, "qemu-system-x86_64")


def test_the_compiler_finds_the_systems_c_library(user: Machine) -> None:
    rootless(user)
    library = user.checkout / ".tools/root/usr/lib/x86_64-linux-gnu/libc.so.6"
    assert os.readlink(library) == "/usr/lib/x86_64-linux-gnu/libc.so.6"


def test_a_second_c_library_is_never_unpacked(user: Machine) -> None:
    rootless(user)
    archive = user.checkout / ".tools/apt/archives/libc6_2.99_amd64.deb"
    archive.write_bytes(b"poison")
    assert rootless(user, "test").called("dpkg-deb") == TEST_ARCHIVES


@pytest.mark.parametrize("package", ["g++", "xorriso"])
def test_a_killed_set_up_is_repaired(user: Machine, package: str) -> None:
    killed = rootless(user, FAKE_KILL_AT=package)
    assert killed.code == -9
    again = user.run("run")
    assert again.code == 0, again.text
    assert ".tools is half finished: it is made anew" in again.text
    assert user.run("run").calls == []
    assert "version 1.2.3" in says(user, package)


@pytest.mark.parametrize("lost", ["bin/xorriso", "root/usr/bin/xorriso"])
def test_a_lost_program_is_noticed(user: Machine, lost: str) -> None:
    rootless(user)
    (user.checkout / ".tools" / lost).unlink()
    again = rootless(user)
    assert again.code == 0
    assert f".tools has lost .tools/{lost}: it is made anew" in again.text
    assert "version 1.2.3" in says(user, "xorriso")


def test_another_place_or_system_is_noticed(user: Machine) -> None:
    rootless(user)
    user.checkout = user.checkout.rename(user.checkout.with_name("elsewhere"))
    assert "checkout: it is made anew" in rootless(user).text
    release = user.sysroot / "etc/os-release"
    release.write_text(user.DEBIAN_12.replace('"12"', '"13"'), encoding="utf-8")
    assert ".tools was made for debian 12 " in rootless(user).text
    assert rootless(user).calls == []


def test_without_ensurepip_pip_comes_from_its_wheel(user: Machine) -> None:
    done = rootless(user, FAKE_NO_ENSUREPIP="1")
    assert done.code == 0, done.text
    assert done.called("apt-get install")[0].endswith(" make python3-pip-whl")
    assert done.called("python -m venv") == ["python -m venv --without-pip .venv"]
    wheel = ".tools/root/usr/share/python-wheels/pip-1.whl"
    assert done.called(f"python {wheel}/pip install") != []


def test_missing_certificates_are_unpacked_and_used(user: Machine) -> None:
    user.sysroot.joinpath("etc/ssl/certs/ca-certificates.crt").unlink()
    pip = user.stubs.joinpath("python3").read_text(encoding="utf-8")
    user.install("python3", text=pip.replace('$*"', '$* certificates=${PIP_CERT:-}"', 1))
    done = rootless(user)
    assert done.code == 0, done.text
    certificates = user.checkout / ".tools/root/etc/ssl/certs/ca-certificates.crt"
    assert certificates.read_text(encoding="utf-8") == "x\n"
    assert done.called("python -m pip")[0].endswith(f"certificates={certificates}")


def test_failures_say_why(user: Machine) -> None:
    failed = rootless(user, FAKE_APT_UPDATE="100")
    assert failed.code == 3
    assert "apt-get failed" in failed.text
    useless = rootless(user, FAKE_APT_USELESS="1")
    assert useless.code == 3
    assert "still missing after the installation: qemu-system-x86_64" in useless.text
    broken = rootless(user)
    assert broken.code == 0, broken.text


def test_a_broken_archive_stops_it(user: Machine) -> None:
    user.install("dpkg-deb", text="#!/bin/sh\necho 'not a Debian archive' >&2\nexit 2\n")
    failed = rootless(user)
    assert failed.code == 3
    assert "does not unpack" in failed.text


def test_another_distribution_is_told(user: Machine) -> None:
    user.sysroot.joinpath("etc/os-release").write_text(
        'ID=fedora\nPRETTY_NAME="Fedora 41"\n', encoding="utf-8"
    )
    stopped = rootless(user)
    assert stopped.code == 2
    assert "this is Fedora 41; ROOTLESS=1 works on Debian" in stopped.text


def test_doctor_shows_what_is_used(user: Machine) -> None:
    rootless(user)
    report = user.run(script="doctor.sh")
    rows = {line.split()[0]: line.split()[1:] for line in report.text.splitlines() if line.strip()}
    assert rows["xorriso"] == ["1.2.3", f"{user.checkout}/.tools/bin/xorriso"]
    assert rows["grub-pc-bin"] == ["present", ".tools/root/usr/lib/grub/i386-pc/modinfo.sh"]
    assert "programs of .tools come first" in report.text
    assert "programs of .tools" not in user.run(script="doctor.sh", ROOTLESS="0").text


# ---- what Python makes of it -------------------------------------------------------------------------------
@pytest.fixture
def unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one program and one file in .tools."""
    monkeypatch.setattr(checkout, "ROOT", tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.delenv("ROOTLESS", raising=False)
    for name in (".tools/bin/xorriso", ".tools/root/usr/lib/grub/i386-pc"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def test_python_finds_programs_and_files(unpacked: Path) -> None:
    checkout.find_unpacked_tools()
    checkout.find_unpacked_tools()
    assert os.environ["PATH"] == f"{unpacked}/.tools/bin:/usr/bin"
    assert checkout.system_path("/usr/lib/grub/i386-pc") == unpacked / ".tools/root/usr/lib/grub/i386-pc"
    assert checkout.system_path("/usr/lib/grub/arm") == Path("/usr/lib/grub/arm")


def test_python_leaves_them_alone_when_told(unpacked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert unpacked.exists()
    monkeypatch.setenv("ROOTLESS", "0")
    checkout.find_unpacked_tools()
    assert os.environ["PATH"] == "/usr/bin"
    assert checkout.system_path("/usr/lib/grub/i386-pc") == Path("/usr/lib/grub/i386-pc")
