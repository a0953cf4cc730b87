"""Event streams: public vectors of events, nothing after the moment, and the same whatever the order of rows."""

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical.events import HospitalWriter, ProfileError
from clinical.features.bags import gather_bags
from clinical.features.form import Form
from clinical.features.sentences import write_states
from clinical.features.tokens import read_titles, scale_values, signatures, text_vectors
from clinical.features.tracks import MARK, STANDING, Asked, Tracks, View, read_tracks
from clinical.labels import LABEL_SCHEMA, read_labels, write_labels
from clinical.losses import build_outcome_loss
from clinical.models import build_model
from clinical.streams import Streams, cut_windows
from clinical.tasks.sight import Sight
from privacy.clipping import patient_norms, private_gradient
from privacy.noise import ReproducibleNoise

START = datetime(2150, 1, 1, 7, 30)  # noqa: DTZ001 - event times are naive by the profile
HEART, LACTATE = "VITAL//Heart rate//bpm", "LAB//Lactate//mmol/L"
EVENT_COLUMNS = pa.schema(
    [
        ("subject_id", pa.int64()),
        ("time", pa.timestamp("us")),
        ("code", pa.string()),
        ("numeric_value", pa.float32()),
        ("stay_id", pa.int64()),
    ]
)


def hospital(folder, events, labels, *, titles=None, limit_bytes=1 << 20):
    """Events: (patient, hours or None, code, number, stay); labels: (patient, hours, yes, stay)."""
    rows = [
        (patient, None if hours is None else START + timedelta(hours=hours), code, number, stay)
        for patient, hours, code, number, stay in events
    ]
    table = pa.Table.from_pylist([dict(zip(EVENT_COLUMNS.names, row, strict=True)) for row in rows], EVENT_COLUMNS)
    with HospitalWriter(folder, site_id="h", source="test", code_titles=titles, limit_bytes=limit_bytes) as writer:
        for start in range(0, len(table), 3):
            writer.append(table.slice(start, 3))
    asked = [
        {"subject_id": p, "prediction_time": START + timedelta(hours=h), "boolean_value": yes, "stay_id": stay}
        for p, h, yes, stay in labels
    ]
    write_labels(folder, "asked", pa.Table.from_pylist(asked, schema=LABEL_SCHEMA))
    return folder


def tracks_of(folder, *, hourly=False, events=256, view=None):
    asked = Asked.of(read_labels(folder, "asked"), binary=True, hourly=hourly)
    return read_tracks(folder, asked, view or View(), events=events, longer=hourly)


def spelled(tracks, n=0):
    """The codes of a track, "?" for a moment."""
    steps = tracks.code[tracks.starts[n] : tracks.starts[n + 1]]
    return ["?" if code == MARK else tracks.codes[code] for code in steps.tolist()]


def streams_of(tracks, form, *, hourly=False):
    return Streams(tracks, signatures(tracks.codes), tracks.answer, form, hourly=hourly)


def test_a_track_holds_what_was_known_at_the_moment_in_order(tmp_path):
    events = [
        (1, None, "RACE//WHITE", None, None),
        (1, 3, HEART, 90.0, 10),
        (1, 3, "HISTORY//heart failure", None, None),
        (1, 3, "DIAG//ICD10CM//I50.9", None, None),
        (1, 0, "AGE//years", 70.0, 10),
        (1, 24, LACTATE, 2.0, 10),
        (1, 24.01, LACTATE, 9.0, 10),
        (1, 5, HEART, 66.0, 11),
        (1, 6, "DEATH", None, None),
        (1, None, "GENDER//F", None, None),
        (2, 1, HEART, 50.0, 20),
    ]
    folder = hospital(tmp_path / "h", events, [(1, 24, True, 10), (3, 24, False, 30)])
    tracks = tracks_of(folder)
    assert spelled(tracks) == [
        "AGE//years", "GENDER//F", "RACE//WHITE", "HISTORY//heart failure", HEART, LACTATE, "?",
    ]  # fmt: skip
    assert (tracks.time[:3] == STANDING).all()
    assert tracks.value[[0, 4, 5]].tolist() == [70, 90, 2]
    assert tracks.static[0].tolist() == [70, 1]
    assert spelled(tracks, 1) == ["?"]  # a patient without events is still asked about
    assert tracks.answer[[6, 7]].tolist() == [1, 0]
    history = tracks_of(folder, view=View(Sight(shown=(HEART,)), history=True, standing=False))
    assert spelled(history) == [HEART, HEART, "?"]


def test_history_is_seen_and_an_admission_that_has_not_begun_is_not_whatever_time_its_events_say(tmp_path):
    events = [
        (1, -900, "ADMISSION", None, 9),
        (1, -880, "DIAG//ICD10CM//I50.9", None, 9),
        (1, 0, "ADMISSION", None, 10),
        (1, 3, HEART, 90.0, 10),
        (1, 4, "MED//aspirin", None, None),
        (1, 5, "INSURANCE//Medicare", None, 11),
        (1, 300, "ADMISSION", None, 11),
    ]
    folder = hospital(tmp_path / "h", events, [(1, 24, True, 10)])
    assert spelled(tracks_of(folder, view=View(history=True))) == [
        "ADMISSION", "DIAG//ICD10CM//I50.9", "ADMISSION", HEART, "MED//aspirin", "?",
    ]  # fmt: skip
    assert spelled(tracks_of(folder)) == ["ADMISSION", HEART, "MED//aspirin", "?"]


def test_a_birth_is_the_age_at_the_moment_and_units_are_brought_together(tmp_path):
    events = [(1, -24 * 365.25 * 50, "MEDS_BIRTH", None, None), (1, 1, "LAB//CREATININE//umol/L", 88.42, 10)]
    events += [(1, 2, "LAB//Creatinine//mg/dL", -4.0, 10), (1, 3, "MED//aspirin", 81.0, 10)]
    tracks = tracks_of(hospital(tmp_path / "h", events, [(1, 24, True, 10)]))
    assert spelled(tracks) == ["AGE//years", "LAB//Creatinine//mg/dL", "LAB//Creatinine//mg/dL", "MED//aspirin", "?"]
    assert tracks.value[:2].tolist() == pytest.approx([50 + 1 / 365.25, 1.0], rel=1e-3)
    assert np.isnan(tracks.value[2])  # nobody has a negative creatinine, but it was taken
    scaled = scale_values(tracks.codes, tracks.code.astype(np.int64), tracks.value)
    assert scaled[[0, 1, 3]].tolist() == pytest.approx([-1.0, 0.0, np.log1p(81) / 3], abs=1e-2)


def test_only_the_last_events_are_kept_behind_what_stands_in_front(tmp_path):
    events = [(1, None, f"ALLERGY//{letter}", None, None) for letter in "abcdef"]
    events += [(1, hour, "MED//" + "abcdefghijklmnopqrst"[hour], None, 10) for hour in range(20)]
    folder = hospital(tmp_path / "h", events, [(1, 30, True, 10)])
    kept = spelled(tracks_of(folder, events=16))
    assert kept == [*(f"ALLERGY//{x}" for x in "abcd"), *(f"MED//{x}" for x in "ijklmnopqrst"), "?"]


def test_an_event_is_a_vector_known_by_hand(tmp_path):
    events = [(1, 1, HEART, 104.0, 10), (1, 4, "MED//aspirin", None, 10)]
    tracks = tracks_of(hospital(tmp_path / "h", events, [(1, 24, True, 10)]))
    batch = streams_of(tracks, Form("events")).batch(np.array([0]))
    heart, aspirin = (8 * torch.from_numpy(each) for each in signatures([HEART, "MED//aspirin"]))
    first, second, moment = batch.features[0]
    torch.testing.assert_close(first[:64], heart)
    torch.testing.assert_close(first[65:129], heart)  # 104 is one deviation above 86
    log3 = lambda hours: float(np.log1p(hours) / 3)  # noqa: E731
    assert first[[64, 129, 130, 131, 132]].tolist() == pytest.approx([0, 1, 1, 0, log3(23)])
    torch.testing.assert_close(second[:64], aspirin)
    assert second[64:].tolist() == pytest.approx([0] * 67 + [log3(3), log3(20)])
    assert moment[:64].abs().sum() == 0
    assert moment[[64, 131, 132]].tolist() == pytest.approx([1, log3(20), 0])
    assert batch.labels[0, :, 0].isnan().tolist() == [True, True, False]
    bare = streams_of(tracks, Form("events", time=False, value=False)).batch(np.array([0])).features
    torch.testing.assert_close(bare, batch.features[..., :65])


def test_a_bag_is_the_mean_of_what_precedes_by_hand(tmp_path):
    events = [(1, 1, HEART, 104.0, 10), (1, 20, "MED//aspirin", None, 10), (1, 21, HEART, 68.0, 10)]
    tracks = tracks_of(hospital(tmp_path / "h", events, [(1, 24, True, 10)]))
    (row,) = gather_bags(tracks, signatures(tracks.codes), Form("events")).features
    heart, aspirin = 64 * signatures([HEART, "MED//aspirin"])
    six, day, everything = np.split(row, 3)
    np.testing.assert_allclose(six[:64], (heart + aspirin) / 2, atol=1e-6)
    np.testing.assert_allclose(six[65:129], -heart / 2, atol=1e-6)
    assert six[[64, 129]].tolist() == pytest.approx([np.log1p(2) / 3, np.log1p(1) / 3])
    np.testing.assert_allclose(day[:64], (2 * heart + aspirin) / 3, atol=1e-6)
    np.testing.assert_allclose(day[65:129], 0, atol=1e-6)
    np.testing.assert_array_equal(day, everything)


@settings(max_examples=30, deadline=None)
@given(
    steps=st.lists(st.tuples(st.integers(0, 60), st.integers(-1, 2), st.sampled_from([np.nan, 81.0])), max_size=60),
    ahead=st.integers(0, 3),
    time=st.booleans(),
    value=st.booleans(),
)
def test_bags_are_what_their_definition_says(steps, ahead, time, value):
    form, vectors = Form("events", time=time, value=value, events=16), np.eye(3, dtype=np.float32)
    codes = ("MED//a", "MED//b", "MED//c")
    steps = sorted(((at, which < 0, which, number) for at, which, number in steps), key=lambda step: step[:2])
    standing = [(STANDING, which, 81.0) for which in range(ahead)]
    timed = [(at * 3_600_000_000, which, np.nan if which < 0 else number) for at, _, which, number in steps]
    tracks = track_by_hand([*standing, *timed, (61 * 3_600_000_000, MARK, np.nan)], codes)
    rows = gather_bags(tracks, vectors, form).features
    expected = []
    for moment in np.flatnonzero(tracks.code == MARK).tolist():
        events = [at for at in range(ahead, moment) if tracks.code[at] != MARK][-(16 - ahead) :]
        now, row = tracks.time[moment], []
        for hours in (6, 24, None) if time else (None,):
            kept = [at for at in events if hours is None or tracks.time[at] >= now - hours * 3_600_000_000]
            kept = list(range(ahead)) * (hours is None) + kept
            number = np.nan_to_num(np.log1p(tracks.value[kept]) / 3)
            each = vectors[tracks.code[kept]]
            row += [3 * each.sum(0) / max(len(kept), 1), [np.log1p(len(kept)) / 3]]
            if value:
                having = (~np.isnan(tracks.value[kept])).sum()
                row += [3 * (each * number[:, None]).sum(0) / max(len(kept), 1), [np.log1p(having) / 3]]
        expected.append(np.concatenate(row))
    np.testing.assert_allclose(rows, expected, atol=1e-5)
    nobody = gather_bags(tracks.take(np.zeros(0, np.int64)), vectors, form)
    assert nobody.features.shape == (0, rows.shape[1])


def track_by_hand(steps, codes):
    """One track of (microseconds, code, number)."""
    time, code, value = (np.array(each) for each in zip(*steps, strict=True))
    return Tracks(
        subject_id=np.array([1]),
        stay_id=np.array([1]),
        starts=np.array([0, len(code)]),
        codes=codes,
        code=code.astype(np.int32),
        time=time.astype(np.int64),
        value=value.astype(np.float32),
        answer=np.where(code == MARK, 1, np.nan).astype(np.float32),
        static=np.full((1, 2), np.nan, np.float32),
    )


def test_labels_of_the_other_kind_are_refused(tmp_path):
    folder = hospital(tmp_path / "h", [(1, 1, HEART, 90.0, 10)], [(1, 24, True, 10)])
    with pytest.raises(ProfileError, match="1 labels lack a float_value"):
        Asked.of(read_labels(folder, "asked"), binary=False, hourly=False)


def test_the_state_in_words_by_hand(tmp_path):
    events = [
        (1, None, "GENDER//F", None, None),
        (1, 0, "AGE//years", 70.0, 10),
        (1, 0, HEART, 80.0, 10),
        (1, 20, HEART, 130.0, 10),
        (1, 21, LACTATE, 1.7, 10),
        (1, 22, "LAB//Albumin//g/L", 15.0, 10),
        (1, 2, "DIAG//ICD10CM//I50.9", None, None),
        (1, 3, "MED//aspirin", 81.0, 10),
        (1, 4, "MED//x7", None, 10),
        (1, 25, "MED//late", None, 10),
        (2, 24, LACTATE, 1.7, 20),
    ]
    folder = hospital(
        tmp_path / "h", events, [(1, 24, True, 10), (2, 24, True, 20)], titles={"MED//x7": "furosemide 40 mg"}
    )
    tracks = tracks_of(folder, view=View(Sight()))
    assert write_states(tracks, read_titles(folder, tracks.codes)) == [
        (
            "A woman of 70 years. Observed for 24 hours. Albumin 1.5 g/dL, low. Heart rate 130 bpm, high and rising. "
            "Diagnoses: Heart failure, unspecified. Medications: furosemide 40 mg; aspirin, medication ordered."
        ),
        "A person of unknown age. Observed for 0 hours.",
    ]


CODES = [
    HEART,
    LACTATE,
    "MED//aspirin",
    "MED//heparin",
    "DIAG//ICD10CM//I50.9",
    "AGE//years",
    "GENDER//F",
    "MEDS_BIRTH",
]
happened = st.lists(
    st.tuples(st.integers(0, 40), st.sampled_from(CODES), st.sampled_from([None, 1.0, 80.0])), max_size=20
)


def every_form(folder, *, hourly):
    """What each form makes of the first moments of patient 1: sequences, rows and words."""
    tracks = tracks_of(folder, hourly=hourly, events=16)
    own = tracks.take(np.flatnonzero(tracks.subject_id == 1))
    streams = streams_of(own, Form("events", events=16), hourly=hourly)
    rows = gather_bags(own, signatures(own.codes), Form("events", events=16)).features
    return streams, rows, write_states(own, read_titles(folder, own.codes))


@settings(max_examples=25, deadline=None)
@given(past=happened, future=happened, hour=st.integers(0, 40), hourly=st.booleans())
def test_no_feature_changes_when_the_future_or_another_patient_does(tmp_path_factory, past, future, hour, hourly):
    before = [(1, at, code, value, 10) for at, code, value in past if at <= hour]
    planted = [(1, at, code, value, 10) for at, code, value in future if at > hour]
    planted += [(2, at, code, value, 20) for at, code, value in future]
    labels = [(1, at, True, 10) for at in range(41) if at <= hour] if hourly else [(1, hour, True, 10)]
    later = [(1, 41, True, 10)] if hourly else []
    folder = tmp_path_factory.mktemp("leak")
    other = [(3, 0, HEART, 1.0, 30)]
    plain = every_form(hospital(folder / "a", other + before, labels), hourly=hourly)
    leaky = every_form(hospital(folder / "b", other + planted + before, labels + later), hourly=hourly)
    for (at, row), (also_at, other_row) in zip(_answers(plain[0]), _answers(leaky[0]), strict=False):
        assert at == also_at
        torch.testing.assert_close(row, other_row, rtol=0, atol=0)
    np.testing.assert_array_equal(plain[1], leaky[1][: len(labels)])
    assert plain[2] == leaky[2][: len(labels)]


def _answers(streams):
    """For each moment, in order: where in its example it stands and everything up to it."""
    (features,) = streams.split(10_000)
    return [(step, features[example, : step + 1]) for example, step in streams.place.tolist()]


@settings(max_examples=8, deadline=None)
@given(events=happened, shuffle=st.randoms(use_true_random=False))
def test_shards_and_the_order_of_rows_change_nothing(tmp_path_factory, events, shuffle):
    rows = [(patient, at, code, value, 10 * patient) for patient in (1, 2, 3) for at, code, value in events]
    labels = [(patient, 24, True, 10 * patient) for patient in (1, 2, 3)]
    mixed = shuffle.sample(rows, len(rows))
    folder = tmp_path_factory.mktemp("order")
    standing = [(1, None, "GENDER//F", None, None)]
    one = tracks_of(hospital(folder / "a", standing + rows, labels), events=16)
    two = tracks_of(hospital(folder / "b", mixed + standing, labels, limit_bytes=1), events=16)
    assert len(list((folder / "b" / "data").iterdir())) >= (3 if events else 1)
    everybody = np.arange(3)
    first, second = (streams_of(each, Form("events", events=16)).batch(everybody) for each in (one, two))
    torch.testing.assert_close(first.features, second.features, rtol=0, atol=0)
    first_rows, second_rows = (
        gather_bags(each, signatures(each.codes), Form("events")).features for each in (one, two)
    )
    np.testing.assert_array_equal(first_rows, second_rows)


def test_hospitals_that_exchange_nothing_have_the_same_vectors(tmp_path):
    first = [(1, 1, HEART, 104.0, 10), (1, 2, "MED//aspirin", None, 10), (1, 3, "LAB//Creatinine//mg/dL", 1.0, 10)]
    second = [(7, 0, "MED//other", None, 70), *((7, *event[1:4], 71) for event in first[:2])]
    second += [(7, 3, "LAB//creatinine, serum//umol/L", 1 / 0.01131, 71)]
    one = tracks_of(hospital(tmp_path / "a", first, [(1, 24, True, 10)]))
    two = tracks_of(hospital(tmp_path / "b", second, [(7, 24, True, 71)]))
    alike = [streams_of(each, Form("events")).batch(np.array([0])).features for each in (one, two)]
    torch.testing.assert_close(*alike, rtol=0, atol=1e-6)
    vectors = signatures([f"MED//{number}" for number in range(2000)])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    assert np.abs(vectors @ vectors.T - np.eye(2000)).max() < 0.8
    published = f"{0x6BD71500F033F4BC:064b}"  # openssl dgst -shake256 -xoflen 8
    assert signatures(["MED//aspirin"])[0].tolist() == [(2 * int(bit) - 1) / 8 for bit in published]


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(st.booleans(), min_size=1, max_size=200),
    ahead=st.integers(0, 3),
    events=st.sampled_from([16, 17, 32]),
)
def test_every_moment_is_answered_once_and_sees_at_least_half_of_what_is_kept(steps, ahead, events):
    code = [0] * ahead + [MARK if moment else 0 for moment in steps] + [MARK]
    tracks = track_by_hand(
        [(STANDING if at < ahead else at, each, np.nan) for at, each in enumerate(code)], ("MED//a",)
    )
    windows = cut_windows(tracks, events=events)
    assert sorted(windows.step[windows.asked].tolist()) == np.flatnonzero(tracks.code == MARK).tolist()
    for begin, end in zip(windows.starts[:-1], windows.starts[1:], strict=True):
        own = windows.step[begin:end]
        assert own[:ahead].tolist() == list(range(ahead))
        assert (np.diff(own[ahead:]) == 1).all()
        assert len(own) <= events + ahead + 1
        for place in np.flatnonzero(windows.asked[begin:end]):
            assert place >= min(own[place], events // 2)


def wards(tmp_path):
    """Four patients; the first has two stays and one of them more events than a window, the last none."""
    rng = np.random.default_rng(0)
    stays = [(1, 10, 40), (1, 11, 4), (2, 20, 9), (3, 30, 2), (4, 40, 0)]
    events = [
        (patient, float(rng.uniform(0, 12)), CODES[int(rng.integers(5))], float(rng.uniform(1, 90)), stay)
        for patient, stay, count in stays
        for _ in range(count)
    ]
    labels = [
        (patient, hour, bool(rng.integers(2)), stay)
        for patient, stay, _ in stays
        for hour in range(0, 13, 1 + stay % 3)
    ]
    return hospital(tmp_path / "h", events, labels)


@pytest.mark.parametrize("name", ["gru", "transformer", "ssm", "tcn"])
@pytest.mark.parametrize("hourly", [True, False])
def test_the_clipped_sum_over_streams_is_that_of_each_patient_by_themselves(tmp_path, name, hourly):
    streams = streams_of(tracks_of(wards(tmp_path), hourly=hourly, events=16), Form("events", events=16), hourly=hourly)
    torch.testing.assert_close(
        torch.bincount(torch.from_numpy(streams.patient), streams.weight.double()),
        torch.tensor([2.0, 1, 1, 1] if hourly else [12.0, 5, 13, 7]).double(),
    )
    model, loss = build_model(name, features=streams.shape[2], codes=1, dropout=0.0, seed=0), build_outcome_loss("bce")
    batch = streams.batch(np.arange(4))

    def each(outputs):
        return batch.losses(loss, outputs)

    norms = patient_norms(model, batch.features, each, batch.patient)
    clip, noise = float(norms.median()), ReproducibleNoise("streams")
    private_gradient(
        model,
        batch.features,
        each,
        batch.patient,
        clip_norm=clip,
        patients_expected=1.0,
        noise=noise,
        noise_multiplier=0.0,
    )
    ours = [parameter.grad.clone() for parameter in model.parameters()]
    expected = [torch.zeros_like(parameter) for parameter in model.parameters()]
    for patient in range(4):  # by themselves they are padded to their own longest window
        own = streams.batch(np.array([patient]))
        model.zero_grad()
        own.losses(loss, model(own.features)).sum().backward()
        norm = float(torch.sqrt(sum((parameter.grad**2).sum() for parameter in model.parameters())))
        assert norm == pytest.approx(float(norms[patient]), rel=1e-3)
        for total, parameter in zip(expected, model.parameters(), strict=True):
            total.add_(parameter.grad, alpha=min(1.0, clip / norm))
    for mine, theirs in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=5e-5, rtol=2e-3)


def test_what_fills_a_batch_up_contributes_nothing(tmp_path):
    streams = streams_of(tracks_of(wards(tmp_path), events=32), Form("events", events=32))
    batch, alone = streams.batch(np.arange(4)), streams.batch(np.array([2]))
    mine = batch.patient == 2
    T = alone.features.shape[1]
    assert batch.features.shape[1] > T
    torch.testing.assert_close(batch.features[mine][:, :T], alone.features)
    assert (batch.features[mine][:, T:] == 0).all()
    assert batch.labels[mine][:, T:].isnan().all()
    blocks = torch.cat(list(streams.split(3)))
    assert blocks.shape == streams.shape
    unrolled = streams.unrolled()
    torch.testing.assert_close(unrolled.features, blocks)
    assert unrolled.patients == 4
    assert streams.batch(np.array([], np.int64)).features.shape[0] == 0


def test_a_form_says_all_that_its_vectors_depend_on():
    forms = [
        Form(), Form("events"), Form("events", "text"), Form("events", time=False), Form("events", value=False),
        Form("events", events=128), Form("text"), Form("text", events=128),
    ]  # fmt: skip
    assert len({form.describe("encoder@1") for form in forms}) == len(forms)
    assert Form("events").describe("a") == Form("events").describe("b")
    assert Form("text").describe("a") != Form("text").describe("b")


def test_titles_put_near_each_other_what_means_nearly_the_same(tmp_path):
    from clinical.notes import EncoderUnavailable, load_encoder

    try:
        encoder = load_encoder("")
    except EncoderUnavailable as missing:
        pytest.skip(str(missing))
    codes = ["DIAG//ICD10CM//I50.9", "DIAG//ICD9CM//428.0", "DIAG//ICD10CM//S82.301A", "MED//furosemide"]
    titles = read_titles(tmp_path, codes)
    assert titles[:2] == ["Heart failure, unspecified", "Congestive heart failure, unspecified"]
    vectors = text_vectors(titles, encoder, side_car=tmp_path / "embeddings")
    near = vectors @ vectors[0]
    assert near[1] > 0.6
    assert near[1] > max(near[2:]) + 0.2
