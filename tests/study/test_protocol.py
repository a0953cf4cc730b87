import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.defaults import build, defaults, read_changes
from study.protocol import ProtocolError, parse


def test_the_defaults_are_a_study():
    assert parse(defaults()).settings() == defaults() | {"study.name": "icd-coding"}  # named after its task


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"privacy.epsilom": 1.0}, "did you mean privacy.epsilon"),
        ({"privacy.epsilon": -1.0}, "at least 0"),
        ({"privacy.delta": 0.0}, "above 0 and below 1"),
        ({"federation.rounds": 2.5}, "not a whole number"),
        ({"federation.rounds": True}, "not a whole number"),
        ({"privacy.epsilon": float("nan")}, "out of range"),
        ({"task.codes": "icd11"}, "one of icd9, icd10"),
        ({"model.name": " "}, "a name, not empty"),
        ({"notes.encoder": 3}, "not a text"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(change, said):
    with pytest.raises(ProtocolError, match=said) as caught:
        build(change)
    assert "\n" not in str(caught.value)


@given(st.sampled_from(sorted(defaults())))
def test_a_missing_key_is_named(key):
    settings = defaults()
    del settings[key]
    with pytest.raises(ProtocolError, match=f"lacks {key}"):
        parse(settings)


def test_a_whole_number_is_a_number():
    assert build({"privacy.epsilon": 3}).privacy.epsilon == 3.0


def test_the_digest_tells_studies_apart_and_ignores_where_files_lie():
    assert build({"privacy.epsilon": 3.0}).digest() != build().digest()
    assert build({"study.output": "/elsewhere"}).digest() == build().digest()


def test_changes_are_read_as_toml_and_bare_words():
    assert read_changes(None, ["training.learning-rate=.01"]) == {"training.learning-rate": 0.01}
    assert read_changes(None, ["privacy.epsilon=3", "study.name=trial"]) == {
        "privacy.epsilon": 3,
        "study.name": "trial",
    }
    with pytest.raises(ProtocolError, match="key=value"):
        read_changes(None, ["privacy.epsilon"])


def test_every_preset_is_a_study():
    from study.defaults import APPLICATION, read_settings

    presets = sorted((APPLICATION / "study" / "presets").glob("*.toml"))
    assert presets
    for preset in presets:
        build(read_settings(preset))


def test_a_study_without_a_name_goes_by_its_task():
    assert build({}).study.name == "icd-coding"
    assert build({"task.name": "aki"}).study.name == "aki"
    assert build({"task.name": "aki", "study.name": "trial"}).study.name == "trial"
