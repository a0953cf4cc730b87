"""Before a model is trained privately: does it treat patients apart, as clipping assumes?

Clipping bounds what a patient's own losses say. A model whose output for one patient depends on another (a batch
statistic, a comparison within the batch) would get round that bound, so it is tried on a few random examples before a
round is charged. They are nobody's, so that a refusal says nothing about anybody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clients.policy import PolicyRefusal
from clients.training import study_loss

if TYPE_CHECKING:
    from torch import Tensor, nn

    from clinical.learning import Cases
    from study.protocol import Study

EXAMPLES, STEPS = 4, 8


def require_independence(study: Study, model: nn.Module, examples: Cases) -> None:
    """Accept a model whose every trainable layer can be clipped and whose examples do not mix; a small step's time.

    Raises:
        PolicyRefusal: naming the layer.
    """
    if not study.privacy.wanted:
        return
    import torch

    from privacy.clipping import UnsupportedLayer, check_independence, check_model

    width = examples.features.shape[-1]
    shape = (EXAMPLES, width) if examples.features.ndim == 2 else (EXAMPLES, STEPS, width)
    features = torch.randn(shape, generator=torch.Generator().manual_seed(study.study.seed))
    loss = study_loss(study)

    def losses(outputs: Tensor) -> Tensor:
        return loss(outputs, (torch.arange(outputs.numel()) % 2).view(outputs.shape).float())

    model.train()
    try:
        check_model(model)
        check_independence(model, features, losses)
    except UnsupportedLayer as reason:
        raise PolicyRefusal(f"the model {study.model.name} cannot be trained privately: {reason}") from None
