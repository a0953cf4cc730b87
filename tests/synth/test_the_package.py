"""What leaves on a release, what keeps it in, and the commands around it."""

from __future__ import annotations

import getpass
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from gate.onboarding import found_site
from privacy import manifest
from privacy.signatures import create_key, read_public_key, verify
from reports.cohort import render
from synth.artefacts import ArtefactFound, files_of, inspect, packaged_spec, scan
from synth.cohort import draw_cohort
from synth.columns import Column
from synth.evidence import gather
from synth.gate import Check, Judgement
from synth.package import write_package
from synth.portrait import portray
from synth.record import Description, as_record
from synth.scores.score import Score
from synth.sheets import sheet_of
from synth.spec import Rule, TableSpec, write_spec
from synth.tables import typed_table
from synth.thresholds import Thresholds
from tests.synth.test_generators import NAMES, generator
from tests.synth.tiny import WARD, ward
from tests.synth.worlds import standing
from wardround import app

SPEC = TableSpec(
    (
        Column("age", "integer", low=0, high=120, missing=True),
        Column("bmi", "real", low=5, high=90, decimals=1),
        Column("sex", "categorical", categories=("F", "M")),
        Column("smokes", "boolean", missing=True),
        Column("seen", "date", low=0, high=30000),
    ),
    rules=(Rule("range", "seen", low=0),),
    confirmed=True,
)
FILES = files_of(SPEC)
OPTIONS = {"holdout": "holdout.csv", "spec": "spec.toml", "thresholds": "site.toml"}
NOTHING = {"columns": [], "pairs": {"cohort": [], "training": None}, "smallest_cell": 0}


def draw(rng, rows=60):
    days = pd.Timestamp(0) + pd.to_timedelta(rng.integers(0, 30000, rows), unit="D")
    table = pd.DataFrame({"age": rng.integers(0, 120, rows).astype(str), "bmi": rng.uniform(5, 90, rows).round(1)})
    table.loc[rng.random(rows) < 0.1, "age"] = None
    table["sex"] = rng.choice(["F", "M"], rows)
    table["smokes"] = rng.choice(["true", "false", None], rows)
    table["seen"] = days.strftime("%Y-%m-%d")
    return table


def judged(decision="release", reason="why"):
    scores = {"a": Score(0.5, 0.4, float("inf"), None, "pass", reason)}
    return Judgement(decision, (Check("copies", scores, "pass"), Check("privacy", {}, "pass")), (), ())


def recorded(decision="release", reason="why"):
    described = Description(rows={"rows": 60}, fidelity={}, portrait=NOTHING)
    return as_record(judged(decision, reason), standing(), Thresholds(), SPEC, described)


def nothing(_):
    """What is called before a package appears."""


def written(tmp_path, decision="release", reason="why", before=nothing):
    cohort = typed_table(draw(np.random.default_rng(0)), SPEC)
    folder = tmp_path / "package"
    write_package(folder, sheet_of(cohort, SPEC), SPEC, recorded(decision, reason), draw=render, before=before)
    return folder, cohort


def test_a_package_holds_the_rows_twice_their_judgement_and_checksums(tmp_path):
    folder, cohort = written(tmp_path)
    assert {path.name for path in folder.iterdir()} == {*FILES, "manifest.json"}
    _, files = manifest.read(folder)
    manifest.compare(folder, files)
    assert typed_table(pd.read_parquet(folder / "rows.parquet"), SPEC).equals(cohort)
    record = json.loads((folder / "cohort.json").read_text())
    assert record["decision"] == "release"
    assert record["checks"][0]["scores"]["a"]["high"] is None
    assert "copies: pass" in (folder / "card.md").read_text()
    assert packaged_spec(folder) == SPEC
    assert [path.name for path in tmp_path.iterdir()] == ["package"]


@pytest.mark.parametrize("decision", ["refuse", "inconclusive"])
def test_nothing_is_written_without_a_release(tmp_path, decision):
    with pytest.raises(ValueError, match="nothing is written"):
        written(tmp_path, decision)
    assert not list(tmp_path.iterdir())


def test_a_release_never_replaces_another(tmp_path):
    written(tmp_path)
    with pytest.raises(FileExistsError, match="never replaces"):
        written(tmp_path)


def test_a_package_that_cannot_be_noted_does_not_appear(tmp_path):
    def full(_):
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        written(tmp_path, before=full)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_of_every_generator_rows_leave_and_nothing_else(tmp_path, name):
    fitted = generator(name).fit(ward(), WARD, rng=np.random.default_rng(1), privacy=None)
    cohort = draw_cohort(fitted, WARD, rows=40, rng=np.random.default_rng(2)).rows
    described = Description(rows={"rows": 40}, fidelity={}, portrait=NOTHING)
    record = as_record(judged(), standing(), Thresholds(), WARD, described)
    write_package(tmp_path / "package", sheet_of(cohort, WARD), WARD, record, draw=render, before=nothing)
    inspect(tmp_path / "package", WARD)
    assert {path.name for path in (tmp_path / "package").iterdir()} == {*FILES, "manifest.json"}


def spoil_file(folder, _):
    (folder / "model.pkl").write_bytes(b"weights")


def spoil_metadata(folder, cohort):
    cohort.to_parquet(folder / "rows.parquet")


def spoil_statistics(folder, cohort):
    table = pa.Table.from_pandas(cohort, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(table, folder / "rows.parquet", store_schema=False)


def spoil_column(folder, cohort):
    cohort.assign(patient=1).to_csv(folder / "rows.csv", index=False)


def spoil_row(folder, cohort):
    cohort.iloc[:-1].to_csv(folder / "rows.csv", index=False)


def spoil_cell(folder, cohort):
    cohort.assign(sex=["Jane Doe", *cohort["sex"][1:]]).to_csv(folder / "rows.csv", index=False)


def spoil_value(folder, cohort):
    cohort.assign(bmi=6.0).to_csv(folder / "rows.csv", index=False)


OPEN = [
    (spoil_file, "model.pkl is not part of a package"),
    (spoil_metadata, "carries metadata"),
    (spoil_statistics, "carries statistics"),
    (spoil_column, "other columns"),
    (spoil_row, "different rows"),
    (spoil_cell, "does not allow"),
    (spoil_value, "different rows"),
]


def spoil_gap(folder, _):
    """Bytes that no column points to, in front of the file's footer."""
    content = (folder / "rows.parquet").read_bytes()
    length = int.from_bytes(content[-8:-4], "little")
    cut = len(content) - 8 - length
    (folder / "rows.parquet").write_bytes(content[:cut] + b"Jane Doe, 1956" + content[cut:])


def spoil_decimals(folder, _):
    text = (folder / "rows.csv").read_text().splitlines()
    cells = text[1].split(",")
    cells[1] += "0"
    (folder / "rows.csv").write_text("\n".join([text[0], ",".join(cells), *text[2:]]) + "\n")


def spoil_card(folder, _):
    with (folder / "card.md").open("a") as file:
        file.write("<!-- row 7 is patient 1234 -->")


def spoil_page(folder, _):
    page = (folder / "cohort.html").read_text()
    (folder / "cohort.html").write_text(page.replace("</body>", "<script>1</script></body>"))


def spoil_record(folder, _):
    content = json.loads((folder / "cohort.json").read_text())
    (folder / "cohort.json").write_text(json.dumps(content | {"note": "row 7 is patient 1234"}))


CLOSED = [
    (spoil_gap, "rows.parquet has other bytes"),
    (spoil_decimals, "rows.csv has other bytes"),
    (spoil_card, "card.md has other bytes"),
    (spoil_page, "cohort.html has other bytes"),
    (spoil_record, "cohort.json has other bytes"),
]


@pytest.mark.parametrize(("spoil", "problem"), [*OPEN, *CLOSED])
def test_the_scan_finds_what_is_no_row(tmp_path, spoil, problem):
    folder, cohort = written(tmp_path)
    (folder / "manifest.json").unlink()
    scan(folder, sheet_of(cohort, SPEC), SPEC, recorded(), render(recorded()))
    spoil(folder, cohort)
    with pytest.raises(ArtefactFound, match=problem) as found:
        scan(folder, sheet_of(cohort, SPEC), SPEC, recorded(), render(recorded()))
    assert "Jane" not in str(found.value)


@pytest.mark.parametrize(("spoil", "problem"), OPEN)
def test_whoever_receives_a_package_finds_what_can_be_seen_from_outside(tmp_path, spoil, problem):
    folder, cohort = written(tmp_path)
    inspect(folder, packaged_spec(folder))
    spoil(folder, cohort)
    with pytest.raises(ArtefactFound, match=problem):
        inspect(folder, packaged_spec(folder))


@pytest.mark.parametrize(
    "place", ["/home/jane/table.csv", r"C:\Users", "jane.doe@hospital.example", str(Path.home() / "x"), "/tmp/a"]
)
def test_a_record_that_names_a_place_or_a_person_does_not_leave(tmp_path, place):
    with pytest.raises(ArtefactFound, match=r"cohort\.json names (a folder|an address)"):
        written(tmp_path, reason=f"read from {place}")
    assert not list(tmp_path.iterdir())


def test_a_record_that_names_this_machine_or_its_user_does_not_leave(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "ward-7-db")
    monkeypatch.setattr(getpass, "getuser", lambda: "jdoe")
    for name, what in (("ward-7-db", "this machine"), ("jdoe", "its user")):
        with pytest.raises(ArtefactFound, match=what):
            written(tmp_path, reason=f"said {name}")


def test_real_counts_are_shown_only_in_large_cells_and_never_beside_a_claim():
    rng = np.random.default_rng(0)
    evidence = gather(draw(rng), draw(rng), draw(rng), SPEC)
    hidden = portray(evidence, smallest_cell=0)
    assert all(column["training"] is None for column in hidden["columns"])
    assert hidden["pairs"]["training"] is None
    shown = portray(evidence, smallest_cell=10)
    counts = evidence.training["sex"].value_counts()
    assert shown["columns"][2]["training"] == [round(counts["F"] / 60, 2), round(counts["M"] / 60, 2)]
    ages = shown["columns"][0]
    assert ages["labels"][-1] == "missing"
    assert sum(share is None for share in ages["training"]) > 6  # 60 patients in 13 cells
    assert all(share is None or share >= 10 / 60 - 0.01 for share in ages["training"])
    assert all(label.isdigit() for label in ages["labels"][:-1])
    assert shown["columns"][4]["labels"][0] == str(evidence.synthetic["seen"].min())[:10]
    for column in shown["columns"]:
        assert sum(column["cohort"]) == pytest.approx(1, abs=0.01)


def test_the_page_shows_every_column_and_nothing_of_patients_where_nothing_may_leave():
    rng = np.random.default_rng(0)
    evidence = gather(draw(rng), draw(rng), draw(rng), SPEC)
    described = Description(rows={"rows": 60}, fidelity={}, portrait=portray(evidence, smallest_cell=0))
    record = as_record(judged(), standing(), Thresholds(), SPEC, described)
    page = render(record)
    assert all(f"<figcaption>{name} " in page for name in SPEC.names)
    assert "No differential privacy is claimed" in page
    assert "the site lets no cell of theirs leave" in page
    assert "<circle" not in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_words_of_a_specification_are_text_on_the_page():
    column = {"name": "<script>x", "kind": "categorical", "categories": ["<script>alert(1)</script>"]}
    record = recorded() | {"specification": {"columns": [column]}}
    assert "<script" not in render(record)


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(5)
    for name in ("training", "holdout", "fresh"):
        draw(rng).to_csv(tmp_path / f"{name}.csv", index=False)
    write_spec(SPEC, tmp_path / "spec.toml")
    (tmp_path / "site.toml").write_text("disclosure-attacks = 50\ndisclosure-repetitions = 1\n")
    return tmp_path


def call(files, command, cohort, *more):
    arguments = [command, str(files / "training.csv"), str(files / f"{cohort}.csv")]
    options = [f"--{name}={files / file}" for name, file in OPTIONS.items()]
    return CliRunner().invoke(app, ["synth", *arguments, *options, *map(str, more)])


def checked(package, *keys):
    return CliRunner().invoke(app, ["synth", "verify", str(package), *(f"--key={key}" for key in keys)])


def test_releasing_a_copy_is_refused_and_writes_nothing(files):
    result = call(files, "release", "training", "--out", files / "package", "--releases", files / "releases")
    assert result.exit_code == 1
    assert "the gate says: refuse" in result.output
    assert not (files / "package").exists()
    assert not (files / "releases/releases.jsonl").exists()


def test_a_cohort_of_too_few_patients_is_scored_as_undecided(files):
    result = call(files, "score", "fresh", "--output", files / "record.json")
    assert result.exit_code == 3
    assert json.loads((files / "record.json").read_text())["decision"] == "inconclusive"


@pytest.fixture
def passed(monkeypatch):
    monkeypatch.setattr("gate.cohort_judging.judge", lambda *_: judged())  # what decides is tested elsewhere


@pytest.mark.usefixtures("passed")
def test_a_released_package_is_signed_and_verifies(files):
    create_key(files / "key")
    signing = ("--key", files / "key", "--name", "A Steward")
    result = call(files, "release", "fresh", "--out", files / "package", "--releases", files / "releases", *signing)
    assert result.exit_code == 0, result.output
    assert [s.name for s in verify(files / "package", [read_public_key(files / "key.pub")])] == ["A Steward"]
    done = checked(files / "package", files / "key.pub")
    assert done.exit_code == 0, done.output
    assert "signed by A Steward" in done.output
    create_key(files / "other")
    assert checked(files / "package", files / "other.pub").exit_code == 1
    (files / "package/card.md").write_text("all is well")
    assert checked(files / "package", files / "key.pub").exit_code == 1
    assert checked(files / "package").exit_code == 1


@pytest.mark.usefixtures("passed")
def test_a_site_brings_its_ledger_its_releases_and_its_key(files):
    found_site(files / "site", name="St. Elsewhere", superlink="127.0.0.1:9092", root_certificate=None)
    first = call(files, "release", "fresh", "--out", files / "package", "--site", files / "site")
    assert first.exit_code == 0, first.output
    assert "signed by St. Elsewhere" in checked(files / "package", files / "site/release.key.pub").output
    second = call(files, "release", "fresh", "--out", files / "again", "--site", files / "site")
    assert second.exit_code == 0, second.output
    assert json.loads((files / "again/cohort.json").read_text())["privacy"]["release"] == 2
    for place in ("package", "again"):
        assert not any(b"St. Elsewhere" in (files / place / name).read_bytes() for name in FILES)


def test_a_release_without_a_place_to_note_it_is_a_mistake(files):
    result = call(files, "release", "fresh", "--out", files / "package")
    assert "give --site or --releases" in str(result.exception)


def test_a_package_without_signature_says_so(tmp_path):
    folder, _ = written(tmp_path)
    done = checked(folder)
    assert done.exit_code == 0
    assert "who released it is not known" in done.output
