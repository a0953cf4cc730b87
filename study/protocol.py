"""The typed study protocol: every key, its type and its limits, and the one function that reads them.

Flower checks neither the names nor the types of a run configuration, and a misspelt privacy key that is silently
ignored is a breach. So `parse` uses every key exactly once, names the unknown and the missing ones, and converts
nothing but an integer where a real number is meant.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
import re
import typing
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from clinical.features.form import Form
from clinical.tasks import SYNTHESIS, family_of
from study.limits import Choice, Count, Name, Named, NotNegative, Positive, ProtocolError, Range
from study.synthesis import Synthesis  # noqa: TC001  # the hints of Study are resolved at run time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from synth.federated import Tree

__all__ = ["ProtocolError", "Study", "Value", "parse"]

Value = bool | int | float | str

_CREDENTIALS = re.compile(r"://[^/@]*:[^/@]*@|[?&]password=")


@dataclass(frozen=True, slots=True)
class Identity:
    """What the study is called, where its record goes and which randomness makes it repeatable."""

    name: str  # "" is read as the task's name
    output: str  # absolute folder of runs; "" means runs/ in Wardround's home
    seed: Annotated[int, Range(0, 2**32, high_open=True)]


@dataclass(frozen=True, slots=True)
class Data:
    """Where simulated hospitals find their data; a deployed hospital's own node configuration overrides it."""

    network: str  # absolute folder of hospitals; "" means a simulated network
    hospitals: Count  # of the simulated network
    patients: Annotated[int, Range(low=80)]  # of the simulated network, over all hospitals


@dataclass(frozen=True, slots=True)
class Task:
    """What is predicted, from which documents, over which codes."""

    name: Name
    beside: str  # further prediction tasks the model learns with it, separated by spaces; "" for none
    codes: Annotated[str, Choice(("icd9", "icd10"))]
    translate_icd9: bool  # an ICD-9 hospital joins an ICD-10 study through the GEM tables
    minimum_documents: Count  # a code enters the vocabulary with this many documents over all sites
    maximum_words: Count  # of a note; Edin et al. use 4,000
    vocabulary: str  # absolute path of a frozen vocabulary, one code a line; "" means count anew

    @property
    def names(self) -> tuple[str, ...]:
        """Every task the model learns, the one the study is about first."""
        return (self.name, *self.beside.split())


@dataclass(frozen=True, slots=True)
class Notes:
    """How text becomes numbers."""

    encoder: str  # a sentence-transformers name or path; "" means the MiniLM that is installed


@dataclass(frozen=True, slots=True)
class Features:
    """How a prediction task's records become what a model reads."""

    form: Annotated[str, Choice(("grid", "events", "text"))]  # hours, single events, or the state in sentences
    tokens: Annotated[str, Choice(("code", "text"))]  # an event's vector: by its code, or by its title's embedding
    time: bool  # a model is told when events were
    value: bool  # and which number they had
    events: Annotated[int, Range(16, 65_536)]  # the last ones before a moment that are kept
    variables: str  # of the grid, the concepts a model sees, separated by spaces; "" for all


@dataclass(frozen=True, slots=True)
class Model:
    """Which head is trained on the embeddings."""

    name: Name
    dropout: Annotated[float, Range(0, 1, high_open=True)]
    warm_start: Annotated[str, Choice(("none", "titles"))]  # titles: the codes' public titles, read by the encoder


@dataclass(frozen=True, slots=True)
class Training:
    """What a hospital does with one round."""

    loss: Name
    optimizer: Annotated[str, Choice(("adam", "sgd"))]
    learning_rate: Positive
    weight_decay: NotNegative
    batch_patients: Count  # expected patients a step
    local_epochs: Positive  # expected passes over the patients a round
    average: Annotated[str, Choice(("none", "tail"))]  # tail: end with the mean of the second half's models


@dataclass(frozen=True, slots=True)
class Federation:
    """How the hospitals' updates become one model."""

    strategy: Name
    rounds: Count
    quorum: Count  # hospitals that must deliver a sound update for a round to count
    keep: Annotated[str, Choice(("last", "best"))]  # which round's model the study ends with
    guest: str  # a hospital that never trains, and alone judges what the others made; "" for none
    wait_seconds: Positive  # for hospitals to connect
    timeout_seconds: Positive  # for a round's replies
    proximal_mu: NotNegative  # FedProx
    server_learning_rate: Positive  # FedAdam, FedYogi, FedAvgM
    server_momentum: Annotated[float, Range(0, 1, high_open=True)]  # FedAvgM
    trimmed_fraction: Annotated[float, Range(0, 0.5, high_open=True)]  # FedTrimmedAvg
    malicious: Annotated[int, Range(low=0)]  # Krum: how many hospitals may be adversarial


@dataclass(frozen=True, slots=True)
class Privacy:
    """The patient-level guarantee, and the hospital-level one beside it; an epsilon of 0 means none, and is said."""

    epsilon: NotNegative  # of everything the guarantee covers, over the whole study
    releases_epsilon: NotNegative  # the part of it that counts and metrics may cost alone; 0 leaves them uncovered
    delta: Annotated[float, Range(0, 1, low_open=True, high_open=True)]
    clip_norm: Positive
    clip_per_layer: bool  # each of L layers to clip_norm / sqrt(L) by itself
    reproducible_noise: bool
    hospital_epsilon: NotNegative  # of the models after each round, over the whole study, for a hospital
    hospital_delta: Annotated[float, Range(0, 1, low_open=True, high_open=True)]
    hospital_clip: Positive  # the longest a hospital's change of the model may be, in the L2 norm
    hospital_patients: Annotated[int, Range(low=0)]  # beyond so many a hospital weighs no more; 0 for no cap
    hospital_noise_limit: Positive  # a study whose noise in a round is longer than so many clips is refused
    hospital_ceiling: Positive  # epsilon of all studies on the coordinator's ledger
    hospital_ledger: str  # file or URL of the coordinator's ledger; "" means hospitals.db in Wardround's home
    canaries: Annotated[int, Range(0, 100_000)]  # invented patients a hospital, for an audit; they cost utility

    def __post_init__(self) -> None:
        """Refuse releases that leave nothing for training, and a ledger's password in a setting that is published."""
        if _CREDENTIALS.search(self.hospital_ledger):
            raise ProtocolError(
                "privacy.hospital-ledger holds a password and settings are published: leave it to PGPASSWORD or .pgpass"
            )
        if self.hospital_epsilon > self.hospital_ceiling:
            raise ProtocolError(
                f"privacy.hospital-epsilon = {self.hospital_epsilon:g} is above privacy.hospital-ceiling = "
                f"{self.hospital_ceiling:g}"
            )
        if self.releases_epsilon and self.releases_epsilon >= self.epsilon:
            raise ProtocolError(
                f"privacy.releases-epsilon = {self.releases_epsilon:g} must be below privacy.epsilon = "
                f"{self.epsilon:g}: it is the part of it that counts and metrics may cost"
            )

    @property
    def wanted(self) -> bool:
        """Whether the study asks for differential privacy at all."""
        return self.epsilon > 0

    @property
    def hides_hospitals(self) -> bool:
        """Whether the coordinator noises the rounds' models so that no hospital can be made out in them."""
        return self.hospital_epsilon > 0

    @property
    def covers_releases(self) -> bool:
        """Whether counts and metrics leave with noise and are charged, as updates are."""
        return self.releases_epsilon > 0


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How the model is judged."""

    threshold: Annotated[str, Choice(("fixed", "micro", "macro", "frequency"))]
    replicates: Annotated[int, Range(0, 10_000)]  # bootstrap replicates over patients; 0 gives no intervals
    local_baseline: bool  # also train each hospital alone, under the same settings


@dataclass(frozen=True, slots=True)
class Study:
    """One agreed study; every field is published in the run's record."""

    study: Identity
    data: Data
    task: Task
    notes: Notes
    features: Features
    model: Model
    training: Training
    federation: Federation
    privacy: Privacy
    synthesis: Synthesis
    evaluation: Evaluation

    def __post_init__(self) -> None:
        """Refuse canaries of a task without any, two answers to which model is kept, and rules noise cannot give."""
        if self.privacy.canaries and self.task.name != "icd-coding":
            raise ProtocolError(
                f"privacy.canaries = {self.privacy.canaries} needs task.name = 'icd-coding': "
                f"canaries are invented documents with codes, which {self.task.name} has not"
            )
        if self.training.average != "none" and self.federation.keep == "best":
            raise ProtocolError(
                f"training.average = {self.training.average!r} ends with a mean of rounds and federation.keep = 'best' "
                "with one of them: choose keep = 'last' or average = 'none'"
            )
        if self.synthesises:
            self._check_synthesis()
        if not self.privacy.covers_releases:
            return
        if self.task.beside:
            raise ProtocolError(
                f"task.beside = {self.task.beside!r} brings scores of further tasks, which privacy.releases-epsilon "
                "does not cover: leave one of them empty"
            )
        if self.federation.keep == "best":
            raise ProtocolError(
                "federation.keep = 'best' needs a score after every round, which would cost most of "
                "privacy.releases-epsilon and is not released under it: choose last"
            )
        if self.evaluation.threshold not in {"fixed", "micro"}:
            raise ProtocolError(
                f"evaluation.threshold = {self.evaluation.threshold!r} needs counts by code, which do not leave under "
                "privacy.releases-epsilon: choose fixed or micro"
            )

    def _check_synthesis(self) -> None:
        """Refuse what is of models, and a cohort without differential privacy."""
        if not self.privacy.wanted:
            raise ProtocolError(
                "privacy.epsilon = 0 is no synthesis: hospitals send counts, and only noisy ones; choose one above 0"
            )
        for key, value in (
            ("privacy.releases-epsilon", self.privacy.releases_epsilon),
            ("privacy.hospital-epsilon", self.privacy.hospital_epsilon),
            ("federation.guest", self.federation.guest),
            ("task.beside", self.task.beside),
        ):
            if value:
                raise ProtocolError(f"{key} = {value!r} is of studies that train a model: leave it out of a synthesis")
        spec = self.synthesis.spec
        if not self.measures and self.federation.strategy != "fedavg":
            raise ProtocolError(
                f"federation.strategy = {self.federation.strategy!r} remembers models or limits how they train, and a "
                "generator changes between rounds: choose fedavg for synthesis.generator = 'dp-gan'"
            )
        if self.synthesis.tree == "target" and not spec.target:
            raise ProtocolError("synthesis.tree = 'target' needs a specification that names a target")

    @property
    def synthesises(self) -> bool:
        """Whether the study makes rows and no model."""
        return self.task.name == SYNTHESIS

    @property
    def measures(self) -> bool:
        """Whether the study makes its rows of counts; the other generator is trained round by round, as models are."""
        return self.synthesises and self.synthesis.generator == "marginals"

    @property
    def charges(self) -> int:
        """How many times each hospital is charged for what it sends besides counts and metrics."""
        if not self.measures:
            return self.federation.rounds
        from synth.federated import measurements

        return measurements(self.synthesis.spec, cast("Tree", self.synthesis.tree))

    @property
    def form(self) -> Form:
        """The form in which a prediction task's records are read."""
        told = self.features
        kind, tokens = (
            cast("Literal['grid', 'events', 'text']", told.form),
            cast("Literal['code', 'text']", told.tokens),
        )
        variables = tuple(told.variables.split())
        return Form(kind, tokens, told.time, told.value, told.events, self.notes.encoder, variables)

    @property
    def releases(self) -> int:
        """How many noised releases a hospital makes besides its updates.

        Judgements always; for coding also code counts and tuning scores. Prediction needs neither, and a synthesis
        sends nothing besides.
        """
        if self.synthesises:
            return 0
        before = 0 if family_of(self.task.name) == "prediction" else 2
        return before + 1 + self.evaluation.local_baseline

    def settings(self) -> dict[str, Value]:
        """Return the study as flat ``section.key`` settings, as `parse` accepts them."""
        return {key: getattr(getattr(self, section), attribute) for key, section, attribute, *_ in _keys()}

    def digest(self) -> str:
        """Return the SHA-256 of what is agreed: every setting but where files lie on one machine."""
        local = {"study.output", "data.network", "task.vocabulary", "notes.encoder", "privacy.hospital-ledger"}
        agreed = {key: value for key, value in self.settings().items() if key not in local}
        return hashlib.sha256(json.dumps(agreed, sort_keys=True).encode()).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """Return the study as nested sections, for the run's record."""
        return asdict(self)


_SECTIONS: dict[str, Any] = typing.get_type_hints(Study)


def parse(run_config: Mapping[str, Value]) -> Study:
    """Read a study from flat settings.

    Args:
        run_config: every ``section.key`` of the study, as Flower hands it over.

    Returns:
        The study, each value of its declared type and within its limits.

    Raises:
        ProtocolError: a key is unknown, missing, of the wrong type or out of range.
    """
    remaining = dict(run_config)
    sections: dict[str, dict[str, Value]] = {}
    missing = []
    for key, section, attribute, kind, limit in _keys():
        if key not in remaining:
            missing.append(key)
            continue
        sections.setdefault(section, {})[attribute] = _value(key, remaining.pop(key), kind, limit)
    if remaining:
        raise ProtocolError(_unknown(sorted(remaining)))
    if missing:
        raise ProtocolError(f"the study lacks {', '.join(missing)}: every key needs a value")
    if not str(sections["study"]["name"]).strip():
        sections["study"]["name"] = sections["task"]["name"]
    return Study(**{section: _SECTIONS[section](**values) for section, values in sections.items()})


@functools.cache
def _keys() -> tuple[tuple[str, str, str, type, Any], ...]:
    """Return each key with its section, attribute, Python type and limit."""
    return tuple(_read_keys())


def _read_keys() -> Iterator[tuple[str, str, str, type, Any]]:
    for section, kind in _SECTIONS.items():
        if not is_dataclass(kind):
            continue
        hints = typing.get_type_hints(kind, include_extras=True)
        for field in fields(kind):
            hint = hints[field.name]
            limit = next(iter(getattr(hint, "__metadata__", ())), None)
            plain = typing.get_args(hint)[0] if limit is not None else hint
            yield f"{section}.{field.name.replace('_', '-')}", section, field.name, plain, limit


def _value(key: str, value: Value, kind: type, limit: Range | Choice | Named | None) -> Value:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text in quotes"}
        raise ProtocolError(f"{key} = {value!r} is not {words[kind]}")
    if limit is not None and not limit.admits(value):  # type: ignore[arg-type]  # the type was just checked
        raise ProtocolError(f"{key} = {value!r} is out of range: it must be {limit}")
    return value


def _unknown(names: list[str]) -> str:
    known = [key for key, *_ in _keys()]
    hints = []
    for name in names:
        close = difflib.get_close_matches(name, known, n=1)
        hints.append(f"{name} (did you mean {close[0]}?)" if close else name)
    return f"unknown study key {', '.join(hints)}"
