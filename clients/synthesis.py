"""A table's part in a cohort of several hospitals: noisy sums, or a critic trained by noisy steps, each paid before.

The hospital does not follow the coordinator's plan: it answers as many measurements as it has reserved, whatever they
ask, with noise for as many tables as they have, and trains a critic for as many rounds.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from flwr.app import MetricRecord

from clients import admission
from clients.replies import put_arrays, put_facts
from study.protocol import ProtocolError
from synth.encoding import Bins, Encoder
from synth.federated import most_tables
from synth.hospital_table import admit_hospital
from synth.measurement import Measurement

if TYPE_CHECKING:
    from flwr.app import RecordDict

    from clients.visit import Visit
    from synth.admission import Admitted


class Synthesis:
    """The answers of one visit to a study that makes rows."""

    def __init__(self, visit: Visit) -> None:
        """Take the visit; nothing is read before it is asked for."""
        self._visit = visit

    @cached_property
    def table(self) -> Admitted:
        """The hospital's rows, within the specification."""
        return admit_hospital(self._visit.hospital.path, self._visit.study.synthesis.spec)

    def put_offer(self, content: RecordDict) -> None:
        """Say that the table keeps to the specification, and to which."""
        from synth.plan import spec_digest

        spec = self._visit.study.synthesis.spec
        assert len(self.table.rows.columns) == len(spec.columns)
        put_facts(content, features=len(spec.columns), encoder=f"specification {spec_digest(spec)[:12]}")

    def put_measurement(self, content: RecordDict) -> None:
        """Add the noisy counts of what is asked, charged before a patient is counted.

        Raises:
            ProtocolError: what is asked is no measurement of the study's table, or its generator is not made of counts;
                nothing was charged.
            ValueError: the run has charged all that it reserved; nothing was counted.
        """
        from privacy.ledger import Ledger
        from synth.account import Account, Allowance, Spending
        from synth.counts import Patients

        visit, asked = self._visit, self._asked()
        study, planned = visit.study, visit.plan
        event = planned.event(rounds=study.charges)
        assert event is not None  # a synthesis without differential privacy is no study
        allowance = Allowance(
            epsilon=study.privacy.epsilon,
            delta=study.privacy.delta,
            ceiling=visit.hospital.policy.epsilon_ceiling,
            patient_rows=study.synthesis.patient_rows,
        )
        with Ledger.open(visit.hospital.ledger) as ledger:
            known = ledger.reservation(visit.run)
            number = 0 if known is None else known.charged_steps  # so that no two measurements share reproducible noise
            account = Account(allowance, ledger, visit.run, study.digest(), visit.noise(f"measurement {number}"))
            rng = np.random.default_rng(study.study.seed)
            patients = Patients.of(self.table, self._bins, rng=rng, privacy=account)
            release = asked.count(patients, Spending(account, event))
        put_arrays(content, "noised", {"sums": np.concatenate(release.tables)})

    def put_round(self, content: RecordDict) -> None:
        """Train the critic that came against the generator that came, for a round that is charged before, and add both.

        Raises:
            ProtocolError: the study's generator has no critic, or what came is not the two; nothing was charged.
            ValueError: the run has charged all that it reserved; nothing was trained.
        """
        from synth.generators.adversary import CriticPlan, Duel, critic_optimizer, patients_rows, train_critic

        visit = self._visit
        study, planned = visit.study, visit.plan
        if study.measures:
            raise ProtocolError("the study's generator is made of counts: it has no critic to train")
        encoder = Encoder(study.synthesis.spec)
        duel = Duel(encoder, seed=study.study.seed)
        try:
            duel.load(visit.arrays("arrays"))
        except (KeyError, ValueError) as fault:
            raise ProtocolError(f"what came is no critic with its generator: {fault}") from None
        rows = patients_rows(encoder.encode(self.table.rows), self.table.owner)
        assert planned.noise_multiplier is not None  # a synthesis without differential privacy is no study
        plan = CriticPlan(planned.sampling_rate, planned.patients, planned.noise_multiplier, study.privacy.clip_norm)
        admission.charge(visit.hospital, planned, run=visit.run)
        report = train_critic(
            duel,
            rows,
            plan,
            optimizer=critic_optimizer(duel, learning_rate=study.training.learning_rate),
            steps=planned.steps,
            noise=visit.noise(str(visit.round)),
            rng=np.random.default_rng([study.study.seed, visit.round, *visit.hospital.name.encode()]),
        )
        put_arrays(content, "arrays", duel.arrays())
        content["metrics"] = MetricRecord({"patients": planned.patients, "steps": report.steps})

    @property
    def _bins(self) -> Bins:
        agreed = self._visit.study.synthesis
        return Bins(agreed.spec, agreed.bins)

    def _asked(self) -> Measurement:
        study = self._visit.study
        if not study.measures:
            raise ProtocolError("the study's generator is not made of counts: nothing is measured")
        try:
            asked = Measurement.from_arrays(self._visit.arrays("measurement"), self._bins)
        except (KeyError, ValueError) as fault:
            raise ProtocolError(f"what is asked is no measurement: {fault}") from None
        if len(asked.tables) > most_tables(study.synthesis.spec, study.synthesis.tree):
            raise ProtocolError("the measurement has more tables than the study agreed on")
        return asked
