"""The executor: takes a message, decides whether the application may see it, and lets its answer leave or not.

The order is the point. The policy is read first, then the bundle's hash is held against the approvals, then the journal
says that the message is let in; only then is the bundle laid out and its code run. The reply is inspected, the journal
says what is about to leave, and only then it leaves. Whatever goes wrong ends as a reply with a reason: the coordinator
is told, and need not wait until Flower gives the message up.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import signal
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
from flwr.app import Message, RecordDict
from flwr.common.serde import context_from_proto, context_to_proto, message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Context as ContextProto
from flwr.proto.message_pb2 import Message as MessageProto

from clients.policy import PolicyRefusal
from clients.replies import VERDICT, verdict
from clinical.chain import ChainBroken
from gate.border import EgressRefusal
from gate.bundle import BundleUnreadable, Shelf, digest_of, read_bundle
from gate.egress import inspect
from gate.journal import Journal
from gate.node import LIVELY_FOR
from gate.runtime import SuperNode, open_task
from gate.site import running
from gate.terms import LedgerMark, asked_of, question_of, read_rules, require_known
from gate.workers import Nursery, Order, WorkerCancelled, WorkerFailed
from study.parcels import ParcelUnreadable, unwrap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flwr.app import Context

    from gate.bundle import Bundle
    from gate.journal import Asked, Decision
    from gate.runtime import Delivery, Task
    from gate.site import Site
    from gate.terms import Rules
    from gate.workers import Answer

log = logging.getLogger("wardround")

_OUTCOMES: dict[str, Decision] = {"ok": "answered", "refused": "refused", "error": "failed"}
LOOK_SECONDS = 0.4
LIVELY_LOOK_SECONDS = 0.02  # as long as the SuperNode itself looks often
RESTART_SECONDS = 2.0
STEADY_SECONDS = 60.0  # a SuperNode that ran that long has worked, so its end is no matter of the site's settings
PATIENCE_SECONDS = 45.0  # longer than the coordinator takes a node that was killed for online and turns its return away
FAREWELL_SECONDS = 1.5  # for the SuperNode to send the last answer before it is ended


class NodeEnded(RuntimeError):
    """Flower's SuperNode ended by itself: it cannot or may not reach the coordinator."""


class AnswerRefused(RuntimeError):
    """Flower did not take an answer; the message is the kind of its complaint."""


@dataclass(slots=True)
class Clock:
    """Where the time of one message went, in seconds."""

    parts: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=time.monotonic)

    def lap(self, name: str, *, at: float | None = None) -> None:
        """Call the time since the last lap by a name."""
        now = time.monotonic() if at is None else at
        self.parts[name] = round(now - self._last, 4)
        self._last = now


class Gate:
    """The site's gate, for as long as it runs."""

    def __init__(self, site: Site, nursery: Nursery) -> None:
        """Take the site and the process that starts applications."""
        self._site, self._nursery = site, nursery
        self._journal = Journal(site.journal)
        self._shelf = Shelf(site.cache / "applications")
        self._node = SuperNode(site)
        self._ending = False
        self._idle = self._started = self._worked = time.monotonic()

    def run(self) -> None:
        """Answer messages until somebody asks for an end.

        Raises:
            NodeEnded: Flower's SuperNode has ended by itself.
        """
        self._journal.note("started", site=self._site.name, coordinator=self._site.superlink)
        try:
            self._start()
            while not self._ending:
                self._watch()
                token = self._node.acquire()
                if token is None:
                    self._nursery.rest()
                    lively = time.monotonic() - self._idle < LIVELY_FOR
                    time.sleep(LIVELY_LOOK_SECONDS if lively else LOOK_SECONDS)
                else:
                    self._serve(token)
        finally:
            self._node.stop()
            with suppress(OSError, ChainBroken):
                self._journal.note("stopped", site=self._site.name)

    def end(self) -> None:
        """Ask for an end; a message that is being answered gets a reply that says so."""
        self._ending = True

    def _watch(self) -> None:
        """Start the SuperNode again if something ended it; give up if it keeps ending by itself."""
        code = self._node.ended
        if code is None or self._ending:
            return
        now = time.monotonic()
        if code < 0 or now - self._started > STEADY_SECONDS:
            self._worked = now
        if now - self._worked > PATIENCE_SECONDS:
            raise NodeEnded(f"Flower's SuperNode ended with code {code}: see {self._site.logs / 'supernode.log'}")
        log.warning("the SuperNode ended with code %d and is started again", code)
        self._journal.note("restarted", site=self._site.name, code=code)
        time.sleep(RESTART_SECONDS)
        self._start()

    def _start(self) -> None:
        self._node.start()
        self._started = time.monotonic()

    def _serve(self, token: str) -> None:
        """Answer one message; what Flower does not take any more is noted and dropped."""
        clock = Clock(_last=self._idle)
        clock.lap("wait")
        try:
            with open_task(self._node.address, token) as task:
                delivery = task.receive()
                clock.lap("pull")
                asked = asked_of(delivery)
                reply, state = self._answer(task, delivery, asked, clock)
                self._send(task, delivery, reply, state, asked)
                clock.lap("push")
            self._time(asked, clock)
            if self._ending:
                time.sleep(FAREWELL_SECONDS)
        except httpx.HTTPError as fault:
            log.warning("Flower did not hand out a message: %s", type(fault).__name__)
        except AnswerRefused as fault:
            log.warning("Flower did not take an answer, which came too late or to a node that had ended: %s", fault)
        except Exception:  # whatever was sent must not end the gate; Flower gives up a message nobody speaks for
            log.exception("a message could not be read")
        self._idle = time.monotonic()

    def _answer(
        self, task: Task, delivery: Delivery, asked: Asked, clock: Clock
    ) -> tuple[RecordDict, RecordDict | None]:
        """Decide, have the message answered and inspect the answer: the reply, and the state the application keeps."""
        ledger: LedgerMark | None = None
        try:
            rules = read_rules(self._site)
            bundle = _approved(delivery, rules)
            require_known(delivery)
            ledger = LedgerMark.of(self._site.ledger_place)
            self._journal.decide(asked, "admitted")
            answer = self._run(task, delivery, bundle, rules, clock)
            content = _content(answer.message)
            inspect(content, question_of(delivery, rules), rules.limits, size=len(answer.message))
            state = context_from_proto(ContextProto.FromString(answer.context)).state
            charged = ledger.charged(asked.run)
            self._journal.decide(asked, _outcome(content), **_left(content, answer.message), **charged)
            clock.lap("inspect")
        except Exception as fault:  # noqa: BLE001  # the site's boundary: whatever went wrong becomes a reply
            return self._refuse(asked, fault, ledger), None
        return content, state

    def _run(self, task: Task, delivery: Delivery, bundle: Bundle, rules: Rules, clock: Clock) -> Answer:
        """Have an admitted message answered by the application."""
        folder = self._shelf.place(bundle)
        clock.lap("check")
        context = _furnished(delivery.context, {**rules.places, "application": bundle.digest})
        order = Order(
            run=delivery.run.run_id,
            folder=folder,
            component=bundle.component,
            task=task.number,
            message=message_to_proto(delivery.message).SerializeToString(),
            context=context_to_proto(context).SerializeToString(),
            largest=rules.limits.maximum_bytes + rules.largest_state,
        )
        answer = self._nursery.answer(order, cancelled=lambda: task.unwanted or self._ending)
        clock.lap("fork", at=answer.forked)
        clock.lap("run")
        return answer

    def _refuse(self, asked: Asked, fault: Exception, ledger: LedgerMark | None) -> RecordDict:
        """Note why a message is not answered and what it cost all the same, and make the reply that says so."""
        status, decision, reason = _judged(fault)
        charged: dict[str, Any] = {}
        with suppress(PolicyRefusal):
            charged = {} if ledger is None else ledger.charged(asked.run)
        try:
            self._journal.decide(asked, decision, reason=reason, **charged)
        except (OSError, ChainBroken):
            log.exception("the audit log cannot be written, so nothing leaves")
            return verdict("refused", reason="the site's audit log cannot be written, so nothing may leave")
        return verdict(status, reason=reason)

    def _send(self, task: Task, delivery: Delivery, reply: RecordDict, state: RecordDict | None, asked: Asked) -> None:
        context = delivery.context
        if state is not None:
            context.state = state
        try:
            task.send(Message(reply, reply_to=delivery.message), context)
        except Exception as fault:  # noqa: BLE001  # Flower's own kinds of failure are many, and all mean the same
            with suppress(OSError, ChainBroken):
                self._journal.decide(asked, "unsent", reason=f"Flower did not take the answer: {type(fault).__name__}")
            raise AnswerRefused(type(fault).__name__) from None

    def _time(self, asked: Asked, clock: Clock) -> None:
        """Write where the time went; a full disk is no reason to stop for this."""
        line = json.dumps({"run": asked.run, "question": asked.question, "round": asked.round, "seconds": clock.parts})
        with suppress(OSError), self._site.timings.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")


def run_gate(site: Site) -> None:
    """Run a site's gate in this process until SIGTERM or SIGINT.

    Raises:
        SiteRunning: one runs already.
        NodeEnded: Flower's SuperNode has ended by itself.
    """
    with running(site), Nursery(site.logs / "applications.log", sandbox=site.sandbox) as nursery:
        gate = Gate(site, nursery)
        with _ending_on_signals(gate):
            gate.run()


@contextmanager
def _ending_on_signals(gate: Gate) -> Iterator[None]:
    kept = {each: signal.signal(each, lambda *_: gate.end()) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for each, handler in kept.items():
            signal.signal(each, handler)


def _approved(delivery: Delivery, rules: Rules) -> Bundle:
    """Return the bundle, if its bytes are what the run names and what this site has approved."""
    digest = digest_of(delivery.bundle.content)
    if not digest == delivery.run.fab_hash == delivery.bundle.hash_str:
        raise PolicyRefusal("the application that arrived is not the one the run names: its hash differs")
    if digest not in rules.approved:
        raise PolicyRefusal(
            f"the application with the hash {digest} is not approved at this site, so none of it was run"
        )
    return read_bundle(delivery.bundle.content)


def _judged(fault: Exception) -> tuple[str, Decision, str]:
    """Return a fault's status, decision and reason."""
    if isinstance(fault, EgressRefusal):
        return "refused", "withheld", str(fault)
    if isinstance(fault, PolicyRefusal):
        return "refused", "refused", str(fault)
    if isinstance(fault, ChainBroken):
        return "refused", "refused", "a record of this site (approvals or audit log) does not verify"
    if isinstance(fault, WorkerCancelled):
        return "error", "cancelled", "the site ended the application: it stops, or the run was stopped"
    if isinstance(fault, (WorkerFailed, BundleUnreadable)):
        return "error", "failed", str(fault)
    number = secrets.token_hex(4)
    log.error("internal error %s of the gate", number, exc_info=fault)
    return "error", "failed", f"internal error of the site's gate, local log id {number}"


def _furnished(context: Context, places: dict[str, str]) -> Context:
    """Return the context as the application gets it: with the hospital's places, which Flower never learns."""
    furnished = context_from_proto(context_to_proto(context))
    furnished.node_config = {**furnished.node_config, **places}
    return furnished


def _content(message: bytes) -> RecordDict:
    """Read a reply."""
    reply = message_from_proto(MessageProto.FromString(message))
    if not reply.has_content():
        raise EgressRefusal("form", "the reply has no content")
    try:
        return unwrap(reply.content)
    except ParcelUnreadable as fault:
        raise EgressRefusal("form", f"the reply is {fault}") from None


def _outcome(content: RecordDict) -> Decision:
    """Say whether the application itself answered, refused or failed."""
    return _OUTCOMES[str(content.config_records[VERDICT]["status"])]


def _left(content: RecordDict, message: bytes) -> dict[str, Any]:
    """Describe what leaves: names and shapes, bytes and hash."""
    records = {
        name: {key: f"{array.dtype} {list(array.shape)}" for key, array in record.items()}
        for name, record in content.array_records.items()
    }
    others = [name for name in content if name not in records]
    told: dict[str, Any] = {"records": others, "arrays": records}
    told["bytes"] = len(message)
    told["sha256"] = hashlib.sha256(message).hexdigest()
    if (reason := content.config_records[VERDICT].get("reason")) is not None:
        told["reason"] = str(reason)
    return told
