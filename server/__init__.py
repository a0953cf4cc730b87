"""The coordinator: who takes part, the rounds, the pooled answers and the record that is kept.

Read in this order: `app` (the Flower ServerApp: parse, build, run, archive), `roster` (who was admitted and why the
others were not), `rounds` (train), `answers` (pooled evaluation), `archive` (the run directory). `inprocess` runs the
same applications without Ray, and `compare` asks whether federating was worth it.
"""
