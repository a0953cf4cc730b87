"""Cells become numbers and times where they have one certain reading, and are named where they have none."""

from datetime import datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical.sources.cells import parse_integers, parse_numbers, parse_times


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def read(parse, *cells, **options):
    """Values, refused and repaired cells by reason."""
    column = parse(pa.array(cells, pa.string()), **options)
    found = [
        {why: [cell for cell, hit in zip(cells, rows, strict=True) if hit] for why, rows in marked.items()}
        for marked in (column.refused, column.repaired)
    ]
    return column.values.to_pylist(), *found


def test_whole_numbers_may_have_blanks_signs_and_an_empty_fraction():
    values, refused, _ = read(parse_integers, "12", " 12 ", "12.0", "+5", None, "1.5", "twelve", "١", "9" * 30)
    assert values == [12, 12, 12, 5, None, None, None, None, None]
    assert refused == {"is not a whole number": ["1.5", "twelve", "١", "9" * 30]}


def test_numbers_are_finite_and_fit_a_small_float():
    values, refused, _ = read(parse_numbers, "1.5", " .5", "1e3", None, "7,4", "inf", "-inf", "1e39", "nan(1)", ">60")
    assert values == [1.5, 0.5, 1000.0, None, None, None, None, None, None, None]
    assert refused == {"is not a number": ["7,4", "inf", "-inf", "nan(1)", ">60"], "is too large a number": ["1e39"]}


@pytest.mark.parametrize(
    ("cell", "time"),
    [
        ("2150-03-01 10:05:00", "2150-03-01 10:05"),
        ("2150-03-01T10:05", "2150-03-01 10:05"),
        ("2150-03-01", "2150-03-01 00:00"),
        (" 2150-03-01 10:05:00.5 ", "2150-03-01 10:05:00.500"),
        ("2150/3/1 10:05", "2150-03-01 10:05"),
        ("3/13/2150 9:05", "2150-03-13 09:05"),
        ("13.3.2150", "2150-03-13 00:00"),
        ("5/5/2150 1:02:03 PM", "2150-05-05 13:02:03"),
        ("5/5/2150 12:02 AM", "2150-05-05 00:02"),
        ("01-MAR-2150 10:05:00", "2150-03-01 10:05"),
    ],
)
def test_a_time_with_one_certain_reading_is_read(cell, time):
    values, refused, _ = read(parse_times, cell, "not a time")
    assert values == [at(time), None]
    assert refused == {"is not a time": ["not a time"]}


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("3/4/2150", "could be day or month first"),
        ("2150-02-30", "is not a time"),
        ("2150-13-01", "is not a time"),
        ("2150-03-01 25:00:00", "is not a time"),
        ("13/13/2150", "is not a time"),
        ("3/13/50", "is not a time"),
        ("45123.5", "is not a time"),
        ("2150-03-01T10:05:00Z", "has a time zone"),
        ("2150-03-01 10:05:00+01:00", "has a time zone"),
        ("2150-03-01 10:05 CET", "has a time zone"),
        ("0001-01-01", "is not between 1678 and 2261"),
        ("9999-12-31 00:00:00", "is not between 1678 and 2261"),
    ],
)
def test_a_time_without_one_is_named(cell, why):
    assert read(parse_times, cell, "2150-03-01")[:2] == ([None, at("2150-03-01")], {why: [cell]})


def test_whoever_knows_how_dates_are_meant_may_say_so():
    assert read(parse_times, "3/4/2150", order="day-first")[0] == [at("2150-04-03")]
    assert read(parse_times, "3/4/2150", order="month-first")[0] == [at("2150-03-04")]
    assert read(parse_times, "13/4/2150", order="month-first")[0] == [at("2150-04-13")]


def test_what_was_in_another_form_is_counted_and_what_was_not_is_not():
    assert read(parse_times, "5/5/2150", "2150-05-05", "2150-05-05 10:00:00")[2] == {
        "time in another form": ["5/5/2150"]
    }


@given(st.lists(st.one_of(st.none(), st.text(max_size=20), st.datetimes().map(str)), max_size=20))
def test_a_cell_is_a_value_or_has_a_reason_whatever_it_holds(cells):
    for parse in (parse_integers, parse_numbers, parse_times):
        column = parse(pa.array(cells, pa.string()))
        for position, (cell, value) in enumerate(zip(cells, column.values.to_pylist(), strict=True)):
            reasons = sum(bool(rows[position]) for rows in column.refused.values())
            assert reasons == (cell is not None and value is None)


@given(st.lists(st.datetimes(at("1700-01-01"), at("2200-01-01")), min_size=1), st.booleans())
def test_dirty_neighbours_do_not_change_how_a_time_is_read(times, dirty):
    cells = [str(time) for time in times] + (["x"] if dirty else [])
    assert parse_times(pa.array(cells)).values.to_pylist()[: len(times)] == times
