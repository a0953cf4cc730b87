"""What an audit asks of patients, whatever a task's examples are: their losses, a model to start from, a part of them.

One class a family of tasks, behind one face: patients with notes and codes, and patients with stays and an outcome.
Both are sent to processes of their own, so they hold arrays and a study and nothing that cannot be pickled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from clients.training import study_loss
from clinical.learning import Examples, Questions
from privacy.audits.membership import by_patient

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from clinical.learning import Cases
    from study.protocol import Study

_CELLS = 1 << 24
_PATIENTS = 256  # whose stays are judged at once


class Patients(Protocol):
    """P patients with everything a model is asked about them; all examples of one make one score."""

    @property
    def cases(self) -> Cases:
        """Their examples as a learner sees them."""

    @property
    def outputs(self) -> int:
        """K, how many outputs a model has."""

    def losses(self, model: nn.Module) -> np.ndarray:
        """Return each patient's loss under a model: float64 [P]."""

    def initial(self) -> nn.Module:
        """Build the study's model as its coordinator does."""

    def subset(self, who: np.ndarray) -> Patients:
        """Return some of the patients, int64 or bool, renumbered."""

    def arrays(self) -> list[np.ndarray]:
        """Return what they are told apart by: features, labels and whose each is."""

    def vectors(self) -> np.ndarray:
        """Return the mean of each patient's features: float64 [P, D]."""

    def visits(self) -> np.ndarray:
        """Count each patient's notes or stays: int64 [P]."""


@dataclass(frozen=True, slots=True, eq=False)
class Notes:
    """Patients with notes and their codes; the loss is the cross-entropy a code, averaged over notes."""

    study: Study
    cases: Examples

    @property
    def outputs(self) -> int:
        """K, the codes of the vocabulary."""
        return int(self.cases.labels.shape[1])

    def losses(self, model: nn.Module, *, rows: int = 2048) -> np.ndarray:
        """Return each patient's loss, so many notes at a time: float64 [P]."""
        from clinical.learning import predict

        truth, K = self.cases.labels, self.outputs
        rows = max(1, min(rows, _CELLS // K))
        each = []
        for start in range(0, self.cases.documents, rows):
            logits = predict(model, self.cases.features[start : start + rows])
            own = np.asarray(truth[start : start + rows].multiply(logits).sum(axis=1), dtype=np.float64).ravel()
            each.append(np.logaddexp(0, logits).sum(axis=1, dtype=np.float64) - own)
        return by_patient(np.concatenate(each) / K, self.cases.patient)

    def initial(self) -> nn.Module:
        """Build the study's model: seeded weights, the last bias at how common each code is."""
        share = (np.asarray(self.cases.labels.sum(axis=0), dtype=np.float64).ravel() + 0.5) / (self.cases.documents + 1)
        return _build(self.study, self, np.log(share / (1 - share)))

    def subset(self, who: np.ndarray) -> Notes:
        """Return some of the patients, renumbered."""
        rows = _rows(self.cases, who)
        own = Examples(self.cases.features.numpy()[rows], self.cases.labels[rows], self.cases.patient[rows])
        return Notes(self.study, own)

    def arrays(self) -> list[np.ndarray]:
        """Return vectors of notes, whose they are, and their codes."""
        labels = self.cases.labels
        return [self.cases.features.numpy(), self.cases.patient, labels.indptr, labels.indices]

    def vectors(self) -> np.ndarray:
        """Return the mean of each patient's embeddings: float64 [P, D]."""
        return by_patient(self.cases.features.numpy().T, self.cases.patient).T

    def visits(self) -> np.ndarray:
        """Count each patient's notes: int64 [P]."""
        return np.diff(self.cases.starts)


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """Patients with stays and an outcome; the loss is the study's own, averaged over what is asked, then over stays."""

    study: Study
    cases: Questions

    @property
    def outputs(self) -> int:
        """One outcome."""
        return 1

    def losses(self, model: nn.Module) -> np.ndarray:
        """Return each patient's loss: float64 [P]."""
        import torch

        loss = study_loss(self.study)
        model.eval()
        found = []
        for start in range(0, self.cases.patients, _PATIENTS):
            batch = self.cases.batch(np.arange(start, min(start + _PATIENTS, self.cases.patients)))
            with torch.inference_mode():
                each = batch.losses(loss, model(batch.features).double()).numpy()  # small losses stay apart
            counts = None if batch.weight is None else batch.weight.numpy()
            owner = batch.patient.numpy()
            found.append(np.bincount(owner, weights=each) / np.bincount(owner, weights=counts))
        return np.concatenate(found)

    def initial(self) -> nn.Module:
        """Build the study's model: seeded weights, the last bias at the task's public prior."""
        from clinical.tasks.prediction import find_prediction_task

        return _build(self.study, self, np.array([find_prediction_task(self.study.task.name).start]))

    def subset(self, who: np.ndarray) -> Asked:
        """Return some of the patients, renumbered."""
        rows = _rows(self.cases, who)
        features, labels, weight = _parts(self.cases)
        chosen = None if weight is None else weight[rows]
        return Asked(self.study, Questions(features[rows], labels[rows, ..., 0], self.cases.patient[rows], chosen))

    def arrays(self) -> list[np.ndarray]:
        """Return features, answers, what each example counts, and whose it is."""
        return [*(each for each in _parts(self.cases) if each is not None), self.cases.patient]

    def vectors(self) -> np.ndarray:
        """Return the mean of each patient's features over questions or hours: float64 [P, F]."""
        features = self.cases.features.numpy()
        each = features.mean(axis=1) if features.ndim == 3 else features
        return by_patient(each.T, self.cases.patient).T

    def visits(self) -> np.ndarray:
        """Count each patient's stays; the questions of a stay together count 1: int64 [P]."""
        weight = None if self.cases.weight is None else self.cases.weight.numpy()
        return np.rint(np.bincount(self.cases.patient, weights=weight)).astype(np.int64)


def join_notes(study: Study, parts: Sequence[Notes]) -> Notes:
    """Put patients after one another."""
    from scipy.sparse import vstack

    features = np.concatenate([part.cases.features.numpy() for part in parts])
    labels = vstack([part.cases.labels for part in parts]).tocsr()
    return Notes(study, Examples(features, labels, _number([part.cases for part in parts])))


def join_asked(study: Study, parts: Sequence[Asked]) -> Asked:
    """Put patients after one another; shorter sequences are filled up with hours in which nothing is asked."""
    content = [_parts(part.cases) for part in parts]
    longest = max(features.shape[1] for features, _, _ in content)
    sequences = content[0][0].ndim == 3
    features = np.concatenate([_fill(each, longest, 0.0) if sequences else each for each, _, _ in content])
    labels = np.concatenate([_fill(each, longest, np.nan) if sequences else each for _, each, _ in content])
    weights = [each for _, _, each in content if each is not None]
    owner = _number([part.cases for part in parts])
    return Asked(study, Questions(features, labels[..., 0], owner, np.concatenate(weights) if weights else None))


def _build(study: Study, patients: Notes | Asked, start: np.ndarray) -> nn.Module:
    """Build a study's model and set its last bias, float64 [K]."""
    import torch

    from clinical.models import build_model

    model = build_model(
        study.model.name,
        features=int(patients.cases.features.shape[-1]),
        codes=patients.outputs,
        dropout=study.model.dropout,
        seed=study.study.seed,
    )
    bias = [parameter for name, parameter in model.named_parameters() if name.endswith("bias")][-1]
    with torch.no_grad():
        bias.copy_(torch.from_numpy(start).to(bias.dtype))
    return model


def _rows(cases: Examples | Questions, who: np.ndarray) -> np.ndarray:
    wanted = np.zeros(cases.patients, dtype=np.bool_)
    wanted[who] = True
    return np.flatnonzero(wanted[cases.patient])


def _number(cases: Sequence[Examples | Questions]) -> np.ndarray:
    """Number the patients of several parts one after another: int64 [N]."""
    first = np.cumsum([0, *(each.patients for each in cases)])
    return np.concatenate([each.patient + start for each, start in zip(cases, first, strict=False)])


def _parts(cases: Questions) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    weight = None if cases.weight is None else cases.weight.numpy()
    return cases.features.numpy(), cases.labels.numpy(), weight


def _fill(array: np.ndarray, hours: int, value: float) -> np.ndarray:
    """Lengthen sequences [N, T, F] to some hours."""
    missing = hours - array.shape[1]
    return np.pad(array, ((0, 0), (0, missing), (0, 0)), constant_values=value) if missing else array
