"""The frame of a page: head, style and title around a body."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from reports.page import STYLE

if TYPE_CHECKING:
    from markupsafe import Markup as Safe

_MORE = """
p, li { overflow-wrap: anywhere; } ul { padding-left: 1.2rem; } li { max-width: 46rem; margin: .2rem 0; }
pre { background: #f4f6f7; padding: .6rem .8rem; max-width: 46rem; white-space: pre-wrap; }
pre code { overflow-wrap: anywhere; }
"""
_FRAME = Markup("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style></head><body>
<header><p class="soft">{lead}</p>
<h1>{title}</h1></header>
<main>
{body}
</main>
</body></html>
""")


def frame(title: str, *, lead: str, body: Safe, style: str = "") -> str:
    """Put a body into a self-contained page.

    Args:
        title: of the page, also its first heading.
        lead: the small line above it.
        body: HTML.
        style: more CSS, after the common style.
    """
    return str(_FRAME.format(title=title, lead=lead, body=body, style=Markup(STYLE + _MORE + style)))  # noqa: S704  # CSS of our own
