"""A study that hides whole hospitals, from admission to its page: what it costs, and how it ends."""

import pytest

from privacy.accounting import certify
from privacy.ledger import Ledger
from reports.run import render
from server.terms import check_names
from study.protocol import ProtocolError
from tests.parcels import open_application

HIDING = {
    "privacy__epsilon": 0.0,
    "privacy__hospital_epsilon": 8.0,
    "privacy__hospital_noise_limit": 100.0,
    "model__name": "linear",
    "federation__rounds": 3,
    "evaluation__local_baseline": False,
}


@pytest.fixture
def ledger(tmp_path):
    return tmp_path / "hospitals.db"


def conduct(consortium, ledger, client_app=None, **changes):
    return consortium.conduct(client_app, **HIDING | {"privacy__hospital_ledger": str(ledger)} | changes)


def rows(ledger):
    with Ledger.open(ledger, create=False) as opened:
        return opened.entries()


def failing(*, node, rounds):
    """The hospitals' application, of which one fails in some rounds."""
    honest, asked = open_application(), []

    def answer(message, context):
        if message.metadata.message_type == "train" and context.node_id == node:
            asked.append(node)
            if len(asked) in rounds:
                raise RuntimeError("a drop-out")
        return honest(message, context)

    return answer


def test_every_round_is_charged_and_the_record_states_what_hospitals_paid(consortium, ledger):
    record = conduct(consortium, ledger)
    assert record["status"] == "completed"
    statement = record["hospital_privacy"]["statement"]
    assert (statement["unit"], statement["steps"]) == ("hospital", 3)
    assert "add/remove" in statement["relation"]
    assert 7.9 < statement["epsilon"] <= 8.0
    charged = [row.event for row in rows(ledger) if row.kind == "charge"]
    assert [event.steps for event in charged] == [1, 1, 1]
    assert statement["epsilon"] == pytest.approx(certify(charged, delta=1e-4))
    assert any("coordinator" in gap for gap in statement["not_covered"])
    page = render(record)
    assert "Privacy of whole hospitals" in page
    assert "hospital, add/remove one hospital&#39;s updates" in page


def test_a_drop_out_changes_neither_the_cost_nor_the_noise(consortium, ledger):
    record = conduct(consortium, ledger, failing(node=2, rounds={2}))
    assert [len(entry["absences"]) for entry in record["rounds"]] == [0, 1, 0]
    assert all(entry["aggregated"] for entry in record["rounds"])
    assert record["hospital_privacy"]["statement"]["steps"] == 3
    assert len({row.event.noise_multiplier for row in rows(ledger)}) == 1


def test_a_round_without_a_quorum_costs_as_much_as_any_other(consortium, ledger):
    record = conduct(consortium, ledger, failing(node=2, rounds={2}), federation__quorum=3)
    assert [entry["aggregated"] for entry in record["rounds"]] == [True, False, True]
    assert record["hospital_privacy"]["statement"]["steps"] == 3


def test_the_model_moves_even_when_the_hospitals_send_back_what_they_got(consortium, ledger):
    """Nothing but the noise distinguishes the rounds' models then, and it has the stated length."""
    honest, seen = open_application(), []

    def echoing(message, context):
        reply = honest(message, context)
        if message.metadata.message_type == "train":
            reply.content["arrays"] = message.content.array_records["arrays"]
            seen.append({name: array.numpy() for name, array in message.content.array_records["arrays"].items()})
        return reply

    record = conduct(consortium, ledger, echoing)
    first, second = seen[0], seen[-1]  # of round 1 and round 3: two rounds of noise apart
    length = sum(float(((first[name] - second[name]) ** 2).sum()) for name in first) ** 0.5
    plan = record["hospital_privacy"]["plan"]
    assert plan["parameters"] == sum(array.size for array in first.values())
    assert length == pytest.approx(2**0.5 * plan["noise_norm"], rel=0.05)


def test_a_ledger_without_room_refuses_the_study_before_the_first_round(consortium, ledger):
    conduct(consortium, ledger, privacy__hospital_ceiling=10.0)
    record = conduct(consortium, ledger, privacy__hospital_ceiling=10.0)
    assert record["status"] == "refused"
    assert "no privacy budget for this study" in record["reason"]
    assert "rounds" not in record
    assert "not stated" in render(record)


def test_a_ledger_that_refuses_a_round_ends_the_study_with_that_reason_and_a_true_statement(consortium, ledger):
    honest = open_application()

    def settling(message, context):
        if message.metadata.message_type == "train":
            with Ledger.open(ledger) as opened:
                opened.settle(opened.entries()[0].run_id)
        return honest(message, context)

    record = conduct(consortium, ledger, settling)
    assert record["status"] == "failed"
    assert "lets no further round happen" in record["reason"]
    assert record["hospital_privacy"]["statement"]["steps"] == 1


def test_what_dies_between_charge_and_release_is_over_counted(consortium, ledger, monkeypatch):
    from strategies.hospital_privacy import HospitalSum

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(HospitalSum, "release", die)
    with pytest.raises(KeyboardInterrupt):
        conduct(consortium, ledger)
    assert sum(row.event.steps for row in rows(ledger) if row.kind == "charge") == 1


def test_a_model_that_the_noise_would_drown_is_refused_with_the_numbers(consortium, ledger):
    record = conduct(consortium, ledger, model__name="mlp-s", privacy__hospital_noise_limit=10.0)
    assert record["status"] == "refused"
    for words in ("would drown the model", "3 hospitals", "parameters", "hospital-noise-limit = 10"):
        assert words in record["reason"]
    assert not ledger.exists()


def test_a_hospitals_own_ledger_is_never_charged_for_hospitals(consortium):
    own = consortium.hospitals[0] / "ledger.db"
    consortium.conduct(privacy__epsilon=4.0, evaluation__local_baseline=False)
    before = rows(own)
    record = conduct(consortium, own)
    assert record["status"] == "refused"
    assert "kept per patient" in record["reason"]
    assert rows(own) == before


def test_patients_cannot_be_charged_to_the_hospitals_ledger(consortium, ledger):
    conduct(consortium, ledger)
    ledger.rename(consortium.hospitals[0] / "ledger.db")
    record = consortium.conduct(federation__rounds=1, evaluation__local_baseline=False)
    assert "kept per hospital" in record["absences"][0]["reason"]
    assert len(record["sites"]) == 2


def test_both_guarantees_are_stated_side_by_side(consortium, ledger):
    record = conduct(consortium, ledger, privacy__epsilon=8.0)
    assert record["status"] == "completed"
    assert {paid["statement"]["unit"] for paid in record["privacy"].values()} == {"patient"}
    assert record["hospital_privacy"]["statement"]["unit"] == "hospital"


def test_a_delta_that_would_publish_a_whole_hospital_is_refused(consortium, ledger):
    record = conduct(consortium, ledger, privacy__hospital_delta=0.4)
    assert "not below 1 / hospitals" in record["reason"]


@pytest.mark.parametrize("name", ["fedmedian", "fedtrimmedavg", "krum"])
def test_a_strategy_that_compares_hospitals_is_refused_before_anything_starts(consortium, name):
    with pytest.raises(ProtocolError, match="choose one of fedavg, fedprox"):
        check_names(consortium.study(privacy__hospital_epsilon=4.0, federation__strategy=name))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"privacy__hospital_epsilon": 20.0}, "above privacy.hospital-ceiling"),
        ({"privacy__hospital_ledger": "postgresql://me:secret@host/db"}, "holds a password"),
    ],
)
def test_settings_that_cannot_be_are_refused_and_never_quoted(consortium, changes, said):
    with pytest.raises(ProtocolError, match=said) as refusal:
        consortium.study(**changes)
    assert "secret" not in str(refusal.value)
