"""Fair rows: what the constraint pulls to, who is asked for, and that an outcome stops telling the group."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from synth.admission import admit
from synth.generators import fair_draws, gan_training, make_generator
from synth.generators.conditions import Conditions
from synth.generators.duel import Duel, Sizes
from synth.generators.fair_draws import FairDraw, quotas
from synth.generators.gan import learn_rows
from synth.generators.mixed_rows import MixedRows
from synth.generators.parity import Parity
from synth.spec import Column, TableSpec

SPEC = TableSpec(
    (
        Column("group", "categorical", categories=("large", "small", "tiny", "nobody")),
        Column("lab", "integer", low=0, high=100),
        Column("ill", "boolean"),
        Column("same", "categorical", categories=("x",)),
    ),
    target="ill",
    confirmed=True,
)
QUICK = {"sensitive": "group", "steps": 4, "batch": 40, "hidden": 8, "noise": 4}


def patients(rows=2000):
    """The small groups are ill far more often."""
    rng = np.random.default_rng(1)
    group = rng.choice(["large", "small", "tiny"], rows, p=[0.7, 0.2, 0.1])
    ill = rng.random(rows) < np.where(group == "large", 0.2, 0.8)
    lab = np.clip(50 + 20 * ill + rng.normal(0, 15, rows), 0, 100).round().astype(int)
    return pd.DataFrame({"group": group, "lab": lab, "ill": ill, "same": "x"})


@pytest.fixture
def learned():
    return learn_rows(admit(patients(), SPEC), SPEC, np.random.default_rng(2))


def parity_of(learned, strength=1.0):
    return learned.conditions, Parity(learned.layout, learned.conditions, group=0, outcome=1, strength=strength)


def drawing(learned, shares, monkeypatch):
    """A draw from a generator whose rows have these shares of group and outcome, whatever they are asked for."""

    def made(_, layout, conditions, rows, rng):
        asked = np.flatnonzero(conditions.natural[:3])
        cells = np.array(shares, dtype=float)
        if len(asked) == 1 and cells[asked].any():
            cells[np.arange(3) != asked[0]] = 0
        cell = rng.choice(cells.size, size=rows, p=cells.ravel() / cells.sum())
        parts = np.stack([cell // 2, cell % 2, np.zeros(rows, int)], axis=1).astype(np.int32)
        return MixedRows(rng.random((rows, 1)).astype(np.float32), parts)

    monkeypatch.setattr(fair_draws, "draw_mixed", made)
    return FairDraw(None, learned.layout, learned.conditions, 0, 1)


def test_drawn_groups_come_as_often_as_in_the_table_and_are_ill_equally_often(learned, monkeypatch):
    draw = drawing(learned, [[0.60, 0.30], [0.02, 0.07], [0.005, 0.005]], monkeypatch)
    rows = draw(3000, np.random.default_rng(4))
    assert len(rows) == 3000
    counts = learned.conditions.counts
    shares = np.outer(counts[:3] / counts[:3].sum(), counts[3:5] / counts[3:5].sum())
    cells = np.bincount(rows.parts[:, 0] * 2 + rows.parts[:, 1], minlength=6).reshape(3, 2)
    assert np.abs(cells - 3000 * shares).max() < 1
    assert len(np.unique(rows.scalars)) == 3000  # no row is given twice
    assert np.abs(np.diff(rows.parts[:, 0])).sum() > 500  # nor do they come group by group


def test_a_group_that_never_comes_is_stood_in_for(learned, monkeypatch):
    draw = drawing(learned, [[0.6, 0.4], [0.0, 0.0], [0.0, 0.0]], monkeypatch)
    rows = draw(500, np.random.default_rng(5))
    assert len(rows) == 500
    assert not rows.parts[:, 0].any()


@pytest.mark.parametrize("rows", [0, 1, 7, 1000])
def test_quotas_add_up_whatever_is_asked_for(rows):
    found = quotas(np.array([50, 3, 1]), np.array([30, 24]), rows, np.random.default_rng(rows))
    assert found.sum() == rows
    assert np.abs(found - rows * np.outer([50, 3, 1], [30, 24]) / 54**2).max() < 1


def test_rows_are_pulled_down_the_information_that_the_outcome_carries_of_the_group(learned, monkeypatch):
    from synth.generators import parity

    monkeypatch.setattr(parity, "_MEMORY", 1e-9)  # no memory: the information of these rows alone
    _, guide = parity_of(learned, strength=2.0)
    rng = np.random.default_rng(4)
    rows = rng.random((60, learned.layout.width)).astype(np.float32)
    ill = guide.outcome
    rows[:, ill] /= rows[:, ill].sum(axis=1, keepdims=True)
    asked = rng.integers(6, size=60)

    own = torch.from_numpy(rows[:, ill]).double().requires_grad_()
    overall = torch.from_numpy(guide.overall)
    groups = [torch.from_numpy(asked == g) for g in range(3)]
    shares = [own[mine].mean(dim=0) for mine in groups]
    information = sum(
        mine.sum() / 60 * (share * (share / overall).log()).sum() for mine, share in zip(groups, shares, strict=True)
    )
    (wanted,) = torch.autograd.grad(2.0 * information, own)
    found = guide.pull(rows, asked)
    centred = wanted - wanted.mean(dim=1, keepdim=True)  # a softmax moves by differences alone
    own_pull = torch.from_numpy(found[:, ill]).double()
    torch.testing.assert_close(own_pull - own_pull.mean(dim=1, keepdim=True), centred, rtol=1e-4, atol=1e-6)
    found[:, ill] = 0
    assert not found.any()


def test_rows_that_are_fair_already_are_left_alone(learned):
    conditions, guide = parity_of(learned)
    rows = np.zeros((90, learned.layout.width), dtype=np.float32)
    rows[:, guide.outcome] = guide.overall
    assert np.abs(guide.pull(rows, conditions.draw(90, np.random.default_rng(1)))).max() < 1e-6


def test_the_group_that_the_critic_finds_worst_is_asked_for_more_often(learned, monkeypatch):
    conditions, guide = parity_of(learned)
    duel = Duel(
        learned.layout,
        conditions,
        Sizes(batch=40, pack=10, noise=4, hidden=8, rate=1e-3),
        np.random.default_rng(5),
        guide,
    )
    calls = []

    def scores(self, rows, asked):
        calls.append(asked[0])
        real = len(calls) % 2
        return torch.linspace(0, 1, 20) + real * (1.0 if asked[0] == 2 else 0.0)

    monkeypatch.setattr(Duel, "scores", scores)
    guide.look(duel, learned.training, np.random.default_rng(6))
    before, after = conditions.trained, duel.conditions.trained
    assert after[2] > 1.5 * before[2]
    assert (after[:2] < before[:2]).all()
    assert after[:3].sum() == pytest.approx(before[:3].sum())
    assert (after[3:] == before[3:]).all()


def test_a_group_of_which_all_were_held_back_is_neither_judged_nor_asked_for():
    last = TableSpec((*SPEC.columns[1:3], SPEC.columns[0]), target="ill", confirmed=True)
    rows = learn_rows(admit(patients(), last), last, np.random.default_rng(2))
    known = rows.training.at(np.flatnonzero(rows.training.parts[:, 1] != 2))  # "tiny", the last of the last choice
    conditions = Conditions.of(known.parts[:, :2], rows.layout.sizes[:2])
    guide = Parity(rows.layout, conditions, group=1, outcome=0, strength=1.0)
    sizes = Sizes(batch=40, pack=10, noise=4, hidden=8, rate=1e-3)
    duel = Duel(rows.layout, conditions, sizes, np.random.default_rng(5), guide)
    guide.look(duel, known, np.random.default_rng(6))
    assert duel.conditions.counts[-1] == duel.conditions.trained[-1] == 0


def gap(rows):
    shares = rows.groupby("group")["ill"].mean()
    return float(shares.max() - shares.min())


def test_an_outcome_that_tells_the_group_no_longer_does(monkeypatch):
    settings = {"steps": 400, "batch": 100, "hidden": 32, "rate": 1e-3}
    found = {}
    for name, more in (("gan", {}), ("bt-gan", {"sensitive": "group"})):
        fitted = make_generator(name, settings | more).fit(patients(), SPEC, rng=np.random.default_rng(1), privacy=None)
        found[name] = fitted.sample(4000, np.random.default_rng(2))
    assert gap(found["gan"]) > 0.1
    assert gap(found["bt-gan"]) < 0.01
    real = patients()
    for column in ("group", "ill"):
        shares = found["bt-gan"][column].value_counts(normalize=True)
        assert (shares - real[column].value_counts(normalize=True)).abs().max() < 0.02


def test_a_fair_training_that_was_cut_off_ends_as_it_would_have(tmp_path, monkeypatch):
    monkeypatch.setattr(gan_training, "LOOK", 2)
    generator, file = make_generator("bt-gan", QUICK), tmp_path / "cohort.unfinished"

    def fit(where):
        fitted = generator.fit_kept(patients(1200), SPEC, rng=np.random.default_rng(1), privacy=None, file=where)
        return fitted.sample(50, np.random.default_rng(2))

    whole, step = fit(None), Duel.step

    def pulled(self, rows, rng):
        if self.steps == 3:
            raise KeyboardInterrupt
        step(self, rows, rng)

    with monkeypatch.context() as patched:
        patched.setattr(Duel, "step", pulled)
        with pytest.raises(KeyboardInterrupt):
            fit(file)
    pd.testing.assert_frame_equal(fit(file), whole)
    assert not file.exists()


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"sensitive": ""}, "needs sensitive: name a column"),
        ({"sensitive": "race"}, "sensitive names 'race', which is no column"),
        ({"sensitive": "ill"}, "sensitive and outcome are both 'ill'"),
        ({"sensitive": "same"}, "column 'same' holds a single value"),
        ({"outcome": "lab"}, "column 'lab' holds many different numbers"),
        ({"fairness": 0.0}, "fairness > 0"),
    ],
)
def test_groups_and_outcomes_that_cannot_be_are_named(settings, problem):
    with pytest.raises(ValueError, match=problem):
        make_generator("bt-gan", QUICK | settings).fit(patients(), SPEC, rng=np.random.default_rng(1), privacy=None)
