"""The model card of a run: what the model is for, on whom it was tried, how well it does and what not to do with it.

Every run gets one, drawn from its record alone: no number stands in a card that is not in ``run.json``, and what the
record does not hold the card says it lacks. The headings are those of Mitchell et al., "Model Cards for Model
Reporting", FAT* 2019, arXiv:1810.03993, table of section 4, with privacy and approvals added; the front matter is what
model hubs read (a ``model-index`` with the pooled scores).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from clinical.tasks import NEXT_DIAGNOSIS, reads_notes
from reports.document import Block, Command, Items, Section, Table, to_html, to_markdown
from reports.page import epsilon_text, score_text, share_text
from reports.run import METRICS, OUTCOMES
from reports.uses import use_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    Record = Mapping[str, Any]

_KINDS = {
    "coding": "text-classification",
    "groups": "tabular-classification",
    "binary": "tabular-classification",
    "regression": "tabular-regression",
}
NAMES = METRICS | OUTCOMES
MAIN = ("micro_f1", "macro_f1", "precision_at_8", "mean_average_precision", "micro_auc", "macro_auc", *OUTCOMES)


def render_markdown(record: Record) -> str:
    """Write a run's model card as Markdown with YAML front matter.

    Args:
        record: the content of ``run.json``; a running or failed run has only some of its keys.
    """
    return _front_matter(record) + to_markdown(_title(record), _sections(record))


def render_html(record: Record) -> str:
    """Write the same card as one self-contained HTML page."""
    from reports.frame import frame

    head = f"Wardround run {record['run']}, begun {record['started']}"
    return frame(_title(record), lead=head, body=to_html(_sections(record)))


def _title(record: Record) -> str:
    return f"Model card: {record['study']['study']['name']}"


def _sections(record: Record) -> list[Section]:
    use = use_of(record["study"]["task"]["name"], question=record.get("task", {}).get("question", ""))
    return [
        Section("Model details", _details(record)),
        Section("Intended use", (use.intended, f"Intended users: {use.users}.")),
        Section("Out-of-scope use", (Items(use.out_of_scope),)),
        Section("Factors", _factors(record, use.factors)),
        Section("Metrics", _metrics(record)),
        Section("Training data", _training_data(record)),
        Section("Evaluation data", (_evaluation_data(record, use.evaluation),)),
        Section("Quantitative analyses", _analyses(record)),
        Section("Privacy", _privacy(record)),
        Section("Approvals and signatures", _approvals(record)),
        Section("Ethical considerations", (Items(use.ethics),)),
        Section("Caveats and recommendations", (Items((*_caveats(record), *use.caveats)),)),
        Section("Versions", _versions(record)),
    ]


def _details(record: Record) -> tuple[Block, ...]:
    study, training, federation = record["study"], record["study"]["training"], record["study"]["federation"]
    facts = [
        f"Model: {study['model']['name']}, dropout {study['model']['dropout']}",
        *_task(record),
        (
            f"Training: {federation['strategy']} over {len(record.get('sites', []))} hospitals, {federation['rounds']} "
            f"rounds of {training['local_epochs']} local epochs; {training['optimizer']}, learning rate "
            f"{training['learning_rate']}, loss {training['loss']}"
        ),
        f"Begun {record['started']}; agreed study {record['digest']}",
    ]
    if "kept_round" in record:
        facts.insert(-1, f"Kept: the model after round {record['kept_round']}")
    return (*_status(record), Items(tuple(facts)))


def _task(record: Record) -> tuple[str, str]:
    """What is asked, and of what."""
    task = record["study"]["task"]
    forms = ", ".join(sorted({site["encoder"] for site in record.get("sites", []) if site["encoder"]}))
    if "task" in record:
        return f"Task: {task['name']}. {record['task']['question']}", f"Input: {forms or 'none was agreed on'}"
    codes = record.get("vocabulary", {}).get("codes", [])
    encoder = forms or "that the study names"
    if not reads_notes(task["name"]):
        system = record.get("vocabulary", {}).get("system", task["codes"])
        return f"Task: {task['name']}, {len(codes)} groups of {system}", f"Input: {forms or 'none was agreed on'}"
    return (
        f"Task: {task['name']}, {len(codes)} codes of {task['codes']}",
        f"Input: notes of at most {task['maximum_words']} words, read by the frozen encoder {encoder}",
    )


def _status(record: Record) -> tuple[str, ...]:
    if record["status"] == "completed":
        return ()
    reason = f": {record['reason']}" if record["reason"] else ""
    return (f"This run is {record['status']}{reason}. It releases no model to use.",)


def _factors(record: Record, factors: tuple[str, ...]) -> tuple[Block, ...]:
    sites = ", ".join(site["name"] for site in record.get("sites", [])) or "none took part"
    groups = ", ".join(sorted((record.get("final") or {}).get("groups", {})))
    if groups:
        told = f"The record tells scores apart by hospital ({sites}) and by sub-group ({groups})."
        return told, "Other factors that may matter, of which it says nothing:", Items(factors)
    lack = "It holds no scores by sub-group of patients, so nothing here says whether the model serves them equally:"
    return (
        f"The record tells scores apart by hospital ({sites}) and no further than the tables below.",
        lack,
        Items(factors),
    )


def _metrics(record: Record) -> tuple[Block, ...]:
    evaluation = record["study"]["evaluation"]
    told = ["Scores are pooled from counts over hospitals, never averaged over them."]
    if "task" not in record:
        rule = evaluation["threshold"]
        told.insert(0, f'A code is predicted above a threshold; which rule sets it was fixed before the run: "{rule}".')
    if (record.get("final") or {}).get("noised"):
        told.append("They are read from noisy sums, so they have no intervals and wobble at small hospitals.")
    else:
        told.append(
            f"Intervals hold 95 % and come from {evaluation['replicates']} bootstrap replicates over patients; a score "
            "without one has none."
        )
    points = [
        (rule, str(point["codes"]), score_text(point["probability"]))
        for rule, chosen in record.get("thresholds", {}).items()
        for point in chosen
    ]
    table = Table("Thresholds, chosen once on the pooled tuning split", ("rule", "codes", "probability"), tuple(points))
    return (*told, table) if points else tuple(told)


def _training_data(record: Record) -> tuple[Block, ...]:
    rows = tuple(
        (site["name"], str(site["patients"]), _count(site["documents"]), site["encoder"] or "–")
        for site in record.get("sites", [])
    )
    network = record["study"]["data"]["network"]
    origin = (
        "Records of the hospitals below; they never left them."
        if network
        else "Each node's own records; where a node names none, hospitals that Wardround invented, no evidence "
        "about medicine."
    )
    if not rows:
        return (origin, "No hospital took part.")
    return origin, Table(
        "Hospitals that took part", ("hospital", "training patients", _counted(record), "encoder"), rows
    )


def _counted(record: Record) -> str:
    """What a hospital's examples are called."""
    return "discharges" if record["study"]["task"]["name"] == NEXT_DIAGNOSIS else "documents"


def _evaluation_data(record: Record, words: str) -> str:
    """Whose patients judged the model; a guest judges and does not train."""
    guest = record["study"]["federation"].get("guest")
    where = f"Held-out patients of {guest}, which judged the model and trained none of it." if guest else ""
    return where or words


def _analyses(record: Record) -> tuple[Block, ...]:
    final = record.get("final")
    if not final:
        return ("The record holds no scores.",)
    alone = record.get("baselines", {}).get("local")
    shown = [key for key in MAIN if key in final["pooled"]] or list(final["pooled"])
    head = ("hospital", *(NAMES.get(key, key) for key in shown))
    blocks: list[Block] = [Table("The federated model on held-out patients", head, _by_site(final, shown))]
    if alone:
        blocks.append(Table("Each hospital training alone, on the same patients", head, _by_site(alone, shown)))
    if final.get("groups"):
        rows = tuple((name, *_scores(scores, shown)) for name, scores in sorted(final["groups"].items()))
        blocks.append(Table("Sub-groups, of all hospitals that may show them", ("group", *head[1:]), rows))
    others = tuple((NAMES.get(key, key), score_text(value)) for key, value in final["pooled"].items())
    blocks.append(Table("Every pooled metric", ("metric", "value"), others))
    return (*blocks, *_calibration(final))


def _by_site(answers: Record, shown: list[str]) -> tuple[tuple[str, ...], ...]:
    rows = [*sorted(answers["sites"].items()), ("all, pooled", answers["pooled"])]
    return tuple((name, *_scores(scores, shown)) for name, scores in rows)


def _scores(scores: Record, shown: list[str]) -> tuple[str, ...]:
    return tuple(score_text(scores.get(key)) for key in shown)


def _calibration(final: Record) -> tuple[Block, ...]:
    found = final.get("calibration")
    if not found:
        return (
            "Calibration: the record does not hold what it needs, so take no probability of the model at its word.",
        )
    error = final["pooled"].get("calibration_error", final.get("calibration_error"))
    rows = tuple(
        (share_text(row["predicted"]), share_text(row["observed"]), f"{row['questions']:.0f}") for row in found
    )
    text = f"The expected calibration error is {score_text(error)}."
    head = ("mean probability", "came true", "questions")
    return text, Table("Calibration: what the model says, and how often it is so", head, rows)


def _privacy(record: Record) -> tuple[Block, ...]:
    paid = record.get("privacy", {})
    if not paid:
        return ("No hospital has stated a cost: nothing was released.",)
    statements = [site["statement"] for _, site in sorted(paid.items())]
    whole = record.get("hospital_privacy") or {}
    hidden = {"each whole hospital": whole} if "statement" in whole else {}
    if not hidden and all(statement["epsilon"] is None for statement in statements):
        return ("There is no guarantee: the model trained without differential privacy and may give away patients.",)
    head = ("hospital", "epsilon", "delta", "unit, neighbours", "accountant", "all runs", "ceiling")
    rows = tuple((name, *_paid(site)) for name, site in [*sorted(paid.items()), *hidden.items()])
    blocks: list[Block] = [Table("What each hospital's patients paid for this model", head, rows)]
    blocks.append(f"Not covered: {'; '.join(statements[0]['not_covered'])}.")
    if hidden:
        blocks.append(f"Not covered for whole hospitals: {'; '.join(whole['statement']['not_covered'])}.")
    if any(statement["reproducible_noise"] for statement in statements):
        blocks.append("The noise came from a known seed: the guarantee is void for whoever knows it.")
    return tuple(blocks)


def _paid(site: Record) -> tuple[str, ...]:
    statement, ledger = site["statement"], site["ledger"] or {}
    return (
        epsilon_text(statement["epsilon"]),
        "–" if statement["delta"] is None else str(statement["delta"]),
        f"{statement['unit']}, {statement['relation']}",
        statement["accountant"],
        epsilon_text(ledger["epsilon_all_runs"]) if ledger else "–",
        epsilon_text(ledger["ceiling"]) if ledger else "–",
    )


def _approvals(record: Record) -> tuple[Block, ...]:
    admitted = [site["name"] for site in record.get("sites", [])]
    texts = [
        (
            "Admitted by the policy of each of these hospitals, enforced there before a record was read: "
            f"{', '.join(admitted) or 'none'}."
        ),
        *(
            f"Not admitted or absent: {gone['site']} ({gone['kind']}): {gone['reason']}"
            for gone in record.get("absences", [])
        ),
    ]
    told = (
        "No person has approved this card by being named in it: approval is a signature on this directory, checked with"
    )
    return Items(tuple(texts)), told, Command("wardround audit verify RUN --key PUBLIC_KEY")


def _caveats(record: Record) -> tuple[str, ...]:
    """What the record itself warns of."""
    final = record.get("final") or {}
    found = [final["collapse"]] if final.get("collapse") else []
    if final.get("missing"):
        found.append(f"No held-out counts came from {', '.join(final['missing'])}.")
    if canaries := record.get("canaries"):
        found.append(f"{canaries['at_each_hospital']} canaries were planted at each hospital: {canaries['meaning']}.")
    withheld = final.get("withheld")
    if isinstance(withheld, dict) and (withheld["fully"] or withheld["partly"]):
        found.append(
            f"{withheld['fully']} codes were withheld everywhere and {withheld['partly']} somewhere, because too few "
            "patients have them: how the model does on them is not known."
        )
    elif isinstance(withheld, list) and withheld:
        found.append(
            f"Too few patients stand on one side of the answer at {', '.join(withheld)}: their scores are withheld."
        )
    return tuple(found)


def _versions(record: Record) -> tuple[Block, ...]:
    rows = tuple((name, version) for name, version in record["software"].items())
    return (Table("Software that trained the model", ("package", "version"), rows),)


def _count(number: int | None) -> str:
    return "not said" if number is None else str(number)


def _front_matter(record: Record) -> str:
    """Write the metadata of model hubs, each value as JSON, which is YAML too."""
    name, task = record["study"]["study"]["name"], record["study"]["task"]["name"]
    stated = [*record.get("privacy", {}).values(), record.get("hospital_privacy") or {}]
    private = any(each.get("statement", {}).get("epsilon") is not None for each in stated)
    tags = ["wardround", "medical", "federated-learning", task, *(["differential-privacy"] if private else [])]
    kind = record.get("task", {}).get("kind", "coding" if reads_notes(task) else "groups")
    fields: dict[str, Any] = {"library_name": "pytorch", "tags": tags}
    if pooled := (record.get("final") or {}).get("pooled"):
        metrics = [
            {"type": key, "name": NAMES.get(key, key), "value": score["value"]}
            for key, score in pooled.items()
            if score["value"] is not None
        ]
        dataset = {"type": "private", "name": f"held-out patients of {len(record['final']['sites'])} hospitals"}
        result = {"task": {"type": _KINDS[kind], "name": task}, "dataset": dataset, "metrics": metrics}
        fields["model-index"] = [{"name": f"{name}-{record['run']}", "results": [result]}]
    lines = "".join(f"{key}: {json.dumps(value)}\n" for key, value in fields.items())
    return f"---\n{lines}---\n\n"
