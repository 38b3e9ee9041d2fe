"""What can go wrong, as one tree: CoronelError -> {ArtifactError, ...}."""


class CoronelError(Exception):
    """Anything that this package reports; the text is one clear line."""


class ArtifactError(CoronelError):
    """The kernel's ELF file or image is missing, unreadable, damaged, or breaks a promise."""
