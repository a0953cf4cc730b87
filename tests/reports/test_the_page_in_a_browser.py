"""The page as people see it: a real headless browser opens it, complains of nothing and cuts nothing off."""

import re
from pathlib import Path

import pytest

from reports.run import render

pytestmark = pytest.mark.slow


@pytest.fixture
def record(consortium):
    return consortium.conduct(evaluation__local_baseline=True)


def test_the_page_of_a_run_shows_everything_without_errors_network_or_cut_off_parts(browse, record):
    measured, console = browse(render(record), width=1200)
    assert console == []
    assert measured["fetched"] == []
    assert measured["cut"] == []
    assert measured["strayed"] == []
    assert measured["rows"] > len(record["final"]["codes"])


def test_a_narrow_screen_scrolls_tables_and_not_the_page(browse, record):
    measured, console = browse(render(record), width=500)
    assert console == []
    assert measured["wide"] <= 0


def test_forty_hospitals_with_long_names_fit_the_picture(browse, record):
    names = [f"University Hospital of the Northern Province {number}" for number in range(40)]
    for point in record["curve"]:
        point["sites"] = {name: 0.1 + 0.01 * number for number, name in enumerate(names)}
    measured, _ = browse(render(record), width=1200)
    assert measured["strayed"] == []


def test_what_a_hospital_says_is_text_and_never_markup(browse, record):
    record["absences"] = [{"site": "<script>console.error('x')</script>", "kind": "refused", "reason": "<b>no</b>"}]
    page = render(record)
    assert "<b>no</b>" not in page
    assert browse(page, width=1200)[1] == []


def test_the_page_of_a_failed_run_says_why_first(browse, consortium):
    record = consortium.conduct(federation__quorum=4)
    page = render(record)
    measured, console = browse(page, width=1200)
    assert console == []
    assert measured["cut"] == []
    assert page.index(record["reason"]) < page.index("<h2>")


def test_every_number_on_the_page_stands_in_the_record(record):
    page = re.sub(r"<style>.*?</style>|<svg.*?</svg>|<[^>]*>", " ", render(record), flags=re.DOTALL)
    shown = set(re.findall(r"(?<![\w.])\d\.\d{3}(?![\d.])", page))
    kept = {f"{abs(number):.3f}" for number in _numbers(record)}
    assert len(shown) > 50
    assert shown <= kept


def _numbers(value):
    """Every number anywhere in a record."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return
    if isinstance(value, (int, float)):
        yield float(value)
        return
    for each in value.values() if isinstance(value, dict) else value:
        yield from _numbers(each)


def test_the_record_that_was_written_draws_the_page_that_was_written(record):
    folder = Path(record.pop("folder"))
    assert (folder / "report.html").read_text(encoding="utf-8") == render(record)
