"""Nearest neighbours of mixed rows: exact against a search that looks at every pair."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from synth.columns import Column
from synth.distances import MISSING, encode
from synth.neighbours import nearest, nearest_others

# sixteenths add up exactly in float32, so ties are ties in any order of the columns
CELLS = st.sampled_from([*(i / 16 for i in range(17)), 2.0, 3.0, 258.0, 9.25, -0.5, MISSING])


@st.composite
def tables(draw, least=1):
    columns = draw(st.integers(1, 9))
    rows = [draw(st.integers(least, 150)) for _ in range(2)]
    kinds = st.one_of(CELLS, st.just(draw(CELLS)))  # often one value: many ties, all-missing columns
    return [draw(arrays(np.float32, (count, columns), elements=kinds)) for count in rows]


def every_pair(rows, among):
    return np.minimum(np.abs(rows[:, None].astype(np.float64) - among[None]), 1).sum(axis=2)


@settings(max_examples=60, deadline=None)
@given(tables(), st.integers(1, 5))
def test_the_search_finds_what_looking_at_every_pair_finds(pair, k):
    rows, among = pair
    k = min(k, len(among))
    found = nearest(rows, among, k=k, threads=2)
    wanted = np.argsort(every_pair(rows, among), axis=1, kind="stable")[:, :k]  # the earlier of equally near rows
    assert (found.index == wanted).all()
    assert (found.distance == np.take_along_axis(every_pair(rows, among), wanted, axis=1)).all()


@settings(max_examples=40, deadline=None)
@given(tables(least=2))
def test_among_its_own_table_a_row_finds_another_and_not_itself(pair):
    rows = pair[0]
    distances = every_pair(rows, rows)
    np.fill_diagonal(distances, np.inf)
    found = nearest_others(rows)
    assert (found.index[:, 0] == distances.argmin(axis=1)).all()
    assert (found.distance[:, 0] == distances.min(axis=1)).all()


def test_each_kind_of_column_counts_as_its_docstring_says():
    columns = (
        Column("age", "integer", low=0, high=100, missing=True),
        Column("sex", "categorical", categories=("F", "M", "X")),
        Column("stage", "ordinal", categories=("I", "II", "III"), missing=True),
        Column("fever", "boolean"),
        Column("day", "date", low=0, high=10),
    )
    table = pd.DataFrame(
        {
            "age": pd.array([50, 60, None, 50, 900], dtype="Int64"),
            "sex": ["F", "X", "F", "F", "F"],
            "stage": ["I", "II", "I", None, "I"],
            "fever": pd.array([True, False, True, True, True], dtype="boolean"),
            "day": pd.to_datetime(["1970-01-01", "1970-01-06", "1970-01-01", "1970-01-01", "1970-01-01"]),
        }
    )
    rows = encode(table, columns)
    # a tenth of an age range, another sex, half the stages, another truth, half of ten days; missing; out of range
    assert every_pair(rows, rows)[0] == pytest.approx([0, 0.1 + 1 + 0.5 + 1 + 0.5, 1, 1, 1], abs=1e-6)


def test_missing_is_equal_to_missing_alone():
    column = Column("age", "real", low=0, high=1, decimals=1, missing=True)
    rows = encode(pd.DataFrame({"age": [np.nan, np.nan, 0.0, 1.0]}), [column])
    assert every_pair(rows, rows)[0].tolist() == [0, 0, 1, 1]
    assert nearest_others(rows).index[:2, 0].tolist() == [1, 0]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 1100), st.integers(1, 9))
def test_any_width_and_any_numbers_are_searched_exactly(seed, width, k):
    rng = np.random.default_rng(seed)
    tables = [rng.random((rows, width)) * rng.choice([0.01, 1, 1.5], width) for rows in (40, 160)]
    for table in tables:
        table[:, ::3] = rng.integers(0, 300, table[:, ::3].shape)
        table[rng.random(table.shape) < 0.1] = MISSING
    rows, among = (table.astype(np.float32) for table in tables)
    distances = every_pair(rows, among)
    found = nearest(rows, among, k=k)
    assert np.allclose(np.take_along_axis(distances, found.index, axis=1), np.sort(distances, axis=1)[:, :k], atol=1e-9)
    assert np.allclose(found.distance, np.sort(distances, axis=1)[:, :k], rtol=1e-6)


def test_more_columns_than_two_bytes_can_sum_are_searched_exactly():
    rows, among = np.zeros((1, 1285), np.float32), np.ones((3, 1285), np.float32)
    assert nearest(rows, among).distance.tolist() == [[1285]]
    among[2] = np.r_[np.zeros(1), np.ones(1284)]
    assert nearest(rows, among).index.tolist() == [[2]]


def test_equal_rows_are_at_distance_zero_whatever_their_values():
    rows = np.random.default_rng(3).random((300, 13)).astype(np.float32)
    found = nearest(rows, rows)
    assert (found.distance == 0).all()
    assert (found.index[:, 0] == np.arange(300)).all()


def test_asking_for_more_neighbours_than_there_are_names_the_limit():
    with pytest.raises(ValueError, match=r"k must lie in 1\.\.1"):
        nearest_others(np.zeros((2, 1), np.float32), k=2)
    with pytest.raises(ValueError, match="same columns"):
        nearest(np.zeros((2, 1), np.float32), np.zeros((2, 2), np.float32))
