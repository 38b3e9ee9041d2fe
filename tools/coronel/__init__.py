"""Coronel's laboratory: boots the kernel, drives it, and reads its whole memory state as typed objects."""

__version__ = "0.1.0"
