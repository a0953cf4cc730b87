"""What Wardround's own applications send, record by record: what each may hold, and nothing else may be in it.

This is the protocol as the receiving side reads it (`server.roster`, `server.counts`, `server.prediction`), stated once
more by the site, so that an application that sends anything besides is found. Each check is told what was asked and
raises `EgressRefusal` with the rule that is broken; no message ever holds a value, nor a name the site does not know.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import Array, ArrayRecord

from clinical.metrics import ScoreHistogram, Tally, withhold
from clinical.metrics.outcomes import Errors, Risks
from privacy.statement import PrivacyStatement

if TYPE_CHECKING:
    from collections.abc import Mapping

Arrays = dict[str, np.ndarray]

# a diagnosis or a procedure of either release, or a group of diagnoses
_CODE = re.compile(r"[A-Z0-9][A-Z0-9.]{1,8}|CCSR//[A-Z]{3}[0-9]{3}|CCS//[0-9]{1,3}")
_PLAN = {"sampling_rate", "steps_per_round", "noise_multiplier", "release_noise"}
_LEDGER = {"epsilon_all_runs", "ceiling", "head"}
_LONGEST_PHRASE = 200  # of a privacy statement


class EgressRefusal(ValueError):
    """A reply that may not leave; the message names the rule and the place, never what was found there."""

    def __init__(self, rule: str, place: str) -> None:
        """Name the rule of site policy, or ``form`` where the record is not what it claims to be."""
        super().__init__(f"site egress policy ({rule}): {place}")
        self.rule = rule


@dataclass(frozen=True, slots=True)
class Question:
    """What a reply is held against.

    Attributes:
        kind: the message's type.
        family: ``coding``, ``prediction`` or ``synthesis``.
        covered: whether the study's counts and metrics leave with noise only.
        arrays: the model that came, empty where none did.
        hospital: the name under which this site may speak.
        minimum_cell: of site policy.
        metrics: groups of numbers that site policy lets leave; ``*`` is every group.
    """

    kind: str
    family: str
    covered: bool
    arrays: Mapping[str, np.ndarray]
    hospital: str
    minimum_cell: int
    metrics: tuple[str, ...]


def read_arrays(record: Any, place: str) -> Arrays:
    """Decode a record of arrays, and insist that each is its numbers and nothing more."""
    if not isinstance(record, ArrayRecord):
        raise EgressRefusal("form", f"the record {place} does not hold arrays")
    found = {}
    for name, array in record.items():
        try:
            found[name] = array.numpy()
            plain = Array(np.ascontiguousarray(found[name]))
        except (ValueError, TypeError, EOFError, SyntaxError, AssertionError):
            raise EgressRefusal("form", f"the record {place} holds an array that cannot be read") from None
        if (plain.dtype, plain.shape, plain.data) != (array.dtype, tuple(array.shape), array.data):
            raise EgressRefusal("form", f"the record {place} holds an array that carries more than its numbers")
    return found


def check_model(arrays: Arrays, question: Question, *, norm: float) -> None:
    """An update: the arrays that came, in name, type and shape, finite, and not moved too far."""
    if arrays.keys() != question.arrays.keys():
        raise EgressRefusal("shapes", "the record arrays does not hold the arrays of the model that came")
    total = 0.0
    for name, array in arrays.items():
        came = question.arrays[name]
        if (array.dtype, array.shape) != (came.dtype, came.shape):
            raise EgressRefusal("shapes", f"arrays/{name} has not the type and shape of the array that came")
        if array.dtype.kind not in "fiub" or not np.isfinite(array).all():
            raise EgressRefusal("finite", f"arrays/{name} holds what is no finite number")
        total += float(np.square(array.astype(np.float64) - came.astype(np.float64)).sum())
    if not math.sqrt(total) <= norm:
        raise EgressRefusal("update_norm", f"the update in the record arrays is longer than {norm:g}")


def check_histogram(arrays: Arrays, question: Question, place: str) -> None:
    """Scores by code: no code of few patients is shown, and codes that are not shown have no rows."""
    histogram = _read(ScoreHistogram.from_arrays, arrays, place)
    if arrays.keys() != histogram.to_arrays().keys():
        raise EgressRefusal("form", f"the record {place} holds arrays beside those of a histogram")
    _own(histogram.hospitals, place)
    _enough(histogram.documents, question, f"{place}/sizes")
    _rows(histogram.carriers, histogram.positives.sum(axis=1, dtype=np.int64), place)
    if withhold(histogram, minimum=question.minimum_cell) is not histogram:
        raise EgressRefusal("minimum_cell", f"{place}/carriers shows a code of fewer than {question.minimum_cell}")


def check_tally(arrays: Arrays, question: Question, place: str) -> None:
    """Hits and misses by code, likewise."""
    tally = _read(Tally.from_arrays, arrays, place)
    if arrays.keys() != tally.to_arrays().keys():
        raise EgressRefusal("form", f"the record {place} holds arrays beside those of a tally")
    _own(tally.hospitals, place)
    _enough(tally.patients, question, f"{place}/sizes")
    _rows(tally.carriers, tally.positives[0].astype(np.int64), place)
    if withhold(tally, minimum=question.minimum_cell) is not tally:
        raise EgressRefusal("minimum_cell", f"{place}/carriers shows a code of fewer than {question.minimum_cell}")


def check_outcomes(arrays: Arrays, question: Question, place: str) -> None:
    """Sums of a prediction: enough patients on either side of the answer."""
    kind = Errors if "sums" in arrays else Risks
    outcomes: Risks | Errors = _read(kind.from_arrays, arrays, place)
    if arrays.keys() != outcomes.to_arrays().keys():
        raise EgressRefusal("form", f"the record {place} holds arrays beside those of {kind.__name__.lower()}")
    _own(outcomes.hospitals, place)
    if outcomes.too_small(minimum=question.minimum_cell):
        raise EgressRefusal("minimum_cell", f"{place} counts fewer than {question.minimum_cell} patients on a side")


def check_noised(arrays: Arrays, question: Question, place: str) -> None:
    """Noisy sums: one finite vector, and only in a study that charges for them."""
    del question
    sums = arrays.get("sums")
    if arrays.keys() != {"sums"} or sums is None or sums.ndim != 1 or sums.dtype != np.float64:
        raise EgressRefusal("form", f"the record {place} does not hold one vector of sums")
    if not np.isfinite(sums).all():
        raise EgressRefusal("finite", f"{place}/sums holds what is no finite number")


def check_counts(record: Mapping[str, Any], question: Question) -> None:
    """Documents by code: codes that are codes, each once, none of few."""
    codes, documents = record.get("codes"), record.get("documents")
    if record.keys() != {"codes", "documents"} or not isinstance(codes, list) or not isinstance(documents, list):
        raise EgressRefusal("form", "the record counts does not hold codes and documents")
    if len(codes) != len(documents) or len(set(codes)) != len(codes):
        raise EgressRefusal("form", "counts/codes does not name each code once, with its documents")
    if not all(isinstance(code, str) and _CODE.fullmatch(code) for code in codes):
        raise EgressRefusal("texts", "counts/codes holds what is no code")
    if not all(type(number) is int and number >= question.minimum_cell for number in documents):
        raise EgressRefusal("minimum_cell", f"counts/documents shows a count below {question.minimum_cell}")


def check_coding(record: Mapping[str, Any], question: Question) -> None:
    """What became of all notes, or of all labels: counts only."""
    from clinical.asking.discharges import DischargeReport
    from clinical.tasks.coding import CodingReport

    if record.keys() != {"documents", "report"}:
        raise EgressRefusal("form", "the record coding does not hold documents and a report")
    _enough(record["documents"], question, "coding/documents")
    report = _object(record["report"], "coding/report")
    if report.keys() not in [{field.name for field in fields(kind)} for kind in (CodingReport, DischargeReport)]:
        raise EgressRefusal("form", "coding/report does not hold the counts of a coding report")
    if not all(type(number) is int and number >= 0 for number in report.values()):
        raise EgressRefusal("form", "coding/report holds what is no count")


def check_plan(text: Any) -> None:
    """How the hospital samples: four numbers."""
    plan = _object(text, "verdict/plan")
    if plan.keys() != _PLAN or not all(value is None or _number(value) for value in plan.values()):
        raise EgressRefusal("form", "verdict/plan does not hold the numbers of a plan")


def check_statement(text: Any) -> None:
    """What the run cost the patients."""
    place = "verdict/privacy"
    told = _object(text, place)
    statement, ledger = told.get("statement"), told.get("ledger")
    known = {field.name for field in fields(PrivacyStatement)}
    if told.keys() != {"statement", "ledger"} or not isinstance(statement, dict) or statement.keys() != known:
        raise EgressRefusal("form", f"{place} does not hold a privacy statement")
    if ledger is not None and not (isinstance(ledger, dict) and ledger.keys() == _LEDGER):
        raise EgressRefusal("form", f"{place} does not say what the ledger holds")
    if not all(_plain(value) for value in (*statement.values(), *(ledger or {}).values())):
        raise EgressRefusal("form", f"{place} holds what is neither a number nor a short phrase")


def check_number(value: Any, question: Question, place: str) -> None:
    """One number of a metric; what counts patients or documents must be enough."""
    if not _number(value):
        raise EgressRefusal("finite", f"{place} is no finite number")
    if place.endswith(("/patients", "/documents")):
        _enough(value, question, place)


def _read(reader: Any, arrays: Arrays, place: str) -> Any:
    try:
        return reader(arrays)
    except (ValueError, KeyError, TypeError, IndexError, OverflowError):
        raise EgressRefusal("shapes", f"the record {place} has not the types and shapes of its kind") from None


def _rows(carriers: np.ndarray, positives: np.ndarray, place: str) -> None:
    """A code has at least as many documents as patients, and none of either where none is shown."""
    if (positives < carriers).any() or (positives[carriers == 0] > 0).any():
        raise EgressRefusal("minimum_cell", f"{place} shows counts of a code whose patients it does not count")


def _own(hospitals: int, place: str) -> None:
    if hospitals != 1:
        raise EgressRefusal("form", f"{place} does not speak for one hospital")


def _enough(number: Any, question: Question, place: str) -> None:
    if type(number) is not int or 0 < number < question.minimum_cell or number < 0:
        raise EgressRefusal("minimum_cell", f"{place} is a count below {question.minimum_cell}")


def _object(text: Any, place: str) -> dict[str, Any]:
    """Read JSON that is written as Python writes it: no other spelling of it says something besides."""
    try:
        value = json.loads(text)
        if isinstance(value, dict) and json.dumps(value) == text:
            return value
    except (TypeError, ValueError):
        pass
    raise EgressRefusal("form", f"{place} is not the plain JSON of an object")


def _number(value: Any) -> bool:
    return type(value) in {int, float} and math.isfinite(value)


def _plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(each, str) and _plain(each) for each in value)
    short = isinstance(value, str) and value.isprintable() and len(value) <= _LONGEST_PHRASE
    return value is None or isinstance(value, bool) or _number(value) or short
