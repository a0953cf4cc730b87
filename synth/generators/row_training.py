"""Trains networks of rows by likelihood; a share of the patients does not train and says when to stop."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clinical.progress import show_progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

_HELD = 0.1  # of the rows or patients, which do not train
_DECAY = 1e-4


@dataclass(frozen=True, slots=True)
class Settings:
    """How the networks are made and trained.

    Attributes:
        bins: intervals of a column with more values than that.
        hidden: width of the networks.
        epochs: passes over the table, the most.
        batch: rows, or patients with their rows, a step.
        rate: step size.
        patience: passes without progress on who does not train, before training ends.
    """

    bins: int = 64
    hidden: int = 128
    epochs: int = 200
    batch: int = 128
    rate: float = 0.002
    patience: int = 10

    def __post_init__(self) -> None:
        if min(self.hidden, self.epochs, self.batch, self.patience) < 1 or self.rate <= 0:
            raise ValueError(f"autoregressive needs positive settings, got {self}")

    @property
    def licence(self) -> str:
        """Wardround's own."""
        return ""


def train(
    network: nn.Module,
    parts: tuple[Tensor, ...],
    losses: Callable[..., Tensor],
    settings: Settings,
    seed: int,
) -> None:
    """Trains on nine tenths until the last tenth is not better told for a while; keeps the best weights."""
    import torch

    rng = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(parts[0]), generator=rng)
    held = order[: max(1, round(_HELD * len(order)))]
    trained = order[len(held) :]
    adam = torch.optim.AdamW(network.parameters(), lr=settings.rate, weight_decay=_DECAY)
    best, least, since = deepcopy(network.state_dict()), float("inf"), 0
    with show_progress("autoregressive", total=settings.epochs) as told:
        for _ in range(settings.epochs):
            shuffled = trained[torch.randperm(len(trained), generator=rng)]
            for rows in shuffled.split(settings.batch):
                adam.zero_grad()
                losses(*(part[rows] for part in parts)).mean().backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
                adam.step()
            with torch.no_grad():
                found = [losses(*(part[rows] for part in parts)).sum() for rows in held.split(settings.batch)]
            loss = float(torch.stack(found).sum()) / len(held)
            told(1)
            since += 1
            if loss < least:
                best, least, since = deepcopy(network.state_dict()), loss, 0
            if since >= settings.patience:
                break
    network.load_state_dict(best)
