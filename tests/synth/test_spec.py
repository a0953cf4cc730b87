"""Specifications: what they refuse, that they survive their file, and what a table can say against them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from synth.drafting import draft_spec
from synth.relations import read_related
from synth.spec import Column, Rule, SpecError, TableSpec, check_table, read_spec, write_spec
from synth.tables import read_table, typed_table
from tests.synth.tiny import CLINIC, WARD, clinic, ward

PIMA = Path(__file__).parents[3] / "shared/data/pima/diabetes.csv"


@pytest.mark.parametrize("spec", [WARD, CLINIC])
def test_a_specification_survives_its_file(spec, tmp_path):
    write_spec(spec, tmp_path / "spec.toml")
    assert read_spec(tmp_path / "spec.toml") == spec


@pytest.mark.parametrize(("make", "spec"), [(ward, WARD), (clinic, CLINIC)])
def test_a_table_that_is_as_specified_says_nothing(make, spec):
    assert [c for c in check_table(make(), spec) if c.fatal] == []


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"sex": "'F'"}, "120 cells are a category but for quotes or apostrophes"),
        ({"sex": "X"}, "120 cells are none of the 2 categories"),
        ({"sex": "a long remark of the nurse"}, "120 cells look like free text: leave the column out"),
        ({"sex": [f"v{i}" for i in range(300)]}, "300 different values in 300 rows are none of the categories"),
        ({"sex": "F"}, "every cell holds the same value, and the specification allows more"),
        ({"age": "5.5"}, "120 of 120 cells are not whole numbers"),
        ({"age": "200"}, "120 cells lie outside the public bounds"),
        ({"age": None}, "every cell is missing"),
        ({"admitted": "1.1.2020"}, "120 of 120 cells are not days written as 2020-01-31"),
        ({"diastolic": "149", "systolic": "60"}, "the rule 'diastolic' below 'systolic' is broken in 120 rows"),
        ({"sex": "M", "pregnant": "true"}, "the rule 'pregnant' is true only if 'sex' is F is broken in 120 rows"),
    ],
)
def test_each_contradiction_is_one_line_without_a_cell(change, line):
    rows = next((len(v) for v in change.values() if isinstance(v, list)), 120)
    lines = [str(c) for c in check_table(ward(rows).assign(**change), WARD)]
    assert any(line in each for each in lines), lines


def test_the_header_the_key_and_too_few_rows_are_named():
    assert str(check_table(ward().drop(columns="age"), WARD)[0]) == "column 'age': is not in the table"
    assert "the table has 2 rows" in str(check_table(ward(2), WARD)[0])
    assert "10 rows name no patient" in str(check_table(ward().assign(patient=[None] * 10 + ["1"] * 110), WARD)[0])


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"kind": "colour"}, "kind must be one of"),
        ({"kind": "categorical"}, "needs its categories"),
        ({"kind": "categorical", "categories": ("a", "a")}, "stands twice"),
        ({"kind": "integer"}, "needs its public low and high"),
        ({"kind": "integer", "low": 2, "high": 1}, "low 2 is above high 1"),
        ({"kind": "integer", "low": 0.5, "high": 1}, "more than its 0 decimals"),
        ({"kind": "real", "low": 0, "high": 1}, "decimals belong to a real column"),
        ({"kind": "boolean", "low": 0}, "neither low, high nor decimals"),
        ({"kind": "boolean", "missing_marks": ("?",)}, "missing-marks need missing = true"),
    ],
)
def test_a_column_that_says_nothing_usable_is_refused(entry, problem):
    with pytest.raises(SpecError, match=problem):
        Column("x", **entry)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"target": "weight"}, "target names 'weight'"),
        ({"key": "sex"}, "key 'sex' is also a column"),
        ({"rules": (Rule("less", "age", other="weight"),)}, "there is no column 'weight'"),
        ({"rules": (Rule("range", "sex", low=1),)}, "not a number or date"),
        ({"rules": (Rule("only-if", "pregnant", when="sex", equals=("X",)),)}, "does not have"),
    ],
)
def test_a_specification_that_contradicts_itself_is_refused(changes, problem):
    with pytest.raises(SpecError, match=problem):
        replace(WARD, **changes)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x = ", "is no TOML"),
        ("colour = 1", "unknown key 'colour'"),
        ("confirmed = 1", "confirmed must be true or false"),
        ('[[columns]]\nname = "x"\nkind = "date"\nlow = 1\nhigh = 2', "must be a day without quotes"),
        ('[[columns]]\nname = "x"\nkind = "integer"\nlow = "1"', "low must be a number"),
    ],
)
def test_a_file_that_is_no_specification_is_refused_in_one_line(text, problem, tmp_path):
    (tmp_path / "spec.toml").write_text(text)
    with pytest.raises(SpecError, match=problem):
        read_spec(tmp_path / "spec.toml")


def test_a_draft_is_unconfirmed_marked_and_fits_its_own_table(tmp_path):
    table = ward(80).assign(empty=None, note=[f"remark number {i} of this very patient" for i in range(80)])
    text = draft_spec(table)
    (tmp_path / "spec.toml").write_text(text)
    spec = read_spec(tmp_path / "spec.toml")
    assert not spec.confirmed
    assert {c.name: c.kind for c in spec.columns}["admitted"] == "date"
    assert 'column "empty" is left out: every cell is missing' in text
    assert 'column "note" is left out: free text' in text
    assert text.count("CHECK") > len(spec.columns) / 2
    assert [c for c in check_table(table, spec) if c.fatal] == []


@pytest.mark.skipif(not PIMA.is_file(), reason="needs Pima in ../shared/data")
def test_a_draft_of_pima_fits_pima(tmp_path):
    table = read_table(PIMA)
    (tmp_path / "spec.toml").write_text(draft_spec(table))
    assert check_table(table, read_spec(tmp_path / "spec.toml")) == ()


def test_the_same_cells_are_read_from_csv_and_from_parquet(tmp_path):
    typed = typed_table(ward(), WARD)
    typed.to_csv(tmp_path / "t.csv", index=False)
    typed.to_parquet(tmp_path / "t.parquet")
    for name in ("t.csv", "t.parquet"):
        pd.testing.assert_frame_equal(typed_table(read_table(tmp_path / name), WARD), typed)


def test_a_missing_cell_breaks_no_rule_and_a_range_ends_where_it_says():
    table = pd.DataFrame({"a": [1.0, 2.0, np.nan], "s": ["x", "y", "x"]})
    assert Rule("range", "a", high=1).broken(table).tolist() == [False, True, False]
    assert Rule("range", "a", high=0, when="s", equals=("x",)).broken(table).tolist() == [True, False, False]


def test_patients_with_visits_are_read_and_their_faults_named(tmp_path):
    column = '[[tables.columns]]\nname = "age"\nkind = "integer"\nlow = 0\nhigh = 120\n'
    first = f'[[tables]]\nname = "patients"\nkey = "id"\n{column}'
    visits = f'[[tables]]\nname = "visits"\nkey = "id"\norder = "age"\nmost-rows = 9\n{column}'
    file = tmp_path / "spec.toml"
    file.write_text(first + visits)
    assert [table.order for table in read_related(file).tables] == ["", "age"]
    for text, problem in (
        (visits, "first table"),
        (first + first, "stands twice"),
        (first + visits.replace('"id"', '"no"'), "same key"),
        (first + visits.replace('order = "age"', 'order = "day"'), "order must name"),
    ):
        file.write_text(text)
        with pytest.raises(SpecError, match=problem):
            read_related(file)
    with pytest.raises(SpecError, match="several tables"):
        read_spec(file)


def test_a_specification_without_columns_is_refused():
    with pytest.raises(SpecError, match="at least one column"):
        TableSpec(())
