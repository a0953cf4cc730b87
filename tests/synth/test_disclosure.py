"""Singling out, linking, inferring: hand-made worlds in which it is known what an attacker can gain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from privacy.disclosure import NoAttack, Tally, link, measure_risk, single_out
from synth.columns import Column
from synth.distances import MISSING
from synth.evidence import gather
from synth.scores.disclosure import Demands, attack_disclosure
from synth.scores.guessing import guess_secret
from synth.spec import TableSpec

SPEC = TableSpec(
    (
        Column("age", "integer", low=0, high=120, missing=True),
        Column("weight", "real", low=20, high=200, decimals=1),
        Column("town", "categorical", categories=("L'Aquila", 'the "Hague"', "Bern")),
        Column("height", "real", low=100, high=220, decimals=1),
        Column("illness", "categorical", categories=tuple("abcdefgh"), missing=True),
    ),
    quasi_identifiers=("age", "weight", "town", "height"),
    secrets=("illness",),
    confirmed=True,
)
DEMANDS = Demands(risk=0.09, attacks=200, repetitions=2, corrected=0.99)


def draw(rng, rows=240):
    table = pd.DataFrame({"age": pd.array(rng.integers(0, 120, rows), dtype="Int64")})
    table.loc[rng.random(rows) < 0.1, "age"] = pd.NA
    table["weight"] = rng.uniform(20, 200, rows).round(1)
    table["town"] = rng.choice(["L'Aquila", 'the "Hague"', "Bern"], rows)
    table["height"] = rng.uniform(100, 220, rows).round(1)
    table["illness"] = rng.choice([*"abcdefgh", None], rows)
    return table


def attacked(*, copied, spec=SPEC, demands=DEMANDS, rows=240):
    rng = np.random.default_rng(8)
    training, holdout, fresh = draw(rng, rows), draw(rng, rows + 30), draw(rng, rows)
    evidence = gather(training, holdout, training if copied else fresh, spec)
    return attack_disclosure(evidence, np.random.default_rng(1), demands)


def test_a_copy_lets_everybody_be_singled_out_linked_and_inferred():
    found = attacked(copied=True)
    assert {name: score.verdict for name, score in found.items()} == dict.fromkeys(
        ("singling out", "linking", "inferring illness"), "fail"
    )
    assert found["inferring illness"].value > 0.9
    assert found["inferring illness"].baseline < 0.25


def test_a_fresh_draw_gives_no_attack_a_gain():
    found = attacked(copied=False)
    assert all(score.verdict != "fail" for score in found.values())
    assert all(score.low == 0 for score in found.values())


def test_one_seed_gives_one_answer():
    assert attacked(copied=False) == attacked(copied=False)


def test_too_few_attacks_never_pass():
    found = attacked(copied=False, demands=replace(DEMANDS, repetitions=1), rows=60)
    assert found["linking"].verdict == found["inferring illness"].verdict == "inconclusive"
    assert "200 attacks are needed" in found["linking"].reason


def test_attacks_without_anything_to_know_are_inconclusive():
    found = attacked(copied=True, spec=replace(SPEC, quasi_identifiers=(), secrets=()))
    assert {name: score.verdict for name, score in found.items()} == {
        "singling out": "fail",
        "linking": "inconclusive",
        "inferring": "inconclusive",
    }


def test_an_attack_no_better_than_a_guess_is_conclusive_only_where_it_caught_a_leak():
    common = replace(SPEC, secrets=("illness",))

    def usual(rng, rows=400):  # nine in ten have the same illness, and nothing else tells who
        return draw(rng, rows).assign(illness=np.where(rng.random(rows) < 0.9, "a", rng.choice([*"bcdefgh"], rows)))

    rng = np.random.default_rng(3)
    evidence = gather(usual(rng, 4000), usual(rng, 4000), usual(rng, 4000), common)
    quick = replace(DEMANDS, repetitions=1, risk=0.3)
    blind = attack_disclosure(evidence, np.random.default_rng(1), quick)["inferring illness"]
    assert blind.verdict == "inconclusive"
    assert "blind" in blind.reason
    seeing = replace(quick, powered=frozenset({"inferring illness"}))
    assert attack_disclosure(evidence, np.random.default_rng(1), seeing)["inferring illness"].verdict == "pass"


def test_copies_among_many_rows_are_taken_for_what_they_are():
    rng = np.random.default_rng(8)
    training, holdout, fresh = draw(rng, 600), draw(rng, 600), draw(rng, 600)
    evidence = gather(training, holdout, pd.concat([fresh.head(450), training.head(150)]), SPEC)
    guesses = guess_secret(evidence, "illness", seed=0)
    ill = SPEC.names.index("illness")
    right = guesses.cells == evidence.real_rows[:, ill]
    known = evidence.real_rows[:150, ill] != MISSING
    assert right[:150][known].all()
    assert right[150:].mean() < 0.3


def test_more_columns_are_asked_for_where_few_single_anybody_out():
    rng = np.random.default_rng(0)
    coarse = [rng.integers(0, 2, (600, 14)).astype(float) for _ in range(3)]
    listed = np.ones(14, dtype=bool)
    found = single_out((coarse[0], coarse[1], coarse[2]), listed, np.random.default_rng(1), attacks=100, columns=2)
    assert found.attacks > 50


def test_a_risk_is_what_training_adds_to_control():
    tally = Tally(800, 600, 0.1, 1000)
    risk = measure_risk(tally, confidence=0.95)
    assert risk.value == pytest.approx((0.8 - 0.6) / (1 - 0.6), abs=0.01)
    assert risk.low < risk.value < risk.high
    assert tally.beats_naive
    assert not Tally(100, 100, 0.1, 1000).beats_naive
    with pytest.raises(NoAttack, match="nobody"):
        measure_risk(Tally(0, 0, 0, 0), confidence=0.95)


def test_links_are_counted_where_both_halves_meet():
    ids = np.arange(50)[:, None]
    tally = link((ids, ids), (ids, ids + 1), synthetic=100)
    assert tally == Tally(50, 0, pytest.approx(0.01), 50)
    with pytest.raises(NoAttack, match="one size"):
        link((ids, ids), (ids[:9], ids[:9]), synthetic=100)


def test_singling_out_needs_tables_of_one_size():
    rows = np.zeros((4, 2))
    with pytest.raises(NoAttack, match="one size"):
        single_out((rows, rows[:3], rows), np.array([True, False]), np.random.default_rng(0), attacks=5, columns=2)
