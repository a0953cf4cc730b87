"""The nursery: a process that has imported what applications need, and forks a worker for each run.

A new Python process that imports torch takes seconds; a fork of one that has takes milliseconds. This file is run by
its path with ``python -I``, imports nothing of Wardround and touches no data, so that a worker begins as a fresh
process with warm libraries would. It answers the messages of its run, so that the records are read once and not for
every round; what it learns of one run dies with it.

The application's modules come from its own bundle. The site may have Wardround installed as well; a worker refuses to
import any of those packages, so that approved code never mixes with code that is merely there.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import importlib.abc
import json
import os
import signal
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

HEAD = struct.Struct("!cQQQ")  # kind, Flower's number of the task, length of the first part, length of the second
REPLY, FAULT = b"R", b"F"
_PR_SET_PDEATHSIG = 1


class NotInTheBundle(importlib.abc.MetaPathFinder):
    """Refuses the site's own packages where the bundle has none of that name."""

    def __init__(self, folder: Path, reserved: Sequence[str]) -> None:
        """Take the bundle's folder and the names that may come from nowhere else."""
        self._absent = frozenset(
            name for name in reserved if not (folder / name).is_dir() and not (folder / f"{name}.py").is_file()
        )

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Let others find every module but the reserved ones."""
        del path, target
        if fullname in self._absent:
            raise ModuleNotFoundError(f"the application's bundle has no module {fullname}", name=fullname)
        return None


def serve(control: socket.socket, libraries: Sequence[str]) -> None:
    """Import the libraries, then fork a worker for every order until the other side hangs up.

    An order is JSON with the open file descriptor of the worker's channel beside it; the answers are one line with the
    worker's process id and, after its end, one with its wait status. There is one worker at a time.
    """
    _die_with_parent()
    absent = [name for name in libraries if not _imported(name)]
    gc.collect()
    gc.freeze()  # what every worker shares stays shared
    _say(control, {"ready": True, "absent": absent})
    while True:
        text, descriptors, _, _ = socket.recv_fds(control, 65536, 1)
        if not text:
            return
        channel = socket.socket(fileno=descriptors[0])
        pid = os.fork()
        if pid == 0:
            control.close()
            os._exit(_work(channel, json.loads(text)))
        channel.close()
        _say(control, {"pid": pid})
        _, status = os.waitpid(pid, 0)
        with suppress(OSError):  # whatever the worker started goes with it
            os.killpg(pid, signal.SIGKILL)
        _say(control, {"status": status})


def _imported(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def _say(control: socket.socket, line: dict[str, Any]) -> None:
    control.sendall(json.dumps(line).encode() + b"\n")


def _die_with_parent() -> None:
    """Ask Linux to kill this process when its parent ends; elsewhere the closed socket has to do."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _work(channel: socket.socket, order: dict[str, Any]) -> int:
    """Answer messages in a forked worker until the gate hangs up or one fails; return its exit code."""
    os.setpgid(0, 0)
    _die_with_parent()
    try:
        application = _application(order)
        while (asked := _heard(channel)) is not None:
            channel.sendall(_answer(application, *asked))
    except BaseException as fault:  # noqa: BLE001  # reported by its type; the text may quote a patient
        import traceback

        traceback.print_exc()
        kind = type(fault).__name__ if type(fault).__module__ == "builtins" else "Exception"
        channel.sendall(HEAD.pack(FAULT, 0, len(kind), 0) + kind.encode())
    sys.stdout.flush()
    sys.stderr.flush()
    return 0


def _application(order: dict[str, Any]) -> Any:
    """Load the bundle's application."""
    from flwr.supercore.object_ref import load_app

    folder = Path(order["folder"])
    _enter(folder, order["reserved"])
    return load_app(order["component"], ImportError, folder)


def _answer(application: Any, task: int, question: bytes, surroundings: bytes) -> bytes:
    from flwr.common.serde import context_from_proto, context_to_proto, message_from_proto, message_to_proto
    from flwr.proto.message_pb2 import Context, Message
    from flwr.supercore.task_identity import TaskIdentity

    message = message_from_proto(Message.FromString(question))
    context = context_from_proto(Context.FromString(surroundings))
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = task, context.run_id, context.node_id
    reply = application(message, context)
    parts = message_to_proto(reply).SerializeToString(), context_to_proto(context).SerializeToString()
    sys.stdout.flush()
    sys.stderr.flush()
    return HEAD.pack(REPLY, task, *map(len, parts)) + b"".join(parts)


def _enter(folder: Path, reserved: Sequence[str]) -> None:
    """Make the bundle the first place where modules are looked for, and the only one for the site's own names."""
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(folder))
    sys.meta_path.insert(0, NotInTheBundle(folder, reserved))
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # else every worker would draw what the others draw


def _heard(channel: socket.socket) -> tuple[int, bytes, bytes] | None:
    """Read one message: its task's number and its two parts; None where the gate has hung up."""
    if not channel.recv(1, socket.MSG_PEEK):
        return None
    _, task, first, second = HEAD.unpack(_read(channel, HEAD.size))
    return task, _read(channel, first), _read(channel, second)


def _read(channel: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        piece = channel.recv(min(size - len(parts), 1 << 20))
        if not piece:
            raise EOFError("the channel ended in the middle of a frame")
        parts += piece
    return bytes(parts)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2].split(","))
