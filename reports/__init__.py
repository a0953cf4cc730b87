"""Pages from records: a run's JSON in, a self-contained HTML page out.

Views only. No result is computed here beyond sorting and formatting, and no number stands in a page that is not in the
record it was drawn from.
"""
