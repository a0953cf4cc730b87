"""What a model of each task is for, and what it is not for: the part of a model card that no record can hold."""

from __future__ import annotations

from dataclasses import dataclass

from clinical.tasks import NEXT_DIAGNOSIS, reads_notes


@dataclass(frozen=True, slots=True)
class Use:
    """The words of one task's model card; no number stands in them."""

    intended: str
    users: str
    out_of_scope: tuple[str, ...]
    factors: tuple[str, ...]
    evaluation: str
    ethics: tuple[str, ...]
    caveats: tuple[str, ...]


_EVERYWHERE = (
    "Deciding about a patient without a person who answers for the decision.",
    "Another hospital, language, speciality or time than those it was evaluated on, before it was evaluated there.",
    "Judging clinicians, hospitals or patients by its output.",
)
_FACTORS = ("sex, age, ethnicity, insurance", "language and style of notes", "rare conditions", "time")
_ETHICS = (
    "Whether records may be used so is for each hospital's law and ethics committee; no record of a run says it.",
    "Differential privacy hides that a patient took part. It does not hide what is true of patients in general.",
    "Noise and clipping cost rare groups and rare codes the most; a pooled score does not show that.",
)
_CAVEATS = (
    "An interval speaks of other patients of the same hospitals, not of other hospitals.",
    "Evaluate again, with sub-groups, where the model is to be used, and again when coding rules or records change.",
)

_CODING = Use(
    intended=(
        "To suggest ICD codes for the discharge note of a finished admission, as a ranked list that a trained coder "
        "accepts, changes or rejects; and to study federated and private training."
    ),
    users="clinical coders, researchers of clinical machine learning",
    out_of_scope=(
        "Billing or reporting without a coder's decision.",
        "Diagnosis, triage or treatment: a code is an administrative label written after the fact.",
        *_EVERYWHERE,
    ),
    factors=(*_FACTORS, "coding practice of a hospital"),
    evaluation=(
        "Held-out patients of the same hospitals: no patient is both in training and evaluation, and thresholds were "
        "chosen on a third group. Documents are discharge notes; labels are the codes billed for the same admission, "
        "which are themselves incomplete."
    ),
    ethics=_ETHICS,
    caveats=(
        "Billed codes are no gold standard: what the model is scored against contains omissions and local habits.",
        *_CAVEATS,
    ),
)


def use_of(task: str, *, question: str = "") -> Use:
    """Return the words for a task.

    Args:
        task: its name.
        question: what it asks of a stay, in words; empty for tasks of many codes.
    """
    if reads_notes(task):
        return _CODING
    if task == NEXT_DIAGNOSIS:
        question = (
            "Which groups of diagnoses does the next admission have, asked at the discharge of one that is followed?"
        )
    asked = f" It answers: {question}" if question else ""
    return Use(
        intended=f"To study federated and private training on the task {task}; no clinical use is intended.{asked}",
        users="researchers of clinical machine learning",
        out_of_scope=(
            "Diagnosis, triage or treatment: no prospective study stands behind its answers.",
            "An alarm at the bedside, or an order of patients by risk.",
            *_EVERYWHERE,
        ),
        factors=(*_FACTORS, "type of ward, reason of admission", "how often something is measured"),
        evaluation=(
            "Held-out patients of the same hospitals: no patient is both in training and evaluation. Labels follow a "
            "definition over records, which is not a clinician's judgement."
        ),
        ethics=_ETHICS,
        caveats=_CAVEATS,
    )
