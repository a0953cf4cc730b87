"""Whether a study can be run at all, asked before anything is started."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clinical.losses import LOSSES
from clinical.models import MODELS
from clinical.tasks import TASKS
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
    from clinical.events import list_hospitals
    from clinical.notes import load_encoder

    check_names(study)
    load_encoder(study.notes.encoder)
    if study.data.network:
        list_hospitals(Path(study.data.network))


def check_names(study: Study) -> None:
    """Check the plug-ins a study names.

    Raises:
        ProtocolError: a task, model, loss or strategy is in no table, or the strategy cannot hide hospitals; the
            message lists what can be chosen.
    """
    _check("task.name", study.task.name, TASKS)
    _check("model.name", study.model.name, MODELS)
    _check("training.loss", study.training.loss, LOSSES)
    _check("federation.strategy", study.federation.strategy, STRATEGIES)
    if study.model.warm_start == "titles" and study.task.name != "icd-coding":
        raise ProtocolError(
            f"model.warm-start = 'titles' needs codes to predict and task.name is {study.task.name!r}: choose none"
        )
    if study.privacy.hides_hospitals and study.federation.strategy not in AVERAGING:
        raise ProtocolError(
            f"federation.strategy = {study.federation.strategy!r} compares single hospitals, which no noise on a sum "
            f"of them hides: under privacy.hospital-epsilon choose one of {', '.join(AVERAGING)}"
        )


def _check(key: str, name: str, table: Iterable[str]) -> None:
    if name not in (known := list(table)):
        raise ProtocolError(f"{key} = {name!r} is unknown: choose one of {', '.join(known)}")
