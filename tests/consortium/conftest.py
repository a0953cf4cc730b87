"""The consortium that the tests of this folder share, and the application with which they disturb it."""

import pytest

from clients import cohort
from clients.hospital import locate
from study.defaults import build, read_changes
from tests.consortium.mischief import approve_mischief
from tests.sites import HOSPITALS, STUDY, sites

__all__ = ["sites"]  # a fixture


@pytest.fixture(scope="package")
def approved_mischief(sites):
    study = build(read_changes(None, STUDY))
    for name in HOSPITALS:  # so that a test may count on quick answers
        cohort.embed(study, locate(study, {"data": str(sites.hospital(name).data)}))
    return approve_mischief(sites)


@pytest.fixture
def mischief(approved_mischief):
    yield approved_mischief
    approved_mischief.release()
