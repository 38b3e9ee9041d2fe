"""The command `coronel`: one module for each subcommand, and one place that turns errors into exit statuses.

    0  it worked                              2  an argument makes no sense
    1  the guest, or what was tested, failed  3  the environment lacks something
    4  a deadline passed                      130  Ctrl-C

Every module in this package is a command. It has `register(subparsers)`, imports at its top only what is
cheap, and sets `run` to a function that takes the parsed arguments and returns the exit status.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence

from coronel import __version__
from coronel.checkout import find_unpacked_tools
from coronel.errors import CoronelError

COMMANDS = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))
INTERRUPTED = 130


def parser_for(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser that `arguments` need: one command's module when they begin with its name, or all."""
    parser = argparse.ArgumentParser(prog="coronel", description="Boot Coronel, look into it, and test it.")
    parser.add_argument("--version", action="version", version=f"coronel {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    named = arguments[0] if arguments else ""
    for command in [named] if named in COMMANDS else COMMANDS:
        importlib.import_module(f"coronel.cli.{command}").register(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status and lets no expected error become a traceback."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    find_unpacked_tools()
    try:
        given = parser_for(words).parse_args(words)
        return int(given.run(given))
    except SystemExit as error:  # argparse: --help, --version, or a wrong argument
        return error.code if isinstance(error.code, int) else 2
    except CoronelError as error:
        # Usage and environment: one line. A guest: all it left, for nobody can ask it again.
        text = str(error) if error.exit_status in (1, 4) else error.summary
        print(f"coronel: {text}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("coronel: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
