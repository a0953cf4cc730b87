"""Aggregation algorithms: the table of strategies a study may name.

A strategy sees model arrays and patient counts, never a patient. Flower's own algorithms are used as they are; what
they leave open (`strategies.screening`: nothing is aggregated unchecked; `strategies.hospital_privacy`: no hospital can
be made out in the aggregate) stands beside them. Adding one is one file and one line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from flwr.serverapp.strategy import FedAvg

WEIGHT = "patients"  # hospitals count by their patients, never by their batches

# Every admitted hospital is asked in every round, and the coordinator keeps the quorum itself: Flower's own minima
# would wait for ever below them.
EVERYBODY: dict[str, Any] = {
    "min_train_nodes": 1,
    "min_evaluate_nodes": 1,
    "min_available_nodes": 1,
    "weighted_by_key": WEIGHT,
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What the algorithms may be told; each takes what it knows and leaves the rest."""

    proximal_mu: float
    server_learning_rate: float
    server_momentum: float
    trimmed_fraction: float
    malicious: int


def build_strategy(name: str, settings: Settings) -> FedAvg:
    """Return a Flower strategy that weights hospitals by patients.

    Raises:
        ValueError: no strategy has that name.
    """
    if name not in STRATEGIES:
        raise ValueError(f"federation.strategy = {name!r} is unknown: choose one of {', '.join(STRATEGIES)}")
    return STRATEGIES[name](settings)


def _fedavg(_: Settings) -> FedAvg:
    """McMahan et al. 2017, arXiv 1602.05629."""
    from flwr.serverapp.strategy import FedAvg

    return FedAvg(**EVERYBODY)


def _fedprox(settings: Settings) -> FedAvg:
    """Li et al. 2020, arXiv 1812.06127; the term itself is added at the hospital."""
    from flwr.serverapp.strategy import FedProx

    return FedProx(**EVERYBODY, proximal_mu=settings.proximal_mu)


def _fedadam(settings: Settings) -> FedAvg:
    """Reddi et al. 2021, arXiv 2003.00295."""
    from flwr.serverapp.strategy import FedAdam

    return FedAdam(**EVERYBODY, eta=settings.server_learning_rate)


def _fedyogi(settings: Settings) -> FedAvg:
    """Reddi et al. 2021, arXiv 2003.00295."""
    from flwr.serverapp.strategy import FedYogi

    return FedYogi(**EVERYBODY, eta=settings.server_learning_rate)


def _fedavgm(settings: Settings) -> FedAvg:
    """Hsu et al. 2019, arXiv 1909.06335."""
    from flwr.serverapp.strategy import FedAvgM

    return FedAvgM(
        **EVERYBODY,
        server_learning_rate=settings.server_learning_rate,
        server_momentum=settings.server_momentum,
    )


def _fedmedian(_: Settings) -> FedAvg:
    """Yin et al. 2018, arXiv 1803.01498."""
    from flwr.serverapp.strategy import FedMedian

    return FedMedian(**EVERYBODY)


def _fedtrimmedavg(settings: Settings) -> FedAvg:
    """Yin et al. 2018, arXiv 1803.01498."""
    from flwr.serverapp.strategy import FedTrimmedAvg

    return FedTrimmedAvg(**EVERYBODY, beta=settings.trimmed_fraction)


def _krum(settings: Settings) -> FedAvg:
    """Blanchard et al. 2017, arXiv 1703.02757."""
    from flwr.serverapp.strategy import Krum

    return Krum(**EVERYBODY, num_malicious_nodes=settings.malicious)


STRATEGIES: dict[str, Callable[[Settings], FedAvg]] = {
    "fedavg": _fedavg,
    "fedprox": _fedprox,
    "fedadam": _fedadam,
    "fedyogi": _fedyogi,
    "fedavgm": _fedavgm,
    "fedmedian": _fedmedian,
    "fedtrimmedavg": _fedtrimmedavg,
    "krum": _krum,
}
AVERAGING = ("fedavg", "fedprox", "fedadam", "fedyogi", "fedavgm")  # what follows from the weighted mean alone
