"""The study's defaults, and how a preset or a command line changes them.

The defaults stand in ``pyproject.toml`` and nowhere else: Flower reads them there, and so does this module for the
runs that Flower does not start (``wardround compare`` and the tests).
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.protocol import ProtocolError, Study, Value, parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

APPLICATION = Path(__file__).resolve().parent.parent
_SPECIFICATION = "synthesis.specification"
_BARE_FRACTION = re.compile(r"-?\.\d+")  # .001, which TOML wants a zero before


def defaults() -> dict[str, Value]:
    """Return every default as a flat setting.

    Raises:
        FileNotFoundError: the application's ``pyproject.toml`` is not beside its rooms.
    """
    project = tomllib.loads((APPLICATION / "pyproject.toml").read_text(encoding="utf-8"))
    return dict(_flatten(project["tool"]["flwr"]["app"]["config"]))


def read_settings(path: Path) -> dict[str, Value]:
    """Read a preset: a TOML file that sets some keys, nested by section.

    Raises:
        ProtocolError: the file is missing or is not TOML, or the specification it names cannot be read.
    """
    try:
        return _with_specification(dict(_flatten(tomllib.loads(path.read_text(encoding="utf-8")))), path.parent)
    except FileNotFoundError:
        raise ProtocolError(f"no study file {path}: give the path of a TOML file with study keys") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProtocolError(f"study file {path} is not TOML: {error}") from None


def read_changes(preset: Path | None, assignments: Sequence[str]) -> dict[str, Value]:
    """Read a preset and lay ``key=value`` assignments over it; values are spelled as in TOML, text may go bare.

    Raises:
        ProtocolError: an assignment has no ``=``, or the preset cannot be read.
    """
    changes = read_settings(preset) if preset is not None else {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise ProtocolError(f"--set {assignment!r} is not key=value, for example privacy.epsilon=3")
        changes[key.strip()] = _spelled(text)
    return _with_specification(changes, Path())


def read_variations(variations: Sequence[str]) -> dict[str, tuple[Value, ...]]:
    """Read ``key=value,value,...`` settings, each with the values it is to take.

    Raises:
        ProtocolError: one has no ``=``, no value or the same value twice.
    """
    varied: dict[str, tuple[Value, ...]] = {}
    for variation in variations:
        key, _, text = variation.partition("=")
        values = tuple(_spelled(word.strip()) for word in text.split(",") if word.strip())
        if not values or len(set(values)) != len(values):
            raise ProtocolError(f"--vary {variation!r} is not key=value,value for example privacy.epsilon=1,3,8")
        varied[key.strip()] = values
    return varied


def build(*changes: Mapping[str, Value]) -> Study:
    """Parse the defaults with changes laid over them, later ones first in force.

    Raises:
        ProtocolError: as `study.protocol.parse`.
    """
    settings = defaults()
    for change in changes:
        settings.update(change)
    return parse(settings)


def _with_specification(settings: dict[str, Value], folder: Path) -> dict[str, Value]:
    """Put the text of a table's specification in the place of its file's name: hospitals agree on what it says."""
    named = settings.get(_SPECIFICATION)
    if not (isinstance(named, str) and named.endswith(".toml") and "\n" not in named):
        return settings
    try:
        return settings | {_SPECIFICATION: (folder / named).read_text(encoding="utf-8")}
    except (OSError, UnicodeDecodeError) as fault:
        raise ProtocolError(f"{_SPECIFICATION} = {named!r} cannot be read: {type(fault).__name__}") from None


def _spelled(text: str) -> Value:
    """Read a value spelled as in TOML; anything else is text."""
    try:
        value: Value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        if _BARE_FRACTION.fullmatch(text.strip()):
            return float(text)
        return text
    return value


def _flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Value]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
