"""Repeated releases: whose patients, what was paid together, and two harmless cohorts that harm together."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from clinical.chain import ChainBroken
from privacy.accounting import PoissonGaussian
from privacy.statement import PrivacyStatement
from synth.claims import Claim
from synth.columns import Column
from synth.evidence import gather
from synth.gate import check_releases
from synth.releases import Releases, ReleasesDamaged
from synth.standing import look_up, together, total_epsilon
from synth.tables import typed_table
from synth.thresholds import Thresholds
from tests.synth.worlds import SPEC, draw, standing

KEYED = replace(SPEC, key="id")
STATED = PrivacyStatement(
    epsilon=1.0, delta=1e-4, sampling_rate=1.0, noise_multiplier=4.0, clip_norm=1.0, steps=2, not_covered=()
)
CLAIM = Claim(STATED, run="first", plan="agreed", specification="spec", of_these_rows=True)
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def patients(rng, first, rows=200):
    return draw(rng, rows).assign(id=range(first, first + rows))


def leave(folder, training, rows, spec=KEYED, claim=CLAIM):
    """Note one release as the command does."""
    rows = typed_table(rows, replace(spec, key=""))
    with Releases.open(folder) as releases:
        releases.record(training, rows, spec, claim=claim, manifest="0" * 64, at=NOW)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "releases"


def test_a_release_is_found_again_by_any_of_its_patients_and_by_nobody_else(folder):
    rng = np.random.default_rng(0)
    training, cohort = patients(rng, 0), draw(rng)
    leave(folder, training, cohort)
    with Releases.open(folder) as releases:
        (found,) = releases.earlier(training, KEYED)
        assert found.number == 1
        assert found.event == PoissonGaussian(1.0, 4.0, 2)
        assert found.rows.equals(typed_table(cohort, SPEC))
        assert len(releases.earlier(patients(rng, 199), KEYED)) == 1
        assert releases.earlier(patients(rng, 200), KEYED) == ()


def test_the_folder_names_no_patient(folder):
    rng = np.random.default_rng(0)
    leave(folder, patients(rng, 123_456_000), draw(rng))
    assert not any(b"1234560" in path.read_bytes() for path in folder.iterdir())
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir() if path.name != "lock")


def test_without_keys_every_release_that_shares_a_column_counts(folder):
    rng = np.random.default_rng(0)
    leave(folder, draw(rng), draw(rng), spec=SPEC)
    other = replace(SPEC, columns=(Column("bmi", "real", low=0, high=90, decimals=1),))
    with Releases.open(folder) as releases:
        assert len(releases.earlier(draw(rng), SPEC)) == 1
        assert releases.earlier(draw(rng), other) == ()


def cut_log(folder):
    (folder / "releases.jsonl").write_text("")


def change_log(folder):
    path = folder / "releases.jsonl"
    path.write_text(path.read_text().replace("first", "other"))


def change_rows(folder):
    (folder / "1.parquet").write_bytes(b"")


def lose_key(folder):
    (folder / "hash.key").unlink()


@pytest.mark.parametrize("harm", [cut_log, change_log, change_rows, lose_key])
def test_a_folder_that_is_not_what_was_written_releases_nothing(folder, harm):
    rng = np.random.default_rng(0)
    leave(folder, patients(rng, 0), draw(rng))
    harm(folder)
    with pytest.raises((ReleasesDamaged, ChainBroken)), Releases.open(folder):
        pass


def test_epsilons_of_all_releases_compose_and_a_fit_counts_once(folder):
    rng = np.random.default_rng(0)
    training, holdout = patients(rng, 0), patients(rng, 200)
    leave(folder, training, draw(rng))
    leave(folder, training, draw(rng), claim=replace(CLAIM, run="second"))
    leave(folder, training, draw(rng), claim=None)

    def total(claim):
        with Releases.open(folder) as releases:
            known = look_up(training, holdout, KEYED, claim, ledger=None, releases=releases)
        return total_epsilon(known, most=3.0)

    alone = total_epsilon(standing(claim=CLAIM), most=3.0).value
    again, third = total(CLAIM), total(replace(CLAIM, run="third"))
    assert alone < again.value < third.value < 3 * alone
    assert "1 earlier releases claim nothing" in third.reason
    assert total_epsilon(standing(claim=CLAIM), most=0.1).verdict == "fail"


def released(number, rows, patients=()):
    from synth.releases import Released

    return Released(number, SPEC, typed_table(rows, SPEC), frozenset(patients), "", None)


def test_more_releases_than_the_site_allows_fail():
    rng = np.random.default_rng(0)
    evidence = gather(draw(rng), draw(rng), draw(rng), SPEC)
    known = standing(earlier=(released(1, draw(rng)),))
    for most, verdict in ((1, "fail"), (2, "pass")):
        found = check_releases(known, evidence, Thresholds(releases=most), np.random.default_rng(0))
        assert found["releases"].verdict == verdict


def test_a_copy_in_an_earlier_release_fails_the_next_one():
    rng = np.random.default_rng(0)
    training, holdout, fresh = draw(rng), draw(rng), draw(rng)
    evidence = gather(training, holdout, fresh, SPEC)
    for earlier, verdict in ((draw(rng), "pass"), (training.head(10), "fail")):
        known = standing(earlier=(released(1, earlier),))
        found = check_releases(known, evidence, Thresholds(), np.random.default_rng(0))
        assert found["all releases: verbatim rows"].verdict == verdict


def test_holdout_patients_an_earlier_release_knew_count_as_training():
    rng = np.random.default_rng(0)
    training, holdout, fresh = draw(rng), draw(rng), draw(rng)
    evidence = gather(training, holdout, fresh, SPEC)
    seen = np.arange(200) < 50
    union = together(evidence, standing(earlier=(released(1, holdout.head(10)),), seen=seen))
    assert (len(union.training), len(union.holdout), len(union.synthetic)) == (250, 150, 210)
    assert together(evidence, standing(earlier=(released(1, fresh),), seen=np.arange(200) < 190)) is None


def test_without_a_folder_of_releases_nothing_is_decided():
    rng = np.random.default_rng(0)
    evidence = gather(draw(rng), draw(rng), draw(rng), SPEC)
    found = check_releases(standing(earlier=None), evidence, Thresholds(), np.random.default_rng(0))
    assert [score.verdict for score in found.values()] == ["inconclusive"]
