from __future__ import annotations

import json
import math

import pytest

from privacy.statement import PrivacyStatement

WHOLE = {
    "epsilon": 2.9,
    "delta": 1e-5,
    "sampling_rate": 0.05,
    "noise_multiplier": 1.2,
    "clip_norm": 1.0,
    "steps": 300,
    "not_covered": ("held-out metrics", "tuning runs"),
}


@pytest.mark.parametrize("missing", ["delta", "sampling_rate", "noise_multiplier", "clip_norm"])
def test_an_epsilon_without_the_rest_cannot_be_stated(missing):
    with pytest.raises(ValueError, match="delta"):
        PrivacyStatement(**WHOLE | {missing: None})


@pytest.mark.parametrize("empty", ["unit", "relation", "accountant"])
def test_an_epsilon_without_its_meaning_cannot_be_stated(empty):
    with pytest.raises(ValueError, match="neighbouring relation"):
        PrivacyStatement(**WHOLE | {empty: ""})


@pytest.mark.parametrize("epsilon", [math.inf, math.nan, -1.0])
def test_an_epsilon_that_is_no_bound_cannot_be_stated(epsilon):
    with pytest.raises(ValueError, match="finite"):
        PrivacyStatement(**WHOLE | {"epsilon": epsilon})


@pytest.mark.parametrize("delta", [0.0, 1.0, math.nan])
def test_a_delta_outside_its_range_cannot_be_stated(delta):
    with pytest.raises(ValueError, match="delta must lie"):
        PrivacyStatement(**WHOLE | {"delta": delta})


def test_the_json_and_the_sentence_carry_everything():
    statement = PrivacyStatement(**WHOLE)
    stated = json.loads(statement.to_json())
    assert stated["epsilon"] == 2.9
    assert (stated["unit"], stated["relation"], stated["reproducible_noise"]) == ("patient", "add/remove one", False)
    assert stated["not_covered"] == ["held-out metrics", "tuning runs"]
    for words in ("2.9", "1e-05", "patient", "add/remove", "PRV", "tuning runs"):
        assert words in str(statement)


def test_reproducible_noise_is_said_aloud():
    assert "void" in str(PrivacyStatement(**WHOLE, reproducible_noise=True))


def test_no_guarantee_is_a_statement_too_and_carries_no_delta():
    none = PrivacyStatement.none(steps=100)
    assert str(none) == "no differential privacy guarantee"
    assert json.loads(none.to_json())["epsilon"] is None
    with pytest.raises(ValueError, match="promises nothing"):
        PrivacyStatement(**WHOLE | {"epsilon": None})
