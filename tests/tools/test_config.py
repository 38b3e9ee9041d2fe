"""The options: config.def, `name=value`, and the header they become."""

from pathlib import Path

import pytest

from coronel.build import config

ROOT = Path(__file__).resolve().parents[2]
DEFINITIONS = ROOT / "mm" / "base" / "config.def"
TABLE = """
// OPTION in a comment
OPTION(bool,     debug,     false, "run checks")
OPTION(unsigned, max_cpus,  8,     "size, of a table")
"""


@pytest.fixture
def options() -> dict[str, config.Option]:
    return config.parse_definitions(TABLE)


def test_the_real_table_is_readable() -> None:
    names = config.parse_definitions(DEFINITIONS.read_text(encoding="utf-8"))
    assert {"debug", "poison_frames", "max_cpus"} <= names.keys()
    assert len(names) == DEFINITIONS.read_text(encoding="utf-8").count("\nOPTION(")


def test_defaults_of_profiles(options: dict[str, config.Option]) -> None:
    assert "#define CONFIG_debug false\n" in config.header(options, "release", {})
    assert "#define CONFIG_debug true\n" in config.header(options, "debug", {})
    assert "#define CONFIG_max_cpus 8\n" in config.header(options, "debug", {})


def test_a_given_value_wins_over_the_profile(options: dict[str, config.Option]) -> None:
    values = config.parse_settings(options, ["debug=off", "max_cpus=0x10"])
    text = config.header(options, "debug", values)
    assert "#define CONFIG_debug false\n" in text
    assert "#define CONFIG_max_cpus 16\n" in text


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("max_cpu=4", "did you mean max_cpus"),
        ("zzz=1", "the options are debug, max_cpus"),
        ("max_cpus=-1", "a number from 0 to 4294967295"),
        ("max_cpus=4294967296", "a number from 0 to 4294967295"),
        ("max_cpus=", "a number"),
        ("max_cpus=four", "a number"),
        ("debug=2", "true or false"),
    ],
)
def test_a_wrong_setting_is_named(options: dict[str, config.Option], setting: str, says: str) -> None:
    with pytest.raises(config.ConfigError, match=says):
        config.parse_settings(options, [setting])


@pytest.mark.parametrize(
    "row",
    [
        'OPTION(float, x, 1, "h")',
        'OPTION(bool, x, "h")',
        'OPTION(bool, a, false, "h")\nOPTION(bool, a, true, "h")',
    ],
)
def test_a_bad_table_is_refused(row: str) -> None:
    with pytest.raises(config.ConfigError, match=r"config\.def"):
        config.parse_definitions(row)


def test_the_header_is_written_only_when_it_changes(tmp_path: Path) -> None:
    output = tmp_path / "build" / "config_values.h"
    arguments = ["--definitions", str(DEFINITIONS), "--profile", "debug", "--output", str(output)]
    assert config.main([*arguments, "max_cpus=4"]) == 0
    before = output.stat().st_mtime_ns
    assert config.main([*arguments, "max_cpus=4"]) == 0
    assert output.stat().st_mtime_ns == before
    assert config.main([*arguments, "max_cpus=5"]) == 0
    assert "max_cpus 5" in output.read_text(encoding="utf-8")


def test_a_wrong_setting_leaves_the_header_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "config_values.h"
    arguments = ["--definitions", str(DEFINITIONS), "--profile", "debug", "--output", str(output)]
    assert config.main([*arguments, "no_such=1"]) == 2
    assert not output.exists()
    assert capsys.readouterr().err.count("\n") == 1
