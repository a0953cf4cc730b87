"""The audit page: what it says first, that it says nothing of its own, and how it looks on a screen and on paper."""

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime
from html import unescape

import pytest
from typer.testing import CliRunner

import wardround
from privacy.signatures import create_key, read_private_key, sign
from reports import pdf
from reports.audit import render
from tests.reports.audit_records import audit_record, robustness_record

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
WORLDS = {
    "not contradicted": {},
    "contradicted": {"separation": 2.0, "shown": 3.9, "verdict": "fail"},
    "nothing promised": {"claimed": None, "verdict": "inconclusive"},
    "several hospitals": {"hospitals": ("hospital-1", "hospital-2")},
}


def shown(page):
    """The words of a page."""
    bare = re.sub(r"<title>.*?</title>|<style>.*?</style>|<svg.*?</svg>|<[^>]*>", " ", page, flags=re.DOTALL)
    return " ".join(unescape(bare).split())


def run(*arguments):
    return CliRunner().invoke(wardround.app, ["audit", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "audit"
    place.mkdir()
    (place / "audit.json").write_text(json.dumps(audit_record()), encoding="utf-8")
    (place / "robustness.json").write_text(json.dumps(robustness_record()), encoding="utf-8")
    return place


@pytest.mark.parametrize("world", WORLDS)
def test_the_first_page_says_who_is_protected_against_whom_how_much_and_what_is_not(world):
    record = audit_record(**WORLDS[world])
    page = render(record)
    first = shown(page[page.index("<main>") : page.index("<h2>The claim")])
    wanted = ["Who is protected", "Against whom", "How much", "What is not covered", record["statement"]]
    assert [each for each in wanted if each not in first] == []
    assert "metrics, thresholds and their intervals; patients per hospital" in first
    assert all(reason in first for reason in record["reasons"])
    promised = (
        f"Epsilon {record['claim']['epsilon']:.3g} at delta" if record["claim"]["epsilon"] else "Nothing is promised"
    )
    assert promised in first


@pytest.mark.parametrize(
    ("verdict", "said"), [("pass", "Not contradicted"), ("fail", "Contradicted"), ("inconclusive", "Inconclusive")]
)
def test_the_verdict_stands_before_everything_else(verdict, said):
    page = render(audit_record(verdict=verdict))
    assert f"<strong>{said}</strong>" in page[: page.index("<h2>")]


def as_written(value):
    """Every text and every number of a record, a number in each way in which the page writes numbers."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from as_written(each)
            if re.fullmatch(r"0?\.\d+", name):
                yield from as_written(float(name))
    elif isinstance(value, list):
        for each in value:
            yield from as_written(each)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from (f"{value:.3g}", f"{value:.3f}", f"{100 * value:.1f}", f"{value:,.0f}", f"{value:.1f}", str(value))
    else:
        yield str(value)


def numbers(text):
    return set(re.findall(r"\d+(?:[.,]\d+)*", text))


@pytest.mark.parametrize("world", WORLDS)
def test_every_number_of_the_page_stands_in_the_record(world):
    record, robustness = audit_record(**WORLDS[world]), robustness_record()
    page = render(record, robustness=robustness)
    texts = list(as_written(record)) + list(as_written(robustness))
    codes = re.findall(r"<code>(.*?)</code>", page)
    for code in codes:
        if re.fullmatch(r"[0-9a-f]{12,}", code):
            assert any(text.startswith(code) for text in texts)
    words = shown(re.sub(r"<code>[0-9a-f]{12,}</code>", " ", page))
    constants = {"1", "256", "25519"}  # "at 1 % false positives" in the self-test, SHA-256, Ed25519
    assert len(numbers(words)) > 80
    assert numbers(words) - set().union(*map(numbers, texts)) <= constants


def test_a_missing_bound_is_a_dash_and_a_missing_section_is_not_drawn():
    record = audit_record()
    record |= {"one_run": [], "inversion": [], "attacks": []}
    page = render(record)
    assert "One-run audit" not in page
    assert "Gradient inversion" not in page
    assert "Robustness" not in page
    assert "No attack on membership was run." in page
    assert "<svg" not in page


def test_what_does_not_agree_or_failed_its_test_stands_out():
    record = audit_record()
    record["claim"]["ledgers"]["hospital-1"]["agrees"] = False
    record["self_test"]["passed"] = False
    record["claim"]["hospitals"]["hospital-2"]["statement"]["reproducible_noise"] = True
    page = render(record)
    assert '<span class="bad">The rows of this run do not agree' in page
    assert '<span class="bad">Not every planted world was judged' in page
    assert "for them the promise is void" in page


def test_a_hospital_without_a_ledger_is_told():
    record = audit_record()
    record["claim"]["ledgers"]["hospital-1"] = {"head": None, "rows": 0, "entries": [], "agrees": None}
    text = shown(render(record))
    assert "No ledger was found. There is nothing to compare" in text


def test_a_long_ledger_is_shown_from_both_ends():
    record = audit_record()
    ledger = record["claim"]["ledgers"]["hospital-1"]
    ledger["entries"] = [ledger["entries"][1] | {"sequence": 1000 + number} for number in range(300)]
    page = shown(render(record))
    assert "further rows stand in the record" in page
    assert all(f" {number} 2026" in page for number in (1000, 1299))
    assert " 1150 2026" not in page


def test_what_a_record_holds_is_text_in_page_pictures_and_running_heads():
    record = audit_record()
    evil = '</style><script>console.error("x")</script>'
    record["subject"]["study"] = evil
    record["attacks"][0]["group"] = record["attacks"][6]["group"] = evil
    record["claim"]["hospitals"][evil] = record["claim"]["hospitals"].pop("hospital-3")
    page = render(record)
    assert "<script" not in page
    assert page.count("</style>") == 1


def test_the_command_draws_the_page_and_a_signed_copy_with_its_signatures(folder, tmp_path):
    assert run("report", folder).exit_code == 0
    page = (folder / "audit.html").read_text(encoding="utf-8")
    assert page == render(audit_record(), robustness=robustness_record())
    create_key(tmp_path / "key")
    key = read_private_key(tmp_path / "key")
    statement = sign(folder, key, name="R. Virchow", role="data-protection officer", comment="read twice", at=NOON)
    refused = run("report", folder)
    assert "is signed" in str(refused.exception)
    copy = tmp_path / "copy.html"
    assert run("report", folder, "--output", copy).exit_code == 0
    text = shown(copy.read_text(encoding="utf-8"))
    assert "Signed by R. Virchow , data-protection officer, 2026-03-01T12:00:00+00:00: “read twice”" in text
    assert statement.fingerprint in text
    for digest in json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"].values():
        assert digest in text
    assert run("verify", folder, "--key", tmp_path / "key.pub").exit_code == 0


def test_robustness_of_another_model_is_not_shown_as_this_ones(folder):
    other = robustness_record() | {"model_sha256": "0" * 64}
    (folder / "robustness.json").write_text(json.dumps(other), encoding="utf-8")
    assert "speaks of another model" in str(run("report", folder).exception)


def test_no_signed_copy_of_a_changed_directory_is_drawn(folder, tmp_path):
    create_key(tmp_path / "key")
    sign(folder, read_private_key(tmp_path / "key"), name="R. Virchow", at=NOON)
    (folder / "audit.json").write_text(json.dumps(audit_record(shown=0.1)), encoding="utf-8")
    failed = run("report", folder, "--output", tmp_path / "copy.html")
    assert failed.exit_code == 1
    assert "audit.json was changed" in failed.output
    assert not (tmp_path / "copy.html").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "holds no audit.json"),
        ("{", "is not JSON"),
        ("[]", "no model record"),
        ('{"format": 9}', "no model record"),
    ],
)
def test_a_directory_without_an_audit_is_named(tmp_path, content, said):
    if content is not None:
        (tmp_path / "audit.json").write_text(content, encoding="utf-8")
    assert said in str(run("report", tmp_path).exception)


def test_without_a_browser_the_page_is_there_and_the_command_says_how_to_print(folder, monkeypatch):
    monkeypatch.setattr(pdf, "BROWSERS", ())
    failed = run("report", folder, "--pdf")
    assert "print it" in str(failed.exception)
    assert (folder / "audit.html").is_file()
    assert not (folder / "audit.pdf").exists()


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
def test_on_a_screen_nothing_is_fetched_cut_off_or_complained_of(browse, world):
    page = render(audit_record(**WORLDS[world]), robustness=robustness_record())
    measured, console = browse(page, width=1200)
    assert console == []
    assert measured["fetched"] == []
    assert measured["cut"] == []
    assert measured["strayed"] == []
    narrow, _ = browse(page, width=500)
    assert narrow["wide"] <= 0


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("pdftotext") is None, reason="no pdftotext on this machine: apt-get install poppler-utils"
)
def test_on_paper_the_first_page_stands_alone_and_every_other_page_says_what_it_belongs_to(folder, browse):
    assert run("report", folder, "--pdf").exit_code == 0
    info = subprocess.run(["pdfinfo", folder / "audit.pdf"], capture_output=True, text=True, check=True).stdout
    assert "A4" in info
    text = subprocess.run(
        ["pdftotext", "-layout", folder / "audit.pdf", "-"], capture_output=True, text=True, check=True
    )
    first, *others = text.stdout.removesuffix("\f").split("\f")
    assert "Who is protected" in first
    assert "For a signature on paper" in first
    assert "The claim" not in first
    pages = len(others) + 1
    assert 4 <= pages <= 8
    for number, page in enumerate(others, start=2):
        assert "Privacy audit: icd-coding, run 4611" in page
        assert f"{number}/{pages}" in page.replace(" ", "")
