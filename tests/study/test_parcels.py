"""What is wrapped comes out as it was; what is no parcel is refused, and what is large is left alone."""

from contextlib import suppress

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from study import parcels
from study.parcels import PARCEL, ParcelUnreadable, unwrap, wrap

NAMES = st.text(min_size=1, max_size=8)
ARRAYS = st.one_of(
    arrays(np.float32, array_shapes(min_dims=0, max_dims=3, max_side=4), elements=st.floats(-1e9, 1e9, width=32)),
    arrays(np.int64, array_shapes(min_dims=0, max_dims=2, max_side=4)),
)
RECORDS = st.one_of(
    st.dictionaries(NAMES, ARRAYS, max_size=3).map(
        lambda held: ArrayRecord({name: Array(array) for name, array in held.items()})
    ),
    st.dictionaries(NAMES, st.one_of(st.integers(-(2**60), 2**60), st.floats()), max_size=3).map(MetricRecord),
    st.dictionaries(NAMES, st.one_of(st.text(), st.booleans(), st.binary(), st.lists(st.text(), min_size=1))).map(
        ConfigRecord
    ),
)


def told(content: RecordDict) -> dict:
    """Put content in words that compare equal where it is equal, order included."""
    return {
        name: (type(record).__name__, [(key, repr(value)) for key, value in record.items()])
        for name, record in content.items()
    }


@given(st.dictionaries(NAMES.filter(lambda name: name != PARCEL), RECORDS, max_size=4))
def test_what_is_wrapped_comes_out_as_it_was(records):
    content = RecordDict(records)
    before = told(content)
    wrapped = wrap(content)
    assert list(wrapped) == [PARCEL]
    assert wrap(wrapped) is wrapped
    assert told(unwrap(wrapped)) == before == told(content)


def test_content_that_was_never_wrapped_is_itself():
    content = RecordDict({"config": ConfigRecord({"round": 1})})
    assert unwrap(content) is content


def test_large_content_travels_as_it_is(monkeypatch):
    content = RecordDict({"arrays": ArrayRecord({"w": Array(np.zeros(100))})})
    monkeypatch.setattr(parcels, "LARGEST", 500)
    assert wrap(content) is content


@pytest.mark.parametrize(
    "content",
    [
        {PARCEL: ConfigRecord({PARCEL: b"\xff no protobuf"})},
        {PARCEL: ConfigRecord({PARCEL: "a text"})},
        {PARCEL: ConfigRecord({"other": b""})},
        {PARCEL: ConfigRecord({PARCEL: b"", "other": 1})},
        {PARCEL: MetricRecord({PARCEL: 1})},
        {PARCEL: ConfigRecord({PARCEL: b""}), "beside": ConfigRecord({})},
    ],
)
def test_what_is_no_parcel_is_refused_without_being_quoted(content):
    with pytest.raises(ParcelUnreadable, match="a parcel that"):
        unwrap(RecordDict(content))


@given(st.binary(max_size=200))
def test_no_bytes_do_harm(packed):
    with suppress(ParcelUnreadable):
        unwrap(RecordDict({PARCEL: ConfigRecord({PARCEL: packed})}))
