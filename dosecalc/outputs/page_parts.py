"""What the HTML pages share: their style, tables and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #d9dee3; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.missed { color: #b91c1c; font-weight: 600; } .pass { color: #15803d; }
img { max-width: 100%; }
footer { margin-top: 3rem; color: #52606d; }
"""


def coloured(verdict: str) -> str:
    """A verdict in the colour of its class (``pass``, ``missed``), as HTML."""
    return f'<span class="{escape(verdict.lower())}">{escape(verdict)}</span>'


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; headings and cells are HTML already."""
    head = "".join(f"<th>{h}</th>" for h in header)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>\n" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>'
