"""Messages out, replies in: every hospital's silence, error or refusal is counted under its own name.

Flower logs a hung client as "0 failures" and a run in which every client failed as completed. Here a question has
exactly one outcome per hospital, and nothing is lost between them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.common.constant import ErrorCode

from study.parcels import ParcelUnreadable, unwrap, wrap

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import numpy as np
    from flwr.serverapp import Grid

Arrays = dict[str, "np.ndarray"]

VERDICT = "verdict"  # the record in every reply that says whether the hospital did what it was asked
CONFIG = "config"  # the record in every question that carries its terms
RETRY_SECONDS = (0.02, 0.1)  # between two tries for a reply that is announced before it is there, at first and at most
LOOK_SECONDS = (0.05, 0.5)  # how long to wait between two looks for replies, at first and at most


@dataclass(frozen=True, slots=True)
class Absence:
    """A hospital that gave no usable reply, and why: ``refused``, ``error``, ``timeout`` or ``rejected``."""

    node: int
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came back on one question: content by node id, and an absence for every other node."""

    replies: dict[int, RecordDict]
    absences: tuple[Absence, ...]


def ask(grid: Grid, nodes: Iterable[int], question: str, content: RecordDict, *, timeout_seconds: float) -> Outcome:
    """Send one question to some nodes and wait for their replies.

    Args:
        grid: Flower's connection to the nodes.
        nodes: node ids.
        question: the message type, for example ``query.admit``.
        content: what is sent to each of them.
        timeout_seconds: how long to wait; a node that has not answered by then is absent.
    """
    messages = [Message(content=content, message_type=question, dst_node_id=node) for node in nodes]
    return collect(grid, messages, timeout_seconds=timeout_seconds)


def collect(grid: Grid, messages: Iterable[Message], *, timeout_seconds: float) -> Outcome:
    """Send messages, each content as a parcel, and sort what comes back."""
    messages = list(messages)
    contents = {id(message.content): message.content for message in messages}  # most go to every hospital
    parcels = {number: wrap(content) for number, content in contents.items()}
    for message in messages:
        message.content = parcels[id(message.content)]
    waiting = {message.metadata.dst_node_id for message in messages}
    replies: dict[int, RecordDict] = {}
    absences = []
    for node, reply in _replies(grid, messages, timeout_seconds=timeout_seconds):
        waiting.discard(node)
        if reply.has_error():
            absences.append(Absence(node, "error", _fault(reply.error.code)))
            continue
        try:
            content = unwrap(reply.content)
        except ParcelUnreadable as fault:
            absences.append(Absence(node, "error", f"the reply is {fault}"))
            continue
        if (refusal := _refusal(content)) is not None:
            absences.append(Absence(node, *refusal))
        else:
            replies[node] = content
    absences += [Absence(node, "timeout", f"no reply within {timeout_seconds:g} s") for node in sorted(waiting)]
    return Outcome(replies, tuple(absences))


def _replies(grid: Grid, messages: list[Message], *, timeout_seconds: float) -> Iterator[tuple[int, Message]]:
    """Send messages and give each reply as it comes, with the node that was asked.

    Flower's own `send_and_receive` looks every three seconds, which is most of a short round. When a node is gone
    Flower replies in its place and under its own number, so who is meant is known from the message alone.
    """
    _hasten()
    deadline = time.monotonic() + timeout_seconds
    asked = {
        identifier: message.metadata.dst_node_id
        for identifier, message in zip(grid.push_messages(messages), messages, strict=False)  # none, if too large
        if identifier
    }
    waiting = set(asked)
    missing, (pause, longest) = len(waiting), LOOK_SECONDS
    while missing > 0:
        for reply in grid.pull_messages(waiting):
            waiting.discard(reply.metadata.reply_to_message_id)
            missing -= 1
            yield asked.get(reply.metadata.reply_to_message_id, reply.metadata.src_node_id), reply
        left = deadline - time.monotonic()
        if missing == 0 or left <= 0:
            return
        time.sleep(min(pause, left))
        pause = min(1.2 * pause, longest)


def _hasten() -> None:
    """Have Flower's grid look sooner for what of a reply has been announced and not arrived; it waits a second first.

    Flower offers no setting for it, so its module is told. Where that has changed it waits as long as it likes;
    tests/federation/test_exchange.py says so then.
    """
    from flwr.superlink.grid import http_grid

    pull = getattr(http_grid, "pull_objects", None)
    if pull is not None and not isinstance(pull, partial):
        first, longest = RETRY_SECONDS
        vars(http_grid)["pull_objects"] = partial(pull, initial_backoff=first, backoff_cap=longest)


def terms(config: Mapping[str, str | int | float | bool | list[str]]) -> RecordDict:
    """Return a question's content that carries terms only."""
    return RecordDict({CONFIG: ConfigRecord(dict(config))})


def array_record(arrays: Arrays) -> ArrayRecord:
    """Return numpy arrays as Flower sends them."""
    return ArrayRecord({name: Array(array) for name, array in arrays.items()})


def numpy_arrays(record: ArrayRecord) -> Arrays:
    """Return Flower's arrays as numpy arrays."""
    return {name: array.numpy() for name, array in record.items()}


def _fault(code: int) -> str:
    if code == ErrorCode.NODE_UNAVAILABLE:
        return "its node went offline before it answered"
    return f"the node reported Flower error {code}"


def _refusal(content: RecordDict) -> tuple[str, str] | None:
    verdict = content.config_records.get(VERDICT)
    if verdict is None:
        return "error", "the reply carries no verdict: the node runs another application"
    status = str(verdict["status"])
    return None if status == "ok" else (status, str(verdict.get("reason", "no reason given")))
