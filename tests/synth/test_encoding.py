"""Encodings are exact inverses over every value a specification allows, and a private choice costs what it says."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from privacy.noise import ReproducibleNoise
from synth.counts import onto_simplex
from synth.encoding import Bins, Encoder, clip_table
from synth.selection import choose, epsilon_of, noise_multiplier_of
from synth.spec import Column, TableSpec
from synth.tables import typed_table
from synth.tree import fitted_to, grouping, shrunk
from tests.synth.tiny import WARD, ward


@st.composite
def columns(draw):
    missing = draw(st.booleans())
    kind = draw(st.sampled_from(["categorical", "ordinal", "integer", "real", "boolean", "date"]))
    if kind in {"categorical", "ordinal"}:
        words = st.text("abc'\" é", min_size=1).filter(lambda word: word == word.strip())
        return Column("x", kind, categories=tuple(draw(st.sets(words, min_size=1, max_size=5))), missing=missing)
    if kind == "boolean":
        return Column("x", kind, missing=missing)
    decimals = draw(st.integers(0, 3)) if kind == "real" else None
    low, width = draw(st.integers(-5000, 5000)), draw(st.integers(0, 3000))
    scale = 10 ** (decimals or 0)
    return Column("x", kind, low=low / scale, high=(low + width) / scale, decimals=decimals, missing=missing)


def every_value(column):
    if column.categories:
        cells = list(column.categories)
    elif column.kind == "boolean":
        cells = ["false", "true"]
    else:
        numbers = [round(column.low + i / 10**column.digits, column.digits) for i in range(column.levels)]
        whole = column.kind != "real"
        cells = [str(int(n)) if whole else repr(n) for n in numbers]
        if column.kind == "date":
            cells = [str(pd.Timestamp(0) + pd.Timedelta(days=int(n)))[:10] for n in numbers]
    return typed_table(pd.DataFrame({"x": [*cells, *([None] if column.missing else [])]}), TableSpec((column,)))


@settings(deadline=None, max_examples=60)
@given(columns())
def test_encoding_is_inverted_exactly_for_every_value(column):
    table, spec = every_value(column), TableSpec((column,))
    assert not table["x"].isna().sum() > column.missing
    vectors = Encoder(spec).encode(table)
    assert np.abs(vectors).max(initial=0) <= 1
    pd.testing.assert_frame_equal(Encoder(spec).decode(vectors), table)
    clipped, moved = clip_table(table, spec)
    pd.testing.assert_frame_equal(clipped, table)
    assert moved == {}
    bins = Bins(spec, 7)
    codes = bins.encode(table)
    assert codes.min() == 0
    assert codes.max() == bins.sizes[0] - 1
    again = bins.encode(bins.decode(codes, np.random.default_rng(0)))
    np.testing.assert_array_equal(codes, again)


def test_values_out_of_range_are_moved_to_the_bound_and_counted():
    table = typed_table(ward().assign(age="200"), WARD)
    clipped, moved = clip_table(table, WARD)
    assert moved == {"age": 120}
    assert (clipped["age"] == 110).all()


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 4.0])
def test_the_gaussian_of_a_choice_is_nowhere_better_protected_than_the_choice(epsilon):
    mu = 1 / noise_multiplier_of(epsilon)
    for low in np.linspace(0, epsilon, 41)[1:-1]:  # losses low and low - epsilon
        q = -math.expm1(low - epsilon) / (math.exp(low) - math.exp(low - epsilon))
        p = q * math.exp(low)
        assert norm.cdf(norm.isf(q) - mu) <= 1 - p + 1e-9
    assert epsilon_of(1 / mu) == pytest.approx(epsilon)


def test_a_choice_follows_the_exponential_mechanism():
    noise = ReproducibleNoise(3)
    taken = [choose(np.array([0.0, 1.0]), sensitivity=1.0, epsilon=2.0, noise=noise) for _ in range(4000)]
    assert np.mean(taken) == pytest.approx(1 / (1 + math.exp(-1)), abs=0.03)
    assert choose(np.array([0.0, 1.0]), sensitivity=1.0, epsilon=math.inf, noise=None) == 1


def test_counts_after_the_noise_are_what_hand_calculation_says():
    np.testing.assert_allclose(onto_simplex(np.array([3.0, -1.0, 2.0]), 4.0), [2.5, 0.0, 1.5])
    assert grouping(np.array([9.0, 1, 8, 1]), least=5, ordered=False, alone=0).tolist() == [1, 0, 2, 0]
    table = fitted_to(np.array([[5.0, 0], [0, 5]]), np.array([4.0, 6]), np.array([5.0, 5]))
    np.testing.assert_allclose(table.sum(axis=0), [5, 5], atol=1e-6)
    np.testing.assert_allclose(table.sum(axis=1), [4, 6], atol=1e-6)
    even = np.full((2, 2), 2.5)
    np.testing.assert_allclose(shrunk(even + 0.1, even, 1.0), even)  # noise is all there is
    np.testing.assert_allclose(shrunk(np.eye(2) * 5, even, 0.0), np.eye(2) * 5)
