"""Generators: what is fitted to a table and then draws rows that belong to nobody. This table names them.

A generator is a frozen set of settings. Its `fit` gives a frozen state that draws any number of rows; that state may
hold anything of the table and is never kept: what leaves a fit is rows. A fit that takes long may write to the site's
own folder what it needs to go on, for as long as it runs.
"""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    import pandas as pd

    from privacy.statement import PrivacyStatement
    from synth.account import Account
    from synth.relations import RelatedSpec
    from synth.spec import TableSpec

# of one table: name → the module under synth.generators and the class
GENERATORS = {
    "marginals": ("marginals", "Marginals"),
    "independent": ("independent", "Independent"),
    "gan": ("gan", "Gan"),
    "bt-gan": ("bt_gan", "BtGan"),
    "dp-gan": ("dp_gan", "DpGan"),
    "autoregressive": ("autoregressive", "Autoregressive"),
    "copula": ("sdv", "Copula"),
    "ctgan": ("sdv", "Ctgan"),
    "tvae": ("sdv", "Tvae"),
}
# of several tables
RELATED = {
    "autoregressive": ("autoregressive", "AutoregressiveTables"),
    "health-gym": ("health_gym", "HealthGym"),
    "par": ("sdv_par", "Par"),
}


class Fitted(Protocol):
    """A generator after its fit."""

    @property
    def statement(self) -> PrivacyStatement:
        """What may be said of the patients it was fitted to."""

    def sample(self, rows: int, rng: np.random.Generator) -> pd.DataFrame:
        """Draws rows: a typed table (see `synth.tables`) within the specification's kinds, categories and bounds.

        Args:
            rows: how many, >= 1.
            rng: decides which.
        """


class Generator(Protocol):
    """A generator's settings."""

    @property
    def licence(self) -> str:
        """What a user has to know before using it; "" where Wardround's own licence holds."""

    def fit(self, table: pd.DataFrame, spec: TableSpec, *, rng: np.random.Generator, privacy: Account | None) -> Fitted:
        """Learns a table, which it leaves as it is.

        Args:
            table: as read by `synth.tables.read_table`, or typed; one row for each visit.
            spec: confirmed.
            rng: decides everything but the noise.
            privacy: pays for a private fit; None fits without differential privacy.

        Raises:
            ValueError: the table contradicts the specification, the specification is not confirmed, or the generator
                cannot be fitted privately and was asked to.
            privacy.ledger.BudgetExhausted: the fit would pass the ceiling; nothing was worked out from the table.
        """


@runtime_checkable
class Resumable(Protocol):
    """A generator whose fit takes long, and goes on where it was cut off."""

    def fit_kept(
        self,
        table: pd.DataFrame,
        spec: TableSpec,
        *,
        rng: np.random.Generator,
        privacy: Account | None,
        file: Path | None,
    ) -> Fitted:
        """Learns a table as `Generator.fit` does, and ends the same however often it was cut off.

        Args:
            table: as for `Generator.fit`, and so are the others.
            spec: of the table.
            rng: decides everything.
            privacy: as for `Generator.fit`.
            file: where what is needed to go on is kept while the fit runs; gone when it ends.

        Raises:
            ValueError: as `Generator.fit`, or the file belongs to another fit.
        """


class FittedRelated(Protocol):
    """A generator of several tables after its fit."""

    @property
    def statement(self) -> PrivacyStatement:
        """What may be said of the patients it was fitted to."""

    def sample(self, patients: int, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
        """Draws patients: typed tables by name, each with the key, numbered from 1, and the specification's columns.

        Args:
            patients: how many, >= 1.
            rng: decides which.
        """


class RelatedGenerator(Protocol):
    """The settings of a generator of several tables."""

    @property
    def licence(self) -> str:
        """As `Generator.licence`."""

    def fit(
        self,
        tables: Mapping[str, pd.DataFrame],
        spec: RelatedSpec,
        *,
        rng: np.random.Generator,
        privacy: Account | None,
    ) -> FittedRelated:
        """Learns tables, which it leaves as they are.

        Args:
            tables: by name, as read by `synth.related_tables.read_tables`, or typed with the key.
            spec: confirmed.
            rng: decides everything but the noise.
            privacy: as `Generator.fit`.

        Raises:
            ValueError: as `Generator.fit`, or the generator takes other tables.
        """


def make_generator(name: str, settings: Mapping[str, Any]) -> Generator:
    """Returns a generator of one table by name.

    Args:
        name: one of `GENERATORS`.
        settings: its settings, spelt as in a TOML file (with dashes); what is left out keeps the class's default.

    Raises:
        ValueError: the name or a setting is unknown, or a setting's type is another.
    """
    generator: Generator = _made(GENERATORS, name, settings)
    return generator


def make_related(name: str, settings: Mapping[str, Any]) -> RelatedGenerator:
    """Returns a generator of several tables by name, one of `RELATED`; otherwise as `make_generator`."""
    generator: RelatedGenerator = _made(RELATED, name, settings)
    return generator


def _made(known_generators: Mapping[str, tuple[str, str]], name: str, settings: Mapping[str, Any]) -> Any:
    if name not in known_generators:
        several = " of several tables" if known_generators is RELATED else ""
        raise ValueError(f"there is no generator {name!r}{several}: known are {', '.join(known_generators)}")
    module, kind = known_generators[name]
    made = getattr(import_module(f"synth.generators.{module}"), kind)
    known = {field.name.replace("_", "-"): field for field in fields(made)}
    for key, value in settings.items():
        if key not in known:
            raise ValueError(f"generator {name!r} has no setting {key!r}: known are {', '.join(known) or 'none'}")
        if type(value) is not type(known[key].default):
            raise ValueError(
                f"generator {name!r}: {key} must be of the kind of its default {known[key].default!r}, got {value!r}"
            )
    return made(**{known[key].name: value for key, value in settings.items()})
