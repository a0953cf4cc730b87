"""The hospitals of a network's folder that a study can ask, for whoever simulates it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from study.protocol import Study


def network_hospitals(study: Study, network: Path) -> list[Path]:
    """List the hospitals of a network in natural order: those with records, or for a synthesis those with a table.

    Raises:
        clinical.profile.ProfileError: there is none, or half a one.
    """
    from clinical.networks import list_hospitals

    if not study.synthesises:
        return list_hospitals(network)
    from synth.hospital_table import FILES, has_table

    return list_hospitals(network, is_hospital=has_table, sign=" or ".join(FILES))
