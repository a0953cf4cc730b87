"""One cohort of several hospitals' tables: what leaves, what is paid, what is made, and who refuses."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from privacy.accounting import epsilon
from privacy.ledger import Ledger
from study.defaults import build, read_settings
from study.parcels import open_parcel
from study.protocol import ProtocolError
from synth.admission import admit
from synth.counts import Patients
from synth.encoding import Bins
from synth.measurement import Measurement
from synth.spec import check_table, spec_from
from synth.tables import read_table
from tests.conftest import Consortium
from tests.federation.tables import SPEC, ward, write_network
from tests.parcels import open_application

ASKED = {
    "task__name": "synthesis",
    "synthesis__specification": SPEC,
    "synthesis__rows": 600,
    "privacy__epsilon": 8.0,
    "privacy__delta": 1e-4,
}


class Tables(Consortium):
    """Hospitals with tables alone."""

    def __init__(self, folder: Path, runs: Path, **sizes) -> None:
        self.hospitals = write_network(folder, **sizes)
        self.runs = runs

    def synthesise(self, client_app=None, **changes) -> dict:
        return self.conduct(client_app, **ASKED | changes)

    def ledger(self, number: int) -> list:
        with Ledger.open(self.hospitals[number] / "ledger.db", create=False) as ledger:
            return ledger.entries()


@pytest.fixture
def tables(tmp_path):
    return Tables(tmp_path / "hospitals", tmp_path / "runs")


def cohort(record: dict) -> pd.DataFrame:
    return read_table(Path(record["folder"]) / "cohort" / "cohort.csv")


@pytest.mark.parametrize(("tree", "releases"), [("measured", 3), ("target", 2)])
def test_a_cohort_of_the_consortium_obeys_the_specification_and_every_hospital_paid_for_it(tables, tree, releases):
    record = tables.synthesise(synthesis__tree=tree)
    assert record["status"] == "completed", record["reason"]
    spec = spec_from(tomllib.loads(SPEC))
    rows = cohort(record)
    assert len(rows) == record["final"]["rows"] == 600
    assert list(rows.columns) == list(spec.names)
    assert [c for c in check_table(rows.assign(patient=range(600)), spec) if c.fatal] == []
    kept = json.loads((Path(record["folder"]) / "cohort" / "cohort-record.json").read_text(encoding="utf-8"))
    assert kept["hospitals"].keys() == {"ward-1", "ward-2", "ward-3"}
    assert kept["privacy"]["steps"] == releases
    for number in range(3):
        charged = [row.event for row in tables.ledger(number) if row.kind == "charge"]
        assert sum(event.steps for event in charged) == releases
        assert all(event.sampling_rate == 1.0 for event in charged)
        stated = record["privacy"][f"ward-{number + 1}"]["statement"]
        assert epsilon(charged, delta=1e-4) == pytest.approx(stated["epsilon"])
        assert stated["epsilon"] <= 8.0
        assert kept["privacy"]["epsilon"] >= stated["epsilon"]
    page = (Path(record["folder"]) / "report.html").read_text(encoding="utf-8")
    assert "A synthetic cohort of 600 rows" in page
    assert "ward-2" in page


def test_each_hospital_can_hold_the_cohorts_claim_against_its_own_ledger(tables):
    from synth.claims import check_claim, read_claim
    from synth.evidence import gather

    record = tables.synthesise()
    spec = spec_from(tomllib.loads(SPEC))
    file = Path(record["folder"]) / "cohort" / "cohort.parquet"
    claim = read_claim([file])
    evidence = gather(ward(400, seed=1), ward(400, seed=8), read_table(file), spec)
    with Ledger.open(tables.hospitals[0] / "ledger.db", create=False) as ledger:
        found = check_claim(claim, ledger.reservation(claim.run), evidence, patients=400, most=10.0)
    assert {score.verdict for score in found.values()} == {"pass"}


def dependence(rows: pd.DataFrame) -> float:
    """How much likelier patients died whose lactate was high."""
    known = rows[rows["lactate"].notna()]
    high, dead = known["lactate"].astype(float) > 5, known["dead"].astype(str).str.lower().eq("true")
    return float(dead[high].mean() - dead[~high].mean())


def test_the_cohort_knows_what_the_hospitals_know_together(tables):
    record = tables.synthesise(privacy__reproducible_noise=True, synthesis__rows=4000)
    rows = cohort(record)
    assert dependence(ward(1000, seed=9)) > 0.95
    assert dependence(rows) > 0.6
    assert {frozenset(pair) for pair in record["final"]["pairs"]} >= {frozenset(("lactate", "dead"))}


def test_what_leaves_is_the_counts_with_the_noise_that_was_charged(tables):
    answered = []
    application = open_application()

    def listening(message, context):
        reply = application(message, context)
        if message.metadata.message_type == "query.measure":
            asked = {
                name: array.numpy() for name, array in open_parcel(message).content.array_records["measurement"].items()
            }
            answered.append((context.node_config["data"], asked, reply.content))
        return reply

    record = tables.synthesise(listening)
    spec = spec_from(tomllib.loads(SPEC))
    bins = Bins(spec, 32)
    noise = record["sites"][0]["plan"]["noise_multiplier"]
    errors = []
    for folder, arrays, content in answered:
        assert set(content) == {"verdict", "noised"}
        asked = Measurement.from_arrays(arrays, bins)
        (file,) = (path for path in Path(folder).iterdir() if path.name.startswith("table."))
        patients = Patients.of(admit(read_table(file), spec), bins, rng=np.random.default_rng(0), privacy=None)
        exact = np.concatenate(asked.count(patients, None).tables)
        sums = content.array_records["noised"]["sums"].numpy()
        errors.append((sums - exact) / (noise * asked.sensitivity))
    assert len(errors) == 9
    standard = np.concatenate(errors)
    assert abs(standard.mean()) < 4 / np.sqrt(len(standard))
    assert standard.std() == pytest.approx(1.0, abs=4 / np.sqrt(2 * len(standard)))


def test_no_two_measurements_share_noise_even_where_it_is_reproducible(tables):
    first = []
    application = open_application()

    def asking_twice(message, context):
        reply = application(message, context)
        if message.metadata.message_type == "query.measure":
            first.append(reply.content.array_records["noised"]["sums"].numpy()[:5].round(6).tolist())
        return reply

    tables.synthesise(asking_twice, privacy__reproducible_noise=True)
    assert len({tuple(sums) for sums in first}) == len(first) == 9


def refuse_all(tables: Tables, before: str, after: str) -> None:
    for number in range(len(tables.hospitals)):
        tables.edit_policy(number, before, after)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('tasks = ["synthesis"]', 'tasks = ["*"]', '"*" does not mean it'),
        ('tasks = ["synthesis"]', 'tasks = ["icd-coding"]', "does not allow the task synthesis"),
        ("specifications = []", 'specifications = ["0000"]', "none of those that site policy names"),
        ("minimum_patients = 20", "minimum_patients = 500", "fewer than the 500 patients"),
        ("epsilon_ceiling = 1000.0", "epsilon_ceiling = 2.0", "site policy ends at 2"),
        ("delta_ceiling = 1e-3", "delta_ceiling = 1e-6", "site policy ends at 1e-06"),
    ],
)
def test_what_policy_forbids_is_refused_with_its_reason_and_nothing_is_charged(tables, before, after, said):
    refuse_all(tables, before, after)
    record = tables.synthesise()
    assert record["status"] == "refused"
    assert said in record["reason"]
    assert "final" not in record
    assert not list(Path(record["folder"]).glob("cohort*"))
    assert not any((hospital / "ledger.db").exists() for hospital in tables.hospitals)


def test_a_hospital_with_too_few_rows_stays_out_and_the_others_go_on(tmp_path):
    tables = Tables(tmp_path / "hospitals", tmp_path / "runs", sizes=(300, 12, 300))
    record = tables.synthesise()
    assert record["status"] == "completed", record["reason"]
    assert record["final"]["hospitals"] == ["ward-1", "ward-3"]
    (absent,) = record["absences"]
    assert "fewer than the 20 patients" in absent["reason"]


def test_a_policy_that_names_the_specification_admits_it(tables):
    from synth.plan import spec_digest

    digest = spec_digest(spec_from(tomllib.loads(SPEC)))
    refuse_all(tables, "specifications = []", f'specifications = ["{digest}"]')
    assert tables.synthesise()["status"] == "completed"


def test_a_table_that_contradicts_the_specification_is_refused_without_a_word_about_its_cells(tables):
    path = tables.hospitals[0] / "table.parquet"
    table = pd.read_parquet(path)
    table.loc[3, "sex"] = "SECRET"
    table.to_parquet(path, index=False)
    record = tables.synthesise()
    assert record["final"]["hospitals"] == ["ward-2", "ward-3"]
    (absent,) = record["absences"]
    assert "contradicts the study's specification" in absent["reason"]
    assert "SECRET" not in json.dumps(record)
    assert [row.kind for row in tables.ledger(0)] == ["reserve", "settle"]  # what was promised is free again


@pytest.mark.parametrize("fault", ["no table", "two tables"])
def test_a_hospital_needs_one_table(tables, fault):
    path = tables.hospitals[0] / "table.parquet"
    if fault == "two tables":
        pd.read_parquet(path).to_csv(path.with_name("table.csv"), index=False)
    else:
        path.unlink()
    record = tables.synthesise()
    assert record["final"]["hospitals"] == ["ward-2", "ward-3"]
    (absent,) = record["absences"]
    assert "table" in absent["reason"] or "no hospital" in absent["reason"] or "is missing" in absent["reason"]


def test_the_ledger_ends_what_policy_does_not(tables):
    refuse_all(tables, "epsilon_ceiling = 1000.0", "epsilon_ceiling = 9.0")
    assert tables.synthesise()["status"] == "completed"
    again = tables.synthesise()
    assert again["status"] == "refused"
    assert "the privacy ledger has no room" in again["reason"]


def test_a_hospital_that_falls_silent_is_in_no_count(tables):
    application, measured = open_application(), []

    def falling_silent(message, context):
        if message.metadata.message_type == "query.measure" and "ward-2" in context.node_config["data"]:
            measured.append(message)
            if len(measured) == 2:
                raise RuntimeError("lost")
        return application(message, context)

    record = tables.synthesise(falling_silent)
    assert record["status"] == "completed", record["reason"]
    assert record["final"]["hospitals"] == ["ward-1", "ward-3"]
    assert [len(each["sites"]) for each in record["rounds"]] == [3, 2, 2]
    assert [row.event.steps for row in tables.ledger(1) if row.kind == "charge"] == [1]


def test_a_hospital_answers_no_more_than_it_has_reserved(tables):
    application, replies = open_application(), []

    def greedy(message, context):
        """As if the coordinator asked everything twice."""
        if message.metadata.message_type == "query.measure":
            replies.append(application(message, context).content.config_records["verdict"]["status"])
        return application(message, context)

    record = tables.synthesise(greedy)
    assert record["status"] == "failed"
    assert replies.count("ok") <= 6  # two of the three measurements twice, at three hospitals
    assert all(sum(r.event.steps for r in tables.ledger(n) if r.kind == "charge") == 3 for n in range(3))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"privacy.epsilon": 0.0}, "only noisy ones"),
        ({"privacy.releases-epsilon": 1.0}, "privacy.releases-epsilon = 1.0 is of studies that train a model"),
        ({"federation.guest": "ward-1"}, "federation.guest"),
        ({"synthesis.specification": ""}, "a specification needs at least one column"),
        ({"synthesis.specification": SPEC.replace("confirmed = true", "confirmed = false")}, "not confirmed"),
        ({"synthesis.specification": "spec.tml"}, "is no TOML"),
        ({"synthesis.tree": "target", "synthesis.specification": SPEC.replace('target = "dead"', "")}, "a target"),
        ({"synthesis.bins": 1}, "must be at least 2"),
    ],
)
def test_a_study_that_is_no_synthesis_is_refused_before_anything_starts(changes, said):
    settings = {key.replace("__", ".").replace("_", "-"): value for key, value in ASKED.items()}
    with pytest.raises(ProtocolError, match=said):
        build(settings, changes)


def test_a_study_file_may_name_the_file_of_the_specification(tmp_path):
    (tmp_path / "spec.toml").write_text(SPEC, encoding="utf-8")
    preset = tmp_path / "study.toml"
    preset.write_text('[task]\nname = "synthesis"\n[synthesis]\nspecification = "spec.toml"\n', encoding="utf-8")
    assert build(read_settings(preset)).synthesis.spec.target == "dead"
    (tmp_path / "spec.toml").unlink()
    with pytest.raises(ProtocolError, match="cannot be read"):
        read_settings(preset)


GAN = {
    "synthesis__generator": "dp-gan",
    "federation__rounds": 3,
    "training__batch_patients": 50,
    "training__local_epochs": 1.0,
    "training__learning_rate": 0.002,
}


def test_a_gan_of_several_hospitals_pays_for_its_critics_steps_and_for_nothing_else(tables):
    record = tables.synthesise(**GAN)
    assert record["status"] == "completed", record["reason"]
    rows = cohort(record)
    assert len(rows) == 600
    assert [c for c in check_table(rows.assign(patient=range(600)), spec_from(tomllib.loads(SPEC))) if c.fatal] == []
    for number, patients in enumerate((400, 300, 300)):
        plan = record["sites"][number]["plan"]
        assert plan["sampling_rate"] == 50 / patients
        charged = [row.event for row in tables.ledger(number) if row.kind == "charge"]
        assert [event.steps for event in charged] == [patients // 50] * 3
        assert {(event.sampling_rate, event.noise_multiplier) for event in charged} == {
            (plan["sampling_rate"], plan["noise_multiplier"])
        }
        stated = record["privacy"][f"ward-{number + 1}"]["statement"]
        assert epsilon(charged, delta=1e-4) == pytest.approx(stated["epsilon"])
        assert 7.9 < stated["epsilon"] <= 8.0
        assert stated["clip_norm"] == 1.0
    kept = json.loads((Path(record["folder"]) / "cohort" / "cohort-record.json").read_text(encoding="utf-8"))
    assert kept["generator"]["name"] == "dp-gan"
    page = (Path(record["folder"]) / "report.html").read_text(encoding="utf-8")
    assert "the noisy steps of a critic of 3 hospitals" in page


def test_what_a_hospital_makes_of_the_generator_is_thrown_away(tables):
    from flwr.app import Array

    application, came = open_application(), []

    def meddling(message, context):
        reply = application(message, context)
        if message.metadata.message_type.startswith("train"):
            record = open_parcel(message).content.array_records["arrays"]
            came.append({name: array.numpy() for name, array in record.items()})
            answered = reply.content.array_records["arrays"]
            for name in list(answered):
                if name.startswith("generator.") and answered[name].numpy().dtype == np.float32:
                    answered[name] = Array(np.full_like(answered[name].numpy(), 1e3))
        return reply

    assert tables.synthesise(meddling, **GAN)["status"] == "completed"
    assert len(came) == 9
    assert max(np.abs(arrays[n]).max() for arrays in came for n in arrays if n.endswith("weight")) < 100


def test_a_gan_is_averaged_plainly_and_asked_for_no_counts(tables):
    with pytest.raises(ProtocolError, match="choose fedavg"):
        tables.study(**ASKED | GAN | {"federation__strategy": "fedadam"})
    refuse_all(tables, 'strategies = ["*"]', 'strategies = ["krum"]')
    record = tables.synthesise(**GAN)
    assert record["status"] == "refused"
    assert "does not allow the strategy fedavg" in record["reason"]


@pytest.mark.parametrize(("settings", "charges"), [({}, 3), (GAN, 3)])
def test_a_hospital_learns_beforehand_what_a_cohort_would_cost(tables, settings, charges):
    from clients.commands import _describe
    from clients.forecast import forecast
    from clients.hospital import locate

    study = tables.study(**ASKED | settings)
    answer = forecast(study, locate(study, {"data": str(tables.hospitals[0])}))
    assert answer.refusal is None
    assert 7.9 < answer.cost.alone <= 8.0
    told = _describe(study, answer)
    assert "patients in the table" in told
    assert "none beside what the epsilon covers" in told
    assert f"the study asks for {charges}" in told
    assert not (tables.hospitals[0] / "ledger.db").exists()
