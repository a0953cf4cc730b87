"""Write a network of simulated hospitals, each as a directory in the profile of `clinical.events`."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from clinical import codes
from clinical.events import EVENT_SCHEMA, PREFIX_OF_SYSTEM, HospitalWriter, Manifest
from clinical.partition import split_hospital
from clinical.simulation.character import HospitalCharacter, draw_character
from clinical.simulation.medicine import Medicine, load_medicine
from clinical.simulation.rows import PatientRows

_FEWEST_PATIENTS = 20
_GUARANTEED = 10
_BLOCK = 250
_ID_STRIDE = 10_000_000
_DIAGNOSES: tuple[codes.System, codes.System] = ("ICD10CM", "ICD9CM")
_PROCEDURES: tuple[codes.System, codes.System] = ("ICD10PCS", "ICD9PROC")

Progress = Callable[[int, int], None]
"""Called with (patients written, patients asked for)."""


def simulate_network(
    out: Path, *, hospitals: int, patients: int, seed: int, progress: Progress | None = None
) -> list[Manifest]:
    """Simulate `hospitals` hospitals that differ in size, case mix, note style and missingness, and write them.

    The first hospital is the largest (sizes fall as H : H-1 : ... : 1). With two or more, the last codes in ICD-9.

    Args:
        out: folder that receives hospital-1 ... hospital-H.
        hospitals: H, at least 1.
        patients: N over the whole network, at least 20 H.
        seed: at least 0; the same seed writes the same bytes.
        progress: called after every block of patients.

    Returns:
        The manifests, in the order of the hospitals.

    Raises:
        ValueError: an argument is out of range.
        ProfileError: a hospital's folder already holds something.

    Guarantee: no patient identifier occurs in two hospitals; a hospital is complete on disk or absent.
    """
    _check_arguments(hospitals=hospitals, patients=patients, seed=seed)
    medicine = load_medicine()
    done = 0
    manifests = []
    for number, size in enumerate(hospital_sizes(hospitals=hospitals, patients=patients)):
        rng = np.random.default_rng([seed, number])
        character = draw_character(medicine, rng, number=number, codes_icd9=0 < number == hospitals - 1)
        folder = Path(out) / f"hospital-{number + 1}"
        with HospitalWriter(
            folder, site_id=folder.name, source=f"simulation with seed {seed}", code_titles=_titles(medicine, character)
        ) as writer:
            drawn = PatientRows(medicine, character, rng)
            for block in _blocks(range(number * _ID_STRIDE + 1, number * _ID_STRIDE + size + 1)):
                writer.append(_table(drawn, block))
                done += len(block)
                if progress:
                    progress(done, patients)
        split_hospital(folder, seed=seed + number)
        manifests.append(writer.manifest)
    return manifests


def _blocks(subjects: range) -> Iterator[range]:
    for start in range(0, len(subjects), _BLOCK):
        yield subjects[start : start + _BLOCK]


def _table(drawn: PatientRows, subjects: range) -> pa.Table:
    rows = [row for subject in subjects for row in drawn.draw(subject)]
    return pa.Table.from_pylist(rows, schema=EVENT_SCHEMA)


def _titles(medicine: Medicine, character: HospitalCharacter) -> Mapping[str, str]:
    """Official titles of every code this hospital may write."""
    found = {}
    for entries, systems in ((medicine.conditions, _DIAGNOSES), (medicine.procedures, _PROCEDURES)):
        system = systems[character.coding]
        for entry in entries.values():
            code = entry.codes[character.coding]
            found[PREFIX_OF_SYSTEM[system] + code] = codes.title(code, system=system) or ""
    return {code: title for code, title in found.items() if title}


def hospital_sizes(*, hospitals: int, patients: int) -> list[int]:
    """Patients per hospital, falling as H : H-1 : ... : 1 above a guaranteed ten, summing to `patients`."""
    weights = np.arange(hospitals, 0, -1, dtype=float)
    spare = patients - _GUARANTEED * hospitals
    bounds = np.concatenate([[0], np.round(np.cumsum(weights) / weights.sum() * spare)]).astype(int)
    return [int(share) + _GUARANTEED for share in np.diff(bounds)]


def _check_arguments(*, hospitals: int, patients: int, seed: int) -> None:
    if hospitals < 1:
        raise ValueError(f"hospitals is {hospitals}; a network has at least 1")
    if patients < hospitals * _FEWEST_PATIENTS:
        raise ValueError(f"patients is {patients}; {hospitals} hospitals need at least {hospitals * _FEWEST_PATIENTS}")
    if patients >= _ID_STRIDE:
        raise ValueError(f"patients is {patients}; a network has fewer than {_ID_STRIDE}")
    if seed < 0:
        raise ValueError(f"seed is {seed}; it is 0 or more")
