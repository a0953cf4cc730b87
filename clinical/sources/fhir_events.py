"""FHIR R4 resources as events: what each type says, and when that became known.

A diagnosis of an inpatient encounter is coded when the patient has left, so it carries the discharge whatever date the
server wrote; a diagnosis on the problem list carries the date of its recording. A result carries the time it was
issued, a discharge summary at the earliest the discharge. One table at the end says which types are taken.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from clinical.profile import DISCHARGE_NOTE, NOTE_PREFIX
from clinical.sources.fhir_values import (
    Coding,
    codings,
    every,
    find_extension,
    name_of,
    read_attachment,
    read_value,
    text_at,
)
from clinical.sources.vocabularies import (
    ETHNICITY,
    GENDER,
    RACE,
    VITAL_LOINC,
    Spelling,
    label,
    spell_coded,
    spell_measured,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from clinical.sources.fhir_index import Encounter, FhirIndex
    from clinical.sources.instants import Clock

__all__ = ["INTENSIVE", "NOTE_KINDS", "TRANSLATORS", "Event", "Taken", "Ward", "is_inpatient"]

INTENSIVE: Final = ("ICU", "PEDICU", "PEDNICU", "CCU")
"""HL7 v3 service delivery locations that are intensive care."""

NOTE_KINDS: Final[Mapping[str, str]] = {
    "18842-5": DISCHARGE_NOTE,
    "34117-2": "NOTE//HISTORY",
    "11506-3": "NOTE//PROGRESS",
    "11488-4": "NOTE//CONSULT",
    "34111-5": "NOTE//EMERGENCY",
    "28570-0": "NOTE//PROCEDURE",
    "18748-4": "NOTE//RADIOLOGY",
    "11502-2": "NOTE//LABORATORY",
    "34746-8": "NOTE//NURSING",
}
"""Kinds of notes by LOINC code; any other is NOTE//OTHER."""

_INPATIENT: Final = ("IMP", "ACUTE", "NONAC")
_NOT_TAKEN_PLACE: Final = ("planned", "cancelled", "entered-in-error")
_ORDERS: Final = ("order", "original-order", "reflex-order", "filler-order", "instance-order", "")
_PREFERENCE: Final = ("ICD10CM", "ICD10PCS", "ICD9CM", "ICD9PROC", "ICD9", "SNOMED")


@dataclass(frozen=True, slots=True)
class Event:
    """One event of the profile without its patient."""

    time: datetime | None
    code: str
    number: float | None = None
    text: str | None = None
    hadm_id: int | None = None
    stay_id: int | None = None
    title: str | None = None
    known: bool = True


@dataclass(slots=True)
class Taken:
    """What one resource gives: events, or the reason why it gives none.

    `parts` counts the facts within the resource that are counted apart: (kind, reason), "" for a kept one.
    """

    events: list[Event] = field(default_factory=list)
    refusal: str = ""
    parts: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Ward:
    """Where a resource belongs: its encounter and admission, the clock, and what else is in the export."""

    clock: Clock
    index: FhirIndex
    encounter: Encounter | None = None
    next_stay: int = 1

    @property
    def hadm_id(self) -> int | None:
        """The admission, if the encounter is one."""
        return self.encounter.hadm_id if self.encounter else None

    @property
    def discharged(self) -> datetime | None:
        """When the admission ended."""
        return self.encounter.discharged if self.encounter else None

    @property
    def ended(self) -> datetime | None:
        """When the encounter ended, or began if it never did."""
        return (self.encounter.ended or self.encounter.began) if self.encounter else None

    def known_at(self, *written: str) -> datetime | None:
        """The first readable time, else the encounter's end."""
        for one in written:
            if one and (time := self.clock.read(one)) is not None:
                return time
        return self.ended

    def after_discharge(self, time: datetime | None) -> datetime | None:
        """Not before the discharge."""
        if time is None or self.discharged is None:
            return time or self.discharged
        return max(time, self.discharged)


def is_inpatient(body: dict[str, Any]) -> bool:
    """Say whether an Encounter is an admission that took place."""
    return text_at(body, "class", "code").upper() in _INPATIENT and text_at(body, "status") not in _NOT_TAKEN_PLACE


def _patient(body: dict[str, Any], ward: Ward) -> Taken:
    """Sex, race, ethnicity, birth and death."""
    sex = text_at(body, "gender")
    taken = Taken([Event(None, f"GENDER//{GENDER.get(sex.lower(), 'UNKNOWN')}")])
    for kind, table in (("race", RACE), ("ethnicity", ETHNICITY)):
        if group := _group(find_extension(body, f"/us-core-{kind}"), table):
            taken.events.append(Event(None, f"{kind.upper()}//{group}"))
    if "birthDate" in body:
        born = ward.clock.read(text_at(body, "birthDate"), start=True)
        _part(taken, "Patient.birthDate", born, "MEDS_BIRTH")
    if "deceasedDateTime" in body:
        died = ward.clock.read(text_at(body, "deceasedDateTime"))
        _part(taken, "Patient.deceased", died, "DEATH")
    elif body.get("deceasedBoolean") is True:
        _part(taken, "Patient.deceased", None, "DEATH")
    return taken


def _group(extension: Any, table: Mapping[str, str]) -> str:
    """Read a US Core race or ethnicity: the OMB's group, or the words."""
    for part in every(extension, "extension"):
        if text_at(part, "url") == "ombCategory":
            coding = part.get("valueCoding")
            return table.get(text_at(coding, "code")) or label(text_at(coding, "display")).upper()
    words = [text_at(part, "valueString") for part in every(extension, "extension") if text_at(part, "url") == "text"]
    return label(words[0]).upper() if words else ""


def _part(taken: Taken, kind: str, time: datetime | None, code: str) -> None:
    """Add a fact that needs a time, or count it as refused."""
    taken.parts.append((kind, "" if time else "no time"))
    if time:
        taken.events.append(Event(time, code))


def _encounter(body: dict[str, Any], ward: Ward) -> Taken:
    """An admission and a discharge, an emergency visit, or another visit."""
    if text_at(body, "status") in _NOT_TAKEN_PLACE:
        return Taken(refusal="did not take place (status)")
    began = ward.encounter.began if ward.encounter else None
    ended = ward.encounter.ended if ward.encounter else None
    if began is None and ended is None:
        return Taken(refusal="no time")
    if began and ended and ended < began:
        return Taken(refusal="ends before it begins")
    kind = label(text_at(body, "class", "code")).upper()
    first, last = {"EMER": ("ED//IN", "ED//OUT")}.get(kind, (f"VISIT//{kind or 'UNKNOWN'}", ""))
    if ward.hadm_id is not None:
        first, last = "ADMISSION", "DISCHARGE"
    spelled = [(began, first), (ended, last)] if last else [(began or ended, first)]
    taken = Taken([Event(time, code, hadm_id=ward.hadm_id) for time, code in spelled if time])
    if ward.hadm_id is not None:
        _intensive(body, ward, taken)
    return taken


def _intensive(body: dict[str, Any], ward: Ward, taken: Taken) -> None:
    """The stays of an admission at locations that are intensive care."""
    for place in every(body, "location"):
        if ward.index.name(text_at(place, "location", "reference"), "Location") not in INTENSIVE:
            continue
        entered, left = ward.clock.read_period(text_at(place, "period", "start"), text_at(place, "period", "end"))
        orderly = entered is not None and (left is None or left >= entered)
        taken.parts.append(("Encounter.location (intensive care)", "" if orderly else "no time"))
        if orderly:
            stay, ward.next_stay = ward.next_stay, ward.next_stay + 1
            for time, code in ((entered, "ICU//IN"), (left, "ICU//OUT")):
                if time:
                    taken.events.append(Event(time, code, hadm_id=ward.hadm_id, stay_id=stay))


def _condition(body: dict[str, Any], ward: Ward) -> Taken:
    """A diagnosis: known when recorded, and one of an admission not before its end."""
    if text_at(body, "verificationStatus", "coding", "code") in {"refuted", "entered-in-error"}:
        return Taken(refusal="refuted or entered in error")
    spelled = _spell(body.get("code"), "DIAG")
    if spelled is None:
        return Taken(refusal="no code")
    listed = any(coding.code == "problem-list-item" for item in every(body, "category") for coding in codings(item))
    # an onset is when the disease began: nobody may have known; it is only the last resort
    time = ward.known_at(text_at(body, "recordedDate"))
    time = time or ward.known_at(text_at(body, "onsetDateTime"), text_at(body, "onsetPeriod", "end"))
    return _coded(spelled, time if listed else ward.after_discharge(time), ward)


def _procedure(body: dict[str, Any], ward: Ward) -> Taken:
    """A procedure: known when it was done; an ICD code of it when the stay was coded."""
    if text_at(body, "status") in {"not-done", "entered-in-error", "preparation"}:
        return Taken(refusal="not done, or entered in error")
    spelled = _spell(body.get("code"), "PROC")
    if spelled is None:
        return Taken(refusal="no code")
    ways = (("performedDateTime",), ("performedPeriod", "end"), ("performedPeriod", "start"))
    time = ward.known_at(*(text_at(body, *way) for way in ways))
    return _coded(spelled, ward.after_discharge(time) if spelled.icd else time, ward)


def _coded(spelled: Spelling, time: datetime | None, ward: Ward) -> Taken:
    """Give a coded event, if it has a time."""
    if time is None:
        return Taken(refusal="no time")
    return Taken([Event(time, spelled.code, hadm_id=ward.hadm_id, title=spelled.title, known=spelled.known)])


def _spell(concept: Any, kind: str) -> Spelling | None:
    """Choose the coding that says most (ICD, then SNOMED, then the first); words where there is no code."""
    there = codings(concept)
    ranked = sorted(there, key=lambda coding: _rank(coding, kind))
    if ranked:
        best = ranked[0]
        return spell_coded(
            kind, best.vocabulary or "UNKNOWN", best.code, best.display or text_at(concept, "text") or None
        )
    words = text_at(concept, "text")
    return Spelling(f"{kind}//TEXT//{label(words)}") if label(words) else None


def _rank(coding: Coding, kind: str) -> int:
    """Rank a coding; the wrong half of ICD (a procedure code on a diagnosis) comes last."""
    wrong = {"ICD10PCS", "ICD9PROC"} if kind == "DIAG" else {"ICD10CM", "ICD9CM"}
    if coding.vocabulary in wrong:
        return len(_PREFERENCE) + 1
    return _PREFERENCE.index(coding.vocabulary) if coding.vocabulary in _PREFERENCE else len(_PREFERENCE)


def _observation(body: dict[str, Any], ward: Ward) -> Taken:
    """A measurement and its components, known when issued."""
    if text_at(body, "status") in {"entered-in-error", "cancelled", "registered"}:
        return Taken(refusal="no result, cancelled or entered in error")
    time = _result_time(body, ward)
    if time is None:
        return Taken(refusal="no time")
    components = every(body, "component")
    own, refusal = _measured(body, body, time, ward)
    taken = Taken([own] if own else [])
    for component in components:
        event, why = _measured(component, body, time, ward)
        taken.parts.append(("Observation.component", "" if event else why))
        if event:
            taken.events.append(event)
    if not taken.events:
        taken.refusal = (
            "a panel without a value of its own" if refusal == "no value" and body.get("hasMember") else refusal
        )
    return taken


def _result_time(body: dict[str, Any], ward: Ward) -> datetime | None:
    """When a result was there to be seen: issued, unless that is before the sample."""
    ways = (("effectiveDateTime",), ("effectiveInstant",), ("effectivePeriod", "end"), ("effectivePeriod", "start"))
    taken = next((time for way in ways if (time := ward.clock.read(text_at(body, *way)))), None)
    issued = ward.clock.read(text_at(body, "issued")) if "issued" in body else None
    if taken and issued:
        return max(taken, issued)
    return taken or issued or ward.ended


def _measured(one: dict[str, Any], whole: dict[str, Any], time: datetime, ward: Ward) -> tuple[Event | None, str]:
    """Spell one value."""
    value = read_value(one)
    concept = one.get("code")
    name = name_of(concept)
    if value.refusal or not label(name):
        return None, value.refusal or "no code"
    loinc = next((coding.code for coding in codings(concept) if coding.vocabulary == "LOINC"), "")
    code = spell_measured(_measured_prefix(whole, loinc), name, value.unit)
    title = f"LOINC {loinc}" if loinc else None
    return Event(time, code, value.number, value.text, ward.hadm_id, title=title), ""


def _measured_prefix(body: dict[str, Any], loinc: str) -> str:
    """VITAL// by category or by the vital signs profile, LAB// by category, OBS// for everything else."""
    categories = {coding.code for item in every(body, "category") for coding in codings(item)}
    if loinc in VITAL_LOINC or "vital-signs" in categories:
        return "VITAL//"
    return "LAB//" if "laboratory" in categories or (loinc and not categories) else "OBS//"


def _medication_request(body: dict[str, Any], ward: Ward) -> Taken:
    """A drug ordered, known when it was written."""
    if text_at(body, "status") in {"entered-in-error", "cancelled", "draft"}:
        return Taken(refusal="draft, cancelled or entered in error")
    if text_at(body, "intent") not in _ORDERS or body.get("doNotPerform") is True:
        return Taken(refusal="not an order (intent)")
    name = name_of(body.get("medicationCodeableConcept")) or _referred_medication(body, ward)
    if not label(name):
        return Taken(refusal="no medication")
    time = ward.known_at(text_at(body, "authoredOn"))
    if time is None:
        return Taken(refusal="no time")
    return Taken([Event(time, f"MED//{label(name)}", hadm_id=ward.hadm_id)])


def _referred_medication(body: dict[str, Any], ward: Ward) -> str:
    """Name a medication that is contained, elsewhere in the export, or only named by the reference."""
    reference = text_at(body, "medicationReference", "reference")
    if reference.startswith("#"):
        for inner in every(body, "contained"):
            if text_at(inner, "id") == reference[1:]:
                return name_of(inner.get("code"))
    found = ward.index.name(reference, "Medication") if reference else ""
    return found or text_at(body, "medicationReference", "display")


def _document(body: dict[str, Any], ward: Ward) -> Taken:
    """A note; a superseded one was what was known at its time and is kept."""
    if "entered-in-error" in {text_at(body, "status"), text_at(body, "docStatus")}:
        return Taken(refusal="entered in error")
    read = read_attachment(every(body, "content"))
    if read.refusal:
        return Taken(refusal=read.refusal)
    kinds = [NOTE_KINDS[coding.code] for coding in codings(body.get("type")) if coding.code in NOTE_KINDS]
    code = DISCHARGE_NOTE if DISCHARGE_NOTE in kinds else (kinds[0] if kinds else f"{NOTE_PREFIX}OTHER")
    time = ward.known_at(text_at(body, "date"), text_at(body, "context", "period", "end"))
    time = ward.after_discharge(time) if code == DISCHARGE_NOTE else time
    if time is None:
        return Taken(refusal="no time")
    return Taken([Event(time, code, text=read.text, hadm_id=ward.hadm_id)])


TRANSLATORS: Final[Mapping[str, Callable[[dict[str, Any], Ward], Taken]]] = {
    "Patient": _patient,
    "Encounter": _encounter,
    "Condition": _condition,
    "Observation": _observation,
    "MedicationRequest": _medication_request,
    "Procedure": _procedure,
    "DocumentReference": _document,
}
"""The resource types that are taken."""
