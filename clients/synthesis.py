"""Counting a table for a cohort of several hospitals: the only thing that leaves is noisy sums, each paid for before.

The hospital does not follow the coordinator's plan: it answers as many measurements as it has reserved, whatever they
ask, with noise for as many tables as they have.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from clients.replies import put_arrays, put_facts
from study.protocol import ProtocolError
from synth.encoding import Bins
from synth.federated import most_tables
from synth.hospital_table import admit_hospital
from synth.measurement import Measurement

if TYPE_CHECKING:
    from flwr.app import RecordDict

    from clients.visit import Visit
    from synth.admission import Admitted


class Synthesis:
    """The answers of one visit to a study that has no model."""

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
            ProtocolError: what is asked is no measurement of the study's table; nothing was charged.
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

    @property
    def _bins(self) -> Bins:
        agreed = self._visit.study.synthesis
        return Bins(agreed.spec, agreed.bins)

    def _asked(self) -> Measurement:
        study = self._visit.study
        try:
            asked = Measurement.from_arrays(self._visit.arrays("measurement"), self._bins)
        except (KeyError, ValueError) as fault:
            raise ProtocolError(f"what is asked is no measurement: {fault}") from None
        if len(asked.tables) > most_tables(study.synthesis.spec, study.synthesis.tree):
            raise ProtocolError("the measurement has more tables than the study agreed on")
        return asked
