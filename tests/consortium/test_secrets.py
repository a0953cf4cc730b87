"""What is marked as secret or as a patient's is looked for in everything a run writes, and is not there."""

import shutil
from pathlib import Path

import pytest

from clinical.events import read_events
from consortium.databases import Database
from tests.sites import HOSPITALS, ON_REQUEST, wardround

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("consortium"), ON_REQUEST]

NOTE, MANY = "Quastenflosser", 4_711_000_000
RECORDS = ("data", "postgres", "node.key", "pgpass")  # where marks have their place


def written(sites):
    """Read all that stands beside the records: logs, runs, audit logs, approvals, configurations, what was started."""
    places = sites.consortium.places
    kept = [places.hospital(name).folder / part for name in HOSPITALS for part in RECORDS]
    kept += [places.authority, places.coordinator / "superlink.key", places.proxy / "proxy.key"]
    found = {}
    for path in places.state.rglob("*"):
        if path.is_file() and not any(path.is_relative_to(each) for each in kept):
            found[path] = path.read_bytes()
    return found


def mark(sites, number):
    """Put the marks into a hospital's database, away with what was loaded; return the patients' marked numbers."""
    place, consortium = sites.hospital(HOSPITALS[number]), sites.consortium
    database = Database(place, consortium.network, number, consortium.ports[place.name]["database"])
    where = ["-h", database.address, "-p", database.port, "-U", "hospital", "-d", "omop"]

    def ask(statement):
        words = ["env", f"PGPASSFILE={place.password}", "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", *where]
        done = sites.inside(number, *words, "-c", statement)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    ask(f"UPDATE note SET note_text = '{NOTE} ' || note_text || ' {NOTE}'")
    for table in ask("SELECT table_name FROM information_schema.columns WHERE column_name = 'person_id'"):
        ask(f"UPDATE {table} SET person_id = person_id + {MANY}")
    shutil.rmtree(place.data)
    return ask("SELECT person_id FROM person")


def test_no_note_patient_password_or_key_stands_in_anything_that_is_written_beside_the_records(sites, mischief):
    secrets = [NOTE, *mark(sites, 1)]
    told = [wardround("sites", "up", sites.plan)]
    assert told[0].returncode == 0, told[0].stderr
    texts = read_events(sites.hospital("south").data, columns=["text_value"]).column("text_value").to_pylist()
    assert any(NOTE in text for text in texts if text)  # the marks are where the training reads
    told.append(sites.run_study("federation.rounds=1"))
    assert told[1].returncode == 0, told[1].stderr
    mischief.tell("quote-south", f"a patient whose note begins with {NOTE}")
    told.append(sites.run_study("federation.rounds=1", checkout=mischief.checkout))
    record = sites.record()
    (gone,) = record["rounds"][0]["absences"]
    assert (gone["site"], gone["reason"].split(",")[0]) == ("south", "internal error")
    for name in HOSPITALS:
        secrets.append(sites.hospital(name).password.read_text().strip().rpartition(":")[2])
        secrets += sites.hospital(name).key.read_text().splitlines()[1:-1]
    for folder, stem in (("authority", "ca"), ("coordinator", "superlink"), ("proxy", "proxy")):
        key = Path(getattr(sites.consortium.places, folder)) / f"{stem}.key"
        secrets += key.read_text().splitlines()[1:-1]
    texts = {str(path): content for path, content in written(sites).items()}
    assert any(path.endswith("run.json") for path in texts)
    assert any(path.endswith("supernode.log") for path in texts)
    texts |= {f"output {number}": f"{one.stdout}{one.stderr}".encode() for number, one in enumerate(told)}
    found = {path for path, content in texts.items() if any(secret.encode() in content for secret in secrets)}
    # what an approved application raised stays in the house, in the one log that is said to hold it
    assert {path for path in found if not path.endswith("south/log/applications.log")} == set()
