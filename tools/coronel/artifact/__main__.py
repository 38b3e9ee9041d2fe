"""`python -m coronel.artifact FILE --profile P`: what the build runs after the last link."""

import argparse
import sys

from coronel.artifact import Artifact, Profile, require
from coronel.errors import ArtifactError


def main() -> int:
    """Exit 0 when the file keeps its promises; else 1, with a line for each that it breaks."""
    parser = argparse.ArgumentParser(prog="coronel.artifact", description="Checks the kernel's ELF file.")
    parser.add_argument("elf")
    parser.add_argument("--profile", type=Profile, choices=list(Profile), default=Profile.release)
    given = parser.parse_args()
    try:
        require(Artifact.open(given.elf), given.profile)
    except ArtifactError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
