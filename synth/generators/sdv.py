"""SDV's Gaussian copula, CTGAN and TVAE, to be compared with; none of them is private.

The Synthetic Data Vault learns minima, maxima and row positions, and keeps them in what it fits (real rows have been
rebuilt from a saved CTGAN). So its metadata are built from the specification instead of detected, learned bounds are
switched off, the public ones are applied to what is drawn, and nothing fitted is ever saved.

Columns and categories go in as numbered stand-ins ("c0", "3"): no name can upset a foreign parser.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from privacy.statement import PrivacyStatement
from synth.admission import admit, refuse_private
from synth.columns import BOUNDED
from synth.encoding import column_at, column_places
from synth.generators.seeding import lent_randomness

if TYPE_CHECKING:
    import pandas as pd

    from synth.account import Account
    from synth.spec import TableSpec

LICENCE = (
    "SDV, CTGAN, RDT and Copulas are licensed under BUSL-1.1: no commercial synthetic-data service for third parties; "
    "each version becomes MIT after four years"
)
_TABLE = "t"
_MISSING = "missing"  # the stand-in of a missing category


@dataclass(frozen=True, slots=True)
class Copula:
    """The Gaussian copula; it has no settings here."""

    @property
    def licence(self) -> str:
        """That of SDV."""
        return LICENCE

    def fit(
        self, table: pd.DataFrame, spec: TableSpec, *, rng: np.random.Generator, privacy: Account | None
    ) -> FittedSdv:
        """Fits marginal distributions and correlations: see `synth.generators.Generator`."""
        return _fit("GaussianCopulaSynthesizer", {}, _Request(table, spec, privacy), rng)


@dataclass(frozen=True, slots=True)
class Ctgan:
    """CTGAN.

    Attributes:
        epochs: passes over the table.
        batch: rows of a step, a multiple of 10.
    """

    epochs: int = 300
    batch: int = 500

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 10 or self.batch % 10:
            raise ValueError(f"ctgan needs epochs >= 1 and a batch that is a multiple of 10, got {self}")

    @property
    def licence(self) -> str:
        """That of SDV."""
        return LICENCE

    def fit(
        self, table: pd.DataFrame, spec: TableSpec, *, rng: np.random.Generator, privacy: Account | None
    ) -> FittedSdv:
        """Trains a conditional GAN: see `synth.generators.Generator`."""
        settings = {"epochs": self.epochs, "batch_size": self.batch, "enable_gpu": False}
        return _fit("CTGANSynthesizer", settings, _Request(table, spec, privacy), rng)


@dataclass(frozen=True, slots=True)
class Tvae:
    """The variational autoencoder for tables.

    Attributes:
        epochs: passes over the table.
        batch: rows of a step.
    """

    epochs: int = 300
    batch: int = 500

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1:
            raise ValueError(f"tvae needs epochs >= 1 and a batch >= 1, got {self}")

    @property
    def licence(self) -> str:
        """That of SDV."""
        return LICENCE

    def fit(
        self, table: pd.DataFrame, spec: TableSpec, *, rng: np.random.Generator, privacy: Account | None
    ) -> FittedSdv:
        """Trains an autoencoder: see `synth.generators.Generator`."""
        settings = {"epochs": self.epochs, "batch_size": self.batch, "enable_gpu": False}
        return _fit("TVAESynthesizer", settings, _Request(table, spec, privacy), rng)


@dataclass(frozen=True, slots=True)
class FittedSdv:
    """A fitted synthesizer; it holds statistics of real rows, so it is never saved.

    Attributes:
        spec: of the table.
        synthesizer: SDV's object.
    """

    spec: TableSpec
    synthesizer: Any

    @property
    def statement(self) -> PrivacyStatement:
        """That there is no guarantee."""
        return PrivacyStatement.none(steps=0)

    def sample(self, rows: int, rng: np.random.Generator) -> pd.DataFrame:
        """Draws rows and applies the public bounds: see `synth.generators.Fitted`."""
        with lent_randomness(rng) as seed, their_warnings():
            self.synthesizer.reset_sampling()
            self.synthesizer._set_random_state(seed)  # noqa: SLF001 - else every first sample is the same
            drawn = self.synthesizer.sample(num_rows=rows)
        return from_stand_ins(drawn[_TABLE] if isinstance(drawn, dict) else drawn, self.spec)


@dataclass(frozen=True, slots=True)
class _Request:
    """What was asked to be fitted."""

    table: pd.DataFrame
    spec: TableSpec
    privacy: Account | None


def _fit(name: str, settings: dict[str, Any], request: _Request, rng: np.random.Generator) -> FittedSdv:
    """Admits the table and fits one of SDV's synthesizers to stand-ins."""
    refuse_private(name, request.privacy)
    rows = admit(request.table, request.spec).rows
    with lent_randomness(rng), their_warnings():
        try:
            from sdv import single_table
            from sdv.metadata import Metadata
        except ImportError as error:
            raise ValueError(f"{name} needs SDV: install wardround[synth]") from error
        columns = {f"c{i}": metadata_of(column.kind) for i, column in enumerate(request.spec.columns)}
        metadata = Metadata.load_from_dict({"tables": {_TABLE: {"columns": columns}}, "relationships": []})
        synthesizer = getattr(single_table, name)(
            metadata, enforce_min_max_values=False, enforce_rounding=False, **settings
        )
        synthesizer.fit({_TABLE: stand_ins(rows, request.spec)})
    return FittedSdv(request.spec, synthesizer)


def metadata_of(kind: str) -> dict[str, str]:
    """What SDV is told of a column."""
    return {"sdtype": "numerical"} if kind in BOUNDED else {"sdtype": "categorical"}


def stand_ins(rows: pd.DataFrame, spec: TableSpec) -> pd.DataFrame:
    """Places among the allowed values, as numbers for bounded columns and as texts for the others."""
    import pandas as pd

    cells = {}
    for i, column in enumerate(spec.columns):
        places, missing = column_places(rows[column.name], column)
        bounded = column.kind in BOUNDED
        cells[f"c{i}"] = np.where(missing, np.nan if bounded else _MISSING, places if bounded else places.astype(str))
    return pd.DataFrame(cells)


def from_stand_ins(drawn: pd.DataFrame, spec: TableSpec) -> pd.DataFrame:
    """The typed table of drawn stand-ins, numbers moved into the public bounds."""
    import pandas as pd

    cells = {}
    index = pd.RangeIndex(len(drawn))
    for i, column in enumerate(spec.columns):
        values = drawn[f"c{i}"]
        missing = (values.isna() if column.kind in BOUNDED else values.isin([_MISSING])).to_numpy(dtype=bool)
        numbers = pd.to_numeric(values.where(~missing, 0)).to_numpy(dtype=np.float64)
        places = np.clip(np.rint(numbers), 0, column.levels - 1).astype(np.int64)
        cells[column.name] = column_at(places, missing, column, index)
    return pd.DataFrame(cells)


def their_warnings() -> warnings.catch_warnings:
    """Silences what SDV warns of: advice to save metadata, to which ours need not listen."""
    return warnings.catch_warnings(action="ignore")
