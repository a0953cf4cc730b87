"""Several tables: what their specification refuses, what contradicts it, and what is drafted of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tomli_w

from synth.related_drafting import draft_related
from synth.related_tables import admit_tables, check_tables, read_tables
from synth.relations import RelatedSpec, read_any, read_related, related_to
from synth.series import grid_of, table_of
from synth.spec import SpecError
from synth.summaries import flat_spec, flattened, summarised, summary_spec
from tests.synth.tiny_related import HOURS, ICU, OFFICE, icu, office

SERIES = ICU.tables[1]


def lines(tables, spec=ICU):
    return [f"{name}: {each}" for name, each in check_tables(tables, spec)]


@pytest.mark.parametrize("spec", [ICU, OFFICE])
def test_a_specification_of_several_tables_survives_its_file(spec, tmp_path):
    (tmp_path / "spec.toml").write_text(tomli_w.dumps(related_to(spec)))
    assert read_related(tmp_path / "spec.toml") == spec
    assert read_any(tmp_path / "spec.toml") == spec


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"every": -1.0}, "every must be above 0"),
        ({"order": ""}, "beside order"),
        ({"most_rows": HOURS + 1}, "spans 7"),
        ({"every": 0.5}, "span 3.5"),
    ],
)
def test_a_grid_that_does_not_fit_its_own_bounds_is_refused(changes, problem):
    with pytest.raises(SpecError, match=problem):
        replace(SERIES, **changes)


def test_what_takes_one_series_refuses_other_tables():
    with pytest.raises(SpecError, match="health-gym takes patients and one series"):
        OFFICE.one_series("health-gym")


@pytest.mark.parametrize(("make", "spec"), [(icu, ICU), (office, OFFICE)])
def test_tables_as_specified_say_nothing(make, spec):
    assert lines(make(), spec) == []


@pytest.mark.parametrize(
    ("table", "change", "line"),
    [
        ("patients", lambda t: t.assign(id=t["id"].where(t.index > 1, 1000)), "1 rows name a patient who has one"),
        ("hours", lambda t: t.assign(id=t["id"].where(t.index > 2, 7)), "3 rows belong to no patient"),
        ("hours", lambda t: t.assign(hour=t["hour"] + pd.Timedelta(minutes=30)), "at no time of the grid: every 1"),
        ("hours", lambda t: pd.concat([t, t.head(2)], ignore_index=True), "2 rows stand at a time their patient"),
        ("hours", lambda t: t[t["id"] > 1003].reset_index(drop=True), "4 patients have no row in the series"),
        ("hours", lambda t: t.drop(columns="pulse"), "column 'pulse': is not in the table"),
        ("hours", lambda t: t.assign(device="'tube'"), "a category but for quotes"),
    ],
)
def test_each_contradiction_is_one_line_and_ends_a_fit(table, change, line):
    tables = icu()
    tables[table] = change(tables[table])
    assert any(line in each for each in lines(tables)), lines(tables)
    with pytest.raises(ValueError, match="contradicts its specification"):
        admit_tables(tables, ICU)


def test_what_lies_beyond_the_horizon_or_the_public_number_is_counted_and_left_out():
    tables = icu()
    shorter = replace(
        SERIES,
        most_rows=4,
        spec=replace(SERIES.spec, columns=(replace(SERIES.spec.columns[0], high=3), *SERIES.spec.columns[1:])),
    )
    spec = RelatedSpec((ICU.patients, shorter))
    beyond = int((tables["hours"]["hour"] > pd.Timedelta(hours=3)).sum())
    assert lines(tables, spec) == [f"hours: column 'hour': {beyond} rows lie beyond the horizon and are left out"]
    assert len(admit_tables(tables, spec).tables["hours"]) == len(tables["hours"]) - beyond
    few = RelatedSpec((OFFICE.patients, replace(OFFICE.tables[1], most_rows=1)))
    admitted = admit_tables(office(), few)
    first = office()["visits"].groupby("id")["day"].min()
    assert admitted.tables["visits"]["day"].dt.strftime("%Y-%m-%d").tolist() == first.sort_index().tolist()


def test_a_series_is_a_grid_and_back_whatever_the_order_of_its_rows():
    tables = icu()
    admitted = admit_tables(tables, ICU)
    grid = grid_of(admitted, SERIES)
    assert grid.cells.shape == (60, HOURS, 5)
    assert np.isnan(grid.cells[~grid.alive]).all()
    again = table_of(grid, admitted.patients.index.to_numpy() + 1000)
    assert check_tables({"patients": tables["patients"], "hours": again}, ICU) == ()
    pd.testing.assert_frame_equal(again.drop(columns="id"), admitted.tables["hours"])


def test_summaries_are_what_hand_calculation_says():
    tables = {
        "patients": icu()["patients"].head(12),
        "hours": pd.DataFrame(
            {
                "id": np.repeat(np.arange(1000, 1012), 3),
                "hour": [0, 1, 2] * 12,
                "pulse": [80.0, 90.0, 100.0] * 12,
                "pressure": [None, 70.0, None] * 12,
                "lactate": [1.0] * 3 + [None] * 33,
                "device": ["none", "none", "tube"] * 12,
                "awake": ["true", None, "false"] * 12,
            }
        ),
    }
    admitted = admit_tables(tables, ICU)
    row = summarised(admitted, tables).iloc[3]
    expected = {"pulse, mean": 90, "pulse, min": 80, "pulse, max": 100, "pulse, first": 80, "pulse, last": 100}
    expected |= {"pressure, times": 1, "pressure, mean": 70, "lactate, times": 0, "device, last": "tube"}
    expected |= {"awake, first": True, "awake, last": False, "awake, times": 2}
    assert {name: row[f"hours: {name}"] for name in expected} == expected
    assert np.isnan(row["hours: lactate, mean"])
    assert row["hours: rows"] == 3
    assert list(summarised(admitted, tables).columns) == ["id", *summary_spec(ICU).names]
    flat = flattened(admitted, SERIES)
    assert list(flat.columns) == list(flat_spec(SERIES).names)
    assert flat["pulse at 2"].eq(100).all()
    assert flat["pulse at 3"].isna().all()


@pytest.mark.parametrize(("make", "spec"), [(icu, ICU), (office, OFFICE)])
def test_a_draft_finds_the_key_and_the_grid_and_fits_its_own_tables(make, spec, tmp_path):
    tables = make()
    for name, table in tables.items():
        table.to_parquet(tmp_path / f"{name}.parquet")
    (tmp_path / "draft.toml").write_text(draft_related(tmp_path))
    drafted = read_related(tmp_path / "draft.toml")
    assert not drafted.confirmed
    assert drafted.patients.name == "patients"
    assert drafted.key == "id"
    assert drafted.tables[1].most_rows == spec.tables[1].most_rows
    assert [each for _, each in check_tables(read_tables(tmp_path, drafted), drafted) if each.fatal] == []


def test_tables_that_are_not_there_are_named(tmp_path):
    with pytest.raises(OSError, match="no folder"):
        read_tables(tmp_path / "none", ICU)
    icu()["patients"].to_parquet(tmp_path / "patients.parquet")
    with pytest.raises(OSError, match=r"no hours\.parquet"):
        read_tables(tmp_path, ICU)
    icu()["patients"].to_csv(tmp_path / "patients.csv", index=False)
    with pytest.raises(ValueError, match="keep one"):
        read_tables(tmp_path, ICU)
