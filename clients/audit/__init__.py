"""The audit of a trained run, at the hospitals whose patients trained it: attacks, self-test, verdict, ``audit.json``.

An audit needs what only a hospital has: who was in the training split and who was not. So it runs at the hospital,
reads a run directory as anyone could (JSON, safetensors; nothing is ever unpickled), and writes numbers over groups of
patients that obey the hospital's minimum cell. The statistics live in `privacy.audits`; this package adds patients.

* `clients.audit.subject`     the run: study, model, vocabulary, claim and ledgers;
* `clients.audit.pool`        the patients: members, non-members and groups;
* `clients.audit.patients`    what is asked of them, notes with codes or stays with an outcome;
* `clients.audit.references`  models that never saw a known half of them, kept between audits;
* `clients.audit.attacks`     membership inference on everyone, on outliers and by group;
* `clients.audit.planted`     the self-test: a model that memorised and one that knows nobody;
* `clients.audit.coins`       the one-run audit of canaries;
* `clients.audit.captured`    gradient inversion of one update;
* `clients.audit.conduct`     all of it in order, and the record.

Beside them, and bearing on no verdict: `clients.audit.robustness`, whether small edits of a note change its codes.
"""
