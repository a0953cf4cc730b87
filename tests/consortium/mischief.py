"""An application that waits or misbehaves where a file tells it to, so that faults strike at a known moment.

It is this checkout's with some lines added to the hospital's side. Approved, it runs as any other does.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.gate.flower import copy_application
from tests.sites import HOSPITALS, Sites, wait, wardround

LINES = """

import time
from pathlib import Path

from flwr.app import ConfigRecord

_place = Path({place!r})
_train_round = training.train_round
_metric_record = MetricRecord


def _held(study, planned, model, examples, *, stream, **named):
    if (_place / f"quote-{{stream.partition('/')[0]}}").exists():
        raise ValueError((_place / f"quote-{{stream.partition('/')[0]}}").read_text())
    name = stream.replace("/", "-")
    if (_place / f"hold-{{name}}").exists():
        (_place / f"held-{{name}}").touch()
    while (_place / f"hold-{{name}}").exists():
        time.sleep(0.02)
    return _train_round(study, planned, model, examples, stream=stream, **named)


def MetricRecord(facts):
    return _metric_record({{**facts, "oldest": 97}} if (_place / "diary").exists() else facts)


def _record(facts):
    if "codes" in facts and (_place / "small").exists():
        facts = {{**facts, "documents": [1 for _ in facts["documents"]]}}
    return ConfigRecord(facts)


training.train_round = _held
from clients import coding

coding.ConfigRecord = _record
"""


@dataclass(frozen=True)
class Mischief:
    """The application and the folder in which it is told what to do."""

    checkout: Path
    place: Path

    def hold(self, name: str, number: int) -> None:
        """Have a hospital wait in a round, after it has charged it."""
        (self.place / f"hold-{name}-{number}").touch()

    def await_held(self, name: str, number: int) -> None:
        """Wait until it does."""
        wait((self.place / f"held-{name}-{number}").exists, f"{name} never came to round {number}")

    def release(self) -> None:
        """Let everybody go on, and tell nobody to misbehave."""
        for path in self.place.iterdir():
            path.unlink()

    def tell(self, what: str, text: str = "") -> None:
        """Have it misbehave."""
        (self.place / what).write_text(text)


def approve_mischief(sites: Sites) -> Mischief:
    """Make the application and have every hospital approve it."""
    place = sites.plan.parent / "mischief"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    checkout = sites.plan.parent / "application"
    shutil.rmtree(checkout, ignore_errors=True)
    copy_application(checkout, also=LINES.format(place=str(place)))
    for name in HOSPITALS:
        words = ["site", "approve", checkout, "--site", sites.hospital(name).folder, "--by", "Ann", "--yes"]
        done = wardround(*words)
        assert done.returncode == 0, done.stderr
    return Mischief(checkout, place)
