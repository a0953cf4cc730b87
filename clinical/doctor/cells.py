"""Whether the hospital is large enough for what is asked: its policy, its splits, its sub-groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from meds import schema as meds

from clinical.doctor.findings import Check, Count
from clinical.doctor.shard import DAY_US, NEVER
from clinical.features.groups import AGES, INSURANCES, RACES, class_of
from clinical.profile import SPLITS
from clinical.site_policy import POLICY_FILE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical.doctor.findings import Counts
    from clinical.doctor.hospital import Hospital
    from clinical.doctor.shard import Shard

_YEAR_US: Final = 365.25 * DAY_US
_SPLITS: Final = meds.subject_splits_filepath
TRAIN, _, HELD_OUT = SPLITS


def _policy(hospital: Hospital, _: list[None]) -> Counts:
    return {POLICY_FILE: Count(1)} if hospital.terms.refusal else {}


POLICY = Check(
    "policy-unreadable", "doubtful", "files",
    "There is no site policy that can be read, so the hospital refuses every study.",
    "Write policy.toml again; `wardround data ingest` writes one with every key explained.",
    hospital=_policy,
)  # fmt: skip


def _below_policy(hospital: Hospital, _: list[None]) -> Counts | None:
    if hospital.splits is None or hospital.terms.refusal:
        return None
    train = len(hospital.members(TRAIN))
    return {f"{_SPLITS}, {TRAIN}": Count(train, train)} if 0 < train < hospital.terms.minimum_patients else {}


BELOW_POLICY = Check(
    "train-below-policy", "doubtful", "patients",
    "The training split has fewer patients than the site policy asks for, so the hospital refuses every study.",
    "Bring in more patients, or let the hospital decide on another minimum.",
    hospital=_below_policy,
)  # fmt: skip


def _below_batch(hospital: Hospital, _: list[None]) -> Counts | None:
    if hospital.splits is None or not hospital.terms.batch_patients:
        return None
    train = len(hospital.members(TRAIN))
    return {f"{_SPLITS}, {TRAIN}": Count(train, train)} if 0 < train < hospital.terms.batch_patients else {}


BELOW_BATCH = Check(
    "train-below-batch", "note", "patients",
    "The training split has fewer patients than a step of the default study takes, so every step takes everybody and "
    "privacy gains nothing from sampling.",
    "Set training.batch-patients lower in studies with this hospital.",
    hospital=_below_batch,
)  # fmt: skip


def _nobody_to_train(hospital: Hospital, _: list[None]) -> Counts | None:
    if hospital.splits is None:
        return None
    return {} if len(hospital.members(TRAIN)) else {f"{_SPLITS}, {TRAIN}": Count(1)}


NOBODY_TO_TRAIN = Check(
    "train-empty", "wrong", "splits",
    "Nobody is in the training split.",
    "Write the splits again.",
    hospital=_nobody_to_train,
)  # fmt: skip


def _nobody_to_test(hospital: Hospital, _: list[None]) -> Counts | None:
    if hospital.splits is None:
        return None
    return {f"{_SPLITS}, {split}": Count(1) for split in SPLITS[1:] if not len(hospital.members(split))}


NOBODY_TO_TEST = Check(
    "evaluation-split-empty", "doubtful", "splits",
    "Nobody is in the tuning or the held-out split, so thresholds or results cannot be computed here.",
    "Write the splits again with patients in all three.",
    hospital=_nobody_to_test,
)  # fmt: skip


def group_members(shard: Shard) -> dict[tuple[str, str], NDArray[np.int64]]:
    """Gather the patients of each sub-group by (dimension, class): int64 each."""
    found: dict[tuple[str, str], NDArray[np.int64]] = {}
    for dimension, prefix, classes in (
        ("sex", "GENDER//", (("f", "female"), ("m", "male"))),
        ("race", "RACE//", RACES),
        ("insurance", "INSURANCE//", INSURANCES),
    ):
        named = [class_of(c.removeprefix(prefix).lower(), classes) if c.startswith(prefix) else "" for c in shard.codes]
        for name in set(named) - {""}:
            found[dimension, name] = np.unique(shard.subject[shard.where(each == name for each in named)])
    begin = shard.earliest(shard.starting("ICU//IN", "ADMISSION"))
    known = (shard.birth != NEVER) & (begin != NEVER)
    age = (begin[known] - shard.birth[known]) / _YEAR_US
    for name, low, high in AGES:
        found["age", name] = shard.people[known][(age >= low) & (age < high)]
    return found


def _small_groups(hospital: Hospital, parts: list[dict[tuple[str, str], NDArray[np.int64]]]) -> Counts | None:
    cell = hospital.terms.minimum_cell
    if hospital.splits is None or not cell or not parts:
        return None
    tested = hospital.members(HELD_OUT)
    counts: Counts = {}
    for dimension, name in sorted(set().union(*parts)):
        mine = np.concatenate([part[dimension, name] for part in parts if (dimension, name) in part])
        size = len(np.intersect1d(tested, mine))
        if 0 < size < cell:
            so_far = counts.get(f"{dimension}, {HELD_OUT}", Count(0))
            counts[f"{dimension}, {HELD_OUT}"] = Count(so_far.count + 1, so_far.patients + size)
    return counts


SMALL_GROUP = Check(
    "subgroup-below-minimum-cell", "note", "classes",
    "Sub-groups have fewer held-out patients than the site policy's minimum cell, so reports do not show them for this "
    "hospital.",
    "Nothing; larger hospitals show them.",
    shard=group_members, hospital=_small_groups,
)  # fmt: skip
