"""Small readings of FHIR JSON that never trip over its shape: a wrong type reads as absent.

An export is written by a program nobody here has seen. Each accessor therefore answers "" or an empty list where the
standard's shape is not met, and the translator above refuses the resource for what is then missing.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from functools import lru_cache
from html.parser import HTMLParser
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from clinical.sources.vocabularies import LARGEST_NUMBER, VOCABULARY_OF_URI

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Coding",
    "Value",
    "codings",
    "every",
    "find_extension",
    "name_of",
    "read_attachment",
    "read_value",
    "text_at",
]

_COMPARATORS: Final = ("<", "<=", ">=", ">")
_PLAIN: Final = ("text/plain", "text/html", "application/xhtml+xml")
_CHARSET: Final = re.compile(r"charset\s*=\s*\"?([\w.:-]+)", re.IGNORECASE)
_SPACE: Final = re.compile(rb"\s+")
_VALUES: Final = (
    "valueQuantity",
    "valueCodeableConcept",
    "valueString",
    "valueBoolean",
    "valueInteger",
    "valueDateTime",
    "valueTime",
)


@dataclass(frozen=True, slots=True)
class Coding:
    """One code of a vocabulary: the vocabulary in capitals ("" when unknown here), the code, and its name there."""

    vocabulary: str
    code: str
    display: str


@dataclass(frozen=True, slots=True)
class Value:
    """What was measured: a number with its unit, or words; or why it cannot be taken."""

    number: float | None = None
    unit: str = ""
    text: str | None = None
    refusal: str = ""


def walk(body: Any, *path: str) -> Any:
    """Follow a path of names; of a list, its first element; None where the path ends early."""
    for name in path:
        if isinstance(body, list):
            body = body[0] if body else None
        body = body.get(name) if isinstance(body, dict) else None
    return body


def text_at(body: Any, *path: str) -> str:
    """Give the text at the end of a path, without spaces around it; "" when there is none."""
    for name in path:  # as `walk` does, which is too slow for what happens twenty times a resource
        if type(body) is dict:
            body = body.get(name)
        else:
            body = body[0].get(name) if type(body) is list and body and type(body[0]) is dict else None
    return body.strip() if isinstance(body, str) else ""


def every(body: Any, *path: str) -> list[dict[str, Any]]:
    """Give the objects of a list; a single object counts as a list of one."""
    found = walk(body, *path)
    listed = found if isinstance(found, list) else [found]
    return [item for item in listed if isinstance(item, dict)]


def codings(concept: Any) -> list[Coding]:
    """Give the codings of a CodeableConcept that have a code."""
    listed = concept.get("coding") if isinstance(concept, dict) else None
    if not isinstance(listed, list):
        listed = [listed]
    return [
        _coding(text_at(coding, "system"), code, text_at(coding, "display"))
        for coding in listed
        if (code := text_at(coding, "code"))
    ]


@lru_cache(maxsize=1 << 14)
def _coding(system: str, code: str, display: str) -> Coding:
    """Recognise one coding; an export has few."""
    system = system.lower().rstrip("/")
    return Coding(VOCABULARY_OF_URI.get(system, _last_part(system)), code, display)


def name_of(concept: Any) -> str:
    """Name a CodeableConcept: LOINC's own name first, then its text, any display, or a code."""
    there = codings(concept)
    loinc = next((coding.display for coding in there if coding.vocabulary == "LOINC" and coding.display), "")
    name = loinc or text_at(concept, "text") or next((coding.display for coding in there if coding.display), "")
    return name or next((f"{coding.vocabulary} {coding.code}".strip() for coding in there), "")


def find_extension(body: Any, ending: str) -> Any:
    """Find the extension whose URL ends so; None when there is none."""
    for extension in every(body, "extension"):
        if text_at(extension, "url").endswith(ending):
            return extension
    return None


def read_value(body: dict[str, Any]) -> Value:
    """Read the value[x] of an Observation or of one of its components."""
    kind = next((name for name in _VALUES if name in body), "")
    if kind == "valueQuantity":
        return _read_quantity(body[kind])
    if kind == "valueInteger":
        return _read_number(body[kind], unit="", comparator="")
    if kind == "valueCodeableConcept":
        text = text_at(body[kind], "text") or name_of(body[kind])
    elif kind == "valueBoolean":
        text = {True: "true", False: "false"}.get(body[kind], "") if isinstance(body[kind], bool) else ""
    elif kind:
        text = text_at(body, kind)
    elif other := next((name for name in body if name.startswith("value")), ""):
        return Value(refusal="a kind of value that is not taken" if other.isidentifier() else "no value")
    else:
        return Value(refusal="no value")
    if not text:
        return Value(refusal="no value")
    return Value(text=text) if _is_text(text) else Value(refusal="text that is not Unicode")


def read_attachment(content: list[dict[str, Any]]) -> Value:
    """Read the text of a document's first attachment that has some; markup is left out."""
    refusal = "no attachment"
    for attachment in (item for part in content for item in every(part, "attachment")):
        kind = text_at(attachment, "contentType").lower()
        data = attachment.get("data")
        if not isinstance(data, str) or not data:
            refusal = "its text is elsewhere (url)" if text_at(attachment, "url") else "an attachment without data"
        elif kind and not kind.startswith(_PLAIN):
            refusal = "an attachment that is no plain text"
        else:
            read = _decode(data, kind)
            if not read.refusal:
                return read
            refusal = read.refusal
    return Value(refusal=refusal)


def _decode(data: str, kind: str) -> Value:
    """Decode a base64 attachment by its charset; UTF-8 where none is named."""
    try:
        content = base64.b64decode(_SPACE.sub(b"", data.encode("ascii")), validate=True)
    except (binascii.Error, ValueError):
        return Value(refusal="an attachment that is not base64")
    named = _CHARSET.search(kind)
    try:
        text = content.decode(named[1] if named else "utf-8")
    except (UnicodeError, LookupError, ValueError):
        return Value(refusal="an attachment that is not in its charset")
    if "html" in kind:
        text = _strip_markup(text)
    if not text.strip():
        return Value(refusal="an empty text")
    return Value(text=text) if _is_text(text) else Value(refusal="text that is not Unicode")


def _read_quantity(quantity: Any) -> Value:
    """Read a Quantity: UCUM's code of the unit before its name."""
    if not isinstance(quantity, dict) or quantity.get("value") is None:
        return Value(refusal="no value")
    unit = text_at(quantity, "code") or text_at(quantity, "unit")
    return _read_number(quantity["value"], unit=unit, comparator=text_at(quantity, "comparator"))


def _read_number(value: Any, *, unit: str, comparator: str) -> Value:
    """Take a number that float32 can hold; a comparator ("<") is kept in words beside it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Value(refusal="a value that is no number")
    # an integer is compared before it is converted: a float cannot hold any number of digits
    if not (isinstance(value, int) or isfinite(value)) or abs(value) > LARGEST_NUMBER:
        return Value(refusal="a number beyond what float32 holds")
    text = f"{comparator}{value}" if comparator in _COMPARATORS else None
    return Value(number=float(value), unit=unit, text=text)


def _last_part(system: str) -> str:
    """Shorten an unknown code system's URL to what follows its last slash or colon, in capitals."""
    return re.split(r"[/:]", system)[-1].upper()


def _is_text(text: str) -> bool:
    """Say whether text is Unicode: JSON can spell a lone surrogate."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


class _Words(HTMLParser):
    """Collects the text of a page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Start a new line where a block starts; hide scripts and styles."""
        del attrs
        self._hidden += tag in {"script", "style"}
        if tag in {"p", "br", "div", "li", "tr", "h1", "h2", "h3", "h4", "table"}:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        """Show again what follows a script or a style."""
        self._hidden -= tag in {"script", "style"} and self._hidden > 0

    def handle_data(self, data: str) -> None:
        """Keep visible text."""
        if not self._hidden:
            self.parts.append(data)


def _strip_markup(page: str) -> str:
    """Give the words of an HTML page."""
    words = _Words()
    words.feed(page)
    words.close()
    return "".join(_joined(words.parts)).strip()


def _joined(parts: list[str]) -> Iterator[str]:
    """Leave out a line break that follows another."""
    last = "\n"
    for part in parts:
        if part != "\n" or last != "\n":
            yield part
        last = part
