"""Flower's side of the gate: its SuperNode as a child, and the messages it has for us.

The SuperNode fetches messages and hands them out over its Runtime API on the loopback address. With
``--isolation process`` it starts nothing itself; whoever holds the secret may acquire a task, and the task's token,
which lets its holder answer, stays in this process. The application never sees either.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from flwr.app import Message
from flwr.common.constant import SubStatus
from flwr.common.serde import context_from_proto, fab_from_proto, run_from_proto
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import (
    AcquireTaskRequest,
    PullAppMessagesRequest,
    PullTaskInputRequest,
    SendTaskHeartbeatRequest,
)
from flwr.supercore.constant import TaskType
from flwr.supercore.heartbeat import HeartbeatSender
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_confirm_message_received_fn_protobuf,
    make_pull_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import pull_and_inflate_object_from_tree
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode.runtime.run_clientapp import push_message, push_task_output

from gate import node
from study.parcels import open_parcel, wrap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flwr.app import Context
    from flwr.supercore.fab import Fab
    from flwr.supercore.run import Run

    from gate.site import Site


log = logging.getLogger("wardround")

HOST = "127.0.0.1"
_ACQUIRE = frozenset({"/flwr.proto.Runtime/AcquireTask"})
_END_SECONDS = 10.0
_LOOK_SECONDS = (0.02, 0.1)


class SuperNode:
    """Flower's node process, as a child that ends with this process."""

    def __init__(self, site: Site) -> None:
        """Take the site; nothing is started yet."""
        self._site = site
        self._process: subprocess.Popen[bytes] | None = None
        self._client: RuntimeHttpClient | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self.address = ""

    @property
    def ended(self) -> int | None:
        """The exit code, once it has ended; negative for a signal."""
        return None if self._process is None else self._process.poll()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, with a fresh secret."""
        self.stop()
        secret = secrets.token_bytes(32)
        self._scratch = tempfile.TemporaryDirectory(prefix="wardround-gate-")
        place = Path(self._scratch.name) / "secret"
        place.touch(mode=0o600)
        place.write_bytes(secret)
        port = self._site.runtime_port or _free_port()
        self.address = f"{HOST}:{port}"
        descriptor = os.open(self._site.logs / "supernode.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = subprocess.Popen(  # noqa: S603  # our own command line
                self._command(port, place),
                env=_environment(self._site),
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,  # Ctrl-C is for the gate, which then ends its children in order
            )
        finally:
            os.close(descriptor)
        self._client = RuntimeHttpClient.from_server_address(
            self.address,
            insecure=True,
            root_certificates=None,
            interceptors=[
                RuntimeVersionHttpInterceptor(component_name="SuperExec"),
                SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods=_ACQUIRE),
            ],
        )

    def _command(self, port: int, secret: Path) -> list[str]:
        site = self._site
        command = [sys.executable, "-P", node.__file__, "--superlink", site.superlink, "--isolation", "process"]
        command += ["--host", HOST, "--port", str(port), "--superexec-auth-secret-file", str(secret)]
        if not site.secure:
            return [*command, "--insecure"]
        return [
            *command,
            *("--root-certificates", str(site.path(site.root_certificate))),
            *("--auth-supernode-private-key", str(site.path(site.key))),
        ]

    def acquire(self) -> str | None:
        """Take the next task's token; None while there is no task, or no answer yet."""
        assert self._client is not None
        try:
            answer = self._client.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.CLIENT_APP]))
        except httpx.TransportError:
            return None
        except httpx.HTTPStatusError as fault:
            log.warning("the SuperNode hands out no task: HTTP %d", fault.response.status_code)
            time.sleep(1)
            return None
        if self._scratch is not None:  # it answers, so it has read the secret, which needs to be on no disk any more
            self._scratch.cleanup()
            self._scratch = None
        return answer.token if answer.HasField("task") and answer.token else None

    def stop(self) -> None:
        """End it and wait for its end."""
        if self._client is not None:
            self._client.close()
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=_END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._scratch is not None:
            self._scratch.cleanup()
        self._process = self._client = self._scratch = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a task came with."""

    message: Message
    context: Context
    run: Run
    bundle: Fab


class Task:
    """One message that this site has to answer, and the only way to answer it."""

    def __init__(self, client: RuntimeHttpClient) -> None:
        """Take the connection that speaks for the task."""
        self._client = client
        self._unwanted = threading.Event()
        self.number = 0  # Flower's, known once the message is here

    @property
    def unwanted(self) -> bool:
        """Whether nobody waits for the answer any more: the run was stopped, or the node has gone."""
        return self._unwanted.is_set()

    def receive(self) -> Delivery:
        """Fetch the message, its context, its run and the bundle that is to answer it.

        Flower's own way there waits a second where the SuperNode has announced a message and not stored it yet, which
        for whoever asks at once is most of the time; this one looks again sooner.

        Raises:
            RuntimeError: the task has no message.
            ParcelUnreadable: its content is a parcel that is none.
        """
        given = self._client.PullTaskInput(PullTaskInputRequest())
        context = context_from_proto(given.context)
        node = Node(node_id=context.node_id)
        self.number = given.task_id
        TaskIdentity.task_id, TaskIdentity.run_id = given.task_id, context.run_id  # replies carry them
        TaskIdentity.node_id = context.node_id
        pulled = self._client.PullMessages(PullAppMessagesRequest())
        if not pulled.messages_list:
            raise RuntimeError("the task has no message")
        (tree,) = pulled.message_object_trees
        message = pull_and_inflate_object_from_tree(
            tree,
            make_pull_object_fn_protobuf(self._client.PullObject, node, context.run_id),
            make_confirm_message_received_fn_protobuf(self._client.ConfirmMessageReceived, node, context.run_id),
            return_type=Message,
            initial_backoff=_LOOK_SECONDS[0],
            backoff_cap=_LOOK_SECONDS[1],
        )
        message.metadata.__dict__["_message_id"] = (
            tree.object_id
        )  # a message without its own id, by which it is answered
        return Delivery(open_parcel(message), context, run_from_proto(given.run), fab_from_proto(given.fab))

    def send(self, reply: Message, context: Context) -> None:
        """Hand over the answer and close the task."""
        if reply.has_content():
            reply.content = wrap(reply.content)
        push_message(self._client, reply, context)
        push_task_output(self._client, context, SubStatus.COMPLETED, "")

    def beat(self) -> bool:
        """Tell Flower that the task is worked on; it gives a task up that nobody speaks for."""
        try:
            wanted = self._client.SendTaskHeartbeat(SendTaskHeartbeatRequest()).success
        except httpx.TransportError:
            return False
        except httpx.HTTPStatusError:
            wanted = False
        if not wanted:
            self._unwanted.set()
        return True


@contextmanager
def open_task(address: str, token: str) -> Iterator[Task]:
    """Speak for a task while its message is answered."""
    client = RuntimeHttpClient.from_server_address(
        address,
        insecure=True,
        root_certificates=None,
        interceptors=[
            RuntimeVersionHttpInterceptor(component_name="flwr-clientapp"),
            RuntimeTokenHttpInterceptor(token),
        ],
    )
    task = Task(client)
    heart = HeartbeatSender(task.beat)
    heart.start()
    try:
        yield task
    finally:
        with suppress(RuntimeError):  # it has ended itself
            heart.stop()
        client.close()


def _environment(site: Site) -> dict[str, str]:
    return {
        **os.environ,
        "FLWR_HOME": str(site.cache / "flower"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port
