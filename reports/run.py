"""Temporary: the record as preformatted text."""
import html, json
def render(record): return "<!doctype html><pre>"+html.escape(json.dumps(record,indent=1))+"</pre>"
