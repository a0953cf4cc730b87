"""Canaries in a real run: planted among the patients, paid for like them, and a secret of the hospital's."""

import json
import stat
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from clients import canaries
from clients.hospital import locate
from clinical.learning import Examples
from privacy.ledger import Ledger
from study.defaults import build
from study.protocol import ProtocolError
from tests.parcels import open_application

FAST = {"evaluation__local_baseline": False, "evaluation__replicates": 0}


def secrets_of(hospital):
    return sorted((hospital / "canaries").rglob("*"))


def charges(hospital):
    with Ledger.open(hospital / "ledger.db") as ledger:
        return [(entry.kind, entry.event) for entry in ledger.entries()]


def test_a_run_with_canaries_charges_what_it_charges_without_and_says_that_it_has_them(consortium):
    consortium.conduct(**FAST)
    before = [charges(hospital) for hospital in consortium.hospitals]
    record = consortium.conduct(privacy__canaries=12, **FAST)
    after = [charges(hospital) for hospital in consortium.hospitals]
    assert [len(rows) for rows in after] == [2 * len(rows) for rows in before]
    assert all(late[len(early) :] == early for early, late in zip(before, after, strict=True))
    assert record["canaries"]["at_each_hospital"] == record["study"]["privacy"]["canaries"] == 12


def test_the_secret_is_the_owners_alone_and_keeps_every_round(consortium):
    record = consortium.conduct(privacy__canaries=12, **FAST)
    for hospital in consortium.hospitals:
        files = [path for path in secrets_of(hospital) if path.is_file()]
        assert [path.name for path in files] == [f"{record['run']}.json", f"{record['run']}.rounds.jsonl"]
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        study = consortium.study(privacy__canaries=12)
        codes = len(record["vocabulary"]["codes"])
        found = canaries.find(
            study, locate(study, {"data": str(hospital)}), run=record["run"], features=384, codes=codes
        )
        assert canaries.read_rounds(found).shape == (record["study"]["federation"]["rounds"], 12)


def test_nothing_of_a_canary_leaves_the_hospital(consortium):
    honest, seen = open_application(), []

    def listening(message, context):
        reply = honest(message, context)
        seen.append((message.metadata.message_type, reply.content))
        return reply

    record = consortium.conduct(listening, privacy__canaries=12, **FAST)
    secrets = [
        json.loads(path.read_text())["seed"]
        for h in consortium.hospitals
        for path in secrets_of(h)
        if path.suffix == ".json"
    ]
    assert len(set(secrets)) == len(consortium.hospitals)
    told = "".join(path.read_text(errors="replace") for path in Path(record["folder"]).iterdir())
    assert not any(secret in told for secret in secrets)
    plain = consortium.conduct(**FAST)
    assert [site["patients"] for site in record["sites"]] == [site["patients"] for site in plain["sites"]]
    for kind, content in seen:
        assert set(content.array_records) <= {"arrays", "tuning", "tally", "histogram"}, kind
        assert set(content.metric_records) <= {"metrics", "tuning-loss", "withheld/tuning"}, kind
        if kind == "train":
            assert set(content.metric_records["metrics"]) == {"patients", "steps"}


def test_included_canaries_are_patients_of_their_own_after_the_real_ones(tmp_path, consortium):
    study = consortium.study(privacy__canaries=40)
    hospital = locate(study, {"data": str(consortium.hospitals[0])})
    planted = canaries.plant(study, hospital, run="r", features=8, codes=6)
    rng = np.random.default_rng(0)
    real = Examples(rng.normal(size=(5, 8)), csr_matrix(np.eye(5, 6, dtype=np.uint8)), np.array([0, 0, 1, 2, 2]))
    joined = planted.join(real)
    included = int(planted.canaries.included.sum())
    assert joined.patients == 3 + included
    assert joined.documents == 5 + included
    np.testing.assert_array_equal(joined.features[5:].numpy(), planted.canaries.vectors[planted.canaries.included])
    np.testing.assert_array_equal(joined.labels[5:].toarray(), planted.canaries.labels[planted.canaries.included])
    again = canaries.plant(study, hospital, run="r", features=8, codes=6)
    np.testing.assert_array_equal(again.canaries.included, planted.canaries.included)
    other = canaries.plant(study, hospital, run="s", features=8, codes=6)
    assert (other.canaries.included != planted.canaries.included).any()


def test_a_lost_secret_is_named_and_a_study_without_canaries_has_none(consortium):
    study = consortium.study(privacy__canaries=4)
    hospital = locate(study, {"data": str(consortium.hospitals[0])})
    with pytest.raises(FileNotFoundError, match="keeps no canary secret of run 9"):
        canaries.find(study, hospital, run="9", features=8, codes=6)
    assert canaries.find(consortium.study(), hospital, run="9", features=8, codes=6) is None
    assert canaries.plant(consortium.study(), hospital, run="9", features=8, codes=6) is None


def test_a_task_that_has_no_codes_refuses_canaries():
    with pytest.raises(ProtocolError, match=r"needs task\.name"):
        build({"privacy.canaries": 5, "task.name": "mortality"})
