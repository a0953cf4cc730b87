"""Bring a consortium up and take it down; what is there already stays as it is."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from consortium import network as networks
from consortium.certificates import Authority, make_node_key, public_key
from consortium.coordinator import Coordinator, last_line
from consortium.databases import Database
from consortium.hospitals import approve_application, start_site, write_site
from consortium.network import Network, choose_network
from consortium.places import Places, write_public
from consortium.plan import Plan, PlanError
from consortium.processes import ConsortiumFailed, Journal
from consortium.records import fill, read_records
from server.archive import give_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from consortium.places import HospitalPlaces

__all__ = ["Consortium", "open_consortium"]

ONLINE_SECONDS: Final = 180.0
_POLL_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Consortium:
    """A consortium on this machine.

    Attributes:
        plan: what it is.
        places: where it is.
        network: who can reach whom.
        coordinator: its SuperLink and proxy.
        ports: of each hospital's database and node, on that hospital's loopback.
    """

    plan: Plan
    places: Places
    network: Network
    coordinator: Coordinator
    ports: dict[str, dict[str, int]]

    @property
    def journal(self) -> Journal:
        """What runs."""
        return Journal(self.places.journal, mark=str(self.places.state), logs=self.places.logs)

    def up(self, say: Callable[[str], None]) -> None:
        """Bring everything up, and take down again what this call started if it cannot be finished.

        Raises:
            PlanError: something that is needed is not on this machine.
            ConsortiumFailed: a part did not start.
        """
        with self._alone(), _interruptible(), _confidential():
            before = {one.pid for one in self.journal.strays()}
            try:
                self._bring_up(say)
            except BaseException:
                self.journal.end_all_but(before)
                if not before:
                    networks.down(self.network)
                raise

    def down(self) -> int:
        """End everything that was started, and remove its network; return how many processes ran."""
        with self._alone():
            ended = self.journal.end_everything()
            networks.down(self.network)
        return ended

    def require_up(self) -> None:
        """Insist that the consortium is up.

        Raises:
            ConsortiumFailed: it is not.
        """
        for part in ("superlink", "proxy"):
            if self.journal.find(part) is None:
                raise ConsortiumFailed(f"the {part} does not run: bring the consortium up with `wardround sites up`")

    def status(self) -> list[tuple[str, str]]:
        """Return each part and how it is."""
        parts = ["superlink", "proxy"]
        parts += [f"{kind}-{name}" for name in self.plan.hospitals for kind in ("database", "site")]
        found = [(part, "running" if self.journal.find(part) else "not running") for part in parts]
        if self.journal.find("superlink"):
            found += [(f"node of {name}", status) for name, status in self.coordinator.control.nodes().items()]
        return found

    def _bring_up(self, say: Callable[[str], None]) -> None:
        networks.up(self.network)
        say(f"network: {self.network.explain()}")
        authority = Authority(self.places.authority, name="Wardround consortium")
        self.journal.end(self.coordinator.prepare(authority))
        if self.journal.find("superlink") is None:
            self._give_runs_up()
        self.coordinator.start(self.journal)
        say(f"coordinator: {self.coordinator.address}:{self.coordinator.port}, TLS; sites see the Fleet API only")
        for hospital in self._hospitals():
            self._prepare(hospital, authority)
        self._load()
        say("databases: a PostgreSQL with OMOP tables for each hospital; records loaded from them")
        self.coordinator.control.register({each.name: public_key(each.key) for each in self._hospitals()})
        for number, hospital in enumerate(self._hospitals()):
            self._start(hospital, number)
        self._await_nodes()
        say(f"hospitals online: {', '.join(self.plan.hospitals)}; each has approved the application of this checkout")

    def _give_runs_up(self) -> None:
        """Say in the records of runs that ended with the SuperLink that they did; nobody else will."""
        for record in self.places.runs.glob("*/run.json"):
            give_up(record.parent, reason="the SuperLink ended before the run did")

    def _hospitals(self) -> list[HospitalPlaces]:
        return [self.places.hospital(name) for name in self.plan.hospitals]

    def _prepare(self, hospital: HospitalPlaces, authority: Authority) -> None:
        """Give a hospital its key, the authority it trusts, its policy and its site file."""
        from clinical.site_policy import SIMULATED_POLICY

        trusted = authority.certificate_path.read_bytes()
        trusts = hospital.root_certificate.exists() and hospital.root_certificate.read_bytes() == trusted
        if make_node_key(hospital.key) or not trusts:
            self.journal.end([f"site-{hospital.name}"])
        write_public(hospital.root_certificate, trusted)
        if not hospital.policy.exists():
            minimum = f"minimum_patients = {self.plan.minimum_patients}"
            policy = SIMULATED_POLICY.replace("minimum_patients = 20", minimum)
            hospital.policy.write_text(policy, encoding="utf-8")
        superlink = f"{self.coordinator.address}:{self.coordinator.port}"
        write_site(hospital, superlink=superlink, port=self.ports[hospital.name]["node"])
        approve_application(hospital)

    def _load(self) -> None:
        """Bring every hospital's database up, fill those that are empty, and take the records out of it as it does."""
        databases = [self._database(number) for number in range(len(self.plan.hospitals))]
        for database in databases:
            database.start(self.journal)
        empty = [database for database in databases if database.is_empty()]
        if empty:
            fill(empty, self.plan, self.places.state)
        for database in databases:
            read_records(database, seed=self.plan.seed)

    def _database(self, number: int) -> Database:
        name = self.plan.hospitals[number]
        return Database(self.places.hospital(name), self.network, number, self.ports[name]["database"])

    def _start(self, hospital: HospitalPlaces, number: int) -> None:
        name = f"site-{hospital.name}"
        if self.journal.find(name) is not None:
            return
        site = start_site(hospital.folder)
        command = self.network.inside(number, site.command)
        self.journal.start(name, command, site.environment, folder=hospital.folder)

    def _await_nodes(self) -> None:
        """Wait until every hospital's node is online."""
        deadline = time.monotonic() + ONLINE_SECONDS
        while True:
            status = self.coordinator.control.nodes()
            waiting = [name for name in self.plan.hospitals if status.get(name) != "online"]
            if not waiting:
                return
            for name in waiting:
                if self.journal.find(f"site-{name}") is None:
                    log = self.journal.log(f"site-{name}")
                    raise ConsortiumFailed(f"the node of {name} ended: {last_line(log)}; its log is {log}")
            if time.monotonic() > deadline:
                raise ConsortiumFailed(f"not online after {ONLINE_SECONDS:g} s: {', '.join(waiting)}")
            time.sleep(_POLL_SECONDS)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep a second command away from this consortium meanwhile."""
        from filelock import FileLock, Timeout

        lock = FileLock(self.places.lock, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise ConsortiumFailed(f"another command is bringing {self.places.state} up or down") from None
        try:
            yield
        finally:
            lock.release()


def open_consortium(plan: Plan, *, new: bool = False) -> Consortium:
    """Return a consortium as it was decided on when it first came up.

    Args:
        plan: what it is.
        new: decide now if it never came up.

    Raises:
        PlanError: it never came up, the network that is wanted is not possible here, or the hospitals are others than
            before.
    """
    places = Places(plan.state)
    if not (new or places.facts.exists()):
        raise PlanError(f"there is no consortium in {plan.state}: bring it up with `wardround sites up`")
    places.make(plan.hospitals)
    if not places.facts.exists():
        network = choose_network(plan.network, state=plan.state, hospitals=len(plan.hospitals))
        _write_facts(places, plan, network)
    facts = json.loads(places.facts.read_text(encoding="utf-8"))
    if facts["hospitals"] != list(plan.hospitals):
        raise PlanError(
            f"{plan.state} belongs to {', '.join(facts['hospitals'])}: take another state folder for other hospitals"
        )
    network = Network(**facts["network"])
    coordinator = Coordinator(places, network.proxy_address, facts["port"], facts["control_port"])
    return Consortium(plan, places, network, coordinator, facts["ports"])


def _write_facts(places: Places, plan: Plan, network: Network) -> None:
    ports = iter(_free_ports(2 + 2 * len(plan.hospitals)))
    facts: dict[str, Any] = {
        "hospitals": list(plan.hospitals),
        "network": asdict(network),
        "port": next(ports),
        "control_port": next(ports),
        "ports": {name: {"database": next(ports), "node": next(ports)} for name in plan.hospitals},
    }
    scratch = places.facts.with_suffix(".partial")
    scratch.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    scratch.replace(places.facts)


def _free_ports(number: int) -> list[int]:
    """Find ports of the loopback that nobody uses now."""
    probes = [socket.socket() for _ in range(number)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


@contextmanager
def _confidential() -> Iterator[None]:
    """Whatever is written meanwhile, also by what is started now, is for its owner alone."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let a polite request to end take the same way as an interrupted terminal, so that nothing stays behind."""

    def interrupt(number: int, frame: object) -> None:
        del number, frame
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
