"""The discharge summary of a simulated stay, in the style of its house.

A coder's work should be possible and not trivial, as in life: no ICD title is quoted; a condition is named in one of
several wordings, or only its findings, values or drugs are told; absent conditions appear denied, ruled out or copied
forward; and every laboratory value is one that was measured.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from clinical.simulation.character import HouseStyle
from clinical.simulation.medicine import Condition, Medicine, read_table
from clinical.simulation.patients import Person, Stay
from clinical.simulation.trajectories import Series

_NAMED = 0.85
_TOLD = 0.85
_DISTRACTED = 0.45
_COPIED = 0.2
_QUOTED_LABS = 7
_LISTED_DRUGS = 8


class DischargeWriter:
    """Writes summaries for one hospital.

    Args:
        medicine: the tables.
        style: the house style.
        rng: source of every choice of words.
    """

    def __init__(self, medicine: Medicine, style: HouseStyle, rng: np.random.Generator) -> None:
        self._medicine = medicine
        self._style = style
        self._rng = rng
        self._phrases: Mapping[str, Any] = read_table("house_styles")["phrases"]
        pattern = "|".join(re.escape(phrase) for phrase in sorted(style.replacements, key=len, reverse=True))
        self._replaced = re.compile(rf"\b({pattern})\b") if pattern else None
        self._sections: Mapping[str, Callable[[Person, Stay], str]] = {
            "complaint": self._complaint,
            "history": self._history,
            "past": self._past,
            "exam": self._exam,
            "imaging": self._imaging,
            "course": self._course,
            "condition": self._condition,
        }

    def write(self, person: Person, stay: Stay, labs: Sequence[Series], drugs: Sequence[str]) -> str:
        """Write one summary from a stay, its measured `labs` and the `drugs` that were given."""
        parts = []
        for section in self._style.order:
            if self._rng.random() >= self._style.kept[section]:
                continue
            if section == "labs":
                text = self._labs(stay, labs)
            elif section == "drugs":
                text = ", ".join(drugs[:_LISTED_DRUGS])
            else:
                text = self._sections[section](person, stay)
            if text:
                parts.append(f"{self._style.headings[section]}: {self._in_house_words(text)}")
        return "\n".join([*parts, self._style.closing] if self._style.closing else parts)

    def _complaint(self, _person: Person, stay: Stay) -> str:
        return self._one(self._of(stay.reason).symptoms)

    def _history(self, person: Person, stay: Stay) -> str:
        manner = "terse" if self._style.terse else "verbose"
        first, *more = self._some(self._of(stay.reason).symptoms, 2)
        for name in self._arisen(stay):
            if self._of(name).symptoms and self._rng.random() < 0.5:
                more.append(self._one(self._of(name).symptoms))
        words = {
            "age": str(int(person.age)),
            "sex_letter": "F" if person.female else "M",
            "sex_noun": "woman" if person.female else "man",
            "pronoun": "She" if person.female else "He",
            "days": str(self._rng.integers(1, 8)),
            "first": first,
            "more": (", " if self._style.terse else " and ").join(more),
        }
        sentences = [self._phrase(f"{manner}_opening", words)]
        if more:
            sentences.append(self._phrase(f"{manner}_more", words))
        if self._rng.random() < _DISTRACTED:
            absent = self._absent(stay, lambda condition: bool(condition.symptoms))
            sentences.append(self._phrase(f"{manner}_denial", words | {"absent": self._one(absent.symptoms)}))
        return " ".join(sentences)

    def _past(self, _person: Person, stay: Stay) -> str:
        told = [self._one(self._of(name).names) for name in sorted(stay.long_standing) if self._rng.random() < _NAMED]
        if self._rng.random() < _COPIED:
            told.append(self._phrase("copied", {"name": self._one(self._absent(stay, _has_name).names)}))
        self._rng.shuffle(told)
        return ", ".join(told) or self._one(self._phrases["no_history"])

    def _exam(self, _person: Person, stay: Stay) -> str:
        signs = [
            self._one(self._of(name).exam)
            for name in stay.conditions
            if self._of(name).exam and self._rng.random() < _TOLD
        ]
        return "; ".join([*signs, self._one(self._phrases["unremarkable_exam"])]) + "."

    def _imaging(self, _person: Person, stay: Stay) -> str:
        seen = [
            self._one(self._of(name).imaging)
            for name in stay.conditions
            if name not in stay.long_standing and self._of(name).imaging
        ]
        if self._rng.random() < _DISTRACTED:
            absent = self._absent(stay, lambda condition: bool(condition.imaging))
            seen.append(self._phrase("rule_out", {"name": self._one(absent.names)}))
        return "; ".join(seen)

    def _labs(self, stay: Stay, labs: Sequence[Series]) -> str:
        """The values furthest from normal for this patient, first and last."""
        moved = [name for condition in stay.conditions for name in self._of(condition).labs]
        ranked = sorted(labs, key=lambda series: series.measurement.name not in moved)[:_QUOTED_LABS]
        return ", ".join(self._quote(series) for series in ranked)

    def _quote(self, series: Series) -> str:
        name = series.measurement.say[int(self._style.terse)]
        first, last = series.report(0), series.report(-1)
        unit = "" if self._style.terse else f" {series.measurement.unit}"
        changed = f" -> {last}" if len(series.values) > 1 and first != last else ""
        return f"{name} {first}{changed}{unit}"

    def _course(self, _person: Person, stay: Stay) -> str:
        told = []
        if self._rng.random() < 0.5:
            told.append(self._one(self._of(stay.reason).names))
        told += [
            self._one(self._of(name).course)
            for name in (stay.reason, *self._arisen(stay))
            if self._of(name).course and (name == stay.reason or self._rng.random() < _TOLD)
        ]
        told += [
            self._one(self._medicine.procedures[name].says) for name in stay.procedures if self._rng.random() < _TOLD
        ]
        sentences = [f"{text[:1].upper()}{text[1:]}." for text in told or [self._one(self._phrases["plain_course"])]]
        if stay.intensive:
            days = max(round((stay.intensive[1] - stay.intensive[0]) / 24), 1)
            sentences.append(self._phrase("intensive", {"days": str(days)}))
        return " ".join(sentences)

    def _condition(self, _person: Person, stay: Stay) -> str:
        return self._one(self._phrases["dead" if stay.died else "alive"])

    def _arisen(self, stay: Stay) -> list[str]:
        return [name for name in stay.conditions[1:] if name not in stay.long_standing]

    def _absent(self, stay: Stay, eligible: Callable[[Condition], bool]) -> Condition:
        others = [
            one for one in self._medicine.conditions.values() if one.name not in stay.conditions and eligible(one)
        ]
        return others[self._rng.integers(len(others))]

    def _of(self, name: str) -> Condition:
        return self._medicine.conditions[name]

    def _one(self, wordings: Sequence[str]) -> str:
        return wordings[self._rng.integers(len(wordings))]

    def _some(self, wordings: Sequence[str], most: int) -> list[str]:
        chosen = self._rng.permutation(len(wordings))[:most]
        return [wordings[index] for index in chosen]

    def _phrase(self, key: str, words: Mapping[str, str]) -> str:
        return self._one(self._phrases[key]).format_map(dict(words))

    def _in_house_words(self, text: str) -> str:
        if self._replaced is None:
            return text
        return self._replaced.sub(lambda match: self._style.replacements[match.group(1)], text)


def _has_name(condition: Condition) -> bool:
    return bool(condition.names)
