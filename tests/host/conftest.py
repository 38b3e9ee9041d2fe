"""Fixtures of the tests that run Python over the host library."""

from __future__ import annotations

import pytest

from coronel.checkout import PROFILES
from coronel.mm.host import HostLibrary


@pytest.fixture(scope="session", params=PROFILES)
def library(request: pytest.FixtureRequest) -> HostLibrary:
    """The host library of each profile: their options differ, and so does what memory may hold."""
    return HostLibrary.open(request.param)
