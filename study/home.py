"""Where Wardround keeps what it makes when nobody says otherwise."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """Return Wardround's own folder, absolute: ``WARDROUND_HOME`` or ``~/.wardround``."""
    return Path(os.environ.get("WARDROUND_HOME") or Path.home() / ".wardround").absolute()
