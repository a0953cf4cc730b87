"""What a hospital's patients have paid so far, over all studies: append-only, and charged before anything is released.

A budget lives longer than a run, so it lives in a database of the hospital's. A study first *reserves* its whole cost,
which fails when the ceiling would be passed; each release is then *charged* against the reservation, durably, before
the noisy result leaves; a finished study *settles*, which hands back what it reserved and did not use. A crash between
the steps leaves a charge without a release or a reservation without an end: both over-count, neither under-counts.

Rows are chained by hash, so a changed, inserted or removed row is found at opening. Rows cut off the end leave a valid
shorter chain: keep `head` with the run's record and pass it to `verify`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import sqlalchemy as sa

from privacy.accounting import PoissonGaussian, certify, epsilon
from privacy.budget import (
    GENESIS,
    PATIENT,
    UNITS,
    BudgetExhausted,
    LedgerCorrupt,
    LedgerEntry,
    Reservation,
    Room,
    WrongUnit,
    canonical,
    check_chain,
    check_same_study,
    check_unit,
    check_within,
    committed,
    refusal,
    reservation_of,
    steps_that_fit,
    unit_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BudgetExhausted", "Ledger", "LedgerCorrupt", "LedgerEntry", "Reservation", "Room", "WrongUnit"]

Kind = Literal["reserve", "charge", "settle"]

_BUSY_SECONDS = 120.0  # how long a writer waits for another one's composition
_LONGEST_RUN_ID = 200
_TABLES = sa.MetaData()
_ROWS = sa.Table(
    "privacy_ledger",
    _TABLES,
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.String(40), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("run_id", sa.String(_LONGEST_RUN_ID), nullable=False),
    sa.Column("sampling_rate", sa.Double, nullable=False),
    sa.Column("noise_multiplier", sa.Double, nullable=False),
    sa.Column("steps", sa.Integer, nullable=False),
    sa.Column("details", sa.Text, nullable=False),
    sa.Column("previous", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
)
_SQLITE_GUARDS = """
CREATE TRIGGER privacy_ledger_no_update BEFORE UPDATE ON privacy_ledger
BEGIN SELECT RAISE(ABORT, 'the privacy ledger is append-only'); END;;
CREATE TRIGGER privacy_ledger_no_delete BEFORE DELETE ON privacy_ledger
BEGIN SELECT RAISE(ABORT, 'the privacy ledger is append-only'); END;;
CREATE TRIGGER privacy_ledger_no_replace BEFORE INSERT ON privacy_ledger
WHEN NEW.sequence <> (SELECT COALESCE(MAX(sequence), 0) + 1 FROM privacy_ledger)
BEGIN SELECT RAISE(ABORT, 'the privacy ledger is append-only'); END
"""  # the last one because INSERT OR REPLACE deletes without asking the one before
_POSTGRESQL_GUARDS = """
CREATE FUNCTION privacy_ledger_refuses() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the privacy ledger is append-only'; END $$;;
CREATE TRIGGER privacy_ledger_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON privacy_ledger
FOR EACH STATEMENT EXECUTE FUNCTION privacy_ledger_refuses()
"""
_GUARDS = {"sqlite": _SQLITE_GUARDS, "postgresql": _POSTGRESQL_GUARDS}
_CREATION_LOCK = 0x57617264726F756E  # any number that everyone who creates a ledger agrees on


class Ledger:
    """A hospital's ledger; open it with `Ledger.open`, and close it or use it in a `with` block.

    Guarantee:
        Every charge is durable before `charge` returns. When a study is admitted, everything charged, everything
        reserved and the study compose to at most its ceiling, whatever runs at once and whenever a process dies.
        This holds against crashes and concurrent studies, not against someone who rewrites the rows and all hashes. As
        in every ledger of this kind the composition takes rates, noise and steps as chosen without looking at
        earlier noisy results.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._writer = engine.execution_options(wardround_writes=True)

    @classmethod
    def open(cls, url_or_path: str | Path, *, create: bool = True) -> Self:
        """Opens and verifies a ledger.

        Args:
            url_or_path: a file for SQLite, or an SQLAlchemy URL (`sqlite:///...`, `postgresql+psycopg://...`).
            create: make an empty ledger where there is none.

        Raises:
            ConnectionError: the database server does not answer or does not let us in.
            FileNotFoundError: there is no ledger and `create` is False.
            LedgerCorrupt: the hash chain is broken, or the file is not a ledger.
            ValueError: the URL is none, or the database is neither SQLite nor PostgreSQL.
        """
        ledger = cls(_engine(_url(str(url_or_path), create=create)))
        shown = ledger._engine.url.render_as_string(hide_password=True)
        try:
            ledger._prepare(create=create)
            ledger.verify()
        except (sa.exc.DatabaseError, UnicodeDecodeError) as error:
            ledger.close()
            reason = getattr(error, "orig", error)
            if ledger._engine.dialect.name == "postgresql" and isinstance(error, sa.exc.OperationalError):
                raise ConnectionError(f"no connection to the privacy ledger {shown}: {reason}") from error
            raise LedgerCorrupt(f"{shown} cannot be read as a privacy ledger: {reason}") from error
        except BaseException:
            ledger.close()
            raise
        return ledger

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the database's connections."""
        self._engine.dispose()

    def reserve(
        self,
        run_id: str,
        event: PoissonGaussian,
        *,
        delta: float,
        epsilon_ceiling: float,
        study_digest: str,
        purpose: str,
        unit: str = PATIENT,
    ) -> Reservation:
        """Sets aside the whole planned cost of a study, or refuses it.

        Args:
            run_id: names the run; every later call uses it.
            event: all steps of the study at this hospital.
            delta: at which the composition is held against the ceiling.
            epsilon_ceiling: the most this hospital's patients may pay over all studies, > 0.
            study_digest: hash of what was agreed to. The same run and digest again returns the first reservation,
                unchanged and at no cost, so a hospital that restarts goes on with the noise it began with.
            purpose: one line for whoever reads the ledger.
            unit: whom the event hides, "patient" or "hospital"; a ledger holds one unit only.

        Returns:
            The reservation; train with *its* event.

        Raises:
            BudgetExhausted: what is charged, what other runs reserved and this study together pass the ceiling.
            privacy.accounting.AccountantsDisagree: the cost cannot be certified, so nothing was reserved.
            WrongUnit: the ledger is kept for another unit.
            ValueError: the run was reserved for another study, or is settled, or an argument is out of range.
        """
        if not study_digest or not (run_id.isprintable() and 0 < len(run_id) <= _LONGEST_RUN_ID):
            raise ValueError("a reservation needs a run_id of 1 to 200 printable characters and a study_digest")
        if not epsilon_ceiling > 0:
            raise ValueError(f"epsilon_ceiling must be > 0, got {epsilon_ceiling}")
        if unit not in UNITS:
            raise ValueError(f"unit must be one of {', '.join(UNITS)}, got {unit!r}")
        entries = self.entries()
        check_unit(entries, unit)
        # composed once without the lock, so that the composition under it is a look-up unless another run came between
        _fits([*committed(entries, reserved=True), event], delta=delta, epsilon_ceiling=epsilon_ceiling)
        with self._writer.begin() as connection:
            _lock(connection)
            known = reservation_of(_of_run(connection, run_id), run_id)
            if known is not None:
                return check_same_study(known, study_digest)
            entries = list(_read(connection))
            check_unit(entries, unit)
            already = committed(entries, reserved=True)
            fits = _fits([*already, event], delta=delta, epsilon_ceiling=epsilon_ceiling)
            if fits:
                details = {
                    "delta": delta,
                    "epsilon_ceiling": epsilon_ceiling,
                    "purpose": purpose,
                    "study_digest": study_digest,
                }
                if unit != PATIENT:  # rows of patients stay as they have always been written
                    details["unit"] = unit
                _append(connection, "reserve", run_id, event, details)
        if not fits:
            raise BudgetExhausted(refusal(already, event, delta=delta, epsilon_ceiling=epsilon_ceiling))
        return Reservation(run_id, event, delta, study_digest, charged_steps=0, settled=False)

    def reservation(self, run_id: str) -> Reservation | None:
        """Returns what a run reserved and has charged, or None for a run this ledger does not know."""
        with self._engine.begin() as connection:
            return reservation_of(_of_run(connection, run_id), run_id)

    def charge(self, run_id: str, event: PoissonGaussian) -> None:
        """Charges steps whose result is about to be released; durable when it returns.

        Raises:
            ValueError: the run has no open reservation, or the steps do not lie within it (more steps in all, a
                higher sampling rate or less noise than reserved). Nothing is charged then, so nothing may be released.
        """
        with self._writer.begin() as connection:
            _lock(connection)
            known = reservation_of(_of_run(connection, run_id), run_id)
            check_within(known, run_id, event)
            _append(connection, "charge", run_id, event, {})

    def settle(self, run_id: str) -> None:
        """Closes a run's reservation: what it did not charge is free again. Settling twice changes nothing.

        Settle a run that crashed only after making sure that nothing uncharged was released.

        Raises:
            ValueError: the run has no reservation.
        """
        with self._writer.begin() as connection:
            _lock(connection)
            known = reservation_of(_of_run(connection, run_id), run_id)
            if known is None:
                raise ValueError(f"run {run_id!r} has no reservation in this ledger")
            if not known.settled:
                _append(connection, "settle", run_id, replace(known.event, steps=0), {})

    def spent(self, *, delta: float, include_reserved: bool = False) -> float:
        """Returns the epsilon of everything charged, with or without what open reservations may still charge."""
        return certify(committed(self.entries(), reserved=include_reserved), delta=delta)

    def room(self, *, delta: float, epsilon_ceiling: float, event: PoissonGaussian) -> Room:
        """Answers how much of a study still fits beside everything charged and reserved."""
        already = committed(self.entries(), reserved=True)
        spent = epsilon(already, delta=delta)
        steps = steps_that_fit(already, event, delta=delta, epsilon_ceiling=epsilon_ceiling)
        return Room(spent=spent, left=max(epsilon_ceiling - spent, 0.0), steps=steps)

    def entries(self) -> list[LedgerEntry]:
        """Returns every row in order."""
        with self._engine.begin() as connection:
            return list(_read(connection))

    @property
    def unit(self) -> str | None:
        """Whom the ledger hides, "patient" or "hospital"; None before its first reservation."""
        return unit_of(self.entries())

    @property
    def head(self) -> str:
        """Hash of the last row; 64 zeros for an empty ledger."""
        with self._engine.begin() as connection:
            return _tail(connection)[1]

    def verify(self, *, containing: str | None = None) -> None:
        """Recomputes the chain of hashes and checks that all rows hide the same unit.

        Args:
            containing: a `head` noted earlier, which must still be in the chain; finds rows cut off the end.

        Raises:
            LedgerCorrupt: names the first row that does not fit.
        """
        entries = self.entries()
        check_chain(entries, containing=containing)
        unit_of(entries)

    def _prepare(self, *, create: bool) -> None:
        with self._writer.begin() as connection:
            if sa.inspect(connection).has_table(_ROWS.name):
                _check_pages(connection)
                return
            if not create:
                raise FileNotFoundError(f"no privacy ledger in {self._engine.url.render_as_string()}")
            dialect = connection.dialect.name
            if dialect == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_CREATION_LOCK)))
                if sa.inspect(connection).has_table(_ROWS.name):
                    return
            elif sa.inspect(connection).get_table_names():  # damage must not pass for a ledger that is new
                raise LedgerCorrupt(f"{self._engine.url.database} holds other tables and no privacy ledger")
            _TABLES.create_all(connection)
            for guard in _GUARDS[dialect].split(";;"):
                connection.exec_driver_sql(guard)


def _check_pages(connection: sa.Connection) -> None:
    """Checks SQLite's own bookkeeping: a damaged page may hide the last rows and leave a valid, shorter chain."""
    if connection.dialect.name == "sqlite" and connection.exec_driver_sql("PRAGMA quick_check").scalar() != "ok":
        raise LedgerCorrupt("the ledger's file is damaged: its pages do not add up")


def _url(text: str, *, create: bool) -> sa.URL:
    """Reads a URL, or the path of an SQLite file; makes the file's folder when the ledger may be made."""
    if "://" not in text:
        path = Path(text).expanduser().absolute()
        if not create and not path.is_file():
            raise FileNotFoundError(f"no privacy ledger at {path}")
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        return sa.URL.create("sqlite", database=str(path))
    try:
        url = sa.make_url(text)
        backend = url.get_backend_name()
    except (sa.exc.ArgumentError, ValueError) as error:
        raise ValueError("the ledger's URL is none: write postgresql+psycopg://user@host/database") from error
    if backend not in _GUARDS:
        raise ValueError(f"the ledger lives in SQLite or PostgreSQL, not in {backend}")
    return url.set(drivername="postgresql+psycopg") if backend == "postgresql" else url


def _fits(events: list[PoissonGaussian], *, delta: float, epsilon_ceiling: float) -> bool:
    """Admits only what two accountants agree on; a refusal needs but one."""
    return epsilon(events, delta=delta) <= epsilon_ceiling and certify(events, delta=delta) <= epsilon_ceiling


def _engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() == "postgresql":
        # a server may be set up weaker: rows must be on disk, and what is read under the lock must be the latest
        options = "-c synchronous_commit=on"
        return sa.create_engine(url, connect_args={"options": options}, isolation_level="READ COMMITTED")
    engine = sa.create_engine(url, connect_args={"timeout": _BUSY_SECONDS})

    @sa.event.listens_for(engine, "connect")
    def _durable(connection: Any, _: object) -> None:
        connection.isolation_level = None  # the driver's own BEGIN comes too late to be a lock
        connection.execute("PRAGMA synchronous = EXTRA")  # one file, also on network drives: no write-ahead log

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("wardround_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _lock(connection: sa.Connection) -> None:
    """Makes this the only writing transaction; SQLite's began as one."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"LOCK TABLE {_ROWS.name} IN EXCLUSIVE MODE")


def _read(connection: sa.Connection, where: sa.ColumnElement[bool] | None = None) -> Iterator[LedgerEntry]:
    query = sa.select(_ROWS).order_by(_ROWS.c.sequence)
    for row in connection.execute(query if where is None else query.where(where)):
        try:
            event = PoissonGaussian(row.sampling_rate, row.noise_multiplier, row.steps)
            details = json.loads(row.details)
            unchanged = canonical(details) == row.details
        except (TypeError, ValueError) as error:
            raise LedgerCorrupt(f"ledger row {row.sequence} holds no valid event: {error}") from error
        texts = (row.at, row.kind, row.run_id, row.previous, row.hash)
        if not unchanged or not all(isinstance(text, str) for text in texts):
            raise LedgerCorrupt(f"ledger row {row.sequence} does not hold its values as they were written")
        yield LedgerEntry(row.sequence, row.at, row.kind, row.run_id, event, details, row.previous, row.hash)


def _of_run(connection: sa.Connection, run_id: str) -> list[LedgerEntry]:
    return list(_read(connection, _ROWS.c.run_id == run_id))


def _tail(connection: sa.Connection) -> tuple[int, str]:
    """Sequence and hash of the last row."""
    query = sa.select(_ROWS.c.sequence, _ROWS.c.hash).order_by(_ROWS.c.sequence.desc()).limit(1)
    row = connection.execute(query).first()
    return (0, GENESIS) if row is None else (row.sequence, row.hash)


def _append(
    connection: sa.Connection, kind: Kind, run_id: str, event: PoissonGaussian, details: dict[str, Any]
) -> None:
    sequence, previous = _tail(connection)
    at = datetime.now(UTC).isoformat(timespec="microseconds")
    entry = LedgerEntry(sequence + 1, at, kind, run_id, event, details, previous)
    row = {
        "sequence": entry.sequence,
        "at": at,
        "kind": kind,
        "run_id": run_id,
        **asdict(event),
        "details": canonical(details),
        "previous": previous,
        "hash": entry.digest(),
    }
    connection.execute(sa.insert(_ROWS), row)
