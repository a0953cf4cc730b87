"""The study: what every hospital agreed to run.

A study is data, not code: the defaults stand in ``pyproject.toml`` under ``[tool.flwr.app.config]``, the types and
limits in `study.protocol`, the variants in ``study/presets``. `study.protocol.parse` is the only reader of Flower's
``run_config``, at the coordinator and at every hospital alike, so both sides refuse the same mistakes.
"""
