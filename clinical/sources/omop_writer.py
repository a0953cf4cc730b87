"""The tables of an OMOP database, made and filled in one transaction.

The columns are those of OMOP CDM 5.4 that Wardround reads or OMOP requires, under OMOP's names and types; keys are
declared, foreign keys are not, because the vocabulary they point at is not ours to ship.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from clinical.sources.database import clear_errors, open_engine, spoken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["write_tables"]

_BIG: Final = sa.BigInteger
_WORD: Final = sa.String(50)
_TABLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "person": {
        "person_id": _BIG,
        "gender_concept_id": _BIG,
        "year_of_birth": sa.Integer,
        "birth_datetime": sa.DateTime,
        "race_concept_id": _BIG,
        "ethnicity_concept_id": _BIG,
        "gender_source_value": _WORD,
        "race_source_value": _WORD,
    },
    "visit_occurrence": {
        "visit_occurrence_id": _BIG,
        "person_id": _BIG,
        "visit_concept_id": _BIG,
        "visit_start_date": sa.Date,
        "visit_start_datetime": sa.DateTime,
        "visit_end_date": sa.Date,
        "visit_end_datetime": sa.DateTime,
        "visit_type_concept_id": _BIG,
    },
    "visit_detail": {
        "visit_detail_id": _BIG,
        "person_id": _BIG,
        "visit_detail_concept_id": _BIG,
        "visit_detail_start_date": sa.Date,
        "visit_detail_start_datetime": sa.DateTime,
        "visit_detail_end_date": sa.Date,
        "visit_detail_end_datetime": sa.DateTime,
        "visit_detail_type_concept_id": _BIG,
        "visit_occurrence_id": _BIG,
    },
    "condition_occurrence": {
        "condition_occurrence_id": _BIG,
        "person_id": _BIG,
        "condition_concept_id": _BIG,
        "condition_start_date": sa.Date,
        "condition_start_datetime": sa.DateTime,
        "condition_type_concept_id": _BIG,
        "visit_occurrence_id": _BIG,
        "condition_source_value": _WORD,
        "condition_source_concept_id": _BIG,
    },
    "procedure_occurrence": {
        "procedure_occurrence_id": _BIG,
        "person_id": _BIG,
        "procedure_concept_id": _BIG,
        "procedure_date": sa.Date,
        "procedure_datetime": sa.DateTime,
        "procedure_type_concept_id": _BIG,
        "visit_occurrence_id": _BIG,
        "procedure_source_value": _WORD,
        "procedure_source_concept_id": _BIG,
    },
    "drug_exposure": {
        "drug_exposure_id": _BIG,
        "person_id": _BIG,
        "drug_concept_id": _BIG,
        "drug_exposure_start_date": sa.Date,
        "drug_exposure_start_datetime": sa.DateTime,
        "drug_exposure_end_date": sa.Date,
        "drug_type_concept_id": _BIG,
        "visit_occurrence_id": _BIG,
        "drug_source_value": _WORD,
    },
    "measurement": {
        "measurement_id": _BIG,
        "person_id": _BIG,
        "measurement_concept_id": _BIG,
        "measurement_date": sa.Date,
        "measurement_datetime": sa.DateTime,
        "measurement_type_concept_id": _BIG,
        "value_as_number": sa.Double,
        "visit_occurrence_id": _BIG,
        "measurement_source_value": _WORD,
        "unit_source_value": _WORD,
        "value_source_value": _WORD,
    },
    "death": {
        "person_id": _BIG,
        "death_date": sa.Date,
        "death_datetime": sa.DateTime,
        "death_type_concept_id": _BIG,
    },
    "note": {
        "note_id": _BIG,
        "person_id": _BIG,
        "note_date": sa.Date,
        "note_datetime": sa.DateTime,
        "note_type_concept_id": _BIG,
        "note_class_concept_id": _BIG,
        "note_title": sa.String(250),
        "note_text": sa.Text,
        "encoding_concept_id": _BIG,
        "language_concept_id": _BIG,
        "visit_occurrence_id": _BIG,
    },
    "concept": {
        "concept_id": _BIG,
        "concept_name": sa.String(255),
        "vocabulary_id": sa.String(20),
        "concept_code": sa.String(50),
    },
}


@contextmanager
def write_tables(url: str) -> Iterator[Callable[[str, list[dict[str, Any]]], None]]:
    """Make the tables, give a function that adds rows to one of them, and keep everything if the block ends well.

    Args:
        url: of the database, as SQLAlchemy writes it.

    Raises:
        ValueError: the database cannot be reached or written, or holds one of the tables.
    """
    metadata = sa.MetaData()
    tables = {name: _table(name, columns, metadata) for name, columns in _TABLES.items()}
    engine = open_engine(url, new_file=True)
    place = spoken(engine.url)
    try:
        with clear_errors(place, verb="written"):
            _refuse_occupied(engine, place)
            with _all_or_nothing(engine, metadata) as connection:

                def write(name: str, rows: list[dict[str, Any]]) -> None:
                    if rows:
                        connection.execute(tables[name].insert(), _whole(rows, tables[name]))

                yield write
    finally:
        engine.dispose()


def _refuse_occupied(engine: sa.Engine, place: str) -> None:
    if there := sorted(set(sa.inspect(engine).get_table_names()) & set(_TABLES)):
        raise ValueError(f"{place} already has {', '.join(there)}; give an empty database")


@contextmanager
def _all_or_nothing(engine: sa.Engine, metadata: sa.MetaData) -> Iterator[sa.Connection]:
    """Make the tables in a transaction; SQLite keeps them even if it is taken back, so they are dropped then."""
    try:
        with engine.begin() as connection:
            metadata.create_all(connection)
            yield connection
    except BaseException:
        with suppress(SQLAlchemyError):  # the first error is the one to tell
            metadata.drop_all(engine)
        raise


def _table(name: str, columns: Mapping[str, Any], metadata: sa.MetaData) -> sa.Table:
    key = next(iter(columns))
    described = [
        sa.Column(column, kind, primary_key=column == key, autoincrement=False) for column, kind in columns.items()
    ]
    return sa.Table(name, metadata, *described)


def _whole(rows: list[dict[str, Any]], table: sa.Table) -> list[dict[str, Any]]:
    """Give every row the same columns: one statement then serves them all."""
    empty = dict.fromkeys(table.columns.keys())
    return [{**empty, **row} for row in rows]
