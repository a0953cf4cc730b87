"""An audit ends in a page that can be signed, and what is signed is left alone."""

import json
import re
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import pytest

from privacy.signatures import create_key, read_private_key, sign, verify
from reports.audit import render

ROOT = Path(__file__).resolve().parents[3]
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_the_documented_example_is_a_page():
    record = json.loads((ROOT / "docs" / "audit-record.json").read_text(encoding="utf-8"))
    page = render(record)
    assert record["statement"] in unescape(page)
    assert "<strong>Contradicted</strong>" in page


@pytest.mark.slow
def test_an_audit_draws_its_page_and_writes_into_no_signed_directory(practice, tmp_path):
    run = practice.conduct(
        privacy__epsilon=8.0, privacy__canaries=20, federation__rounds=2, training__batch_patients=64
    )
    _, record = practice.audit(run, "--inversion")
    folder = Path(run["folder"]) / "audit"
    page = (folder / "audit.html").read_text(encoding="utf-8")
    assert page == render(record)
    text = " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())
    assert [reason for reason in record["reasons"] if " ".join(reason.split()) not in text] == []
    assert "Gradient inversion: can records be rebuilt" in text
    create_key(tmp_path / "key")
    key = read_private_key(tmp_path / "key")
    sign(folder, key, name="R. Virchow", at=NOON)
    with pytest.raises(ValueError, match="is signed, so nothing is written into it"):
        practice.audit(run)
    assert len(verify(folder, [key.public_key()])) == 1
