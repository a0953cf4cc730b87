"""The same applications in one process: a Grid that hands each message to the ClientApp directly.

Ray costs fifteen seconds to start and a tenth of a second a message; a laboratory comparison of arms and seeds, and a
test, need neither. Nothing else differs: the ServerApp and the ClientApp that run here are the ones `flwr run` ships.
"""

from __future__ import annotations

import copy
import logging
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flwr.app import Context, Error, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from flwr.clientapp import ClientApp
    from flwr.serverapp import ServerApp
    from flwr.supercore.run import Run

    from study.protocol import Study, Value

log = logging.getLogger("wardround")

COORDINATOR = 1
CLIENT_FAILED = 3  # Flower's code for an exception inside a ClientApp


class InProcessGrid(Grid):
    """A Grid whose nodes are contexts of this process, asked one after the other."""

    def __init__(self, client_app: ClientApp, contexts: Mapping[int, Context]) -> None:
        """Take the application all nodes run and each node's context, by node id."""
        self._client_app = client_app
        self._contexts = dict(contexts)
        self._replies: dict[str, Message] = {}

    def set_run(self, run: Run) -> None:
        """Refuse: the run is the process's own."""
        raise NotImplementedError("an in-process grid belongs to the run it was made for")

    @property
    def run(self) -> Run:
        """Refuse: there is no SuperLink that would know the run."""
        raise NotImplementedError("an in-process grid has no SuperLink run")

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Return a message of this run, as Flower's own constructor makes it."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        """Return the node ids."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Answer the messages now and return ids to pull the replies by."""
        identifiers = []
        for message in messages:
            identifier = secrets.token_hex(8)
            self._replies[identifier] = self._answer(message)
            identifiers.append(identifier)
        return identifiers

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Return the replies of pushed messages, each once."""
        return [self._replies.pop(identifier) for identifier in message_ids if identifier in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Answer the messages in turn; in one process nothing is waited for, so ``timeout`` cannot pass."""
        del timeout
        return [self._answer(message) for message in messages]

    def _answer(self, message: Message) -> Message:
        own = copy.copy(message)
        own.content = RecordDict(dict(message.content))  # what one node changes, the next must not see
        try:
            return self._client_app(own, self._contexts[message.metadata.dst_node_id])
        except Exception:  # as Flower's own backends do: a failing client is a reply, not the end of the server
            log.exception("node %d failed", message.metadata.dst_node_id)
            return Message(Error(CLIENT_FAILED, "the ClientApp raised"), reply_to=message)


def conduct(
    study: Study, server_app: ServerApp, client_app: ClientApp, node_configs: Sequence[Mapping[str, Value]]
) -> int:
    """Run a study in this process.

    Args:
        study: the agreed study.
        server_app: the coordinator's application.
        client_app: the hospitals' application.
        node_configs: each node's configuration; ``data`` names its hospital.

    Returns:
        The run's number, by which its directory is named.
    """
    run = secrets.randbits(62)
    settings = study.settings()
    contexts = {
        node: Context(run, node, dict(config), RecordDict(), dict(settings))
        for node, config in enumerate(node_configs, start=COORDINATOR + 1)
    }
    with _identity(run):
        server_app(InProcessGrid(client_app, contexts), Context(run, COORDINATOR, {}, RecordDict(), dict(settings)))
    return run


@contextmanager
def _identity(run: int) -> Iterator[None]:
    """Give this process the identity that Flower's messages carry, and take it back."""
    before = (TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id)  # noqa: SLF001  # no public reader
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = COORDINATOR, run, COORDINATOR
    try:
        yield
    finally:
        TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id = before  # noqa: SLF001
