"""The consortium that the tests of this folder share, and the application with which they disturb it."""

import pytest

from tests.consortium.mischief import approve_mischief
from tests.sites import sites

__all__ = ["sites"]  # a fixture


@pytest.fixture(scope="session")
def approved_mischief(sites):
    return approve_mischief(sites)


@pytest.fixture
def mischief(approved_mischief):
    yield approved_mischief
    approved_mischief.release()
