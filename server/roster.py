"""The roster: which hospitals take part, what they bring, and why the others do not."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from server.exchange import VERDICT, Absence, ask, terms

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flwr.app import RecordDict
    from flwr.serverapp import Grid

    from server.exchange import Outcome
    from study.protocol import Study

log = logging.getLogger("wardround")


class StudyFailed(RuntimeError):
    """The study cannot go on; the message is the reason its record keeps."""


class StudyRefused(StudyFailed):
    """Too few hospitals take part in the study as written; the message gives their reasons."""


@dataclass(frozen=True, slots=True)
class Site:
    """An admitted hospital, as far as the coordinator knows it."""

    node: int
    name: str
    patients: int  # of the training split, the hospital's weight
    documents: int | None  # None where that number does not leave
    features: int  # the width of its examples
    encoder: str  # what made them; hospitals whose examples differ must not be averaged
    counts: dict[str, int]  # coding: documents per code, small cells withheld; or training patients, with noise
    plan: dict[str, Any]  # its sampling, steps and noise, for the record
    coding: dict[str, int] | None  # what became of its notes; None where those numbers do not leave


@dataclass(frozen=True, slots=True)
class Roster:
    """Admitted sites in the order of their names, and the nodes that are not among them."""

    sites: tuple[Site, ...]
    absences: tuple[Absence, ...]

    @property
    def nodes(self) -> list[int]:
        """Node ids of the admitted sites."""
        return [site.node for site in self.sites]

    def name(self, node: int) -> str:
        """Return the hospital's name, or the node's number where it was never told."""
        return next((site.name for site in self.sites if site.node == node), f"node {node}")

    def named(self, outcome: Outcome) -> dict[str, RecordDict]:
        """Return the replies of an outcome by hospital, in the order of their names."""
        return dict(sorted((self.name(node), content) for node, content in outcome.replies.items()))

    def divided(self, guest: str) -> tuple[Roster, Roster]:
        """Return who trains and who judges: everybody both, or with a guest the others and the guest.

        Raises:
            StudyRefused: no admitted hospital has the guest's name.
        """
        if not guest:
            return self, self
        judges = tuple(site for site in self.sites if site.name == guest)
        if not judges:
            names = ", ".join(site.name for site in self.sites)
            raise StudyRefused(f"federation.guest = {guest!r} is no admitted hospital; there are {names}")
        trainers = tuple(site for site in self.sites if site.name != guest)
        return replace(self, sites=trainers), replace(self, sites=judges)

    def require(self, quorum: int) -> None:
        """Insist on a quorum of admitted hospitals.

        Raises:
            StudyRefused: there are fewer; the message says why the others are missing.
        """
        if len(self.sites) < quorum:
            asked = len(self.sites) + len(self.absences)
            reasons = "; ".join(sorted({absence.reason for absence in self.absences}))
            raise StudyRefused(
                f"{len(self.sites)} of {asked} hospitals were admitted and the quorum is {quorum}: {reasons}"
            )

    def only(self, names: Iterable[str]) -> Roster:
        """Return the roster of these hospitals alone."""
        kept = set(names)
        return replace(self, sites=tuple(site for site in self.sites if site.name in kept))

    def without(self, absences: tuple[Absence, ...]) -> Roster:
        """Return the roster less the sites that refused to go on; faults and time-outs may recover."""
        gone = {absence.node for absence in absences if absence.kind == "refused"}
        return replace(self, sites=tuple(site for site in self.sites if site.node not in gone))


def gather(grid: Grid, study: Study) -> Roster:
    """Wait for hospitals to connect and ask each whether it takes part.

    Raises:
        StudyFailed: fewer hospitals than the study's quorum connected.
    """
    nodes = _connected(grid, study)
    outcome = ask(
        grid,
        nodes,
        "query.admit",
        terms({"study-digest": study.digest()}),
        timeout_seconds=study.federation.timeout_seconds,
    )
    sites = sorted((_site(node, content) for node, content in outcome.replies.items()), key=lambda site: site.name)
    sites, mismatched = _consistent(sites)
    roster = Roster(tuple(sites), outcome.absences + tuple(mismatched))
    for absence in roster.absences:
        log.warning("%s does not take part (%s): %s", roster.name(absence.node), absence.kind, absence.reason)
    return roster


def _connected(grid: Grid, study: Study) -> list[int]:
    """Wait until the quorum is there and nobody else has joined for a moment."""
    pause = min(1.0, study.federation.wait_seconds / 10)
    deadline = time.monotonic() + study.federation.wait_seconds
    nodes: list[int] = []
    while time.monotonic() < deadline:
        before, nodes = nodes, sorted(grid.get_node_ids())
        if len(nodes) >= study.federation.quorum and nodes == before:
            return nodes
        time.sleep(pause)
    if len(nodes) < study.federation.quorum:
        raise StudyFailed(
            f"{len(nodes)} hospitals connected within {study.federation.wait_seconds:g} s "
            f"and the quorum is {study.federation.quorum}"
        )
    return nodes


def _site(node: int, content: RecordDict) -> Site:
    verdict, counts = content.config_records[VERDICT], content.config_records.get("counts")
    coding = content.config_records.get("coding")
    codes = [] if counts is None else [str(code) for code in _listed(counts["codes"])]
    documents = [] if counts is None else [int(number) for number in _listed(counts["documents"])]
    return Site(
        node=node,
        name=str(verdict["hospital"]),
        patients=int(str(verdict["patients"])),
        documents=None if coding is None else int(str(coding["documents"])),
        features=int(str(verdict["features"])),
        encoder=str(verdict["encoder"]),
        counts=dict(zip(codes, documents, strict=True)),
        plan=json.loads(str(verdict["plan"])),
        coding=None if coding is None else json.loads(str(coding["report"])),
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _consistent(sites: list[Site]) -> tuple[list[Site], list[Absence]]:
    """Keep the sites that share the first one's encoder and have a name of their own."""
    kept: list[Site] = []
    absent = []
    for site in sites:
        if kept and (site.encoder, site.features) != (kept[0].encoder, kept[0].features):
            reason = f"{site.name} reads with {site.encoder} and {kept[0].name} with {kept[0].encoder}"
            absent.append(Absence(site.node, "rejected", reason))
        elif any(site.name == other.name for other in kept):
            absent.append(Absence(site.node, "rejected", f"a second node speaks for {site.name}"))
        else:
            kept.append(site)
    return kept, absent
