"""What Wardround's applications send may leave; whatever is added to it, or made of it, may not."""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clients.policy import PolicyRefusal, read_policy
from clients.replies import put_arrays, put_facts, verdict
from clinical.networks import list_hospitals
from clinical.site_policy import DEFAULT_POLICY, SIMULATED_POLICY
from gate.border import EgressRefusal, Question
from gate.egress import Limits, inspect, read_limits
from tests.intensive_care import intensive_network
from tests.parcels import open_application

__all__ = ["intensive_network"]  # a fixture

LIMITS = Limits()
MARK = "Ottilie Quastenflosser, 4711"  # stands for a patient's value; it must be in no message


def question(kind="train", **changes) -> Question:
    plain = Question(
        kind=kind,
        family="coding",
        covered=False,
        arrays={"w": np.zeros((2, 3), np.float32), "b": np.zeros(3, np.float32)},
        hospital="north",
        minimum_cell=5,
        metrics=("*",),
    )
    return dataclasses.replace(plain, **changes)


def update(**changes) -> RecordDict:
    content = verdict("ok")
    put_arrays(content, "arrays", {"w": np.ones((2, 3), np.float32), "b": np.ones(3, np.float32)} | changes)
    content["metrics"] = MetricRecord({"patients": 40, "steps": 2})
    return content


def refusal(content: RecordDict, asked: Question, limits: Limits = LIMITS, *, size: int = 1000) -> EgressRefusal:
    with pytest.raises(EgressRefusal) as found:
        inspect(content, asked, limits, size=size)
    assert MARK not in str(found.value)
    return found.value


class Recorded:
    """Every question and answer of a real study at real hospitals."""

    def __init__(self, hospitals: list[Path], study) -> None:
        from server.app import app as server_app
        from server.inprocess import conduct

        self.exchanges, application = [], open_application()

        def client(message, context):
            reply = application(message, context)
            name = Path(context.node_config["data"]).name
            self.exchanges.append((name, message, reply.content))
            return reply

        conduct(study, server_app, client, [{"data": str(hospital)} for hospital in hospitals])
        self.study = study
        self.policy = {hospital.name: read_policy(hospital / "policy.toml") for hospital in hospitals}

    def __iter__(self) -> Iterator[tuple[Question, RecordDict]]:
        from clinical.tasks import family_of
        from gate.border import read_arrays

        for name, message, content in self.exchanges:
            records = message.content.array_records
            yield (
                Question(
                    kind=message.metadata.message_type,
                    family=family_of(self.study.task.name),
                    covered=self.study.privacy.covers_releases or self.study.synthesises,
                    arrays=read_arrays(records["arrays"], "arrays") if "arrays" in records else {},
                    hospital=name,
                    minimum_cell=self.policy[name].minimum_cell,
                    metrics=self.policy[name].metrics,
                ),
                content,
            )


@pytest.mark.parametrize("changes", [{}, {"privacy__releases_epsilon": 4.0, "task__minimum_documents": 1}])
def test_everything_a_coding_study_sends_may_leave(consortium, changes):
    consortium.edit_policy(0, "minimum_cell = 5", "minimum_cell = 2")
    recorded = list(Recorded(consortium.hospitals, consortium.study(**changes)))
    assert {"query.admit", "train", "evaluate.tune", "evaluate.judge", "query.close"} <= {q.kind for q, _ in recorded}
    for asked, content in recorded:
        inspect(content, asked, LIMITS, size=1000)


@pytest.mark.parametrize(
    "changes",
    [
        {"task__name": "mortality-24h", "model__name": "logistic"},
        {"task__name": "kidney-function", "model__name": "logistic", "training__loss": "huber"},
        {"task__name": "mortality-24h", "model__name": "logistic", "privacy__releases_epsilon": 4.0},
    ],
    ids=["risks", "errors", "covered"],
)
def test_everything_a_prediction_study_sends_may_leave(intensive_network, consortium, changes):
    hospitals = list_hospitals(intensive_network)
    recorded = list(Recorded(hospitals, consortium.study(**changes)))
    assert {"train", "evaluate.judge"} <= {asked.kind for asked, _ in recorded}
    for asked, content in recorded:
        inspect(content, asked, LIMITS, size=1000)


@pytest.mark.parametrize("generator", ["marginals", "dp-gan"])
def test_everything_a_synthesis_sends_may_leave_and_nothing_exact_in_its_place(consortium, tmp_path, generator):
    from tests.federation.tables import SPEC, write_network

    changes = {"task__name": "synthesis", "synthesis__specification": SPEC, "synthesis__generator": generator}
    changes |= {"synthesis__rows": 20, "privacy__delta": 1e-4, "training__learning_rate": 0.002}
    recorded = list(Recorded(write_network(tmp_path / "tables"), consortium.study(**changes)))
    asked = "query.measure" if generator == "marginals" else "train"
    assert {"query.admit", asked, "query.close"} <= {q.kind for q, _ in recorded}
    for question_put, content in recorded:
        inspect(content, question_put, LIMITS, size=1000)
    put, content = next((q, c) for q, c in recorded if q.kind == asked)
    content["tally"] = ArrayRecord({"counts": Array(np.ones(3))})
    assert refusal(content, put).rule == "records"


def test_an_update_like_the_model_that_came_may_leave():
    inspect(update(), question(), LIMITS, size=1000)


@pytest.mark.parametrize(
    ("arrays", "rule", "place"),
    [
        ({"w": np.ones((3, 2), np.float32)}, "shapes", "arrays/w"),
        ({"w": np.ones((2, 3), np.float64)}, "shapes", "arrays/w"),
        ({MARK: np.ones(3, np.float32)}, "shapes", "arrays"),
        ({"b": np.array([1, np.nan, 1], np.float32)}, "finite", "arrays/b"),
        ({"b": np.array([1, np.inf, 1], np.float32)}, "finite", "arrays/b"),
        ({"b": np.full(3, 1e4, np.float32)}, "update_norm", "arrays"),
    ],
    ids=["shape", "type", "an array more", "not a number", "infinite", "far"],
)
def test_an_update_of_another_form_is_withheld_with_rule_and_place(arrays, rule, place):
    found = refusal(update(**arrays), question())
    assert found.rule == rule
    assert place in str(found)


def test_an_array_missing_from_the_update_is_withheld():
    content = update()
    content["arrays"] = ArrayRecord({"w": Array(np.ones((2, 3), np.float32))})
    assert refusal(content, question()).rule == "shapes"


@settings(max_examples=60, deadline=None)
@given(extra=st.binary(min_size=1, max_size=40))
def test_bytes_behind_an_array_are_withheld(extra):
    content, plain = update(), Array(np.ones(3, np.float32))
    carrying = Array(dtype=plain.dtype, shape=plain.shape, stype=plain.stype, data=plain.data + MARK.encode() + extra)
    content["arrays"] = ArrayRecord({"w": Array(np.ones((2, 3), np.float32)), "b": carrying})
    assert refusal(content, question()).rule == "form"


def test_a_pickle_in_the_place_of_an_array_is_withheld_and_not_run(tmp_path):
    import pickle

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    content = update()
    bomb = Array(dtype="float32", shape=(3,), stype="numpy.ndarray", data=pickle.dumps(Bomb()))
    content["arrays"] = ArrayRecord({"w": Array(np.ones((2, 3), np.float32)), "b": bomb})
    assert refusal(content, question()).rule == "form"
    assert not (tmp_path / "ran").exists()


NAMES = st.text(min_size=1, max_size=30).filter(lambda name: name not in LIMITS.records and name != "tuning")
RECORDS = st.sampled_from(
    [
        ConfigRecord({"note": MARK}),
        MetricRecord({MARK: 1}),
        ArrayRecord({MARK: Array(np.ones(2))}),
    ]
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(name=NAMES, record=RECORDS)
def test_a_record_of_any_other_name_is_withheld(name, record):
    content = update()
    content[name] = record
    assert refusal(content, question()).rule in {"records", "metrics", "form"}


@pytest.mark.parametrize("name", ["metrics", "tuning-loss", "withheld/tuning", "verdict", "tuning", "arrays"])
@pytest.mark.parametrize("record", [ConfigRecord({"note": MARK}), MetricRecord({"age": 71})], ids=["text", "metric"])
def test_a_known_name_does_not_carry_other_things(name, record):
    content = update()
    content[name] = record
    refusal(content, question())


def test_a_name_the_site_does_not_know_is_not_repeated():
    content = update()
    content[MARK] = MetricRecord({"x": 1})
    assert "a record of unknown name" in str(refusal(content, question()))


def test_a_metric_off_the_list_is_withheld():
    content = update()
    content["metrics"] = MetricRecord({"patients": 40, "steps": 2, "mean-age": 63.2})
    assert refusal(content, question()).rule == "metrics"


@pytest.mark.parametrize("value", [math.nan, math.inf, [1, 2]])
def test_a_metric_that_is_no_finite_number_is_withheld(value):
    content = update()
    content["metrics"] = MetricRecord({"patients": 40, "steps": value})
    assert refusal(content, question()).rule == "finite"


class TestTexts:
    @pytest.mark.parametrize("status", ["refused", "error"])
    def test_a_reason_may_leave_and_nothing_with_it(self, status):
        inspect(verdict(status, reason="too few patients"), question(), LIMITS, size=100)
        content = update()
        put_facts(content, status=status, reason="too few patients")
        assert refusal(content, question()).rule == "records"

    def test_a_long_text_is_withheld(self):
        assert refusal(verdict("refused", reason=MARK * 50), question()).rule == "maximum_text"

    def test_a_text_of_several_lines_is_withheld(self):
        assert refusal(verdict("refused", reason=f"a\n{MARK}"), question()).rule == "texts"

    @pytest.mark.parametrize("facts", [{"note": MARK}, {"hospital": "north"}, {"reason": MARK}])
    def test_a_fact_that_is_no_part_of_the_answer_is_withheld(self, facts):
        content = update()
        put_facts(content, **facts)
        assert refusal(content, question()).rule == "verdict"

    @pytest.mark.parametrize(
        ("facts", "rule"),
        [
            ({"hospital": MARK}, "texts"),
            ({"patients": 4}, "minimum_cell"),
            ({"plan": '{"name": "' + MARK + '"}'}, "form"),
            ({"plan": f"[{MARK!r}]"}, "form"),
        ],
    )
    def test_an_offer_speaks_for_this_site_and_holds_a_plan(self, facts, rule):
        plan = '{"sampling_rate": 0.5, "steps_per_round": 2, "noise_multiplier": 1.0, "release_noise": null}'
        offer = {"hospital": "north", "patients": 40, "plan": plan, "features": 384, "encoder": "MiniLM"}
        inspect(verdict("ok", **offer), question("query.admit"), LIMITS, size=100)
        assert refusal(verdict("ok", **(offer | facts)), question("query.admit")).rule == rule

    def test_no_verdict_no_reply(self):
        assert refusal(RecordDict({"metrics": MetricRecord({"patients": 40})}), question()).rule == "form"


class TestCells:
    def offer(self, codes, documents) -> RecordDict:
        content = verdict("ok")
        content["counts"] = ConfigRecord({"codes": codes, "documents": documents})
        return content

    @settings(max_examples=60, deadline=None)
    @given(small=st.integers(-3, 4))
    def test_a_count_below_the_minimum_is_withheld(self, small):
        asked = question("query.admit")
        inspect(self.offer(["I10", "E11.9"], [5, 12]), asked, LIMITS, size=100)
        assert refusal(self.offer(["I10", "E11.9"], [12, small]), asked).rule == "minimum_cell"

    def test_what_is_no_code_is_withheld(self):
        assert refusal(self.offer(["I10", MARK], [12, 12]), question("query.admit")).rule == "texts"

    def counted(self, carriers: int) -> dict[str, np.ndarray]:
        from clinical.metrics import ScoreHistogram

        truth = np.zeros((40, 2), bool)
        truth[:carriers, 0] = truth[:20, 1] = True
        logits = np.linspace(-2, 2, 80, dtype=np.float32).reshape(40, 2)
        return ScoreHistogram.of(logits, truth).to_arrays()

    @pytest.mark.parametrize(("carriers", "shown"), [(0, True), (5, True), (4, False), (1, False)])
    def test_a_code_of_few_patients_is_withheld_with_its_histogram(self, carriers, shown):
        content = verdict("ok")
        put_arrays(content, "tuning", self.counted(carriers))
        content["tuning-loss"] = MetricRecord({"loss": 3.5, "documents": 40})
        if shown:
            inspect(content, question("evaluate.tune"), LIMITS, size=100)
        else:
            assert refusal(content, question("evaluate.tune")).rule == "minimum_cell"

    def test_rows_of_a_code_whose_patients_are_hidden_are_withheld(self):
        arrays = self.counted(4)
        arrays["carriers"] = arrays["carriers"] * np.array([0, 1], np.int32)
        content = verdict("ok")
        put_arrays(content, "tuning", arrays)
        assert refusal(content, question("evaluate.tune")).rule == "minimum_cell"

    def test_few_patients_on_a_side_of_an_outcome_are_withheld(self):
        from clinical.metrics.outcomes import Risks

        asked = question("evaluate.judge", family="prediction")
        for sick, rule in ((5, None), (4, "minimum_cell")):
            answers = (np.arange(40) < sick).astype(np.float32)
            content = verdict("ok")
            put_arrays(content, "outcomes", Risks.of(np.zeros(40, np.float32), answers, np.arange(40)).to_arrays())
            if rule is None:
                inspect(content, asked, LIMITS, size=100)
            else:
                assert refusal(content, asked).rule == rule

    def test_a_sub_group_nobody_knows_beforehand_is_withheld(self):
        from clinical.metrics.outcomes import Risks

        answers = (np.arange(40) < 20).astype(np.float32)
        arrays = Risks.of(np.zeros(40, np.float32), answers, np.arange(40)).to_arrays()
        for name, may in (("sex: female", True), (MARK, False)):
            content = verdict("ok")
            put_arrays(content, f"outcomes/{name}", arrays)
            asked = question("evaluate.judge", family="prediction")
            if may:
                inspect(content, asked, LIMITS, size=100)
            else:
                assert refusal(content, asked).rule == "records"


class TestCovered:
    def test_exact_numbers_do_not_leave_a_study_that_pays_for_noisy_ones(self):
        content = verdict("ok")
        put_arrays(content, "tuning", TestCells().counted(20))
        assert refusal(content, question("evaluate.tune", covered=True)).rule == "covered"

    def test_noisy_sums_do_not_leave_a_study_that_does_not_pay_for_them(self):
        content = verdict("ok")
        put_arrays(content, "noised", {"sums": np.ones(13)})
        inspect(content, question("evaluate.judge", covered=True), LIMITS, size=100)
        assert refusal(content, question("evaluate.judge")).rule == "covered"


class TestLists:
    @pytest.mark.parametrize("group", ["curve", "thresholds"])
    def test_a_group_that_policy_does_not_name_is_withheld(self, group):
        kind = {"curve": "train", "thresholds": "evaluate.tune"}[group]
        content = update() if kind == "train" else verdict("ok")
        content["tuning-loss"] = MetricRecord({"loss": 3.5, "documents": 40})
        inspect(content, question(kind, metrics=(group,)), LIMITS, size=100)
        found = refusal(content, question(kind, metrics=("held-out",)))
        assert found.rule == "metrics"
        assert group in str(found)

    def test_a_record_taken_off_the_sites_list_is_withheld(self):
        fewer = Limits(records=("verdict", "arrays"))
        assert "the record metrics is not on the site's list" in str(refusal(update(), question(), fewer))

    def test_a_name_put_on_the_list_that_wardround_does_not_know_still_stays(self):
        more = Limits(records=(*LIMITS.records, "diary"))
        content = update()
        content["diary"] = ConfigRecord({"today": MARK})
        assert refusal(content, question(), more).rule == "records"

    def test_a_large_reply_is_withheld(self):
        assert refusal(update(), question(), size=LIMITS.maximum_bytes + 1).rule == "maximum_megabytes"


class TestPolicyFile:
    @pytest.mark.parametrize("text", [DEFAULT_POLICY, SIMULATED_POLICY])
    def test_the_policy_a_hospital_begins_with_says_what_holds_without_it(self, tmp_path, text):
        path = tmp_path / "policy.toml"
        path.write_text(text, encoding="utf-8")
        assert read_limits(path) == Limits()
        read_policy(path)

    def test_a_policy_without_the_section_means_the_same(self, tmp_path):
        path = tmp_path / "policy.toml"
        path.write_text(DEFAULT_POLICY.partition("[egress]")[0], encoding="utf-8")
        assert read_limits(path) == Limits()
        read_policy(path)

    @pytest.mark.parametrize(
        "section",
        ["[egress]\nmaximum_txt = 5", "[egress]\nmaximum_text = -1", "[egress]\nrecords = 'all'", "egress = 3", "= no"],
    )
    def test_a_key_or_value_that_is_none_lets_nothing_leave(self, tmp_path, section):
        path = tmp_path / "policy.toml"
        path.write_text(section, encoding="utf-8")
        with pytest.raises(PolicyRefusal, match="nothing may leave"):
            read_limits(path)

    def test_no_policy_file_lets_nothing_leave(self, tmp_path):
        with pytest.raises(PolicyRefusal, match="nothing may leave"):
            read_limits(tmp_path / "none.toml")
