"""Tables that nobody wished for, over the command line: an answer, or one line that names what is wrong and no cell."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from synth.columns import Column
from synth.spec import Rule, TableSpec, write_spec
from wardround import app

ROWS = 60
PLAN = """
[table]
path = "training.csv"
[spec]
path = "spec.toml"
[generator]
name = "marginals"
rows = 40
seed = 1
[privacy]
epsilon = inf
"""
SITE = "disclosure-attacks = 30\ndisclosure-repetitions = 1\nfewest-in-group = 5\n"
NAME = 'the patient\'s "own"'
AGE = Column("age", "integer", low=0, high=120)
ILL = Column("ill", "boolean", missing=True)
TOWN = Column("town", "categorical", categories=("L'Aquila", 'the "Hague"', "Bern, or near"))


def draw(seed, rows=ROWS):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"age": rng.integers(0, 100, rows), "town": rng.choice(TOWN.categories, rows)})
    return table.assign(ill=rng.choice(["true", "false"], rows), bmi=rng.uniform(15, 40, rows).round(1))


def run(*words):
    return CliRunner().invoke(app, ["synth", *map(str, words)])


def place(folder, columns, *, change=lambda table: table, rows=ROWS, site=SITE, **spec):
    """Writes training, holdout and a cohort, changed alike, with a specification of these columns."""
    for seed, name in enumerate(("training", "holdout", "cohort")):
        change(draw(seed, rows)).to_csv(folder / f"{name}.csv", index=False)
    write_spec(TableSpec(tuple(columns), confirmed=True, **spec), folder / "spec.toml")
    (folder / "plan.toml").write_text(PLAN)
    (folder / "site.toml").write_text(site)


def score(folder, cohort="cohort.csv"):
    options = [f"--{name}={folder / file}" for name, file in OPTIONS.items()]
    return run("score", folder / "training.csv", folder / cohort, *options)


OPTIONS = {"holdout": "holdout.csv", "spec": "spec.toml", "thresholds": "site.toml"}
ASKED = {"target": "ill", "secrets": ("ill",), "quasi_identifiers": ("age", "town")}


@pytest.mark.parametrize(
    ("columns", "change"),
    [
        ((AGE, TOWN, ILL), lambda t: t.assign(ill="true")),
        ((AGE, TOWN, ILL), lambda t: t.assign(age=40, town="L'Aquila")),
        ((AGE, TOWN, ILL), lambda t: t.assign(ill=np.where(np.arange(len(t)) < 1, "true", "false"))),
    ],
    ids=["constant target", "constant columns", "one patient of a class"],
)
def test_a_table_with_nothing_to_learn_is_fitted_and_scored_without_an_error(tmp_path, columns, change):
    place(tmp_path, columns, change=change, site=SITE + 'groups = ["town"]\n', **ASKED)
    fitted = run("fit", tmp_path / "plan.toml", "--out", tmp_path / "out")
    assert fitted.exit_code == 0, fitted.exception
    done = score(tmp_path, "out/cohort.csv")
    assert done.exit_code in {1, 3}, done.exception


def test_a_column_that_is_missing_everywhere_is_named(tmp_path):
    place(tmp_path, (AGE, TOWN, ILL), change=lambda t: t.assign(ill=""), **ASKED)
    for done in (run("fit", tmp_path / "plan.toml", "--out", tmp_path / "out"), score(tmp_path)):
        assert "column 'ill': every cell is missing" in str(done.exception)


def test_quotes_apostrophes_and_commas_survive_every_command(tmp_path):
    odd = Column(NAME, "categorical", categories=TOWN.categories)

    def renamed(table):
        return table.rename(columns={"town": NAME})

    place(
        tmp_path,
        (AGE, odd, ILL),
        change=renamed,
        site=SITE + f"groups = ['''{NAME}''']\n",
        **ASKED | {"quasi_identifiers": ("age", NAME)},
    )
    assert run("spec", tmp_path / "training.csv", "--out", tmp_path / "draft.toml").exit_code == 0
    assert run("check", tmp_path / "spec.toml", tmp_path / "training.csv").exit_code == 0
    assert run("fit", tmp_path / "plan.toml", "--out", tmp_path / "out").exit_code == 0
    done = score(tmp_path, "out/cohort.parquet")
    assert done.exit_code in {1, 3}, done.exception
    assert 'the "Hague"' in done.output


def test_a_column_of_thousands_of_values_is_fitted_and_scored(tmp_path):
    codes = tuple(f"E{i}.{i % 10}" for i in range(3000))
    wide = Column("code", "categorical", categories=codes)

    def coded(table):
        return table.assign(code=np.random.default_rng(len(table)).choice(codes, len(table)))

    place(tmp_path, (AGE, wide, ILL), change=coded, target="ill", secrets=("code",), quasi_identifiers=("age", "ill"))
    assert run("fit", tmp_path / "plan.toml", "--out", tmp_path / "out").exit_code == 0
    assert score(tmp_path).exit_code in {1, 3}


def test_free_text_is_left_out_of_a_draft_and_dates_are_days(tmp_path):
    table = draw(0).assign(
        note=[f"Seen on the ward at {i} o'clock, complains of {i * 7}" for i in range(ROWS)],
        seen=[f"2020-02-{1 + i % 28:02d}" for i in range(ROWS)],
    )
    table.to_csv(tmp_path / "training.csv", index=False)
    text = run("spec", tmp_path / "training.csv").output
    assert 'column "note" is left out: free text' in text
    assert 'kind = "date"\nlow = 2020-02-01' in text
    assert "complains" not in text


@pytest.mark.parametrize(
    ("rows", "problem"), [(2, "the table has 2 rows and needs at least 10"), (12, "has 12 rows, and at least 20 are")]
)
def test_too_few_rows_are_named(tmp_path, rows, problem):
    place(tmp_path, (AGE, TOWN), rows=rows)
    assert problem in str(score(tmp_path).exception)
    assert (run("fit", tmp_path / "plan.toml", "--out", tmp_path / "out").exit_code == 0) == (rows > 10)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda t: t.assign(town="Jane Doe"), "column 'town': 60 cells are none of the 3 categories"),
        (lambda t: t.assign(ill="perhaps Jane"), "column 'ill': 60 of 60 cells are not true, false, 1 or 0"),
        (lambda t: t.assign(age="Jane"), "column 'age': 60 of 60 cells are not whole numbers"),
        (lambda t: t.assign(age=1.5), "column 'age': 60 of 60 cells are not whole numbers"),
        (lambda t: t.assign(age=""), "column 'age': every cell is missing"),
        (lambda t: t.drop(columns="age"), "column 'age': is not in the table"),
    ],
)
def test_a_cohort_that_contradicts_its_specification_is_one_line_without_a_cell(tmp_path, change, problem):
    place(tmp_path, (AGE, TOWN, ILL), **ASKED)
    change(draw(7)).to_csv(tmp_path / "cohort.csv", index=False)
    line = str(score(tmp_path).exception)
    assert line.startswith("the synthetic table does not fit the specification")
    assert problem in line
    assert "Jane" not in line


def test_a_cohort_out_of_its_public_range_is_refused(tmp_path):
    place(tmp_path, (AGE, TOWN, ILL), **ASKED)
    draw(7).assign(age=121).to_csv(tmp_path / "cohort.csv", index=False)
    done = score(tmp_path)
    assert done.exit_code == 1
    assert "60 of 60 synthetic rows have a number out of its public range" in done.output


def test_a_rule_that_no_row_obeys_ends_the_fit_in_one_line(tmp_path):
    place(tmp_path, (AGE, TOWN), rules=(Rule("range", "age", low=110, high=120),))
    done = run("fit", tmp_path / "plan.toml", "--out", tmp_path / "out")
    assert isinstance(done.exception, ValueError)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("site", "problem"),
    [
        ('groups = ["age"]', "no column with categories"),
        ('groups = ["nowhere"]', "no column with categories"),
        ("seed = 1", "unknown threshold"),
    ],
)
def test_thresholds_that_do_not_fit_the_table_are_named(tmp_path, site, problem):
    place(tmp_path, (AGE, TOWN, ILL), site=SITE + site, **ASKED)
    assert problem in str(score(tmp_path).exception)


def test_a_header_with_a_name_twice_is_refused(tmp_path):
    (tmp_path / "twice.csv").write_text("age,age\n1,2\n")
    assert "'age' stands twice in the header" in str(run("spec", tmp_path / "twice.csv").exception)


def test_a_key_that_is_missing_in_the_holdout_is_named(tmp_path):
    place(tmp_path, (AGE, TOWN), key="id", change=lambda t: t.assign(id=range(len(t))))
    draw(1).to_csv(tmp_path / "holdout.csv", index=False)
    assert "the key 'id' must stand in the training and the holdout" in str(score(tmp_path).exception)
    place(tmp_path, (AGE, TOWN), key="id", change=lambda t: t.assign(id=range(len(t))))
    assert "60 patients are in both training and holdout" in str(score(tmp_path).exception)
