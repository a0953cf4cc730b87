"""The same ledger in a real PostgreSQL: what SQLite's tests show, and what only a server can get wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from privacy.accounting import PoissonGaussian, epsilon
from privacy.ledger import BudgetExhausted, Ledger, LedgerCorrupt

DELTA = 1e-5
STUDY = PoissonGaussian(0.05, 1.5, 600)
ROUND = PoissonGaussian(0.05, 1.5, 20)
ROOT = Path(__file__).parents[2]


def reserve(ledger, run_id="first", *, ceiling=8.0):
    return ledger.reserve(run_id, STUDY, delta=DELTA, epsilon_ceiling=ceiling, study_digest="study", purpose="heads")


def execute(url, *statements):
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def test_charges_survive_and_cost_what_they_compose_to(postgres):
    with Ledger.open(postgres) as ledger:
        reserve(ledger)
        ledger.charge("first", ROUND)
    with Ledger.open(postgres.replace("+psycopg", ""), create=False) as ledger:  # a URL without driver means ours
        assert ledger.reservation("first").charged_steps == 20
        assert ledger.spent(delta=DELTA, include_reserved=True) == epsilon([STUDY], delta=DELTA)
        with pytest.raises(BudgetExhausted, match="steps would fit"):
            reserve(ledger, "second", ceiling=5.0)
        ledger.settle("first")
        assert ledger.spent(delta=DELTA, include_reserved=True) == epsilon([ROUND], delta=DELTA)


def test_the_same_rows_have_the_same_hashes_as_in_sqlite(postgres, tmp_path):
    with Ledger.open(postgres) as server, Ledger.open(tmp_path / "ledger.db") as file:
        for ledger in (server, file):
            reserve(ledger)
            ledger.charge("first", PoissonGaussian(0.1 / 3, 1.5 + 1e-15, 20))
        for mine, theirs in zip(server.entries(), file.entries(), strict=True):
            assert (mine.event, mine.details) == (theirs.event, theirs.details)
            assert mine.digest() == mine.hash


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE privacy_ledger SET steps = 0",
        "DELETE FROM privacy_ledger",
        "DELETE FROM privacy_ledger WHERE false",
        "TRUNCATE privacy_ledger",
        "INSERT INTO privacy_ledger SELECT * FROM privacy_ledger ON CONFLICT (sequence) DO UPDATE SET steps = 0",
    ],
)
def test_the_server_itself_refuses_to_change_or_delete_rows(postgres, statement):
    with Ledger.open(postgres) as ledger:
        reserve(ledger)
        with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
            execute(postgres, statement)
        assert len(ledger.entries()) == 1


@pytest.mark.parametrize(
    "change",
    [
        "at = at || '0'",
        "kind = 'settle'",
        "run_id = 'other'",
        "sampling_rate = sampling_rate * (1 + 1e-15)",
        "noise_multiplier = 3",
        "steps = steps - 1",
        "details = details || ' '",
        "previous = reverse(previous)",
        "hash = reverse(hash)",
        "sequence = 7",
    ],
)
def test_a_row_changed_behind_the_triggers_is_found_at_opening(postgres, change):
    with Ledger.open(postgres) as ledger:
        reserve(ledger)
        ledger.charge("first", ROUND)
    execute(
        postgres,
        "ALTER TABLE privacy_ledger DISABLE TRIGGER ALL",
        f"UPDATE privacy_ledger SET {change} WHERE sequence = 2",
    )
    with pytest.raises(LedgerCorrupt, match="row 2"):
        Ledger.open(postgres)


def test_a_server_that_trades_durability_for_speed_is_overruled(postgres):
    database = postgres.rsplit("/", 1)[1]
    execute(
        postgres,
        f"ALTER DATABASE {database} SET synchronous_commit = off",
        f"ALTER DATABASE {database} SET default_transaction_isolation = 'repeatable read'",
    )
    with Ledger.open(postgres) as ledger, ledger._engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
        assert connection.exec_driver_sql("SHOW transaction_isolation").scalar() == "read committed"


def test_no_server_and_no_ledger_are_named_without_the_password(postgres):
    with pytest.raises(FileNotFoundError, match="no privacy ledger"):
        Ledger.open(postgres, create=False)
    with pytest.raises(ConnectionError, match="no connection") as refused:
        Ledger.open("postgresql://ward:secret@127.0.0.1:1/ledger")
    assert "secret" not in str(refused.value)


OPEN_AND_RESERVE = """
import sys
from privacy.accounting import PoissonGaussian
from privacy.ledger import BudgetExhausted, Ledger
print("ready", flush=True)
sys.stdin.readline()
with Ledger.open(sys.argv[1]) as ledger:
    for number in range(8):
        event = PoissonGaussian(0.05, 1.5, 50 + number)
        try:
            ledger.reserve(f"{sys.argv[2]} {number}", event, delta=1e-5, epsilon_ceiling=3.0,
                           study_digest="study", purpose="race")
        except BudgetExhausted:
            continue
        for _ in range(event.steps // 10):
            ledger.charge(f"{sys.argv[2]} {number}", PoissonGaussian(0.05, 1.5, 10))
"""


@pytest.mark.parametrize("place", ["sqlite", "postgres"])
def test_two_processes_that_create_reserve_and_charge_at_once_never_pass_the_ceiling(place, request, tmp_path):
    where = request.getfixturevalue("postgres") if place == "postgres" else str(tmp_path / "ledger.db")
    children = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN_AND_RESERVE, where, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for name in ("first", "second")
    ]
    for child in children:
        child.stdout.readline()
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    complaints = [child.communicate(timeout=120)[1] for child in children]
    assert complaints == ["", ""]
    with Ledger.open(where) as ledger:
        reserved = [entry for entry in ledger.entries() if entry.kind == "reserve"]
        assert 2.0 < ledger.spent(delta=DELTA, include_reserved=True) <= 3.0
        assert len(reserved) < 16


@pytest.mark.slow
@pytest.mark.parametrize("place", ["sqlite", "postgres"])
def test_a_hospital_killed_at_random_instants_has_charged_whatever_it_released(place, request):
    url = ["--url", request.getfixturevalue("postgres")] if place == "postgres" else []
    script = subprocess.run(
        [sys.executable, "benchmarks/kill_points.py", "--kills", "25", "--seed", "3", *url],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert script.returncode == 0, script.stdout + script.stderr
    assert "violations (a broken chain, or a release without its charge): 0" in script.stdout
