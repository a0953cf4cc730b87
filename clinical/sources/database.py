"""Tables of a live database in blocks of text, as their CSV export would give them; all of SQLAlchemy for sources.

A server-side cursor streams each table in the order of its key, inside one read-only transaction, so that rows which
arrive meanwhile belong to the next ingest. A password is in the URL and nowhere else: places and errors are built from
driver, host and database name only.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from clinical.sources.exports import ABSENT, Block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from clinical.sources.omop_tables import OmopTable

__all__ = ["Database", "clear_errors", "open_database", "open_engine", "spoken"]

_ROWS: Final = 20_000
_SPELLINGS: Final[tuple[tuple[Any, Callable[[Any], str]], ...]] = (
    (bool, lambda value: str(int(value))),
    (datetime, lambda value: value.isoformat(sep=" ")),  # before date, of which it is one
    (date, lambda value: value.isoformat()),
    (Decimal, lambda value: format(value, "f")),
    ((bytes, memoryview), lambda value: bytes(value).decode("utf-8", "replace")),
)


class Database:
    """The tables of one schema, over one open connection.

    Attributes:
        places: where each table asked for is, by table name in lower case.
        others: other tables and views there.
    """

    def __init__(
        self, connection: sa.Connection, tables: Sequence[OmopTable], schema: str, elsewhere: Mapping[str, str]
    ) -> None:
        self._connection = connection
        self._inspector = sa.inspect(connection)
        self._found: dict[str, tuple[str, str | None]] = {}
        self._named = spoken(connection.engine.url)
        names: dict[str, list[str]] = {}
        for table in tables:
            where = elsewhere.get(table.name) or schema
            there = names.setdefault(where, self._list(where or None))
            matches = [name for name in there if name.lower() == table.name]
            if len(matches) > 1:
                raise ValueError(f"{self._named} has the table {table.name} in several spellings; keep one of them")
            if matches:
                self._found[table.name] = (matches[0], where or None)
        if not self._found:
            wanted = ", ".join(table.name for table in tables[:6])
            raise ValueError(f"{self._named} has none of the tables {wanted}, ...; see --schema")
        self.places: Mapping[str, str] = {name: self._place(name) for name in self._found}
        taken = {name for name, _ in self._found.values()}
        self.others = tuple(sorted({name.lower() for name in names.get(schema, []) if name not in taken}))

    def blocks(self, table: OmopTable) -> Iterator[Block]:
        """Read a table's columns as text, a bounded number of rows at a time, in the order of its key.

        Raises:
            ValueError: the table lacks a column that it requires, or the database refuses the query.
        """
        name, schema = self._found[table.name]
        with clear_errors(self.places[table.name]):
            found = {column["name"].lower(): column["name"] for column in self._inspector.get_columns(name, schema)}
        if missing := [column for column in table.requires if column not in found]:
            raise ValueError(f"{self.places[table.name]} has no column {', '.join(missing)}")
        columns = [column for column in table.reads if column in found]
        query = sa.select(*_columns([found[column] for column in columns])).select_from(sa.table(name, schema=schema))
        if table.key in found:
            query = query.order_by(sa.column(found[table.key]))
        with clear_errors(self.places[table.name]):
            yield from self._stream(query, columns, table)

    def _stream(self, query: sa.Select[Any], columns: Sequence[str], table: OmopTable) -> Iterator[Block]:
        """Run a query and give its rows."""
        read = 0
        with self._connection.execution_options(yield_per=_ROWS).execute(query) as result:
            for rows in result.partitions():
                values = dict(zip(columns, zip(*rows, strict=True), strict=True))
                nothing = pa.nulls(len(rows), pa.string())
                cells = {name: _as_text(values[name]) if name in values else nothing for name in table.reads}
                numbers = np.arange(read + 1, read + len(rows) + 1, dtype=np.int64)
                read += len(rows)
                yield Block(pa.table(cells), numbers, {}, 0)

    def _list(self, schema: str | None) -> list[str]:
        """Name the tables and views of a schema."""
        with clear_errors(self._named):
            return [*self._inspector.get_table_names(schema), *self._inspector.get_view_names(schema)]

    def _place(self, table: str) -> str:
        """Say where a table is."""
        name, schema = self._found[table]
        return f"{self._named} {schema + '.' if schema else ''}{name}"


@contextmanager
def open_database(
    url: str, tables: Sequence[OmopTable], *, schema: str = "", elsewhere: Mapping[str, str] | None = None
) -> Iterator[Database]:
    """Connect, and look for tables.

    Args:
        url: as SQLAlchemy writes it.
        tables: the tables asked for.
        schema: where they are; "" is the connection's default.
        elsewhere: schemas of single tables, by table name; "" is `schema`.

    Raises:
        ValueError: the URL is none, its driver is not installed, the database cannot be reached or has no such table.
    """
    engine = open_engine(url)
    try:
        with clear_errors(spoken(engine.url)):
            connection = engine.connect().execution_options(**_snapshot(engine))
        with connection:
            yield Database(connection, tables, schema, elsewhere or {})
    finally:
        engine.dispose()


def open_engine(url: str, *, new_file: bool = False) -> sa.Engine:
    """Make an engine; a URL that is none is described and not repeated, for a password may be in it.

    Args:
        url: as SQLAlchemy writes it.
        new_file: whether the file of an SQLite database may be absent.

    Raises:
        ValueError: the URL is none, its driver is not installed, or there is no such file.
    """
    try:
        parsed = _parse(url)
        if (
            not new_file
            and parsed.get_backend_name() == "sqlite"
            and parsed.database
            and not _is_there(parsed.database)
        ):
            raise ValueError(f"no such database file: {parsed.database}")
        return sa.create_engine(parsed, poolclass=sa.NullPool)
    except (ArgumentError, NoSuchModuleError, _NotAUrlError):
        raise ValueError(
            "this is not the URL of a database this program can use; write for example "
            "postgresql+psycopg://user@host/database or sqlite:////folder/file.db"
        ) from None
    except ModuleNotFoundError as error:
        raise ValueError(f"the driver of this database is not installed: {error.name}") from None


class _NotAUrlError(Exception):
    """What was given is no URL."""


def _parse(url: str) -> sa.URL:
    """Parse a URL; SQLAlchemy lets the error of a port that is no number through as it is."""
    try:
        return sa.make_url(url)
    except ValueError:
        raise _NotAUrlError from None


def _is_there(path: str) -> bool:
    """Say whether a file exists: SQLite would make an empty one."""
    from pathlib import Path

    return path == ":memory:" or path.startswith("file:") or Path(path).is_file()


def _snapshot(engine: sa.Engine) -> dict[str, Any]:
    """Options under which all tables are read as of one moment, where the database can."""
    if engine.dialect.name == "postgresql":
        return {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    return {}


@contextmanager
def clear_errors(where: str, *, verb: str = "read") -> Iterator[None]:
    """Turn the database's errors into one line that says where; the statement and its values stay out."""
    try:
        yield
    except SQLAlchemyError as error:
        # the driver's own sentence may quote a value, or the URL: only its name for the error is repeated
        cause = getattr(error, "orig", None) or error
        number = getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", None)
        name = f"{type(cause).__name__}{f' {number}' if number else ''}"
        raise ValueError(f"{where} cannot be {verb} ({name}); {_advice(cause)}") from None


def _advice(cause: Any) -> str:
    """Say what is usually wrong."""
    if type(cause).__name__ in {"OperationalError", "InterfaceError"} and not hasattr(cause, "sqlite_errorname"):
        return "is the server there, and are user, password and database name right?"
    return "the database's own log says more"


def _columns(names: Sequence[str]) -> list[Any]:
    """Name columns in a query."""
    return [sa.column(name) for name in names]


def spoken(url: sa.URL) -> str:
    """Name a database without user, password and options."""
    return f"{url.drivername}://{url.host or ''}{f':{url.port}' if url.port else ''}/{url.database or ''}"


def _as_text(values: Sequence[Any]) -> pa.Array:
    """Spell a column as its CSV export would; what a file cannot tell from nothing is nothing here too."""
    try:
        typed = pa.array(values)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        typed = None
    if typed is None or not _has_plain_text(typed.type):
        cells = pa.array([_cell(value) for value in values], pa.string())
    else:
        cells = typed.cast(pa.string())
    return pc.if_else(pc.is_in(cells, pa.array(ABSENT)), pa.scalar(None, pa.string()), cells)


def _has_plain_text(kind: pa.DataType) -> bool:
    """Say whether Arrow spells a whole column as its cells would be spelled."""
    checks = (pa.types.is_string, pa.types.is_integer, pa.types.is_date, pa.types.is_decimal, pa.types.is_null)
    return any(check(kind) for check in checks) or (pa.types.is_timestamp(kind) and kind.tz is None)


def _cell(value: Any) -> str | None:
    """Spell one value."""
    if value is None or isinstance(value, str):
        return value
    spell = next((spell for kind, spell in _SPELLINGS if isinstance(value, kind)), str)
    return spell(value)
