"""Who answered what: every hospital has one outcome, also one that Flower answers for."""

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from server.exchange import Outcome, collect

NORTH, SOUTH, WEST, SUPERLINK = 7, 8, 9, 1


class Grid:
    """Answers at once: north itself, and Flower in south's place, under its own number; west never."""

    def __init__(self) -> None:
        self._sent: dict[str, Message] = {}

    def push_messages(self, messages):
        for message in messages:
            message.metadata.__dict__["_message_id"] = f"message-{message.metadata.dst_node_id}"
            self._sent[message.metadata.message_id] = message
        return list(self._sent)

    def pull_messages(self, message_ids):
        return [reply for each in message_ids for reply in self._answer(self._sent.pop(each, None))]

    def _answer(self, message):
        if message is None or message.metadata.dst_node_id == WEST:
            return []
        if message.metadata.dst_node_id == NORTH:
            return [Message(RecordDict({"verdict": ConfigRecord({"status": "ok"})}), reply_to=message)]
        reply = Message(Error(5, "node unavailable"), reply_to=message)
        reply.metadata.__dict__["_src_node_id"] = SUPERLINK
        return [reply]


@pytest.fixture(autouse=True)
def _in_a_run(monkeypatch):
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


def ask() -> Outcome:
    messages = [Message(RecordDict(), message_type="query", dst_node_id=node) for node in (NORTH, SOUTH, WEST)]
    return collect(Grid(), messages, timeout_seconds=0.3)


def test_a_hospital_for_which_flower_answers_is_absent_once_and_under_its_own_number():
    outcome = ask()
    assert list(outcome.replies) == [NORTH]
    assert [(gone.node, gone.kind) for gone in outcome.absences] == [(SOUTH, "error"), (WEST, "timeout")]
    assert outcome.absences[0].reason == "its node went offline before it answered"
