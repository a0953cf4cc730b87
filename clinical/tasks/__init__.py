"""What a hospital can be asked to predict: one entry per task.

A task says which events it may see, reads one hospital's directory under those terms and gives examples to train on.
Tasks come in families: coding (many codes at once: of a note, `clinical.tasks.coding`, or of the admission that
follows a discharge, `clinical.asking.discharges`), prediction (one outcome of a stay, declared in
`clinical.tasks.prediction`) and synthesis, which predicts nothing: its rows are drawn from what hospitals count.
"""

from clinical.tasks.prediction import PREDICTION_TASKS

__all__ = ["NEXT_DIAGNOSIS", "SYNTHESIS", "TASKS", "asks_about_admissions", "family_of", "reads_notes"]

NEXT_DIAGNOSIS = "next-diagnosis"
SYNTHESIS = "synthesis"

_ICD_CODING = "icd-coding"

TASKS: dict[str, str] = {
    _ICD_CODING: "coding",
    NEXT_DIAGNOSIS: "coding",
    **dict.fromkeys(PREDICTION_TASKS, "prediction"),
    SYNTHESIS: "synthesis",
}


def family_of(task: str) -> str:
    """Tell whether a task is ``coding``, ``prediction`` or ``synthesis``.

    Raises:
        ValueError: there is no such task.

    >>> family_of("aki")
    'prediction'
    """
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}; there are: {', '.join(sorted(TASKS))}")
    return TASKS[task]


def reads_notes(task: str) -> bool:
    """Tell whether what a task reads are discharge notes, not events.

    >>> reads_notes("icd-coding"), reads_notes("next-diagnosis")
    (True, False)
    """
    return task == _ICD_CODING


def asks_about_admissions(task: str) -> bool:
    """Tell whether the ``stay_id`` of a task's labels holds numbers of admissions, not of intensive-care stays.

    >>> asks_about_admissions("long-stay"), asks_about_admissions("aki")
    (True, False)
    """
    declared = PREDICTION_TASKS.get(task)
    return task == NEXT_DIAGNOSIS or (declared is not None and declared.about == "admission")
