"""Defaults, presets and what the documents say about them agree with the protocol."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from server.terms import check_names
from study.defaults import build, defaults, read_settings

ROOT = Path(__file__).resolve().parents[2]
PRESETS = sorted((ROOT / "study" / "presets").glob("*.toml"))
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
KEY = re.compile(r"--(?:set|vary) ([a-z]+\.[a-z0-9-]+)=")
COMMAND = re.compile(r"`(wardround(?: [a-z]+)+)")


def test_the_defaults_are_a_study_that_names_only_what_exists():
    check_names(build())


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_every_preset_is_a_study_and_changes_only_known_keys(preset):
    settings = read_settings(preset)
    assert settings.keys() <= defaults().keys()
    check_names(build(settings))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_key_a_document_sets_exists(document):
    assert set(KEY.findall(document.read_text(encoding="utf-8"))) <= defaults().keys()


def test_every_command_the_readme_names_has_a_help_page():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = {tuple(command.split()[1:3]) for command in COMMAND.findall(text)}
    assert len(named) >= 8
    for words in named:
        assert _help(words).returncode == 0, f"wardround {' '.join(words)}"


def _help(words) -> subprocess.CompletedProcess:
    """A second word may be an argument (a folder) and not a command; then the first alone is asked."""
    command = [sys.executable, "wardround.py", *words, "--help"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
