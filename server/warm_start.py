"""The coordinator's part in a warm start: the codes' titles, read by the encoder the hospitals use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.roster import StudyFailed
from study.home import home

if TYPE_CHECKING:
    from server.exchange import Arrays
    from server.roster import Roster
    from study.protocol import Study


def warm_start(study: Study, roster: Roster, codes: tuple[str, ...], arrays: Arrays) -> Arrays:
    """Write what public titles say of the codes into the model every hospital starts from, where the study asks for it.

    The titles' embeddings are kept in Wardround's home.

    Raises:
        StudyFailed: this machine's encoder is not the hospitals', or the model has no place for titles.
    """
    if study.model.warm_start == "none":
        return arrays
    from clinical.notes import EncoderUnavailable, load_encoder
    from clinical.tasks.labels import SYSTEMS_OF
    from clinical.warm_start import start_from, title_rows

    try:
        encoder = load_encoder(study.notes.encoder)
        if encoder.identity != roster.sites[0].encoder:
            raise StudyFailed(
                f"model.warm-start needs the hospitals' encoder {roster.sites[0].encoder} on the coordinator's "
                f"machine, which has {encoder.identity}"
            )
        rows = title_rows(codes, SYSTEMS_OF[study.task.codes], encoder, side_car=home() / "titles")
        return start_from(arrays, rows)
    except (EncoderUnavailable, ValueError) as reason:
        raise StudyFailed(f"model.warm-start cannot be had: {reason}") from None
