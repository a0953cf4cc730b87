"""Every generator of several tables against one suite, and what is particular to each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from synth.account import Account, Allowance
from synth.cohort import draw_related
from synth.generators import RELATED, make_related
from synth.related_tables import admit_tables, check_tables
from synth.relations import RelatedSpec
from synth.scores.series import compared, parts_of
from synth.series import grid_of
from tests.synth.tiny_related import ICU, OFFICE, icu, office

QUICK = {
    "autoregressive": {"epochs": 2, "hidden": 16},
    "health-gym": {"steps": 3, "batch": 16, "hidden": 8},
    "par": {"epochs": 1},
}
FOREIGN = ("par",)
WORLDS = {"icu": (icu, ICU), "office": (office, OFFICE)}
SERVED = [
    pytest.param(name, world, marks=pytest.mark.slow if name in FOREIGN else [])
    for name in RELATED
    for world in WORLDS
    if world == "icu" or name == "autoregressive"
]


def series_fit(steps, file=None):
    generator = make_related("health-gym", QUICK["health-gym"] | {"steps": steps})
    return generator.fit_kept(icu(), ICU, rng=np.random.default_rng(1), privacy=None, file=file)


def same(one, other):
    return all(one[name].equals(other[name]) for name in one)


@pytest.mark.parametrize(("name", "world"), SERVED)
def test_a_cohort_obeys_its_specification_and_its_seed(name, world):
    make, spec = WORLDS[world]
    tables, before = make(), make()
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - the global state is what is watched
    first, again = (
        make_related(name, QUICK[name]).fit(tables, spec, rng=np.random.default_rng(1), privacy=None) for _ in range(2)
    )
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002
    for table, rows in before.items():
        pd.testing.assert_frame_equal(tables[table], rows)
    cohort = draw_related(first, spec, patients=70, rng=np.random.default_rng(2))
    assert cohort.tables[spec.patients.name][spec.key].tolist() == list(range(1, 71))
    assert [list(cohort.tables[t.name].columns) for t in spec.tables] == [
        [spec.key, *t.spec.names] for t in spec.tables
    ]
    found = check_tables(cohort.tables, spec)
    assert [each for _, each in found if "same value" not in each.problem and "is missing" not in each.problem] == []
    assert same(cohort.tables, draw_related(again, spec, patients=70, rng=np.random.default_rng(2)).tables)
    assert not same(cohort.tables, draw_related(first, spec, patients=70, rng=np.random.default_rng(3)).tables)


@pytest.mark.parametrize("name", RELATED)
def test_none_of_them_is_private_or_takes_what_is_not_confirmed(name):
    allowance = Allowance(epsilon=1.0, delta=1e-5, ceiling=2.0)
    account = Account(allowance, None, "run", "agreed", None)
    with pytest.raises(ValueError, match="no differential privacy"):
        make_related(name, {}).fit(icu(), ICU, rng=np.random.default_rng(1), privacy=account)
    table = replace(ICU.patients, spec=replace(ICU.patients.spec, confirmed=False))
    with pytest.raises(ValueError, match="not confirmed"):
        make_related(name, {}).fit(
            icu(), RelatedSpec((table, ICU.tables[1])), rng=np.random.default_rng(1), privacy=None
        )
    assert bool(make_related(name, {}).licence) == (name in FOREIGN)


def test_an_unknown_generator_of_several_tables_is_named():
    with pytest.raises(ValueError, match="no generator 'marginals' of several tables: known are autoregressive"):
        make_related("marginals", {})


def test_a_fit_that_was_interrupted_goes_on_and_ends_where_an_uninterrupted_one_does(tmp_path, monkeypatch):
    from synth.generators import series_training

    monkeypatch.setattr(series_training, "_LOOK_EVERY", 2)
    file = tmp_path / "half.pt"
    whole = series_fit(6).sample(20, np.random.default_rng(3))
    keep = series_training.write_unfinished

    def keep_and_break(path, identity, state):
        keep(path, identity, state)
        if state["step"] == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(series_training, "write_unfinished", keep_and_break)
        with pytest.raises(KeyboardInterrupt):
            series_fit(6, file)
    assert file.stat().st_mode & 0o077 == 0
    with pytest.raises(ValueError, match="unfinished training of another"):
        series_fit(8, file)
    assert same(whole, series_fit(6, file).sample(20, np.random.default_rng(3)))
    assert not file.exists()


def test_health_gym_measures_and_ends_stays_as_real_ones_whatever_it_has_learned():
    tables = icu(150)
    fit = make_related("health-gym", QUICK["health-gym"]).fit(tables, ICU, rng=np.random.default_rng(1), privacy=None)
    real, made = (admit_tables(each, ICU) for each in (tables, fit.sample(2000, np.random.default_rng(2))))
    grids = [grid_of(each, ICU.tables[1]) for each in (real, made)]
    assert abs(grids[0].lengths.mean() - grids[1].lengths.mean()) < 0.3
    numbers = [compared(parts_of(grid), np.ones(len(grid.lengths))).numbers for grid in grids]
    np.testing.assert_allclose(numbers[0]["presence"], numbers[1]["presence"], atol=0.05)
    np.testing.assert_allclose(numbers[0]["mean"][0], numbers[1]["mean"][0], atol=2)
    np.testing.assert_allclose(numbers[1]["between"][0] / numbers[0]["between"][0], 1, atol=0.2)


def test_visits_follow_from_the_patient():
    settings = {"epochs": 15, "hidden": 32, "batch": 32, "rate": 0.01, "bins": 16}
    real = office(400)
    fit = make_related("autoregressive", settings).fit(real, OFFICE, rng=np.random.default_rng(1), privacy=None)
    made = fit.sample(1000, np.random.default_rng(2))
    rates = []
    for tables in (real, made):
        people = tables["patients"]
        visits = tables["visits"].groupby("id").size().reindex(people["id"]).fillna(0).to_numpy()
        old = people["age"].to_numpy() > 60
        rates.append(visits[old].mean() - visits[~old].mean())
    assert rates[0] > 1.0
    assert abs(rates[1] - rates[0]) < 0.4
    assert made["visits"].groupby("id")["day"].apply(lambda days: days.is_monotonic_increasing).all()
