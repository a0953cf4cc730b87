"""The site's records only grow, and what was done to them otherwise is found at its line."""

import json
import resource
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clinical.chain import GENESIS, ChainBroken, ChainWriter, append_entry, read_chain

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
WORDS = ("one", "two", "three", "four", "fünf")


@pytest.fixture
def record(tmp_path):
    path = tmp_path / "record.jsonl"
    for word in WORDS:
        append_entry(path, {"word": word}, at=NOON)
    return path


def test_entries_come_back_in_order_and_a_person_can_read_the_file(record):
    chain = read_chain(record)
    assert [entry["word"] for entry in chain.entries] == list(WORDS)
    assert chain.count == 5
    first = json.loads(record.read_text(encoding="utf-8").splitlines()[0])
    assert list(first) == ["number", "at", "word", "previous", "hash"]
    assert first["previous"] == GENESIS
    assert "fünf" in record.read_text(encoding="utf-8")


def test_a_file_that_is_not_there_has_no_entries(tmp_path):
    assert read_chain(tmp_path / "none").count == 0


def test_the_record_is_for_its_owner_alone(record):
    assert record.stat().st_mode & 0o777 == 0o600


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(data=st.data())
def test_any_byte_that_is_changed_is_found_at_its_line(record, data):
    content = record.read_bytes()
    place = data.draw(st.integers(0, len(content) - 2))  # the last line's end alone is no content
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[place]))
    changed = record.with_name("changed")
    changed.write_bytes(content[:place] + bytes([other]) + content[place + 1 :])
    line = content[:place].count(b"\n") + 1
    last = line == len(WORDS) and b"\n" not in content[place:-1]
    with pytest.raises(ChainBroken) as found:
        read_chain(changed)
    assert found.value.line in ({line} if content[place] != 10 else {line, line + 1}) or last


@pytest.mark.parametrize(
    ("arrange", "line"),
    [
        (lambda lines: lines[1:], 1),
        (lambda lines: [*lines[:2], *lines[3:]], 3),
        (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], 2),
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], 3),
    ],
    ids=["first removed", "one removed", "two exchanged", "one repeated"],
)
def test_lines_that_were_removed_moved_or_added_are_found(record, arrange, line):
    lines = record.read_bytes().splitlines(keepends=True)
    record.write_bytes(b"".join(arrange(lines)))
    with pytest.raises(ChainBroken, match=f"line {line}:") as found:
        read_chain(record)
    assert found.value.line == line


def test_lines_cut_off_the_end_are_found_with_a_head_noted_before(record):
    head = read_chain(record).head
    record.write_bytes(b"".join(record.read_bytes().splitlines(keepends=True)[:3]))
    assert read_chain(record).count == 3
    with pytest.raises(ChainBroken, match="missing from the end"):
        read_chain(record, containing=head)


@pytest.mark.parametrize("kept", [1, 20, -2])
def test_a_line_cut_short_by_a_crash_is_named_and_the_record_goes_on(record, kept):
    *lines, last = record.read_bytes().splitlines(keepends=True)
    record.write_bytes(b"".join(lines) + last[:kept])
    chain = read_chain(record)
    assert chain.count == 4
    assert chain.torn == len(last[:kept])
    append_entry(record, {"word": "six"}, at=NOON)
    entries = read_chain(record).entries
    assert entries[-1]["word"] == "six"
    assert entries[-1]["after_torn_bytes"] == chain.torn


def test_a_line_that_lost_only_its_end_still_counts(record):
    record.write_bytes(record.read_bytes()[:-1])
    append_entry(record, {"word": "six"}, at=NOON)
    entries = read_chain(record).entries
    assert [entry["word"] for entry in entries] == [*WORDS, "six"]
    assert "after_torn_bytes" not in entries[-1]


def test_nothing_is_added_to_a_record_that_does_not_verify(record):
    content = record.read_bytes().replace(b"two", b"too")
    record.write_bytes(content)
    with pytest.raises(ChainBroken):
        append_entry(record, {"word": "six"}, at=NOON)
    assert record.read_bytes() == content


def test_one_writer_notices_what_another_has_added(record):
    one, other = ChainWriter(record), ChainWriter(record)
    for number in range(3):
        one.append({"by": "one", "n": number}, at=NOON)
        other.append({"by": "other", "n": number}, at=NOON)
        other.append({"by": "other", "n": number}, at=NOON)
    assert read_chain(record).count == 5 + 9


def test_a_full_disk_is_an_error_and_leaves_the_record_as_it_was(record):
    before = record.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            append_entry(record, {"word": "six"}, at=NOON)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert record.read_bytes() == before
