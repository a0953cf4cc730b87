"""A document of headed sections that reads the same as Markdown and as HTML.

What stands in it came from records, and some of it (a hospital's name, its reason for a refusal) from other people: it
is text, never markup, in either form.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(r"([\\`*_\[\]#|~])")


@dataclass(frozen=True, slots=True)
class Items:
    """A list of short texts."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a caption; the first cell of a row names it."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Command:
    """A line to be typed."""

    line: str


Block = str | Items | Table | Command


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: tuple[Block, ...]


def to_markdown(title: str, sections: Iterable[Section]) -> str:
    """Write a document as CommonMark with pipe tables."""
    parts = [f"# {_plain(title)}"]
    for section in sections:
        parts.append(f"## {_plain(section.title)}")
        parts.extend(_markdown(block) for block in section.blocks)
    return "\n\n".join(parts) + "\n"


def to_html(sections: Iterable[Section]) -> Markup:
    """Write the sections as HTML for the body of a page."""
    return Markup("\n").join(
        Markup("<section><h2>{}</h2>\n{}</section>").format(
            section.title, Markup("\n").join(_html(block) for block in section.blocks)
        )
        for section in sections
    )


def _markdown(block: Block) -> str:
    if isinstance(block, str):
        return _plain(block)
    if isinstance(block, Items):
        return "\n".join(f"* {_plain(text)}" for text in block.texts)
    if isinstance(block, Command):
        return f"    {' '.join(block.line.split())}"
    rule = ["---", *["---:"] * (len(block.head) - 1)]
    lines = [_row(map(_plain, block.head)), _row(rule), *(_row(map(_plain, row)) for row in block.rows)]
    return f"{_plain(block.caption)}\n\n" + "\n".join(lines)


def _html(block: Block) -> Markup:
    if isinstance(block, str):
        return Markup("<p>{}</p>").format(block)
    if isinstance(block, Items):
        return Markup("<ul>{}</ul>").format(Markup("").join(Markup("<li>{}</li>").format(text) for text in block.texts))
    if isinstance(block, Command):
        return Markup("<pre><code>{}</code></pre>").format(block.line)
    head = Markup("").join(Markup('<th scope="col">{}</th>').format(name) for name in block.head)
    rows = Markup("\n").join(_html_row(row) for row in block.rows)
    table = Markup("<table><caption>{}</caption><thead><tr>{}</tr></thead><tbody>{}</tbody></table>")
    return Markup('<div class="wide">{}</div>').format(table.format(block.caption, head, rows))


def _html_row(row: Sequence[str]) -> Markup:
    first, *others = row
    cells = Markup("").join(Markup("<td>{}</td>").format(cell) for cell in others)
    return Markup('<tr><th scope="row">{}</th>{}</tr>').format(first, cells)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """Write a text on one line so that no character of it is markup."""
    line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return _SPECIAL.sub(r"\\\1", line)
