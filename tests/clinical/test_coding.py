"""Notes meet the codes of their own admission, and everything left out is counted."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical.events import EVENT_SCHEMA, ProfileError, write_hospital, write_splits
from clinical.notes import Embeddings
from clinical.tasks import TASKS, family_of
from clinical.tasks.coding import CodingReport, build_dataset, read_documents
from clinical.tasks.labels import CodeReader
from clinical.vocabulary import count_codes

CODIESP = Path(__file__).parents[3] / "shared" / "data" / "codiesp"
START = datetime(2150, 1, 1)  # noqa: DTZ001 - event times are naive by the profile


def event(subject_id, code, *, hadm_id=None, day=0, text=None):
    return {
        "subject_id": subject_id,
        "time": None if day is None else START + timedelta(days=day),
        "code": code,
        "text_value": text,
        "hadm_id": hadm_id,
    }


def note(subject_id, text, *, hadm_id=None, day=0, code="NOTE//DISCHARGE"):
    return event(subject_id, code, hadm_id=hadm_id, day=day, text=text)


def hospital_of(folder, *events, splits=None):
    hospital = folder / "hospital-1"
    table = pa.Table.from_pylist(list(events), schema=EVENT_SCHEMA)
    write_hospital(hospital, [table], site_id="hospital-1", source="test")
    patients = {row["subject_id"] for row in events}
    write_splits(hospital, splits or dict.fromkeys(patients, "train"))
    return hospital


def read(hospital, system="icd10", *, translate=False, **options):
    return read_documents(hospital, system=system, translate=translate, **options)


def test_diagnoses_and_procedures_of_the_admission_are_merged_once_each(tmp_path):
    hospital = hospital_of(
        tmp_path,
        note(1, "Chest pain.", hadm_id=10),
        event(1, "DIAG//ICD10CM//I21.4", hadm_id=10),
        event(1, "DIAG//ICD10CM//I21.4", hadm_id=10),
        event(1, "PROC//ICD10PCS//0DTJ4ZZ", hadm_id=10),
        event(1, "LAB//troponin//ng/L", hadm_id=10),
    )
    documents, report = read(hospital)
    assert documents.codes == [("0DTJ4ZZ", "I21.4")]
    assert documents.text == ["Chest pain."]
    assert (documents.subject_id.tolist(), documents.hadm_id.tolist(), documents.split) == ([1], [10], ["train"])
    assert report == CodingReport(documents=1, patients=1, notes=1)


def test_a_code_of_a_later_admission_never_labels_an_earlier_note(tmp_path):
    """The planted leak: the later admission's code, the code of no admission and another patient's same admission."""
    hospital = hospital_of(
        tmp_path,
        note(1, "First stay.", hadm_id=10, day=1),
        event(1, "DIAG//ICD10CM//I10", hadm_id=10, day=1),
        note(1, "Second stay.", hadm_id=11, day=90),
        event(1, "DIAG//ICD10CM//C50.911", hadm_id=11, day=90),
        event(1, "DIAG//ICD10CM//B20", day=90),
        event(2, "DIAG//ICD10CM//E11.9", hadm_id=10, day=1),
    )
    documents, report = read(hospital)
    assert dict(zip(documents.text, documents.codes, strict=True)) == {
        "First stay.": ("I10",),
        "Second stay.": ("C50.911",),
    }
    assert (report.codes_without_admission, report.codes_without_note) == (1, 1)


def test_an_admissions_notes_are_joined_in_order_of_time_without_repeats(tmp_path):
    hospital = hospital_of(
        tmp_path,
        note(1, "Addendum after discharge.", hadm_id=10, day=3, code="NOTE//DISCHARGE//ADDENDUM"),
        note(1, "Summary.", hadm_id=10, day=1),
        note(1, "Summary. ", hadm_id=10, day=2),
        event(1, "DIAG//ICD10CM//I10", hadm_id=10, day=1),
    )
    documents, report = read(hospital)
    assert documents.text == ["Summary.\n\nAddendum after discharge."]
    assert (report.notes, report.notes_duplicated, report.documents) == (3, 1, 1)


def test_everything_left_out_is_counted_by_reason(tmp_path):
    hospital = hospital_of(
        tmp_path,
        note(1, "Coded.", hadm_id=10),
        event(1, "DIAG//ICD10CM//I10", hadm_id=10),
        note(1, "No code.", hadm_id=11),
        note(1, "Other system.", hadm_id=12),
        event(1, "DIAG//ICD9CM//401.9", hadm_id=12),
        note(2, "No admission."),
        note(2, "  ", hadm_id=20),
        event(2, "DIAG//ICD10CM//I10", hadm_id=20),
        note(2, "Radiology.", hadm_id=10, code="NOTE//RADIOLOGY"),
    )
    documents, report = read(hospital)
    assert documents.text == ["Coded."]
    assert report == CodingReport(
        documents=1,
        patients=1,
        notes=5,
        notes_without_text=1,
        notes_without_admission=1,
        notes_without_codes=2,
        notes_in_other_system=1,
        codes_without_note=1,
        codes_in_other_system=1,
    )
    assert json.loads(json.dumps(asdict(report))) == asdict(report)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 3),
            st.sampled_from([None, 10, 11]),
            st.sampled_from(["a", "b", " ", None]),
            st.sampled_from(["", "DIAG//ICD10CM//I10", "DIAG//ICD9CM//401.9"]),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_every_note_is_in_a_document_or_counted_as_left_out(tmp_path_factory, rows):
    events = [
        event(patient, code, hadm_id=admission) if code else note(patient, text, hadm_id=admission)
        for patient, admission, text, code in rows
    ]
    documents, report = read(hospital_of(tmp_path_factory.mktemp("network"), *events))
    joined = sum(len(text.split("\n\n")) for text in documents.text)
    left_out = report.notes_without_text + report.notes_without_admission + report.notes_without_codes
    assert report.notes == joined + left_out + report.notes_duplicated
    assert all(documents.codes)
    assert len(set(zip(documents.subject_id, documents.hadm_id, strict=True))) == len(documents)


def test_an_unknown_code_is_kept_and_flagged(tmp_path):
    hospital = hospital_of(tmp_path, note(1, "Text.", hadm_id=10), event(1, "DIAG//ICD10CM//Q99.999", hadm_id=10))
    documents, report = read(hospital)
    assert documents.codes == [("Q99.999",)]
    assert report.unknown_codes == 1


def test_spellings_of_one_code_are_one_label(tmp_path):
    hospital = hospital_of(
        tmp_path,
        note(1, "Text.", hadm_id=10),
        event(1, "DIAG//ICD10CM//i5022", hadm_id=10),
        event(1, "DIAG//ICD10CM//I50.22", hadm_id=10),
        event(1, "DIAG//ICD10CM//not-a-code", hadm_id=10),
    )
    documents, report = read(hospital)
    assert documents.codes == [("I50.22", "NOT-A-CODE")]
    assert report.unknown_codes == 1


def test_a_long_document_is_cut_after_whole_words(tmp_path):
    hospital = hospital_of(
        tmp_path,
        note(1, "one  two\nthree four", hadm_id=10),
        event(1, "DIAG//ICD10CM//I10", hadm_id=10),
    )
    assert read(hospital, max_words=3)[0].text == ["one  two\nthree"]
    assert read(hospital, max_words=3)[1].notes_truncated == 1
    assert read(hospital, max_words=4)[1].notes_truncated == 0


def icd9_hospital(folder):
    return hospital_of(
        folder,
        note(1, "Heart failure.", hadm_id=10),
        event(1, "DIAG//ICD9CM//428.0", hadm_id=10),
        event(1, "PROC//ICD9PROC//47.09", hadm_id=10),
        note(2, "Only a procedure.", hadm_id=20),
        event(2, "PROC//ICD9PROC//47.09", hadm_id=20),
    )


def test_an_icd9_hospital_keeps_its_own_label_space(tmp_path):
    documents, report = read(icd9_hospital(tmp_path), "icd9", translate=True)
    assert documents.codes == [("428.0", "47.09"), ("47.09",)]
    assert (report.translated, report.approximate, report.lost) == (0, 0, 0)


def test_translation_reports_what_is_exact_approximate_and_lost(tmp_path):
    documents, report = read(icd9_hospital(tmp_path), translate=True)
    assert documents.codes == [("I50.9",)]
    assert (report.translated + report.approximate, report.lost, report.codes_in_other_system) == (1, 2, 0)
    assert (report.notes_without_codes, report.notes_in_other_system) == (1, 1)


def test_without_translation_an_icd9_hospital_has_no_icd10_documents(tmp_path):
    documents, report = read(icd9_hospital(tmp_path))
    assert len(documents) == 0
    assert (report.notes_in_other_system, report.codes_in_other_system, report.lost) == (2, 3, 0)


def test_all_equivalents_become_labels_and_too_many_are_lost():
    from clinical.codes import _crosswalk

    reader = CodeReader("icd10", translate=True)
    several = next(code for code, entry in _crosswalk().items() if 2 <= len(entry.targets) <= 8)
    meaning = reader.read([f"DIAG//ICD9CM//{several}"])
    assert meaning.codes == _crosswalk()[several].targets
    assert (meaning.translated, meaning.approximate, meaning.lost) == (0, 1, 0)
    vague = next(code for code, entry in _crosswalk().items() if len(entry.targets) > 8)
    assert reader.read([f"DIAG//ICD9CM//{vague}"]).lost == 1
    assert reader.read(["DIAG//ICD9CM//nonsense"]).lost == 1


def test_an_unknown_system_and_an_empty_word_limit_are_refused(tmp_path):
    with pytest.raises(ValueError, match="system 'icd11' is unknown; it is one of icd9, icd10"):
        read(tmp_path, "icd11")
    with pytest.raises(ValueError, match="max_words=0"):
        read(tmp_path, max_words=0)


def test_splits_that_lack_a_patient_are_refused_without_naming_the_patient(tmp_path):
    hospital = hospital_of(
        tmp_path,
        note(777, "Text.", hadm_id=10),
        event(777, "DIAG//ICD10CM//I10", hadm_id=10),
        splits={1: "train"},
    )
    with pytest.raises(ProfileError, match="splits lack 1 patients") as refusal:
        read(hospital)
    assert "777" not in str(refusal.value)


def test_no_hospital_is_refused(tmp_path):
    with pytest.raises(ProfileError):
        read(tmp_path / "nowhere")


def test_every_task_belongs_to_a_family_and_an_unknown_one_is_refused():
    assert {family_of(name) for name in TASKS} == {"coding", "prediction", "synthesis"}
    with pytest.raises(ValueError, match="unknown task 'mortality'; there are: aki, icd-coding"):
        family_of("mortality")


# ---- examples


def small_network(folder):
    rows, splits = [], {}
    for patient in range(1, 9):
        splits[patient] = ("train", "train", "tuning", "held_out")[patient % 4]
        for stay in range(2):
            hadm_id = 10 * patient + stay
            codes = ["I10"] if patient < 8 else ["B20"]
            rows.append(note(patient, f"Note {hadm_id}.", hadm_id=hadm_id, day=stay))
            rows += [event(patient, f"DIAG//ICD10CM//{code}", hadm_id=hadm_id, day=stay) for code in codes]
    return hospital_of(folder, *rows, splits=splits)


def numbered(documents):
    """Embed document n as the single chunk (n, n)."""
    vectors = np.repeat(np.arange(len(documents), dtype=np.float16)[:, None], 2, axis=1)
    return Embeddings(vectors, np.arange(len(documents) + 1))


def test_each_split_has_its_patients_numbered_from_zero(tmp_path):
    documents, _ = read(small_network(tmp_path))
    dataset = build_dataset(documents, numbered(documents), ("B20", "I10"))
    assert [len(dataset.split(name)) for name in ("train", "tuning", "held_out")] == [8, 4, 4]
    for part in dataset.parts.values():
        assert part.patient.tolist() == sorted([*range(len(part) // 2)] * 2)
        assert part.features.dtype == np.float32
        assert part.labels.shape == (len(part), 2)
        assert part.labels.sum(axis=1).min() == 1


def test_features_labels_and_patients_stay_together(tmp_path):
    documents, _ = read(small_network(tmp_path))
    dataset = build_dataset(documents, numbered(documents), ("B20", "I10"))
    for name, part in dataset.parts.items():
        for row, (feature, label) in enumerate(
            zip(part.features[:, 0].astype(int), part.labels.toarray(), strict=True)
        ):
            assert documents.split[feature] == name
            assert label.tolist() == [documents.codes[feature] == (code,) for code in ("B20", "I10")]
            same = part.patient == part.patient[row]
            assert set(documents.subject_id[part.features[same, 0].astype(int)]) == {documents.subject_id[feature]}


def test_documents_without_an_agreed_code_are_dropped_and_counted(tmp_path):
    documents, _ = read(small_network(tmp_path))
    dataset = build_dataset(documents, numbered(documents), ("I10",))
    assert (dataset.documents_dropped, dataset.patients_dropped) == (2, 1)
    assert sum(len(part) for part in dataset.parts.values()) == 14


def test_an_unknown_split_and_embeddings_of_other_notes_are_refused(tmp_path):
    documents, _ = read(small_network(tmp_path))
    with pytest.raises(ValueError, match="split 'test' is unknown; it is one of train, tuning, held_out"):
        build_dataset(documents, numbered(documents), ("I10",)).split("test")
    with pytest.raises(ValueError, match="embeddings of 3 notes but 16 documents"):
        build_dataset(documents, numbered([1, 2, 3]), ("I10",))


def test_documents_count_their_codes(tmp_path):
    documents, _ = read(small_network(tmp_path))
    assert count_codes(documents) == {"B20": 2, "I10": 14}
    assert count_codes(documents, minimum_patients=2) == {"I10": 14}


def test_real_coded_case_reports_become_documents(tmp_path):
    texts = sorted(CODIESP.glob("dev/text_files_en/*"))[:60]
    if not texts:
        pytest.skip("shared/data/codiesp is not there")
    number = {path.stem: n for n, path in enumerate(texts, start=1)}
    rows = [note(number[path.stem], path.read_text(encoding="utf-8"), hadm_id=number[path.stem]) for path in texts]
    labels = [line.split("\t")[:2] for line in (CODIESP / "dev" / "devD.tsv").read_text(encoding="utf-8").splitlines()]
    pairs = {(number[name], code) for name, code in labels if name in number}
    rows += [event(patient, f"DIAG//ICD10CM//{code}", hadm_id=patient) for patient, code in sorted(pairs)]
    documents, report = read(hospital_of(tmp_path, *rows))
    assert report.documents + report.notes_without_codes == 60
    assert sum(map(len, documents.codes)) == len(pairs)
    assert report.unknown_codes > 0  # CIE-10 categories that the American release divides further
