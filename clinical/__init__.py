"""The medicine: what a hospital's record is, where it comes from, and what can be learnt from it.

This room knows patients, notes and codes and nothing about federation: every function here runs inside one hospital,
on that hospital's own files, and would be as useful to a single site working alone. At rest a hospital is a directory
in MEDS 0.4 (`clinical.events`); `sources` and `simulation` write such directories, `codes` speaks ICD, `notes` turns
text into vectors, `tasks` and `vocabulary` turn events into labels, `models`, `losses` and `learning` fit them, and
`metrics` and `thresholds` count how well.

Symbols, used in every docstring and shape comment of the project and declared only here:

| symbol | meaning |
|---|---|
| N | patients or documents (a docstring says which when it matters) |
| T | time steps of a patient's record |
| F | features |
| K | codes in a label vocabulary |
| H | hospitals of a network |
| P | trainable parameters of a model |

Nothing is imported here: each message of a deployment starts a fresh process, so import time is round time.
"""
