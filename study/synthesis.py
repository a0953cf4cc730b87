"""The section of a study that makes rows: its keys, and the specification among them, read."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from study.limits import Choice, Count, NotNegative, ProtocolError, Range

if TYPE_CHECKING:
    from synth.spec import TableSpec


@dataclass(frozen=True, slots=True)
class Synthesis:
    """Which rows are made of the hospitals' tables; only task.name = "synthesis" reads it."""

    generator: Annotated[str, Choice(("marginals", "dp-gan"))]
    specification: str  # the confirmed specification of every hospital's table, as TOML
    rows: Count  # of the cohort
    patient_rows: Count  # rows of one patient that count, each one over this number
    tree: Annotated[str, Choice(("measured", "target"))]  # of the marginals: see `synth.federated`
    bins: Annotated[int, Range(2, 1024)]  # of a bounded column with more values
    merge_below: NotNegative  # codes with less than so many deviations of noise are merged

    @property
    def spec(self) -> TableSpec:
        """The specification, read.

        Raises:
            ProtocolError: it is no TOML, no specification, or not confirmed.
        """
        return _specification(self.specification)


@functools.lru_cache(maxsize=16)
def _specification(text: str) -> TableSpec:
    from synth.spec import SpecError, spec_from

    try:
        spec = spec_from(tomllib.loads(text))
        spec.require_confirmed()
    except tomllib.TOMLDecodeError as fault:
        raise ProtocolError(
            f"synthesis.specification is no TOML ({fault}): a study file may name spec.toml, whose text is then read"
        ) from None
    except SpecError as fault:
        raise ProtocolError(f"synthesis.specification: {fault}") from None
    return spec
