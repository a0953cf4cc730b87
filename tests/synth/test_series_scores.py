"""Scores of series: worlds whose numbers are known, and generators that lose what a score is about."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tomli_w
from typer.testing import CliRunner

from synth.related_evidence import gather_related, judge_related
from synth.related_tables import admit_tables
from synth.relations import related_to
from synth.scores.series import compared, describe_series, differences, parts_of
from synth.series import Grid, grid_of
from synth.thresholds import Thresholds
from tests.synth.tiny_related import HOURS, ICU, icu
from tests.synth.worlds import standing

SERIES = ICU.tables[1]
RUNNER = CliRunner()


def numbers(grid):
    return compared(parts_of(grid), np.ones(len(grid.lengths)))


def world(number=400, seed=1, between=10.0, follow=1.0):
    """Pulse about a patient's level and rising; pressure follows the pulse, or falls."""
    rng = np.random.default_rng(seed)
    shape = (number, HOURS)
    pulse = 85 + between * rng.normal(size=(number, 1)) + 2 * np.arange(HOURS) + rng.normal(size=shape)
    pressure = 80 + follow * (pulse - 92)
    cells = np.stack([pulse, pressure, *(np.full(shape, np.nan) for _ in range(3))], axis=-1)
    return Grid(SERIES, cells, np.full(number, HOURS))


def test_a_cohort_has_no_difference_from_itself():
    found = differences(numbers(world()), numbers(world()))
    assert {name: value for name, value in found.items() if "within" not in name and "ratio" not in name} == {
        name: 0.0 for name in found if "within" not in name and "ratio" not in name
    }
    assert found["variance between patients, median ratio"] == 1
    assert found["trend correlations, pairs within .1"] == 1


def test_a_generator_that_forgets_who_a_patient_is_shows_in_the_variance_between_patients():
    ratio = differences(numbers(world(between=2.0)), numbers(world()))["variance between patients, median ratio"]
    assert ratio == pytest.approx(0.04, rel=0.3)


def test_lines_that_fall_instead_of_rise_turn_trend_and_cycle_correlations_round():
    found = differences(numbers(world(follow=-1.0)), numbers(world()))
    for name in ("correlations of hours", "trend correlations", "cycle correlations"):
        assert found[name] == pytest.approx(2.0, abs=0.05)


def test_hours_in_another_order_keep_values_and_lose_persistence():
    grid = world(between=0.0)
    order = np.random.default_rng(3).permuted(np.tile(np.arange(HOURS), (400, 1)), axis=1)
    shuffled = replace(grid, cells=np.take_along_axis(grid.cells, order[:, :, None], axis=1))
    found = differences(numbers(shuffled), numbers(grid))
    assert found["means, in standard deviations"] == pytest.approx(0, abs=1e-9)
    assert found["autocorrelation after 1"] > 0.5


def test_trends_are_those_of_numpy():
    tables = icu(150)
    grid = grid_of(admit_tables(tables, ICU), SERIES)
    signs = []
    for cells in grid.cells:
        usable = ~np.isnan(cells[:, :2])
        if (usable.sum(axis=0) < 3).any():
            continue
        slopes = [np.polyfit(np.flatnonzero(usable[:, f]), cells[usable[:, f], f], 1)[0] for f in (0, 1)]
        signs.append(np.sign(slopes[0] * slopes[1]))
    assert len(signs) >= 100
    assert numbers(grid).numbers["trend correlations"][0, 1] == pytest.approx(np.mean(signs), abs=0.02)


def test_every_number_comes_with_an_interval_and_the_holdout():
    found = describe_series(world(), world(seed=2), world(seed=3), np.random.default_rng(0))
    assert all(score.low <= score.value <= score.high for score in found.values())
    assert found["lengths"].value == 0
    assert found["variance between patients, mean deviation"].baseline < 0.3


def test_what_too_few_patients_are_behind_is_not_compared():
    found = describe_series(world(50), world(50, seed=2), world(50, seed=3), np.random.default_rng(0))
    assert found["trend correlations"].value is None
    assert "fewer than 100" in found["trend correlations"].reason
    assert found["correlations of hours"].value < 0.2


def test_an_hour_at_which_nobody_was_measured_is_left_out_of_the_attacks():
    cohorts = [icu(60, seed=seed) for seed in (1, 2, 3)]
    cohorts[1] = {name: rows.assign(id=rows["id"] + 5000) for name, rows in cohorts[1].items()}
    measured = "lactate"
    cohorts[0]["hours"].loc[cohorts[0]["hours"]["hour"] == pd.Timedelta(hours=1), measured] = np.nan
    hours = gather_related(*cohorts, ICU).hours["hours"]
    assert f"{measured} at 1" not in hours.spec.names
    assert f"{measured} at 0" in hours.spec.names


def test_copied_stays_are_caught_and_other_patients_are_not_accused():
    training, holdout = icu(150, seed=1), icu(150, seed=2)
    holdout = {name: rows.assign(id=rows["id"] + 5000) for name, rows in holdout.items()}
    limits = Thresholds(waived=("disclosure", "utility", "fairness"), disclosure_attacks=50, disclosure_repetitions=1)
    verdicts = []
    for cohort in (training, icu(150, seed=3)):
        judgement = judge_related(
            gather_related(training, holdout, cohort, ICU), standing(150), limits, np.random.default_rng(0)
        )
        verdicts.append({check.name: check.verdict for check in judgement.checks})
    assert verdicts[0]["copies"] == verdicts[0]["copies, hours by hour"] == "fail"
    assert verdicts[1]["copies, hours by hour"] == "pass"


def write_cohort(folder, seed, shift):
    folder.mkdir()
    for table, rows in icu(120, seed=seed).items():
        rows.assign(id=rows["id"] + shift).to_parquet(folder / f"{table}.parquet")


def test_a_plan_of_two_tables_is_checked_and_fitted(tmp_path):
    from synth.commands import app

    write_cohort(tmp_path / "training", 1, 0)
    (tmp_path / "spec.toml").write_text(tomli_w.dumps(related_to(ICU)))
    (tmp_path / "plan.toml").write_text(
        '[table]\npath = "training"\n[spec]\npath = "spec.toml"\n[generator]\nname = "autoregressive"\nrows = 60\n'
        "seed = 1\nepochs = 2\nhidden = 16\n[privacy]\nepsilon = inf\n"
    )
    checked = RUNNER.invoke(app, ["check", str(tmp_path / "spec.toml"), str(tmp_path / "training")])
    assert checked.output.startswith("no contradiction\nfingerprint ")
    done = RUNNER.invoke(app, ["fit", str(tmp_path / "plan.toml"), "--out", str(tmp_path / "made")])
    assert done.exit_code == 0, done.output
    assert "60 patients by autoregressive" in done.output
    names = sorted(path.name for path in (tmp_path / "made").iterdir())
    assert names == ["cohort-record.json", "hours.parquet", "patients.parquet"]
    assert json.loads((tmp_path / "made/cohort-record.json").read_text())["rows"] == 60


@pytest.mark.slow
def test_a_cohort_of_two_tables_is_scored_from_its_folder(tmp_path):
    import typer

    from gate.cohort_commands import score

    for name, seed, shift in (("training", 1, 0), ("holdout", 2, 5000), ("made", 3, 9000)):
        write_cohort(tmp_path / name, seed, shift)
    (tmp_path / "spec.toml").write_text(tomli_w.dumps(related_to(ICU)))
    scoring = typer.Typer()
    scoring.command()(score)
    (tmp_path / "site.toml").write_text("disclosure-attacks = 20\ndisclosure-repetitions = 1\n")
    words = [
        tmp_path / "training",
        tmp_path / "made",
        "--holdout",
        tmp_path / "holdout",
        "--spec",
        tmp_path / "spec.toml",
    ]
    words += ["--thresholds", tmp_path / "site.toml", "--output", tmp_path / "record.json"]
    scored = RUNNER.invoke(scoring, [str(word) for word in words])
    assert scored.exit_code in {1, 3}, scored.output
    assert "hours: variance between patients, median ratio" in scored.output
    record = json.loads((tmp_path / "record.json").read_text())
    assert "hours: trend correlations" in record["fidelity"]
    assert "membership, hours by hour" in {check["family"] for check in record["checks"]}
