"""A cohort of the consortium at the coordinator: ask for measurements, add them, draw rows, keep a record.

What hospitals send is noisy already, so whatever is made of it costs their patients nothing more; the rows in the run's
directory are as shareable as the statement of the dearest hospital says.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from flwr.app import RecordDict

from privacy.manifest import checksum
from privacy.statement import PrivacyStatement
from server.counts import noised_sums
from server.exchange import array_record, ask
from server.roster import StudyFailed
from synth.cohort import draw_cohort
from synth.encoding import Bins
from synth.federated import Together, fit_together
from synth.plan import spec_digest
from synth.synthesis import FORMAT, RECORD, ROWS, TEXT, software
from synth.tables import write_rows

if TYPE_CHECKING:
    from flwr.serverapp import Grid
    from flwr.serverapp.strategy import FedAvg

    from server.archive import Archive
    from server.exchange import Arrays
    from server.roster import Roster
    from study.protocol import Study
    from synth.cohort import Cohort
    from synth.federated import Tree
    from synth.generators import Fitted
    from synth.measurement import Measurement

FOLDER = "cohort"


@dataclass(frozen=True, slots=True)
class Made:
    """A generator that was fitted to several hospitals."""

    fitted: Fitted
    hospitals: list[str]  # whose patients are behind it
    pairs: tuple[tuple[str, str], ...]  # of columns that were counted together
    groups: dict[str, int]  # of each column where pairs were counted


class Measuring:
    """Measurements put to the hospitals one after the other; who misses one is asked no more."""

    def __init__(self, grid: Grid, study: Study, roster: Roster) -> None:
        """Begin with every admitted hospital."""
        self._grid, self._study, self.roster = grid, study, roster
        self.rounds: list[dict[str, Any]] = []

    def ask(self, measurement: Measurement) -> Arrays:
        """Put a measurement; return the noisy cells by hospital.

        Raises:
            StudyFailed: fewer hospitals than the quorum answered it.
        """
        started = time.monotonic()
        content = RecordDict({"measurement": array_record(measurement.to_arrays())})
        timeout = self._study.federation.timeout_seconds
        outcome = ask(self._grid, self.roster.nodes, "query.measure", content, timeout_seconds=timeout)
        answers, cells = noised_sums(self.roster.named(outcome)), sum(measurement.sizes)
        sound = {name: sums for name, sums in answers.items() if sums.shape == (cells,) and np.isfinite(sums).all()}
        gone = [
            {"site": self.roster.name(each.node), "kind": each.kind, "reason": each.reason} for each in outcome.absences
        ]
        gone += [
            {"site": name, "kind": "rejected", "reason": "its reply is not the cells that were asked for"}
            for name in self.roster.named(outcome)
            if name not in sound
        ]
        self.roster = self.roster.only(sound)
        enough = len(sound) >= self._study.federation.quorum
        self.rounds.append(
            {
                "round": len(self.rounds) + 1,
                "aggregated": enough,
                "seconds": time.monotonic() - started,
                "tables": len(measurement.tables),
                "cells": cells,
                "sites": {name: {} for name in sound},
                "absences": gone,
            }
        )
        if not enough:
            reasons = "; ".join(sorted({each["reason"] for each in gone}))
            raise StudyFailed(
                f"{len(sound)} hospitals answered measurement {len(self.rounds)} and the quorum is "
                f"{self._study.federation.quorum}: {reasons}"
            )
        return sound


def synthesise_together(grid: Grid, study: Study, strategy: FedAvg, roster: Roster, archive: Archive) -> Cohort:
    """Fit the study's generator to all hospitals and draw their cohort.

    Raises:
        StudyFailed: too few hospitals answered, or hardly a drawn row obeys the specification's rules.
    """
    if study.measures:
        made = _measure(grid, study, roster, archive)
    else:
        from server.duel import train_together

        made = Made(*train_together(grid, study, strategy, roster, archive), (), {})
    rng = np.random.default_rng(study.study.seed)
    with archive.timed("drawing"):
        try:
            cohort = draw_cohort(made.fitted, study.synthesis.spec, rows=study.synthesis.rows, rng=rng)
        except ValueError as fault:
            raise StudyFailed(str(fault)) from None
    archive.note(final=_answer(study, made, cohort))
    return cohort


def _measure(grid: Grid, study: Study, roster: Roster, archive: Archive) -> Made:
    """Add the hospitals' noisy counts and make a tree of them."""
    agreed, spec = study.synthesis, study.synthesis.spec
    terms = Together(spec, Bins(spec, agreed.bins), cast("Tree", agreed.tree), agreed.merge_below)
    noise = max(float(site.plan["noise_multiplier"]) for site in roster.sites)
    measuring = Measuring(grid, study, roster)
    try:
        with archive.timed("measurements"):
            fitted = fit_together(terms, measuring.ask, noise=noise, statement=PrivacyStatement.none(steps=0))
    finally:
        archive.note(rounds=measuring.rounds)
    return Made(
        fitted,
        [site.name for site in measuring.roster.sites],
        tuple((spec.names[edge.parent], spec.names[edge.child]) for edge in fitted.edges),
        {name: int(group.max()) + 1 for name, group in zip(spec.names, fitted.groups, strict=True)},
    )


def keep_cohort(cohort: Cohort, study: Study, archive: Archive) -> None:
    """Write the cohort's rows and their record into the run's directory, when it has been said what they cost.

    The statement is that of the dearest hospital, which holds for every patient behind the rows.

    Raises:
        StudyFailed: a hospital has not said what it cost; nothing is written.
    """
    final, paid = archive.record["final"], archive.record["privacy"]
    if silent := sorted(set(final["hospitals"]) - paid.keys()):
        raise StudyFailed(
            f"{', '.join(silent)} did not say what the cohort cost the patients there, so its rows are not kept"
        )
    statements = {name: paid[name]["statement"] for name in final["hospitals"]}
    dearest = max(statements.values(), key=lambda each: float(each["epsilon"]))
    words = PrivacyStatement(**{**dearest, "not_covered": tuple(dearest["not_covered"])})
    record = {
        "format": FORMAT,
        "generator": {
            "name": study.synthesis.generator,
            "settings": _settings(study),
            "licence": "",
        },
        "seed": study.study.seed,
        "rows": final["rows"],
        "turned_down": final["turned_down"],
        "patient_rows": study.synthesis.patient_rows,
        "specification": final["specification"],
        "plan": study.digest(),
        "run": archive.record["run"],  # also in each hospital's ledger
        "privacy": dearest,
        "statement": str(words),
        "hospitals": statements,
        "software": software(),
    }
    folder = archive.folder / FOLDER
    folder.mkdir()
    write_rows(cohort.rows, folder / ROWS, folder / TEXT)
    text = json.dumps(record | {"files": checksum(folder)}, indent=2, ensure_ascii=False) + "\n"
    (folder / RECORD).write_text(text, encoding="utf-8")


def _settings(study: Study) -> dict[str, Any]:
    """What the generator was told."""
    if study.measures:
        told = study.synthesis
        return {"bins": told.bins, "merge_below": told.merge_below, "tree": told.tree}
    return {
        "batch": study.training.batch_patients,
        "local_epochs": study.training.local_epochs,
        "rounds": study.federation.rounds,
        "learning_rate": study.training.learning_rate,
        "clip_norm": study.privacy.clip_norm,
    }


def _answer(study: Study, made: Made, cohort: Cohort) -> dict[str, Any]:
    spec = study.synthesis.spec
    return {
        "family": "synthesis",
        "generator": study.synthesis.generator,
        "folder": FOLDER,
        "rows": len(cohort.rows),
        "turned_down": cohort.turned_down,
        "columns": [asdict(column) for column in spec.columns],
        "pairs": [list(pair) for pair in made.pairs],
        "groups": made.groups,
        "specification": spec_digest(spec),
        "hospitals": made.hospitals,
    }
