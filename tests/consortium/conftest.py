"""The consortium that the tests of this folder share."""

from tests.sites import sites

__all__ = ["sites"]  # a fixture
