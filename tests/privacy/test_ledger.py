from __future__ import annotations

import math
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privacy import accounting
from privacy.accounting import AccountantsDisagree, PoissonGaussian, epsilon
from privacy.ledger import BudgetExhausted, Ledger, LedgerCorrupt, WrongUnit, _append

DELTA = 1e-5
STUDY = PoissonGaussian(0.05, 1.5, 600)  # epsilon 4.176
ROUND = PoissonGaussian(0.05, 1.5, 20)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path):
    with Ledger.open(path) as opened:
        yield opened


def reserve(ledger, run_id="first", event=STUDY, *, ceiling=8.0, digest="study"):
    return ledger.reserve(
        run_id, event, delta=DELTA, epsilon_ceiling=ceiling, study_digest=digest, purpose="coding heads"
    )


def test_a_new_ledger_has_spent_nothing(ledger):
    assert ledger.spent(delta=DELTA) == 0.0
    assert ledger.entries() == []
    assert ledger.head == "0" * 64


def test_charges_survive_the_process_and_cost_what_they_compose_to(path):
    with Ledger.open(path) as ledger:
        reserve(ledger)
        for _ in range(3):
            ledger.charge("first", ROUND)
    with Ledger.open(path, create=False) as ledger:
        assert ledger.spent(delta=DELTA) == epsilon([PoissonGaussian(0.05, 1.5, 60)], delta=DELTA)
        assert ledger.spent(delta=DELTA, include_reserved=True) == epsilon([STUDY], delta=DELTA)
        assert ledger.reservation("first").charged_steps == 60


def test_a_second_run_costs_more_than_one_and_less_than_twice(ledger):
    reserve(ledger)
    one = ledger.spent(delta=DELTA, include_reserved=True)
    reserve(ledger, "second", ceiling=20.0)
    two = ledger.spent(delta=DELTA, include_reserved=True)
    assert one < two < 2 * one


def test_a_study_past_the_ceiling_is_refused_in_one_clear_line_and_leaves_no_trace(ledger):
    reserve(ledger)
    before = ledger.entries()
    with pytest.raises(BudgetExhausted) as refusal:
        reserve(ledger, "second", ceiling=5.0)
    line = str(refusal.value)
    assert "\n" not in line
    for words in ("ceiling is epsilon 5", "4.176 is charged or reserved", "of its 600 steps would fit"):
        assert words in line
    assert ledger.entries() == before
    fit = int(re.search(r"(\d+) of its", line)[1])
    assert 0 < fit < 600
    reserve(ledger, "second", PoissonGaussian(0.05, 1.5, fit), ceiling=5.0)
    assert ledger.spent(delta=DELTA, include_reserved=True) <= 5.0


def test_open_reservations_of_other_runs_count_before_anything_is_charged(ledger):
    reserve(ledger, ceiling=4.5)
    with pytest.raises(BudgetExhausted):
        reserve(ledger, "second", ceiling=4.5)
    ledger.settle("first")
    reserve(ledger, "second", ceiling=4.5)


def test_settling_hands_back_only_what_was_not_charged(ledger):
    reserve(ledger)
    ledger.charge("first", ROUND)
    ledger.settle("first")
    ledger.settle("first")
    assert ledger.spent(delta=DELTA, include_reserved=True) == epsilon([ROUND], delta=DELTA)
    assert [entry.kind for entry in ledger.entries()] == ["reserve", "charge", "settle"]


def test_reserving_the_same_study_again_returns_the_first_reservation_even_under_a_lower_ceiling(ledger):
    first = reserve(ledger)
    assert reserve(ledger, ceiling=0.1) == first
    assert reserve(ledger, event=PoissonGaussian(0.06, 1.5, 600)).event == STUDY
    assert len(ledger.entries()) == 1


def test_a_changed_study_and_a_settled_run_need_a_run_of_their_own(ledger):
    reserve(ledger)
    with pytest.raises(ValueError, match="another study"):
        reserve(ledger, digest="changed")
    ledger.settle("first")
    with pytest.raises(ValueError, match="settled"):
        reserve(ledger)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (PoissonGaussian(0.05, 1.5, 601), "600 of 600 reserved steps left, not 601"),
        (PoissonGaussian(0.06, 1.5, 1), "not rate 0.06"),
        (PoissonGaussian(0.05, 1.4, 1), "noise 1.4"),
    ],
)
def test_a_charge_outside_its_reservation_is_refused(ledger, event, words):
    reserve(ledger)
    with pytest.raises(ValueError, match=words):
        ledger.charge("first", event)
    assert len(ledger.entries()) == 1


def test_a_charge_needs_an_open_reservation(ledger):
    with pytest.raises(ValueError, match="reserve before charging"):
        ledger.charge("unknown", ROUND)
    with pytest.raises(ValueError, match="no reservation"):
        ledger.settle("unknown")
    reserve(ledger)
    ledger.settle("first")
    with pytest.raises(ValueError, match="is settled"):
        ledger.charge("first", ROUND)


def test_a_cheaper_charge_than_reserved_is_allowed(ledger):
    reserve(ledger)
    ledger.charge("first", PoissonGaussian(0.04, 2.0, 10))
    assert ledger.spent(delta=DELTA) == epsilon([PoissonGaussian(0.04, 2.0, 10)], delta=DELTA)


def test_a_study_without_noise_never_fits(ledger):
    with pytest.raises(BudgetExhausted, match="0 of its 5 steps"):
        reserve(ledger, event=PoissonGaussian(0.1, 0.0, 5), ceiling=1e6)


def test_room_says_what_is_left(ledger):
    reserve(ledger)
    room = ledger.room(delta=DELTA, epsilon_ceiling=5.0, event=STUDY)
    assert room.spent + room.left == pytest.approx(5.0)
    assert 0 < room.steps < STUDY.steps
    assert ledger.room(delta=DELTA, epsilon_ceiling=100.0, event=STUDY).steps == STUDY.steps
    assert ledger.room(delta=DELTA, epsilon_ceiling=1.0, event=STUDY) == type(room)(room.spent, 0.0, 0)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from([50, 200, 600]), st.sampled_from([1.5, 3.0]), st.booleans()), max_size=4))
def test_whatever_is_asked_for_the_ceiling_is_never_passed(tmp_path_factory, studies):
    with Ledger.open(tmp_path_factory.mktemp("ledger") / "ledger.db") as ledger:
        for number, (steps, noise, settles) in enumerate(studies):
            event = PoissonGaussian(0.05, noise, steps)
            try:
                reserve(ledger, f"run {number}", event, ceiling=4.5)
            except BudgetExhausted:
                continue
            ledger.charge(f"run {number}", PoissonGaussian(0.05, noise, steps // 2))
            if settles:
                ledger.settle(f"run {number}")
            charged, promised = (ledger.spent(delta=DELTA, include_reserved=x) for x in (False, True))
            assert charged <= promised <= 4.5
        ledger.verify()


def tamper(path, statement):
    with sqlite3.connect(path) as connection:
        for name in ("update", "delete"):
            connection.execute(f"DROP TRIGGER privacy_ledger_no_{name}")
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE privacy_ledger SET steps = 19 WHERE sequence = 2", r"row 2 \(charge of .*does not match"),
        ("UPDATE privacy_ledger SET noise_multiplier = 1.5000000000000002 WHERE sequence = 1", "row 1 "),
        ("UPDATE privacy_ledger SET run_id = 'other' WHERE sequence = 3", "row 3 "),
        ("UPDATE privacy_ledger SET details = '{}' WHERE sequence = 1", "row 1 "),
        ("UPDATE privacy_ledger SET details = 'x' WHERE sequence = 1", "row 1 holds no valid event"),
        ("DELETE FROM privacy_ledger WHERE sequence = 2", "row 2 is missing"),
        ("DELETE FROM privacy_ledger WHERE sequence = 1", "row 1 is missing"),
    ],
)
def test_a_changed_or_missing_row_is_found_at_opening_and_named(path, statement, words):
    with Ledger.open(path) as ledger:
        reserve(ledger)
        ledger.charge("first", ROUND)
        ledger.charge("first", ROUND)
    tamper(path, statement)
    with pytest.raises(LedgerCorrupt, match=words):
        Ledger.open(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a ledger with a few runs, and what it says."""
    path = tmp_path_factory.mktemp("whole") / "ledger.db"
    with Ledger.open(path) as ledger:
        for run_id in ("first", "second"):
            reserve(ledger, run_id, PoissonGaussian(0.05, 3.0, 60), ceiling=8)
            for _ in range(3):
                ledger.charge(run_id, PoissonGaussian(0.05, 3.0, 20))
        ledger.settle("first")
        return path.read_bytes(), ledger.entries()


def test_a_page_that_lost_count_of_its_last_row_is_found(tmp_path, whole):
    content = bytearray(whole[0])
    count = 4096 + 4  # of the rows on the table's page; one less leaves a valid, shorter chain
    assert content[count] == len(whole[1])
    content[count] -= 1
    (tmp_path / "short.db").write_bytes(content)
    with pytest.raises(LedgerCorrupt, match="do not add up"):
        Ledger.open(tmp_path / "short.db", create=False)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_anywhere_in_the_file_is_found_or_changes_nothing(tmp_path, whole, data):
    content, entries = bytearray(whole[0]), whole[1]
    used = [i for i, byte in enumerate(content) if byte]  # half the file is free space
    position = data.draw(st.sampled_from(used) | st.integers(0, len(content) - 1))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path / "flipped.db"
    path.write_bytes(content)
    try:
        with Ledger.open(path, create=False) as ledger:
            assert ledger.entries() == entries
            assert ledger.reservation("second").charged_steps == 60
    except (LedgerCorrupt, FileNotFoundError):
        pass


@pytest.mark.parametrize(
    "change",
    [
        "at = at || '0'",
        "kind = 'charge'",
        "run_id = 'other'",
        "sampling_rate = sampling_rate * (1 + 1e-15)",
        "noise_multiplier = 3",
        "steps = steps - 1",
        "details = details || ' '",
        "details = replace(details, '8', '9')",
        "details = replace(details, '1e-05', '1e405')",
        "previous = 'f' || substr(previous, 2)",
        "hash = substr(hash, 2) || 'g'",
        "sequence = 7",
    ],
)
def test_a_change_of_any_column_is_found(path, change):
    with Ledger.open(path) as ledger:
        reserve(ledger)
        ledger.charge("first", ROUND)
    tamper(path, f"UPDATE privacy_ledger SET {change} WHERE sequence = 1")
    with pytest.raises(LedgerCorrupt, match="row 1"):
        Ledger.open(path)


def test_damage_does_not_pass_for_a_new_ledger(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE privacy_lfdger (sequence INTEGER)")
    connection.close()
    with pytest.raises(LedgerCorrupt, match="no privacy ledger"):
        Ledger.open(path)


def test_whole_numbers_and_numpy_numbers_read_back_as_they_were_written(path):
    with Ledger.open(path) as ledger:
        reserve(ledger, event=PoissonGaussian(1, 20, np.int64(4)))
        ledger.charge("first", PoissonGaussian(1, np.float32(20), 2))
    with Ledger.open(path) as ledger:
        assert ledger.reservation("first").charged_steps == 2


def test_a_cost_that_cannot_be_certified_is_not_reserved(ledger, monkeypatch):
    monkeypatch.setattr(accounting, "_pld_epsilon", lambda *_, **__: 9.9)
    with pytest.raises(AccountantsDisagree):
        reserve(ledger, event=PoissonGaussian(0.0512, 1.5, 300))
    assert ledger.entries() == []


def test_rows_cut_off_the_end_are_found_with_a_head_noted_earlier(path):
    with Ledger.open(path) as ledger:
        reserve(ledger)
        early = ledger.head
        ledger.charge("first", ROUND)
        noted = ledger.head
    tamper(path, "DELETE FROM privacy_ledger WHERE sequence = 2")
    with Ledger.open(path) as ledger:
        ledger.verify(containing=early)
        with pytest.raises(LedgerCorrupt, match="missing from the end"):
            ledger.verify(containing=noted)


def test_the_database_itself_refuses_to_change_or_delete_rows(path, ledger):
    reserve(ledger)
    connection = sqlite3.connect(path)
    for statement in (
        "UPDATE privacy_ledger SET steps = 0",
        "DELETE FROM privacy_ledger",
        "INSERT OR REPLACE INTO privacy_ledger SELECT * FROM privacy_ledger",
    ):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)
    connection.close()


def test_what_is_not_a_ledger_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no privacy ledger"):
        Ledger.open(tmp_path / "absent.db", create=False)
    assert not (tmp_path / "absent.db").exists()
    (tmp_path / "text.db").write_text("not a database, but long enough to look like one" * 50)
    with pytest.raises(LedgerCorrupt, match="cannot be read"):
        Ledger.open(tmp_path / "text.db")
    with pytest.raises(ValueError, match="SQLite or PostgreSQL"):
        Ledger.open("mysql://localhost/ledger")


@pytest.mark.parametrize("change", [{"ceiling": 0.0}, {"ceiling": math.nan}, {"digest": ""}, {"run_id": ""}])
def test_a_reservation_without_its_essentials_is_refused(ledger, change):
    with pytest.raises(ValueError, match=r"epsilon_ceiling|needs a run_id"):
        reserve(ledger, **change)


CHARGE_FOREVER = """
import sys
from privacy.accounting import PoissonGaussian
from privacy.ledger import Ledger
with Ledger.open(sys.argv[1]) as ledger:
    for number in range(100_000):
        ledger.charge("first", PoissonGaussian(0.05, 1.5, 1))
        print(number + 1, flush=True)  # the release
"""


@pytest.mark.parametrize("milliseconds", [1, 20, 55])
def test_a_killed_process_has_charged_at_least_what_it_released(path, milliseconds):
    with Ledger.open(path) as ledger:
        reserve(ledger, event=PoissonGaussian(0.05, 1.5, 100_000), ceiling=1e4)
    with subprocess.Popen(
        [sys.executable, "-c", CHARGE_FOREVER, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as child:
        released = [child.stdout.readline()]
        time.sleep(milliseconds / 1000)
        child.send_signal(signal.SIGKILL)
        released += child.stdout.read().splitlines()
    with Ledger.open(path) as ledger:
        charged = ledger.reservation("first").charged_steps
    assert len(released) <= charged <= len(released) + 1


RESERVE_ONCE = """
import sys
from privacy.accounting import PoissonGaussian
from privacy.ledger import BudgetExhausted, Ledger
with Ledger.open(sys.argv[1]) as ledger:
    sys.stdin.readline()
    try:
        ledger.reserve(sys.argv[2], PoissonGaussian(0.05, 1.5, 600), delta=1e-5, epsilon_ceiling=5.0,
                       study_digest="study", purpose="race")
        print("reserved")
    except BudgetExhausted:
        print("refused")
"""


def test_of_two_processes_that_reserve_at_once_only_one_fits(path):
    children = [
        subprocess.Popen(
            [sys.executable, "-c", RESERVE_ONCE, str(path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for name in ("first", "second")
    ]
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    answers = sorted(child.communicate(timeout=60)[0].strip() for child in children)
    assert answers == ["refused", "reserved"]
    with Ledger.open(path) as ledger:
        assert ledger.spent(delta=DELTA, include_reserved=True) <= 5.0


def test_many_threads_that_reserve_at_once_never_pass_the_ceiling(path):
    from concurrent.futures import ThreadPoolExecutor

    def attempt(number):
        with Ledger.open(path) as ledger:
            try:
                reserve(ledger, f"run {number}", PoissonGaussian(0.05, 1.5, 200), ceiling=4.5)
            except BudgetExhausted:
                return False
            return True

    with ThreadPoolExecutor(8) as pool:
        admitted = sum(pool.map(attempt, range(8)))
    with Ledger.open(path) as ledger:
        assert 0 < admitted < 8
        assert len(ledger.entries()) == admitted
        assert ledger.spent(delta=DELTA, include_reserved=True) <= 4.5


def test_a_ledger_holds_one_unit_and_says_which(path):
    hospitals = PoissonGaussian(1.0, 20.0, 10)
    with Ledger.open(path) as ledger:
        assert ledger.unit is None
        ledger.reserve(
            "a", hospitals, delta=DELTA, epsilon_ceiling=8.0, study_digest="s", purpose="heads", unit="hospital"
        )
        assert ledger.unit == "hospital"
        before = ledger.entries()
        with pytest.raises(WrongUnit, match="kept per hospital and the study charges it per patient"):
            reserve(ledger, "b")
        assert ledger.entries() == before


def test_a_ledger_from_before_hospitals_could_be_hidden_is_one_of_patients(ledger):
    reserve(ledger)
    assert "unit" not in ledger.entries()[0].details  # rows of patients are written as they have always been
    assert ledger.unit == "patient"
    with pytest.raises(WrongUnit, match="kept per patient"):
        ledger.reserve("b", STUDY, delta=DELTA, epsilon_ceiling=8.0, study_digest="s", purpose="heads", unit="hospital")


def test_a_ledger_that_mixes_units_is_found_when_it_is_opened(path):
    with Ledger.open(path) as ledger:
        reserve(ledger)
        details = {"delta": DELTA, "epsilon_ceiling": 8.0, "purpose": "x", "study_digest": "s", "unit": "hospital"}
        with ledger._writer.begin() as connection:
            _append(connection, "reserve", "b", STUDY, details)
    with pytest.raises(LedgerCorrupt, match="mixes the units hospital and patient"):
        Ledger.open(path)


def test_a_unit_nobody_knows_is_refused(ledger):
    with pytest.raises(ValueError, match="one of patient, hospital"):
        ledger.reserve("a", STUDY, delta=DELTA, epsilon_ceiling=8.0, study_digest="s", purpose="x", unit="note")
