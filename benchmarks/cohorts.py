"""Every generator on real tables: what are its rows worth, what do they give away, and what does the gate say?

    python benchmarks/cohorts.py DATA [--tables pima cirrhosis diabetes130] [--seeds 3] [--work FOLDER] [--show]

Each seed splits a table into training, holdout and real patients who pose as a cohort, in thirds and at most 3,000 rows
each. Every generator of `synth.generators.GENERATORS` is fitted to training without privacy and at epsilon 8, 3 and 1,
and says why where it refuses. Its cohort, as large as training, is judged by the release gate and its fidelity is
described. Two cohorts mark the ends: the real patients of the third part, and a copy of training. What is finished is
kept in the folder and not done again; `--show` only prints the tables and draws the pictures of what is there.
DATA holds the folders `pima`, `cirrhosis_pbc` and `diabetes130`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from bt_gan import read_patients
from cohort_pictures import draw_marginals, draw_plane, shares
from planted_leaks import bounds_of, read_real

from privacy.ledger import Ledger
from privacy.noise import SecureNoise
from synth.account import Account, Allowance
from synth.claims import Claim
from synth.cohort import draw_cohort
from synth.evidence import gather
from synth.gate import judge
from synth.generators import GENERATORS, make_generator
from synth.plan import spec_digest
from synth.scores.fidelity import describe_fidelity
from synth.scores.membership import ATTACKS
from synth.scores.score import finite
from synth.standing import Standing
from synth.thresholds import Thresholds

if TYPE_CHECKING:
    import pandas as pd

    from privacy.ledger import Reservation
    from synth.spec import TableSpec

ROWS = 3000
EPSILONS = (math.inf, 8.0, 3.0, 1.0)
DELTA = 1e-5
FLOOR = "independent"  # at one level only
QUICK = ("", "marginals", FLOOR, "copula")  # these are done before the networks
PATIENTS, COPY = "real patients", "copy of training"
Cell = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Setting:
    """What a table's specification adds to its columns, and how long its networks train."""

    target: str
    known: tuple[str, ...]
    secrets: tuple[str, ...]
    groups: tuple[str, ...] = ()
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    shown: tuple[str, ...] = ()


def steps(count: int, epochs: int, **fair: str) -> dict[str, dict[str, Any]]:
    """As many steps for each network; `epochs` is what that makes of the training rows."""
    own, theirs = {"steps": count}, {"epochs": epochs}
    return {"gan": own, "bt-gan": own | fair, "ctgan": theirs, "tvae": theirs}


SETTINGS = {
    "pima": Setting(
        target="Outcome",
        known=("Age", "Pregnancies", "BMI", "BloodPressure"),
        secrets=("Outcome", "Glucose"),
        settings=steps(1000, 1000),
        shown=("Glucose", "Insulin", "Age"),
    ),
    "cirrhosis": Setting(
        target="Status",
        known=("Age", "Sex", "Edema", "Ascites"),
        secrets=("Status", "Stage"),
        settings=steps(1000, 1000, sensitive="Sex"),
        shown=("Bilirubin", "Albumin", "Stage"),
    ),
    "diabetes130": Setting(
        target="again",
        known=("age", "gender", "race", "admission_type_id", "time_in_hospital"),
        secrets=("again", "A1Cresult"),
        groups=("race", "gender"),
        settings=steps(1800, 300, sensitive="race"),
        shown=("age", "num_medications", "number_inpatient"),
    ),
}


def variants() -> list[tuple[str, str, float]]:
    """Label, generator and epsilon of every fit; a baseline is its own generator, quick ones come first."""
    found = [(PATIENTS, "", math.inf), (COPY, "", math.inf)]
    for name in sorted(GENERATORS, key=lambda name: name not in QUICK):
        levels = EPSILONS[:1] if name == FLOOR else EPSILONS
        found += [(name if math.isinf(e) else f"{name}, epsilon {e:g}", name, e) for e in levels]
    return found


def read_table(name: str, data: Path) -> tuple[pd.DataFrame, TableSpec]:
    table = read_patients(data) if name == "diabetes130" else read_real(name, data)
    setting = SETTINGS[name]
    spec = replace(bounds_of(table), target=setting.target, quasi_identifiers=setting.known, secrets=setting.secrets)
    return table, spec


def run_cell(name: str, table: pd.DataFrame, spec: TableSpec, label: str, seed: int) -> Cell:
    """Fits, draws and judges one cohort; a generator that refuses says why."""
    order = np.random.default_rng(seed).permutation(len(table))
    count = min(ROWS, len(table) // 3)
    training, holdout, posing = (table.iloc[order[i * count : (i + 1) * count]] for i in range(3))
    generator, epsilon = next((g, e) for known, g, e in variants() if known == label)
    start, claim, booked = time.process_time(), None, None
    if generator:
        try:
            made, claim, booked = _cohort(generator, epsilon, SETTINGS[name], training, spec, seed)
        except ValueError as why:
            return {"refused": str(why)}
    else:
        made = posing if label == PATIENTS else training
    spent = time.process_time() - start
    evidence = gather(training, holdout, made, spec)
    standing = Standing(claim, booked, patients=count, earlier=(), seen=np.zeros(len(holdout), dtype=np.bool_))
    judgement = judge(evidence, standing, Thresholds(groups=SETTINGS[name].groups), np.random.default_rng(seed))
    scores = {check.name: dict(check.scores) for check in judgement.checks}
    scores["fidelity"] = describe_fidelity(evidence, np.random.default_rng(seed))
    return {
        "seconds": spent,
        "rows": count,
        "decision": judgement.decision,
        "verdicts": {check.name: check.verdict for check in judgement.checks},
        "scores": {
            family: {key: [finite(s.value), finite(s.low), finite(s.high), finite(s.baseline)] for key, s in of.items()}
            for family, of in scores.items()
        },
        "shares": {c: shares(evidence.synthetic, spec.by_name[c]) for c in SETTINGS[name].shown},
    }


def _cohort(
    name: str, epsilon: float, setting: Setting, training: pd.DataFrame, spec: TableSpec, seed: int
) -> tuple[pd.DataFrame, Claim | None, Reservation | None]:
    """The cohort, what it claims and what a ledger of its own says; a private fit draws its noise securely."""
    generator = make_generator(name, setting.settings.get(name, {}))
    fitting, drawing = np.random.default_rng(seed).spawn(2)
    if math.isinf(epsilon):
        fitted = generator.fit(training, spec, rng=fitting, privacy=None)
        return draw_cohort(fitted, spec, rows=len(training), rng=drawing).rows, None, None
    allowance = Allowance(epsilon=epsilon, delta=DELTA, ceiling=epsilon)
    with tempfile.TemporaryDirectory() as folder, Ledger.open(Path(folder) / "ledger.db") as ledger:
        digest = spec_digest(spec)
        account = Account(allowance, ledger, "run", digest, SecureNoise())
        fitted = generator.fit(training, spec, rng=fitting, privacy=account)
        claim = Claim(fitted.statement, "run", digest, digest, of_these_rows=True)
        return draw_cohort(fitted, spec, rows=len(training), rng=drawing).rows, claim, ledger.reservation("run")


def work(data: Path, tables: list[str], seeds: int, folder: Path) -> None:
    """Fills the folder: for each seed the quick cohorts of all tables, then those of networks."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, quick, name in itertools.product(range(seeds), (True, False), tables):
        table, spec = read_table(name, data)
        for label, generator, _ in variants():
            file = folder / f"{name}-{label.replace(', ', '-').replace(' ', '-')}-{seed}.json"
            if (generator in QUICK) != quick or file.exists():
                continue
            start = time.monotonic()
            cell = run_cell(name, table, spec, label, seed)
            file.with_suffix(".part").write_text(json.dumps({"label": label} | cell))
            file.with_suffix(".part").rename(file)
            print(f"{file.stem}: {time.monotonic() - start:.0f} s {cell.get('refused', '')}", flush=True)


def finished(folder: Path, name: str) -> dict[str, list[Cell]]:
    """Label → the cells of its seeds, in the order of `variants`."""
    cells = [json.loads(file.read_text()) for file in sorted(folder.glob(f"{name}-*.json"))]
    found = {label: [cell for cell in cells if cell["label"] == label] for label, *_ in variants()}
    return {label: of for label, of in found.items() if of}


def values(cells: list[Cell], family: str, key: str) -> list[float]:
    """One score over seeds, where it could be computed."""
    found = [cell["scores"][family].get(key, [None])[0] for cell in cells]
    return [value for value in found if value is not None]


def over(cells: list[Cell], family: str, text: str) -> list[float]:
    """The mean of all scores of a family whose name holds a text, for each seed."""
    found = []
    for cell in cells:
        chosen = [s[0] for key, s in cell["scores"][family].items() if s[0] is not None and text in key]
        if chosen:
            found.append(float(np.mean(chosen)))
    return found


def utility(cells: list[Cell]) -> list[float]:
    """Area of models of the cohort over that of models of training, mean of both learners, for each seed."""
    return [
        float(np.mean([s[0] for key, s in cell["scores"]["utility"].items() if "," not in key and s[0] is not None]))
        for cell in cells
    ]


def attacks(cells: list[Cell]) -> dict[str, list[float]]:
    """What each attack gains, 0 for nothing and 1 for everything, over seeds.

    A membership attack's gain is twice its area less one, a disclosure attack's is its risk beyond the control.
    """
    found = {}
    for key in cells[0]["scores"]["membership"]:
        if key.endswith(", area"):
            found[key.removesuffix(", area")] = [2 * value - 1 for value in values(cells, "membership", key)]
    for key in cells[0]["scores"]["disclosure"]:
        found[key] = values(cells, "disclosure", key)
    return {key: of for key, of in found.items() if of}


def strongest(cells: list[Cell]) -> tuple[str, list[float]]:
    """The attack that gains most on average over seeds."""
    return max(attacks(cells).items(), key=lambda pair: float(np.mean(pair[1])))


def shown(numbers: list[float], digits: int = 2) -> str:
    """Mean and standard deviation over seeds."""
    if not numbers:
        return "-"
    spread = f" ± {np.std(numbers, ddof=1):.{digits}f}" if len(numbers) > 1 else ""
    return f"{np.mean(numbers) + 0.0:.{digits}f}{spread}"


def gate(cells: list[Cell]) -> str:
    """Decisions over seeds, and the families that failed."""
    decisions = Counter(cell["decision"] for cell in cells)
    failed = Counter(name for cell in cells for name, verdict in cell["verdicts"].items() if verdict == "fail")
    text = ", ".join(f"{count} {decision}" for decision, count in decisions.items())
    return text + (f" ({', '.join(f'{name} {count}' for name, count in failed.items())})" if failed else "")


COLUMNS = [
    *("cohort", "s to fit", "marginals", "pairs", "told apart", "TSTR/TRTR", "fairness", "copies, %", "membership"),
    *("outliers", "singling out", "linking", "inferring", "strongest", "gate (failed)"),
]


MEASURES = ("area", "area, outliers")


def row(label: str, cells: list[Cell]) -> list[str]:
    membership = [[values(cells, "membership", f"{a}, {m}") for a in ATTACKS] for m in MEASURES]
    most = [max(found, key=lambda of: float(np.mean(of)) if of else 0.0) for found in membership]
    attack, gain = strongest(cells)
    return [
        label,
        "" if label in {PATIENTS, COPY} else shown([cell["seconds"] for cell in cells], 1),
        shown(values(cells, "fidelity", "marginals, mean"), 3),
        shown(values(cells, "fidelity", "pairs, mean"), 3),
        shown(over(cells, "fidelity", "discriminator")),
        shown(utility(cells)),
        shown(over(cells, "fairness", ",")),
        shown([100 * value for value in values(cells, "copies", "verbatim rows")], 1),
        *(shown(of) for of in most),
        shown(values(cells, "disclosure", "singling out")),
        shown(values(cells, "disclosure", "linking")),
        shown(over(cells, "disclosure", "inferring")),
        f"{shown(gain)} {attack}",
        gate(cells),
    ]


def show(folder: Path, tables: list[str], pictures: Path | None) -> None:
    """Prints a Markdown table for each data set, and who refused; draws the pictures."""
    plane, marginals = {}, {}
    for name in tables:
        every = finished(folder, name)
        done = {label: [c for c in cells if "refused" not in c] for label, cells in every.items()}
        done = {label: cells for label, cells in done.items() if cells}
        if not {PATIENTS, COPY} <= set(done):
            continue
        base = done[PATIENTS]
        area = [float(np.mean([s[3] for k, s in c["scores"]["utility"].items() if "," not in k])) for c in base]
        print(f"## {name}: {base[0]['rows']} training rows, seeds: {len(base)}, TRTR area {shown(area)}\n")
        print(f"| {' | '.join(COLUMNS)} |\n|---{'|---:' * (len(COLUMNS) - 2)}|---|")
        for label, cells in done.items():
            seeds = "" if len(cells) == len(base) else f" ({len(cells)} of {len(base)} seeds)"
            print(f"| {' | '.join(row(label, cells)).replace(label, label + seeds, 1)} |")
        refusals: dict[tuple[str, str], list[str]] = {}
        for label, cells in every.items():
            if "refused" in cells[0]:
                generator, _, level = label.partition(", ")
                refusals.setdefault((generator, cells[0]["refused"]), []).append(level or "without privacy")
        if missing := [label for label, *_ in variants() if label not in every]:
            print(f"\nNot finished: {'; '.join(missing)}.")
        print("\nRefused:\n" if refusals else "")
        for (generator, why), levels in refusals.items():
            print(f"* `{generator}` ({', '.join(levels)}): {why}")
        print()
        plane[name] = {label: (strongest(cells)[1], utility(cells)) for label, cells in done.items()}
        marginals[name] = {label: cells[0]["shares"] for label, cells in done.items()}
    if pictures and plane:
        draw_plane(plane, pictures / "cohorts.png")
        draw_marginals(marginals, pictures / "cohort_marginals.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--tables", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("runs/cohorts"))
    parser.add_argument("--pictures", type=Path, help="folder to draw into")
    parser.add_argument("--show", action="store_true", help="print what is finished, and work no further")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    if not given.show:
        work(given.data, given.tables, given.seeds, given.work)
    show(given.work, given.tables, given.pictures)


if __name__ == "__main__":
    main()
