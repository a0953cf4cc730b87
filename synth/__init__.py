"""Synthetic patients: specifications of tables, generators, their scores, and the gate a cohort must pass.

A cohort leaves a hospital as rows and nothing else: a fitted generator holds what it was fitted to, so none is kept.
"""
