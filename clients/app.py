"""The hospital's ClientApp: thin handlers that admit, delegate and reply.

This is the only place that catches broadly. Whatever goes wrong in here becomes a reply with a reason that is fit to
leave the hospital, and a number by which the hospital's own log explains the rest.
"""

from __future__ import annotations

import functools
import json
import logging
import secrets
from typing import TYPE_CHECKING

from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from clients import admission, canaries, training
from clients.independence import require_independence
from clients.policy import PolicyRefusal
from clients.replies import put_arrays, verdict
from clients.visit import Visit
from clinical.notes import EncoderUnavailable
from clinical.profile import ProfileError
from privacy.ledger import BudgetExhausted
from study.parcels import ParcelUnreadable, open_parcel, wrap
from study.protocol import ProtocolError
from synth.hospital_table import NoTable

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("wardround")
app = ClientApp()

# Their messages name keys, files and columns, never a cell, so they may leave as they are.
REFUSALS = (PolicyRefusal, ProtocolError, BudgetExhausted, EncoderUnavailable, ProfileError, ParcelUnreadable, NoTable)


def answering(handler: Callable[[Visit], RecordDict]) -> Callable[[Message, Context], Message]:
    """Turn a handler into one that always replies, and never with more than may leave."""

    @functools.wraps(handler)
    def answer(message: Message, context: Context) -> Message:
        try:
            content = handler(Visit(open_parcel(message), context))
        except REFUSALS as refusal:
            content = verdict("refused", reason=str(refusal))
        except Exception:
            number = secrets.token_hex(4)
            log.exception("internal error %s while answering %s", number, message.metadata.message_type)
            content = verdict("error", reason=f"internal error, local log id {number}")
        return Message(wrap(content), reply_to=message)

    return answer


@app.query("admit")
@answering
def admit(visit: Visit) -> RecordDict:
    """Decide on taking part, read the records and say what the hospital brings."""
    if visit.terms["study-digest"] != visit.study.digest():
        raise PolicyRefusal("the coordinator announces another study than the one this node was given")
    planned = admission.admit(visit.study, visit.hospital, run=visit.run)
    plan = json.dumps(planned.as_dict())
    content = verdict("ok", hospital=visit.hospital.name, patients=planned.patients, plan=plan)
    try:
        visit.offer.put_offer(content)
    except Exception:
        admission.withdraw(visit.hospital, planned, visit.study, run=visit.run)
        raise
    return content


@app.train()
@answering
def train(visit: Visit) -> RecordDict:
    """Judge the model that came on the tuning split, train it for a round, and send the update."""
    content = verdict("ok")
    if visit.study.synthesises:
        visit.synthesis.put_round(content)
        return content
    model, planned = visit.work.model(), visit.plan
    visit.work.put_curve(content, model)
    require_independence(visit.study, model, visit.work.examples())
    admission.charge(visit.hospital, planned, run=visit.run)
    with canaries.watch(visit.work.planted, model, number=visit.round):
        report = training.train_round(
            visit.study,
            planned,
            model,
            visit.work.examples(),
            stream=f"{visit.hospital.name}/{visit.round}",
            proximal_mu=visit.proximal_mu,
        )
    put_arrays(content, "arrays", training.model_arrays(model))
    content["metrics"] = MetricRecord({"patients": planned.patients, "steps": report.steps})
    return content


@app.train("alone")
@answering
def alone(visit: Visit) -> RecordDict:
    """Train the same model on this hospital only and judge it on the held-out split.

    The model stays here, so its training is not charged; what its metrics cost, or that nothing covers them, is as of
    all others.
    """
    content = verdict("ok")
    visit.work.put_alone(content)
    return content


@app.evaluate("tune")
@answering
def tune(visit: Visit) -> RecordDict:
    """Count the final model's scores on the tuning split, for the thresholds."""
    content = verdict("ok")
    visit.work.put_tuning(content, visit.work.model())
    return content


@app.evaluate("judge")
@answering
def judge(visit: Visit) -> RecordDict:
    """Count the final model's hits and misses on the held-out split."""
    content = verdict("ok")
    visit.work.put_judgement(content, visit.work.model())
    return content


@app.query("measure")
@answering
def measure(visit: Visit) -> RecordDict:
    """Count what is asked of the hospital's table, with noise that is charged before anything is counted."""
    content = verdict("ok")
    visit.synthesis.put_measurement(content)
    return content


@app.query("close")
@answering
def close(visit: Visit) -> RecordDict:
    """Settle the ledger to what was released, and state what this run cost the patients."""
    statement = admission.settle(visit.study, visit.hospital, run=visit.run)
    return verdict("ok", privacy=json.dumps(statement))
