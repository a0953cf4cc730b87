"""The label space of a coding study: what its codes are called, which there are, and what each means.

Codes of notes are those of ICD; what is asked of a next admission are groups of its diagnoses. Everything that knows
codes by more than their spelling asks here, so both kinds are agreed on, noised and shown alike.
"""

from __future__ import annotations

from dataclasses import dataclass

from clinical.code_groups import GROUP_SYSTEMS, group_title, list_groups
from clinical.codes import release_codes, title
from clinical.tasks import reads_notes
from clinical.tasks.labels import SYSTEMS_OF

__all__ = ["LabelSpace"]


@dataclass(frozen=True, slots=True)
class LabelSpace:
    """The label space of one task.

    Attributes:
        task: a task of the coding family.
        system: "icd9" or "icd10", the version the codes, or the codes behind the groups, are of.
    """

    task: str
    system: str

    @property
    def name(self) -> str:
        """What the space is called.

        >>> LabelSpace("icd-coding", "icd10").name, LabelSpace("next-diagnosis", "icd10").name
        ('icd10', 'CCSR')
        """
        return self.system if reads_notes(self.task) else GROUP_SYSTEMS[self.system].removesuffix("//")

    def universe(self) -> tuple[str, ...]:
        """Every code there is, public whoever the patients are."""
        if reads_notes(self.task):
            return tuple(code for each in SYSTEMS_OF[self.system] for code in release_codes(each))
        return list_groups(self.system)

    def title(self, code: str) -> str | None:
        """Say in words what a code means; None where nothing is known of it.

        >>> LabelSpace("next-diagnosis", "icd9").title("CCS//108")
        'Congestive heart failure; nonhypertensive'
        """
        if reads_notes(self.task):
            return next((named for each in SYSTEMS_OF[self.system] if (named := title(code, system=each))), None)
        return group_title(code)
