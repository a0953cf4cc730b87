"""Workers: warm libraries, the bundle's own code and nothing of the site's, and an end that takes nothing with it."""

import inspect
import itertools
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from flwr.app import Context, Message, Metadata, RecordDict
from flwr.app.message import make_message
from flwr.common.serde import context_to_proto, message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as MessageProto

from gate import node, workers
from gate.bundle import Shelf, read_bundle
from gate.node import HEARTBEAT_SECONDS, IDLE_SECONDS, LIVELY_FOR, LIVELY_SECONDS, ShortWaits
from gate.workers import Nursery, Order, WorkerCancelled, WorkerFailed
from tests.gate.bundles import pack, project

LIBRARIES = ("numpy", "flwr.app", "flwr.clientapp", "flwr.common.serde", "flwr.supercore.object_ref")
MARK = "Ottilie Quastenflosser, 4711"

HEAD = """
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()
seen = []


def reply(message, **facts):
    return Message(RecordDict({"told": ConfigRecord(facts)}), reply_to=message)


@app.query()
def answer(message, context):
"""


@pytest.fixture(scope="module")
def nursery(tmp_path_factory):
    with Nursery(tmp_path_factory.mktemp("nursery") / "applications.log", libraries=LIBRARIES) as running:
        yield running


@pytest.fixture
def ask(nursery, tmp_path):
    """Answer a message with an application whose handler has this body, in a run of its own unless one is named."""
    runs = itertools.count(1000)

    def asked(body: str, *, run=None, cancelled=lambda: False, largest=1 << 20, files=None) -> dict:
        run = next(runs) if run is None else run
        lines = "".join(f"    {line}\n" for line in body.splitlines())
        bundle = read_bundle(pack({"pyproject.toml": project(), "tiny/app.py": HEAD + lines, **(files or {})}))
        folder = Shelf(tmp_path / "shelf").place(bundle)
        order = Order(run, folder, bundle.component, 3, *question(), largest=largest)
        answer = nursery.answer(order, cancelled=cancelled)
        return dict(message_from_proto(MessageProto.FromString(answer.message)).content["told"])

    return asked


def question() -> tuple[bytes, bytes]:
    metadata = Metadata(1, "m", 1, 2, "", "", time.time(), 3600.0, "query")
    message: Message = make_message(metadata=metadata, content=RecordDict())
    context = Context(1, 2, {}, RecordDict(), {})
    return message_to_proto(message).SerializeToString(), context_to_proto(context).SerializeToString()


def test_a_message_is_answered_by_the_bundles_own_code(ask):
    told = ask("import tiny.app\nreturn reply(message, file=tiny.app.__file__)")
    assert "/shelf/" in told["file"]


def test_packages_of_the_sites_own_wardround_come_from_the_bundle_or_not_at_all(ask):
    body = "import clients\nreturn reply(message, file=clients.__file__)"
    assert "/shelf/" in ask(body, files={"clients/__init__.py": ""})["file"]
    with pytest.raises(WorkerFailed, match="raised ModuleNotFoundError"):
        ask(body)


@pytest.mark.parametrize("room", ["gate", "privacy.ledger", "wardround"])
def test_the_sites_own_code_is_not_there(ask, room):
    with pytest.raises(WorkerFailed, match="raised ModuleNotFoundError"):
        ask(f"import {room}\nreturn reply(message)")


SEEN = "seen.append(1)\nreturn reply(message, times=len(seen))"


def test_a_worker_remembers_its_run_and_nothing_of_another(ask):
    assert [ask(SEEN, run=run)["times"] for run in (1, 1, 2, 1, 1)] == [1, 2, 1, 1, 2]


def test_another_application_of_the_same_run_gets_a_worker_of_its_own(ask):
    assert ask(SEEN, run=1) == ask(f"{SEEN}  # changed", run=1) == {"times": 1}


PID = "import os\nreturn reply(message, pid=os.getpid())"


def test_a_worker_that_ended_between_two_messages_is_replaced(ask, nursery):
    pid = ask(PID, run=1)["pid"]
    os.kill(pid, signal.SIGKILL)
    while not nursery._told():  # a message that comes before the end is known fails with its reason
        time.sleep(0.01)
    assert ask(PID, run=1)["pid"] != pid


def test_a_worker_that_failed_answers_no_further_message_of_its_run(ask):
    body = "seen.append(1)\nif message.metadata.message_id:\n    raise KeyError\nreturn reply(message)"
    for _ in range(2):
        with pytest.raises(WorkerFailed, match="raised KeyError"):
            ask(body, run=1)
    assert ask(SEEN, run=1) == {"times": 1}


def test_a_worker_that_nobody_needed_for_long_is_ended(ask, nursery, monkeypatch):
    pid = ask(PID, run=1)["pid"]
    nursery.rest()
    assert ask(PID, run=1)["pid"] == pid
    monkeypatch.setattr(workers, "_REST_SECONDS", 0.0)
    nursery.rest()
    assert not _alive(pid)
    assert ask(PID, run=1)["pid"] != pid


def test_workers_do_not_draw_the_same_numbers(ask):
    body = "import numpy\nreturn reply(message, drawn=float(numpy.random.random()))"
    assert len({ask(body)["drawn"] for _ in range(3)}) == 3


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
        ("import os\nos._exit(3)", "ended with code 3"),
        ("import os\nos._exit(0)", "ended with code 0"),
        ("raise SystemExit(1)", "raised SystemExit"),
        (f"raise ValueError({MARK!r})", "raised ValueError"),
        (f"raise type({MARK!r}, (Exception,), {{}})", "raised Exception"),
        (f"raise type({'Quastenflosser'!r}, (Exception,), {{}})", "raised Exception"),
        ("return 3", "raised AttributeError"),
    ],
)
def test_a_worker_that_fails_is_a_reason_without_values_and_the_next_one_works(ask, body, reason):
    with pytest.raises(WorkerFailed, match=reason) as found:
        ask(body)
    assert "Quastenflosser" not in str(found.value)
    assert ask("return reply(message, fine=1)") == {"fine": 1}


def test_what_a_worker_has_started_ends_with_it(ask):
    body = "import subprocess\nreturn reply(message, pid=subprocess.Popen(['sleep', '60']).pid)"
    pid = ask(body)["pid"]
    assert _alive(pid)
    ask("return reply(message)")  # another run's
    for _ in range(100):
        if not _alive(pid):
            return
        time.sleep(0.05)
    pytest.fail("a process of the application outlived it")


def test_a_process_that_keeps_the_channel_open_does_not_keep_the_gate_waiting(ask):
    body = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(20)\n    os._exit(0)\n"
    with pytest.raises(WorkerFailed, match="killed by SIGKILL"):
        ask(body + "os.kill(os.getpid(), 9)")
    assert ask(body + "return reply(message, fine=1)") == {"fine": 1}


def test_an_unwanted_worker_is_ended(ask):
    with pytest.raises(WorkerCancelled):
        ask("import time\ntime.sleep(60)", cancelled=lambda: True)
    assert ask("return reply(message, fine=1)") == {"fine": 1}


def test_a_reply_that_is_too_large_is_not_read_to_its_end(ask):
    with pytest.raises(WorkerFailed, match="larger than site policy"):
        ask("return reply(message, long='x' * 5_000_000)", largest=100_000)
    assert ask("return reply(message, fine=1)") == {"fine": 1}


def test_a_nursery_that_was_killed_is_replaced(ask, nursery):
    before = nursery.pid
    os.kill(before, signal.SIGKILL)
    while _alive(before):
        nursery.pid  # noqa: B018  # reaps it
        time.sleep(0.01)
    assert ask("return reply(message, fine=1)") == {"fine": 1}
    assert nursery.pid != before


def test_flower_has_the_waits_that_the_node_shortens():
    from flwr.supercore import heartbeat
    from flwr.supernode import fleet_http_connection, start_client_internal

    assert heartbeat.HEARTBEAT_DEFAULT_INTERVAL == fleet_http_connection.HEARTBEAT_DEFAULT_INTERVAL > HEARTBEAT_SECONDS
    assert start_client_internal.time is time
    assert {"initial_backoff", "backoff_cap"} <= inspect.signature(start_client_internal.pull_objects).parameters.keys()


def test_the_node_looks_often_while_messages_come(monkeypatch):
    slept = []
    monkeypatch.setattr(node, "time", SimpleNamespace(sleep=slept.append, monotonic=lambda: now, time=time.time))
    waits, now = ShortWaits(), 1000.0
    waits.sleep(3)
    waits.wake()
    waits.sleep(3)
    waits.sleep(0.01)
    now += LIVELY_FOR
    waits.sleep(3)
    assert slept == [IDLE_SECONDS, LIVELY_SECONDS, 0.01, IDLE_SECONDS]
    assert waits.time is time.time


def _alive(pid: int) -> bool:
    with suppress(OSError):
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return False


def _may_unshare() -> bool:
    words = ["unshare", "--user", "--map-current-user", "--net", "true"]
    return bool(shutil.which("unshare")) and subprocess.run(words, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not _may_unshare(), reason="this machine lets nobody leave the network's name space")
def test_a_sandbox_without_a_network_leaves_an_application_none(tmp_path):
    body = (
        "try:\n    socket.create_connection(('127.0.0.1', {port}))\nexcept OSError:\n    return reply(message, net=0)\n"
    )
    told = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        text = "import socket\n" + body.format(port=server.getsockname()[1]) + "return reply(message, net=1)"
        lines = "".join(f"    {line}\n" for line in text.splitlines())
        bundle = read_bundle(pack({"pyproject.toml": project(), "tiny/app.py": HEAD + lines}))
        folder = Shelf(tmp_path / "shelf").place(bundle)
        for sandbox in ((), ("unshare", "--user", "--map-current-user", "--net")):
            with Nursery(tmp_path / "log", sandbox=sandbox, libraries=LIBRARIES) as nursery:
                order = Order(1, folder, bundle.component, 3, *question(), largest=1 << 20)
                answer = nursery.answer(order, cancelled=lambda: False)
                told.append(message_from_proto(MessageProto.FromString(answer.message)).content["told"]["net"])
    assert told == [1, 0]
