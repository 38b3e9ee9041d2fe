"""The fuzz driver, with programs that only look like libFuzzer's."""

from pathlib import Path

import pytest

from coronel.build import fuzz


def program(folder: Path, text: str) -> Path:
    path = folder / "one_fuzz"
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_a_quiet_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    quiet = program(tmp_path, 'echo "$@"; touch "$1/input"; echo "stat::number_of_executed_units: 1234"')
    outcome = fuzz.fuzz(quiet, 1)
    assert (outcome.executions, outcome.corpus, outcome.failed) == (1234, 1, False)
    assert "-max_total_time=1" in outcome.log.read_text(encoding="utf-8")
    rows = [fuzz.Coverage("boot/pvh.cpp", 200, 190)]
    assert "95.0 % of  200 lines  boot/pvh.cpp" in fuzz.report(outcome, rows)


@pytest.mark.parametrize("text", ["echo 'stat::number_of_executed_units: 5'; exit 77", "true"])
def test_a_finding_and_a_run_of_nothing_both_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = fuzz.fuzz(program(tmp_path, f"echo AddressSanitizer; {text}"), 1)
    assert outcome.failed
    assert "AddressSanitizer" in fuzz.report(outcome, [])


def test_a_program_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fuzz, "GRACE_SECONDS", 0.2)
    assert fuzz.fuzz(program(tmp_path, "exec sleep 60"), 0).failed


def test_seeds_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests/fuzz/seeds/one_fuzz").mkdir(parents=True)
    outcome = fuzz.fuzz(program(tmp_path, 'echo "$@"'), 1)
    assert "tests/fuzz/seeds/one_fuzz" in outcome.log.read_text(encoding="utf-8")


def test_coverage_counts_own_sources_only(tmp_path: Path) -> None:
    def entry(name: str, count: int, covered: int) -> dict[str, object]:
        return {"filename": name, "summary": {"lines": {"count": count, "covered": covered}}}

    files = [
        entry(f"{tmp_path}/mm/base/range.hpp", 10, 5),
        entry(f"{tmp_path}/mm/base/list.hpp", 10, 0),
        entry(f"{tmp_path}/tests/fuzz/pvh_fuzz.cpp", 9, 9),
        entry("/usr/include/c++/12/array", 9, 9),
    ]
    rows = fuzz.summary({"data": [{"files": files}]}, tmp_path)
    assert [(row.file, row.percent) for row in rows] == [("mm/base/range.hpp", 50.0)]


def test_without_programs_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["--seconds", "1", "--llvm", "16"]) == 2
    assert "there is no tests/fuzz" in capsys.readouterr().err
