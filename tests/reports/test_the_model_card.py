"""The model card: everything Mitchell et al. ask for, every number from the record, nothing taken for markup."""

import re
import shutil
from html import unescape
from pathlib import Path

import pytest
from typer.testing import CliRunner

import wardround
from reports.card import render_html, render_markdown
from reports.document import Section, Table, to_html, to_markdown
from reports.views import draw
from tests.conftest import Consortium
from tests.intensive_care import intensive_network

__all__ = ["intensive_network"]  # a fixture

HEADINGS = [
    "Model details",
    "Intended use",
    "Out-of-scope use",
    "Factors",
    "Metrics",
    "Training data",
    "Evaluation data",
    "Quantitative analyses",
    "Privacy",
    "Approvals and signatures",
    "Ethical considerations",
    "Caveats and recommendations",
    "Versions",
]


@pytest.fixture
def record(consortium):
    record = consortium.conduct(federation__rounds=1)
    record["place"] = Path(record.pop("folder"))
    return record


def texts_and_numbers(value):
    """Every text and every number anywhere in a record, a number as people and as the pages write it."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield str(name)
            yield from texts_and_numbers(each)
    elif isinstance(value, list):
        yield str(len(value))
        for each in value:
            yield from texts_and_numbers(each)
    elif isinstance(value, float) and not isinstance(value, bool):
        yield from (str(value), f"{value:.3f}", f"{value:.3g}", f"{value:,.0f}")
    else:
        yield str(value)


def numbers(text):
    return set(re.findall(r"\d+(?:[.,]\d+)*", text))


def test_a_card_has_the_headings_of_model_cards_and_ours(record):
    card = render_markdown(record)
    assert re.findall(r"^## (.*)$", card, re.MULTILINE) == HEADINGS
    assert re.findall(r"<h2>(.*?)</h2>", render_html(record)) == HEADINGS


def test_every_number_of_the_card_stands_in_the_record(record):
    names = {"icd10", "95", "8"}  # of a label space, a confidence and the metric "precision at 8"
    known = set().union(*map(numbers, texts_and_numbers(record))) | names
    markdown = render_markdown(record)
    page = unescape(re.sub(r"<style>.*?</style>|<[^>]*>", " ", render_html(record), flags=re.DOTALL))
    for text in (markdown, page):
        assert len(numbers(text)) > 60
        assert numbers(text) <= known


def test_markdown_and_page_say_the_same(record):
    def words(text):
        return re.findall(r"\w+", re.sub(r"-{3,}", " ", text))

    body = render_markdown(record).split("\n# ")[1]
    page = re.search(r"<body>(.*)</body>", render_html(record), re.DOTALL)[1]
    shown = unescape(re.sub(r"<[^>]*>", " ", page))
    assert words(shown)[len(words(f"Wardround run {record['run']}, begun {record['started']}")) :] == words(
        unescape(body.replace("\\", ""))
    )


def test_the_card_states_the_privacy_of_every_hospital_and_what_it_does_not_cover(record):
    card = render_markdown(record)
    for name, paid in record["privacy"].items():
        assert re.search(rf"\| {name} \|.*{re.escape(paid['statement']['accountant'])}", card)
    assert "Not covered: code counts" in card
    record["privacy"][name]["statement"]["reproducible_noise"] = True
    assert "void for whoever knows it" in render_markdown(record)


def test_a_run_without_privacy_says_so_and_not_in_a_table(consortium):
    record = consortium.conduct(privacy__epsilon=0.0, federation__rounds=1, evaluation__local_baseline=False)
    card = render_markdown(record)
    assert "There is no guarantee" in card
    assert "differential-privacy" not in card


def test_the_card_states_that_whole_hospitals_are_hidden_where_they_are(consortium, tmp_path):
    record = consortium.conduct(
        privacy__epsilon=0.0,
        privacy__hospital_epsilon=8.0,
        privacy__hospital_noise_limit=100.0,
        privacy__hospital_ledger=str(tmp_path / "hospitals.db"),
        model__name="linear",
        federation__rounds=1,
        evaluation__local_baseline=False,
    )
    assert record["status"] == "completed", record["reason"]
    card = render_markdown(record)
    assert re.search(r"\| each whole hospital \| [\d.]+ \| 0", card)
    assert "There is no guarantee" not in card
    assert "hospital-1 | no guarantee" in card


def test_canaries_and_a_guest_who_judged_are_told(record):
    record["canaries"] = {"at_each_hospital": 150, "meaning": "invented patients"}
    record["study"]["federation"]["guest"] = "hospital-9"
    card = render_markdown(record)
    assert "150 canaries were planted at each hospital: invented patients." in card
    assert "patients of hospital-9, which judged the model and trained none of it" in card


def test_the_card_of_a_failed_run_says_that_there_is_no_model(consortium):
    record = consortium.conduct(federation__quorum=4)
    card = render_markdown(record)
    assert record["reason"].replace("_", r"\_") in card
    assert "It releases no model" in card
    assert "The record holds no scores." in card
    assert "model-index" not in card


def test_calibration_is_in_the_record_and_on_the_card(record):
    final = record["final"]
    assert f"{final['calibration_error']:.3f}" in render_markdown(record)
    pairs = sum(row["questions"] for row in final["calibration"])
    assert pairs > 0
    assert pairs % len(record["vocabulary"]["codes"]) == 0
    final["calibration"] = []
    assert "the record does not hold what it needs" in render_markdown(record)


@pytest.fixture
def predicted(intensive_network, tmp_path):
    shutil.copytree(intensive_network, tmp_path / "wards")
    consortium = Consortium(tmp_path / "wards", tmp_path / "runs")
    return consortium.conduct(
        task__name="mortality-24h",
        model__name="logistic",
        privacy__epsilon=0.0,
        training__optimizer="adam",
        training__learning_rate=0.02,
        training__batch_patients=16,
        federation__rounds=2,
        evaluation__local_baseline=False,
    )


def test_the_card_of_an_outcome_tells_sub_groups_and_calibration(predicted):
    card = render_markdown(predicted)
    final = predicted["final"]
    assert predicted["task"]["question"] in card
    for group, scores in final["groups"].items():
        assert f"| {group} | {scores['auroc']['value']:.3f}" in card
    assert f"calibration error is {final['pooled']['calibration_error']['value']:.3f}" in card
    assert "no clinical use is intended" in card
    known = set().union(*map(numbers, texts_and_numbers(predicted))) | {"95"}
    assert numbers(card) <= known


def test_a_model_hub_reads_the_front_matter(record):
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard(render_markdown(record), ignore_metadata_errors=False)
    assert "differential-privacy" in card.data.tags
    scores = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert scores["micro_f1"] == record["final"]["pooled"]["micro_f1"]["value"]


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "a|b", "**bold** `code`", "[x](http://e.org)", "&lt;b&gt;"]
)
def test_what_a_hospital_says_is_text_in_either_form(text):
    document = [Section("s", (text, Table("c", ("a", "b"), ((text, text),))))]
    html, markdown = to_html(document), to_markdown("t", document)
    assert "<script" not in html + markdown
    assert unescape(re.findall(r"<p>(.*)</p>", html)[0]) == text
    shown = markdown.splitlines()[4]
    assert unescape(re.sub(r"\\(.)", r"\1", shown)) == text
    assert len(re.findall(r"(?<!\\)\|", markdown.splitlines()[-1])) == 3


def test_a_run_writes_its_views_and_draws_them_again_alike(record):
    place = record.pop("place")
    for name, text in draw(record).items():
        assert (place / name).read_text(encoding="utf-8") == text
        (place / name).unlink()
    assert CliRunner().invoke(wardround.app, ["report", str(place)]).exit_code == 0
    assert (place / "model_card.md").read_text(encoding="utf-8") == render_markdown(record)


def test_nothing_in_a_signed_run_is_drawn_again(record):
    (record["place"] / "manifest.json").touch()
    refused = CliRunner().invoke(wardround.app, ["report", str(record["place"])])
    assert "is signed" in str(refused.exception)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1200, 500])
def test_the_card_needs_no_network_and_cuts_nothing_off(browse, record, width):
    record.pop("place")
    measured, console = browse(render_html(record), width=width)
    assert console == []
    assert measured["fetched"] == []
    assert measured["wide"] <= 0
    if width == 1200:
        assert measured["cut"] == []
