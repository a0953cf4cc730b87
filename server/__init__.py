"""The coordinator: who takes part, the rounds, the pooled answers and the record that is kept.

Read in this order: `app` (the Flower ServerApp: parse, build, run, archive), `roster` (who was admitted and why the
others were not), `rounds` (train), `counts` and `answers` (pooled evaluation), `archive` (the run directory).
`inprocess` runs the same applications without Ray; in a `laboratory`, `compare` asks whether federating was worth it.
`launch` starts Flower for a command, after `terms` has looked whether the study can run at all; `submission` hands a
study over and follows it, here and in a consortium.
"""
