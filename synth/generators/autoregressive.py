"""A row column by column, and a patient's visits one by one: small networks over public codes; not private.

Columns are cut at public places alone (`synth.encoding.Bins`), so what is fitted holds no extreme of any patient.
Patients are drawn first, then each further table given the patient; two further tables of one patient do not know of
each other. A tenth of the patients does not train and says when to stop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from privacy.statement import PrivacyStatement
from synth.admission import admit, refuse_private
from synth.encoding import Bins
from synth.generators.row_training import Settings, train
from synth.generators.seeding import lent_randomness
from synth.related_tables import admit_tables
from synth.spec import TableSpec
from synth.tables import as_numbers

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from synth.account import Account
    from synth.generators.row_networks import Coded, RowNetwork, VisitNetwork
    from synth.relations import NamedTable, RelatedSpec

    Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Autoregressive(Settings):
    """Of one table."""

    def fit(
        self, table: pd.DataFrame, spec: TableSpec, *, rng: np.random.Generator, privacy: Account | None
    ) -> FittedRows:
        """Trains on one table: see `synth.generators.Generator`."""
        refuse_private("autoregressive", privacy)
        rows = admit(table, spec).rows
        bins = Bins(spec, self.bins)
        with lent_randomness(rng) as seed:
            return FittedRows(bins, _fit_rows(bins, rows, self, seed))


@dataclass(frozen=True, slots=True)
class AutoregressiveTables(Settings):
    """Of several tables."""

    def fit(
        self,
        tables: Mapping[str, pd.DataFrame],
        spec: RelatedSpec,
        *,
        rng: np.random.Generator,
        privacy: Account | None,
    ) -> FittedTables:
        """Trains on patients and their visits or series: see `synth.generators.RelatedGenerator`."""
        refuse_private("autoregressive", privacy)
        admitted = admit_tables(tables, spec)
        bins = Bins(spec.patients.spec, self.bins)
        patients = bins.encode(admitted.patients)
        with lent_randomness(rng) as seed:
            own = FittedRows(bins, _fit_rows(bins, admitted.patients, self, seed))
            further = []
            for table in spec.tables[1:]:
                drawn = Bins(_drawn(table), self.bins)
                rows = admitted.tables[table.name]
                codes, lengths = _stacked(drawn.encode(rows), admitted.owners[table.name], len(patients), table)
                network = _visits(bins, drawn, table, self)
                tensors = tuple(_tensor(part) for part in (patients, codes, lengths))
                train(network, tensors, network.losses, self, seed)
                further.append(FittedVisits(table, drawn, network))
        return FittedTables(spec, own, tuple(further))


@dataclass(frozen=True, slots=True)
class FittedRows:
    """A trained network of one table."""

    bins: Bins
    network: RowNetwork

    @property
    def statement(self) -> PrivacyStatement:
        """That there is no guarantee."""
        return PrivacyStatement.none(steps=0)

    def sample(self, rows: int, rng: np.random.Generator) -> pd.DataFrame:
        """Draws rows: see `synth.generators.Fitted`."""
        return self.bins.decode(self.draw(rows, _seeded(rng)).numpy(), rng)

    def draw(self, rows: int, rng: torch.Generator) -> Tensor:
        """Draws codes, int64 [rows, K]."""
        import torch

        with torch.no_grad():
            return self.network.draw(torch.zeros(rows, self.network.begins.shape[1]), rng)


@dataclass(frozen=True, slots=True)
class FittedVisits:
    """A trained network of one further table."""

    table: NamedTable
    bins: Bins
    network: VisitNetwork

    def sample(self, patients: Tensor, rng: np.random.Generator) -> pd.DataFrame:
        """Draws the rows of patients [N, Kp]: key, numbered from 1, and columns, in the order of the table's order."""
        import pandas as pd
        import torch

        with torch.no_grad():
            codes, lengths = (part.numpy() for part in self.network.draw(patients, _seeded(rng)))
        owner, place = np.nonzero(np.arange(codes.shape[1]) < lengths[:, None])
        rows = self.bins.decode(codes[owner, place], rng)
        spec = self.table.spec
        if self.table.is_series:
            time = spec.by_name[self.table.order]
            at = pd.Series(time.bottom + self.table.every * place)
            rows[time.name] = at.astype("Int64" if time.kind == "integer" else "float64")
        rows = rows[list(spec.names)]
        rows.insert(0, spec.key, owner + 1)
        if self.table.order:
            order = np.lexsort((as_numbers(rows[self.table.order]).to_numpy(), owner))
            rows = rows.iloc[order].reset_index(drop=True)
        return rows


@dataclass(frozen=True, slots=True)
class FittedTables:
    """Trained networks of patients and their rows."""

    spec: RelatedSpec
    own: FittedRows
    further: tuple[FittedVisits, ...]

    @property
    def statement(self) -> PrivacyStatement:
        """That there is no guarantee."""
        return PrivacyStatement.none(steps=0)

    def sample(self, patients: int, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
        """Draws patients: see `synth.generators.FittedRelated`."""
        codes = self.own.draw(patients, _seeded(rng))
        first = self.own.bins.decode(codes.numpy(), rng)
        first.insert(0, self.spec.key, np.arange(1, patients + 1))
        return {self.spec.patients.name: first} | {each.table.name: each.sample(codes, rng) for each in self.further}


def _drawn(table: NamedTable) -> TableSpec:
    """The columns of a further table that are drawn: the time of a series is counted instead."""
    return TableSpec(table.measured if table.is_series else table.spec.columns)


def _fit_rows(bins: Bins, rows: pd.DataFrame, settings: Settings, seed: int) -> RowNetwork:
    import torch

    from synth.generators.row_networks import RowNetwork

    network = RowNetwork(_coded(bins), settings.hidden)

    def losses(codes: Tensor) -> Tensor:
        return network.losses(codes, torch.zeros(len(codes), settings.hidden)).sum(1)

    train(network, (_tensor(bins.encode(rows)),), losses, settings, seed)
    return network


def _visits(patients: Bins, rows: Bins, table: NamedTable, settings: Settings) -> VisitNetwork:
    from synth.generators.row_networks import VisitNetwork

    return VisitNetwork(
        _coded(patients), _coded(rows), least=int(table.is_series), most=table.most_rows, hidden=settings.hidden
    )


def _coded(bins: Bins) -> list[Coded]:
    """What the networks are told of columns; a code that says missing stands in no order."""
    from synth.generators.row_networks import Coded

    named = ("categorical", "boolean")
    return [
        Coded(size, 0 if column.kind in named else size - column.missing)
        for size, column in zip(bins.sizes, bins.spec.columns, strict=True)
    ]


def _stacked(codes: Codes, owner: Codes, patients: int, table: NamedTable) -> tuple[Codes, Codes]:
    """Codes of each patient's rows in order, int64 [N, R, K], and how many there are, [N]."""
    lengths = np.bincount(owner, minlength=patients)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    stacked = np.zeros((patients, table.most_rows, codes.shape[1]), dtype=np.int64)
    stacked[owner, place] = codes
    return stacked, lengths


def _seeded(rng: np.random.Generator) -> torch.Generator:
    import torch

    return torch.Generator().manual_seed(int(rng.integers(2**62)))


def _tensor(codes: Codes) -> Tensor:
    import torch

    return torch.from_numpy(codes)
