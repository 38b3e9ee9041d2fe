"""The unit tests inside the kernel, where there is no host: all of them, and the filters that choose some."""

from __future__ import annotations

import re

import pytest

from coronel.errors import KernelPanic
from coronel.guest import Channel, Guest, Shell
from coronel.pytest_plugin import Build

pytestmark = [pytest.mark.guest(memory="256M", timeout=60), pytest.mark.needs("debug")]

NOT_FOUND, INVALID = 2, 22


@pytest.fixture
def channel(shared_guest: Guest) -> Channel:
    return shared_guest.channel


@pytest.fixture
def shell(shared_guest: Guest) -> Shell:
    return shared_guest.shell


def test_every_unit_test_passes_in_the_kernel(channel: Channel, coronel_seed: int) -> None:
    before = channel.batch(["buddyinfo", "meminfo"])
    result = channel.call("ktest", seed=coronel_seed, timeout=120)
    assert result["failures"] == []
    assert result["failed"] == 0
    assert result["passed"] > 100
    assert int(result["seed"], 16) == coronel_seed
    after = channel.batch(["buddyinfo", "meminfo"])
    assert [outcome.value for outcome in after] == [outcome.value for outcome in before], (
        "no test left memory behind"
    )


def test_people_see_each_test(shell: Shell) -> None:
    text = shell.run("ktest list")
    ran = re.findall(r"^ok     (list\.\w+)$", text, re.MULTILINE)
    assert len(ran) > 5
    assert len(set(ran)) == len(ran)
    assert re.search(rf"^passed: +{len(ran)}$", text, re.MULTILINE)
    assert "not ok" not in text


@pytest.mark.parametrize("suite", ["bitmap", "buddy", "list", "tree", "pvh", "multiboot2"])
def test_a_suite_can_be_chosen(channel: Channel, suite: str) -> None:
    result = channel.call("ktest", suite, timeout=60)
    assert result["passed"] > 0
    assert result["failed"] == 0


def test_one_test_can_be_chosen(shell: Shell, channel: Channel) -> None:
    name = re.findall(r"^ok     (tree\.\w+)$", shell.run("ktest tree"), re.MULTILINE)[0]
    assert channel.call("ktest", name)["passed"] == 1


@pytest.mark.parametrize("filter_", ["nothing", "list.nothing", "lisz", ".", "LIST", "*"])
def test_a_filter_that_fits_nothing_is_an_error(shell: Shell, channel: Channel, filter_: str) -> None:
    (outcome,) = channel.batch([f"ktest {filter_}"])
    assert (outcome.status, outcome.error) == (NOT_FOUND, f"no test matches '{filter_}'")
    assert shell.run(f"ktest {filter_}").endswith(f"ktest: no test matches '{filter_}'\n")


@pytest.mark.parametrize(
    ("line", "error"), [("ktest a b", "one FILTER at a time"), ("ktest seed=x", "seed must be")]
)
def test_bad_arguments_run_nothing(channel: Channel, line: str, error: str) -> None:
    (outcome,) = channel.batch([line])
    assert outcome.status == INVALID
    assert outcome.error.startswith(error)


def test_interrupted_by_control_c(shell: Shell) -> None:
    shell.wait_prompt()
    shell.type("ktest")
    shell.console.expect_exact("ok     ")
    shell.console.send(b"\x03")
    assert shell.wait_prompt(60).endswith("ktest: interrupted by ^C\n")


def test_the_release_kernel_says_that_it_has_none(artifact: Build) -> None:
    elf = artifact.sibling("release").elf
    with Guest(kernel=elf, memory="32M") as guest:
        (outcome,) = guest.channel.batch(["ktest"])
        assert (outcome.status, "debug profile" in outcome.error) == (NOT_FOUND, True)


def test_a_kernel_that_stops_during_the_tests_says_in_which(guest: Guest) -> None:
    guest.shell.wait_prompt()
    guest.shell.type("ktest")
    guest.shell.console.expect_exact("ok     ")
    guest.inject_nmi()
    with pytest.raises(KernelPanic) as caught:
        guest.shell.wait_prompt()
    assert caught.value.reason.startswith("NMI")
    assert "in unit test " in caught.value.report.serial or "run_ktest" in caught.value.report.serial
