"""What an audit states: frozen values that become ``audit.json``, the only source of every page drawn from an audit.

The record describes itself: claim, evidence, self-test, method, limits, software, seeds and the command that makes it
again. `as_json` turns infinities (an interval that nothing bounds) into null, so the file is plain JSON.

The shape of ``audit.json``, format 1 (``docs/audits.md`` explains every number in words):

* ``format`` 1; ``kind`` "model"; ``verdict`` pass | fail | inconclusive; ``exit_code`` 0 | 1 | 3;
* ``statement`` the verdict in one plain sentence; ``reasons`` further sentences, the gravest first;
* ``subject`` `Subject`: the run, the model's SHA-256 and whose patients were used;
* ``claim`` `Claim`: what the run's ledgers promise, with the statement of each hospital and heads of the hash chains;
* ``evidence`` list of `Evidence`: the tests that bear the verdict, at the confidence corrected for their number;
* ``cohort`` `Cohort`: how many members and non-members, over all and by group;
* ``attacks`` list of `Attack`: each attack on each group of patients, with ROC points;
* ``one_run`` list of `OneRun`, empty when no canaries were planted: one for each view;
* ``inversion`` list of `Inversion`, empty unless asked for;
* ``self_test`` `SelfTest`; ``method`` and ``limits``: sentences; ``tests`` how many tests bear the verdict;
* ``software`` versions; ``command``; ``seeds``; ``started`` (UTC, ISO 8601); ``seconds`` by phase.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

FORMAT = 1
Verdict = Literal["pass", "fail", "inconclusive"]
EXIT_CODES: dict[Verdict, int] = {"pass": 0, "fail": 1, "inconclusive": 3}  # 2 is a user's mistake


@dataclass(frozen=True, slots=True)
class Estimate:
    """One measured number with everything needed to read it.

    Attributes:
        value: the point estimate.
        low: lower end of the interval.
        high: upper end of the interval; infinity where nothing bounds it.
        baseline: the value of an attacker who sees nothing of the model.
        n: patients (or canaries, or inputs) the value rests on.
        verdict: against `allowed`, by this number alone.
        allowed: the most that the claim allows; the baseline where nothing is claimed; None where it allows anything.
        reach: the highest lower end that this many patients could have shown: the power of the measurement.
        confidence: of the interval, two-sided.
    """

    value: float
    low: float
    high: float
    baseline: float
    n: int
    verdict: Verdict = "inconclusive"
    allowed: float | None = None
    reach: float | None = None
    confidence: float = 0.95


@dataclass(frozen=True, slots=True)
class Attack:
    """One membership-inference attack on one group of patients.

    Attributes:
        name: "loss", "rmia" or "lira".
        group: "all", "outliers", or a sub-group such as "notes: 1" or "sex: F".
        members: patients whose records trained the model, after the minimum cell count.
        non_members: patients whose records did not.
        tpr: true-positive rate by false-positive rate, keys "0.001", "0.01", "0.1".
        auc: area under the ROC curve.
        roc: [false-positive rate, true-positive rate] points, ascending, thinned for a picture.
        bears_verdict: whether the overall verdict rests on this attack.
    """

    name: str
    group: str
    members: int
    non_members: int
    tpr: dict[str, Estimate]
    auc: Estimate
    roc: tuple[tuple[float, float], ...] = ()
    bears_verdict: bool = False


@dataclass(frozen=True, slots=True)
class OneRun:
    """An epsilon lower bound from canaries, in one view of the run.

    Attributes:
        view: "final model" or "all rounds".
        canaries: planted over the audited hospitals, included or not.
        scored: those that were guessed upon; the others chose the thresholds.
        guesses: r; `scored` less abstentions.
        correct: v.
        epsilon: lower bound for (epsilon, delta); value = the accuracy's logit, high is of the attack, not the model.
        epsilon_gaussian: the f-DP bound, if the mechanism's trade-off is Gaussian; descriptive, never the verdict.
        delta: at which epsilon is bounded.
        auc: of the scored canaries, descriptive.
        bears_verdict: whether the overall verdict rests on this view.
    """

    view: str
    canaries: int
    scored: int
    guesses: int
    correct: int
    epsilon: Estimate
    epsilon_gaussian: Estimate
    delta: float
    auc: Estimate
    bears_verdict: bool = False


@dataclass(frozen=True, slots=True)
class Inversion:
    """How many inputs of a captured update were rebuilt.

    Attributes:
        update: "plain", "clipped and noised" or "sum over hospitals".
        method: "linear layer" or "gradient matching".
        batch: examples behind the update.
        recovered: share of inputs rebuilt closer than `tolerance`; baseline = the same for a guess without gradient.
        cosine: mean cosine similarity between input and its best reconstruction; the baseline likewise.
        tolerance: 1 - cosine below which an input counts as rebuilt.
    """

    update: str
    method: str
    batch: int
    recovered: Estimate
    cosine: Estimate
    tolerance: float


@dataclass(frozen=True, slots=True)
class Check:
    """One planted world of the self-test: ``expected`` is what the audit must say of it, ``found`` what it said."""

    name: str
    expected: Verdict
    found: Verdict
    detail: str
    passed: bool


@dataclass(frozen=True, slots=True)
class SelfTest:
    """Whether the audit, on the same patients and sizes, catches a planted leak and spares a constant model.

    Attributes:
        passed: all checks.
        checks: one for each planted world.
        detectable_tpr: least true-positive rate at 1 % false positives that these sizes could tell from what is
            allowed; None where no rate can.
        detectable_epsilon: the highest epsilon lower bound that a perfect attacker could have reached here.
    """

    passed: bool
    checks: tuple[Check, ...]
    detectable_tpr: float | None
    detectable_epsilon: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the overall verdict rests on: one instrument, its self-test, and its estimates at the corrected confidence.

    Attributes:
        instrument: "membership" or "canaries" or "ledger".
        verdict: of this instrument.
        catches: whether it caught a planted leak on the same patients.
        spares: whether it spared a model that knows nobody.
        estimates: by name, for example "rmia: tpr at 0.01", "rmia: auc", "all rounds: epsilon".
    """

    instrument: str
    verdict: Verdict
    catches: bool
    spares: bool
    estimates: dict[str, Estimate]


@dataclass(frozen=True, slots=True)
class Claim:
    """What the run promises.

    Attributes:
        epsilon: the largest of the hospitals' statements among those audited; None promises nothing.
        delta: beside it.
        unit: "patient".
        relation: the neighbouring relation.
        hospitals: by name: ``statement`` and ``ledger`` as ``run.json`` keeps them.
        ledgers: by name of an audited hospital: ``head``, ``rows`` (all), ``entries`` of this run (sequence, at, kind,
            sampling_rate, noise_multiplier, steps, hash) and ``agrees`` with the statement.
        canaries: how many canaries each hospital planted; they cost utility.
    """

    epsilon: float | None
    delta: float | None
    unit: str
    relation: str
    hospitals: dict[str, Any]
    ledgers: dict[str, Any]
    canaries: int = 0


@dataclass(frozen=True, slots=True)
class Subject:
    """What was audited: ``run.json`` says the rest."""

    run: str
    folder: str  # the run directory's name, not its path
    study: str
    digest: str
    task: str
    model: str
    model_sha256: str
    run_sha256: str  # of run.json as it was read
    hospitals: tuple[str, ...]  # whose patients were used
    codes: int


@dataclass(frozen=True, slots=True)
class Cohort:
    """Who was attacked; counts of groups below the minimum cell are withheld."""

    members: int
    non_members: int
    minimum_cell: int
    groups: dict[str, dict[str, int]]  # {"outliers": {"members": 40, "non_members": 12}}
    withheld: tuple[str, ...]
    rule: str  # who counts as a member and why the two are exchangeable


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """The whole of ``audit.json``; see the module's docstring."""

    verdict: Verdict
    statement: str
    reasons: tuple[str, ...]
    subject: Subject
    claim: Claim
    evidence: tuple[Evidence, ...]
    cohort: Cohort
    attacks: tuple[Attack, ...]
    one_run: tuple[OneRun, ...]
    inversion: tuple[Inversion, ...]
    self_test: SelfTest
    tests: int
    method: tuple[str, ...]
    limits: tuple[str, ...]
    software: dict[str, str]
    command: str
    seeds: dict[str, int]
    started: str
    seconds: dict[str, float]
    kind: str = "model"
    format: int = FORMAT
    exit_code: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "exit_code", EXIT_CODES[self.verdict])

    def as_json(self) -> dict[str, Any]:
        """Returns the record as plain JSON values; what is not finite becomes null."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
