"""The data doctor finds every planted fault with its exact count, is silent without one, and never shows a cell."""

import io
import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from clinical.doctor import CHECKS
from clinical.doctor.examination import NETWORK, examine
from clinical.doctor.findings import SEVERITIES
from clinical.doctor.hospital import SiteTerms
from clinical.doctor.view import show
from clinical.events import ProfileError
from tests.clinical.ward import DAY, PATIENTS, Ward, healthy

NOW = int(datetime(2026, 1, 1).timestamp() * 1e6)  # noqa: DTZ001
TERMS = SiteTerms(minimum_patients=5, minimum_cell=1, batch_patients=10)
HOUR = timedelta(hours=1)
ALL = PATIENTS


def examined(path: Path, terms: SiteTerms = TERMS):
    return examine(path, terms=lambda _: terms, now_us=NOW)


def found(path: Path, terms: SiteTerms = TERMS) -> dict[str, dict[str, tuple[int, int]]]:
    """Findings as {check: {concern: (count, patients)}}."""
    result: dict[str, dict[str, tuple[int, int]]] = {}
    for finding in examined(path, terms).findings:
        result.setdefault(finding.id, {})[finding.concern] = (finding.count, finding.patients)
    return result


# --- faults in the events: (what the check finds, how the ward is spoiled, which other checks follow from it) ---


def _swap_admission(ward: Ward) -> None:
    ward.put(ward.at("MED//Aspirin", 1, 2), "hadm_id", 103)


def _swap_stay(ward: Ward) -> None:
    ward.put(ward.at("LAB//Calcium//mg/dL", 1), "stay_id", 202)


def _stay_elsewhere(ward: Ward) -> None:
    ward.put(ward.at("LAB//Calcium//mg/dL", 1, 2), "hadm_id", None)
    ward.add("ADMISSION", 1, hours=200)
    ward.put(ward.events.index == len(ward.events) - 1, "hadm_id", 999)
    ward.put(ward.at("LAB//Calcium//mg/dL", 1), "hadm_id", 999)


def _icu_out_first(ward: Ward) -> None:
    ward.move(ward.at("ICU//OUT", 1, 2, 3), -50 * HOUR)


def _discharge_first(ward: Ward) -> None:
    ward.move(ward.at("DISCHARGE", 1, 2), -101 * HOUR)
    ward.drop(ward.events.subject_id.isin([1, 2]) & ward.events.code.str.match("LAB|VITAL|MED/|ICU"))
    for task, labels in ward.labels.items():
        ward.labels[task] = labels[~labels.subject_id.isin([1, 2])]


def _codes(*codes: str):
    """Give the first patients other codes than E11.9."""

    def spoil(ward: Ward) -> None:
        for patient, code in enumerate(codes, start=1):
            ward.put(ward.at("DIAG//ICD10CM//E11.9", patient), "code", code)

    return spoil


def _both_systems_for_years(ward: Ward) -> None:
    later = ward.events.subject_id > ALL / 2
    ward.move(later & (ward.events.code != "MEDS_BIRTH"), 365 * DAY)
    for labels in ward.labels.values():
        labels.loc[labels.subject_id > ALL / 2, "prediction_time"] += 365 * DAY
    half = ward.events.subject_id % 4 < 2
    ward.put(ward.at("DIAG//ICD10CM//E11.9") & half, "code", "DIAG//ICD9CM//250.00")
    ward.put(ward.at("DIAG//ICD10CM//I10") & half, "code", "DIAG//ICD9CM//401.9")


def _values(code: str, value: float, *patients: int):
    return lambda ward: ward.put(ward.at(code, *patients), "numeric_value", value)


def _calcium_in_mmol(ward: Ward) -> None:
    ward.events.loc[ward.at("LAB//Calcium//mg/dL"), "numeric_value"] *= 0.2495


def _rename(code: str, to: str, *patients: int):
    return lambda ward: ward.put(ward.at(code, *patients), "code", to)


def _add(code: str, *patients: int, **more):
    return lambda ward: ward.add(code, *patients, **more)


def _moved(code: str, by: timedelta, *patients: int):
    return lambda ward: ward.move(ward.at(code, *patients), by)


def _at(code: str, moment: object, *patients: int):
    return lambda ward: ward.put(ward.at(code, *patients), "time", moment)


def _shifted(ward: Ward) -> None:
    ward.events["time"] += 50_000 * DAY
    for labels in ward.labels.values():
        labels["prediction_time"] += 50_000 * DAY


def _midnights(ward: Ward) -> None:
    labs = ward.events.code.str.startswith("LAB//") & (ward.events.subject_id > 10)
    ward.put(labs, "time", ward.events.time.dt.floor("D") + DAY)


def _at_bedside(ward: Ward) -> None:
    ward.move(ward.at("DIAG//ICD10CM//I10"), -70 * HOUR)
    ward.move(ward.at("DIAG//ICD10CM//E11.9"), -60 * HOUR)


def _stamped_at_admission(ward: Ward) -> None:
    ward.move(ward.events.code.str.startswith("DIAG//"), -100 * HOUR)


def _dead_on_admission(ward: Ward) -> None:
    ward.move(ward.at("DEATH", 4), -110 * HOUR - 2 * DAY)


def _telling(ward: Ward) -> None:
    ward.add("MED//Morphine", *range(4, ALL + 1, 4))


def _twice(ward: Ward) -> None:
    chosen = ward.events[ward.at("MED//Aspirin", 1, 2, 3)]
    ward.events = pd.concat([ward.events, chosen, chosen[:1]], ignore_index=True)


def _all_twice(ward: Ward) -> None:
    ward.events = pd.concat([ward.events, ward.events], ignore_index=True)


def _same_person(ward: Ward) -> None:
    """Patient 3 is patient 1 under another number."""
    for code in ("ADMISSION", "MEDS_BIRTH"):
        (moment,) = ward.events[ward.at(code, 1)].time
        ward.put(ward.at(code, 3), "time", moment)


def _text(value: str | None, *patients: int):
    return lambda ward: ward.put(ward.at("NOTE//DISCHARGE", *patients), "text_value", value)


def _without(code: str, *patients: int):
    return lambda ward: ward.drop(ward.at(code, *patients))


def _loose(code: str, *patients: int):
    return lambda ward: ward.put(ward.at(code, *patients), "hadm_id", None)


def _unsorted(ward: Ward) -> None:
    ward.keep_order = True
    ward.move(ward.at("MED//Aspirin", 1), 50 * HOUR)


def _undotted(ward: Ward) -> None:
    _codes("DIAG//ICD10CM//E119", "DIAG//ICD10CM//E119")(ward)


EVENT_FAULTS = [
    ("admission-of-two-patients", {"hadm_id": (1, 3)}, _swap_admission, {"admission-without-begin"}),
    ("stay-of-two-patients", {"stay_id": (1, 2)}, _swap_stay, {"stay-without-begin"}),
    ("stay-in-two-admissions", {"stay_id": (1, 1)}, _stay_elsewhere,
     {"admission-without-discharge", "event-before-admission"}),
    ("stay-without-begin", {"ICU//IN": (2, 2)}, _without("ICU//IN", 1, 2), {"label-of-no-stay"}),
    ("stay-without-end", {"ICU//OUT": (3, 3)}, _without("ICU//OUT", 1, 2, 3), set()),
    ("stay-ends-before-it-begins", {"ICU//OUT": (3, 3)}, _icu_out_first, {"label-outside-stay"}),
    ("admission-without-begin", {"ADMISSION": (2, 2)}, _without("ADMISSION", 5, 6), set()),
    ("admission-without-discharge", {"DISCHARGE": (1, 1)}, _without("DISCHARGE", 5), set()),
    ("discharge-before-admission", {"DISCHARGE": (2, 2)}, _discharge_first, set()),
    ("admission-begins-twice", {"ADMISSION": (2, 2)}, _add("ADMISSION", 1, 2, hours=9), set()),
    ("admission-without-number", {"hadm_id": (2, 2)}, _loose("ADMISSION", 1, 2), {"admission-without-begin"}),
    ("required-value-missing", {"code": (2, 0)}, _rename("MED//Aspirin", "", 1, 2), set()),
    ("rows-out-of-order", {"data/*.parquet": (1, 0)}, _unsorted, set()),
    ("code-impossible", {"DIAG//ICD10CM": (2, 2)}, _codes("DIAG//ICD10CM//250.00", "DIAG//ICD10CM//?"), set()),
    ("code-undotted", {"DIAG//ICD10CM": (2, 2)}, _undotted, set()),
    ("code-lost-zero", {"DIAG//ICD9CM": (2, 2)}, _codes("DIAG//ICD9CM//8.45", "DIAG//ICD9CM//38.9"),
     {"icd-mixed-in-admission"}),
    ("code-zero-ambiguous", {"DIAG//ICD9CM": (1, 1)}, _codes("DIAG//ICD9CM//389"),
     {"icd-mixed-in-admission", "code-in-no-release"}),
    ("code-misspelt", {"DIAG//ICD10CM": (2, 2)}, _codes("DIAG//ICD10CM//e11.9", "DIAG//ICD10CM//E11.9 "), set()),
    ("code-in-no-release", {"DIAG//ICD10CM": (2, 2)}, _codes("DIAG//ICD10CM//E11", "DIAG//ICD10CM//C34.9"), set()),
    ("icd-mixed-in-admission", {"DIAG//ICD9CM and DIAG//ICD10CM": (1, 1)}, _codes("DIAG//ICD9CM//250.00"), set()),
    ("icd-mixed-over-years", {"DIAG//ICD9CM and DIAG//ICD10CM": (2, 0)}, _both_systems_for_years, set()),
    ("code-prefix-unknown", {"code": (2, 2)}, _rename("MED//Aspirin", "Drug:Aspirin", 1, 2), set()),
    ("diagnosis-not-icd", {"DIAG//": (2, 2)}, _codes("DIAG//SNOMED//1", "DIAG//SNOMED//2"), set()),
    ("value-implausible", {"VITAL Heart rate, bpm": (2, 2)}, _values("VITAL//Heart rate//bpm", 999.0, 1, 2), set()),
    ("variable-mostly-implausible", {"VITAL Heart rate, bpm": (ALL, ALL)}, _values("VITAL//Heart rate//bpm", 0.0),
     {"value-implausible"}),
    ("unit-looks-like-another", {"LAB Calcium, mg/dL": (ALL, ALL)}, _calcium_in_mmol, set()),
    ("unit-not-convertible", {"LAB Calcium, mg/dL": (2, 2)},
     _rename("LAB//Calcium//mg/dL", "LAB//Calcium//furlongs", 1, 2), set()),
    ("unit-not-single", {"LAB Calcium, mg/dL": (1, 0)}, lambda ward: (
        ward.put(ward.at("LAB//Calcium//mg/dL", 1), "numeric_value", 2.2),
        _rename("LAB//Calcium//mg/dL", "LAB//Calcium//mmol/L", 1)(ward)), set()),
    ("unit-missing", {"LAB Calcium, mg/dL": (2, 2)}, _rename("LAB//Calcium//mg/dL", "LAB//Calcium", 1, 2), set()),
    ("measurement-empty", {"LAB Calcium, mg/dL": (2, 2)}, _values("LAB//Calcium//mg/dL", None, 1, 2), set()),
    ("measurement-only-text", {"LAB Calcium, mg/dL": (1, 1)}, lambda ward: (
        _values("LAB//Calcium//mg/dL", None, 1)(ward),
        ward.put(ward.at("LAB//Calcium//mg/dL", 1), "text_value", "haemolysed")), set()),
    ("event-before-birth", {"time": (2, 2)}, _moved("MED//Aspirin", -30_000 * DAY, 1, 2), {"event-before-admission"}),
    ("event-after-death", {"time": (2, 2)}, _moved("MED//Aspirin", 200 * HOUR, 4, 8), {"event-after-discharge"}),
    ("event-after-discharge", {"time": (2, 2)}, _moved("MED//Aspirin", 200 * HOUR, 1, 2), set()),
    ("event-before-admission", {"time": (2, 2)}, _moved("MED//Aspirin", -10 * DAY, 1, 2), set()),
    ("event-outside-stay", {"stay_id": (2, 2)}, _moved("LAB//Calcium//mg/dL", 80 * HOUR, 1, 2), set()),
    ("event-in-future", {"time": (2, 2)}, _at("MED//Aspirin", datetime(2031, 5, 5, 5), 1, 2),  # noqa: DTZ001
     {"event-after-discharge"}),
    ("dates-shifted", {"time": (14 * ALL + ALL // 4, ALL)}, _shifted, set()),
    ("time-missing", {"time": (2, 2)}, _at("MED//Aspirin", None, 1, 2), set()),
    ("time-placeholder", {"time": (2, 2)}, _at("MED//Aspirin", datetime(1970, 1, 1), 1, 2),  # noqa: DTZ001
     {"event-before-admission", "event-before-birth"}),
    ("age-above-120", {"MEDS_BIRTH": (2, 2)}, _moved("MEDS_BIRTH", -100_000 * HOUR * 7, 1, 2), set()),
    ("birth-or-death-twice", {"DEATH": (1, 1)}, _add("DEATH", 4, hours=99), set()),
    ("time-of-day-lost", {"LAB//": (60, 0)}, _midnights, set()),
    ("diagnosis-before-discharge", {"DIAG// and PROC//": (2 * ALL, ALL)}, _stamped_at_admission, set()),
    ("diagnosis-entered-in-stay", {"DIAG// and PROC//": (2 * ALL, ALL)}, _at_bedside, set()),
    ("drg-before-discharge", {"DRG//": (2, 2)}, _moved("DRG//HCFA//194", -HOUR, 1, 2), set()),
    ("discharge-note-before-discharge", {"NOTE//DISCHARGE": (2, 2)}, _moved("NOTE//DISCHARGE", -HOUR, 1, 2), set()),
    ("destination-before-discharge", {"VISIT//TO//": (2, 2)}, _moved("VISIT//TO//HOME", -HOUR, 1, 2), set()),
    ("death-before-discharge", {"DEATH": (2, 2)}, _moved("DEATH", -30 * HOUR, 4, 8), set()),
    ("admission-after-death", {"DEATH": (1, 1)}, _dead_on_admission, {"event-after-death"}),
    ("code-tells-the-answer", {"labels/mortality-24h": (1, 0)}, _telling, set()),
    ("note-without-text", {"text_value": (2, 2)}, _text("  ", 1, 2), {"codes-without-note"}),
    ("note-badly-decoded", {"text_value": (2, 2)},
     lambda ward: (_text("caf\u00c3\u00a9 one", 1)(ward), _text("\ufffd two", 2)(ward)), set()),
    ("note-of-two-patients", {"text_value": (1, 3)}, _text("The same.", 1, 2, 3), set()),
    ("note-without-admission", {"NOTE//DISCHARGE": (2, 2)}, _loose("NOTE//DISCHARGE", 1, 2), {"codes-without-note"}),
    ("note-without-codes", {"DIAG// and PROC//": (1, 1)},
     lambda ward: ward.drop(ward.events.code.str.startswith("DIAG//") & (ward.events.subject_id == 1)), set()),
    ("codes-without-note", {"NOTE//DISCHARGE": (2, 2)}, _without("NOTE//DISCHARGE", 1, 2), set()),
    ("codes-without-admission", {"hadm_id": (2, 2)}, _loose("DIAG//ICD10CM//I10", 1, 2), set()),
    ("rows-repeated", {"all columns": (4, 3)}, _twice, set()),
    ("rows-doubled", {"all columns": (16 * ALL + ALL // 4, ALL)}, _all_twice, set()),
    ("patient-under-two-numbers", {"subject_id": (2, 2)}, _same_person, set()),
]  # fmt: skip


@pytest.mark.parametrize(("check", "expected", "spoil", "also"), EVENT_FAULTS, ids=[fault[0] for fault in EVENT_FAULTS])
def test_a_fault_among_the_events_is_found_with_its_count(tmp_path, check, expected, spoil, also):
    ward = healthy()
    spoil(ward)
    findings = found(ward.write(tmp_path / "ward"))
    assert findings.get(check) == expected
    assert findings.keys() == {check} | also


def _label(task: str, rows: int, **values):
    """Write into the first labels of a task."""

    def spoil(ward: Ward) -> None:
        for column, value in values.items():
            ward.labels[task].loc[: rows - 1, column] = value

    return spoil


def _asked_too_late(ward: Ward) -> None:
    ward.labels["mortality-24h"].loc[:2, "prediction_time"] += timedelta(hours=20)


def _asked_twice(ward: Ward) -> None:
    labels = ward.labels["kidney-function"]
    ward.labels["kidney-function"] = pd.concat([labels, labels[:3]])


def _never_in_tuning(ward: Ward) -> None:
    labels = ward.labels["mortality-24h"]
    labels.loc[labels.subject_id.between(29, 34), "boolean_value"] = False


def _task_as_numbers(ward: Ward) -> None:
    ward.labels["mortality-24h"] = ward.labels["kidney-function"].copy()


def _splits(*changes: tuple[int, object]):
    def spoil(ward: Ward) -> None:
        for patient, part in changes:
            ward.splits.loc[ward.splits.subject_id == patient, "split"] = part

    return spoil


def _split_rows(ward: Ward, *rows: tuple[int, str]) -> None:
    ward.splits = pd.concat([ward.splits, pd.DataFrame(rows, columns=["subject_id", "split"])])


def _emptied(part: str):
    def spoil(ward: Ward) -> None:
        ward.splits["split"] = ward.splits.split.replace(part, "train" if part != "train" else "tuning")

    return spoil


SPLITS = "metadata/subject_splits.parquet"
TABLE_FAULTS = [
    ("labels-of-unknown-task", {"labels/": (1, 0)},
     lambda ward: ward.labels.update(typo=ward.labels["kidney-function"]), set()),
    ("label-of-other-kind", {"labels/mortality-24h": (ALL, 0)}, _task_as_numbers, set()),
    ("label-outside-limits", {"labels/kidney-function": (2, 0)}, _label("kidney-function", 2, float_value=99.0), set()),
    ("label-of-nobody", {"labels/kidney-function": (2, 0)}, _label("kidney-function", 2, subject_id=9000),
     {"label-of-no-stay"}),
    ("label-of-no-stay", {"labels/kidney-function": (2, 0)}, _label("kidney-function", 2, stay_id=9000), set()),
    ("label-outside-stay", {"labels/mortality-24h": (3, 0)}, _asked_too_late, set()),
    ("label-repeated", {"labels/kidney-function": (3, 0)}, _asked_twice, set()),
    ("label-constant", {"labels/mortality-24h": (ALL, 0)}, _label("mortality-24h", ALL, boolean_value=True), set()),
    ("split-one-sided", {"labels/mortality-24h, tuning": (6, 0)}, _never_in_tuning, set()),
    ("manifest-patients-differ", {"metadata/dataset.json": (3, 0)},
     lambda w: w.manifest.update(patients=ALL + 3), set()),
    ("manifest-documents-differ", {"metadata/dataset.json": (2, 0)},
     lambda w: w.manifest.update(documents=ALL - 2), set()),
    ("receipt-patients-differ", {"metadata/ingest.json": (1, 0)}, lambda w: w.receipt.update(patients=ALL - 1), set()),
    ("receipt-events-differ", {"metadata/ingest.json": (7, 0)},
     lambda w: w.receipt.update(events={"a": len(w.events), "b": 7, "aki/outc": 5}), set()),
    ("receipt-does-not-add-up", {"metadata/ingest.json": (1, 0)},
     lambda w: w.receipt.update(tables={"a": {"read": 3, "kept": 2, "refused": {}}}), set()),
    ("split-unknown", {SPLITS: (2, 2)}, _splits((1, "trian"), (2, None)), {"patient-without-split"}),
    ("patient-without-split", {SPLITS: (3, 3)}, lambda w: setattr(w, "splits", w.splits[3:]), set()),
    ("split-of-nobody", {SPLITS: (2, 2)}, lambda w: _split_rows(w, (7001, "train"), (7002, "tuning")), set()),
    ("patient-in-two-splits", {SPLITS: (2, 2)}, lambda w: _split_rows(w, (1, "tuning"), (2, "train")), set()),
    ("train-empty", {f"{SPLITS}, train": (1, 0)}, _emptied("train"), set()),
    ("evaluation-split-empty", {f"{SPLITS}, held_out": (1, 0)}, _emptied("held_out"), set()),
]  # fmt: skip


@pytest.mark.parametrize(("check", "expected", "spoil", "also"), TABLE_FAULTS, ids=[fault[0] for fault in TABLE_FAULTS])
def test_a_fault_in_labels_books_and_splits_is_found_with_its_count(tmp_path, check, expected, spoil, also):
    ward = healthy()
    spoil(ward)
    findings = found(ward.write(tmp_path / "ward"))
    assert findings.get(check) == expected
    assert findings.keys() == {check} | also


# --- faults of files ---


def _rewrite(path: Path, change) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def _split_file(folder: Path) -> None:
    """Deal the events of one patient to a second file."""
    table = pq.read_table(folder / "data" / "0.parquet").to_pandas()
    mine = (table.subject_id == ALL) & (table.code == "MED//Aspirin")
    for number, part in enumerate((table[~mine], table[mine])):
        schema = pq.read_schema(folder / "data" / "0.parquet").remove_metadata()
        pq.write_table(
            pa.Table.from_pandas(part, schema=schema, preserve_index=False), folder / "data" / f"{number}.parquet"
        )


def _events_file(change):
    return lambda folder: _rewrite(folder / "data" / "0.parquet", change)


def _with_nan(table: pa.Table) -> pa.Table:
    values = table["numeric_value"].to_numpy().copy()
    rows = np.flatnonzero(~np.isnan(values))[:3]
    column = pa.array([None if np.isnan(value) else value for value in values], pa.float32()).to_pylist()
    for row in rows:
        column[row] = float("inf")
    place = table.schema.get_field_index("numeric_value")
    return table.set_column(place, "numeric_value", pa.array(column, pa.float32()))


def _retyped(table: pa.Table) -> pa.Table:
    place = table.schema.get_field_index("hadm_id")
    return table.set_column(place, "hadm_id", table["hadm_id"].cast(pa.float64()))


def _write_empty(folder: Path) -> None:
    pq.write_table(pq.read_table(folder / "data" / "0.parquet")[:0], folder / "data" / "1.parquet")


FILE_FAULTS = [
    ("file-unreadable", {"data/*.parquet": (1, 0)}, lambda f: (f / "data" / "1.parquet").write_bytes(b"PAR1"), set()),
    ("no-events", {"data/": (1, 0)}, _events_file(lambda table: table[:0]), {
        "file-empty", "manifest-patients-differ", "manifest-documents-differ", "receipt-patients-differ",
        "receipt-events-differ", "split-of-nobody", "label-of-nobody", "label-of-no-stay"}),
    ("column-missing", {"code": (1, 0)}, lambda f: pq.write_table(
        pq.read_table(f / "data" / "0.parquet").drop_columns(["code"])[:0], f / "data" / "1.parquet"), set()),
    ("column-unknown", {"data/*.parquet": (1, 0)},
     _events_file(lambda table: table.append_column("ward", pa.nulls(len(table)))), set()),
    ("column-type", {"hadm_id": (1, 0)}, _events_file(_retyped), set()),
    ("file-empty", {"data/*.parquet": (1, 0)}, _write_empty, set()),
    ("number-not-finite", {"numeric_value": (3, 0)}, _events_file(_with_nan), {"measurement-empty"}),
    ("patient-in-two-files", {"subject_id": (1, 1)}, _split_file, {"admission-without-begin"}),
    ("manifest-unreadable", {"metadata/dataset.json": (1, 0)},
     lambda f: (f / "metadata" / "dataset.json").write_text("{"), set()),
    ("receipt-unreadable", {"metadata/ingest.json": (1, 0)},
     lambda f: (f / "metadata" / "ingest.json").write_text("{"), set()),
    ("splits-unreadable", {SPLITS: (1, 0)}, lambda f: (f / SPLITS).unlink(), set()),
    ("code-not-listed", {"metadata/codes.parquet": (2, 0)},
     lambda f: _rewrite(f / "metadata" / "codes.parquet", lambda table: table[2:]), set()),
    ("labels-unreadable", {"labels/mortality-24h": (1, 0)},
     lambda f: (f / "labels" / "mortality-24h.parquet").write_bytes(b"no parquet"), set()),
]  # fmt: skip


@pytest.mark.parametrize(("check", "expected", "spoil", "also"), FILE_FAULTS, ids=[fault[0] for fault in FILE_FAULTS])
def test_a_fault_of_the_files_is_found_and_the_rest_still_examined(tmp_path, check, expected, spoil, also):
    folder = healthy().write(tmp_path / "ward")
    spoil(folder)
    findings = found(folder)
    assert findings.get(check) == expected
    assert findings.keys() == {check} | also


# --- what a hospital asks of a study ---

TERM_FAULTS = [
    ("policy-unreadable", {"policy.toml": (1, 0)}, SiteTerms(batch_patients=10, refusal="no")),
    ("train-below-policy", {f"{SPLITS}, train": (28, 28)}, SiteTerms(29, 1, 10)),
    ("train-below-batch", {f"{SPLITS}, train": (28, 28)}, SiteTerms(5, 1, 29)),
]


@pytest.mark.parametrize(("check", "expected", "terms"), TERM_FAULTS, ids=[fault[0] for fault in TERM_FAULTS])
def test_a_hospital_too_small_for_its_terms_is_told_so(tmp_path, check, expected, terms):
    assert found(healthy().write(tmp_path / "ward"), terms) == {check: expected}


def test_cells_below_the_policys_minimum_are_counted_by_split_and_by_group(tmp_path):
    findings = found(healthy().write(tmp_path / "ward"), SiteTerms(5, 4, 10))
    assert findings == {
        # 32 alone dies in the tuning split of 29 to 34, 36 and 40 in the held-out one of 35 to 40
        "outcome-below-minimum-cell": {
            "labels/mortality-24h, tuning": (1, 1),
            "labels/mortality-24h, held_out": (2, 2),
        },
        "subgroup-below-minimum-cell": {"sex, held_out": (2, 6)},
    }


# --- networks ---


def _network(folder: Path, *wards: Ward) -> Path:
    for number, ward in enumerate(wards, start=1):
        ward.write(folder / f"ward-{number}")
    return folder


def _renumbered(ward: Ward, by: int) -> Ward:
    """The same people under other numbers."""
    for table in (ward.events, ward.splits, *ward.labels.values()):
        table["subject_id"] += by
    return ward


def test_the_same_patients_in_two_hospitals_are_counted(tmp_path):
    network = _network(tmp_path, healthy(patients=40), healthy(first=31, patients=40))
    assert found(network) == {"patient-in-two-hospitals": {"subject_id": (10, 10)}}


def test_one_hospital_linked_into_a_network_twice_is_found_whole(tmp_path):
    healthy().write(tmp_path / "ward")
    (tmp_path / "net").mkdir()
    for name in ("north", "south"):
        (tmp_path / "net" / name).symlink_to(tmp_path / "ward")
    assert found(tmp_path / "net") == {"patient-in-two-hospitals": {"subject_id": (ALL, ALL)}}


def test_people_alike_under_other_numbers_are_counted(tmp_path):
    network = _network(tmp_path, healthy(), _renumbered(healthy(first=31), 1000))
    assert found(network) == {"patient-under-other-number": {"subject_id": (10, 10)}}


def test_a_number_that_two_hospitals_give_to_different_people_is_counted(tmp_path):
    network = _network(tmp_path, healthy(), _renumbered(healthy(first=101), -62))
    assert found(network) == {"number-in-two-hospitals": {"subject_id": (2, 2)}}


def test_hospitals_that_share_nobody_are_in_order_and_findings_name_the_hospital(tmp_path):
    second = healthy(first=101)
    second.drop(second.at("DISCHARGE", 101))
    examination = examined(_network(tmp_path, healthy(), second))
    assert [(finding.id, finding.hospital) for finding in examination.findings] == [
        ("admission-without-discharge", "ward-2")
    ]
    assert examination.checks["patient-in-two-hospitals"] == "in order"
    shared = examined(_network(tmp_path / "same", healthy(), healthy())).findings
    assert {finding.hospital for finding in shared} == {NETWORK}


# --- the whole ---

NETWORK_FAULTS = ("patient-in-two-hospitals", "patient-under-other-number", "number-in-two-hospitals")
CELL_FAULTS = ("outcome-below-minimum-cell", "subgroup-below-minimum-cell")


def test_every_check_has_a_planted_fault_and_a_name_of_its_own():
    planted = [fault[0] for fault in (*EVENT_FAULTS, *TABLE_FAULTS, *FILE_FAULTS, *TERM_FAULTS)]
    names = [check.id for checks in CHECKS.values() for check in checks]
    assert len(names) == len(set(names))
    assert sorted(names) == sorted([*planted, *NETWORK_FAULTS, *CELL_FAULTS])


def test_the_documentation_lists_every_check_under_its_severity():
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    for group, checks in CHECKS.items():
        cells = [
            ", ".join(f"`{check.id}`" for check in checks if check.severity == severity) for severity in SEVERITIES
        ]
        assert f"| {group} | {' | '.join(cells)} |" in page
    assert f"{sum(map(len, CHECKS.values()))} checks" in page


def test_a_hospital_in_order_has_no_finding_and_every_check_was_asked(tmp_path):
    examination = examined(healthy().write(tmp_path / "ward"))
    assert examination.findings == ()
    assert not examination.wrong
    assert {name for name, outcome in examination.checks.items() if outcome != "in order"} == set(NETWORK_FAULTS)


def test_sentences_are_sentences_and_fit_a_line_of_a_report():
    for check in (check for checks in CHECKS.values() for check in checks):
        for sentence in (check.meaning, check.remedy):
            assert sentence.endswith((".", ")."))
            assert len(sentence) < 260, check.id
        assert check.shard or check.hospital, check.id


def test_a_simulated_network_has_nothing_wrong_and_nothing_doubtful(network):
    examination = examined(network, SiteTerms(10, 5, 256))
    assert {finding.severity for finding in examination.findings} <= {"note"}


def test_the_record_counts_what_was_asked_and_what_was_in_order(tmp_path):
    ward = healthy()
    ward.drop(ward.at("DISCHARGE", 1, 2))
    record = examined(ward.write(tmp_path / "ward")).record()
    total = sum(map(len, CHECKS.values()))
    assert (record["asked"], record["in_order"], record["nothing_to_look_at"]) == (total, total - 1 - 3, 3)
    (finding,) = record["findings"]
    assert (finding["id"], finding["severity"], finding["count"], finding["unit"], finding["patients"]) == (
        "admission-without-discharge", "doubtful", 2, "admissions", 2,
    )  # fmt: skip
    assert json.loads(json.dumps(record)) == record


def _shown(examination) -> str:
    console = Console(file=io.StringIO(), width=120)
    show(examination, console)
    return console.file.getvalue()


def test_the_terminal_shows_the_worst_first_and_sums_up(tmp_path):
    ward = healthy()
    ward.drop(ward.at("DISCHARGE", 1))
    ward.move(ward.at("DRG//HCFA//194", 2), -HOUR)
    text = _shown(examined(ward.write(tmp_path / "ward")))
    assert text.index("drg-before-discharge") < text.index("admission-without-discharge")
    assert "1 row  DRG//  1 patient" in text
    assert "1 found something wrong, 1 something doubtful, 0 a note" in text


def test_no_cell_is_ever_quoted(tmp_path):
    mark = "ZQMARKZQ"
    ward = healthy()
    for code, name in (
        ("MED//Aspirin", f"{mark}//1"), ("DIAG//ICD10CM//I10", f"DIAG//ICD10CM//{mark}"),
        ("LAB//Calcium//mg/dL", f"LAB//Calcium//{mark}"), ("RACE//WHITE", f"RACE//{mark}"),
        ("DIAG//ICD10CM//E11.9", f"DIAG//{mark}//1"), ("DRG//HCFA//194", f"DRG//{mark}"),
    ):  # fmt: skip
        ward.put(ward.at(code), "code", name)
    ward.put(ward.at("NOTE//DISCHARGE"), "text_value", f"{mark} \ufffd")
    ward.put(ward.events.subject_id == 1, "subject_id", 730_730_730)
    ward.put(ward.events.hadm_id == 102, "hadm_id", 730_730_730)
    ward.put(ward.at("MED//Aspirin"), "numeric_value", 730_730_730.0)
    ward.move(ward.events.code.str.startswith("DRG//"), -30 * DAY)
    ward.events["site_id"] = mark
    ward.splits.loc[:3, "split"] = mark
    ward.labels[mark] = ward.labels["kidney-function"]
    ward.receipt = {"tables": {mark: {"read": 1, "kept": 2, "refused": {mark: 3}}}, "events": {mark: 4}, "times": mark}
    folder = ward.write(tmp_path / "ward")
    (folder / "labels" / f"{mark}-2.parquet").write_bytes(mark.encode())
    _rewrite(folder / "data" / "0.parquet", lambda table: table.append_column(mark, pa.nulls(len(table))))
    examination = examined(folder)
    told = _shown(examination) + json.dumps(examination.record())
    assert len(examination.findings) > 15
    assert mark not in told
    assert "730730730" not in told.replace(",", "").replace("_", "")


def test_a_folder_that_is_no_hospital_is_one_line(tmp_path):
    with pytest.raises(ProfileError, match="holds no hospital"):
        examined(tmp_path)


SPREAD_OVER_SHARDS = {
    "unit-looks-like-another", "diagnosis-before-discharge", "code-tells-the-answer", "note-of-two-patients",
}  # fmt: skip


def test_shards_change_no_count(tmp_path):
    """The same patients in one file or in four give the same findings."""
    ward = healthy()
    for fault in EVENT_FAULTS:
        if fault[0] in {
            "unit-looks-like-another",
            "diagnosis-before-discharge",
            "code-tells-the-answer",
            "note-of-two-patients",
        }:
            fault[2](ward)
    whole = ward.write(tmp_path / "whole")
    parts = ward.write(tmp_path / "parts")
    table = pq.read_table(parts / "data" / "0.parquet")
    for number in range(4):
        mine = pa.array(np.asarray(table["subject_id"]) % 4 == number)
        pq.write_table(table.filter(mine), parts / "data" / f"{number}.parquet")
    assert found(whole) == found(parts)
    assert len(found(whole)) == 4
