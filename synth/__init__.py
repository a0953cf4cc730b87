"""Synthetic patients: generators, their scores, and the gate a cohort must pass before anybody outside sees it.

The room is empty for now: its first work is the table specification and the release gate.
"""
