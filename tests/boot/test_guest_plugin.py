"""The pytest plugin as a user meets it: inner pytest sessions with real guests."""

from __future__ import annotations

from pathlib import Path

import pytest

from coronel.pytest_plugin import Build


@pytest.fixture
def session(pytester: pytest.Pytester, artifact: Build, pytestconfig: pytest.Config) -> pytest.Pytester:
    folder = artifact.elf.parents[1]
    pytester.makeini(
        "[pytest]\naddopts = --strict-markers"
        f" --coronel-build={folder} --coronel-profile={artifact.profile}\n"
    )
    return pytester


def run(session: pytest.Pytester, body: str, *words: str) -> pytest.RunResult:
    session.makepyfile(body)
    return session.runpytest_subprocess("-p", "no:cacheprovider", *words, timeout=100)


def test_a_failure_shows_what_the_guest_left(session: pytest.Pytester) -> None:
    result = run(
        session,
        """
        def test_it(guest, shell):
            shell.run("uptime")
            assert 1 == 2
        """,
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*guest: serial console*",
            "*coronel> uptime*",
            "*guest: registers*",
            "*RIP=*",
            "*guest: counters*",
            "frames_free * *",
            "*guest: threads*",
            "* thread * name",
            "0 shell",
            "* kernel::shell::run+0x*",
            "1 idle 0",
            "* run_thread+0x*",
            "*to repeat by hand*",
        ]
    )
    result.stdout.fnmatch_lines(["*qemu-system-x86_64*mon:stdio*"])


def test_a_panic_that_nobody_expected_fails_the_test(session: pytest.Pytester) -> None:
    result = run(
        session,
        """
        def test_it(guest, shell):
            guest.wait_ready()
            shell.type("panic")
            import time
            time.sleep(1)
        """,
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*KernelPanic: the kernel panicked: *",
            "*guest: serial console*",
            "*end of panic*",
            "*guest: counters*",
            "frames_free * *",
            "*guest: threads*",
            "* shell",
        ]
    )


def test_a_panic_that_was_expected_does_not(session: pytest.Pytester) -> None:
    result = run(
        session,
        """
        import pytest
        from coronel.errors import KernelPanic
        def test_it(guest, channel):
            with pytest.raises(KernelPanic):
                channel.call("panic")
        """,
    )
    result.assert_outcomes(passed=1)


def test_a_shared_guest_is_one_guest(session: pytest.Pytester) -> None:
    result = run(
        session,
        """
        import pytest
        pytestmark = pytest.mark.guest(memory="32M")
        pids = set()
        @pytest.mark.parametrize("n", range(3))
        def test_it(shared_guest, n):
            shared_guest.wait_ready()
            pids.add(shared_guest.pid)
            assert len(pids) == 1 and shared_guest.options.memory == "32M"
        """,
    )
    result.assert_outcomes(passed=3)


def test_the_seed_is_printed_and_the_same_for_every_worker(session: pytest.Pytester) -> None:
    body = """
        import pytest
        @pytest.mark.parametrize("n", range(4))
        def test_it(coronel_seed, n, guest):
            guest.wait_ready()
            print("seed", coronel_seed)
            assert coronel_seed == 4711
        """
    result = run(session, body, "--coronel-seed=4711")
    result.stdout.fnmatch_lines(["coronel: seed 4711, profile *, QEMU emulator version *"])
    result.assert_outcomes(passed=4)
    run(session, body, "--coronel-seed=4711", "-n2").assert_outcomes(passed=4)
    drawn = run(session, body.replace("== 4711", "is None"), "-n2")
    drawn.assert_outcomes(failed=4)
    seeds = {line for line in drawn.outlines if line.startswith("seed ")}
    assert len(seeds) == 1, "drawn once, by the controller"
    assert f"coronel: {seeds.pop()}," in drawn.stdout.str()


@pytest.mark.parametrize(
    ("marker", "text"),
    [
        ('memory="abc"', "memory 'abc' is not a size"),
        ("memroy=1", "memroy"),
        ('boot="floppy"', "pvh and iso"),
    ],
)
def test_a_wrong_marker_is_told(session: pytest.Pytester, marker: str, text: str) -> None:
    result = run(
        session,
        f"""
        import pytest
        @pytest.mark.guest({marker})
        def test_it(guest):
            pass
        """,
    )
    result.assert_outcomes(errors=1)
    assert text in result.stdout.str()


def test_no_kernel_says_how_to_build_one(session: pytest.Pytester, tmp_path: Path) -> None:
    result = run(session, "def test_it(guest): pass", f"--coronel-build={tmp_path}")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*there is no such file*make*"])


def test_a_test_that_hangs_is_ended_by_its_timeout(session: pytest.Pytester) -> None:
    result = run(
        session,
        """
        def test_it(guest):
            guest.wait_ready()
            guest.wait(lambda: None, "nothing", 100)
        """,
        "--timeout=3",
        "--timeout-method=signal",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*Timeout*3.0s*", "*guest: serial console*"])


def test_needs_reads_the_built_kernel(session: pytest.Pytester, artifact: Build) -> None:
    result = run(
        session,
        """
        import pytest
        @pytest.mark.needs("debug")
        def test_debug(): pass
        @pytest.mark.needs("max_cpus")
        def test_number(): pass
        @pytest.mark.needs("no_such_option")
        def test_unknown(): pass
        """,
    )
    if artifact.options["debug"]:
        result.assert_outcomes(passed=2, errors=1)
    else:
        result.assert_outcomes(passed=1, skipped=1, errors=1)
    result.stdout.fnmatch_lines(["*needs('no_such_option'): config.def has no such option*"])
