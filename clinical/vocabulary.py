"""The code vocabulary that hospitals agree on before they train.

A head has one output per code, so every hospital must use the same codes in the same order, and nobody may learn of a
code that only a few patients at one hospital have. Each hospital counts its own documents, withholds small counts, and
sends the rest; the pooled counts decide (Edin et al. keep codes with at least ten documents, counted before splitting).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scipy.sparse import csr_matrix

    from clinical.tasks.coding import Coded


def count_codes(documents: Coded, *, minimum_patients: int = 1) -> dict[str, int]:
    """Count the documents of each code, over all splits.

    Args:
        documents: one hospital's coded documents; codes are distinct within a document.
        minimum_patients: codes carried by fewer distinct patients are left out. One patient with many admissions
            makes a large document count, so a rule about people has to be applied here, where people can be counted.

    Returns:
        Documents per code, in ascending order of the code.
    """
    counts: Counter[str] = Counter()
    patients: dict[str, set[int]] = {}
    for subject_id, codes in zip(documents.subject_id.tolist(), documents.codes, strict=True):
        counts.update(codes)
        if minimum_patients > 1:
            for code in codes:
                patients.setdefault(code, set()).add(subject_id)
    enough = (code for code in counts if minimum_patients <= 1 or len(patients[code]) >= minimum_patients)
    return {code: counts[code] for code in sorted(enough)}


def suppress(counts: Mapping[str, int], *, minimum: int) -> dict[str, int]:
    """Withhold every count below the minimum cell count; the code's name is withheld with it.

    Guarantee:
        Nothing in the result depends on a code with fewer than `minimum` documents, not even its presence. This is
        disclosure control and not differential privacy: counts at or above the minimum are exact.
    """
    return {code: count for code, count in counts.items() if count >= minimum}


def code_contributions(documents: Coded, universe: Sequence[str]) -> csr_matrix:
    """Mark which codes of a public list each training patient has: sparse float64 [P, len(universe)], entries 1.

    Codes outside the list are left out: a column that exists because a patient has it would say so.
    """
    from scipy.sparse import csr_matrix

    column = {code: k for k, code in enumerate(universe)}
    carried: dict[int, set[int]] = {}
    for subject_id, codes, split in zip(documents.subject_id.tolist(), documents.codes, documents.split, strict=True):
        if split == "train":
            carried.setdefault(subject_id, set()).update(column[code] for code in codes if code in column)
    rows = [p for p, codes in enumerate(carried.values()) for _ in codes]
    columns = [k for codes in carried.values() for k in codes]
    return csr_matrix(([1.0] * len(rows), (rows, columns)), shape=(len(carried), len(universe)))


def agree(counts_by_site: Mapping[str, Mapping[str, int]], *, minimum_documents: int) -> tuple[str, ...]:
    """Pool the sites' reported counts and keep the codes with enough documents.

    A code that a site withheld counts there as nothing, so the vocabulary can miss a code that is common only when
    all sites are added up; it never contains one that falls short.

    Args:
        counts_by_site: documents per code as each site reported them.
        minimum_documents: least pooled number of documents of a code that is kept, at least 1.

    Returns:
        The kept codes in ascending order: position k is output k of every model.

    Raises:
        ValueError: when a count is negative, or no code is left.
    """
    if minimum_documents < 1:
        raise ValueError(f"minimum_documents={minimum_documents} must be at least 1")
    pooled: Counter[str] = Counter()
    for site, counts in counts_by_site.items():
        if any(count < 0 for count in counts.values()):
            raise ValueError(f"site {site!r} reported a negative document count")
        pooled.update(counts)
    kept = tuple(sorted(code for code, count in pooled.items() if count >= minimum_documents))
    if not kept:
        most = max(pooled.values(), default=0)
        raise ValueError(
            f"no code has minimum_documents={minimum_documents} documents over {len(counts_by_site)} site(s): "
            f"the most frequent of {len(pooled)} reported has {most}"
        )
    return kept
