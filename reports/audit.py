"""The page of an audit, drawn from its record: what a data-protection officer reads, prints and signs.

The first page says in plain words who is protected, against whom, how much and what is not covered, and what the audit
found; the evidence follows. Nothing on it is computed here.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from reports.audit_charts import Bar, Curve, interval_chart, roc_chart
from reports.audit_page import STYLE, TEMPLATE
from reports.page import STYLE as BASE
from reports.page import environment, share_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from markupsafe import Markup

    Record = Mapping[str, Any]

EXTRACT = 8  # ledger rows shown from either end
ATTACKS = {"loss": "loss threshold", "rmia": "RMIA", "lira": "LiRA"}
VERDICTS = {
    "pass": "Not contradicted",
    "fail": "Contradicted",
    "inconclusive": "Inconclusive",
}
UNPROMISED = VERDICTS | {"pass": "No leak found", "fail": "Leaks"}
_BLIND = "This audit could not have seen a breach: it says nothing for the model and nothing against it."
MEANINGS = {
    True: {
        "pass": "A model that memorised its patients would have shown in this audit, and this one did not. That does "
        "not prove the promise.",
        "fail": "The audit shows more than the promise allows. The model must not be released under it.",
        "inconclusive": _BLIND,
    },
    False: {
        "pass": "Nothing was promised, and this audit found no leak. A better one might.",
        "fail": "Nothing was promised, and the model gives away who trained it.",
        "inconclusive": _BLIND,
    },
}


def render(
    record: Record, *, robustness: Record | None = None, signed: Sequence[Record] = (), manifest: Record | None = None
) -> str:
    """Draw an audit as one HTML page that needs nothing but itself and prints on A4.

    Args:
        record: the content of ``audit.json``.
        robustness: the content of ``robustness.json``, where the model's robustness was measured too.
        signed: the statements of the signatures on the audit's directory, for a copy drawn after signing.
        manifest: the content of ``manifest.json`` beside them.
    """
    pages = environment({"page": TEMPLATE})
    pages.filters["percent"] = percent_text
    pages.filters["number"] = number_text
    pages.filters["written"] = written
    pages.filters["bounds"] = bounds_text
    pages.filters["sentence"] = _sentence
    pages.filters["worst"] = _worst
    pages.filters["extract"] = _extract
    return pages.get_template("page").render(
        audit=record,
        base=BASE,
        style=STYLE + _running_heads(record),
        verdicts=VERDICTS,
        headline=headline(record),
        attacks=ATTACKS,
        statements=_statements(record["claim"]),
        not_covered=_not_covered(record["claim"]),
        pictures=_pictures(record),
        robustness=robustness if robustness is not None else record.get("robustness"),
        signed=signed,
        manifest=manifest,
    )


def headline(record: Record) -> tuple[str, str]:
    """Say a verdict in two words and what it means in two sentences."""
    promised = record["claim"]["epsilon"] is not None
    return (VERDICTS if promised else UNPROMISED)[record["verdict"]], MEANINGS[promised][record["verdict"]]


def render_folder(folder: Path) -> str:
    """Draw the page of an audit's directory, with its signatures where it was signed.

    Raises:
        ValueError: there is no ``audit.json``, or it is none.
        privacy.manifest.VerificationFailed: it was signed and is no longer what was signed.
    """
    from privacy import manifest
    from privacy.signatures import read_signatures

    record = _read(folder / "audit.json", kind="model")
    robustness = folder / "robustness.json"
    besides = _read(robustness, kind="robustness") if robustness.is_file() else None
    if besides and besides["model_sha256"] != record["subject"]["model_sha256"]:
        raise ValueError(f"{robustness} speaks of another model than audit.json: take it out, or measure this one")
    if not (folder / manifest.MANIFEST).exists():
        return render(record, robustness=besides)
    text, files = manifest.read(folder)
    signed = [asdict(one) | {"fingerprint": one.fingerprint} for one in read_signatures(folder, text)]
    manifest.compare(folder, files)
    return render(record, robustness=besides, signed=signed, manifest=json.loads(text))


def _read(path: Path, *, kind: str) -> Record:
    try:
        record: Record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path.parent} holds no {path.name}: give the directory of an audit") from None
    except ValueError:
        raise ValueError(f"{path} is not JSON: draw from the record as `wardround audit` wrote it") from None
    if not isinstance(record, dict) or (record.get("format"), record.get("kind")) != (1, kind):
        raise ValueError(f"{path} is no {kind} record of format 1")
    return record


def percent_text(share: float | None) -> str:
    """Write a rate in percent; None is an end that nothing bounds."""
    return "–" if share is None else f"{100 * share:.1f} %"


def number_text(number: float | None) -> str:
    """Write a number with three significant digits; None is unbounded or undefined."""
    if number is None:
        return "–"
    return f"{number:.3g}" if abs(number) < 1000 else f"{number:,.0f}"


def written(number: float | None, kind: str) -> str:
    """Write a number as its kind: percent, share or number."""
    return {"percent": percent_text, "share": share_text, "number": number_text}[kind](number)


def bounds_text(estimate: Record, kind: str) -> str:
    """Write an estimate's interval."""
    return f"{written(estimate['low'], kind)} to {written(estimate['high'], kind)}"


def _sentence(text: str) -> str:
    """Write a clause as a sentence."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _worst(attack: Record) -> str:
    """Say what an attack shows against the claim: a breach at any rate is one, otherwise the area decides."""
    found = [estimate["verdict"] for estimate in (*attack["tpr"].values(), attack["auc"])]
    return "fail" if "fail" in found else str(found[-1])


def _extract(rows: Sequence[Record]) -> list[Record | None]:
    """Take the first and last rows of a long ledger, None between them; all of a short one."""
    if len(rows) <= 2 * EXTRACT:
        return list(rows)
    return [*rows[:EXTRACT], None, *rows[-EXTRACT:]]


def _statements(claim: Record) -> list[dict[str, Any]]:
    """One row for each hospital that states a cost; keys a statement lacks are None."""
    keys = ("epsilon", "delta", "sampling_rate", "noise_multiplier", "steps", "releases", "accountant")
    return [
        {"name": name, "ledger": paid.get("ledger"), **{key: paid["statement"].get(key) for key in keys}}
        for name, paid in sorted(claim["hospitals"].items())
    ]


def _not_covered(claim: Record) -> list[str]:
    """Everything that some hospital's statement leaves out, each once."""
    statements = [paid["statement"] for _, paid in sorted(claim["hospitals"].items())]
    named = [each for statement in statements for each in statement.get("not_covered", ())]
    if any(statement.get("reproducible_noise") for statement in statements):
        named.append("anybody who knows the seed of the noise, which was not secret: for them the promise is void")
    return list(dict.fromkeys(named))


def _pictures(record: Record) -> dict[str, Markup | None]:
    """Draw what there is to draw, by the section it stands in."""
    pictures: dict[str, Markup | None] = {"roc": None, "groups": None, "one_run": None}
    everyone = [attack for attack in record["attacks"] if attack["group"] == "all" and attack["roc"]]
    if everyone:
        pictures["roc"] = roc_chart([_curve(attack) for attack in everyone])
    bearing = [attack for attack in record["attacks"] if attack["bears_verdict"]] or record["attacks"]
    name = str(bearing[0]["name"]) if bearing else ""
    groups = [attack for attack in record["attacks"] if attack["name"] == name]
    if len(groups) > 1:
        bars = [_interval(attack["group"], attack["auc"]) for attack in groups]
        marks = {"a guess": groups[0]["auc"]["baseline"]}
        pictures["groups"] = interval_chart(bars, unit=f"area under the curve, {ATTACKS.get(name, name)}", marks=marks)
    if record["one_run"]:
        claimed = record["claim"]["epsilon"]
        bars = [_interval(view["view"], view["epsilon"]) for view in record["one_run"]]
        marks = {} if claimed is None else {"promised": claimed}
        pictures["one_run"] = interval_chart(bars, unit="epsilon, at least", marks=marks | {"": 0.0})
    return pictures


def _curve(attack: Record) -> Curve:
    intervals = {float(rate): (found["low"], found["high"]) for rate, found in attack["tpr"].items()}
    return Curve(ATTACKS.get(attack["name"], str(attack["name"])), [tuple(point) for point in attack["roc"]], intervals)


def _interval(name: str, estimate: Record) -> Bar:
    return Bar(name, estimate["low"], estimate["value"], estimate["high"], marked=estimate["verdict"] == "fail")


def _running_heads(record: Record) -> str:
    """Write what stands at the head and foot of each printed page, as CSS."""
    subject = record["subject"]
    head = _css_text(f"Privacy audit: {subject['study']}, run {subject['run']}")
    verdict = _css_text(headline(record)[0])
    model = _css_text(f"model {subject['model_sha256'][:16]}")
    return (
        f"@page {{ @top-left {{ content: {head}; }} @top-right {{ content: {verdict}; }} "
        f"@bottom-left {{ content: {model}; }} }}\n"
    )


def _css_text(text: str) -> str:
    """Write a text as a CSS string that can end neither the string nor the style."""
    return '"' + re.sub(r"[^A-Za-z0-9 .,:_-]", lambda found: f"\\{ord(found[0]):x} ", text) + '"'
