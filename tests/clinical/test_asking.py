"""Questions of several tasks as one training split: each patient once, each question with its prompt."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clinical.asking.together import Prompted, Together
from clinical.learning import Questions
from privacy.clipping import patient_norms


def rows(patients, width=2):
    """One question a patient, whose features are the patient's number."""
    ids = np.array(patients, np.int64)
    return Questions(np.repeat(ids[:, None], width, 1).astype(np.float32), ids.astype(np.float32) + 0.5, ids)


def sequences(patients, steps):
    ids = np.array(patients, np.int64)
    features = np.broadcast_to(ids[:, None, None], (len(ids), steps, 2)).astype(np.float32)
    return Questions(features, np.broadcast_to(ids[:, None], (len(ids), steps)).astype(np.float32), ids)


def joined(parts, *, build):
    prompted = [Prompted(build(own), place=place, tasks=len(parts)) for place, own in enumerate(parts)]
    return Together(prompted, [np.unique(own) for own in parts])


lists = st.lists(st.integers(0, 9), min_size=1, max_size=12)


@given(first=lists, second=lists, seed=st.integers(0, 99))
def test_a_batch_holds_every_question_of_its_patients_once_with_the_prompt_of_its_task(first, second, seed):
    together = joined([first, second], build=rows)
    everyone = sorted({*first, *second})
    assert together.patients == len(everyone)
    chosen = np.flatnonzero(np.random.default_rng(seed).random(len(everyone)) < 0.6)
    batch = together.batch(chosen)
    wanted = {everyone[place] for place in chosen}
    expected = sorted(
        (patient, task) for task, own in enumerate((first, second)) for patient in own if patient in wanted
    )
    found = [(int(row[0]), int(row[3])) for row in batch.features]
    assert sorted(found) == expected
    assert torch.equal(batch.features[:, 2] + batch.features[:, 3], torch.ones(len(found)))
    owners = [everyone[chosen[number]] for number in batch.patient]
    assert owners == [patient for patient, _ in found]
    assert batch.labels[:, 0].tolist() == [patient + 0.5 for patient in owners]


def test_shorter_sequences_are_filled_where_nothing_is_asked():
    parts = [Prompted(sequences([1, 2], 3), place=0, tasks=2), Prompted(sequences([2, 5], 5), place=1, tasks=2)]
    batch = Together(parts, [np.array([1, 2]), np.array([2, 5])]).batch(np.array([0, 1]))  # patients 1 and 2
    assert batch.features.shape == (3, 5, 4)
    assert batch.patient.tolist() == [0, 1, 1]
    asked = (~batch.labels[..., 0].isnan()).sum(1)
    assert asked.tolist() == [3, 3, 5]


def test_a_patient_asked_two_things_is_clipped_as_one():
    torch.manual_seed(0)
    together = joined([[1, 2], [2, 3]], build=rows)
    model = torch.nn.Linear(4, 1)
    batch = together.batch(np.arange(3))

    def losses(outputs):
        return (outputs[:, 0] - batch.labels[:, 0]) ** 2

    norms = patient_norms(model, batch.features, losses, batch.patient)
    for patient in range(3):
        model.zero_grad()
        own = batch.patient == patient
        losses_of = (model(batch.features[own])[:, 0] - batch.labels[own, 0]) ** 2
        losses_of.sum().backward()
        whole = torch.cat([each.grad.flatten() for each in model.parameters()]).norm()
        assert norms[patient].item() == pytest.approx(whole.item(), rel=1e-5)
    model.zero_grad()
