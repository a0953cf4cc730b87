"""A table GAN in its parts: rows written and read, conditions, soft choices, and a training that can be cut off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.admission import admit
from synth.generators import gan_training, make_generator
from synth.generators.activations import Stretches, activate, draw_gumbel, miss_of_condition
from synth.generators.conditions import Conditions
from synth.generators.held_out import HeldOut
from synth.generators.mixed_rows import MixedRows, learn_layout
from synth.generators.networks import Generator
from synth.spec import Column, TableSpec
from tests.synth.tiny import CLINIC, WARD, clinic, ward

SIZES = (3, 1, 4)
QUICK = {"steps": 4, "batch": 20, "hidden": 8, "noise": 4}


def layout_of(make, spec):
    rows = admit(make(), spec).rows
    return rows, learn_layout(rows, spec)


@pytest.mark.parametrize(("make", "spec"), [(ward, WARD), (clinic, CLINIC)], ids=["ward", "clinic"])
def test_a_table_is_written_and_read_back(make, spec):
    rows, layout = layout_of(make, spec)
    written = layout.encode(rows, np.random.default_rng(1))
    read = layout.decode(written)
    for name in spec.names:
        if spec.by_name[name].kind in {"integer", "real", "date"} and rows[name].nunique() > 20:
            span = spec.by_name[name].levels / 10 ** spec.by_name[name].digits
            assert (read[name].isna() == rows[name].isna()).all()
            apart = (read[name].astype("float64") - rows[name].astype("float64")).abs()
            assert apart.fillna(0).quantile(0.9) <= 0.01 * span
        else:
            pd.testing.assert_series_equal(read[name], rows[name])


def test_only_what_a_table_holds_takes_room():
    many = tuple(f"code {i}" for i in range(5000))
    spec = TableSpec((Column("code", "categorical", categories=many, missing=True), CLINIC.columns[1]), confirmed=True)
    table = pd.DataFrame({"code": ["code 7", None, "code 4999"] * 5, "stage": "II"})
    rows = admit(table, spec).rows
    layout = learn_layout(rows, spec)
    assert layout.sizes == (3,)
    assert layout.width == 3
    pd.testing.assert_frame_equal(layout.decode(layout.encode(rows, np.random.default_rng(1))), rows)


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=25)
def test_whatever_a_network_says_is_read_within_the_specification(seed):
    rng = np.random.default_rng(seed)
    _, layout = layout_of(ward, WARD)
    drawn = MixedRows(
        rng.normal(0, 3, (50, len(layout.modal))).clip(-1, 1).astype(np.float32),
        np.stack([rng.integers(size, size=50) for size in layout.sizes], axis=1).astype(np.int32),
    )
    read = layout.decode(drawn).assign(patient=range(50))
    pd.testing.assert_frame_equal(admit(read, replace(WARD, rules=())).rows, read[list(WARD.names)])


def test_a_drawn_row_meets_its_condition_and_rare_categories_are_asked_for_more_often_than_they_come():
    rng = np.random.default_rng(1)
    parts = np.stack([rng.random(1000) < 0.02, rng.integers(3, size=1000)], axis=1).astype(np.int32)
    conditions = Conditions.of(parts, (2, 3))
    asked = conditions.draw(20_000, rng)
    rows = conditions.draw_rows(asked, 20_000, rng)
    first = asked < 2
    assert (parts[rows[first], 0] == asked[first]).all()
    assert (parts[rows[~first], 1] == asked[~first] - 2).all()
    assert first.mean() == pytest.approx(0.5, abs=0.02)
    counts = np.log1p(np.bincount(parts[:, 0]))
    assert (asked[first] == 1).mean() == pytest.approx(counts[1] / counts.sum(), abs=0.02)
    natural = conditions.draw_natural(20_000, rng)
    assert (natural[natural < 2] == 1).mean() == pytest.approx(parts[:, 0].mean(), abs=0.01)
    reached = np.bincount(conditions.draw_rows(np.full(50_000, 1), 50_000, rng), minlength=1000)
    assert (reached > 0).sum() == parts[:, 0].sum()  # every row that has it, and no other


def test_a_category_that_no_training_row_has_is_never_asked_for():
    conditions = Conditions.of(np.array([[0], [0], [2]], dtype=np.int32), (4,))
    rng = np.random.default_rng(2)
    assert set(conditions.draw(500, rng)) == set(conditions.draw_natural(500, rng)) == {0, 2}


def test_soft_choices_are_those_of_a_softmax_for_each_column_and_so_are_their_gradients():
    raw = torch.randn(6, 2 + sum(SIZES), generator=torch.Generator().manual_seed(1)).requires_grad_()
    noise = draw_gumbel(6, sum(SIZES), np.random.default_rng(2))
    weights = torch.randn(6, 2 + sum(SIZES), generator=torch.Generator().manual_seed(3))
    found = activate(raw, 2, Stretches.of(SIZES), noise)
    (gradient,) = torch.autograd.grad((found * weights).sum(), raw)
    again = raw.detach().clone().requires_grad_()
    blocks = ((again[:, 2:] + torch.from_numpy(noise).T) / 0.2).split(SIZES, dim=1)
    wanted = torch.cat([torch.tanh(again[:, :2]), *(torch.softmax(block, dim=1) for block in blocks)], dim=1)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(gradient, torch.autograd.grad((wanted * weights).sum(), again)[0])


def test_the_miss_of_a_condition_is_a_cross_entropy():
    raw = torch.randn(5, sum(SIZES), generator=torch.Generator().manual_seed(1)).requires_grad_()
    asked = np.array([0, 2, 3, 4, 7])
    loss, gradient = miss_of_condition(raw.detach().numpy(), Stretches.of(SIZES), asked)
    blocks = raw.split(SIZES, dim=1)
    where = [(0, 0), (0, 2), (1, 0), (2, 0), (2, 3)]
    wanted = torch.stack([-torch.log_softmax(blocks[b][i], dim=0)[k] for i, (b, k) in enumerate(where)]).mean()
    assert loss == pytest.approx(float(wanted.detach()), abs=1e-6)
    torch.testing.assert_close(torch.from_numpy(gradient), torch.autograd.grad(wanted, raw)[0])


def test_gumbel_noise_chooses_as_a_softmax_does():
    logits = np.log(np.array([0.5, 0.3, 0.2], dtype=np.float32))
    chosen = (logits[:, None] + draw_gumbel(40_000, 3, np.random.default_rng(1))).argmax(axis=0)
    assert np.bincount(chosen) / 40_000 == pytest.approx([0.5, 0.3, 0.2], abs=0.01)


def test_a_generator_is_the_one_that_sees_noise_condition_and_earlier_layers_side_by_side():
    made = Generator(noise=3, categories=4, hidden=(5, 6), width=2, randomness=torch.Generator().manual_seed(1))
    noise = torch.randn(7, 3, generator=torch.Generator().manual_seed(2))
    asked = torch.tensor([0, 1, 2, 3, 0, 1, 2])
    seen = torch.cat([noise, torch.nn.functional.one_hot(asked, 4).float()], dim=1)
    start = 0
    for level, units in enumerate((5, 6, 2)):
        stop = start + units
        own = torch.cat([made.noise.weight[start:stop], made.condition.weight.T[start:stop]], dim=1)
        weight = torch.cat([own, made.links[level - 1].weight], dim=1) if level else own
        out = torch.nn.functional.linear(seen, weight, made.noise.bias[start:stop])
        assert weight.abs().max() <= 1 / np.sqrt(weight.shape[1])
        if level < 2:
            seen = torch.cat([seen, torch.relu(made.norms[level](out))], dim=1)
        start = stop
    torch.testing.assert_close(made(noise, asked), out)


def test_the_held_out_distance_is_about_zero_for_other_rows_of_the_table_and_grows_as_columns_come_apart():
    rows, layout = layout_of(lambda: ward(2000), WARD)
    rng = np.random.default_rng(1)
    written = layout.encode(rows, rng)
    held = HeldOut.of(layout, written.at(np.arange(1000)))
    same = held.distance(written.at(np.arange(1000)))
    other = held.distance(written.at(np.arange(1000, 2000)))
    torn = MixedRows(rng.permuted(written.scalars, axis=0), rng.permuted(written.parts, axis=0))
    assert same < abs(other) < 0.1 * held.distance(torn)
    assert held.distance(torn) < held.distance(MixedRows(torn.scalars, np.zeros_like(torn.parts)))


class Cut(Exception):
    """Somebody pulled the plug."""


def test_a_training_that_was_cut_off_goes_on_and_ends_as_it_would_have(tmp_path, monkeypatch):
    monkeypatch.setattr(gan_training, "LOOK", 3)
    file = tmp_path / "cohort.unfinished"
    settings = QUICK | {"steps": 14}
    generator = make_generator("gan", settings)
    table = ward(1200)

    def fit(where, **changed):
        made = make_generator("gan", settings | changed) if changed else generator
        return made.fit_kept(table, WARD, rng=np.random.default_rng(1), privacy=None, file=where)

    whole = fit(None).sample(50, np.random.default_rng(2))
    look, seen = gan_training._Run.look, []

    def pulled(self, rng):
        seen.append(self.duel.steps)
        if len(seen) in {3, 4}:
            raise Cut
        look(self, rng)

    monkeypatch.setattr(gan_training._Run, "look", pulled)
    for _ in range(2):
        with pytest.raises(Cut):
            fit(file)
        assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ValueError, match="unfinished training of another table or plan"):
        fit(file, hidden=9)
    resumed = fit(file).sample(50, np.random.default_rng(2))
    assert seen == [3, 6, 9, 9, 9, 12, 14]  # nothing was done twice but what was lost
    pd.testing.assert_frame_equal(resumed, whole)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_no_training(tmp_path):
    file = tmp_path / "cohort.unfinished"
    file.write_bytes(b"PK")
    with pytest.raises(ValueError, match="no unfinished training"):
        make_generator("gan", QUICK).fit_kept(ward(), WARD, rng=np.random.default_rng(1), privacy=None, file=file)


def test_training_ends_when_no_look_is_better(monkeypatch):
    monkeypatch.setattr(gan_training, "LOOK", 1)
    monkeypatch.setattr(gan_training, "SETTLED", 3)
    looks = []
    distances = [1, 1, 9, 3, 2, 2, 2, 1]  # what comes before the generator has settled is no better one to wait for
    monkeypatch.setattr(HeldOut, "distance", lambda self, rows: looks.append(1) or distances[len(looks) - 1])
    make_generator("gan", QUICK | {"steps": 50, "patience": 2}).fit(
        ward(1200), WARD, rng=np.random.default_rng(1), privacy=None
    )
    assert len(looks) == 7


def test_no_patient_is_both_learned_from_and_held_back():
    from synth.generators.gan import learn_rows

    table = ward(3000)
    admitted = admit(table, WARD)
    learned = learn_rows(replace(admitted, patients=admitted.patients), WARD, np.random.default_rng(1))
    assert len(learned.held) == 300
    assert len(learned.training) == 2700
    keys = [set(map(bytes, np.ascontiguousarray(part.scalars))) for part in (learned.training, learned.held)]
    assert len(keys[1]) > 250


def test_what_two_columns_do_together_is_learned():
    rng = np.random.default_rng(1)
    side = rng.random(3000) < 0.5
    table = pd.DataFrame({"side": np.where(side, "left", "right"), "angle": np.where(side, -40, 40)})
    table["angle"] += rng.normal(0, 5, 3000).round().astype(int)
    spec = TableSpec(
        (Column("side", "categorical", categories=("left", "right")), Column("angle", "integer", low=-90, high=90)),
        confirmed=True,
    )
    generator = make_generator("gan", {"steps": 300, "hidden": 64, "batch": 200, "rate": 1e-3})
    rows = generator.fit(table, spec, rng=np.random.default_rng(2), privacy=None).sample(1000, np.random.default_rng(3))
    assert ((rows["angle"] < 0) == (rows["side"] == "left")).mean() > 0.95
    assert (rows["side"] == "left").mean() == pytest.approx(0.5, abs=0.1)


ODD = {
    "a constant": ({"a": ["x"] * 12, "b": list(range(12))}, ("x", "y")),
    "nothing but constants": ({"a": ["x"] * 12, "b": [4] * 12}, ("x",)),
    "two different rows": ({"a": ["x", "y"] * 6, "b": [0, 100] * 6}, ("x", "y")),
    "numbers alone": ({"b": list(range(100))}, ()),
    "numbers with gaps": ({"b": [*range(60), *[None] * 40]}, ()),
    "many categories": ({"a": [f"c{i}" for i in range(1000)], "b": [1] * 1000}, tuple(f"c{i}" for i in range(1000))),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_tables_are_learned(case):
    cells, categories = ODD[case]
    known = {
        "a": Column("a", "categorical", categories=categories or ("x",), missing=True),
        "b": Column("b", "integer", low=0, high=100, missing=True),
    }
    spec = TableSpec(tuple(known[name] for name in cells), confirmed=True)
    table = pd.DataFrame(cells)
    rows = (
        make_generator("gan", QUICK)
        .fit(table, spec, rng=np.random.default_rng(1), privacy=None)
        .sample(30, np.random.default_rng(2))
    )
    pd.testing.assert_frame_equal(admit(rows, spec).rows, rows)
    if "constant" in case:
        assert set(rows["a"]) == {"x"}


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ({"a": [f"c{i}" for i in range(6000)]}, "column 'a' holds 6000 different categories, more than a GAN"),
        ({"a": ["c1", "stranger"] * 10}, "column 'a': 10 cells are none of the 6000 categories"),
        ({"a": [None] * 20}, "column 'a': every cell is missing"),
        ({"a": ["c1", "c2"]}, "the table has 2 rows and needs at least 10"),
    ],
)
def test_a_table_that_cannot_be_learned_is_one_line(cells, problem):
    spec = TableSpec((Column("a", "categorical", categories=tuple(f"c{i}" for i in range(6000))),), confirmed=True)
    with pytest.raises(ValueError, match=problem) as raised:
        make_generator("gan", QUICK).fit(
            pd.DataFrame(cells, dtype=object), spec, rng=np.random.default_rng(1), privacy=None
        )
    assert "\n" not in str(raised.value)
    assert "stranger" not in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"steps": 0}, "steps >= 1, got 0"),
        ({"rate": 0.0}, "rate > 0"),
        ({"batch": 7}, "multiple of pack 2, got 7"),
        ({"pack": 1, "batch": 1}, "2 rows"),
    ],
)
def test_settings_that_cannot_be_are_named(settings, problem):
    with pytest.raises(ValueError, match=problem):
        make_generator("gan", settings)
