"""How well a model codes, counted so that hospitals add up: the protocol of Edin et al. (SIGIR 2023), federated.

A metric averaged over hospitals is not the metric of the hospitals together. So a hospital sends integers only: a
`ScoreHistogram` (where thresholds and areas under the curve come from) and a `Tally` (everything that is counted at a
threshold, with bootstrap replicates). Integers pool exactly by addition, in any order and under secure aggregation,
and `scores` reads the metrics from the sum. `withhold` is applied by a hospital to what it is about to send.

Source: Edin et al., Automated Medical Coding on MIMIC-III and MIMIC-IV, SIGIR 2023, arXiv:2304.10909. Two choices
are ours and make scores lower, never higher: micro metrics and rankings count mistakes on *all* codes of the
vocabulary (Edin et al. first remove those absent from the evaluated split), and equal scores rank against the model.
"""

from clinical.metrics.cells import Withheld, count_withheld, withhold
from clinical.metrics.collapse import collapse
from clinical.metrics.histogram import BINS, EDGES, ScoreHistogram
from clinical.metrics.pooling import pool
from clinical.metrics.scores import CodeScore, Score, per_code, scores
from clinical.metrics.tally import Tally
from clinical.metrics.thresholds import DEFAULT_RULE, RULES

__all__ = [
    "BINS",
    "DEFAULT_RULE",
    "EDGES",
    "RULES",
    "CodeScore",
    "Score",
    "ScoreHistogram",
    "Tally",
    "Withheld",
    "collapse",
    "count_withheld",
    "per_code",
    "pool",
    "scores",
    "withhold",
]
