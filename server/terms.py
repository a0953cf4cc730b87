"""Whether a study can be run at all, asked before anything is started."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clinical.features.concepts import find_concepts
from clinical.losses import LOSSES, PURPOSE
from clinical.models import MODELS
from clinical.tasks import TASKS, family_of, reads_notes
from clinical.tasks.prediction import PREDICTION_TASKS, find_prediction_task
from strategies import AVERAGING, STRATEGIES
from study.protocol import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from study.protocol import Study


def check_study(study: Study) -> None:
    """Check what can be checked on this machine before anything is started.

    Raises:
        ProtocolError: the study names a plug-in that does not exist.
        ProfileError: its network holds no hospital.
        EncoderUnavailable: its encoder is not on this machine.
    """
    from clinical.notes import load_encoder
    from study.network import network_hospitals

    check_names(study)
    if reads_notes(study.task.name) or (study.form.reads_text and not study.synthesises):
        load_encoder(study.notes.encoder)
    if study.data.network:
        network_hospitals(study, Path(study.data.network))


def check_names(study: Study) -> None:
    """Check the plug-ins a study names.

    Raises:
        ProtocolError: a task, model, loss or strategy is in no table, model or loss are not made for the task, or the
            strategy cannot hide hospitals; the message lists what can be chosen.
    """
    _check("task.name", study.task.name, TASKS)
    if study.synthesises:
        return  # what it names is checked where it is parsed
    _check_beside(study)
    _check_form(study)
    _check_variables(study)
    _check("model.name", study.model.name, MODELS)
    _check("training.loss", study.training.loss, LOSSES)
    _check("federation.strategy", study.federation.strategy, STRATEGIES)
    if study.privacy.hides_hospitals and study.federation.strategy not in AVERAGING:
        raise ProtocolError(
            f"federation.strategy = {study.federation.strategy!r} compares single hospitals, which no noise on a sum "
            f"of them hides: under privacy.hospital-epsilon choose one of {', '.join(AVERAGING)}"
        )
    _check_fit(study)


def _check_beside(study: Study) -> None:
    """Check that the tasks one model learns together are predictions with one kind of answer, each named once."""
    first, *others = study.task.names
    for name in others:
        _check("task.beside", name, PREDICTION_TASKS)
    if not others:
        return
    if family_of(first) != "prediction":
        raise ProtocolError(f"task.beside = {study.task.beside!r} is of prediction tasks: leave it empty for {first}")
    if len(set(study.task.names)) < len(study.task.names):
        raise ProtocolError(f"task.beside = {study.task.beside!r} names a task twice, or task.name = {first!r} again")
    kind = find_prediction_task(first).kind
    if unlike := [name for name in others if find_prediction_task(name).kind != kind]:
        fitting = ", ".join(name for name, task in PREDICTION_TASKS.items() if task.kind == kind and name != first)
        raise ProtocolError(
            f"task.beside has {unlike[0]!r}, whose answers are of another kind than those of task.name = {first!r}: "
            f"choose among {fitting}"
        )


def _check_form(study: Study) -> None:
    """Check that records can be read in the study's form for every task it asks."""
    if family_of(study.task.name) != "prediction":
        _check_coded_form(study)
        return
    shown = set()
    for name in study.task.names:
        task = find_prediction_task(name)
        shown.add(study.form.variables or task.variables)
        if study.features.form not in task.forms:
            why = ", which asks about admissions: the hourly grid holds none" if "grid" not in task.forms else ""
            raise ProtocolError(
                f"features.form = {study.features.form!r} does not fit the task {name}{why}; choose "
                f"{' or '.join(task.forms)}"
            )
    if study.features.form == "grid" and len(shown) > 1:
        raise ProtocolError(
            f"{', '.join(study.task.names)} see different variables of the grid: name those all may see in "
            "features.variables"
        )


def _check_coded_form(study: Study) -> None:
    """Check that notes are read as notes, and discharges in a form they have."""
    from clinical.asking.discharges import FORMS

    name, form = study.task.name, study.features.form
    if reads_notes(name):
        if form != "grid":
            raise ProtocolError(
                f"features.form = {form!r} is of events and task.name = {name!r} reads notes: leave it 'grid'"
            )
    elif form not in FORMS:
        raise ProtocolError(
            f"features.form = {form!r} is none of the task {name}, for the hourly grid does not hold admissions: "
            f"choose {' or '.join(FORMS)}"
        )


def _check_variables(study: Study) -> None:
    """Check that variables are chosen only of a grid, that there are such, and that every task shows them."""
    if not study.features.variables.strip():
        return
    if family_of(study.task.name) != "prediction" or study.features.form != "grid":
        raise ProtocolError(
            f"features.variables = {study.features.variables!r} chooses variables of the hourly grid: leave it empty "
            "for icd-coding, next-diagnosis and for other forms"
        )
    try:
        find_concepts(study.form.variables)
    except ValueError as unknown:
        raise ProtocolError(f"features.variables: {unknown}") from None
    for name in study.task.names:
        allowed = find_prediction_task(name).variables
        if allowed and (hidden := [variable for variable in study.form.variables if variable not in allowed]):
            raise ProtocolError(
                f"features.variables has {hidden[0]}, which the task {name} does not show: it shows {' '.join(allowed)}"
            )


def _check_fit(study: Study) -> None:
    """Check that model and loss are made for the task."""
    coding = family_of(study.task.name) == "coding"
    kind = "binary" if coding else find_prediction_task(study.task.name).kind
    if PURPOSE[study.training.loss] != kind:
        fitting = ", ".join(name for name, purpose in PURPOSE.items() if purpose == kind)
        raise ProtocolError(
            f"training.loss = {study.training.loss!r} does not fit task.name = {study.task.name!r}, whose answers are "
            f"{'yes or no' if kind == 'binary' else 'numbers'}: choose {fitting}"
        )
    if study.model.warm_start == "titles" and not (reads_notes(study.task.name) and MODELS[study.model.name].titles):
        fitting = ", ".join(name for name, entry in MODELS.items() if entry.titles)
        raise ProtocolError(
            f"model.warm-start = 'titles' needs task.name = 'icd-coding' and one of the models {fitting}: choose none"
        )
    if coding and MODELS[study.model.name].reads != "rows":
        fitting = ", ".join(name for name, entry in MODELS.items() if entry.reads == "rows")
        raise ProtocolError(
            f"model.name = {study.model.name!r} reads sequences and task.name = {study.task.name!r} has one row a "
            f"{'document' if reads_notes(study.task.name) else 'discharge'}: choose {fitting}"
        )
    if study.features.form == "text" and MODELS[study.model.name].reads != "rows":
        fitting = ", ".join(name for name, entry in MODELS.items() if entry.reads == "rows")
        raise ProtocolError(
            f"model.name = {study.model.name!r} reads sequences and features.form = 'text' has one row a moment: "
            f"choose {fitting}"
        )


def _check(key: str, name: str, table: Iterable[str]) -> None:
    if name not in (known := list(table)):
        raise ProtocolError(f"{key} = {name!r} is unknown: choose one of {', '.join(known)}")
