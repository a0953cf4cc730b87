"""Hiding a hospital: what one can move, what the noise is, and what it costs."""

from __future__ import annotations

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.accounting import epsilon
from privacy.noise import ReproducibleNoise
from server.inprocess import _identity
from strategies import AVERAGING, Settings, build_strategy
from strategies.hospital_privacy import HospitalPrivate, HospitalSum, fixed_weights

SENT = {"weight": np.zeros((3, 2), np.float32), "bias": np.zeros(2, np.float32)}
NODES = (2, 3, 4, 5, 6)


def model(values) -> dict[str, np.ndarray]:
    flat = np.asarray(values, np.float32)
    return {"weight": flat[:6].reshape(3, 2), "bias": flat[6:]}


def consortium(draw):
    patients = draw(st.lists(st.integers(1, 10_000), min_size=5, max_size=5))
    most = draw(st.sampled_from([0, 1, 50, 5_000]))
    values = st.floats(-1e6, 1e6, width=32)
    updates = draw(st.lists(st.lists(values, min_size=8, max_size=8), min_size=5, max_size=5))
    sent = model(draw(st.lists(st.floats(-10, 10, width=32), min_size=8, max_size=8)))
    present = draw(st.sets(st.sampled_from(NODES), min_size=1))
    weights = fixed_weights(dict(zip(NODES, patients, strict=True)), most=most)
    changes = {node: model(update) for node, update in zip(NODES, updates, strict=True) if node in present}
    return weights, sent, changes


@settings(max_examples=300, deadline=None)
@given(st.composite(consortium)(), st.floats(1e-3, 1e3), st.data())
def test_one_hospital_more_or_less_moves_the_sum_by_no_more_than_the_noise_is_made_for(world, clip, data):
    weights, sent, updates = world
    mechanism = HospitalSum(weights, clip, 1.0)
    one = data.draw(st.sampled_from(sorted(updates)))
    without = {node: update for node, update in updates.items() if node != one}
    moved = mechanism.bounded_sum(updates, sent) - mechanism.bounded_sum(without, sent)
    assert np.linalg.norm(moved) <= mechanism.sensitivity * (1 + 1e-9)
    assert np.linalg.norm(moved) <= weights[one] * clip * (1 + 1e-9)


def test_the_bound_is_reached_by_the_largest_hospital_also_when_the_others_are_missing():
    mechanism = HospitalSum(fixed_weights({2: 10, 3: 90}), 1.0, 1.0)
    alone = mechanism.bounded_sum({3: model([5.0] * 8)}, SENT)
    assert np.linalg.norm(alone) == pytest.approx(mechanism.sensitivity) == 0.9


def test_a_missing_hospital_adds_nothing_and_nobodys_weight_grows():
    mechanism = HospitalSum(fixed_weights({2: 100, 3: 300}), 10.0, 1.0)
    small = model([1.0] * 8)
    assert mechanism.bounded_sum({2: small}, SENT) == pytest.approx(0.25)
    assert mechanism.bounded_sum({2: small, 3: small}, SENT) == pytest.approx(1.0)


def test_short_changes_pass_whole_so_that_without_noise_it_is_federated_averaging():
    sent, weights = model(np.arange(8)), fixed_weights({2: 1, 3: 3})
    updates = {2: model(np.arange(8) + 0.1), 3: model(np.arange(8) - 0.1)}
    moved = HospitalSum(weights, 100.0, 1e-12).release(updates, sent, ReproducibleNoise(1))
    assert moved["weight"] == pytest.approx(0.25 * updates[2]["weight"] + 0.75 * updates[3]["weight"], rel=1e-6)
    assert moved["bias"].dtype == np.float32


def test_the_noise_has_the_stated_deviation_whoever_answers():
    big = {"weight": np.zeros(200_000, np.float32)}
    mechanism = HospitalSum(fixed_weights({2: 100, 3: 300}), 2.0, 1.5)
    assert mechanism.deviation == 1.5 * 2.0 * 0.75
    for answered in ({}, {2: big}, {2: big, 3: big}):
        noise = mechanism.release(answered, big, ReproducibleNoise(len(answered)))["weight"]
        assert noise.std() == pytest.approx(mechanism.deviation, rel=0.01)
        assert abs(noise.mean()) < 5 * mechanism.deviation / np.sqrt(len(noise))
        assert np.linalg.norm(noise) == pytest.approx(mechanism.noise_norm(len(noise)), rel=0.01)


def test_three_hospitals_cannot_hide_one_of_them_in_a_large_model():
    mechanism = HospitalSum(fixed_weights({2: 1, 3: 1, 4: 1}), 1.0, 2.4)
    assert mechanism.noise_norm(100_000) == pytest.approx(253, abs=1)


@pytest.mark.parametrize(("noise", "rounds"), [(0.8, 1), (2.4, 10), (5.0, 100)])
def test_rounds_cost_what_dp_accounting_says_of_gaussian_sums(noise, rounds):
    from dp_accounting import GaussianDpEvent, SelfComposedDpEvent
    from dp_accounting.pld import PLDAccountant

    event = HospitalSum({2: 0.5, 3: 0.5}, 1.0, noise).event(rounds=rounds)
    theirs = PLDAccountant().compose(SelfComposedDpEvent(GaussianDpEvent(noise), rounds)).get_epsilon(1e-5)
    assert epsilon(event, delta=1e-5) == pytest.approx(theirs, rel=0.005)


@pytest.mark.parametrize(
    ("weights", "clip", "noise"), [({}, 1.0, 1.0), ({2: 0.0}, 1.0, 1.0), ({2: 1.0}, 0.0, 1.0), ({2: 1.0}, 1.0, 0.0)]
)
def test_a_mechanism_that_bounds_or_hides_nothing_is_refused(weights, clip, noise):
    with pytest.raises(ValueError, match="must"):
        HospitalSum(weights, clip, noise)


def test_a_hospital_that_was_not_admitted_cannot_contribute():
    with pytest.raises(KeyError):
        HospitalSum({2: 1.0}, 1.0, 1.0).bounded_sum({9: model([0.0] * 8)}, SENT)


def test_an_update_that_is_not_finite_is_never_summed():
    with pytest.raises(ValueError, match="not finite"):
        HospitalSum({2: 1.0}, 1.0, 1.0).bounded_sum({2: model([np.nan] * 8)}, SENT)


# --- the strategy around it ---


@pytest.fixture
def messages():
    """Messages may be made, as within a run."""
    with _identity(7):
        yield


class Nodes:
    def get_node_ids(self):
        return [2, 3]


def reply(node: int, arrays, *, claims: float) -> Message:
    question = Message(content=RecordDict(), message_type="train", dst_node_id=node)
    record = ArrayRecord({name: Array(array) for name, array in arrays.items()})
    return Message(RecordDict({"arrays": record, "metrics": MetricRecord({"patients": claims})}), reply_to=question)


def wrapped(name="fedavg", *, charge=lambda: None, clip=100.0, noise=1e-12):
    choice = Settings(0.1, 1.0, 0.0, 0.2, 0)
    mechanism = HospitalSum(fixed_weights({2: 100, 3: 300}), clip, noise)
    return HospitalPrivate(build_strategy(name, choice), mechanism, ReproducibleNoise(3), charge)


def round_of(strategy, replies):
    record = ArrayRecord({name: Array(array) for name, array in SENT.items()})
    list(strategy.configure_train(1, record, ConfigRecord({}), Nodes()))
    return {name: array.numpy() for name, array in strategy.aggregate_train(1, replies)[0].items()}


def test_what_a_hospital_claims_to_weigh_changes_nothing(messages):
    ones, twos = model([1.0] * 8), model([2.0] * 8)
    honest = round_of(wrapped(), [reply(2, ones, claims=100), reply(3, twos, claims=300)])
    lying = round_of(wrapped(), [reply(2, ones, claims=1e9), reply(3, twos, claims=1)])
    assert honest["weight"] == pytest.approx(0.25 * 1 + 0.75 * 2)
    assert (honest["weight"] == lying["weight"]).all()


@pytest.mark.parametrize("name", AVERAGING)
def test_every_strategy_of_the_mean_sees_the_noised_model_alone(messages, name):
    """Two rounds that differ in who sent what, but not in the noised sum, end in the same model."""
    split = round_of(wrapped(name), [reply(2, model([4.0] * 8), claims=1), reply(3, model([0.0] * 8), claims=1)])
    other = round_of(wrapped(name), [reply(2, model([1.0] * 8), claims=1), reply(3, model([1.0] * 8), claims=1)])
    assert split["weight"] == pytest.approx(other["weight"], rel=1e-5)


def test_a_round_is_charged_before_anybody_is_asked(messages):
    def refuse():
        raise RuntimeError("no room")

    strategy = wrapped(charge=refuse)
    with pytest.raises(RuntimeError, match="no room"):
        strategy.configure_train(1, ArrayRecord({}), ConfigRecord({}), Nodes())


def test_one_charge_releases_one_model(messages):
    strategy = wrapped()
    replies = [reply(2, model([1.0] * 8), claims=1)]
    round_of(strategy, replies)
    with pytest.raises(RuntimeError, match="released already"):
        strategy.aggregate_train(1, replies)
