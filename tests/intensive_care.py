"""Intensive-care cohorts in YAIB's layout whose outcome follows from the measurements, and hospitals made of them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clinical.features.concepts import read_concepts

HOURS = 25


def write_cohorts(folder: Path, *, stays: int, seed: int) -> Path:
    """Write mortality24, kidney_function and aki for some stays; sick patients have a fast heart and a high lactate."""
    rng = np.random.default_rng(seed)
    sick = rng.random(stays) < 0.3
    rows = []
    for stay in range(stays):
        for hour in range(HOURS):
            row = dict.fromkeys((concept.name for concept in read_concepts()), np.nan)
            row |= {"stay_id": 100 + stay, "time": pd.Timedelta(hours=hour)}
            row["hr"] = 80 + 35 * sick[stay] + rng.normal() * 8
            if hour % 6 == 0:
                row["lact"] = (1.5 + 4 * sick[stay]) * np.exp(rng.normal() * 0.2)
                row["crea"] = (1.0 + sick[stay]) * np.exp(rng.normal() * 0.05)
            rows.append(row)
    dyn = pd.DataFrame(rows).astype({"stay_id": "int32", "time": "timedelta64[s]"})
    ids = np.arange(100, 100 + stays, dtype=np.int32)
    sex = np.where(rng.random(stays) < 0.5, "Female", "Male")
    sta = pd.DataFrame({"stay_id": ids, "age": rng.uniform(30, 90, stays), "sex": sex, "height": 170.0, "weight": 80.0})
    hourly = dyn[["stay_id", "time"]].assign(label=(dyn["hr"] > 110).to_numpy())
    once = {
        "mortality24": sick.astype(np.int32),
        "kidney_function": (1.0 + sick) * np.exp(rng.normal(size=stays) * 0.05),
    }
    for name in ("mortality24", "kidney_function", "aki"):
        (folder / name).mkdir(parents=True)
        outc = hourly if name == "aki" else pd.DataFrame({"stay_id": ids, "label": once[name]})
        for table, frame in (("dyn", dyn), ("outc", outc), ("sta", sta)):
            frame.to_parquet(folder / name / f"{table}.parquet")
    return folder


@pytest.fixture(scope="session")
def intensive_network(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Three hospitals of 50 intensive-care patients each."""
    from clinical.partition import partition_hospital
    from clinical.site_policy import SIMULATED_POLICY
    from clinical.sources.yaib import ingest_yaib

    folder = tmp_path_factory.mktemp(f"intensive-{worker_id}")
    ingest_yaib(write_cohorts(folder / "cohorts", stays=150, seed=3), folder / "all")
    partition_hospital(folder / "all", folder / "hospitals", method="iid", hospitals=3, seed=1)
    policy = SIMULATED_POLICY.replace("minimum_cell = 5", "minimum_cell = 1")
    for hospital in (folder / "hospitals").glob("hospital-*"):
        (hospital / "policy.toml").write_text(policy, encoding="utf-8")
    return folder / "hospitals"
