"""Every generator against one suite: what is drawn obeys the specification, and what is private is paid for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from privacy.accounting import epsilon
from privacy.ledger import BudgetExhausted, Ledger
from privacy.noise import ReproducibleNoise
from synth.account import Account, Allowance
from synth.cohort import draw_cohort
from synth.generators import GENERATORS, make_generator
from synth.spec import Column, TableSpec, check_table
from tests.synth.tiny import CLINIC, WARD, clinic, ward

QUICK = {
    "autoregressive": {"epochs": 2, "hidden": 16},
    "dp-gan": {"steps": 12, "batch": 20},
    "gan": {"steps": 3, "batch": 20, "hidden": 16},
    "bt-gan": {"steps": 3, "batch": 20, "hidden": 16},
    "ctgan": {"epochs": 1, "batch": 20},
    "tvae": {"epochs": 1, "batch": 20},
}
PRIVATE = ("marginals", "independent", "dp-gan")
FOREIGN = ("copula", "ctgan", "tvae")
STEPS = {"marginals": 3, "independent": 1, "dp-gan": 12}
WORLDS = {"ward": (ward, WARD), "clinic": (clinic, CLINIC)}
NAMES = [pytest.param(name, marks=pytest.mark.slow if name in FOREIGN else []) for name in GENERATORS]


def generator(name, spec=WARD):
    fair = {"sensitive": spec.names[0], "outcome": spec.target or "stage"} if name == "bt-gan" else {}
    return make_generator(name, QUICK.get(name, {}) | fair)


def account(ledger, run="fit", *, epsilon=1.0, ceiling=5.0, **allowed):
    allowance = Allowance(epsilon=epsilon, delta=1e-5, ceiling=ceiling, **allowed)
    return Account(allowance, ledger, run, "agreed", ReproducibleNoise(1))


@pytest.fixture
def ledger(tmp_path):
    with Ledger.open(tmp_path / "ledger.db") as opened:
        yield opened


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", NAMES)
def test_a_cohort_obeys_its_specification_and_its_seed(name, world):
    make, spec = WORLDS[world]
    table, before = make(), make()
    fitted = generator(name, spec).fit(table, spec, rng=np.random.default_rng(1), privacy=None)
    pd.testing.assert_frame_equal(table, before)
    cohort = draw_cohort(fitted, spec, rows=70, rng=np.random.default_rng(2))
    assert len(cohort.rows) == 70
    assert list(cohort.rows.columns) == list(spec.names)
    keyless = replace(spec, key="")
    assert [c for c in check_table(cohort.rows, keyless) if "same value" not in c.problem] == []
    same = draw_cohort(fitted, spec, rows=70, rng=np.random.default_rng(2))
    pd.testing.assert_frame_equal(cohort.rows, same.rows)
    other = draw_cohort(fitted, spec, rows=70, rng=np.random.default_rng(3))
    assert not cohort.rows.equals(other.rows)


@pytest.mark.parametrize("name", NAMES)
def test_a_fit_repeats_with_its_seed_and_leaves_global_randomness_alone(name):
    np.random.seed(9)  # noqa: NPY002 - the global state is what is watched
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = (
        generator(name, CLINIC).fit(clinic(), CLINIC, rng=np.random.default_rng(4), privacy=None).sample(40, rng)
        for rng in (np.random.default_rng(5), np.random.default_rng(5))
    )
    pd.testing.assert_frame_equal(first, second)
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


@pytest.mark.parametrize("name", PRIVATE)
@pytest.mark.parametrize("world", WORLDS)
def test_a_private_fit_is_charged_whole_and_says_so(name, world, ledger):
    make, spec = WORLDS[world]
    paid = account(ledger)
    fitted = generator(name).fit(make(), spec, rng=np.random.default_rng(1), privacy=paid)
    reservation = ledger.reservation("fit")
    assert reservation.settled
    assert reservation.charged_steps == reservation.event.steps == STEPS[name]
    assert ledger.spent(delta=1e-5) == fitted.statement.epsilon <= 1.0
    assert epsilon(reservation.event, delta=1e-5) > 0.99  # the allowance is used
    cohort = draw_cohort(fitted, spec, rows=50, rng=np.random.default_rng(2))
    assert not [c for c in check_table(cohort.rows, replace(spec, key="")) if c.fatal]


@pytest.mark.parametrize("name", PRIVATE)
def test_a_fit_above_the_ceiling_is_refused_before_the_table_is_looked_at(name, ledger):
    seen = ward()[["patient"]] if name == "dp-gan" else None  # its sampling rate follows from how many there are
    with pytest.raises(BudgetExhausted):
        generator(name).fit(seen, WARD, rng=np.random.default_rng(1), privacy=account(ledger, ceiling=0.5))
    assert ledger.entries() == []


@pytest.mark.parametrize("name", PRIVATE)
def test_a_table_that_is_refused_costs_nothing(name, ledger):
    with pytest.raises(ValueError, match="column 'sex': is not in the table"):
        generator(name).fit(ward().drop(columns="sex"), WARD, rng=np.random.default_rng(1), privacy=account(ledger))
    assert ledger.spent(delta=1e-5, include_reserved=True) == 0


def test_a_run_is_never_fitted_twice(ledger):
    for _ in range(2):
        fit = generator("independent").fit
        if ledger.entries():
            with pytest.raises(ValueError, match="stands in the ledger already"):
                fit(ward(), WARD, rng=np.random.default_rng(1), privacy=account(ledger))
        else:
            fit(ward(), WARD, rng=np.random.default_rng(1), privacy=account(ledger))


@pytest.mark.parametrize("name", [name for name in GENERATORS if name not in PRIVATE])
def test_a_generator_without_privacy_refuses_to_be_private(name, ledger):
    with pytest.raises(ValueError, match="no differential privacy"):
        generator(name).fit(ward(), WARD, rng=np.random.default_rng(1), privacy=account(ledger))
    assert bool(generator(name).licence) == (name in FOREIGN)


@pytest.mark.parametrize("name", GENERATORS)
def test_an_unconfirmed_specification_is_refused(name):
    with pytest.raises(ValueError, match="not confirmed"):
        generator(name, CLINIC).fit(
            clinic(), replace(CLINIC, confirmed=False), rng=np.random.default_rng(1), privacy=None
        )


def test_marginals_keep_what_two_columns_do_together_and_independent_columns_lose_it():
    rank = {"I": 0, "II": 1, "III": 2, "IV": 3}
    together = {}
    for name in ("marginals", "independent"):
        fitted = generator(name, CLINIC).fit(clinic(200), CLINIC, rng=np.random.default_rng(1), privacy=None)
        rows = fitted.sample(2000, np.random.default_rng(2))
        together[name] = rows["stage"].map(rank).corr(rows["score"])
    assert together["marginals"] > 0.9
    assert abs(together["independent"]) < 0.1


def test_a_single_column_is_fitted_in_one_release(ledger):
    spec = TableSpec((Column("score", "real", low=-1.25, high=1.25, decimals=2),), confirmed=True)
    fitted = generator("marginals").fit(clinic(), spec, rng=np.random.default_rng(1), privacy=account(ledger))
    assert ledger.reservation("fit").event.steps == 1
    assert fitted.sample(5, np.random.default_rng(2))["score"].between(-1.25, 1.25).all()


@pytest.mark.parametrize(
    ("name", "settings", "problem"),
    [
        ("vae", {}, "there is no generator 'vae'"),
        ("marginals", {"bin": 3}, "no setting 'bin'"),
        ("marginals", {"bins": 3.5}, "bins must be of the kind of its default"),
        ("ctgan", {"batch": 7}, "multiple of 10"),
        ("dp-gan", {"steps": 0}, "steps must be >= 1"),
        ("dp-gan", {"clip-norm": 0.0}, "clip-norm must be > 0"),
    ],
)
def test_a_wrong_generator_or_setting_is_named(name, settings, problem):
    with pytest.raises(ValueError, match=problem):
        make_generator(name, settings)
