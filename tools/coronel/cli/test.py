"""`coronel test`: pytest with Coronel's plugin. All arguments go to pytest as they are."""

from __future__ import annotations

import argparse


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "test",
        help="run tests with a booted kernel at hand",
        description=__doc__,
        add_help=False,
        prefix_chars="\0",
    )
    parser.add_argument(
        "rest", nargs="*", metavar="PYTEST-ARGUMENT", help="for example -k name, -n 2, --pdb, a path"
    )
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """pytest's exit status; 2 when nothing was selected or an argument was wrong."""
    import pytest  # noqa: PLC0415

    arguments = list(given.rest)
    plugins = _plugins(arguments)
    status = int(pytest.main([*plugins, *arguments]))
    wrong = (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED)
    return 2 if status in wrong else status


def _plugins(arguments: list[str]) -> list[str]:
    """`-p` for the plugin unless the installed package has announced it already."""
    from importlib.metadata import entry_points  # noqa: PLC0415

    announced = any(entry.value == "coronel.pytest_plugin" for entry in entry_points(group="pytest11"))
    return [] if announced or "no:coronel" in arguments else ["-p", "coronel.pytest_plugin"]
