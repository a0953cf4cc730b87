"""Networks that draw a row column by column, and rows one after another given whose they are.

A row's columns are small integers, of which those of a number stand in order: neighbours share what they add and how
likely they are, so that sixty intervals need no sixty times as many patients. The state before a column is the sum of
what the earlier columns add to it, so that one pass gives the conditional distributions of all columns in training; in
drawing, one column follows the other. Rows of a patient are drawn given the patient and a recurrent memory of the
earlier rows; before each the network decides whether there is one more.

Source: Larochelle & Murray 2011, "The Neural Autoregressive Distribution Estimator"; Uria et al. 2016
(arXiv 1605.02226).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_KNOTS = 16  # of what neighbouring codes share
_OWN = 0.3  # weight of what is a code's own, so that it is learned last


@dataclass(frozen=True, slots=True)
class Coded:
    """What is known of a column of codes.

    Attributes:
        size: how many codes there are.
        ordered: how many of them, from the first on, stand in order; 0 where they are names.
    """

    size: int
    ordered: int

    @property
    def basis(self) -> Tensor:
        """What codes share with their neighbours and what is their own, float32 [size, B]."""
        own = torch.eye(self.size)
        if self.ordered <= _KNOTS:
            return own
        at = torch.arange(self.size).clamp(max=self.ordered - 1) / (self.ordered - 1) * (_KNOTS - 1)
        hats = (1 - (at.unsqueeze(1) - torch.arange(_KNOTS)).abs()).clamp(min=0)
        hats[self.ordered :] = 0
        return torch.cat([hats, _OWN * own], 1)


class Adds(nn.Module):
    """What each code of a column adds to a state."""

    basis: Tensor

    def __init__(self, column: Coded, hidden: int) -> None:
        super().__init__()
        self.register_buffer("basis", column.basis)
        self.weight = nn.Parameter(0.3 * torch.randn(self.basis.shape[1], hidden))

    def forward(self, codes: Tensor) -> Tensor:
        """Returns float32 [N, H] for codes [N]."""
        return (self.basis @ self.weight)[codes]


class Gives(nn.Module):
    """How likely a state makes each code of a column."""

    basis: Tensor

    def __init__(self, column: Coded, hidden: int) -> None:
        super().__init__()
        self.register_buffer("basis", column.basis)
        self.shared = nn.Linear(hidden, self.basis.shape[1], bias=False)
        self.bias = nn.Parameter(torch.zeros(column.size))

    def forward(self, states: Tensor) -> Tensor:
        """Returns logits [N, size] for states [N, H]."""
        logits: Tensor = self.shared(states) @ self.basis.T + self.bias
        return logits


class RowNetwork(nn.Module):
    """Conditional distributions of the columns of a row, given a context."""

    def __init__(self, columns: Sequence[Coded], hidden: int) -> None:
        """Takes the codes of each of K columns."""
        super().__init__()
        self.adds = nn.ModuleList([Adds(column, hidden) for column in columns])
        self.begins = nn.Parameter(torch.zeros(len(columns), hidden))
        self.deeper = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU())
        self.gives = nn.ModuleList([Gives(column, hidden) for column in columns])

    def losses(self, codes: Tensor, context: Tensor) -> Tensor:
        """Returns the negative log-likelihood of each column, float32 [N, K].

        Args:
            codes: int64 [N, K].
            context: float32 [N, H].
        """
        states = torch.cumsum(torch.stack([add(codes[:, k]) for k, add in enumerate(self.adds)], 1), 1)
        before = torch.cat([torch.zeros_like(states[:, :1]), states[:, :-1]], 1) + context.unsqueeze(1) + self.begins
        seen = torch.relu(before)
        seen = seen + self.deeper(seen)
        found = [
            nn.functional.cross_entropy(give(seen[:, k]), codes[:, k], reduction="none")
            for k, give in enumerate(self.gives)
        ]
        return torch.stack(found, 1)

    def draw(self, context: Tensor, rng: torch.Generator, *, begin: int | None = None) -> Tensor:
        """Draws codes, int64 [N, K], for contexts [N, H]; the first column is `begin` where that is given."""
        state, codes = context, []
        for k, (add, give) in enumerate(zip(self.adds, self.gives, strict=True)):
            seen = torch.relu(state + self.begins[k])
            chances = torch.softmax(give(seen + self.deeper(seen)), 1)
            drawn = torch.multinomial(chances, 1, generator=rng).squeeze(1)
            codes.append(drawn if begin is None or k else torch.full_like(drawn, begin))
            state = state + add(codes[-1])
        return torch.stack(codes, 1)

    def whole(self, codes: Tensor) -> Tensor:
        """What all columns add together, float32 [N, H]."""
        return torch.stack([add(codes[:, k]) for k, add in enumerate(self.adds)]).sum(0)


class VisitNetwork(nn.Module):
    """Rows of a patient, one after another; the first column of each says whether there is a row at all."""

    def __init__(
        self, patient: Sequence[Coded], columns: Sequence[Coded], *, least: int, most: int, hidden: int
    ) -> None:
        """Takes the codes of the patient's columns and of a row's, and how many rows a patient may have."""
        super().__init__()
        self.least, self.most = least, most
        self.patient = nn.ModuleList([Adds(column, hidden) for column in patient])
        self.knows = nn.Sequential(nn.ReLU(), nn.Linear(hidden, hidden))
        self.places = nn.Embedding(most, hidden)
        self.memory = nn.GRUCell(hidden, hidden)
        self.recalls = nn.Linear(hidden, hidden)
        self.rows = RowNetwork((Coded(2, 0), *columns), hidden)

    def losses(self, patients: Tensor, codes: Tensor, lengths: Tensor) -> Tensor:
        """Returns the negative log-likelihood of each patient's rows, float32 [N].

        Args:
            patients: int64 [N, Kp].
            codes: int64 [N, R, K], anything after a patient's rows.
            lengths: int64 [N], 0..R.
        """
        who = self._who(patients)
        memory = torch.zeros_like(who)
        total = torch.zeros(len(who))
        for place in range(min(self.most, int(lengths.max()) + 1)):
            there = (lengths > place).long()
            row = torch.cat([there.unsqueeze(1), codes[:, place]], 1)
            found = self.rows.losses(row, self._context(who, memory, place))
            asked = (lengths >= place).float()
            total = total + asked * (found[:, 0] + there * found[:, 1:].sum(1))
            memory = self.memory(torch.relu(self.rows.whole(row)), memory)
        return total

    def draw(self, patients: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draws codes [N, R, K] and lengths [N] for patients [N, Kp]."""
        who = self._who(patients)
        memory, going = torch.zeros_like(who), torch.ones(len(who), dtype=torch.long)
        rows, lengths = [], torch.zeros(len(who), dtype=torch.long)
        for place in range(self.most):
            begin = 1 if place < self.least else None
            row = self.rows.draw(self._context(who, memory, place), rng, begin=begin)
            going = going * row[:, 0]
            lengths = lengths + going
            rows.append(row[:, 1:])
            memory = self.memory(torch.relu(self.rows.whole(row)), memory)
            if not going.any():
                break
        return torch.stack(rows, 1), lengths

    def _who(self, patients: Tensor) -> Tensor:
        added = torch.stack([add(patients[:, k]) for k, add in enumerate(self.patient)]).sum(0)
        known: Tensor = self.knows(added)
        return known

    def _context(self, who: Tensor, memory: Tensor, place: int) -> Tensor:
        context: Tensor = who + self.recalls(memory) + self.places.weight[place]
        return context
