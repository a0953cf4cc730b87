"""The page of a released cohort, drawn from its record: what a steward reads before it leaves, and a receiver after.

Nothing on it is computed here, and nothing is on it that is not in the record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reports.audit_charts import Bar, interval_chart
from reports.cohort_charts import distribution_chart, pairs_chart
from reports.cohort_page import STYLE, TEMPLATE
from reports.page import STYLE as BASE
from reports.page import environment
from synth.record import size_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Record = Mapping[str, Any]

DECISIONS = {
    "release": ("Released", "The gate found every leak it planted in this cohort, and every check it made passed."),
    "refuse": ("Refused", "A check failed. The cohort must not leave."),
    "inconclusive": ("Not decided", "The evidence decides neither way, so the cohort does not leave."),
}
CAPTIONS = {
    "artefact": "Every value lies where the specification says values may lie",
    "copies": "Rows equal to or nearly equal to patients; the baseline is what patients nobody learnt from show",
    "membership": "Can one tell who was learnt from? The baseline is a guess",
    "disclosure": "What an outsider who knows a little gains; the baseline is a guess that looks at nobody",
    "validity": "Rows that obey; the baseline is the real rows",
    "utility": "Area of a model of the cohort over that of a model of patients, the baseline, on other patients",
    "fairness": "How much wider the gap between groups becomes; the baseline is the gap of a model of patients",
    "privacy": "The claim against the ledger and against attacks",
    "releases": "This cohort together with what was released of the same patients before",
}
_MOST_PAIRS = 40  # columns beyond which a picture of pairs is too fine to read


def render(record: Record) -> str:
    """Draw a cohort's record as one HTML page that needs nothing but itself.

    Args:
        record: the content of ``cohort.json``.
    """
    pages = environment({"page": TEMPLATE})
    pages.filters["number"] = number_text
    pages.filters["ends"] = ends_text
    decision, meaning = DECISIONS[record["decision"]]
    waived = [check["family"] for check in record["checks"] if check["waived"]]
    if waived:
        meaning += f" The site does without: {', '.join(waived)}."
    portrait = record["portrait"]
    names = [column["name"] for column in portrait["columns"]]
    few = 1 < len(names) <= _MOST_PAIRS
    return pages.get_template("page").render(
        cohort=record,
        base=BASE,
        style=STYLE,
        decision=decision,
        meaning=meaning,
        headline=_headline(record),
        booked=_passed(record, "claim, ledger"),
        uncontradicted=_passed(record, "audited"),
        captions={check["family"]: CAPTIONS.get(check["family"].partition(",")[0], "") for check in record["checks"]},
        pictures=list(_pictures(record)),
        columns=[
            {**column, "svg": distribution_chart(column["labels"], column["cohort"], column["training"])}
            for column in portrait["columns"]
        ],
        pairs=pairs_chart(names, portrait["pairs"]["cohort"], portrait["pairs"]["training"]) if few else None,
        size=size_of(record),
        card=list(_cards(record["specification"])),
        rules=record["rules"],
    )


def number_text(number: float | None) -> str:
    """Write a number with three significant digits, never as a power of ten; – for none."""
    if number is None:
        return "–"
    return f"{number:.3f}" if abs(number) < 10 and number != int(number) else f"{number:,.5g}"


def ends_text(score: Record) -> str:
    """Write an interval; an end that nothing bounds is open."""
    if score["low"] is None and score["high"] is None:
        return "–"
    return f"{number_text(score['low'])} to {'…' if score['high'] is None else number_text(score['high'])}"


def _headline(record: Record) -> str:
    claim = record["privacy"]["claim"]
    kind = "no differential privacy claimed" if claim is None else f"epsilon {claim['epsilon']:.3g} per {claim['unit']}"
    return f"{size_of(record)}, {kind}"


def _passed(record: Record, beginning: str) -> bool:
    """Whether all scores of the privacy family whose names begin so have passed."""
    scores = next(check["scores"] for check in record["checks"] if check["family"] == "privacy")
    return all(score["verdict"] == "pass" for name, score in scores.items() if name.startswith(beginning))


def _pictures(record: Record) -> Iterator[dict[str, Any]]:
    """Interval pictures of the scores that share an axis and a limit."""
    limits = record["thresholds"]
    found = {check["family"]: check["scores"] for check in record["checks"]}
    for family, ending, limit, unit, caption in (
        (
            "membership",
            "rate",
            limits["membership_rate"],
            "share of members found",
            "Membership at 1 % false accusations",
        ),
        ("membership", "area", limits["membership_area"], "area under the ROC curve", "Membership over all patients"),
        (
            "membership",
            "outliers",
            limits["outlier_area"],
            "area under the ROC curve",
            "Membership, patients unlike others",
        ),
        ("disclosure", "", limits["disclosure_risk"], "risk", "Singling out, linking, inferring: what training adds"),
        ("utility", "", limits["utility_ratio"], "ratio of areas", "Utility: at least this much is asked for"),
    ):
        scores = {
            name: s for name, s in found.get(family, {}).items() if name.endswith(ending) and s["low"] is not None
        }
        if scores:
            bars = [_bar(name, score) for name, score in scores.items()]
            yield {"svg": interval_chart(bars, unit=unit, marks={f"limit {limit:g}": limit}), "caption": caption}


def _bar(name: str, score: Record) -> Bar:
    return Bar(name, score["low"], score["value"], score["high"], marked=score["verdict"] == "fail")


def _cards(spec: Record) -> Iterator[dict[str, Any]]:
    """For each table its name, "" where it is the only one, and one row for each of its columns."""
    for table in spec.get("tables", [spec]):
        rows = list(_card(table))
        yield {"table": table.get("name", ""), "rows": rows, "columns": len(rows)}


def _card(spec: Record) -> Iterator[dict[str, str]]:
    for column in spec["columns"]:
        name = column["name"]
        roles = {
            "quasi-identifier": name in spec.get("quasi-identifiers", ()),
            "secret": name in spec.get("secrets", ()),
            "target": name == spec.get("target"),
        }
        if "categories" in column:
            values = ", ".join(column["categories"][:12]) + (", …" if len(column["categories"]) > 12 else "")
        else:
            values = f"{column['low']} to {column['high']}" if "low" in column else "false, true"
        yield {
            "name": name,
            "kind": column["kind"],
            "values": values,
            "missing": "may be" if column.get("missing") else "never",
            "role": ", ".join(role for role, holds in roles.items() if holds),
        }
