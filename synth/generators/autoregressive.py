"""A row column by column, and a patient's visits one by one: small networks over public codes; not private.

Columns are cut at public places alone (`synth.encoding.Bins`), so what is fitted holds no extreme of any patient.
Patients are drawn first, then each further table given the patient; two further tables of one patient do not know of
each other. A tenth of the patients does not train and says when to stop.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clinical.progress import show_progress
from privacy.statement import PrivacyStatement
from synth.admission import admit, refuse_private
from synth.encoding import Bins
from synth.generators.seeding import lent_randomness
from synth.related_tables import admit_tables
from synth.spec import TableSpec
from synth.tables import as_numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd
    import torch
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from synth.account import Account
    from synth.generators.row_networks import Coded, RowNetwork, VisitNetwork
    from synth.relations import NamedTable, RelatedSpec

    Codes = NDArray[np.int64]

_HELD = 0.1  # of the rows or patients, which do not train
_DECAY = 1e-4


@dataclass(frozen=True, slots=True)
class Settings:
    """How the networks are made and trained.

    Attributes:
        bins: intervals of a column with more values than that.
        hidden: width of the networks.
        epochs: passes over the table, the most.
        batch: rows, or patients with their rows, a step.
        rate: step size.
        patience: passes without progress on who does not train, before training ends.
    """

    bins: int = 64
    hidden: int = 128
    epochs: int = 200
    batch: int = 128
    rate: float = 0.002
    patience: int = 10

    def __post_init__(self) -> None:
        if min(self.hidden, self.epochs, self.batch, self.patience) < 1 or self.rate <= 0:
            raise ValueError(f"autoregressive needs positive settings, got {self}")

    @property
    def licence(self) -> str:
        """Wardround's own."""
        return ""


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
                _train(network, tensors, network.losses, self, seed)
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

    _train(network, (_tensor(bins.encode(rows)),), losses, settings, seed)
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


def _train(
    network: nn.Module,
    parts: tuple[Tensor, ...],
    losses: Callable[..., Tensor],
    settings: Settings,
    seed: int,
) -> None:
    """Trains on nine tenths until the last tenth is not better told for a while; keeps the best weights."""
    import torch

    rng = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(parts[0]), generator=rng)
    held = order[: max(1, round(_HELD * len(order)))]
    trained = order[len(held) :]
    adam = torch.optim.AdamW(network.parameters(), lr=settings.rate, weight_decay=_DECAY)
    best, least, since = deepcopy(network.state_dict()), float("inf"), 0
    with show_progress("autoregressive", total=settings.epochs) as told:
        for _ in range(settings.epochs):
            shuffled = trained[torch.randperm(len(trained), generator=rng)]
            for rows in shuffled.split(settings.batch):
                adam.zero_grad()
                losses(*(part[rows] for part in parts)).mean().backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
                adam.step()
            with torch.no_grad():
                found = [losses(*(part[rows] for part in parts)).sum() for rows in held.split(settings.batch)]
            loss = float(torch.stack(found).sum()) / len(held)
            told(1)
            since += 1
            if loss < least:
                best, least, since = deepcopy(network.state_dict()), loss, 0
            if since >= settings.patience:
                break
    network.load_state_dict(best)


def _seeded(rng: np.random.Generator) -> torch.Generator:
    import torch

    return torch.Generator().manual_seed(int(rng.integers(2**62)))


def _tensor(codes: Codes) -> Tensor:
    import torch

    return torch.from_numpy(codes)
