"""Parcels: a message's content as one record on its way, because Flower moves each record and array by its own request.

A question with a model of four arrays is twelve objects to Flower, its reply up to thirty, and each is fetched and
stored one by one at every station between two applications. In a parcel it is three. What is large travels as it is:
there the requests are the smaller part, and Flower cuts it into pieces that can be sent again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flwr.app import ConfigRecord, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.recorddict_pb2 import RecordDict as RecordDictProto

if TYPE_CHECKING:
    from flwr.app import Message

PARCEL = "parcel"
LARGEST = 4 << 20  # bytes; Flower cuts arrays into pieces of 5 MiB


class ParcelUnreadable(ValueError):
    """What came as a parcel is none; the message says so and quotes nothing."""


def wrap(content: RecordDict) -> RecordDict:
    """Return content as one record, or as it is where it is large or a parcel already.

    Args:
        content: records of any kind; it is left as it is.
    """
    if PARCEL in content:
        return content
    packed = recorddict_to_proto(content).SerializeToString()
    return RecordDict({PARCEL: ConfigRecord({PARCEL: packed})}) if len(packed) <= LARGEST else content


def unwrap(content: RecordDict) -> RecordDict:
    """Return what was wrapped, or the content itself where it is no parcel.

    Raises:
        ParcelUnreadable: there is something beside the parcel, or it holds no records.
    """
    if PARCEL not in content:
        return content
    record = content[PARCEL]
    packed = record.get(PARCEL) if isinstance(record, ConfigRecord) and len(record) == len(content) == 1 else None
    if not isinstance(packed, bytes):
        raise ParcelUnreadable("a parcel that is none")
    try:
        return recorddict_from_proto(RecordDictProto.FromString(packed))
    except Exception as fault:  # protobuf's and Flower's complaints are many, and may quote what they read
        raise ParcelUnreadable("a parcel that holds no records") from fault


def open_parcel(message: Message) -> Message:
    """Unwrap a message's content in place; one that holds an error instead stays as it is.

    Raises:
        ParcelUnreadable: as `unwrap`.
    """
    if message.has_content():
        message.content = unwrap(message.content)
    return message
