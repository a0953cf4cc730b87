"""SDV's PAR, to be compared with: it draws patients' attributes by a copula and rows one after another given them.

What is said in `synth.generators.sdv` of stand-ins, bounds and licence holds here too. It is not private.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from privacy.statement import PrivacyStatement
from synth.admission import refuse_private
from synth.generators.sdv import LICENCE, from_stand_ins, metadata_of, stand_ins, their_warnings
from synth.generators.seeding import lent_randomness
from synth.related_tables import admit_tables

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from synth.account import Account
    from synth.relations import NamedTable, RelatedSpec
    from synth.spec import TableSpec

_TABLE, _KEY = "t", "k"


@dataclass(frozen=True, slots=True)
class Par:
    """PAR.

    Attributes:
        epochs: passes over the patients.
    """

    epochs: int = 128

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"par needs epochs >= 1, got {self.epochs}")

    @property
    def licence(self) -> str:
        """That of SDV, which DeepEcho shares."""
        return LICENCE

    def fit(
        self,
        tables: Mapping[str, pd.DataFrame],
        spec: RelatedSpec,
        *,
        rng: np.random.Generator,
        privacy: Account | None,
    ) -> FittedPar:
        """Trains on patients with one series: see `synth.generators.RelatedGenerator`."""
        import pandas as pd

        refuse_private("par", privacy)
        series = spec.one_series("par")
        admitted = admit_tables(tables, spec)
        own, hourly = spec.patients.spec, _hourly(series)
        owner = admitted.owners[series.name]
        rows = stand_ins(admitted.tables[series.name], hourly).add_prefix("s")
        context = stand_ins(admitted.patients, own).iloc[owner].reset_index(drop=True).add_prefix("p")
        frame = pd.concat([pd.Series(owner.astype(str), name=_KEY), context, rows], axis=1)
        columns: dict[str, Any] = {_KEY: {"sdtype": "id"}}
        columns |= {f"pc{i}": metadata_of(column.kind) for i, column in enumerate(own.columns)}
        columns |= {f"sc{i}": metadata_of(column.kind) for i, column in enumerate(hourly.columns)}
        with lent_randomness(rng), their_warnings():
            try:
                from sdv.metadata import Metadata
                from sdv.sequential import PARSynthesizer
            except ImportError as error:
                raise ValueError("par needs SDV: install wardround[synth]") from error
            metadata = Metadata.load_from_dict(
                {
                    "tables": {_TABLE: {"columns": columns, "sequence_key": _KEY}},
                    "relationships": [],
                }
            )
            synthesizer = PARSynthesizer(
                metadata,
                enforce_min_max_values=False,
                enforce_rounding=False,
                context_columns=[name for name in columns if name.startswith("p")],
                epochs=self.epochs,
                cuda=False,
            )
            synthesizer.fit({_TABLE: frame})
        return FittedPar(spec, synthesizer)


@dataclass(frozen=True, slots=True)
class FittedPar:
    """A fitted synthesizer; it holds statistics of real rows, so it is never saved.

    Attributes:
        spec: of the tables.
        synthesizer: SDV's object.
    """

    spec: RelatedSpec
    synthesizer: Any

    @property
    def statement(self) -> PrivacyStatement:
        """That there is no guarantee."""
        return PrivacyStatement.none(steps=0)

    def sample(self, patients: int, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
        """Draws patients and applies the public bounds: see `synth.generators.FittedRelated`."""
        import pandas as pd

        with lent_randomness(rng), their_warnings():
            drawn = self.synthesizer.sample_sequences(num_sequences=patients)[_TABLE]
        own, series = self.spec.patients, self.spec.tables[1]
        owner = pd.factorize(drawn[_KEY])[0]
        step = drawn.groupby(owner).cumcount().to_numpy()
        kept = step < series.most_rows
        drawn, owner, step = drawn[kept].reset_index(drop=True), owner[kept], step[kept]
        first = drawn[step == 0].reset_index(drop=True)
        time = series.spec.by_name[series.order]
        rows = from_stand_ins(drawn.rename(columns=lambda name: name.removeprefix("s")), _hourly(series))
        at = time.bottom + series.every * step
        rows[series.order] = pd.Series(at).astype("Int64" if time.kind == "integer" else "float64")
        patients_own = from_stand_ins(first.rename(columns=lambda name: name.removeprefix("p")), own.spec)
        patients_own.insert(0, own.spec.key, np.arange(1, len(first) + 1))
        rows = rows[list(series.spec.names)]
        rows.insert(0, series.spec.key, owner + 1)
        return {own.name: patients_own, series.name: rows}


def _hourly(series: NamedTable) -> TableSpec:
    """The series without its time, which is counted."""
    return replace(series.spec, columns=series.measured, rules=())
