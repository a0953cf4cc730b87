"""The egress policy: what may leave in a reply, decided by the site on the finished reply, whatever made it.

Two things must agree before a reply leaves: it is of a form that Wardround's protocol knows for this question
(`gate.border`), and the site's own lists and limits, the [egress] section of its policy file, allow it. Either way a
reply leaves whole or not at all. A policy file without that section means the limits below; one with an unknown key in
it means that nothing leaves.

What this cannot stop is a number that is itself a message: whoever may send a model may hide words in its last digits.
Approvals are against that; this is against mistakes and against applications that send more than they say.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from flwr.app import ConfigRecord, MetricRecord

from clients.policy import PolicyRefusal
from clients.replies import VERDICT
from clinical.tasks.prediction import PREDICTION_TASKS
from gate import border
from gate.border import EgressRefusal, Question, read_arrays

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from flwr.app import RecordDict

SECTION = "egress"


@dataclass(frozen=True, slots=True)
class Limits:
    """The [egress] section; fields are named after its keys, defaults hold where a key or the section is missing."""

    maximum_megabytes: float = 256.0
    maximum_text: int = 1000  # characters of one text
    update_norm: float = 1000.0
    records: tuple[str, ...] = (
        "verdict",
        "coding",
        "counts",
        "arrays",
        "metrics",
        "tuning",
        "tuning-loss",
        "tally",
        "histogram",
        "noised",
        "outcomes",
        "outcomes/*",
        "beside/*",
        "withheld/*",
    )
    metrics: tuple[str, ...] = (
        "metrics/patients",
        "metrics/steps",
        "tuning-loss/loss",
        "tuning-loss/documents",
        "withheld/*",
    )
    verdict: tuple[str, ...] = ("status", "reason", "hospital", "patients", "plan", "features", "encoder", "privacy")

    @property
    def maximum_bytes(self) -> int:
        """The largest reply."""
        return int(self.maximum_megabytes * 1e6)


def read_limits(path: Path) -> Limits:
    """Read the section of a policy file.

    Raises:
        PolicyRefusal: the file is missing or is not TOML, or the section has an unknown key or a wrong value.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get(SECTION, {})
    except (OSError, ValueError):
        raise PolicyRefusal("the site's policy file is missing or not readable, so nothing may leave") from None
    kinds = {field.name: str(field.type) for field in fields(Limits)}
    unknown = sorted(table.keys() - kinds.keys()) if isinstance(table, dict) else [SECTION]
    if unknown:
        raise PolicyRefusal(f"the site's policy file has unknown keys {unknown} in [{SECTION}], so nothing may leave")
    return Limits(**{key: _value(key, value, kinds[key]) for key, value in table.items()})


def _value(key: str, value: Any, kind: str) -> Any:
    if kind == "float" and type(value) in {int, float} and value > 0:
        return float(value)
    if kind == "int" and type(value) is int and value > 0:
        return value
    if kind.startswith("tuple") and isinstance(value, list) and all(isinstance(word, str) for word in value):
        return tuple(value)
    raise PolicyRefusal(f"the key {key} in [{SECTION}] of the site's policy has a wrong value, so nothing may leave")


# question → the records it may be answered with besides the verdict, and the group of site policy each belongs to
_CURVE = {"tuning": "curve", "tuning-loss": "curve", "withheld/tuning": "curve"}
_HELD_OUT = dict.fromkeys(
    (
        "tally",
        "histogram",
        "withheld/tally",
        "noised",
        "outcomes",
        "outcomes/*",
        "withheld/outcomes",
        "withheld/outcomes/*",
        "beside/*",
        "withheld/beside/*",
    ),
    "held-out",
)
_THRESHOLDS = dict.fromkeys(("tuning", "tuning-loss", "withheld/tuning", "noised"), "thresholds")
_ANSWERS: dict[tuple[str, str], dict[str, str]] = {
    ("query.admit", "coding"): {"counts": "", "coding": ""},
    ("query.admit", "prediction"): {},
    ("train", "coding"): {"arrays": "", "metrics": "", **_CURVE},
    ("train", "prediction"): {"arrays": "", "metrics": "", **_CURVE},
    ("train.alone", "coding"): _HELD_OUT,
    ("train.alone", "prediction"): _HELD_OUT,
    ("evaluate.tune", "coding"): _THRESHOLDS,
    ("evaluate.tune", "prediction"): _CURVE,
    ("evaluate.judge", "coding"): _HELD_OUT,
    ("evaluate.judge", "prediction"): _HELD_OUT,
    ("query.close", "coding"): {},
    ("query.close", "prediction"): {},
    ("query.admit", "synthesis"): {},
    ("query.measure", "synthesis"): {"noised": ""},
    ("train", "synthesis"): {"arrays": "", "metrics": ""},
    ("query.close", "synthesis"): {},
}
_FACTS = {
    "query.admit": {"status", "hospital", "patients", "plan", "features", "encoder"},
    "query.close": {"status", "privacy"},
}
_EXACT = ("coding", "tuning", "tuning-loss", "tally", "histogram", "outcomes", "outcomes/*", "beside/*", "withheld/*")
QUESTIONS = frozenset(kind for kind, _ in _ANSWERS)


def inspect(content: RecordDict, question: Question, limits: Limits, *, size: int) -> None:
    """Let a reply leave, or not.

    Guarantee:
        When this returns, every record, array, metric and text of the reply is one that the question may be answered
        with and that the site's lists name; arrays are exactly their numbers; a model has the types and shapes of the
        one that came and is finite; no count of patients or documents by which the site's minimum cell is undercut is
        in it.

    Args:
        content: the reply.
        question: what was asked.
        limits: the site's.
        size: bytes of the reply.

    Raises:
        EgressRefusal: naming the rule and the record or key.
    """
    if size > limits.maximum_bytes:
        raise EgressRefusal("maximum_megabytes", f"the reply is larger than {limits.maximum_megabytes:g} MB")
    status = _check_verdict(content.get(VERDICT), question, limits)
    allowed = _ANSWERS.get((question.kind, question.family), {}) if status == "ok" else {}
    for name, record in content.items():
        if name != VERDICT:
            place = _known(name, allowed)
            _check_name(name, place, allowed, question, limits)
            _check_record(name, record, question, limits)


def _known(name: str, allowed: Mapping[str, str]) -> str:
    """Return the entry a record's name falls under; a name the site does not know is not repeated."""
    fitting = [entry for entry in allowed if fnmatchcase(name, entry)]
    if not fitting or len(name) > 60 or not name.isprintable():
        every = {entry for answers in _ANSWERS.values() for entry in answers if "*" not in entry}
        shown = f"the record {name}" if name in every else "a record of unknown name"
        raise EgressRefusal("records", f"{shown} is no part of the answer to this question")
    return fitting[0]


def _check_name(name: str, place: str, allowed: Mapping[str, str], question: Question, limits: Limits) -> None:
    if not any(fnmatchcase(name, entry) for entry in limits.records):
        raise EgressRefusal("records", f"the record {place} is not on the site's list")
    group = allowed[place]
    if group and "*" not in question.metrics and group not in question.metrics:
        raise EgressRefusal("metrics", f"the record {place} belongs to the group {group}, which policy does not allow")
    exact = any(fnmatchcase(name, entry) for entry in _EXACT)
    if question.covered == exact and (exact or name == "noised"):
        kind = "exact numbers, and this study's leave with noise" if exact else "noisy sums nobody was charged for"
        raise EgressRefusal("covered", f"the record {place} holds {kind}")
    if name.startswith(("outcomes/", "withheld/outcomes/")) and name.rpartition("/")[2] not in SUB_GROUPS:
        raise EgressRefusal("records", f"the record {place} is of no sub-group that is known beforehand")
    if name.startswith(("beside/", "withheld/beside/")) and name.rpartition("/")[2] not in PREDICTION_TASKS:
        raise EgressRefusal("records", f"the record {place} is of no task that is known beforehand")


def _check_record(name: str, record: Any, question: Question, limits: Limits) -> None:
    """Hold one record against its form."""
    if name == "counts":
        border.check_counts(_config(record, name), question)
    elif name == "coding":
        border.check_coding(_config(record, name), question)
    elif name in {"metrics", "tuning-loss"} or name.startswith("withheld/"):
        _check_metrics(name, record, question, limits)
    elif name == "arrays":
        border.check_model(read_arrays(record, name), question, norm=limits.update_norm)
    else:
        place = name.partition("/")[0]
        arrays = read_arrays(record, name)
        by_code = question.family == "coding"
        kinds = {
            "tuning": border.check_histogram if by_code else border.check_outcomes,
            "histogram": border.check_histogram,
            "tally": border.check_tally,
            "outcomes": border.check_outcomes,
            "beside": border.check_outcomes,
            "noised": border.check_noised,
        }
        kinds[place](arrays, question, name)


def _check_metrics(name: str, record: Any, question: Question, limits: Limits) -> None:
    if not isinstance(record, MetricRecord):
        raise EgressRefusal("form", f"the record {name} does not hold metrics")
    for key, value in record.items():
        place = f"{name}/{key}"
        listed = any(fnmatchcase(place, entry) for entry in limits.metrics)
        if not listed or (place not in METRICS and place != f"{name}/withheld"):
            raise EgressRefusal("metrics", f"the record {name} holds a metric that is not on the list")
        border.check_number(value, question, place)
        if key == "withheld" and value != 1:
            raise EgressRefusal("form", f"{place} is not the sign that numbers are withheld")


def _check_verdict(record: Any, question: Question, limits: Limits) -> str:
    """Check the facts of a reply and return its status."""
    facts = _config(record, VERDICT)
    status = facts.get("status")
    if status not in {"ok", "refused", "error"}:
        raise EgressRefusal("form", "verdict/status is none of ok, refused and error")
    expected = _FACTS.get(question.kind, {"status"}) if status == "ok" else {"status", "reason"}
    for key in sorted(facts):
        if key not in expected or key not in limits.verdict:
            shown = f"verdict/{key}" if key in Limits().verdict else "a fact of unknown name"
            raise EgressRefusal("verdict", f"{shown} may not be in the answer to this question")
    for key in sorted(facts):
        _check_fact(key, facts[key], question, limits)
    return str(status)


def _check_fact(key: str, value: Any, question: Question, limits: Limits) -> None:
    place = f"verdict/{key}"
    if key in {"patients", "features"}:
        border.check_number(value, question, place)
        if type(value) is not int:
            raise EgressRefusal("form", f"{place} is no count")
    elif not isinstance(value, str) or not value.isprintable():
        raise EgressRefusal("texts", f"{place} is no text of one line")
    elif key == "plan":
        border.check_plan(value)
    elif key == "privacy":
        border.check_statement(value)
    elif len(value) > limits.maximum_text:
        raise EgressRefusal("maximum_text", f"{place} is longer than {limits.maximum_text} characters")
    elif key == "hospital" and value != question.hospital:
        raise EgressRefusal("texts", f"{place} is not the name of this site's hospital")


def _config(record: Any, name: str) -> dict[str, Any]:
    if not isinstance(record, ConfigRecord):
        raise EgressRefusal("form", f"the record {name} is missing or of another kind")
    return dict(record)


METRICS = frozenset({"metrics/patients", "metrics/steps", "tuning-loss/loss", "tuning-loss/documents"})
SUB_GROUPS = frozenset(
    f"{dimension}: {name}"
    for dimension, names in {
        "sex": ("female", "male"),
        "age": ("under 45", "45 to 64", "65 to 79", "80 and over"),
        "race": ("white", "black", "asian", "hispanic", "other"),
        "insurance": ("medicare", "medicaid", "private", "other"),
    }.items()
    for name in names
)
