"""Before a model is trained privately: does it treat patients apart, as clipping assumes?

Clipping bounds what a patient's own losses say. A model whose output for one patient depends on another (a batch
statistic, a comparison within the batch) would get round that bound, so it is tried on a few documents before a round
is charged. The documents' number is fixed, so that a refusal says nothing about anybody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clients.policy import PolicyRefusal

if TYPE_CHECKING:
    from torch import nn

    from clinical.learning import Examples
    from study.protocol import Study

DOCUMENTS = 4


def require_independence(study: Study, model: nn.Module, examples: Examples) -> None:
    """Accept a model whose every trainable layer can be clipped and whose examples do not mix; a plain step's time.

    Raises:
        PolicyRefusal: naming the layer.
    """
    if not study.privacy.wanted:
        return
    import torch

    from clinical.losses import build_loss
    from privacy.clipping import UnsupportedLayer, check_independence, check_model

    batch = examples.batch(np.arange(min(DOCUMENTS, examples.patients)))
    rows = torch.arange(DOCUMENTS) % len(batch.features)
    loss, labels = build_loss(study.training.loss), batch.labels[rows]
    model.train()
    try:
        check_model(model)
        check_independence(model, batch.features[rows], lambda logits: loss(logits, labels))
    except UnsupportedLayer as reason:
        raise PolicyRefusal(f"the model {study.model.name} cannot be trained privately: {reason}") from None
