"""Pages from records: views only, no result is computed here."""
