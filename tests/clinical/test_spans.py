"""Admissions are found by number and by moment, and equal rows have equal keys."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from clinical.sources.fingerprints import combine_hashes, hash_column, repeated_events, repeated_rows, row_keys
from clinical.sources.spans import NEVER, Spans, as_integers

SECOND = 1_000_000
SPAN = st.tuples(st.integers(0, 30), st.integers(-3, 3), st.integers(-50, 50), st.integers(0, 20))


def collect(spans):
    columns = [np.array(column, dtype=np.int64) for column in zip(*spans, strict=True)] or [np.empty(0, np.int64)] * 4
    number, subject, start, length = columns
    return Spans.collect(number, subject, start * SECOND, (start + length) * SECOND)


@given(st.lists(SPAN, max_size=12), st.lists(st.tuples(st.integers(-4, 4), st.integers(-60, 80)), min_size=1))
def test_the_span_that_covers_a_moment_is_the_patients_and_began_last(spans, moments):
    found = collect(spans)
    subject, time = (np.array(column, dtype=np.int64) for column in zip(*moments, strict=True))
    for patient, moment, at in zip(subject, time * SECOND, found.covering(subject, time * SECOND), strict=True):
        begun = found.start[(found.subject == patient) & (found.start <= moment)]
        latest = (found.subject == patient) & (found.start == begun.max()) if len(begun) else np.zeros(0, bool)
        covering = latest & (found.end >= moment) if len(begun) else latest
        if at >= 0:
            assert covering[at]
        else:
            assert not covering.all() or not len(begun)


@given(st.lists(SPAN, max_size=12), st.lists(st.integers(-5, 40), min_size=1))
def test_a_number_is_found_where_it_is_and_nowhere_else(spans, numbers):
    found = collect(spans)
    at = found.find(np.array(numbers, dtype=np.int64))
    assert [found.number[one] if one >= 0 else None for one in at] == [
        number if number in found.number else None for number in numbers
    ]


def test_a_span_without_end_covers_nothing_and_never_is_in_no_span():
    one = np.array([1], dtype=np.int64)
    endless = Spans.collect(one, one, one * SECOND, np.array([NEVER]))
    whole = Spans.collect(one, one, one * SECOND, one * 9 * SECOND)
    assert endless.covering(one, one * 2 * SECOND).tolist() == [-1]
    assert whole.covering(one, np.array([NEVER])).tolist() == [-1]
    assert whole.covering(one, one * 2 * SECOND).tolist() == [0]
    assert as_integers(pa.array([None, 3], pa.int64())).tolist() == [NEVER, 3]


CELL = st.one_of(st.none(), st.sampled_from(["1", "01", "x", ""]), st.integers(0, 3).map(str), st.text(max_size=3))


@given(st.lists(CELL, min_size=1), st.lists(CELL, min_size=1))
def test_equal_cells_have_equal_hashes_whatever_stands_beside_them(first, second):
    hashes = dict(zip(first, hash_column(pa.array(first, pa.string())).tolist(), strict=True))
    for cell, hashed in zip(second, hash_column(pa.array(second, pa.string())).tolist(), strict=True):
        assert hashed == hashes.get(cell, hashed)


def test_order_and_missing_cells_make_a_difference():
    numbers, gaps = pa.array([1, 2, None]), pa.array([0, 2, None])
    assert (
        combine_hashes([hash_column(numbers), hash_column(gaps)]).tolist()
        != combine_hashes([hash_column(gaps), hash_column(numbers)]).tolist()
    )
    assert len(set(hash_column(pa.array([0, None], pa.int64())).tolist())) == 2


def test_keys_tell_their_table_and_count_a_row_once():
    hashes = np.array([5, 6, 2**63], dtype=np.uint64)
    keys = row_keys(hashes, 127, counts=np.array([True, False, True]))
    found = np.unique(keys & np.uint64(255), return_counts=True)
    kinds = {int(kind): int(number) for kind, number in zip(*found, strict=True)}
    assert (repeated_rows(kinds, 127), repeated_events(kinds, 127)) == (2, 3)
    assert (repeated_rows(kinds, 1), repeated_events(kinds, 1)) == (0, 0)
