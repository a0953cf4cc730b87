"""How facts are spelled as codes of the profile: each distinct combination of cells is spelled once.

A table of a million measurements has a few hundred kinds of them. A spelling is therefore a plain function of a few
cells, called for each combination that occurs, and may be as careful as it likes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, cast

from clinical.profile import PREFIX_OF_SYSTEM

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Names = Mapping[str, str]

__all__ = ["Spelled", "Spelling", "join_code", "joined", "labelled", "measured", "named", "spell_icd"]

System = Literal["ICD10CM", "ICD10PCS", "ICD9CM", "ICD9PROC"]
_CODE_SHAPE: Final = re.compile(r"[A-Z0-9][A-Z0-9.\-]{0,11}", re.ASCII)
_BLANK: Final = re.compile(r"[\s\x00-\x1f\x7f]+")
_SLASHES: Final = re.compile(r"//+")
_LONGEST: Final = 200
ZERO_RESTORED: Final = "leading zero put back"


@dataclass(frozen=True, slots=True)
class Spelled:
    """What a combination of cells means.

    Attributes:
        code: the full code of the profile; "" when the cells do not state this fact.
        title: its description, if one is known.
        refusal: why a row with these cells is refused; "" when it is not.
        unknown: whether it is a diagnosis or procedure code in no release.
        repaired: what was put right; "" when nothing was.
    """

    code: str
    title: str = ""
    refusal: str = ""
    unknown: bool = False
    repaired: str = ""


@dataclass(frozen=True, slots=True)
class Spelling:
    """How some columns become a code.

    Attributes:
        columns: the cells `spell` is given, "" for an empty one.
        spell: called with the names of `names` and the cells.
        names: the dictionary table of the export whose labels are wanted; "" when none is.
    """

    columns: tuple[str, ...]
    spell: Callable[..., Spelled]
    names: str = ""


def join_code(prefix: str, *parts: str) -> str:
    """Put a code together; blanks are single, and a part holds no double slash, which separates parts.

    >>> join_code("LAB//", "Alkaline  Phosphatase", "IU/L")
    'LAB//Alkaline Phosphatase//IU/L'
    """
    return prefix + "//".join(_SLASHES.sub("/", _BLANK.sub(" ", part).strip())[:_LONGEST].rstrip("/") for part in parts)


def labelled(prefix: str, column: str, *, upper: bool = False, translation: Names | None = None) -> Spelling:
    """Spell a fact that is one cell, such as RACE//WHITE; an empty cell states nothing.

    Args:
        prefix: of the code.
        column: holds the label.
        upper: whether to write it in capitals, where sources differ in nothing else.
        translation: labels that are spelled in another way here, by the cell in capitals.
    """

    def spell(_: Names, cell: str) -> Spelled:
        label = (translation or {}).get(cell.strip().upper(), cell.upper() if upper else cell)
        code = join_code(prefix, label)
        return Spelled(code if code != prefix else "")

    return Spelling((column,), spell)


def measured(prefix: str, item: str, unit: str, *, names: str = "") -> Spelling:
    """Spell a measurement, such as LAB//Creatinine//mg/dL; the unit stays empty where there is none.

    Args:
        prefix: LAB//, VITAL// ...
        item: the column of the item's number or name; an empty cell states nothing.
        unit: the column of the unit.
        names: the dictionary that names items by number; one it does not have keeps the number.
    """

    def spell(labels: Names, cell: str, written_unit: str) -> Spelled:
        name = labels.get(cell.strip(), cell.strip())
        return Spelled(join_code(prefix, name, written_unit) if join_code("", name) else "")

    return Spelling((item, unit), spell, names)


def named(prefix: str, item: str, *, names: str) -> Spelling:
    """Spell an item without a unit by its name, or its number where the dictionary does not have it."""

    def spell(labels: Names, cell: str) -> Spelled:
        code = join_code(prefix, labels.get(cell.strip(), cell))
        return Spelled(code if code != prefix else "")

    return Spelling((item,), spell, names)


def joined(prefix: str, *columns: str, fixed: tuple[str, ...] = ()) -> Spelling:
    """Spell a fact that takes several cells, all of which must be there, such as DRG//HCFA//864.

    Args:
        prefix: of the code.
        columns: hold the parts.
        fixed: parts after those, the same for every row, such as a unit.
    """

    def spell(_: Names, *cells: str) -> Spelled:
        parts = [join_code("", cell) for cell in cells]
        return Spelled(join_code(prefix, *parts, *fixed) if all(parts) else "")

    return Spelling(columns, spell)


def spell_icd(written: str, *, system: str, column: str) -> Spelled:
    """Spell an ICD code of one system in its dotted form.

    A code that its system cannot spell is kept as written, in capitals, when it looks like a code at all; a lost
    leading zero is put back where the system leaves one reading, see `clinical.codes.normalise`.

    Args:
        written: the cell.
        system: ICD10CM, ICD10PCS, ICD9CM or ICD9PROC.
        column: the cell's column, for the reason of a refusal.
    """
    from clinical.codes import normalise, title

    bare = written.strip().upper()
    if not bare:
        return Spelled("", refusal=f"no {column}")
    if not _CODE_SHAPE.fullmatch(bare):
        return Spelled("", refusal=f"{column} is not a code")
    of = cast("System", system)
    try:
        code = normalise(bare, system=of)
    except ValueError:
        return Spelled(PREFIX_OF_SYSTEM[system] + bare, unknown=True)
    found = title(code, system=of)
    restored = code.replace(".", "") != bare.replace(".", "")
    repaired = ZERO_RESTORED if restored else ""
    return Spelled(PREFIX_OF_SYSTEM[system] + code, found or "", unknown=found is None, repaired=repaired)
