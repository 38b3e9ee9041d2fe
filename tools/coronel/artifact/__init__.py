"""The kernel's ELF file as a typed object, and the promises it must keep before it is booted.

artifact = Artifact.open("build/release/coronel.elf")
artifact.build_id, artifact.symbol("kmain").address
for finding in check(artifact, Profile.release): ...
"""

from coronel.artifact.checks import Finding, Profile, check, require
from coronel.artifact.elf import Artifact, Note, Section, Segment, Symbol

__all__ = ["Artifact", "Finding", "Note", "Profile", "Section", "Segment", "Symbol", "check", "require"]
