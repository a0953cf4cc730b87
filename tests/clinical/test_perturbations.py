"""Edits of notes: what each kind does to a sentence known by hand, and what holds for any note."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical.notes.lexicon import LEXICONS, UNITS
from clinical.notes.perturbations import PERTURBATIONS, edit_at_random, perturb

CODIESP = Path(__file__).resolve().parents[3] / "shared" / "data" / "codiesp"
NOTE = (
    "A 64-year-old woman with HTN had fever and chest pain. No cough, no dyspnea. Denies nausea.\n"
    "Labs: creatinine 0.8 -> 0.9 mg/dL, sodium 139 mmol/L, temperature 38.5 °C, saturation 97 %."
)


def edited(text, kind, *, seed=0, share=1.0, language="en"):
    return perturb(text, kind, np.random.default_rng(seed), share=share, language=language)


def test_masking_takes_findings_out_and_nothing_else():
    found = edited(NOTE, "mask")
    assert found.text.startswith("A 64-year-old woman with ___ had ___ and ___. No ___, no ___. Denies ___.\nLabs: ")
    assert found.text.split("Labs")[1] == NOTE.split("Labs")[1]
    assert found.words == 7  # "chest pain" is two


def test_negation_denies_what_is_stated_and_states_what_is_denied():
    found = edited(NOTE, "negate")
    first = found.text.splitlines()[0]
    assert "no evidence of fever and no evidence of chest pain." in first
    assert first.endswith("chest pain. cough, dyspnea. nausea.")


def test_a_cue_denies_within_its_sentence_only():
    assert edited("He denies pain. Fever at night.", "negate").text == "He denies pain. no evidence of Fever at night."


def test_synonyms_say_the_same_and_keep_capitals():
    found = edited("Dyspnea and HTN.", "synonym")
    assert re.fullmatch(
        r"(Shortness of breath|Breathlessness|SOB) and (hypertension|high blood pressure)\.", found.text
    )


def test_a_finding_without_a_synonym_is_left_alone():
    assert edited("Pneumonia.", "synonym") == edited("Pneumonia.", "numeric")
    assert edited("Pneumonia.", "synonym").words == 0


@pytest.mark.parametrize("seed", range(20))
def test_numbers_move_within_their_range_and_keep_their_digits(seed):
    pattern = re.compile(
        r"A (\d+)-year-old.*creatinine (\d\.\d) -> (\d\.\d) mg/dL, sodium (\d+) mmol/L, temperature (\d+\.\d) °C, "
        r"saturation (\d+) %\.",
        re.DOTALL,
    )
    before = [float(number) for number in pattern.search(NOTE).groups()]
    after = [float(number) for number in pattern.search(edited(NOTE, "numeric", seed=seed).text).groups()]
    assert all(one != other for one, other in zip(before, after, strict=True))
    spread = [0.2, 0.2, 0.2, 0.2, 0.04, 0.2]
    assert all(abs(b - a) <= s * b + 1e-9 for b, a, s in zip(before, after, spread, strict=True))
    assert 33 <= after[4] <= 42
    assert after[5] <= 100


@pytest.mark.parametrize(
    "text",
    [
        "seen on 2026-03-01",
        "vitamin B12 and 10^9/L",
        "code I50.9",
        "room 12",
        "2 cm",
        "1,5 mg/dL",
        "C5 mm",
        "T2.5 mmol/Lx",
    ],
)
def test_what_is_no_measurement_or_too_small_to_move_stays(text):
    assert edited(text, "numeric").text == text


def test_spanish_notes_are_edited_with_spanish_words():
    found = edited("Paciente de 70 años con HTA, sin fiebre.", "negate", language="es")
    assert found.text == "Paciente de 70 años con sin evidencia de HTA, fiebre."


def test_random_edits_replace_as_many_words_as_asked_with_words_of_the_note():
    found = edit_at_random(NOTE, np.random.default_rng(3), words=5)
    assert found.words == 5
    before, after = NOTE.split(), found.text.split()
    assert len(before) == len(after)
    assert 1 <= sum(one != other for one, other in zip(before, after, strict=True)) <= 5
    assert set(re.findall(r"[^\W\d_]{3,}", found.text)) <= set(re.findall(r"[^\W\d_]{3,}", NOTE))
    assert edit_at_random("a b", np.random.default_rng(3), words=5).words == 0


@given(st.text(max_size=300), st.sampled_from(sorted(PERTURBATIONS)), st.integers(0, 99), st.sampled_from(["en", "es"]))
def test_the_same_generator_gives_the_same_edit_and_no_edit_leaves_the_note(text, kind, seed, language):
    one, other = (edited(text, kind, seed=seed, language=language, share=0.5) for _ in range(2))
    assert one == other
    assert (one.words == 0) == (one.text == text) or kind == "negate"


@given(st.lists(st.sampled_from([term for group in LEXICONS["en"].groups for term in group]), min_size=1, max_size=6))
def test_no_masked_finding_is_left(terms):
    note = "; ".join(f"had {term}" for term in terms)
    found = edited(note, "mask")
    assert found.text == "; ".join("had ___" for _ in terms)
    assert found.words == sum(len(term.split()) for term in terms)


def test_a_smaller_share_edits_fewer_places_and_always_one():
    places = [edited(NOTE, "mask", share=share).text.count("___") for share in (0.01, 0.5, 1.0)]
    assert places == [1, 3, 6]


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="no perturbation 'typo'"):
        edited(NOTE, "typo")
    with pytest.raises(ValueError, match="share must lie"):
        edited(NOTE, "mask", share=0.0)
    with pytest.raises(ValueError, match="language 'fr'"):
        edited(NOTE, "mask", language="fr")


def test_a_term_stands_in_one_group_only_and_every_range_is_one():
    for lexicon in LEXICONS.values():
        terms = [term.lower() for group in lexicon.groups for term in group]
        assert len(terms) == len(set(terms))
    assert all(limits.low < limits.high and 0 < limits.spread < 1 for limits in UNITS.values())


@pytest.mark.skipif(not CODIESP.is_dir(), reason="no CodiEsp corpus beside the project")
@pytest.mark.parametrize(("folder", "language"), [("text_files_en", "en"), ("text_files", "es")])
def test_most_published_case_reports_have_something_to_edit(folder, language):
    notes = [path.read_text(encoding="utf-8") for path in sorted((CODIESP / "dev" / folder).glob("*.txt"))]
    for kind, least in (("mask", 0.6), ("negate", 0.6), ("synonym", 0.5), ("numeric", 0.9)):
        touched = [edited(note, kind, language=language).words > 0 for note in notes]
        assert np.mean(touched) > least, (kind, np.mean(touched))
