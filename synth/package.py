"""The package of a released cohort: rows, what was found about them, and checksums; nothing else.

A fitted generator holds row numbers of its patients and true extremes, so a model never leaves, nor does anything
written in a form that can carry one. The package is written beside its place, looked through to the byte, signed,
and only then moved there: what is found at its place was complete and clean.

The folder holds ``rows.parquet`` and ``rows.csv`` (the same rows; of several tables two such files each, under the
table's name), ``cohort.json`` (the judgement, and the only source of what follows), ``card.md`` and ``cohort.html``
(the same in words and pictures), and ``manifest.json`` with the SHA-256 of each file; a signature adds ``signatures/``.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clinical.durability import flush_tree
from privacy import manifest
from privacy.manifest import MANIFEST
from synth.artefacts import CARD, PAGE, RECORD, scan
from synth.record import render_card, text_of
from synth.tables import write_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from synth.relations import RelatedSpec
    from synth.sheets import Sheet
    from synth.spec import TableSpec


def write_package(
    folder: Path,
    sheets: Sequence[Sheet],
    spec: TableSpec | RelatedSpec,
    record: dict[str, Any],
    *,
    draw: Callable[[dict[str, Any]], str],
    before: Callable[[Path], None],
) -> None:
    """Writes a released cohort.

    Args:
        folder: must not exist.
        sheets: the tables that leave.
        spec: of all of them.
        record: from `synth.record.as_record`.
        draw: draws the record as a page.
        before: is called with the finished package before it appears: to sign it and to note the release.

    Raises:
        ValueError: the record does not say release.
        FileExistsError: there is such a folder.
        synth.artefacts.ArtefactFound: the scan found something that is no row.

    Guarantee:
        `folder` appears whole or not at all, only for a cohort whose record says "release", only after `scan`, and only
        after `before` has returned.
    """
    if record["decision"] != "release":
        raise ValueError(f"the gate says {record['decision']}: nothing is written")
    if folder.exists():
        raise FileExistsError(f"{folder} exists: a release never replaces another")
    folder.parent.mkdir(parents=True, exist_ok=True)
    page = draw(record)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        place = Path(scratch) / "package"
        place.mkdir()
        for sheet in sheets:
            parquet, csv = sheet.layout.files
            write_rows(sheet.rows, place / parquet, place / csv)
        for name, text in ((RECORD, text_of(record)), (CARD, render_card(record)), (PAGE, page)):
            (place / name).write_text(text, encoding="utf-8")
        scan(place, sheets, spec, record, page)
        (place / MANIFEST).write_bytes(manifest.compose(manifest.checksum(place)))
        flush_tree(place)
        before(place)
        shutil.move(place, folder)
