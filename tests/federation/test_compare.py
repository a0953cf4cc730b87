"""Comparisons: arms over the same patients, kept when done, never mixed with another study's."""

import json

import pytest

from server.compare import Comparison, compare_arms, tabulate
from study.protocol import ProtocolError

PLAIN = {
    "privacy.epsilon": 0.0,
    "training.optimizer": "adam",
    "training.learning-rate": 0.002,
    "federation.rounds": 2,
    "federation.wait-seconds": 1.0,
    "evaluation.replicates": 0,
    "task.minimum-documents": 8,
}


@pytest.fixture
def comparison(consortium, tmp_path):
    def make(**changes) -> Comparison:
        given = {
            "changes": PLAIN,
            "network": consortium.hospitals[0].parent,
            "arms": ("central", "federated", "local"),
            "seeds": 2,
            "output": tmp_path / "comparison",
        }
        return Comparison(**(given | changes))

    return make


def test_arms_and_variants_are_scored_and_a_second_call_reads_what_is_finished(comparison):
    wanted = comparison(vary={"model.name": ("mlp-s", "mlp-m")})
    table = compare_arms(wanted)
    assert sum(line.startswith("| mlp-s | federated") for line in table.splitlines()) == 3  # itself and two differences
    found = json.loads((wanted.output / "comparison.json").read_text(encoding="utf-8"))
    assert [variant["varied"] for variant in found["variants"]] == [{"model.name": "mlp-s"}, {"model.name": "mlp-m"}]
    runs = sorted((wanted.output / "variants").rglob("run.json"))
    assert compare_arms(wanted) == table
    assert sorted((wanted.output / "variants").rglob("run.json")) == runs


def test_an_interrupted_comparison_does_only_what_is_missing(comparison):
    wanted = comparison(seeds=1)
    table = compare_arms(wanted)
    place = wanted.output / "variants" / "study" / "seed-0"
    (place / "central.json").unlink()
    before = len(list((place / "runs").iterdir()))
    assert compare_arms(wanted) == table
    assert len(list((place / "runs").iterdir())) == before + 1


def test_a_folder_that_holds_another_comparison_is_refused(comparison):
    compare_arms(comparison(seeds=1, arms=("federated",)))
    with pytest.raises(ValueError, match="give another --output"):
        compare_arms(comparison(seeds=1, arms=("federated",), changes={**PLAIN, "federation.rounds": 1}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arms": ("central", "federal")}, "unknown arm federal"),
        ({"vary": {"study.seed": (1, 2)}}, "study.seed cannot vary"),
        ({"vary": {"data.network": ("a", "b")}}, "data.network cannot vary"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_any_work(comparison, changes, said):
    with pytest.raises(ValueError, match=said):
        comparison(**changes)


def test_a_variant_that_cannot_run_is_refused_before_any_work(comparison):
    wanted = comparison(vary={"model.name": ("mlp-s", "transformer-xxl")})
    with pytest.raises(ProtocolError, match="choose one of logistic"):
        compare_arms(wanted)
    assert not wanted.output.exists()


def test_the_table_shows_paired_differences():
    seeds = [
        {arm: dict.fromkeys(METRICS, score) for arm, score in (("central", c), ("federated", f), ("local", 0.1))}
        for c, f in ((0.30, 0.31), (0.50, 0.51))
    ]
    rows = tabulate(("central", "federated", "local"), [{}], [seeds]).splitlines()
    assert "0.400 ± 0.141" in rows[2]
    assert "+0.010 ± 0.000" in next(row for row in rows if "− central" in row)


METRICS = ("micro_f1", "macro_f1", "precision_at_8", "mean_average_precision", "micro_auc")
