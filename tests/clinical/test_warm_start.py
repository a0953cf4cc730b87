"""Titles as a classifier nobody trained, written into every head alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical.averaging import TailAverage
from clinical.codes import descendants, title
from clinical.models import MODELS, build_model
from clinical.tasks.labels import SYSTEMS_OF
from clinical.warm_start import SHARPNESS, start_from, title_rows

STARTED = [name for name, entry in MODELS.items() if entry.titles]


@dataclass(frozen=True)
class Bags:
    """An encoder of known answers: a text is the sum of its words' fixed random vectors."""

    identity: str = "bags@1"
    dimension: int = 24
    max_tokens: int = 512
    batch_tokens: int = 10_000

    @property
    def tokenizer(self):
        from clinical.notes import load_encoder

        return load_encoder("").tokenizer

    def encode(self, chunks):
        return np.array([self.sum_of(text) for text in chunks], np.float32)

    def sum_of(self, text):
        seeds = [int.from_bytes(word.encode(), "little") for word in text.split()]
        return sum(np.random.default_rng(seed).standard_normal(self.dimension) for seed in seeds)


def started(name, rows, *, features, seed=0):
    model = build_model(name, features=features, codes=len(rows), dropout=0.0, seed=seed)
    arrays = {key: tensor.numpy() for key, tensor in model.state_dict().items()}
    last = [key for key in arrays if key.endswith("bias")][-1]
    arrays[last] = np.linspace(-3, 0, len(rows)).astype(np.float32)
    after = start_from(arrays, rows)
    model.load_state_dict({key: torch.tensor(array) for key, array in after.items()})
    return model.eval(), arrays[last]


@pytest.mark.parametrize("name", STARTED)
@given(seed=st.integers(0, 1000))
@settings(max_examples=5, deadline=None)
def test_every_head_starts_as_the_same_linear_map(name, seed):
    rng = np.random.default_rng(seed)
    rows, x = rng.normal(size=(20, 16)).astype(np.float32), rng.normal(size=(7, 16)).astype(np.float32)
    model, bias = started(name, rows, features=16, seed=seed)
    normalised = torch.nn.functional.layer_norm(torch.tensor(x), (16,)).numpy()
    with torch.no_grad():
        assert model(torch.tensor(x)).numpy() == pytest.approx(normalised @ rows.T + bias, abs=1e-4)


def test_a_head_too_narrow_for_the_map_keeps_its_largest_directions():
    rng = np.random.default_rng(0)
    rows, x = rng.normal(size=(300, 384)).astype(np.float32), rng.normal(size=(5, 384)).astype(np.float32)
    model, bias = started("mlp-s", rows, features=384)  # 256 units carry 128 of 300 directions
    left, size, right = np.linalg.svd(rows.astype(np.float64), full_matrices=False)
    kept = (left[:, :128] * size[:128]) @ right[:128]
    normalised = torch.nn.functional.layer_norm(torch.tensor(x), (384,)).numpy()
    with torch.no_grad():
        assert model(torch.tensor(x)).numpy() == pytest.approx(normalised @ kept.T + bias, abs=1e-2)


def test_every_unit_of_a_started_head_can_still_learn():
    rows = np.random.default_rng(0).normal(size=(20, 16)).astype(np.float32)
    model, _ = started("mlp-m", rows, features=16)
    for _ in range(2):  # the last layer opens the way to the units that carry nothing yet
        model.zero_grad()
        torch.nn.functional.softplus(model(torch.randn(64, 16))).sum().backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.sub_(parameter.grad, alpha=1e-3)
    assert all((parameter.grad != 0).any(dim=-1).all() for parameter in model.parameters())


@pytest.mark.parametrize("name", ["gru", "tcn", "transformer"])
def test_a_model_that_is_no_perceptron_is_refused(name):
    model = build_model(name, features=16, codes=5, dropout=0.0, seed=0)
    arrays = {key: tensor.numpy() for key, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match="perceptron"):
        start_from(arrays, np.zeros((5, 16), np.float32))


def test_rows_are_cosines_with_titles_less_their_mean(tmp_path):
    codes, encoder = ("I10", "E11.9", "J18.9"), Bags()
    rows = title_rows(codes, SYSTEMS_OF["icd10"], encoder, side_car=tmp_path)
    vectors = np.array([encoder.encode([title(code, system="ICD10CM")])[0] for code in codes]).astype(np.float16)
    directions = torch.nn.functional.layer_norm(torch.tensor(vectors, dtype=torch.float32), (24,)).numpy()
    note = directions[1]  # a note that says exactly one title
    cosines = directions @ note / 24
    assert rows @ note == pytest.approx(SHARPNESS * (cosines - cosines.mean()), abs=1e-2)
    assert (rows @ note).argmax() == 1


def test_a_category_is_read_by_the_titles_below_it_and_an_unknown_code_by_none(tmp_path):
    assert title("E78.4", system="ICD10CM") is None
    assert descendants("E78.4", system="ICD10CM") == ("E78.41", "E78.49")
    rows = title_rows(("E78.4", "I10", "Z99.XQ"), SYSTEMS_OF["icd10"], Bags(), side_car=tmp_path)
    assert rows[0].any()
    assert not rows[2].any()
    assert not title_rows(("Z99.XQ",), SYSTEMS_OF["icd10"], Bags(), side_car=tmp_path).any()


def test_a_code_of_the_release_and_nonsense_have_no_descendants():
    assert descendants("E78.41", system="ICD10CM") == ()
    assert descendants("nonsense", system="ICD10CM") == ()


# --- averages ---


def test_the_tail_is_the_second_half_of_the_rounds():
    tail = TailAverage(5)
    for number in range(1, 6):
        tail.add(number, {"w": np.full(2, number, np.float32)})
    assert tail.count == 3
    assert tail.mean()["w"].tolist() == [4.0, 4.0]
    assert tail.mean()["w"].dtype == np.float32


def test_a_single_round_is_its_own_tail():
    tail = TailAverage(1)
    tail.add(1, {"w": np.ones(1, np.float32)})
    assert tail.mean()["w"] == 1.0


def test_nothing_counted_is_no_average():
    tail = TailAverage(4)
    tail.add(2, {"w": np.ones(1, np.float32)})
    with pytest.raises(ValueError, match="nothing to average"):
        tail.mean()
