"""Import time is round time: what a hospital's process imports before it knows what it is asked."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "pandas", "sentence_transformers", "transformers", "sdv", "ctgan", "opacus", "sklearn", "ray")


@pytest.mark.parametrize(
    "module",
    [
        "clients.app",
        "server.app",
        "wardround",
        "clinical.commands",
        "privacy.commands",
        "reports.commands",
        "clients.audit.commands",
        "gate.commands",
    ],
)
def test_an_application_imports_nothing_heavy_before_it_is_asked(module):
    code = f"import sys, {module}; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
