"""Canaries are drawn as promised, and a model that learned one shows it."""

import numpy as np
import pytest

from privacy.audits.canaries import draw_canaries, margins
from privacy.noise import ReproducibleNoise


def draw(count=200, features=48, codes=21, seed=1):
    return draw_canaries(count, features=features, codes=codes, noise=ReproducibleNoise(seed))


def test_directions_are_orthogonal_in_blocks_and_half_of_the_codes_are_on():
    canaries = draw()
    assert canaries.vectors.shape == (200, 48)
    for start in range(0, 200, 48):
        block = canaries.vectors[start : start + 48]
        np.testing.assert_allclose(block @ block.T, np.eye(len(block)), atol=1e-5)
    assert set(canaries.labels.sum(axis=1)) == {10}


def test_coins_are_fair_and_independent_of_everything_else():
    canaries = draw(4000, features=4, codes=6)
    assert abs(canaries.included.mean() - 0.5) < 0.03  # 3.8 standard deviations
    for column in (*canaries.vectors.T, *canaries.labels.T):
        assert abs(np.corrcoef(column, canaries.included)[0, 1]) < 0.06


def test_the_same_secret_gives_the_same_canaries_and_another_gives_others():
    first, again, other = draw(), draw(), draw(seed=2)
    for name in ("vectors", "labels", "included"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
        assert (getattr(first, name) != getattr(other, name)).any()


def test_margins_are_the_doubly_centred_agreement_of_outputs_with_own_codes():
    rng = np.random.default_rng(0)
    labels, logits = draw(30).labels, rng.normal(size=(30, 21))
    table = logits @ (labels / labels.sum(axis=1, keepdims=True)).T  # canary's outputs on everyone's codes
    centred = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    np.testing.assert_allclose(margins(logits, labels), np.diag(centred), atol=1e-12)
    np.testing.assert_allclose(margins(logits + rng.normal(size=21), labels), margins(logits, labels), atol=1e-12)


def test_a_table_that_learned_the_included_canaries_shows_all_of_them():
    canaries = draw()
    outputs = canaries.labels * canaries.included[:, None] * 1.0
    shown = margins(outputs, canaries.labels)
    assert shown[canaries.included].min() > shown[~canaries.included].max()


def test_impossible_canaries_are_refused():
    with pytest.raises(ValueError, match="codes >= 2"):
        draw(codes=1)
    with pytest.raises(ValueError, match="must both be"):
        margins(np.zeros((2, 3)), np.zeros((3, 2)))
