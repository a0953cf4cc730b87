"""Pages from records: the JSON of a run or an audit in, a self-contained HTML page out.

Views only. No result is computed here beyond sorting and formatting, and no number stands in a page that is not in the
record it was drawn from.
"""
