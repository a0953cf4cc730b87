"""The policy a hospital starts with: the text of its `policy.toml`, commented for a data-protection officer.

The text lives in code and not in a data file so that every way of shipping Wardround (wheel, FAB, image) carries it. It
is written once, beside the data, and belongs to the site from then on: nothing here ever reads or changes it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["DEFAULT_POLICY", "POLICY_FILE", "SIMULATED_POLICY", "default_policy", "write_default_policy"]

POLICY_FILE = "policy.toml"

_TEMPLATE = """\
# What this hospital allows others to compute on its patients. This file belongs to the hospital: edit it freely.
# It is read here, at the site, before any patient is read. What it forbids is refused with a reason.

[privacy]
{ceiling}
# The highest delta: the accepted chance that the promise above does not hold. Keep it well below one divided by the
# number of patients.
delta_ceiling = 1e-3

# true: only studies with differential privacy may train here. false: a study without it may run, and its report says
# "no guarantee".
require_dp = false

[cohort]
# A study that finds fewer patients than this here is refused: few patients are easy to recognise.
minimum_patients = 20

# The size of the training cohort that may be known, for example rounded: sampling and noise are planned with it, so
# that nothing planned follows from the true number. 0 plans with the true one, and reports list it as not covered.
declared_patients = 0

# Counts below this never leave the hospital (for example: how many documents carry a rare code).
minimum_cell = 5

[allow]
# What may run here. "*" allows every entry of its kind; an empty list allows none, except where said otherwise.

# The prediction tasks, such as "icd-coding" or "mortality-24h". "*" does not mean "synthesis", which makes rows that
# pass for patients from the table beside this file: whoever allows that names it.
{tasks}

# The model architectures that may be trained.
models = ["*"]

# The ways of combining the hospitals' updates.
strategies = ["*"]

# The numbers about local performance that may be reported to the server, by name.
metrics = ["*"]

# Fingerprints (SHA-256) of the table specifications of which a synthetic cohort may be made; `wardround synth check`
# tells a specification's. An empty list adds nothing.
specifications = []

# Fingerprints (SHA-256) of the applications that may run here. Only a gate (wardround site run) can tell which one
# runs, and it asks for an approval of its own (wardround site approve) in any case. An empty list adds nothing to that.
applications = []

[egress]
# What the gate (wardround site run) lets leave in a reply, whatever the application wants to send. A reply that breaks
# one of these is withheld whole, and the coordinator is told which of them and where, never the value. Without this
# section the same limits hold.

# The largest reply in megabytes, and the longest text in it in characters.
maximum_megabytes = 256.0
maximum_text = 1000

# How far one round may move the model: the Euclidean norm of the update over all its numbers.
update_norm = 1000.0

# The records that may leave, the numbers in them, and the facts beside a verdict, by name. Taking a name away withholds
# the replies that hold it; a name that is not known to Wardround never leaves, also if it stands here.
records = [
    "verdict", "coding", "counts", "arrays", "metrics", "tuning", "tuning-loss", "tally", "histogram", "noised",
    "outcomes", "outcomes/*", "beside/*", "withheld/*",
]
metrics = ["metrics/patients", "metrics/steps", "tuning-loss/loss", "tuning-loss/documents", "withheld/*"]
verdict = ["status", "reason", "hospital", "patients", "plan", "features", "encoder", "privacy"]
"""

_DEFAULT_CEILING = """\
# The highest total privacy loss (epsilon) any patient may accumulate over all studies ever run here. Smaller is
# stricter: up to about 1 is strong, 10 is the weakest that is still commonly defended.
epsilon_ceiling = 10.0
"""

_SIMULATED_CEILING = """\
# The highest total privacy loss (epsilon) any patient may accumulate over all studies ever run here. Smaller is
# stricter. A ceiling this high only makes sense because nobody in this hospital is real: it lets demonstrations be
# repeated. For real patients write 10.0 or less.
epsilon_ceiling = 1000.0
"""

DEFAULT_POLICY = _TEMPLATE.format(ceiling=_DEFAULT_CEILING, tasks='tasks = ["icd-coding"]')
SIMULATED_POLICY = _TEMPLATE.format(ceiling=_SIMULATED_CEILING, tasks='tasks = ["*"]')


def default_policy(tasks: Sequence[str]) -> str:
    """Write the default policy of a hospital that has labels for some tasks: they are allowed, and nothing else."""
    allowed = ", ".join(f'"{task}"' for task in tasks)
    return _TEMPLATE.format(ceiling=_DEFAULT_CEILING, tasks=f"tasks = [{allowed}]")


def write_default_policy(hospital: Path, *, simulated: bool) -> bool:
    """Give a hospital the commented default policy unless it has one.

    Args:
        hospital: its folder.
        simulated: whether its patients are made up, which allows a high privacy ceiling.

    Returns:
        Whether a policy was written; an existing one is the hospital's own and never touched.
    """
    from clinical.labels import list_labels

    path = hospital / POLICY_FILE
    if path.exists():
        return False
    tasks = list_labels(hospital)
    real = default_policy(tasks) if tasks else DEFAULT_POLICY
    path.write_text(SIMULATED_POLICY if simulated else real, encoding="utf-8")
    return True
