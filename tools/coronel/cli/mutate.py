"""`coronel mutate`: applies known one-line defects to a copy of the tree; each must make its test fail.

A test that cannot fail proves nothing. tests/mutations/*.toml list the defects:

    [[mutation]]
    name = "buddy-keeps-the-larger-half"
    file = "mm/physical/buddy.cpp"
    old = "exact text, once in the file"
    new = "what replaces it"
    test = "unit:buddy"        # or tsan:SUITE[.NAME], or pytest:tests/boot/test_x.py::test_y
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from coronel.errors import UsageError


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser(
        "mutate", help="apply known defects to a copy: tests must notice", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these (default: all)")
    parser.add_argument("--list", action="store_true", help="print the names and run nothing")
    parser.add_argument("--jobs", type=int, default=2, help="of make (default: %(default)s)")
    parser.add_argument(
        "--limit", type=float, default=60.0, metavar="SECONDS", help="for each test (default: %(default)s)"
    )
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """0 when every defect was noticed; 1 when one survived or could not be tried."""
    from coronel.build.mutation import Copy, load  # noqa: PLC0415

    root = Path.cwd()
    mutations = load(root)
    unknown = sorted(set(given.names) - {mutation.name for mutation in mutations})
    if unknown:
        raise UsageError(f"there is no mutation {', '.join(unknown)}; --list shows them")
    chosen = [mutation for mutation in mutations if not given.names or mutation.name in given.names]
    if given.list:
        print("\n".join(f"{mutation.name:40} {mutation.test}" for mutation in chosen))
        return 0
    noticed = 0
    with Copy(root, jobs=given.jobs, limit=given.limit) as copy:
        for mutation in chosen:
            verdict = copy.judge(mutation)
            noticed += verdict.noticed
            word = "noticed" if verdict.noticed else "SURVIVED" if verdict.survived else "BROKEN"
            seconds = f"build {verdict.build_seconds:5.1f} s, test {verdict.test_seconds:5.1f} s"
            print(f"{word:9} {seconds}  {mutation.name:36} {mutation.test}", flush=True)
            if not verdict.noticed:
                print(f"  {mutation.file}: {verdict.reason}", file=sys.stderr, flush=True)
    print(f"{noticed} of {len(chosen)} defects were noticed")
    return 0 if noticed == len(chosen) else 1
