"""A coordinator that names one application and sends another: nothing of it is unpacked, and the site says why.

Flower's own SuperLink cannot send such a message, so the SuperNode's side is played here; the gate is the real one.
"""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from flwr.app import Context, Message, Metadata, RecordDict
from flwr.app.message import make_message

from clients.replies import VERDICT
from clinical.chain import read_chain
from gate.approvals import approve
from gate.bundle import digest_of, read_bundle
from gate.executor import Gate
from gate.onboarding import found_site
from gate.runtime import Delivery
from gate.workers import Nursery
from tests.gate.bundles import pack, project
from tests.gate.test_approvals import NOON

HONEST = pack({"pyproject.toml": project(), "tiny/app.py": "a = 1\n"})
TAMPERED = pack({"pyproject.toml": project(), "tiny/app.py": "a = 2\n"})


@pytest.fixture
def site(tmp_path, network):
    site = found_site(
        tmp_path / "site", name="North", superlink="127.0.0.1:1", root_certificate=None, data=network / "hospital-1"
    )
    approve(site.approvals, read_bundle(HONEST), by="Ann", at=NOON)
    return site


def delivery(content: bytes, *, named: str, labelled: str) -> Delivery:
    metadata = Metadata(1, "m", 1, 2, "", "", 0.0, 3600.0, "train")
    message: Message = make_message(metadata=metadata, content=RecordDict())
    run = SimpleNamespace(run_id=1, fab_hash=named)
    return Delivery(
        message, Context(1, 2, {}, RecordDict(), {}), run, SimpleNamespace(content=content, hash_str=labelled)
    )


@pytest.mark.parametrize(
    ("content", "named", "labelled"),
    [
        (TAMPERED, HONEST, HONEST),  # approved by its label, another by its bytes
        (TAMPERED, HONEST, TAMPERED),
        (HONEST, TAMPERED, TAMPERED),
        (HONEST, HONEST, TAMPERED),
        (HONEST[:-1], HONEST, HONEST),
        (b"", HONEST, HONEST),
    ],
)
def test_a_bundle_that_is_not_the_one_the_run_names_is_refused_and_never_unpacked(
    site, tmp_path, monkeypatch, content, named, labelled
):
    sent = []
    task = SimpleNamespace(
        number=1,
        unwanted=False,
        receive=lambda: delivery(content, named=digest_of(named), labelled=digest_of(labelled)),
        send=lambda reply, context: sent.append(reply),
    )

    @contextmanager
    def played(address, token):
        yield task

    monkeypatch.setattr("gate.executor.open_task", played)
    nursery = Nursery(tmp_path / "applications.log")
    Gate(site, nursery)._serve("token")
    (reply,) = sent
    assert dict(reply.content.config_records[VERDICT]) == {
        "status": "refused",
        "reason": "the application that arrived is not the one the run names: its hash differs",
    }
    assert [entry["decision"] for entry in read_chain(site.journal).entries] == ["refused"]
    assert not list((site.cache / "applications").rglob("*.py"))
    assert nursery.pid is None  # nothing was started
