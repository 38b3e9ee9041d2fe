"""The set-up with root, with sudo, and with neither: what it installs, says and repairs."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect
import pytest

if TYPE_CHECKING:
    from tests.tools.conftest import Machine

ROOT = Path(__file__).resolve().parents[2]


# ---- Debian packages ---------------------------------------------------------------------------------------
def test_root_is_shown_the_command_and_it_runs(machine: Machine) -> None:
    first = machine.run("run")
    assert first.code == 0, first.text
    assert f"+ {machine.INSTALL_RUN}\n" in first.text
    assert first.called("apt-get")[0] == "apt-get update"
    assert len(first.called("apt-get")) == 2
    assert (machine.checkout / ".venv/coronel.installed").exists()


def test_a_complete_set_up_says_and_starts_nothing(machine: Machine) -> None:
    machine.run("run")
    again = machine.run("run")
    assert (again.code, again.text, list(again.calls)) == (0, "", [])


def test_each_goal_gets_no_more_than_it_needs(machine: Machine) -> None:
    machine.complete()
    assert machine.run("run").called("apt-get") == []
    test = machine.run("test")
    assert test.called("apt-get install")[0].endswith("--no-install-recommends gdb grub-efi-amd64-bin ovmf")
    fuzz = machine.run("fuzz")
    assert fuzz.called("apt-get install")[0].endswith(" clang-16 clang-tidy-16 libclang-rt-16-dev llvm-16")
    assert "qemu-system-gui" not in fuzz.text
    assert machine.run("valgrind").called("apt-get install")[0].endswith("--no-install-recommends valgrind")
    bench = machine.run("bench").called("apt-get install")[0]
    assert bench.endswith("--no-install-recommends libmimalloc-dev libjemalloc2 libtcmalloc-minimal4")
    (machine.bin / "xorriso").unlink()
    assert machine.run("build").called("apt-get") == []


def test_debian_13_gets_clang_19(machine: Machine) -> None:
    machine.complete()
    text = machine.DEBIAN_12.replace('"12"', '"13"')
    (machine.sysroot / "etc/os-release").write_text(text, encoding="utf-8")
    assert "clang-19 clang-tidy-19 libclang-rt-19-dev llvm-19" in machine.run("analyze").text


@pytest.mark.parametrize(("tool", "package"), [("xorriso", "xorriso"), ("objdump", "binutils")])
def test_a_deleted_tool_is_noticed(machine: Machine, tool: str, package: str) -> None:
    machine.complete()
    machine.run("run")
    (machine.bin / tool).unlink()
    again = machine.run("run")
    assert f"missing: {tool}\n" in again.text
    assert again.called("apt-get install")[0].endswith(f"--no-install-recommends {package}")


def test_without_root_and_sudo_the_exact_line_is_printed(machine: Machine) -> None:
    machine.be_root(False)
    stopped = machine.run("run")
    assert stopped.code == 2
    assert f"as root, then say make again:\n  {machine.INSTALL_RUN}\n" in stopped.text
    assert "or, without root, into a folder of this checkout: make ROOTLESS=1 run\n" in stopped.text
    assert list(stopped.calls) == []


def test_sudo_without_a_terminal_runs_only_when_it_asks_nothing(machine: Machine) -> None:
    machine.be_root(False)
    machine.install("sudo", text=machine.SUDO)
    stopped = machine.run("run")
    assert stopped.code == 2
    assert f"  sudo {machine.INSTALL_RUN.replace('&& ', '&& sudo ')}\n" in stopped.text
    assert "make ROOTLESS=1 run\n" in stopped.text
    assert stopped.called("apt-get") == []
    assert machine.run("run", FAKE_SUDO_FREE="1").code == 0


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("", 0), ("n", 2), ("what", 2)])
@pytest.mark.usefixtures("pseudo_terminals")
def test_sudo_asks_on_the_terminal(machine: Machine, answer: str, code: int) -> None:
    machine.be_root(False)
    machine.install("sudo", text=machine.SUDO)
    command = "echo for-the-kernel | { sh tools/bootstrap.sh run; echo code=$?; cat; }"
    child = pexpect.spawn(
        "sh",
        ["-c", command],
        cwd=str(machine.checkout),
        env=machine.environment,
        encoding="utf-8",
        timeout=20,
        dimensions=(24, 400),
    )
    child.expect_exact("run it now? [Y/n] ")
    assert f"+ sudo {machine.INSTALL_RUN.replace('&& ', '&& sudo ')}" in (child.before or "")
    assert machine.log.exists() is False
    child.sendline(answer)
    child.expect(r"code=(\d+)")
    assert int(child.match.group(1)) == code  # type: ignore[union-attr]
    child.expect_exact("for-the-kernel")
    calls = machine.log.read_text(encoding="utf-8") if machine.log.exists() else ""
    assert ("sudo apt-get update" in calls) == (code == 0)


def test_another_distribution_is_told_the_programs(machine: Machine) -> None:
    (machine.sysroot / "etc/os-release").write_text('ID=fedora\nPRETTY_NAME="Fedora 41"\n', encoding="utf-8")
    stopped = machine.run("test")
    assert stopped.code == 2
    assert "this is Fedora 41" in stopped.text
    for name in [*machine.RUN_TOOLS, "gdb", "python3>=3.11+venv"]:
        assert f" {name}" in stopped.text.splitlines()[0]
    assert "apt-get" not in stopped.text
    assert list(stopped.calls) == []


def test_failures_of_apt_get(machine: Machine) -> None:
    failed = machine.run("run", FAKE_APT_UPDATE="100")
    assert (failed.code, len(failed.called("apt-get"))) == (3, 1)
    assert "apt-get failed" in failed.text
    useless = machine.run("run", FAKE_APT_USELESS="1")
    assert useless.code == 3
    assert "still missing after the installation: qemu-system-x86_64" in useless.text


def test_no_certificates_are_part_of_the_list(machine: Machine) -> None:
    machine.complete()
    (machine.sysroot / "etc/ssl/certs/ca-certificates.crt").unlink()
    assert machine.run("run").called("apt-get install")[0].endswith("--no-install-recommends ca-certificates")


# ---- Python ------------------------------------------------------------------------------------------------
def test_a_changed_lock_makes_venv_anew(machine: Machine) -> None:
    machine.complete()
    machine.run("run")
    with (machine.checkout / "tools/requirements.lock").open("a") as lock:
        lock.write("attrs==25.1.0\n")
    again = machine.run("run")
    assert "requirements.lock has changed" in again.text
    assert again.called("python -m venv") != []
    assert machine.run("run").calls == []


def test_a_changed_package_is_installed_alone(machine: Machine) -> None:
    machine.complete()
    machine.run("run")
    with (machine.checkout / "tools/pyproject.toml").open("a") as project:
        project.write("# changed\n")
    again = machine.run("run")
    assert [call.split()[-2:] for call in again.called("python -m pip")] == [["-e", "tools"]]
    assert again.called("python -m venv") == []
    assert machine.run("run").calls == []


def test_an_extra_comes_with_the_target_that_needs_it(machine: Machine) -> None:
    machine.complete()
    everybody = " ".join(machine.run("run").called("rows"))
    assert " pytest==" in everybody
    assert "gcovr" not in everybody
    coverage = machine.run("coverage")
    (extra,) = coverage.called("rows")
    assert " gcovr==" in extra
    assert " pytest==" not in extra
    assert coverage.called("python -m venv") == []
    assert machine.run("coverage").calls == []
    assert machine.run("run").calls == []


@pytest.mark.parametrize(
    "lost", ["bin/ruff", "lib/python3.11/site-packages/numpy", "bin/python", "coronel.installed"]
)
def test_a_damaged_venv_is_made_anew(machine: Machine, lost: str) -> None:
    machine.complete()
    machine.run("run")
    path = machine.checkout / ".venv" / lost
    path.rmdir() if path.is_dir() else path.unlink()
    assert machine.run("run").called("python -m venv") != []
    assert machine.run("run").calls == []


def test_a_moved_checkout_is_noticed(machine: Machine) -> None:
    machine.complete()
    machine.run("run")
    machine.checkout = machine.checkout.rename(machine.checkout.with_name("elsewhere"))
    assert "made for " in machine.run("run").text


def test_a_replaced_interpreter_is_noticed(machine: Machine) -> None:
    machine.complete()
    machine.run("run")
    python = machine.bin / "python3"
    python.rename(machine.bin / "python3.12")
    shutil.copy(machine.bin / "python3.12", python)
    (machine.checkout / ".venv/bin/python").unlink()
    (machine.checkout / ".venv/bin/python").symlink_to(machine.bin / "python3.12")
    assert "has gone or changed" in machine.run("run").text


def test_a_folder_that_is_no_venv_is_left_alone(machine: Machine) -> None:
    machine.complete()
    (machine.checkout / ".venv").mkdir()
    (machine.checkout / ".venv/precious").touch()
    stopped = machine.run("run")
    assert stopped.code == 2
    assert "is not a virtual environment" in stopped.text
    assert (machine.checkout / ".venv/precious").exists()


def test_an_old_python_is_named(machine: Machine) -> None:
    machine.complete()
    stopped = machine.run("run", FAKE_PYTHON_OLD="1")
    assert stopped.code == 2
    assert "Python 3.11 or later is needed; Python 3.9.2 is what there is" in stopped.text


def test_a_shim_that_leads_nowhere_does_not_hide_the_real_one(machine: Machine) -> None:
    machine.complete()
    real = machine.sysroot / "usr/bin/python3"
    real.parent.mkdir(parents=True)
    (machine.bin / "python3").rename(real)
    machine.install("python3", text="#!/bin/sh\necho 'pyenv: version not installed' >&2\nexit 127\n")
    done = machine.run("run", SELF=str(real))
    assert done.code == 0, done.text
    assert done.called("apt-get") == []


def test_debian_without_venv_gets_the_package(machine: Machine) -> None:
    machine.complete()
    done = machine.run("run", FAKE_NO_ENSUREPIP="1")
    assert done.called("apt-get install")[0].endswith(" python3 python3-venv")
    assert done.code == 3


@pytest.mark.parametrize(
    ("pip", "why"),
    [
        ("Could not fetch URL: SSLError(CERTIFICATE_VERIFY_FAILED)", "certificate is not trusted"),
        ("NewConnectionError: Temporary failure in name resolution", "cannot be reached"),
        ("(from versions: none)", "no network, no CA certificates"),
        ("No matching distribution found for mypy==2", "has not this version"),
        ("something else", "the reason is above"),
    ],
)
def test_pips_failures_are_explained(machine: Machine, pip: str, why: str) -> None:
    machine.complete()
    failed = machine.run("run", FAKE_PIP="1", FAKE_PIP_SAYS=pip)
    assert failed.code == 3
    assert why in failed.text
    assert pip in failed.text
    assert not (machine.checkout / ".venv/coronel.installed").exists()
    assert machine.run("run").code == 0


def test_uv_is_used_where_it_is_and_replaced_where_it_fails(machine: Machine) -> None:
    machine.complete()
    machine.install("uv", text=machine.UV)
    done = machine.run("run")
    assert done.code == 0, done.text
    assert done.called("uv pip install")
    assert done.called("python -m pip") == []
    shutil.rmtree(machine.checkout / ".venv")
    failed = machine.run("run", FAKE_UV_BROKEN="1")
    assert failed.code == 0, failed.text
    assert "uv did not manage it" in failed.text
    assert failed.called("python -m pip")


def test_without_uv_its_environment_is_made_anew(machine: Machine) -> None:
    machine.complete()
    machine.run("run")
    (machine.checkout / ".venv/bin/pip").unlink()
    (machine.checkout / "tools/pyproject.toml").open("a").write("# changed\n")
    recorded = machine.checkout / ".venv/coronel.installed"
    recorded.write_text(recorded.read_text().replace(".venv/bin/pip\n", ""), encoding="utf-8")
    again = machine.run("run")
    assert again.code == 0, again.text
    assert again.called("python -m venv") != []


@pytest.mark.parametrize("goals", [[], ["jump"]])
def test_wrong_use(machine: Machine, goals: list[str]) -> None:
    assert machine.run(*goals).code == 2


def test_set_up_costs_little_when_there_is_nothing_to_do(cpu_seconds: Callable[[], float]) -> None:
    if not (ROOT / ".venv/coronel.installed").exists():
        pytest.skip("this checkout's .venv was not made by tools/bootstrap.sh")
    times = []
    for _ in range(5):
        start = cpu_seconds()
        subprocess.run(["sh", "tools/bootstrap.sh", "build"], cwd=ROOT, check=True)
        times.append(cpu_seconds() - start)
    assert min(times) < 0.2
