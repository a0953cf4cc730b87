"""Hospitals agree on codes without telling of a code that few patients have."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical.tasks.coding import label_matrix
from clinical.vocabulary import agree, count_codes, suppress


def documents(*rows):
    """Make documents of (patient, codes)."""
    return SimpleNamespace(
        subject_id=np.array([patient for patient, _ in rows], dtype=np.int64), codes=[tuple(codes) for _, codes in rows]
    )


def test_a_code_is_counted_once_per_document():
    counted = count_codes(documents((1, ["I10", "E11.9"]), (1, ["I10"]), (2, ["I10"])))
    assert counted == {"E11.9": 1, "I10": 3}
    assert list(counted) == ["E11.9", "I10"]


def test_many_admissions_of_one_patient_do_not_make_a_code_common():
    admissions = documents(*[(1, ["E84.0"])] * 20, (2, ["I10"]), (3, ["I10"]))
    assert count_codes(admissions, minimum_patients=2) == {"I10": 2}


def test_a_small_count_is_withheld_with_its_name():
    assert suppress({"I10": 5, "E84.0": 4}, minimum=5) == {"I10": 5}


@given(
    st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 30)),
    st.sets(st.text(min_size=1, max_size=3)),
    st.integers(1, 10),
)
def test_what_is_reported_does_not_depend_on_rare_codes(counts, rare, minimum):
    without = {code: count for code, count in counts.items() if code not in rare}
    with_rare = without | dict.fromkeys(rare, minimum - 1)
    assert suppress(with_rare, minimum=minimum) == suppress(without, minimum=minimum)


def test_codes_frequent_only_together_are_kept_in_order():
    counts = {"a": {"I10": 6, "E11.9": 2}, "b": {"I10": 4, "B20": 12}}
    assert agree(counts, minimum_documents=10) == ("B20", "I10")


def test_a_vocabulary_without_codes_says_how_far_it_was():
    with pytest.raises(ValueError, match=r"no code has minimum_documents=10 .* most frequent of 2 reported has 7"):
        agree({"a": {"I10": 4, "B20": 5}, "b": {"I10": 3}}, minimum_documents=10)
    with pytest.raises(ValueError, match="over 0 site"):
        agree({}, minimum_documents=1)


def test_a_negative_count_and_a_zero_minimum_are_refused():
    with pytest.raises(ValueError, match="site 'a' reported a negative"):
        agree({"a": {"I10": -1}}, minimum_documents=1)
    with pytest.raises(ValueError, match="minimum_documents=0"):
        agree({"a": {"I10": 1}}, minimum_documents=0)


def test_labels_follow_the_order_of_the_vocabulary_and_ignore_other_codes():
    labels = label_matrix(documents((1, ["I10", "B20"]), (2, ["Z99"]), (3, [])), ("B20", "E11.9", "I10"))
    assert labels.dtype == np.bool_
    assert labels.toarray().tolist() == [[True, False, True], [False] * 3, [False] * 3]


def test_no_documents_give_an_empty_matrix():
    assert label_matrix(documents(), ("B20",)).shape == (0, 1)


def test_a_vocabulary_that_names_a_code_twice_is_refused():
    with pytest.raises(ValueError, match=r"1 code\(s\) twice"):
        label_matrix(documents((1, ["I10"])), ("I10", "I10"))


def test_contributions_of_codes_are_training_patients_over_a_public_list():
    from clinical.vocabulary import code_contributions

    found = documents((1, ["I10", "B20"]), (1, ["I10"]), (2, ["Z99"]), (3, ["I10"]))
    found.split = ["train", "train", "train", "tuning"]
    rows = code_contributions(found, ("A00.0", "B20", "I10")).toarray().tolist()
    assert rows == [[0, 1, 1], [0, 0, 0]]
