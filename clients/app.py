"""The hospital's ClientApp: thin handlers that admit, delegate and reply.

This is the only place that catches broadly. Whatever goes wrong in here becomes a reply with a reason that is fit to
leave the hospital, and a number by which the hospital's own log explains the rest.
"""

from __future__ import annotations

import functools
import json
import logging
import secrets
from dataclasses import asdict
from typing import TYPE_CHECKING

from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from clients import admission, cohort, scoring, training
from clients.policy import PolicyRefusal
from clients.visit import Visit, put_arrays, put_judgement, put_tuning, verdict
from clinical.metrics import withhold
from clinical.metrics.thresholds import Thresholds
from clinical.notes import EncoderUnavailable
from clinical.profile import ProfileError
from privacy.ledger import BudgetExhausted
from study.protocol import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("wardround")
app = ClientApp()

# Their messages name keys, files and columns, never a cell, so they may leave as they are.
REFUSALS = (PolicyRefusal, ProtocolError, BudgetExhausted, EncoderUnavailable, ProfileError)


def answering(handler: Callable[[Visit], RecordDict]) -> Callable[[Message, Context], Message]:
    """Turn a handler into one that always replies, and never with more than may leave."""

    @functools.wraps(handler)
    def answer(message: Message, context: Context) -> Message:
        try:
            content = handler(Visit(message, context))
        except REFUSALS as refusal:
            content = verdict("refused", reason=str(refusal))
        except Exception:
            number = secrets.token_hex(4)
            log.exception("internal error %s while answering %s", number, message.metadata.message_type)
            content = verdict("error", reason=f"internal error, local log id {number}")
        return Message(content, reply_to=message)

    return answer


@app.query("admit")
@answering
def admit(visit: Visit) -> RecordDict:
    """Decide on taking part; embed the notes; count documents per code."""
    if visit.terms["study-digest"] != visit.study.digest():
        raise PolicyRefusal("the coordinator announces another study than the one this node was given")
    planned = admission.admit(visit.study, visit.hospital, run=visit.run)
    documents, report = cohort.read_documents(visit.study, visit.hospital)
    counts = cohort.code_counts(documents, minimum=visit.minimum_cell)
    embeddings, encoder = cohort.embed(visit.study, visit.hospital)
    content = verdict(
        "ok",
        hospital=visit.hospital.name,
        patients=planned.patients,
        documents=len(documents),
        features=int(embeddings.vectors.shape[1]),
        encoder=encoder,
        details=json.dumps({"coding": asdict(report), "plan": planned.as_dict()}),
    )
    content["counts"] = ConfigRecord({"codes": list(counts), "documents": list(counts.values())})
    return content


@app.train()
@answering
def train(visit: Visit) -> RecordDict:
    """Judge the model that came on the tuning split, train it for a round, and send the update."""
    model, planned = visit.model(), visit.plan
    content = verdict("ok")
    if visit.may_send("curve"):
        tuning = scoring.tune(model, visit.cohort.tuning)
        put_tuning(content, tuning, tuning.histogram.overall().to_arrays())
    admission.charge(visit.hospital, planned, run=visit.run)
    report = training.train_round(
        visit.study,
        planned,
        model,
        visit.cohort.train,
        stream=f"{visit.hospital.name}/{visit.round}",
        proximal_mu=visit.proximal_mu,
    )
    put_arrays(content, "arrays", training.model_arrays(model))
    content["metrics"] = MetricRecord({"patients": planned.patients, "steps": report.steps})
    return content


@app.train("alone")
@answering
def alone(visit: Visit) -> RecordDict:
    """Train the same model on this hospital only, choose its thresholds here, and judge it on the held-out split.

    The model stays here, so the ledger is not charged; its metrics are as uncovered as all others.
    """
    content = verdict("ok")
    model, thresholds = training.train_alone(visit.study, visit.plan, visit.model(), visit.cohort, visit.hospital.name)
    if visit.may_send("held-out"):
        judgement = scoring.judge(visit.study, model, visit.cohort.held_out, thresholds)
        put_judgement(content, judgement, minimum=visit.minimum_cell)
    return content


@app.evaluate("tune")
@answering
def tune(visit: Visit) -> RecordDict:
    """Bin the final model's scores on the tuning split by code, for the thresholds."""
    content = verdict("ok")
    if visit.may_send("thresholds"):
        tuning = scoring.tune(visit.model(), visit.cohort.tuning)
        put_tuning(content, tuning, withhold(tuning.histogram, minimum=visit.minimum_cell).to_arrays())
    return content


@app.evaluate("judge")
@answering
def judge(visit: Visit) -> RecordDict:
    """Count the final model's hits and misses on the held-out split."""
    content = verdict("ok")
    if visit.may_send("held-out"):
        thresholds = Thresholds.from_arrays(visit.arrays("thresholds"))
        judgement = scoring.judge(visit.study, visit.model(), visit.cohort.held_out, thresholds)
        put_judgement(content, judgement, minimum=visit.minimum_cell)
    return content


@app.query("close")
@answering
def close(visit: Visit) -> RecordDict:
    """Settle the ledger to what was released, and state what this run cost the patients."""
    statement = admission.settle(visit.study, visit.hospital, run=visit.run)
    return verdict("ok", privacy=json.dumps(statement))
