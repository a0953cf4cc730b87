"""A GAN of several hospitals: they train the critic on their patients, the coordinator the generator against it.

The critic's rounds are those of any other study: sent out, trained by noisy steps, screened, averaged by patients.
After each of them the generator takes its steps here, where no patient ever was. It travels with the critic, since the
hospitals need rows to hold against their own, and whatever comes back of it is thrown away.

Source: Augenstein et al. 2020 (arXiv 1911.06679), the critic at the sites and the generator at the coordinator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from privacy.statement import PrivacyStatement
from server import rounds
from synth.encoding import Encoder
from synth.generators.adversary import Duel, generator_optimizer, train_generator
from synth.generators.dp_gan import FittedDpGan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flwr.app import RecordDict
    from flwr.serverapp import Grid
    from flwr.serverapp.strategy import FedAvg

    from server.archive import Archive
    from server.roster import Roster
    from study.protocol import Study

_CRITIC_STEPS = 5  # of the critic for one of the generator


class _Rounds:
    """What the rounds of a GAN say and ask besides the two networks: nothing."""

    metric = "score"

    def terms(self) -> dict[str, Any]:
        """Give what every message says besides."""
        return {}

    def read_curve(self, replies: Mapping[str, RecordDict]) -> None:
        """Give how good the critic is: nobody asks, for that would be one more release."""
        del replies


def train_together(
    grid: Grid, study: Study, strategy: FedAvg, roster: Roster, archive: Archive
) -> tuple[FittedDpGan, list[str]]:
    """Train critic and generator in turn.

    Returns:
        The generator, and the hospitals whose patients the critic has seen.

    Raises:
        StudyFailed: too few hospitals delivered.
    """
    encoder = Encoder(study.synthesis.spec)
    duel = Duel(encoder, seed=study.study.seed)
    optimizer = generator_optimizer(duel, learning_rate=study.training.learning_rate)
    rng = np.random.default_rng([study.study.seed, 1])
    batch = study.training.batch_patients

    def after_round(now: rounds.Progress) -> None:
        archive.note(rounds=now.rounds)
        if not now.rounds[-1]["aggregated"]:
            return
        own = duel.arrays()
        duel.load({name: now.arrays[name] if name.startswith("critic.") else own[name] for name in own})
        taken = np.mean([site["steps"] for site in now.rounds[-1]["sites"].values()])
        for _ in range(max(1, round(float(taken) / _CRITIC_STEPS))):
            train_generator(duel, batch=batch, optimizer=optimizer, rng=rng)
        now.arrays = duel.arrays()

    progress = rounds.Progress(arrays=duel.arrays(), roster=roster)
    with archive.timed("rounds"):
        rounds.train(grid, study, strategy, progress, agenda=_Rounds(), after_round=after_round)
    seen = sorted({name for entry in progress.rounds for name in entry["sites"]})
    return FittedDpGan(encoder, duel.settled(rng), PrivacyStatement.none(steps=0)), seen
