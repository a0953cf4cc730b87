"""Linear: a patient's weight gradient is a sum of outer products, so its norm needs inner products only.

An example (or one time step of it) with input a and output gradient g has the weight gradient g a^T and the bias
gradient g. For a patient with rows r,

    |sum_r g_r a_r^T|^2 + |sum_r g_r|^2 = sum_{r,s} (a_r . a_s + 1) (g_r . g_s),

two small Gram matrices instead of a [K, D] gradient. For patients with so many rows that the Gram matrices outgrow the
gradient itself, the gradient is materialised: once where it is as small as its factors, else a few patients at a time.

Source: Goodfellow, "Efficient Per-Example Gradient Computations", 2015 (arXiv 1510.01799), for one row; Li et al.,
"Large Language Models Can Be Strong DP Learners", 2022 (arXiv 2110.05679, section 4), for sequences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy.layers.gradients import Place, outer_products
from privacy.layers.rule import LayerRule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from privacy.layers.gradients import PatientGradients
    from privacy.layers.uses import Patients, Use


def _gradients(layer: nn.Linear, uses: Sequence[Use], patients: Patients) -> list[PatientGradients]:
    return outer_products(uses, patients, Place(layer.weight), Place(layer.bias))


RULE = LayerRule(gradients=_gradients, dimensions=lambda _: 2)
